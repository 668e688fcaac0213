"""The seam between the server and the disk: every change of a file goes through a storage.

`Storage` syncs with a blocking fdatasync; `AsyncStorage` syncs through the kernel's asynchronous I/O, so that the loop
never waits for a disk. Tests replace them by a storage that records or fails. All calls raise OSError, except that a
sync reports its end: it calls `done(None)` or `done(error)`.
"""

import contextlib
import errno
import math
import os
import select
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic

from fastlog.server._aio import MAX_UNDER_WAY, Aio

FILE_MODE = 0o640  # log lines can hold personal data: not everybody may read them
PROBE_NAME = ".fastlog-probe"

LOOK_SEC = 0.1  # while it waits with a limit: time between two looks whether the limit has been moved

Done = Callable[[OSError | None], None]


class SyncsUnderWayError(OSError):
    """Syncs have not ended in time."""


class Storage:
    """Files by descriptor, directories by path. `mode` names how entries are made durable."""

    mode = "fdatasync, blocking"
    give_up_at = math.inf  # on the clock of time.monotonic: from then on `finish` waits no longer, if it can help it

    def open(self, path: Path) -> int:
        """Opens for reading and appending; creates the file if it does not exist."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, FILE_MODE)

    def create(self, path: Path) -> int:
        """Opens an empty file for reading and appending; another one of this name is removed before."""
        with contextlib.suppress(FileNotFoundError):
            self.unlink(path)
        return self.open(path)

    def open_to_change(self, path: Path) -> int:
        """Opens a file that exists, to cut it or to overwrite some of it."""
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def close(self, fd: int) -> None:
        """Never fails: only a sync shows whether the data is on the disk."""
        with contextlib.suppress(OSError):
            os.close(fd)

    def write(self, fd: int, data: memoryview) -> int:
        """Appends; returns how many bytes were taken, which may be fewer than given."""
        return os.write(fd, data)

    def write_all(self, fd: int, data: bytes | bytearray) -> None:
        with memoryview(data) as view:
            done = 0
            while done < len(view):
                done += self.write(fd, view[done:])

    def overwrite(self, fd: int, data: bytes, offset: int) -> None:
        """Writes all of it over what is there."""
        with memoryview(data) as view:
            done = 0
            while done < len(view):
                done += os.pwrite(fd, view[done:], offset + done)

    def set_time(self, fd: int, modified_ns: int) -> None:
        os.utime(fd, ns=(modified_ns, modified_ns))

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def rename(self, old: Path, new: Path) -> None:
        os.replace(old, new)

    def unlink(self, path: Path) -> None:
        os.unlink(path)

    def sync(self, files: Sequence[int], directory: int | None, done: Done) -> None:
        """Makes the files' data durable, and the names in the directory; calls `done` before it returns."""
        try:
            _sync(files, directory)
        except OSError as error:
            done(error)
        else:
            done(None)

    def sync_now(self, files: Sequence[int], directory: int | None = None) -> None:
        """Makes the same durable, and blocks until it is: for the start, where nobody waits for the loop."""
        _sync(files, directory)

    def finish(self) -> None:
        """Waits until every sync under way has ended, and calls their `done`. Raises SyncsUnderWayError at
        `give_up_at`."""

    def shut_down(self) -> None:
        self.finish()


class AsyncStorage(Storage):
    """`on_ready` calls `done`; it is to be called when `source` becomes readable."""

    mode = "fdatasync, asynchronous"

    def __init__(self) -> None:
        self._aio = Aio()
        self._under_way: dict[int, tuple[int, OSError | None, Done]] = {}  # parts left, first error, done
        self._waiting: deque[tuple[int, bool, int]] = deque()  # parts that the kernel has no room for yet
        self._next_tag = 0

    @property
    def source(self) -> int:
        return self._aio.eventfd

    def sync(self, files: Sequence[int], directory: int | None, done: Done) -> None:
        tag = self._next_tag
        self._next_tag += 1
        parts = [(fd, False, tag) for fd in files] + ([] if directory is None else [(directory, True, tag)])
        self._under_way[tag] = (len(parts), None, done)
        self._waiting.extend(parts)
        self._submit()

    def on_ready(self, now: float) -> None:
        self._note_ended(self._aio.ended())

    def finish(self) -> None:
        while self._under_way:
            waits = self.give_up_at == math.inf
            if not waits:
                self._wait_with_limit()
            self._note_ended(self._aio.ended(wait=waits))

    def shut_down(self) -> None:
        self.finish()
        self._aio.close()

    def _wait_with_limit(self) -> None:
        while not select.select([self.source], [], [], LOOK_SEC)[0]:
            if monotonic() >= self.give_up_at:  # a signal handler may have moved it
                raise SyncsUnderWayError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    def _submit(self) -> None:
        refused = []
        while self._waiting and self._aio.under_way < MAX_UNDER_WAY:
            fd, is_directory, tag = self._waiting.popleft()
            try:
                self._aio.submit(fd, is_directory, tag)
            except OSError as error:
                refused.append((tag, error.errno or errno.EIO))
        if refused:
            self._note_ended(refused)

    def _note_ended(self, ended: list[tuple[int, int]]) -> None:
        for tag, number in ended:
            left, error, done = self._under_way.pop(tag)
            if number and error is None:
                error = OSError(number, os.strerror(number))
            if left > 1:
                self._under_way[tag] = (left - 1, error, done)
            else:
                done(error)
        self._submit()


def _sync(files: Sequence[int], directory: int | None) -> None:
    for fd in files:
        os.fdatasync(fd)
    if directory is not None:
        os.fsync(directory)


def best_storage(directory: Path) -> tuple[Storage, str | None]:
    """The asynchronous storage if the directory's file system supports it; otherwise the blocking one, and why."""
    try:
        storage = AsyncStorage()
    except OSError as error:
        return Storage(), str(error)
    failure = _try_sync(storage, directory)
    if failure is None:
        return storage, None
    with contextlib.suppress(OSError):
        storage.shut_down()
    return Storage(), str(failure)


def _try_sync(storage: Storage, directory: Path) -> OSError | None:
    """Syncs a new file in the directory, and removes it again; returns why the sync failed, if it did."""
    ends: list[OSError | None] = []
    probe = directory / PROBE_NAME
    try:
        directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fd = storage.open(probe)
            try:
                storage.sync([fd], directory_fd, ends.append)
                storage.finish()
            finally:
                storage.close(fd)
                with contextlib.suppress(OSError):
                    storage.unlink(probe)
        finally:
            os.close(directory_fd)
    except OSError as error:
        return error
    return ends[0]
