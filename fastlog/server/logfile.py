"""The live log file: whole lines are appended, rotated and made durable, all through the storage seam.

Rules: the file always ends with a whole line, whatever failed; no line is split over two files; what a successful sync
covered survives a power cut, the file's name included. It knows nothing of entries, sockets or settings.
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from fastlog.server.repair import newest_lines, repair_all
from fastlog.server.storage import Done, Storage

ROTATED_UNSYNCED_MAX = 32  # rotated files that wait for the next sync: each is an open descriptor
DISTRUSTED_MAX = 100  # files set aside after failures: a disk that fails again and again must not fill up with them


class Names:
    """The names in the directory: the live file, the next one (`.new`), archives from `.1`, the newest, to
    `.<backups>`, and files set aside (`.distrusted.<n>`)."""

    def __init__(self, storage: Storage, live: Path, backups: int) -> None:
        self.live = live
        self.next = Path(f"{live}.new")
        self._storage = storage
        self._archives = [Path(f"{live}.{number}") for number in range(1, backups + 1)]

    def newest_first(self) -> list[Path]:
        """The live file and every archive there may be."""
        return [self.live, *self._archives]

    def rotate(self) -> None:
        """The live file becomes the newest archive, and the next file the live one. Raises OSError.

        Only the files that have to make room are moved, so a rotation that failed half-way can be tried again, and
        costs no archive.
        """
        archives = self._archives
        last = len(archives) - 1
        free = next((index for index in range(last) if not archives[index].exists()), last)
        for index in range(free, 0, -1):
            self._storage.rename(archives[index - 1], archives[index])
        if archives:
            self._rename_live(archives[0])
        self._storage.rename(self.next, self.live)

    def set_aside(self) -> None:
        """The live file becomes `.distrusted.<n>`, and the next file the live one. Raises OSError."""
        for number in range(1, DISTRUSTED_MAX + 1):
            aside = Path(f"{self.live}.distrusted.{number}")
            if not aside.exists():
                break
        else:
            raise OSError(errno.EMFILE, f"there are {DISTRUSTED_MAX} files {self.live.name}.distrusted.* already")
        self._rename_live(aside)
        self._storage.rename(self.next, self.live)

    def _rename_live(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):  # another program took it away
            self._storage.rename(self.live, path)


class LogFile:
    """The file `directory/name`, with `backups` archives. Sizes in bytes.

    Raises BlockingIOError if another process has the file open, and other OSErrors.
    """

    def __init__(self, storage: Storage, directory: Path, name: str, limit: int, backups: int) -> None:
        self.path = directory / name
        self.size = 0
        self.limit = limit
        self.rotations = 0
        self.error: OSError | None = None  # why the last write failed; None: it did not
        self.rotation_failure: str | None = None  # why the last rotation failed; the file grows past its limit
        self._storage = storage
        self._names = Names(storage, self.path, backups)
        self._rotate_at = limit  # bytes; higher after a rotation that failed
        self._rotated_unsynced: list[int] = []  # rotated files with lines that the next sync has to make durable
        self._needs_sync = False  # the live file holds such lines
        self._new_name = False  # the live file's name is not durable yet
        self._directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._fd = -1
        try:
            self._fd = self._open(self.path)
            # Bytes of unfinished lines, moved to `.torn`.
            self.torn = repair_all(storage, self.path, self._directory_fd)
            if not os.path.samestat(os.stat(self.path), os.fstat(self._fd)):  # a repaired file took its place
                self._storage.close(self._fd)
                self._fd = self._open(self.path)
            self._note_new_name()
            self.sync()  # makes repairs durable; and the first ACK need not wait for the names of new files
        except BaseException:
            self.close()
            raise

    def append(self, lines: memoryview, durable: bool) -> int:
        """Writes whole lines, rotating at the limit; `durable`: a sync will be begun for them.

        Returns the bytes that are in the file, always whole lines. When they are fewer than given, `error` says why.
        """
        self.error = None
        done = 0
        try:
            while done < len(lines):
                part = self._fitting(lines[done:])
                if part:
                    self._needs_sync = self._needs_sync or durable
                    written, self.error = self._write(self._fd, lines[done : done + part])
                    self.size = os.fstat(self._fd).st_size  # another program may have cut it
                    done += written
                    if self.error:
                        break
                else:
                    self._try_to_rotate(len(lines) - done)
        except OSError as error:
            self.error = error
        return done

    def begin_sync(self, done: Done) -> None:
        """Makes durable what was appended for a sync so far, and the live file's present name; then calls `done`."""
        rotated, self._rotated_unsynced = self._rotated_unsynced, []
        new_name, self._new_name = self._new_name, False
        self._needs_sync = False

        def ended(error: OSError | None) -> None:
            for fd in rotated:
                self._storage.close(fd)
            done(error)

        self._storage.sync([*rotated, self._fd], self._directory_fd if new_name else None, ended)

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
        # The new file comes first, under another name: on a full disk there may be no room for it.
        fresh = self._open(self._names.next, empty=True)
        try:
            self._names.rotate()
        except OSError:
            self._storage.close(fresh)
            raise
        self.rotations += 1
        self._take(fresh)

    def replace(self, lines: memoryview, done: Done) -> None:
        """Begins a new file with these lines, since the live one can no longer be trusted, and makes it durable.

        When `done(None)` is called, it is the live file, durable with its name. The old one is set aside next to the
        archives, since it may hold acknowledged lines: `<name>.distrusted.<n>`.
        """
        try:
            fresh = self._open(self._names.next, empty=True)
        except OSError as error:
            done(error)
            return
        _, failure = self._write(fresh, lines)
        if failure:
            self._take_durable(fresh, done, failure)
        else:
            self._storage.sync([fresh], None, partial(self._take_durable, fresh, done))

    def _take_durable(self, fresh: int, done: Done, error: OSError | None) -> None:
        """The rest of `replace`, after the sync of the new file."""
        try:
            if error:
                raise error
            self._names.set_aside()
        except OSError as failure:
            self._storage.close(fresh)
            done(failure)
            return
        for fd in self._rotated_unsynced:  # what they hold is in the new file
            self._storage.close(fd)
        self._rotated_unsynced.clear()
        self._needs_sync = False
        self._take(fresh)
        self._new_name = False
        self._storage.sync([], self._directory_fd, done)

    def reopen(self) -> None:
        """Continues in the file that has the live file's name now, since another program may have renamed ours.

        Raises OSError, and continues in the old file then.
        """
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.stat(self.path), os.fstat(self._fd)):
                return
        directory_fd = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fd = self._open(self.path)
        except OSError:
            os.close(directory_fd)
            raise
        os.close(self._directory_fd)
        self._directory_fd = directory_fd  # the new file's, in case the directory was renamed, too
        self._take(fd)

    def newest(self, most_bytes: int) -> Iterator[memoryview]:
        """Whole durable lines of the live file and its archives: about the newest `most_bytes`, the oldest first. Each
        view is good until the next."""
        return newest_lines(self._storage, self._names.newest_first(), most_bytes)

    def close(self) -> None:
        for fd in (*self._rotated_unsynced, self._fd):
            self._storage.close(fd)
        os.close(self._directory_fd)
        self._rotated_unsynced.clear()

    def _try_to_rotate(self, needed: int) -> None:
        """If it fails, the live file takes the bytes needed all the same, and some more before the next attempt."""
        try:
            self.rotate()
            self.rotation_failure = None
            self._rotate_at = self.limit
        except OSError as error:
            self.rotation_failure = error.strerror or str(error)
            self._rotate_at = self.size + max(self.limit // 10, needed)

    def _open(self, path: Path, empty: bool = False) -> int:
        """Opens and locks the file. Raises BlockingIOError if another process has locked it."""
        fd = self._storage.create(path) if empty else self._storage.open(path)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._storage.close(fd)
            error.filename = str(path)
            raise
        return fd

    def _take(self, fd: int) -> None:
        """Makes this the live file; the old one stays open if a sync has yet to cover it."""
        if self._needs_sync:
            self._rotated_unsynced.append(self._fd)
            self._needs_sync = False
        else:
            self._storage.close(self._fd)
        self._fd = fd
        self._note_new_name()

    def _note_new_name(self) -> None:
        self._new_name = True
        self.size = os.fstat(self._fd).st_size

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

    def _write(self, fd: int, lines: memoryview) -> tuple[int, OSError | None]:
        """Appends; returns the bytes written, whole lines, and why they are fewer than given."""
        done = 0
        try:
            while done < len(lines):
                done += self._storage.write(fd, lines[done:])
        except OSError as error:
            whole = bytes(lines[:done]).rfind(b"\n") + 1
            try:
                if done > whole:
                    self._storage.truncate(fd, os.fstat(fd).st_size - (done - whole))
            except OSError as worse:  # half a line stays: nothing more may be written after it
                return whole, OSError(errno.EIO, worse.strerror or str(worse))
            return whole, error
        return done, None
