"""The layout of a compressed archive, and where its frames are. Nothing here unpacks, or needs a library for zstd.

    frame of zstd, frame of zstd, …      whole lines of the log, about FRAME_BYTES each
    skippable frame RARE_MAGIC           the lines of rare levels once more; left out if there are none
    skippable frame SUMMARY_MAGIC        CHECKSUM, and JSON: `Contents`
    skippable frame SEEK_TABLE_MAGIC     the seek table of zstd's seekable format

Every reader of zstd passes over skippable frames, so it reads the log's lines and nothing else. The seek table is that
of github.com/facebook/zstd/blob/dev/contrib/seekable_format/zstd_seekable_compression_format.md. Archives of other
programs in that format have no summary, and those in plain zstd no seek table either.

The checksum is the CRC-32 of the seek table's entries and of the JSON. Where it is another one, the summary is not
believed, since a wrong one would hide lines that are there; zstd's own checksums are in the frames.

The content of the frame RARE_MAGIC is frames of zstd, one after the other. Unpacked, each has lines of one level, each
with its place before it: `<offset in the log's text> <line>`. A level is rare if its lines are at most RARE_SHARE of
the log's bytes.
"""

import os
import struct
from binascii import crc32
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple

import msgspec

from fastlog.archive.summary import Summary

FRAME_BYTES = 1 << 20  # of the log's text in a frame: what a reader that seeks has to unpack at least
FRAME_MAX_BYTES = 16 << 20  # of a frame that is unpacked as a whole, compressed or not: other programs choose freely
RARE_SHARE = 0.01  # of the log's bytes: what a level's lines may be, to be stored once more

SEEK_TABLE_MAGIC = 0x184D2A5E
SUMMARY_MAGIC = 0x184D2A5D
RARE_MAGIC = 0x184D2A5C
SEEKABLE_MAGIC = 0x8F92EAB1
FRAMES_MAX = 1 << 22  # in the seek table: so many of ours have 4 TB
SUMMARY_MAX_BYTES = 1 << 28  # of the summary: a million frames of a TB have as much

HEADER = struct.Struct("<II")  # of a skippable frame: its magic number, and the bytes that follow
CHECKSUM = struct.Struct("<I")
FOOTER = struct.Struct("<IBI")  # of the seek table: frames, descriptor, SEEKABLE_MAGIC
HAS_CHECKSUMS = 0x80  # in the descriptor: each entry has four bytes more
RESERVED = 0x7C  # bits of the descriptor that must be 0


class DamagedError(ValueError):
    """The archive is not what it claims to be."""


class RarePart(msgspec.Struct, frozen=True):
    """One of the frames with the lines of a level. `at`: offset in the content of the frame RARE_MAGIC, in bytes, like
    `size`. `first`, `last`: where the first and the last of its lines begin in the log's text."""

    at: int
    size: int
    lines: int
    first: int
    last: int


class Contents(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the summary is in JSON. `frames`: in the order of the seek table. `rare`: by level; a level that is missing
    here is not rare."""

    version: int
    frames: list[Summary]
    rare: dict[str, list[RarePart]] = {}


class Frame(msgspec.Struct, frozen=True):
    """`start`, `size`: of its text, in the text of the whole log. `at`, `stored`: of the compressed frame in the file.
    All in bytes."""

    start: int
    size: int
    at: int
    stored: int
    summary: Summary | None

    @property
    def end(self) -> int:
        return self.start + self.size


class Index(msgspec.Struct, frozen=True):
    """Of one archive. `rare`: as in `Contents`, but `at` is an offset in the file."""

    frames: list[Frame]
    rare: dict[str, list[RarePart]]

    @property
    def text_size(self) -> int:
        """Bytes of the log's text."""
        return self.frames[-1].end if self.frames else 0


def read_index(fd: int) -> Index | None:
    """The index of an open archive; None if it is not in the seekable format. Raises OSError, and DamagedError."""
    size = os.fstat(fd).st_size
    table = _read_seek_table(fd, size)
    if table is None:
        return None
    contents, rare_at = _read_contents(fd, table)
    if contents is not None and len(contents.frames) != len(table.sizes):
        raise DamagedError("its summary has not as many frames as its seek table")
    summaries: Sequence[Summary | None] = contents.frames if contents else [None] * len(table.sizes)
    starts, places = accumulate(table.sizes, initial=0), accumulate(table.stored, initial=0)
    frames = [Frame(*each) for each in zip(starts, table.sizes, places, table.stored, summaries, strict=False)]
    rare = {} if contents is None else contents.rare
    placed = {
        level: [msgspec.structs.replace(part, at=part.at + rare_at) for part in parts] for level, parts in rare.items()
    }
    return Index(frames, placed)


def read_text_size(fd: int) -> int | None:
    """Bytes of the log's text in an open archive, by its seek table alone; None if it is not in the seekable format.
    Raises OSError, and DamagedError."""
    table = _read_seek_table(fd, os.fstat(fd).st_size)
    return None if table is None else sum(table.sizes)


class _SeekTable(NamedTuple):
    """`entries`: as they are in the file. `stored`, `sizes`: of each frame, compressed and not. `at`: where the table
    begins."""

    entries: bytes
    stored: Sequence[int]
    sizes: Sequence[int]
    at: int


def _read_seek_table(fd: int, size: int) -> _SeekTable | None:
    footer = os.pread(fd, FOOTER.size, max(size - FOOTER.size, 0))
    if len(footer) < FOOTER.size:
        return None
    count, descriptor, magic = FOOTER.unpack(footer)
    if magic != SEEKABLE_MAGIC or descriptor & RESERVED:
        return None
    if count > FRAMES_MAX:
        raise DamagedError("its seek table has too many frames")
    width = 12 if descriptor & HAS_CHECKSUMS else 8
    content = count * width + FOOTER.size
    at = size - content - HEADER.size
    if at < 0:
        raise DamagedError("its seek table is longer than the file")
    table = os.pread(fd, content + HEADER.size, at)
    if len(table) != content + HEADER.size or HEADER.unpack_from(table) != (SEEK_TABLE_MAGIC, content):
        raise DamagedError("its seek table does not begin where its end says")
    entries = table[HEADER.size : HEADER.size + count * width]
    numbers = struct.unpack(f"<{count * width // 4}I", entries)
    stored, sizes = numbers[:: width // 4], numbers[1 :: width // 4]
    if sum(stored) > at:
        raise DamagedError("its seek table has more than the file")
    return _SeekTable(entries, stored, sizes, at)


def _read_contents(fd: int, table: _SeekTable) -> tuple[Contents | None, int]:
    """The summary in the skippable frames between the last frame and the seek table, if it is there, and where the
    content of the frame RARE_MAGIC begins."""
    at, rare_at = sum(table.stored), 0
    while at + HEADER.size <= table.at:
        header = os.pread(fd, HEADER.size, at)
        if len(header) < HEADER.size:
            raise DamagedError("it became shorter while it was read")
        magic, size = HEADER.unpack(header)
        at += HEADER.size
        if at + size > table.at:
            raise DamagedError("a skippable frame is longer than the file")
        if magic == RARE_MAGIC:
            rare_at = at
        elif magic == SUMMARY_MAGIC and size <= SUMMARY_MAX_BYTES:
            return _decode(os.pread(fd, size, at), table.entries), rare_at
        at += size
    return None, 0


def _decode(content: bytes, entries: bytes) -> Contents | None:
    """None: it is damaged, another program's, or of a version to come. The frames are read all the same."""
    checksum, text = content[: CHECKSUM.size], content[CHECKSUM.size :]
    if checksum != CHECKSUM.pack(checksum_of([entries, text])):
        return None
    try:
        contents = msgspec.json.decode(text, type=Contents)
    except msgspec.DecodeError:
        return None
    return contents if contents.version == VERSION else None


def checksum_of(parts: Iterable[bytes | bytearray]) -> int:
    checksum = 0
    for part in parts:
        checksum = crc32(part, checksum)
    return checksum


VERSION = 1  # of the summary
