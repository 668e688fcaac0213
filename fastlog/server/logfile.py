"""The live log file: whole lines are appended, rotated and made durable, all through the storage seam.

Rules: the file always ends with a whole line, whatever failed; no line is split over two files; what a successful sync
covered survives a power cut, the file's name included. It knows nothing of entries, sockets or settings.
"""

import contextlib
import errno
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from pathlib import Path

from fastlog.errors import say
from fastlog.segments import DURABLE_ATTRIBUTE, Identity, durable_size_of
from fastlog.server.budget import Budget, Limits
from fastlog.server.found_files import newest_lines
from fastlog.server.hold import Hold
from fastlog.server.identities import Identities
from fastlog.server.linesfile import LinesFile
from fastlog.server.names import Names
from fastlog.server.repair import repair_all
from fastlog.server.storage import Done, Storage

ROTATED_UNSYNCED_MAX = 32  # rotated files that wait for the next sync: each is an open descriptor
UNSYNCED_MAX = 60  # the same with renamed files: a storage can sync so many and the live one together


class LogFile:
    """The file `directory/name`, with `backups` archives. `keep_bytes`: of all these files; `keep_sec`: an archive from
    its last write on; None: there is no limit. `hold_bytes`: of archives beyond the limits that are kept until they are
    shipped; None: nobody ships this file. Sizes in bytes.

    Raises BlockingIOError if another process has the file open, and other OSErrors.
    """

    def __init__(
        self,
        storage: Storage,
        directory: Path,
        name: str,
        limit: int,
        backups: int,
        *,
        keep_bytes: int | None = None,
        keep_sec: float | None = None,
        hold_bytes: int | None = None,
    ) -> None:
        limits = Limits(backups, keep_bytes, keep_sec)
        self.path = directory / name
        self.limit = limit if keep_bytes is None else max(min(limit, keep_bytes // 2), 1)
        self.rotations = 0
        self.error: OSError | None = None  # why the last write failed; None: it did not
        self.rotation_failure: str | None = None  # why the last rotation failed; the file grows past its limit
        self.name_failure: str | None = None  # why the file that has the log's name now cannot be opened
        self._storage = storage
        budget = Budget(storage, self.path, limits)
        self.hold = None if hold_bytes is None else Hold(storage, self.path, budget, hold_bytes)
        self._names = Names(storage, self.path, budget, self.hold)
        self.identities = Identities(storage, self.path)
        self.give_up_compressing: Callable[[], bool] = lambda: False  # whether it gives room on the disk
        self._rotate_at = self.limit  # bytes; higher after a rotation that failed
        self._rotated_unsynced: list[LinesFile] = []  # with lines that the next sync has to make durable
        self._under_sync: list[LinesFile] = []  # the files that the sync under way covers
        self.lost_lines = False  # another program had removed or cut one of them when the last sync ended
        self._needs_sync = False  # the live file holds such lines
        self._new_name = True  # the live file's name is not durable yet
        self._is_copy = False  # the live file took a failed one's place, and has nothing yet but lines of that one
        self._directory_fd = _open_directory(directory)
        try:
            self._live = LinesFile(storage, self.path)
        except BaseException:
            os.close(self._directory_fd)
            raise
        with contextlib.ExitStack() as failed:
            failed.callback(self.close)
            self._names.clean_up()
            # Bytes of unfinished lines, which were removed.
            self.torn = repair_all(storage, self.path, self._live.fd, self._directory_fd)
            if not self._live.is_at(self.path):  # a repaired file took its place
                repaired = LinesFile(storage, self.path)
                self._live.close()
                self._live = repaired
            may_grow = self.identities.take_stock(self._live)  # before anything is written to it
            self._names.remove_surplus(os.fstat(self._live.fd).st_size)  # which is known by the identities
            with contextlib.suppress(OSError):  # the first append tries again
                self._live.adopt()
            if not may_grow:
                self._retire()
            elif (durable_size := _durable_size_of(self._live.fd)) is not None:
                self._finish_setting_aside(durable_size)
            self.sync()  # makes repairs durable; and the first ACK need not wait for the names of new files
            failed.pop_all()

    @property
    def size(self) -> int:
        return self._live.size

    @property
    def identity(self) -> Identity | None:
        """That of the live file."""
        return self._live.identity

    @property
    def names(self) -> Names:
        return self._names

    @property
    def budget(self) -> Budget:
        return self._names.budget

    @property
    def rotated_unsynced(self) -> int:
        """How many files that are not the live one any more wait for the next sync."""
        return len(self._rotated_unsynced)

    def append(self, lines: memoryview, durable: bool) -> int:
        """Writes whole lines, rotating at the limit; `durable`: a sync will be begun for them.

        Returns the bytes that are in the file, always whole lines. When they are fewer than given, `error` says why.
        """
        self.error = None
        self._is_copy = False
        done = 0
        try:
            while done < len(lines) and not self.error:
                part = self._fitting(lines[done:])
                if part:
                    self._needs_sync = self._needs_sync or durable
                    written, self.error = self._live.append(lines[done : done + part])
                    done += written
                    if self.error and self.error.errno == errno.EFBIG and self.size:
                        self._try_to_rotate(0)
                        self.error = self.error if self.rotation_failure else None
                else:
                    self._try_to_rotate(len(lines) - done)
        except OSError as error:
            self.error = error
        if self.error:
            self.error = self.error.with_traceback(None)  # which would hold the lines
        return done

    def begin_sync(self, done: Done) -> None:
        """Makes durable what was appended for a sync so far, and the live file's present name; then calls `done`."""
        rotated, self._rotated_unsynced = self._rotated_unsynced, []
        new_name, self._new_name = self._new_name, False
        self._needs_sync = False
        covered = self._under_sync = [*rotated, self._live]
        sizes = [file.size for file in covered]

        def ended(error: OSError | None) -> None:
            self._under_sync = []
            if error is None:  # what the live file holds may be acknowledged now, and be nowhere else
                for file, size in zip(covered, sizes, strict=True):
                    file.durable_size = min(size, file.size)
                self._is_copy = False
            else:
                for file in covered:
                    if file.durable_size is not None:  # at the start, what comes of this file is not known
                        self._note_durable_size(file)
            self.lost_lines = not all(file.is_rotated_out or file.is_whole() for file in covered)
            for file in covered:
                if file is not self._live and file not in self._rotated_unsynced:
                    file.close()
            done(error)

        self._storage.sync([file.fd for file in covered], self._directory_fd if new_name else None, ended)

    def sync_names(self, done: Done) -> None:
        """Makes the present names of archives durable; then calls `done`."""
        self._storage.sync([], self._directory_fd, done)

    @property
    def names_are_under_sync(self) -> bool:
        """Whether a look at names, or a change of them, may wait for the disk. On some file systems it does."""
        return self._storage.directories_under_sync > 0

    def is_in_use(self, file: os.stat_result) -> bool:
        """Whether the file is written to, or has lines that a sync has to make durable."""
        return any(
            os.path.samestat(os.fstat(each.fd), file)
            for each in (*self._under_sync, *self._rotated_unsynced, self._live)
        )

    def need_no_sync(self) -> None:
        """What was appended for a sync so far is written anew elsewhere: no sync has to cover it."""
        for file in self._rotated_unsynced:
            file.close()
        self._rotated_unsynced.clear()
        self._needs_sync = False

    def sync(self) -> None:
        """Begins a sync and waits for its end. Raises OSError."""
        errors: list[OSError | None] = []
        self.begin_sync(errors.append)
        self._storage.finish()
        if errors[0]:
            raise errors[0]

    def wait(self) -> None:
        """Waits until every sync under way has ended, and those that their ends begin."""
        self._storage.finish()

    def rotate(self) -> None:
        """The live file becomes `.1`, and an empty one takes its place. Raises OSError; the old one stays live then."""
        if len(self._rotated_unsynced) >= ROTATED_UNSYNCED_MAX:  # more after a `reopen`
            raise OSError(errno.EBUSY, f"{ROTATED_UNSYNCED_MAX} rotated files wait for a sync")
        if not self.has_name():  # whatever has the names now is not ours
            raise OSError(errno.ESTALE, "the log file was renamed or removed")
        # The new file comes first, under another name: on a full disk there may be no room for it.
        fresh = LinesFile(self._storage, self._names.next, empty=True)
        self.identities.give(fresh)
        try:
            with self.removing():
                self._names.rotate()
        except OSError:
            fresh.close()
            raise
        self.rotations += 1
        self._take(fresh)

    def tidy(self) -> None:
        """Removes archives that were held and are shipped by now, and those that became too many, too large or too old.
        To be called from time to time."""
        if self.names_are_under_sync:
            return
        with self.removing():
            self._names.tidy(self.size)

    def make_space(self) -> None:
        """The disk is full: gives up an archive that is being compressed, or else removes one that is only there
        because it is not shipped."""
        if not self.give_up_compressing() and self.hold:
            with self.removing():
                self.hold.give_way()

    @contextlib.contextmanager
    def removing(self) -> Iterator[None]:
        """Notes which files lose their names as the settings ask for: nobody may take that for another program's."""
        waiting = [file for file in (*self._under_sync, *self._rotated_unsynced, self._live) if file.is_whole()]
        try:
            yield
        finally:
            for file in waiting:
                file.is_rotated_out = not file.is_whole()

    def replace(self, lines: Iterable[bytearray], done: Done) -> None:
        """Begins a new file with these lines, since the live one can no longer be trusted, and makes it durable.

        When `done(None)` is called, it is the live file, durable with its name. The old one is set aside next to the
        archives, since it may hold acknowledged lines: `<name>.distrusted.<n>`.
        """
        self._note_durable_size(self._live)  # before anybody else reads it
        try:
            self._enter_directory()
            fresh = LinesFile(self._storage, self._names.next, empty=True)
        except OSError as error:
            done(error)
            return
        self.identities.give(fresh)
        for chunk in lines:
            with memoryview(chunk) as view:
                _, failure = fresh.append(view)
            if failure:
                self._take_durable(fresh, done, failure)
                return
        self._storage.sync([fresh.fd], None, partial(self._take_durable, fresh, done))

    def _take_durable(self, fresh: LinesFile, done: Done, error: OSError | None) -> None:
        """The rest of `replace`, after the sync of the new file."""
        try:
            if error is None and self._is_copy:
                self._storage.rename(self._names.next, self.path)
            elif error is None:
                unnoted = self._note_durable_size(self._live)
                if unnoted and self.identity:
                    say(f"cannot note what of {self.path} is durable: {unnoted.strerror}; no more of it is shipped")
                self._names.set_aside()
        except OSError as failure:
            error = failure
        if error:
            fresh.close()
            done(error)
            return
        fresh.durable_size = fresh.size
        self.need_no_sync()  # what the old files hold is in the new one
        self._take(fresh)
        self._is_copy = True
        self._new_name = False
        self._needs_sync = True  # the ACKs leave with the next one, which sees whether the file is still there then
        self._storage.sync([], self._directory_fd, done)

    def has_name(self) -> bool:
        """Whether the live file and its directory still have their names. Other programs rename and remove both."""
        return self._live.is_at(self.path) and _is_at(self._directory_fd, self.path.parent)

    def is_whole(self) -> bool:
        """Whether the live file, under whatever name, still holds what was written to it."""
        return self._live.is_whole()

    def reopen(self) -> None:
        """Continues in the file that has the log's name now, and makes one if there is none. What the old one holds is
        still made durable by the next sync. Raises OSError, and continues in the old file then."""
        try:
            self._enter_directory()
            if self._live.is_at(self.path):
                may_grow = not self._live.was_cut() or self.identities.give_anew(self._live)
                self._live.adopt()
            else:
                file = self._open_to_continue()
                may_grow = self.identities.is_next(file)
                self._take(file)
            if not may_grow:
                self._retire()
        except OSError as error:
            self.name_failure = error.strerror or str(error)
            raise
        self.name_failure = None

    def _open_to_continue(self) -> LinesFile:
        if len(self._rotated_unsynced) >= UNSYNCED_MAX:
            raise OSError(errno.EBUSY, f"{UNSYNCED_MAX} files wait for a sync")
        file = LinesFile(self._storage, self.path)
        self.identities.recognize(file)
        try:
            file.adopt()
        except OSError:
            file.close()
            raise
        return file

    def _retire(self) -> None:
        """The live file has a number that must not stand for more lines: another program put an older file there, or a
        copy. It becomes an archive and keeps its number, or gets the next one if that is impossible."""
        say(f"{self.path} is an older file of the log: a new one is begun")
        if self._names.has_archives:
            older = self._live
            self._needs_sync = True
            self._try_to_rotate(0)
            if self._live is not older:
                return
        self.identities.give(self._live)
        self.identities.took(self._live)

    def _finish_setting_aside(self, durable_size: int) -> None:
        """At the start: the live file has failed, and the server ended before another one took its place."""
        self._live.durable_size = durable_size
        errors: list[OSError | None] = []
        self.replace([], errors.append)
        self._storage.finish()
        self._new_name = True  # the next sync covers it, whatever became of that one
        if errors[0]:
            say(f"cannot set {self.path} aside, which has failed: {errors[0].strerror}")

    def _note_durable_size(self, file: LinesFile) -> OSError | None:
        """Of a file that has failed: how much of it can be trusted. Returns why that cannot be noted, if so."""
        try:
            self._storage.set_attribute(file.fd, DURABLE_ATTRIBUTE, str(file.durable_size or 0))
        except OSError as error:
            return error
        return None

    def newest(self, most_bytes: int, levels: Collection[str]) -> Iterator[memoryview]:
        """Whole durable lines of about the newest `most_bytes` of the log, the oldest file first: all of these levels,
        and others as well. Each view is good until the next."""
        return newest_lines(self._storage, self.path, most_bytes, levels)

    def close(self) -> None:
        for file in {*self._under_sync, *self._rotated_unsynced, self._live}:
            file.close()
        os.close(self._directory_fd)
        self._rotated_unsynced.clear()
        self.budget.finish()
        if self.hold:
            self.hold.finish()

    def _enter_directory(self) -> None:
        """Opens the directory that has the log's path now, and makes one if there is none. Raises OSError."""
        if not _is_at(self._directory_fd, self.path.parent):
            self._storage.make_directory(self.path.parent)
            directory_fd = _open_directory(self.path.parent)
            os.close(self._directory_fd)
            self._directory_fd = directory_fd
            self._new_name = True

    def _try_to_rotate(self, needed: int) -> None:
        """If it fails, the live file takes the bytes needed all the same, and some more before the next attempt."""
        try:
            self.rotate()
        except OSError as error:
            self.rotation_failure = error.strerror or str(error)
            self._rotate_at = self.size + max(self.limit // 10, needed)

    def _take(self, file: LinesFile) -> None:
        """Makes this the live file; the old one stays open until the syncs that it is part of have ended."""
        if self._needs_sync:
            self._rotated_unsynced.append(self._live)
            self._needs_sync = False
        elif self._live not in self._under_sync:
            self._live.close()
        self._live = file
        self.identities.took(file)
        self._new_name = True
        self._rotate_at, self.rotation_failure = self.limit, None  # they were about the old one

    def _fitting(self, lines: memoryview) -> int:
        """The bytes of the leading lines that fit into the live file; 0: rotate first. A line longer than the limit has
        a file of its own."""
        room = max(self._rotate_at - self.size, 0)
        if len(lines) <= room:
            return len(lines)
        fitting = bytes(lines[:room]).rfind(b"\n") + 1
        if not fitting and not self.size:
            fitting = bytes(lines).find(b"\n") + 1
        return fitting


def _open_directory(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _durable_size_of(fd: int) -> int | None:
    try:
        return durable_size_of(fd)
    except OSError:  # there are no attributes here
        return None


def _is_at(directory_fd: int, path: Path) -> bool:
    """Whether the open directory has this path now."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(directory_fd))
    except OSError:
        return False
