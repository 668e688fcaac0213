"""The live log file: whole lines are appended, rotated and made durable, all through the storage seam.

Rules: the file always ends with a whole line, whatever failed; no line is split over two files; what a sync ended well
for survives a power cut, the file's name included. It knows nothing of entries or sockets.
"""

import contextlib
import errno
import fcntl
import glob
import os
import re
from collections.abc import Iterator
from pathlib import Path

from fastlog.errors import StartError
from fastlog.server.storage import FILE_MODE, Done, Storage

RETIRED_MAX = 32  # rotated files that wait for the next sync: each is a descriptor
DISTRUSTED_MAX = 100  # files set aside after a failed sync; a disk that goes on failing must not fill up with them
REPAIR_BYTES = 16 << 20  # at the end of a file, in which a crash may have left holes: what was not synced yet


class LogFile:
    """`directory/name` and its archives, from `.1` (the newest) to `.<backups>`. Sizes in bytes."""

    def __init__(self, storage: Storage, directory: Path, name: str, limit: int, backups: int) -> None:
        self.path = directory / name
        self.size = 0
        self.limit = limit
        self.rotations = 0
        self.torn = 0  # bytes of unfinished lines that a crash had left; they are in `<name>.torn`
        self.error: OSError | None = None  # why the last write failed; None: it did not
        self.rotation_failure: str | None = None  # why the last one failed; the file grows past its limit
        self._storage = storage
        self._backups = backups
        self._rotate_at = limit  # bytes; further on after a rotation that failed
        self._retired: list[int] = []  # rotated files with lines that the next sync has to make durable
        self._owing = False  # the live file holds such lines
        self._new_name = False  # the directory's entry of the live file is not durable yet
        try:
            self._directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._fd = self._open(self.path)
            self._repair_all()
            if not os.path.samestat(os.stat(self.path), os.fstat(self._fd)):  # another one took its place
                self._storage.close(self._fd)
                self._fd = self._open(self.path)
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
                    written, self.error = self._write(self._fd, lines[done : done + part])
                    self.size = os.fstat(self._fd).st_size  # others may have cut it
                    done += written
                    if self.error:
                        break
                else:
                    self._try_to_rotate(len(lines) - done)
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

    def _try_to_rotate(self, needed: int) -> None:
        """Where it fails, the live file takes the bytes needed all the same, and some more before it is tried again."""
        try:
            self.rotate()
            self.rotation_failure = None
            self._rotate_at = self.limit
        except OSError as error:
            self.rotation_failure = error.strerror or str(error)
            self._rotate_at = self.size + max(self.limit // 10, needed)

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

        When `done(None)` is called, it is the live file, durable with its name. The other one is set aside beside the
        archives, for it may hold what was acknowledged: `<name>.distrusted.<n>`.
        """
        try:
            fresh = self._fresh()
        except OSError as error:
            done(error)
            return
        written, failure = self._write(fresh, lines)

        def synced(error: OSError | None) -> None:
            if error is None:
                try:
                    self._set_aside()
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

        if failure is None and written == len(lines):
            self._storage.sync([fresh], None, synced)
        else:
            synced(failure)

    def reopen(self) -> None:
        """Goes on in the file that has the live file's name now, since another program may have renamed ours.

        Raises OSError, and goes on in the old file then.
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
        self._directory_fd = directory_fd  # that of the new file, should somebody have renamed the directory, too
        self._replace(fd)

    def newest(self, most: int) -> Iterator[memoryview]:
        """Whole lines of the live file and its archives, about the newest `most` bytes, the oldest first.

        They are durable: what a crash had left in the page cache alone is synced before. Each is good until the next.
        """
        paths = []
        size = 0
        for path in (self.path, *(self._beside(number) for number in range(1, self._backups + 1))):
            if size >= most or not path.exists():
                break
            paths.append(path)
            size += path.stat().st_size
        for path in reversed(paths):
            with open(path, "rb") as file:
                os.fsync(file.fileno())
                content = _tail(file.fileno(), most)
                yield memoryview(content)[content.find(b"\n") + 1 if len(content) < path.stat().st_size else 0 :]

    def close(self) -> None:
        for fd in (*self._retired, self._fd):
            self._storage.close(fd)
        os.close(self._directory_fd)
        self._retired.clear()

    def _open(self, path: Path) -> int:
        fd = self._storage.open(path)
        try:
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
        """Moves the files one on that have to make room, and the fresh one to the live one's name.

        So it can be tried again where it failed half-way, and costs no archive more.
        """
        free = next((n for n in range(1, self._backups) if not self._beside(n).exists()), self._backups)
        for number in range(free - 1, 0, -1):
            self._storage.rename(self._beside(number), self._beside(number + 1))
        if self._backups:
            with contextlib.suppress(FileNotFoundError):  # somebody else took it away
                self._storage.rename(self.path, self._beside(1))
        self._storage.rename(self._beside("new"), self.path)
        self.rotations += 1

    def _set_aside(self) -> None:
        """Gives the live file a name of its own, and its name to the fresh one."""
        number = 1
        while self._beside(f"distrusted.{number}").exists():
            number += 1
        if number > DISTRUSTED_MAX:
            raise OSError(errno.EMFILE, f"there are {DISTRUSTED_MAX} files {self.path.name}.distrusted.* already")
        with contextlib.suppress(FileNotFoundError):  # somebody else took it away
            self._storage.rename(self.path, self._beside(f"distrusted.{number}"))
        self._storage.rename(self._beside("new"), self.path)

    def _replace(self, fd: int) -> None:
        old, self._fd = self._fd, fd
        if self._owing:
            self._retired.append(old)
            self._owing = False
        else:
            self._storage.close(old)
        while len(self._retired) > RETIRED_MAX:
            os.fdatasync(self._retired[0])
            self._storage.close(self._retired.pop(0))
        self._adopt()

    def _adopt(self) -> None:
        self._new_name = True
        self.size = os.fstat(self._fd).st_size

    def _repair_all(self) -> None:
        """After a crash of the system any file may end in an unfinished line: a rotation does not sync."""
        for path in self.path.parent.glob(glob.escape(self.path.name) + "*"):
            suffix = path.name[len(self.path.name) :]
            if re.fullmatch(r"(\.distrusted)?(\.\d+)?", suffix) and path.is_file():
                self._repair(path)

    def _repair(self, path: Path) -> None:
        """Takes away what a crash left unfinished: a line without its end, or the zeros of blocks that never came."""
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            content = _tail(file.fileno(), REPAIR_BYTES)
        hole = content.find(b"\0")
        if not content or (hole < 0 and content.endswith(b"\n")):
            return
        # from the first line that is not whole; behind zeros a whole one may begin
        start = content.rfind(b"\n", 0, hole if hole >= 0 else len(content)) + 1
        rest = [part for line in content[start:].splitlines(keepends=True) for part in re.split(rb"\0+", line) if part]
        good = [part for part in rest if part.startswith(b"{") and part.endswith(b"}\n")]
        torn = b"".join(part for part in rest if part not in good)
        keep = size - (len(content) - start)
        torn_fd = self._storage.open(self._beside("torn"))
        self._storage.write(torn_fd, memoryview(torn + b"\n"))
        os.fsync(torn_fd)
        self._storage.close(torn_fd)
        self.torn += len(torn)
        if not good:
            fd = self._storage.open(path)
            self._storage.truncate(fd, keep)
            os.fsync(fd)
            self._storage.close(fd)
            return
        # Whole lines stand behind the hole: they may be acknowledged, so a new file takes the place of this one.
        mended = self._beside("mended")
        with (
            open(path, "rb") as source,
            open(os.open(mended, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE), "wb") as to,
        ):
            while keep:
                part = source.read(min(keep, 1 << 20))
                to.write(part)
                keep -= len(part)
            to.writelines(good)
            to.flush()
            os.fsync(to.fileno())
        self._storage.rename(mended, path)

    def _fitting(self, lines: memoryview) -> int:
        """Bytes of the leading lines that may go into the live file; 0: rotate first. A line longer than the limit
        has a file of its own."""
        room = max(self._rotate_at - self.size, 0)
        if len(lines) <= room:
            return len(lines)
        fitting = bytes(lines[:room]).rfind(b"\n") + 1
        if not fitting and not self.size:
            fitting = bytes(lines).find(b"\n") + 1
        return fitting

    def _write(self, fd: int, lines: memoryview) -> tuple[int, OSError | None]:
        """Appends: the bytes written, whole lines, and why they are fewer than given."""
        done = 0
        try:
            while done < len(lines):
                done += self._storage.write(fd, lines[done:])
        except OSError as error:
            whole = bytes(lines[:done]).rfind(b"\n") + 1
            try:
                if done > whole:
                    self._storage.truncate(fd, os.fstat(fd).st_size - (done - whole))
            except OSError as worse:  # half a line stays: nothing more may be written behind it
                return whole, OSError(errno.EIO, worse.strerror or str(worse))
            return whole, error
        return done, None

    def _beside(self, suffix: str | int) -> Path:
        return self.path.with_name(f"{self.path.name}.{suffix}")


def _tail(fd: int, most: int) -> bytearray:
    """The last `most` bytes of a file, or all of it."""
    size = os.fstat(fd).st_size
    content = bytearray()
    at = max(size - most, 0)
    while at < size and (part := os.pread(fd, min(size - at, 1 << 20), at)):
        content += part
        at += len(part)
    return content
