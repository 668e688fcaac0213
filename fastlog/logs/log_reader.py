"""Reads the files of a log while they are written and rotated: whole lines, each once, in order.

It knows nothing of entries. `log_files.py` finds the files.
"""

import os
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path

from fastlog.errors import say
from fastlog.logs.conditions import Conditions
from fastlog.logs.log_files import ReadError, inode_of, is_copy, open_log
from fastlog.logs.open_file import BLOCK_BYTES, OpenFile
from fastlog.logs.parts import Lines, parts
from fastlog.segments import Identity

ALL = Conditions()


class Reader:
    """Reads one file from an offset, at which a line begins, to its present end. The file is kept open."""

    def __init__(self, file: OpenFile, offset: int = 0) -> None:
        self.file = file
        self.offset = offset
        self._block = bytearray(BLOCK_BYTES)
        self._inside_long_line = False

    def read(self) -> Iterator[Lines]:
        """Yields the lines block by block; each block overwrites the one before it. A line longer than a block is not
        an entry, and left out. Raises ReadError."""
        if self.file.is_compressed:
            yield from self._read_compressed()
            return
        block = memoryview(self._block)
        while True:
            try:
                size = os.preadv(self.file.fd, [block], self.offset)
            except OSError as error:
                raise ReadError(f"cannot read {self.file.path}: {error.strerror}") from error
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

    def pass_over(self, size: int) -> None:
        """The line that the new place is in is not read either. The file is a plain one."""
        self.offset += size
        self._inside_long_line = True

    def _read_compressed(self) -> Iterator[Lines]:
        for part in parts(self.file, ALL, self.offset):
            self.offset = part.at + part.size
            yield part.lines()

    def is_cut(self) -> bool:
        """Whether the file became shorter than what was read of it."""
        return not self.file.is_compressed and os.fstat(self.file.fd).st_size < self.offset


class Follower:
    """Continues where a reader stopped, across rotations by any program; each call of `new` reads what was added."""

    def __init__(self, path: Path, reader: Reader | None) -> None:
        self._path = path
        self._reader = reader
        self._unreadable: set[tuple[int, int]] = set()  # inodes of files of which that was said

    def close(self) -> None:
        if self._reader is not None:
            self._reader.file.close()

    @property
    def path(self) -> Path:
        return self._path

    @property
    def place(self) -> tuple[OpenFile, int] | None:
        """The file that is read now, and how far it was read, in bytes; None: there is none yet."""
        return (self._reader.file, self._reader.offset) if self._reader else None

    def waiting_bytes(self) -> int:
        """How much the file that is read now has beyond what was read of it."""
        if self._reader is None or self._reader.file.is_compressed:
            return 0
        return max(os.fstat(self._reader.file.fd).st_size - self._reader.offset, 0)

    def pass_over(self, size: int) -> None:
        """Continues so many bytes further on, up to the line that begins there: the lines before it are not read."""
        if self._reader:
            self._reader.pass_over(size)

    def new(self) -> Iterator[Lines]:
        """The lines written since the last call. Raises ReadError."""
        if self._reader is None:
            first = self._first_of(open_log(self._path))
            if not first:
                return
            self._reader = Reader(first)
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
            if other not in newer:
                other.close()
        return self._first_of(newer)

    def _first_of(self, files: list[OpenFile]) -> OpenFile | None:
        """The first one that can be read, and is kept open. Closes the others."""
        first = None
        for file in files:
            if first is None and self._can_be_read(file):
                first = file
            else:
                file.close()
        return first

    def _can_be_read(self, file: OpenFile) -> bool:
        try:
            file.keep_open()
        except OSError as error:
            if file.inode not in self._unreadable:
                self._unreadable.add(file.inode)
                file.note_failure(error)
                say(f"cannot read {file.path}: {file.failure}")
            return False
        return True

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
        if file.identity and (later := _later(files, file.identity)):
            newer = files[files.index(later) :]
            is_next = later.identity == (file.identity.log, file.identity.segment + 1)
        else:
            is_next = False
        if newer and not is_next and status.st_nlink == 0 and self._unreadable.isdisjoint(each.inode for each in newer):
            say(f"{self._path} was rotated away before it was read: entries may be missing here")
        return newer


def _later(files: list[OpenFile], identity: Identity) -> OpenFile | None:
    """The first file that the server began after the one of this identity."""
    of_log = [file for file in files if file.identity and file.identity.log == identity.log]
    later = [file for file in of_log if file.identity and file.identity.segment > identity.segment]
    return min(later, key=attrgetter("identity"), default=None)
