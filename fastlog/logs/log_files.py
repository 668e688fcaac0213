"""The files of a log, opened for reading: the live file and its archives, the oldest first, compressed ones included.

An archive is called `server.log.N` by fastlog, and `server.log.N`, `server.log-DATE` or either with `.gz` by logrotate.
A file is known by its inode, never by its name, and stays open while it is read.
"""

import gzip
import heapq
import os
import re
import zlib
from operator import attrgetter
from pathlib import Path

import msgspec

from fastlog.errors import FastlogError, say

WALKS_MAX = 100  # over the files, until no rotation comes in between: a walk takes microseconds, rotations are rare
ROTATIONS_MEANWHILE = 2  # the oldest file may move up by so many numbers during a walk
PREFIX_BYTES = 1 << 16  # compared to recognise a compressed copy of a file: hundreds of entries
SAME_TIME_NS = 2_000_000_000  # a compressed copy keeps the time of its original, to the second at least

_ARCHIVE = r"(?:\.(?P<number>[1-9][0-9]{0,5})|-(?P<date>[0-9]{8}(?:[-_T]?[0-9]{1,10})?))(?P<suffix>\.[A-Za-z0-9]+)?"


class ReadError(FastlogError):
    """The log cannot be read."""


class OpenFile(msgspec.Struct):
    """A file of the log, open. `size` (bytes) and `changed` (ns) are those of the moment when it was opened."""

    path: str
    fd: int
    inode: tuple[int, int]  # its device and its number
    size: int
    changed: int

    is_compressed = False

    def read_at(self, buffer: memoryview, offset: int) -> int:
        """Fills the buffer from that offset of the text; returns fewer bytes only at its end."""
        return os.preadv(self.fd, [buffer], offset)

    def close(self) -> None:
        os.close(self.fd)


class CompressedFile(OpenFile):
    """An archive that gzip wrote. It is cheap to read forward only; an offset before the last one starts anew."""

    stream: gzip.GzipFile | None = None
    is_damaged: bool = False

    is_compressed = True

    def read_at(self, buffer: memoryview, offset: int) -> int:
        if self.stream is None:
            self.stream = gzip.GzipFile(fileobj=open(self.fd, "rb", closefd=False))  # noqa: SIM115  # `close` does it
        filled = 0
        try:
            if self.stream.tell() != offset:
                self.stream.seek(offset)
            while filled < len(buffer):
                size = self.stream.readinto1(buffer[filled:])
                if not size:
                    break
                filled += size
        except (OSError, EOFError, zlib.error):
            if not self.is_damaged:
                self.is_damaged = True
                say(f"{self.path} is damaged: its end is not shown")
        return filled


Forms = tuple[tuple[type[OpenFile], str], ...]
FORMS: Forms = ((OpenFile, ""), (CompressedFile, ".gz"))  # of archives, each with the end of their names


def open_log(path: Path) -> list[OpenFile]:
    """The archives of a live file and the live file itself, the oldest first, each once. Raises ReadError.

    Numbered files only ever move to higher numbers, and the walk goes the same way: it may meet a file twice, but
    misses none.
    """
    for _ in range(WALKS_MAX):
        files = _walk(path)
        if not files or inode_of(path) in (files[-1].inode, None):
            break
        for file in files:
            file.close()
        files = []
    else:
        files = _walk(path)
    return files


def unread_archives(path: Path) -> list[str]:
    """The names of archives that are compressed in a way that is not read here. Raises ReadError."""
    try:
        names = os.listdir(path.parent)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ReadError(f"cannot read {path.parent}: {error.strerror}") from error
    archive = re.compile(re.escape(path.name) + _ARCHIVE)
    found = [name for name in names if (match := archive.fullmatch(name)) and match["suffix"] not in (None, ".gz")]
    return sorted(found)


def inode_of(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def is_copy(archive: OpenFile, file: OpenFile) -> bool:
    """Whether a compressed archive was made of this file."""
    if not archive.is_compressed or abs(archive.changed - os.fstat(file.fd).st_mtime_ns) > SAME_TIME_NS:
        return False
    own, other = bytearray(PREFIX_BYTES), bytearray(PREFIX_BYTES)
    size = file.read_at(memoryview(own), 0)
    return size > 0 and archive.read_at(memoryview(other)[:size], 0) == size and own == other


def _walk(path: Path) -> list[OpenFile]:
    """Opens the live file and its archives in one walk over their names. Raises ReadError."""
    seen: set[tuple[int, int]] = set()
    numbered: list[OpenFile] = []
    dated: list[OpenFile] = []
    try:
        archive = re.compile(re.escape(path.name) + _ARCHIVE)
        matches = [match for name in os.listdir(path.parent) if (match := archive.fullmatch(name))]
        highest = max((int(match["number"]) for match in matches if match["number"]), default=0)
        for number in range(highest + 1 + ROTATIONS_MEANWHILE):
            _open_into(numbered, seen, f"{path}.{number}" if number else str(path), FORMS if number else FORMS[:1])
        for date in sorted({match["date"] for match in matches if match["date"]}):
            _open_into(dated, seen, f"{path}-{date}", FORMS)
    except OSError as error:
        for file in numbered + dated:
            file.close()
        if isinstance(error, FileNotFoundError):  # the directory does not exist
            return []
        raise ReadError(f"cannot read {error.filename or path}: {error.strerror}") from error
    live = [file for file in numbered[:1] if file.path == str(path)]
    older = reversed(numbered[len(live) :])
    return [*heapq.merge(dated, older, key=attrgetter("changed")), *live]


def _open_into(files: list[OpenFile], seen: set[tuple[int, int]], path: str, forms: Forms) -> None:
    """Opens the file in the first form that exists, unless it was met before. Where both exist, the plain one is whole,
    and the compressed one may be unfinished."""
    for kind, suffix in forms:
        name = path + suffix
        try:
            fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        status = os.fstat(fd)
        inode = status.st_dev, status.st_ino
        if inode in seen:
            os.close(fd)
        else:
            seen.add(inode)
            files.append(kind(name, fd, inode, status.st_size, status.st_mtime_ns))
        return
