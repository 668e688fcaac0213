"""The live log file: whole lines are appended, rotated and made durable, all through the storage seam.

Rules: the file always ends with a whole line, whatever failed; no line is split over two files; what a sync ended well
for survives a power cut, the file's name included. It knows nothing of entries or sockets.
"""

import contextlib
import fcntl
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

from fastlog.errors import StartError
from fastlog.storage import Done, Storage


class LogFile:
    """`directory/name` and its archives, from `.1` (the newest) to `.<backups>`. Sizes in bytes."""

    def __init__(self, storage: Storage, directory: Path, name: str, limit: int, backups: int) -> None:
        self.path = directory / name
        self.size = 0
        self.limit = limit
        self.rotations = 0
        self.torn = 0  # bytes of unfinished lines that a crash had left; they are in `<name>.torn`
        self.error: OSError | None = None  # why the last write failed; None: it did not
        self._storage = storage
        self._backups = backups
        self._retired: list[int] = []  # rotated files with lines that the next sync has to make durable
        self._owing = False  # the live file holds such lines
        self._new_name = False  # the directory's entry of the live file is not durable yet
        try:
            self._directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._fd = self._open(self.path)
            self._repair_all()
            self._adopt()
            self.sync()  # so that the first ACK need not wait for the names of new files
        except BlockingIOError as error:
            raise StartError(
                f"{self.path} is in use by another fastlog; stop it, or set LOG_DIR or LOG_FILENAME"
            ) from error
        except OSError as error:
            raise StartError(
                f"cannot write {self.path}: {error.strerror}; set LOG_DIR to a directory you may write"
            ) from error

    def append(self, lines: memoryview, durable: bool) -> int:
        """Writes whole lines, rotating where the limit asks for it; `durable`: a sync will be begun for them.

        Returns the bytes that are in the file, always whole lines. When they are fewer than given, `error` says why.
        """
        self.error = None
        done = 0
        try:
            while done < len(lines):
                part = self._fitting(lines[done:])
                if part:
                    self._owing = self._owing or durable
                    written, self.error = self._write(self._fd, self.size, lines[done : done + part])
                    self.size += written
                    done += written
                    if self.error:
                        break
                else:
                    self.rotate()
        except OSError as error:
            self.error = error
        return done

    def begin_sync(self, done: Done) -> None:
        """Makes durable what was appended for it until now, under the name that it has now; then calls `done`."""
        retired, self._retired = self._retired, []
        new_name, self._new_name = self._new_name, False
        self._owing = False

        def ended(error: OSError | None) -> None:
            for fd in retired:
                self._storage.close(fd)
            done(error)

        self._storage.sync([*retired, self._fd], self._directory_fd if new_name else None, ended)

    def sync(self) -> None:
        """The same, and waits for it. Raises OSError."""
        errors: list[OSError | None] = []
        self.begin_sync(errors.append)
        self._storage.finish()
        if errors[0]:
            raise errors[0]

    def wait(self) -> None:
        """Until every sync under way has ended, those included that such an end begins."""
        self._storage.finish()

    def rotate(self) -> None:
        """The live file becomes `.1`, and an empty one takes its place. Raises OSError, and goes on in the old one."""
        # The new file comes first, under another name: on a full disk there may be no room for it.
        fresh = self._fresh()
        try:
            self._archive()
        except OSError:
            self._storage.close(fresh)
            raise
        self._replace(fresh)

    def replace(self, lines: memoryview, done: Done) -> None:
        """Begins a new file with these lines, since the live one can no longer be trusted, and makes it durable.

        When `done(None)` is called, it is the live file, durable with its name; on an error the old one still is.
        """
        try:
            fresh = self._fresh()
        except OSError as error:
            done(error)
            return
        written, error_ = self._write(fresh, 0, lines)

        def synced(error: OSError | None) -> None:
            if error is None:
                try:
                    self._archive()
                except OSError as refused:
                    error = refused
            if error is not None:
                self._storage.close(fresh)
                done(error)
                return
            for fd in self._retired:  # what they hold is in the new file
                self._storage.close(fd)
            self._retired.clear()
            self._owing = False
            self._replace(fresh)
            self._new_name = False
            self._storage.sync([], self._directory_fd, done)

        if error_ is None and written == len(lines):
            self._storage.sync([fresh], None, synced)
        else:
            synced(error_)

    def reopen(self) -> None:
        """Goes on in the file that has the live file's name now, since another program may have renamed ours.

        Raises OSError, and goes on in the old file then.
        """
        self._replace(self._open(self.path, lock=False))
        with contextlib.suppress(BlockingIOError):  # ours already, through the old descriptor: nobody renamed it
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def newest(self, most: int) -> Iterator[mmap.mmap]:
        """The content of the live file and its archives, about the newest `most` bytes, the oldest first."""
        paths = []
        size = 0
        for path in (self.path, *(self._beside(number) for number in range(1, self._backups + 1))):
            if size >= most or not path.exists():
                break
            paths.append(path)
            size += path.stat().st_size
        for path in reversed(paths):
            if path.stat().st_size:
                with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as content:
                    yield content

    def close(self) -> None:
        for fd in (*self._retired, self._fd):
            self._storage.close(fd)
        os.close(self._directory_fd)
        self._retired.clear()

    def _open(self, path: Path, lock: bool = True) -> int:
        fd = self._storage.open(path)
        try:
            if lock:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._storage.close(fd)
            raise
        return fd

    def _fresh(self) -> int:
        """An empty file under the name that precedes the live one's."""
        with contextlib.suppress(FileNotFoundError):
            self._storage.unlink(self._beside("new"))
        return self._open(self._beside("new"))

    def _archive(self) -> None:
        """Moves every file one on, and the fresh one to the live one's name."""
        for number in range(self._backups - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                self._storage.rename(self._beside(number), self._beside(number + 1))
        if self._backups:
            with contextlib.suppress(FileNotFoundError):  # somebody else took it away
                self._storage.rename(self.path, self._beside(1))
        self._storage.rename(self._beside("new"), self.path)
        self.rotations += 1

    def _replace(self, fd: int) -> None:
        if self._owing:
            self._retired.append(self._fd)
            self._owing = False
        else:
            self._storage.close(self._fd)
        self._fd = fd
        self._adopt()

    def _adopt(self) -> None:
        self._new_name = True
        self.size = os.fstat(self._fd).st_size

    def _repair_all(self) -> None:
        """After a crash of the system any file may end in an unfinished line: a rotation does not sync."""
        for path in (self.path, *(self._beside(number) for number in range(1, self._backups + 1))):
            if path.exists() and path.stat().st_size:
                self._repair(path)

    def _repair(self, path: Path) -> None:
        """Cuts off what a crash left unfinished: a line without its end, or the zeros of blocks that never came."""
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as content:
            hole = content.find(b"\0")
            whole = content.rfind(b"\n", 0, len(content) if hole < 0 else hole) + 1
            torn = content[whole:]
        if torn:
            with open(self._beside("torn"), "ab") as kept:
                kept.write(torn + b"\n")
                kept.flush()
                os.fsync(kept.fileno())
            fd = self._storage.open(path)
            self._storage.truncate(fd, whole)
            self._storage.close(fd)
            self.torn += len(torn)

    def _fitting(self, lines: memoryview) -> int:
        """Bytes of the leading lines that may go into the live file; 0: rotate first. A line longer than the limit
        has a file of its own."""
        room = max(self.limit - self.size, 0)
        if len(lines) <= room:
            return len(lines)
        fitting = bytes(lines[:room]).rfind(b"\n") + 1
        if not fitting and not self.size:
            fitting = bytes(lines).find(b"\n") + 1
        return fitting

    def _write(self, fd: int, size: int, lines: memoryview) -> tuple[int, OSError | None]:
        """Appends to a file of that size: the bytes written, whole lines, and why they are fewer than given."""
        done = 0
        try:
            while done < len(lines):
                done += self._storage.write(fd, lines[done:])
        except OSError as error:
            whole = bytes(lines[:done]).rfind(b"\n") + 1
            if done > whole:
                self._storage.truncate(fd, size + whole)
            return whole, error
        return done, None

    def _beside(self, suffix: str | int) -> Path:
        return self.path.with_name(f"{self.path.name}.{suffix}")
