"""Writes an archive: compresses a file of the log into another one. The memory for this does not grow with the file,
except for what stands behind the frames."""

import os
from collections.abc import Iterator
from itertools import chain

from msgspec import json, structs

from fastlog.archive import zstd
from fastlog.archive._summary import Lines
from fastlog.archive.index import (
    CHECKSUM,
    FOOTER,
    FRAME_BYTES,
    HEADER,
    RARE_MAGIC,
    RARE_SHARE,
    SEEK_TABLE_MAGIC,
    SEEKABLE_MAGIC,
    SUMMARY_MAGIC,
    VERSION,
    DamagedError,
    RarePart,
    checksum_of,
)
from fastlog.archive.summary import facts_of, summary_of
from fastlog.entry import LEVELS

# Of zstd. Entries of 16 kinds of real logs, 264 bytes each on average, one frame of 1 MiB after the other, on a core of
# 2.1 GHz: level 1 makes them 6.3 times smaller at 499 MB/s, level 2 6.7 times at 440 MB/s, level 3 6.7 times at
# 389 MB/s. All are unpacked at 1,100 MB/s. All that the process does takes twice the time of level 1.
LEVEL = 2
RARE_PART_BYTES = 1 << 17  # of the lines of a rare level that are compressed together
# What is in memory until the end: lines of rare levels, compressed, of which the most frequent ones are given up beyond
# it; and names in summaries. Those of a frame also take no more than a share of the compressed frame, and may always
# take as much as the rest of a summary.
RARE_MAX_BYTES = 1 << 21
NAMES_ALL_BYTES = 1 << 22
NAMES_SHARE = 1 / 32
NAMES_LEAST_BYTES = 512
CHECKED_BYTES = 1 << 17  # that are unpacked at once to be compared: they stay in the processor's cache
LINE_FEED = 10


class ChangedError(ValueError):
    """The file was changed while it was read."""


def compress(source: int, target: int) -> None:
    """Writes what an open file has into another one, which is empty and open for reading, too: what was written is
    read back. Nothing is synced. Raises OSError, DamagedError and ChangedError."""
    before = os.fstat(source)
    writer = _Writer(target, before.st_size)
    buffer = bytearray(min(FRAME_BYTES, before.st_size))
    at = 0
    while at < before.st_size:
        with memoryview(buffer) as view:
            size = _read(source, view[: before.st_size - at], at)
        whole = buffer.rfind(b"\n", 0, size) + 1  # 0: a line that is too long to be an entry; it is cut
        writer.add(buffer, whole or size)
        at += whole or size
    writer.end()
    after = os.fstat(source)
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise ChangedError("it was changed while it was compressed")


class _Writer:
    """Writes frame after frame. `size`: bytes of the whole text."""

    def __init__(self, target: int, size: int) -> None:
        self._target = target
        self._compressor = _Compressor()
        self._lines = Lines(facts_of)
        self._rare = _RareLines(int(size * RARE_SHARE), self._compressor)
        self._names_most = NAMES_ALL_BYTES // (size // FRAME_BYTES + 1)  # bytes of a frame's names
        self._written = 0  # bytes of the file
        self._at = 0  # bytes of the text
        self._is_inside = False  # whether the next frame begins inside a line
        self._frames = 0
        self._table = bytearray()
        self._summaries: list[bytes] = []  # in JSON, each with the comma before it

    def add(self, buffer: bytearray, size: int) -> None:
        """The next frame: so many bytes from the beginning of the buffer, at least one."""
        text = memoryview(buffer)[:size]
        stored = self._compressor.pack(text)
        self._write(stored)
        check(os.pread(self._target, len(stored), self._written - len(stored)), buffer, size)
        for level, start, end in self._lines.look(text, self._is_inside, self._rare.wanted):
            self._rare.add(LEVELS[level], self._at + start, bytes(text[start:end]))
        room = max(min(int(len(stored) * NAMES_SHARE), self._names_most), NAMES_LEAST_BYTES)
        summary = summary_of(self._lines, self._is_inside, room)
        self._summaries.append((b"," if self._frames else b"") + json.encode(summary))
        self._table += HEADER.pack(len(stored), size)
        self._frames += 1
        self._at += size
        self._is_inside = buffer[size - 1] != LINE_FEED

    def end(self) -> None:
        """Writes what stands behind the frames."""
        parts = self._rare.end()
        if parts:
            self._write(HEADER.pack(RARE_MAGIC, self._rare.size))
            for part in self._rare.packed():
                self._write(part)
        beginning, end = b'{"version":%d,"frames":[' % VERSION, b'],"rare":%b}' % json.encode(parts)
        contents = [beginning, *self._summaries, end]
        self._write_skippable(SUMMARY_MAGIC, CHECKSUM.pack(checksum_of([self._table, *contents])), *contents)
        self._write_skippable(SEEK_TABLE_MAGIC, self._table, FOOTER.pack(self._frames, 0, SEEKABLE_MAGIC))

    def _write_skippable(self, magic: int, *content: bytes | bytearray) -> None:
        self._write(HEADER.pack(magic, sum(map(len, content))))
        for part in content:
            self._write(part)

    def _write(self, data: bytes | bytearray) -> None:
        with memoryview(data) as view:
            done = 0
            while done < len(view):
                done += os.write(self._target, view[done:])
        self._written += len(data)


class _Compressor:
    """Compresses one text after the other, each into a frame of its own."""

    def __init__(self) -> None:
        options: dict[int, int] = {zstd.CompressionParameter.compression_level: LEVEL}
        options[zstd.CompressionParameter.checksum_flag] = 1
        self._compressor = zstd.ZstdCompressor(options=options)

    def pack(self, text: memoryview | bytearray) -> bytes:
        return self._compressor.compress(text, mode=self._compressor.FLUSH_FRAME)


class _RareLines:
    """The lines of rare levels, from the first to the last. A level with more than `most` bytes of them is not rare."""

    def __init__(self, most: int, compressor: _Compressor) -> None:
        self._most = most
        self._compressor = compressor
        self._levels = {level: _RareLevel() for level in LEVELS}

    @property
    def wanted(self) -> int:
        """A bit for each level that may be rare, in the order of LEVELS."""
        return sum(1 << LEVELS.index(level) for level in self._levels)

    @property
    def size(self) -> int:
        """Bytes of what was compressed."""
        return sum(lines.size for lines in self._levels.values())

    def add(self, level: str, at: int, line: bytes) -> None:
        """A line without its line feed, which begins at that place of the text."""
        lines = self._levels.get(level)
        if lines is None:  # it was given up within this frame
            return
        lines.add(at, line)
        if lines.bytes > self._most:
            del self._levels[level]
        elif len(lines.waiting) >= RARE_PART_BYTES:
            lines.pack(self._compressor)
            if self.size > RARE_MAX_BYTES:
                del self._levels[max(self._levels, key=lambda each: self._levels[each].size)]

    def end(self) -> dict[str, list[RarePart]]:
        """The parts of each level; `packed` has them in this order."""
        parts = {}
        at = 0
        for level, lines in self._levels.items():
            lines.pack(self._compressor)
            if lines.parts:
                parts[level] = [structs.replace(part, at=at + part.at) for part in lines.parts]
                at += lines.size
        return parts

    def packed(self) -> Iterator[bytes]:
        """What was compressed, level by level."""
        return chain.from_iterable(lines.packed for lines in self._levels.values())


class _RareLevel:
    """The lines of one level. `bytes`: of their text. `waiting`: those of the next part. `packed`: the parts, of `size`
    bytes together. They stay apart, since a large object that grows leaves holes in the memory."""

    def __init__(self) -> None:
        self.bytes = 0
        self.waiting = bytearray()
        self.packed: list[bytes] = []
        self.size = 0
        self.parts: list[RarePart] = []
        self._lines = self._first = self._last = 0

    def add(self, at: int, line: bytes) -> None:
        if not self._lines:
            self._first = at
        self._last = at
        self._lines += 1
        self.bytes += len(line) + 1
        self.waiting += b"%d %b\n" % (at, line)

    def pack(self, compressor: _Compressor) -> None:
        """Makes a part of the lines that wait."""
        if not self._lines:
            return
        part = compressor.pack(self.waiting)
        check(part, self.waiting, len(self.waiting))
        self.parts.append(RarePart(self.size, len(part), self._lines, self._first, self._last))
        self.packed.append(part)
        self.size += len(part)
        self.waiting.clear()
        self._lines = 0


def check(stored: bytes, text: bytearray, size: int) -> None:
    """Raises DamagedError if what was compressed does not unpack to that many bytes from the beginning of the text."""
    unpacker = zstd.ZstdDecompressor()
    done = 0
    try:
        while not unpacker.eof and (stored or not unpacker.needs_input):
            part = unpacker.decompress(stored, CHECKED_BYTES)
            stored = b""
            if not text.startswith(part, done):
                break
            done += len(part)
    except zstd.ZstdError as error:
        raise DamagedError(f"what was written cannot be read: {error}") from error
    if done != size or not unpacker.eof:
        raise DamagedError("what was written is not what was read")


def _read(fd: int, buffer: memoryview, at: int) -> int:
    """Fills the buffer. Raises OSError, and ChangedError if the file ends before."""
    done = 0
    while done < len(buffer):
        size = os.preadv(fd, [buffer[done:]], at + done)
        if not size:
            raise ChangedError("it became shorter while it was compressed")
        done += size
    return done
