"""One file of priority entries that wait on disk: its name, header, lock and lines.

Two things make a file one of fastlog's: its name, which is `<spill>.<pid>-<8 hexadecimal digits>`, and its first line,
which only fastlog writes. Every other file is left alone: it is not opened for writing, renamed or removed. A lock
shows that a program uses the file.

The first line, the header, is an entry like the others, so `fastlog send --json` takes the whole file. Its length is
fixed, and it is rewritten in place: it says up to where all entries are acknowledged. A checksum shows that a header
was written only in part; then the replay begins at the first entry.

Some programs close all descriptors, and the numbers then become those of other files. So before each use of a
descriptor the file looks whether it is still its own, and opens itself anew if not.
"""

import os
import re
import stat
import sys
import zlib
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from fastlog.client.descriptor import Descriptor, above_standard_streams
from fastlog.client.send_queue import first_sequence
from fastlog.limits import DATAGRAM_MAX_BYTES

if sys.platform != "win32":  # where there are no spill files
    import fcntl

VERSION = 1
READ_BYTES = 1 << 18  # a file is read in parts of this size; no entry is longer
FOUND_MAX = 10_000  # files of one path at one look into the directory; a later look finds the others
ASIDE = ".aside"  # ends the name of a file with entries that no program sends again by itself

_NAME = r"\.[0-9]{1,10}-[0-9a-f]{8}"
_MAGIC = b'{"level":"DEBUG","message":"fastlog spill file, version '
_CHECKED = _MAGIC + b'%d","acknowledged_bytes":%20d,"checksum":'
HEADER_BYTES = len(_CHECKED % (VERSION, 0)) + len(b'"00000000"}\n')
_VERSION = re.compile(re.escape(_MAGIC) + rb'([0-9]{1,9})"')
_CURSOR = re.compile(rb'"acknowledged_bytes": *([0-9]{1,19}),')
_SEQUENCE = re.compile(rb'"sequence":([0-9]{1,20}),')  # the first one of a line is that of the client

# The files that this process has open. When a program closes all descriptors, their locks are gone, and another client
# of the same program could take them.
_in_use: set[tuple[int, int]] = set()

_CAREFULLY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # follows no link, and waits for nobody
_LOOK = os.O_RDONLY | _CAREFULLY
_USE = os.O_RDWR | _CAREFULLY


class ForeignFileError(Exception):
    """The file is not for this program to take. The text says why."""


class LostFileError(OSError):
    """The file is this program's no more: another one has removed, replaced, changed or taken it."""


class Piece(NamedTuple):
    """A line of a file."""

    start: int  # its place in the file, in bytes
    sequence: int | None  # None: this is not an entry that can be sent
    line: bytes


class FoundFile(NamedTuple):
    changed_ns: int
    path: str
    size: int  # bytes


def found_files(prefix: str) -> Iterator[FoundFile]:
    """The files that are called like spill files of that path, also those set aside. Raises OSError."""
    directory, base = os.path.split(prefix)
    name = re.compile(re.escape(base) + _NAME + f"({re.escape(ASIDE)})?")
    with os.scandir(directory) as entries:
        for entry in islice((entry for entry in entries if name.fullmatch(entry.name)), FOUND_MAX):
            with suppress(FileNotFoundError):  # another program has just sent all of it
                status = entry.stat(follow_symlinks=False)
                yield FoundFile(status.st_mtime_ns, os.path.join(directory, entry.name), status.st_size)


class SpillFile:
    """One file under a lock. Methods raise OSError when the disk refuses."""

    def __init__(self, path: str, fd: int, size: int, cursor: int) -> None:
        self.path = path
        self.size = size  # bytes, in whole lines if this program writes the file
        self.next_sequence = first_sequence()
        self._descriptor = Descriptor(fd)
        self._identity = _identity(os.fstat(fd))
        _in_use.add(self._identity)
        self._has_rest = False  # behind `size` there is a part of what could not be written whole
        self._cursor = cursor
        self._read = cursor  # up to where the file is read
        self._pieces: list[Piece] = []  # read and not taken yet, the last one first

    @classmethod
    def create(cls, prefix: str, ending: str = "") -> "SpillFile":
        path = f"{prefix}.{os.getpid()}-{os.urandom(4).hex()}{ending}"
        fd = above_standard_streams(os.open(path, _USE | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _write(fd, _header(HEADER_BYTES), 0)  # only now may another program think of taking it
            return cls(path, fd, HEADER_BYTES, HEADER_BYTES)
        except BaseException:
            os.close(fd)
            os.unlink(path)
            raise

    @classmethod
    def take_over(cls, path: str) -> "SpillFile | None":
        """The file of a program that is gone; None if a program uses it. Raises ForeignFileError, besides OSError."""
        try:
            identity = _look_at(path)
            fd = above_standard_streams(os.open(path, _USE)) if identity else -1
        except FileNotFoundError:  # another program has just sent all of it
            return None
        if identity is None:
            return None
        try:
            if identity not in _in_use and _is_locked(fd, path, identity):
                size = os.fstat(fd).st_size
                return cls(path, fd, size, _cursor(fd, size))
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return None

    @property
    def is_empty(self) -> bool:
        return self.size == HEADER_BYTES

    @property
    def is_read(self) -> bool:
        return not self._pieces and self._read >= self.size

    @property
    def position(self) -> int:
        """Where the piece begins that `next` returns next."""
        return self._pieces[-1].start if self._pieces else self._read

    def append(self, lines: list[bytes]) -> None:
        """Appends all of the lines or none."""
        status = self._check()
        if self._has_rest:
            os.ftruncate(self._descriptor.fd, self.size)
            self._has_rest = False
        elif status.st_nlink == 0 or status.st_size != self.size:
            raise LostFileError(0, f"another program has changed {self.path}")
        data = b"\n".join(lines) + b"\n"
        try:
            _write(self._descriptor.fd, data, self.size)
        except OSError:
            self._has_rest = True
            os.ftruncate(self._descriptor.fd, self.size)
            self._has_rest = False
            raise
        self.size += len(data)

    def next(self) -> Piece | None:
        """The next line; None if there are no more at present."""
        while not self._pieces and self._read < self.size:
            self._read_more()
        return self._pieces.pop() if self._pieces else None

    def acknowledged(self, to: int) -> None:
        """Everything before that place is acknowledged, or set aside: a later program begins there."""
        if to > self._cursor:
            self._check()
            _write(self._descriptor.fd, _header(to), 0)
            self._cursor = to

    def remove(self) -> None:
        try:
            status = self._check()
            if _identity(os.lstat(self.path)) == _identity(status):
                os.unlink(self.path)
        finally:
            self.close()

    def close(self) -> None:
        """Closes the file and leaves it for the next program. In a child after a fork, the parent keeps the lock."""
        _in_use.discard(self._identity)
        with suppress(OSError):
            self._descriptor.close()

    def _check(self) -> os.stat_result:
        """The status of the file, whose descriptor is this program's own. Raises LostFileError."""
        if self._descriptor.is_ours():
            return os.fstat(self._descriptor.fd)
        try:
            fd = above_standard_streams(os.open(self.path, _USE))
        except FileNotFoundError as error:
            raise LostFileError(0, f"another program has removed {self.path}") from error
        descriptor = Descriptor(fd)
        try:
            if _is_locked(fd, self.path, self._identity):
                self._descriptor = descriptor
                return os.fstat(fd)
        except BaseException:
            descriptor.close()
            raise
        descriptor.close()
        raise LostFileError(0, f"another program has taken {self.path}")

    def _read_more(self) -> None:
        self._check()
        data = os.pread(self._descriptor.fd, min(READ_BYTES, self.size - self._read), self._read)
        if not data:
            raise LostFileError(0, f"another program has cut {self.path}")
        end = data.rfind(b"\n") + 1
        # Without a line feed: a program ended in the middle of a line, or another one wrote something else.
        lines = data[: end - 1].split(b"\n") if end else [data]
        pieces = []
        start = self._read
        for line in lines:
            match = _SEQUENCE.search(line) if end and len(line) <= DATAGRAM_MAX_BYTES else None
            if line:
                pieces.append(Piece(start, int(match[1]) if match else None, line))
            start += len(line) + 1
        self._read += end or len(data)
        self._pieces = pieces[::-1]


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _look_at(path: str) -> tuple[int, int] | None:
    """Which file it is, if it is a spill file; None if it is empty, since a program is just making it or was killed
    then. Opens nothing that an opening could change. Raises ForeignFileError."""
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode):
        raise ForeignFileError("it is not a regular file")
    if status.st_size == 0:
        return None
    if status.st_uid != os.geteuid():
        raise ForeignFileError("it belongs to another user")
    if status.st_nlink > 1:
        raise ForeignFileError("it has several names")
    fd = os.open(path, _LOOK)
    try:
        if _identity(os.fstat(fd)) != _identity(status):
            raise ForeignFileError("it changes")
        header = os.pread(fd, HEADER_BYTES, 0)
    finally:
        os.close(fd)
    version = _VERSION.match(header)
    if version is None:
        raise ForeignFileError("it does not begin as a spill file does")
    if int(version[1]) != VERSION:
        raise ForeignFileError(f"another version of fastlog wrote it ({int(version[1])})")
    return _identity(status)


def _is_locked(fd: int, path: str, identity: tuple[int, int]) -> bool:
    """Locks the file. False if another program has done so, or the path has become another file's meanwhile: a file
    that was removed between its opening and its lock belongs to nobody."""
    if _identity(os.fstat(fd)) != identity:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return _identity(os.lstat(path)) == identity
    except (BlockingIOError, FileNotFoundError):
        return False


def _header(cursor: int) -> bytes:
    checked = _CHECKED % (VERSION, cursor)
    return checked + b'"%08x"}\n' % zlib.crc32(checked)


def _cursor(fd: int, size: int) -> int:
    """Up to where the entries of the file are acknowledged."""
    header = os.pread(fd, HEADER_BYTES, 0)
    found = _CURSOR.search(header)
    cursor = int(found[1]) if found else 0
    is_whole = header == _header(cursor) and HEADER_BYTES <= cursor <= size
    return cursor if is_whole and os.pread(fd, 1, cursor - 1) == b"\n" else HEADER_BYTES


def _write(fd: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, at)
        view, at = view[written:], at + written
