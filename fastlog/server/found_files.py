"""The files of the log as a start finds them: the live file, its archives, and the files set aside.

Archives may be those of logrotate, and of a time when LOG_BACKUPS was higher, compressed or not. What has such a name
may also be a directory, belong to somebody else, or vanish. That is never the end of the start, and never holds it up:
the start says so and leaves it alone.
"""

import contextlib
import errno
import os
import re
import stat
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from fastlog.errors import say
from fastlog.file_systems import is_file, open_to_read
from fastlog.segments import COMPRESSED_ENDING, DATE, GZIP_ENDING
from fastlog.server.storage import Storage

# What follows the live file's name: an archive's number, or its date (logrotate's `dateext`), or the number of a file
# set aside. Archives may be compressed, by the server or by another program.
DISTRUSTED = r"\.distrusted\.[0-9]+"
ARCHIVE = rf"(?:\.[0-9]+|-{DATE})"
NAMES = re.compile(rf"(?:{ARCHIVE}(?P<ending>{re.escape(COMPRESSED_ENDING)}|{re.escape(GZIP_ENDING)})?|{DISTRUSTED})?")


class Found(NamedTuple):
    """`ending`: what follows the plain file's name, of one that is compressed."""

    path: Path
    size: int  # bytes
    modified_ns: int
    ending: str = ""

    @property
    def is_distrusted(self) -> bool:
        return re.search(DISTRUSTED + "$", self.path.name) is not None

    @property
    def plain_name(self) -> str:
        """The name that it has, or had before it was compressed."""
        return self.path.name.removesuffix(self.ending)


def find(live: Path, report: Callable[[str], None] = lambda text: None) -> list[Found]:
    """The live file first, if there is one; then the others, the newest first. A compressed file is left out as long as
    the plain one is there. Reports what is not a file."""
    found = {}
    try:
        names = os.listdir(live.parent)
    except OSError as error:
        report(f"cannot list {live.parent}: {error.strerror}; only {live} is looked at")
        names = [live.name]
    for name in names:
        match = NAMES.fullmatch(name.removeprefix(live.name)) if name.startswith(live.name) else None
        if match is None:
            continue
        path = live.parent / name
        try:
            status = os.stat(path)
        except OSError:  # it is gone, or a link to nothing
            continue
        if stat.S_ISREG(status.st_mode):
            found[name] = Found(path, status.st_size, status.st_mtime_ns, match["ending"] or "")
        else:
            report(f"{path} is not a file: it is left alone")
    in_force = [each for each in found.values() if not each.ending or each.plain_name not in found]
    return sorted(in_force, key=lambda each: (each.path == live, each.modified_ns), reverse=True)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    """The file, to be read once from the beginning to the end. Raises OSError."""
    fd = open_to_read(path)
    try:
        if not is_file(fd):
            raise OSError(errno.EINVAL, "it is not a file")
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        yield fd
    finally:
        os.close(fd)


def newest_lines(
    storage: Storage, live: Path, most_bytes: int, levels: Collection[str] | None = None
) -> Iterator[memoryview]:
    """About the newest `most_bytes` of the log, in whole lines, the oldest file first. Each view is good until the
    next. Of compressed archives, lines may be left out that have none of the `levels`.

    The lines are on the disk: what a crash of the server left in the page cache alone is synced before. A file that
    cannot be synced, read or unpacked is left out.
    """
    chosen: list[tuple[Found, Callable[[], Iterator[memoryview]]]] = []
    left = most_bytes
    for found in find(live):
        if left <= 0:
            break
        with _reported(found):
            size, lines = _newest_of(storage, found, left, levels)
            chosen.append((found, lines))
            left -= size
    for found, lines in reversed(chosen):
        with _reported(found):
            yield from lines()


@contextlib.contextmanager
def _reported(found: Found) -> Iterator[None]:
    """Says why the file cannot be read, if that is so."""
    try:
        yield
    except (OSError, ValueError) as error:  # DamagedError is a ValueError
        why = getattr(error, "strerror", None) or error
        say(f"cannot read {found.path}: {why}; what it holds is stored again if it is sent again")


def _newest_of(
    storage: Storage, found: Found, most_bytes: int, levels: Collection[str] | None
) -> tuple[int, Callable[[], Iterator[memoryview]]]:
    """How many bytes of lines the file has, as far as is known, and what reads the newest `most_bytes` of them. Raises
    OSError, and DamagedError."""
    if not found.ending:
        return found.size, partial(_plain_lines, storage, found, min(found.size, most_bytes))
    # Here, since most servers find no such file.
    from fastlog.archive.index import read_text_size
    from fastlog.server.found_compressed import end_of_stream

    with opened(found.path) as fd:
        is_gzip = found.ending == GZIP_ENDING
        size = None if is_gzip else read_text_size(fd)
        if size is None:
            storage.sync_now([fd])
            size, lines = end_of_stream(fd, most_bytes, is_gzip=is_gzip)
            return size, partial(iter, [memoryview(lines)])
    return size, partial(_archived_lines, storage, found, most_bytes, levels)


def _archived_lines(
    storage: Storage, found: Found, most_bytes: int, levels: Collection[str] | None
) -> Iterator[memoryview]:
    from fastlog.server.found_compressed import newest_frames

    with opened(found.path) as fd:
        storage.sync_now([fd])
        for lines in newest_frames(fd, most_bytes, levels):
            yield memoryview(lines)


def _plain_lines(storage: Storage, found: Found, size: int) -> Iterator[memoryview]:
    content = _durable_end(storage, found, size)
    whole = content.find(b"\n") + 1 if size < found.size else 0
    yield memoryview(content)[whole:]


def _durable_end(storage: Storage, found: Found, size: int) -> bytearray:
    with opened(found.path) as fd:
        storage.sync_now([fd])
        if found.is_distrusted:
            # After a sync that failed, the page cache holds what the disk does not. Read what the disk holds.
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        content = bytearray(size)
        with memoryview(content) as view:
            filled = 0
            while filled < size and (count := os.preadv(fd, [view[filled:]], found.size - size + filled)):
                filled += count
        del content[filled:]
        return content
