"""Reads the log file and its archives while they are written and rotated: whole lines, each once, in order.

It knows nothing of entries. A file is known by its inode, never by its name, and stays open while it is read.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from fastlog.errors import FastlogError, say

BLOCK_BYTES = 1 << 18  # read at once: small enough for the processor's cache, and longer than any entry
WALKS_MAX = 100  # over the files, until no rotation comes in between: one takes microseconds, rotations are seldom
ROTATIONS_MEANWHILE = 2  # by which the oldest file may move on during a walk

# A part of a block, from one offset to another: whole lines.
Lines = tuple[bytearray, int, int]


class ReadError(FastlogError):
    """The log cannot be read."""


class OpenFile(msgspec.Struct):
    """A file of the log, open; `size` and `changed` (ns) are of the moment when it was opened."""

    fd: int
    inode: tuple[int, int]  # with its device
    size: int
    changed: int

    def close(self) -> None:
        os.close(self.fd)


def open_log(path: Path) -> list[OpenFile]:
    """The archives of a live file and itself, the oldest first, each once. Raises ReadError.

    Files only ever move to higher numbers, and the walk goes the same way: it may meet one twice, but misses none.
    """
    for _ in range(WALKS_MAX):
        files = _walk(path)
        if not files or _inode(path) in (files[-1].inode, None):
            break
        for file in files:
            file.close()
        files = []
    else:
        files = _walk(path)
    return files


def _walk(path: Path) -> list[OpenFile]:
    found: dict[tuple[int, int], OpenFile] = {}
    try:
        archive = re.compile(re.escape(path.name) + r"\.([1-9][0-9]{0,5})")
        numbers = [int(match[1]) for name in os.listdir(path.parent) if (match := archive.fullmatch(name))]
        for number in range(max(numbers, default=0) + 1 + ROTATIONS_MEANWHILE):
            try:
                fd = os.open(f"{path}.{number}" if number else path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            status = os.fstat(fd)
            inode = status.st_dev, status.st_ino
            if inode in found:
                os.close(fd)
            else:
                found[inode] = OpenFile(fd, inode, status.st_size, status.st_mtime_ns)
    except OSError as error:
        for file in found.values():
            file.close()
        if isinstance(error, FileNotFoundError):  # the directory is not there
            return []
        raise ReadError(f"cannot read {error.filename or path}: {error.strerror}") from error
    return list(reversed(found.values()))


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


class Reader:
    """Reads one file from an offset, at which a line begins, to its present end or to `until`."""

    def __init__(self, file: OpenFile, offset: int = 0) -> None:
        self.file = file
        self.offset = offset
        self._block = bytearray(BLOCK_BYTES)
        self._inside_long_line = False

    def read(self, until: int | None = None) -> Iterator[Lines]:
        """The block is overwritten by the next one. A line longer than a block is no entry, and left out."""
        block = memoryview(self._block)
        while True:
            room = BLOCK_BYTES if until is None else min(BLOCK_BYTES, until - self.offset)
            size = os.preadv(self.file.fd, [block[:room]], self.offset) if room > 0 else 0
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
        return os.fstat(self.file.fd).st_size < self.offset


def read_backward(file: OpenFile) -> Iterator[tuple[Lines, int]]:
    """A file's lines from its end to its beginning, block by block, each with the offset of the block in the file.

    An unfinished last line is left out, as is one longer than a block.
    """
    block = bytearray(BLOCK_BYTES)
    view = memoryview(block)
    until = file.size
    while until > 0:
        at = max(until - BLOCK_BYTES, 0)
        size = os.preadv(file.fd, [view[: until - at]], at)
        end = block.rfind(b"\n", 0, size) + 1
        start = block.find(b"\n", 0, size) + 1 if at else 0
        if start < end:
            yield (block, start, end), at
        # where the block held no beginning of a line, the line is longer than it: what is before it is looked at next
        until = at + start if 0 < start < size else at


class Follower:
    """Goes on from a reader's place, over rotations by anyone, for as long as one asks for `new` lines."""

    def __init__(self, path: Path, reader: Reader | None) -> None:
        self._path = path
        self._reader = reader

    def close(self) -> None:
        if self._reader is not None:
            self._reader.file.close()

    def new(self) -> Iterator[Lines]:
        """What was written since the last time."""
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
                say(f"{self._path} was cut by another program; going on at its beginning")
                self._reader = Reader(self._reader.file)
                continue
            successor = self._successor(self._reader.file)
            if successor is None:
                return
            # The server writes to one file at a time, and the next one has lines: this one is complete by now.
            yield from self._reader.read()
            self._reader.file.close()
            self._reader = Reader(successor)

    def _successor(self, file: OpenFile) -> OpenFile | None:
        """The file that came after this one, once there is more to read in it or behind it.

        An empty new file is not enough: after a rotation by another program the server writes to the old one until it
        is told.
        """
        if _inode(self._path) in (file.inode, None):
            return None
        files = open_log(self._path)
        inodes = [other.inode for other in files]
        if file.inode in inodes:
            newer = files[inodes.index(file.inode) + 1 :]
        else:  # moved elsewhere, or gone: older archives were last changed before it
            status = os.fstat(file.fd)
            newer = [other for other in files if other.changed >= status.st_mtime_ns]
            if newer and status.st_nlink == 0:
                say(f"{self._path} was rotated away before it was read: entries may be missing here")
        if not any(other.size for other in newer):
            newer = []
        for other in files:
            if other not in newer[:1]:
                other.close()
        return newer[0] if newer else None
