"""The files of a log, opened for reading: the live file and its archives, the oldest first, compressed ones included.

An archive is called `server.log.N` or `server.log.N.zst` by fastlog, and `server.log.N`, `server.log-DATE` or either
with `.gz` or `.zst` by logrotate.
"""

import errno
import heapq
import os
import re
import resource
import shutil
import stat
import tempfile
from operator import attrgetter
from pathlib import Path

from fastlog.errors import FastlogError
from fastlog.file_systems import open_to_read
from fastlog.logs.open_file import GzipFile, OpenFile, ZstdFile, reason_and_advice
from fastlog.segments import COMPRESSED_ENDING, DATE, GZIP_ENDING, NUMBER, identity_if_any

WALKS_MAX = 100  # over the files, until no rotation comes in between: a walk takes microseconds, rotations are rare
ROTATIONS_MEANWHILE = 2  # the oldest file may move up by so many numbers during a walk
PREFIX_BYTES = 1 << 16  # compared to recognise a compressed copy of a file: hundreds of entries
# What `open` fails with where there is no file: nothing, a socket, or a link that leads to itself.
NO_FILE = {errno.ENOENT, errno.ENXIO, errno.ELOOP}
# Descriptors that files do not take: of the threads that read, which open what is not kept open, and of all others.
OTHER_DESCRIPTORS = 32
SAME_TIME_NS = 2_000_000_000  # a compressed copy keeps the time of its original, to the second at least

_ARCHIVE = rf"(?:\.(?P<number>{NUMBER})|-(?P<date>{DATE}))(?P<ending>\.[A-Za-z0-9]+)?"


class ReadError(FastlogError):
    """The log cannot be read."""


Forms = tuple[tuple[type[OpenFile], str], ...]
# Of archives, each with the end of their names.
FORMS: Forms = ((OpenFile, ""), (ZstdFile, COMPRESSED_ENDING), (GzipFile, GZIP_ENDING))


def open_log(path: Path) -> list[OpenFile]:
    """The archives of a live file and the live file itself, the oldest first, each once. Raises ReadError. What cannot
    be opened, or is one too many to be kept open, is opened when it is read.

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


def open_file(name: str) -> OpenFile:
    """One file, compressed if its name ends so. `-` is standard input: that, and what cannot be read twice, is copied
    to a temporary file first. Raises ReadError."""
    if name == "-":
        return _spooled("standard input", 0)
    kind = next(kind for kind, ending in reversed(FORMS) if name.endswith(ending))
    if file := _open(kind, name, is_kept=True):
        return file
    try:
        with open(name, "rb") as stream:
            return _spooled(name, stream.fileno())
    except OSError as error:
        raise ReadError(f"cannot read {name}: {error.strerror}") from error


def _spooled(name: str, fd: int) -> OpenFile:
    """A copy of what comes from the descriptor, plain text. It has no name, and is gone when it is closed. Raises
    ReadError."""
    try:
        with open(fd, "rb", closefd=False) as stream, tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(stream, copy)
            copy.flush()
            status = os.fstat(copy.fileno())
            inode = status.st_dev, status.st_ino
            return OpenFile(name, os.dup(copy.fileno()), inode, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise ReadError(f"cannot read {name}: {error.strerror}") from error


def unread_archives(path: Path) -> list[str]:
    """The names of archives that are compressed in a way that is not read here. Raises ReadError."""
    try:
        names = os.listdir(path.parent)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ReadError(f"cannot read {path.parent}: {reason_and_advice(error, path.parent)}") from error
    archive, endings = re.compile(re.escape(path.name) + _ARCHIVE), {ending for _, ending in FORMS}
    found = [name for name in names if (match := archive.fullmatch(name)) and (match["ending"] or "") not in endings]
    return sorted(found)


def inode_of(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def is_copy(archive: OpenFile, file: OpenFile) -> bool:
    """Whether a compressed archive was made of this file."""
    if not archive.is_compressed:
        return False
    if archive.identity and archive.identity == file.identity:
        return True
    if abs(archive.changed - os.fstat(file.fd).st_mtime_ns) > SAME_TIME_NS:
        return False
    own = file.beginning(PREFIX_BYTES)
    return own is not None and bool(own) and archive.beginning(len(own)) == own


def _walk(path: Path) -> list[OpenFile]:
    """Opens the live file and its archives in one walk over their names, the newest first. Raises ReadError."""
    seen: set[tuple[int, int]] = set()
    numbered: list[OpenFile] = []
    dated: list[OpenFile] = []
    try:
        archive = re.compile(re.escape(path.name) + _ARCHIVE)
        matches = [match for name in os.listdir(path.parent) if (match := archive.fullmatch(name))]
        highest = max((int(match["number"]) for match in matches if match["number"]), default=0)
        for number in range(highest + 1 + ROTATIONS_MEANWHILE):
            _open_into(numbered, seen, f"{path}.{number}" if number else str(path), FORMS if number else FORMS[:1])
        for date in sorted({match["date"] for match in matches if match["date"]}, reverse=True):
            _open_into(dated, seen, f"{path}-{date}", FORMS)
    except OSError as error:
        for file in numbered + dated:
            file.close()
        if isinstance(error, FileNotFoundError):  # the directory does not exist
            return []
        unread = error.filename or path
        raise ReadError(f"cannot read {unread}: {reason_and_advice(error, unread)}") from error
    live = [file for file in numbered[:1] if file.path == str(path)]
    older = reversed(numbered[len(live) :])
    return [*heapq.merge(reversed(dated), older, key=attrgetter("changed")), *live]


def _open_into(files: list[OpenFile], seen: set[tuple[int, int]], path: str, forms: Forms) -> None:
    """Opens the file in each form that exists, unless it was met before. Where several exist, one may be a copy of
    another, which is being compressed: the first is whole then, and the other may be unfinished."""
    found: list[OpenFile] = []
    room = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - OTHER_DESCRIPTORS
    for kind, ending in forms:
        file = _open(kind, path + ending, is_kept=len(seen) < room)
        if file is None:
            continue
        met = [other for other in files[-ROTATIONS_MEANWHILE:] if file.identity == other.identity is not None]
        if file.inode in seen or any(_have_one_text(file, other) for other in met + found):
            file.close()
        else:
            seen.add(file.inode)
            found.append(file)
    files += sorted(found, key=attrgetter("changed"), reverse=True)  # as numbers are: the newest first


def _open(kind: type[OpenFile], name: str, is_kept: bool) -> OpenFile | None:
    """The file of this name, if there is one. `is_kept`: whether it is to be kept open."""
    fd = -1
    try:
        if is_kept:
            fd = open_to_read(name)
        status = os.stat(name) if fd < 0 else os.fstat(fd)
    except OSError as error:
        if error.errno in NO_FILE:
            return None
        try:
            status = os.stat(name)  # whoever needs the file is told why it cannot be read
        except FileNotFoundError:
            return None
    if not stat.S_ISREG(status.st_mode):
        if fd >= 0:
            os.close(fd)
        return None
    identity = identity_if_any(name if fd < 0 else fd)
    return kind(name, fd, (status.st_dev, status.st_ino), status.st_size, status.st_mtime_ns, identity)


def _have_one_text(file: OpenFile, other: OpenFile) -> bool:
    """Whether one of two files is compressed and has the text of the other, as far as it has any yet."""
    if not (file.is_compressed or other.is_compressed):
        return False
    if file.identity and other.identity:
        return file.identity == other.identity
    own, its = file.beginning(PREFIX_BYTES), other.beginning(PREFIX_BYTES)
    return own is not None and its is not None and (own.startswith(its) or its.startswith(own))
