"""The seam between the server and the disk: every change of a file of the log goes through a storage.

`Storage` syncs with a blocking fdatasync; `AsyncStorage` syncs through the kernel's asynchronous I/O, so that the loop
never waits for a disk. Tests replace them by a storage that records or fails. All calls raise OSError, except that a
sync reports its end: it calls `done(None)` or `done(error)`.
"""

import contextlib
import errno
import fcntl
import math
import os
import select
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import monotonic

from fastlog.file_systems import NO_DIRECTORY_SYNC, NO_LOCKS
from fastlog.server._aio import MAX_UNDER_WAY, Aio

FILE_MODE = 0o640  # log lines can hold personal data: not everybody may read them

LOOK_SEC = 0.1  # while it waits with a limit: time between two looks whether the limit has been moved

Done = Callable[[OSError | None], None]


class SyncsUnderWayError(OSError):
    """Syncs have not ended in time."""


class Storage:
    """Files by descriptor, directories by path. `mode` names how entries are made durable."""

    give_up_at = math.inf  # on the clock of time.monotonic: from then on `finish` waits no longer, if it can help it
    no_name_syncs: str | None = None  # why new names are as durable as the file system makes them by itself
    directories_under_sync = 0
    no_locks: str | None = None  # why another process that writes the same file is not noticed

    def __init__(self) -> None:
        self._unsynced_attributes: set[int] = set()  # descriptors, which their next sync takes out

    @property
    def mode(self) -> str:
        return "fdatasync, blocking"

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
        self._unsynced_attributes.discard(fd)
        with contextlib.suppress(OSError):
            os.close(fd)

    def lock(self, fd: int) -> None:
        """Raises BlockingIOError if another process has locked the file. Where there are no locks, nothing happens."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            self.no_locks = os.strerror(error.errno)

    def make_directory(self, path: Path) -> None:
        """Makes the directory, and those above it that are missing. Their names are durable then."""
        for directory in reversed([path, *path.parents]):
            if not directory.is_dir():
                try:
                    directory.mkdir()
                except FileExistsError as error:
                    if not directory.is_dir():
                        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory)) from error
                self._sync_new_name(directory.parent)

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

    def set_attribute(self, fd: int, name: str, value: str) -> None:
        """Sets an extended attribute. Many file systems have none, or no room for another."""
        os.setxattr(fd, name, value.encode())
        self._unsynced_attributes.add(fd)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def rename(self, old: Path, new: Path) -> None:
        os.replace(old, new)

    def unlink(self, path: Path) -> None:
        os.unlink(path)

    def sync(self, files: Sequence[int], directory: int | None, done: Done) -> None:
        """Makes durable the files' data, the attributes set through these descriptors, and the names in the directory;
        calls `done` before it returns."""
        try:
            self._sync(files, directory)
        except OSError as error:
            done(error)
        else:
            done(None)

    def sync_now(self, files: Sequence[int], directory: int | None = None) -> None:
        """Makes the same durable, and blocks until it is: for the start, where nobody waits for the loop."""
        self._sync(files, directory)

    def finish(self) -> None:
        """Waits until every sync under way has ended, and calls their `done`. Raises SyncsUnderWayError at
        `give_up_at`."""

    def shut_down(self) -> None:
        self.finish()

    def _sync(self, files: Sequence[int], directory: int | None) -> None:
        for fd in files:
            if self._take_attributes(fd):
                os.fsync(fd)
            else:
                os.fdatasync(fd)
        if directory is not None:
            try:
                os.fsync(directory)
            except OSError as error:
                if not self._lacks_name_syncs(error):
                    raise

    def _take_attributes(self, fd: int) -> bool:
        """Whether a sync that begins now has to cover attributes. fdatasync leaves them out."""
        is_needed = fd in self._unsynced_attributes
        self._unsynced_attributes.discard(fd)
        return is_needed

    def _sync_new_name(self, parent: Path) -> None:
        with contextlib.suppress(PermissionError), _opened(parent) as fd:  # who may not read it cannot sync it
            self._sync([], fd)

    def _lacks_name_syncs(self, error: OSError) -> bool:
        """A sync of a directory failed: whether that is because the file system has no such sync, which is no error."""
        if error.errno not in NO_DIRECTORY_SYNC:
            return False
        self.no_name_syncs = error.strerror
        return True


class AsyncStorage(Storage):
    """`on_ready` calls `done`; it is to be called when `source` becomes readable.

    Until `begin` has succeeded, syncs block all the same.
    """

    def __init__(self) -> None:
        super().__init__()
        self.why_blocking: str | None = "not begun"  # None: syncs are asynchronous
        self._aio = Aio()
        self._under_way: dict[int, tuple[int, OSError | None, Done]] = {}  # parts left, first error, done
        # Parts that the kernel has no room for yet: the descriptor, whether more than data is synced, and the part.
        self._waiting: deque[tuple[int, bool, int]] = deque()
        self._next_tag = 0

    @property
    def mode(self) -> str:
        return super().mode if self.why_blocking else "fdatasync, asynchronous"

    @property
    def source(self) -> int:
        return self._aio.eventfd

    def begin(self, directory: Path) -> None:
        """From now on syncs are asynchronous, if the kernel and the directory's file system have such. To be called
        again if `why_blocking` is set then: all of the system's asynchronous I/O may be in use at the moment."""
        try:
            self._aio.set_up()
            self.why_blocking = None
            failure = self._probe(directory)
        except BlockingIOError:
            failure = OSError(errno.EAGAIN, "all that the system allows are in use; see sysctl fs.aio-max-nr")
        except OSError as error:
            failure = error
        self.why_blocking = None if failure is None else failure.strerror or str(failure)

    def sync(self, files: Sequence[int], directory: int | None, done: Done) -> None:
        if self.why_blocking:
            super().sync(files, directory, done)
            return
        tag = self._next_tag
        self._next_tag += 1
        parts = [(fd, self._take_attributes(fd), tag << 1) for fd in files]
        if directory is not None:
            parts.append((directory, True, tag << 1 | 1))
            self.directories_under_sync += 1
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
        if monotonic() < self.give_up_at:  # otherwise nobody is there any more to see the end of a sync
            self.finish()
        self._aio.close()

    def _wait_with_limit(self) -> None:
        ended = select.poll()  # unlike select.select, it takes any descriptor
        ended.register(self.source, select.POLLIN)
        while not ended.poll(LOOK_SEC * 1000):
            if monotonic() >= self.give_up_at:  # a signal handler may have moved it
                raise SyncsUnderWayError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    def _submit(self) -> None:
        refused = []
        while self._waiting and self._aio.under_way < MAX_UNDER_WAY:
            fd, is_full, part = self._waiting.popleft()
            try:
                self._aio.submit(fd, is_full, part)
            except OSError as error:
                refused.append((part, error.errno or errno.EIO))
        if refused:
            self._note_ended(refused)

    def _note_ended(self, ended: list[tuple[int, int]]) -> None:
        for part, number in ended:
            tag, is_directory = part >> 1, part & 1
            self.directories_under_sync -= is_directory
            left, error, done = self._under_way.pop(tag)
            failure = OSError(number, os.strerror(number)) if number else None
            if failure and not (is_directory and self._lacks_name_syncs(failure)):
                error = error or failure
            if left > 1:
                self._under_way[tag] = (left - 1, error, done)
            else:
                done(error)
        self._submit()

    def _probe(self, directory: Path) -> OSError | None:
        """Returns why asynchronous syncs do not work, if they do not. It leaves no trace, and needs no room."""
        with _opened(directory) as fd:
            failure = self._try(fd)
            if failure is None:
                return None
            with contextlib.suppress(OSError):
                os.fsync(fd)
                return failure
        # Any sync of this directory fails, so it shows nothing about asynchronous ones.
        fd = os.memfd_create("fastlog", os.MFD_CLOEXEC)
        try:
            return self._try(fd)
        finally:
            os.close(fd)

    def _try(self, fd: int) -> OSError | None:
        ends: list[OSError | None] = []
        self.sync([fd], None, ends.append)
        self.finish()
        return ends[0]


@contextlib.contextmanager
def _opened(directory: Path) -> Iterator[int]:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def best_storage(directory: Path) -> AsyncStorage:
    """A storage with asynchronous syncs if the kernel and the directory's file system have such."""
    storage = AsyncStorage()
    storage.begin(directory)
    return storage
