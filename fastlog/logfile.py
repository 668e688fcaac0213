"""The live log file: whole lines are appended, rotated and made durable.

Rules: the file always ends with a whole line, whatever failed; no line is split over two files; what `sync` returned
for survives a power cut, the file's name included. It knows nothing of entries or sockets.
"""

import contextlib
import fcntl
import os
from pathlib import Path

from fastlog.errors import StartError

TAIL_BYTES = 1 << 20  # read at once while looking for the start of an unfinished last line
FILE_MODE = 0o640  # log lines can hold personal data: not for everybody


class LogFile:
    """`directory/name` and its archives, from `.1` (the newest) to `.<backups>`. Sizes in bytes."""

    def __init__(self, directory: Path, name: str, limit: int, backups: int) -> None:
        self.path = directory / name
        self.size = 0
        self.rotations = 0
        self.torn = 0  # bytes of an unfinished line that a crash had left; they are in `<name>.torn`
        self.error: OSError | None = None  # why the last write failed; None: it did not
        self.limit = limit
        self._backups = backups
        self._retired: list[int] = []  # rotated files with lines that `sync` still has to make durable
        self._owing = False  # the live file holds such lines
        self._new_name = False  # the directory's entry of the live file is not durable yet
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
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
        """Writes whole lines, rotating where the limit asks for it; `durable`: `sync` will be called for them.

        Returns the bytes that are in the file, always whole lines. When they are fewer than given, `error` says why.
        """
        self.error = None
        done = 0
        try:
            while done < len(lines):
                part = self._fitting(lines[done:])
                if part:
                    self._owing = self._owing or durable
                    self._write(lines[done : done + part])
                    done += part
                else:
                    self.rotate()
        except _ShortWriteError as short:
            self.error = short.error
            done += short.written
        except OSError as error:
            self.error = error
        return done

    def sync(self) -> None:
        """Makes durable what was appended for it, under the name that it has now. Raises OSError."""
        while self._retired:
            os.fdatasync(self._retired[-1])
            os.close(self._retired.pop())
        os.fdatasync(self._fd)
        if self._new_name:
            os.fsync(self._directory_fd)
            self._new_name = False
        self._owing = False

    def rotate(self) -> None:
        """The live file becomes `.1`, and an empty one takes its place. Raises OSError, and has then changed nothing
        that `append` relies on."""
        # The new file comes first, under another name: on a full disk there may be no room for it.
        fresh_path = self._beside("new")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh_path)
        fresh = self._open(fresh_path)
        try:
            for number in range(self._backups - 1, 0, -1):
                with contextlib.suppress(FileNotFoundError):
                    os.replace(self._beside(number), self._beside(number + 1))
            if self._backups:
                os.replace(self.path, self._beside(1))
            os.replace(fresh_path, self.path)
        except OSError:
            os.close(fresh)
            raise
        self._replace(fresh)
        self.rotations += 1

    def reopen(self) -> None:
        """Goes on in the file that has the live file's name now, since another program may have renamed ours.

        Raises OSError, and goes on in the old file then.
        """
        self._replace(self._open(self.path, lock=False))
        with contextlib.suppress(BlockingIOError):  # ours already, through the old descriptor: nobody renamed it
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def abandon(self) -> None:
        """Begins a new file after a failed sync: what this one holds can no longer be made durable for certain."""
        for fd in self._retired:
            os.close(fd)
        self._retired.clear()
        self._owing = False
        self.rotate()

    def close(self) -> None:
        for fd in (*self._retired, self._fd, self._directory_fd):
            os.close(fd)
        self._retired.clear()

    def _open(self, path: Path, lock: bool = True) -> int:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, FILE_MODE)
        try:
            if lock:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise
        return fd

    def _replace(self, fd: int) -> None:
        if self._owing:
            self._retired.append(self._fd)
            self._owing = False
        else:
            os.close(self._fd)
        self._fd = fd
        self._adopt()

    def _adopt(self) -> None:
        """Takes the size of the file just opened, and cuts off a line that a crash left unfinished."""
        self.size = os.fstat(self._fd).st_size
        self._new_name = True
        tail = b""
        at = self.size
        while at and b"\n" not in tail:
            step = min(TAIL_BYTES, at)
            at -= step
            tail = os.pread(self._fd, step, at) + tail
        torn = tail[tail.rfind(b"\n") + 1 :]
        if torn:
            with open(self._beside("torn"), "ab") as file:
                file.write(torn + b"\n")
                file.flush()
                os.fsync(file.fileno())
            self.size -= len(torn)
            os.ftruncate(self._fd, self.size)
            self.torn = len(torn)

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

    def _write(self, lines: memoryview) -> None:
        done = 0
        try:
            while done < len(lines):
                done += os.write(self._fd, lines[done:])
        except OSError as error:
            whole = bytes(lines[:done]).rfind(b"\n") + 1
            if done > whole:
                os.ftruncate(self._fd, self.size + whole)
            self.size += whole
            raise _ShortWriteError(error, whole) from error
        self.size += done

    def _beside(self, suffix: str | int) -> Path:
        return self.path.with_name(f"{self.path.name}.{suffix}")


class _ShortWriteError(Exception):
    """A write ended early; that many bytes, whole lines, are in the file."""

    def __init__(self, error: OSError, written: int) -> None:
        self.error = error
        self.written = written
