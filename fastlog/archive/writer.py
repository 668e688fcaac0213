"""Writes an archive: compresses a file of the log into another one. The memory for this does not grow with the file."""

import os
from collections.abc import Callable

from msgspec import json, structs

from fastlog.archive import zstd
from fastlog.archive._summary import Lines
from fastlog.archive.index import (
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
)
from fastlog.archive.summary import facts_of, summary_of
from fastlog.entry import LEVELS

LEVEL = 1
LINE_FEED = 10
RARE_PART_BYTES = 1 << 18  # of the lines of a rare level that are compressed together
RARE_MAX_BYTES = 1 << 22  # of such lines, compressed: they are in memory until the end


class ChangedError(ValueError):
    """The archive was changed while it was read."""


def compress(source: int, target: int) -> None:
    """Writes what an open file has into another one, which is empty and open for reading, too: what was written is
    read back. Nothing is synced. Raises OSError, DamagedError and ChangedError."""
    before = os.fstat(source)
    writer = _Writer(target, before.st_size)
    buffer = bytearray(min(FRAME_BYTES, before.st_size))
    view = memoryview(buffer)
    at = 0
    while at < before.st_size:
        size = _read(source, view[: before.st_size - at], at)
        whole = buffer.rfind(b"\n", 0, size) + 1  # none: a line that is too long to be an entry is cut anywhere
        writer.add(view[: whole or size])
        at += whole or size
    writer.end()
    after = os.fstat(source)
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise ChangedError("it was changed while it was compressed")


class _Writer:
    """Writes frame after frame. `size`: bytes of the whole text."""

    def __init__(self, target: int, size: int) -> None:
        self._target = target
        self._compressor = zstd.ZstdCompressor(
            options={zstd.CompressionParameter.compression_level: LEVEL, zstd.CompressionParameter.checksum_flag: 1}
        )
        self._lines = Lines(facts_of)
        self._rare = _RareLines(int(size * RARE_SHARE), self._pack)
        self._written = 0  # bytes of the file
        self._at = 0  # bytes of the text
        self._is_inside = False  # whether the next frame begins inside a line
        self._frames = 0
        self._table = bytearray()
        self._summaries = bytearray()

    def add(self, text: memoryview) -> None:
        """The text of the next frame, which is not empty."""
        stored = self._pack(text)
        self._write(stored)
        if self._unpacked(self._written - len(stored), len(stored), len(text)) != text:
            raise DamagedError("what was written is not what was read")
        self._table += HEADER.pack(len(stored), len(text))
        for level, start, end in self._lines.look(text, self._is_inside, self._rare.wanted):
            self._rare.add(LEVELS[level], self._at + start, text[start:end])
        summary = summary_of(self._lines, self._is_inside, len(stored))
        self._summaries += (b"," if self._frames else b"") + json.encode(summary)
        self._frames += 1
        self._at += len(text)
        self._is_inside = text[-1] != LINE_FEED

    def end(self) -> None:
        """Writes what comes behind the frames."""
        content, rare = self._rare.end()
        if content:
            self._write(HEADER.pack(RARE_MAGIC, len(content)))
            self._write(content)
        contents: list[bytes | bytearray] = [
            b'{"version":%d,"frames":[' % VERSION,
            self._summaries,
            b'],"rare":',
            json.encode(rare),
            b"}",
        ]
        self._write(HEADER.pack(SUMMARY_MAGIC, sum(map(len, contents))))
        for part in contents:
            self._write(part)
        footer = FOOTER.pack(self._frames, 0, SEEKABLE_MAGIC)
        self._write(HEADER.pack(SEEK_TABLE_MAGIC, len(self._table) + len(footer)))
        self._write(self._table)
        self._write(footer)

    def _pack(self, text: memoryview | bytearray) -> bytes:
        return self._compressor.compress(text, mode=self._compressor.FLUSH_FRAME)

    def _unpacked(self, at: int, stored: int, size: int) -> bytes:
        return zstd.ZstdDecompressor().decompress(os.pread(self._target, stored, at), size + 1)

    def _write(self, data: bytes | bytearray) -> None:
        with memoryview(data) as view:
            done = 0
            while done < len(view):
                done += os.write(self._target, view[done:])
        self._written += len(data)


class _RareLines:
    """The lines of rare levels, from the first to the last. A level with more than `most` bytes of them is not rare."""

    def __init__(self, most: int, pack: Callable[[bytearray], bytes]) -> None:
        self._most = most
        self._pack = pack
        self._levels = {level: _RareLevel() for level in LEVELS}

    @property
    def wanted(self) -> int:
        """A bit for each level that may be rare, in the order of LEVELS."""
        return sum(1 << LEVELS.index(level) for level in self._levels)

    def add(self, level: str, at: int, line: memoryview) -> None:
        """A line without its line feed, which begins at that place of the text."""
        lines = self._levels.get(level)
        if lines is None:
            return
        lines.add(at, line)
        if lines.bytes > self._most:
            del self._levels[level]
        elif len(lines.waiting) >= RARE_PART_BYTES:
            lines.pack(self._pack)
            if sum(len(each.packed) for each in self._levels.values()) > RARE_MAX_BYTES:
                del self._levels[max(self._levels, key=lambda each: len(self._levels[each].packed))]

    def end(self) -> tuple[bytearray, dict[str, list[RarePart]]]:
        """The content of the frame RARE_MAGIC, and its parts."""
        content = bytearray()
        parts = {}
        for level, lines in self._levels.items():
            lines.pack(self._pack)
            if lines.parts:
                parts[level] = [structs.replace(part, at=len(content) + part.at) for part in lines.parts]
                content += lines.packed
        return content, parts


class _RareLevel:
    """The lines of one level. `bytes`: of their text. `waiting`: those of the next part. `packed`: the parts."""

    def __init__(self) -> None:
        self.bytes = 0
        self.waiting = bytearray()
        self.packed = bytearray()
        self.parts: list[RarePart] = []
        self._lines = self._first = self._last = 0

    def add(self, at: int, line: memoryview) -> None:
        if not self._lines:
            self._first = at
        self._last = at
        self._lines += 1
        self.bytes += len(line) + 1
        self.waiting += b"%d %s\n" % (at, line)

    def pack(self, pack: Callable[[bytearray], bytes]) -> None:
        """Makes a part of the lines that wait."""
        if not self._lines:
            return
        part = pack(self.waiting)
        self.parts.append(RarePart(len(self.packed), len(part), self._lines, self._first, self._last))
        self.packed += part
        self.waiting.clear()
        self._lines = 0


def _read(fd: int, buffer: memoryview, at: int) -> int:
    """Fills the buffer. Raises OSError, and ChangedError if the file ends before."""
    done = 0
    while done < len(buffer):
        size = os.preadv(fd, [buffer[done:]], at + done)
        if not size:
            raise ChangedError("it became shorter while it was compressed")
        done += size
    return done
