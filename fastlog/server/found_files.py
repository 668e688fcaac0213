"""The files of the log as a start finds them: the live file, its archives, and the files set aside.

Archives may be those of logrotate, and of a time when LOG_BACKUPS was higher. What has such a name may also be a
directory, belong to somebody else, or vanish. That is never the end of the start, and never holds it up: the start
says so and leaves it alone.
"""

import contextlib
import errno
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from fastlog.errors import say
from fastlog.file_systems import is_file, open_to_read
from fastlog.server.storage import Storage

# What follows the live file's name: an archive's number, or its date (logrotate's `dateext`), or the number of a file
# set aside. Compressed archives are a rotation old; nothing here reads them.
DISTRUSTED = r"\.distrusted\.[0-9]+"
NAMES = re.compile(rf"(?:\.[0-9]+|-[0-9]{{8}}(?:[-_T]?[0-9]{{1,10}})?|{DISTRUSTED})?")


class Found(NamedTuple):
    path: Path
    size: int  # bytes
    modified_ns: int

    @property
    def is_distrusted(self) -> bool:
        return re.search(DISTRUSTED + "$", self.path.name) is not None


def find(live: Path, report: Callable[[str], None] = lambda text: None) -> list[Found]:
    """The live file first, if there is one; then the others, the newest first. Reports what is not a file."""
    found = []
    try:
        names = os.listdir(live.parent)
    except OSError as error:
        report(f"cannot list {live.parent}: {error.strerror}; only {live} is looked at")
        names = [live.name]
    for name in names:
        if not name.startswith(live.name) or not NAMES.fullmatch(name.removeprefix(live.name)):
            continue
        path = live.parent / name
        try:
            status = os.stat(path)
        except OSError:  # it is gone, or a link to nothing
            continue
        if stat.S_ISREG(status.st_mode):
            found.append(Found(path, status.st_size, status.st_mtime_ns))
        else:
            report(f"{path} is not a file: it is left alone")
    return sorted(found, key=lambda each: (each.path == live, each.modified_ns), reverse=True)


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


def newest_lines(storage: Storage, live: Path, most_bytes: int) -> Iterator[memoryview]:
    """The newest `most_bytes` of the log, in whole lines, the oldest file first. Each view is good until the next.

    The lines are on the disk: what a crash of the server left in the page cache alone is synced before. A file that
    cannot be synced or read is left out.
    """
    chosen = []
    left = most_bytes
    for found in find(live):
        if left > 0:
            chosen.append((found, min(found.size, left)))
            left -= found.size
    for found, size in reversed(chosen):
        try:
            content = _durable_end(storage, found, size)
        except OSError as error:
            say(f"cannot read {found.path}: {error.strerror}; what it holds is stored again if it is sent again")
        else:
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
