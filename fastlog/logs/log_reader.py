"""Reads the files of a log while they are written and rotated: whole lines, each once, in order.

It knows nothing of entries. `log_files.py` finds the files.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from fastlog.errors import say
from fastlog.limits import LINE_MAX_BYTES
from fastlog.logs.log_files import OpenFile, inode_of, is_copy, open_log

# Read at once: little for the processor's cache, and room for the longest line with its line feed and the one before
# it, which shows where the line begins.
BLOCK_BYTES = LINE_MAX_BYTES + 2

# A part of a block, from one offset to another: whole lines.
Lines = tuple[bytearray, int, int]


class Reader:
    """Reads one file from an offset, at which a line begins, to its present end or to `until`."""

    def __init__(self, file: OpenFile, offset: int = 0) -> None:
        self.file = file
        self.offset = offset
        self._block = bytearray(BLOCK_BYTES)
        self._inside_long_line = False

    def read(self, until: int | None = None) -> Iterator[Lines]:
        """Yields the lines block by block; each block overwrites the one before it. A line longer than a block is not
        an entry, and left out."""
        block = memoryview(self._block)
        while True:
            room = BLOCK_BYTES if until is None else min(BLOCK_BYTES, until - self.offset)
            size = self.file.read_at(block[:room], self.offset) if room > 0 else 0
            end = self._block.rfind(b"\n", 0, size) + 1
            if not end:
                if size < BLOCK_BYTES:
                    return
                self._inside_long_line = True
                self.offset += size
                continue
            start = self._block.find(b"\n") + 1 if self._inside_long_line else 0
            self._inside_long_line = False
            self.offset += end
            yield self._block, start, end

    def is_cut(self) -> bool:
        """Whether the file became shorter than what was read of it."""
        return not self.file.is_compressed and os.fstat(self.file.fd).st_size < self.offset


def read_backward(file: OpenFile) -> Iterator[tuple[Lines, int]]:
    """A file's lines from its end to its beginning, block by block, each with the offset of the block in the file.

    The file is not a compressed one. An unfinished last line is left out, as is one longer than a block.
    """
    block = bytearray(BLOCK_BYTES)
    view = memoryview(block)
    until = file.size
    while until > 0:
        at = max(until - BLOCK_BYTES, 0)
        size = file.read_at(view[: until - at], at)
        end = block.rfind(b"\n", 0, size) + 1
        start = block.find(b"\n", 0, size) + 1 if at else 0
        if start < end:
            yield (block, start, end), at
        # Where no line begins in the block, a line is longer than it: the block before it is read next.
        until = at + start if 0 < start < size else at


class Follower:
    """Continues where a reader stopped, across rotations by any program; each call of `new` reads what was added."""

    def __init__(self, path: Path, reader: Reader | None) -> None:
        self._path = path
        self._reader = reader

    def close(self) -> None:
        if self._reader is not None:
            self._reader.file.close()

    def new(self) -> Iterator[Lines]:
        """The lines written since the last call. Raises ReadError."""
        if self._reader is None:
            files = open_log(self._path)
            if not files:
                return
            self._reader = Reader(files[0])
            for file in files[1:]:
                file.close()
        while True:
            yield from self._reader.read()
            if self._reader.is_cut():
                say(f"{self._path} was truncated by another program; reading from the start")
                self._reader = Reader(self._reader.file)
                continue
            successor = self._successor(self._reader.file)
            if successor is None:
                return
            # The server writes to one file at a time, and the next file has lines: this one is complete by now.
            yield from self._reader.read()
            self._reader.file.close()
            self._reader = Reader(successor)

    def _successor(self, file: OpenFile) -> OpenFile | None:
        """The file that came after this one, once it or a later one has lines.

        An empty new file is not enough: after a rotation by another program the server writes to the old one until it
        reopens its log.
        """
        if inode_of(self._path) in (file.inode, None):
            return None
        files = open_log(self._path)
        newer = self._newer(files, file)
        if not any(other.size for other in newer):
            newer = []
        for other in files:
            if other not in newer[:1]:
                other.close()
        return newer[0] if newer else None

    def _newer(self, files: list[OpenFile], file: OpenFile) -> list[OpenFile]:
        """The files that came after this one."""
        inodes = [other.inode for other in files]
        if file.inode in inodes:
            return files[inodes.index(file.inode) + 1 :]
        # it was moved elsewhere, compressed or deleted: older archives were last changed before it
        status = os.fstat(file.fd)
        newer = [other for other in files if other.changed >= status.st_mtime_ns]
        copies = [number for number, other in enumerate(files) if is_copy(other, file)]
        if copies:
            return files[copies[-1] + 1 :]
        if newer and status.st_nlink == 0:
            say(f"{self._path} was rotated away before it was read: entries may be missing here")
        return newer
