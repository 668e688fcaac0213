"""An open file of whole lines, to which the server appends.

Other programs may remove it, cut it, or write to it at any time. So each append compares the file with what it should
be, and a line never begins in the middle of another one.
"""

import errno
import os
import stat
from pathlib import Path

from fastlog.segments import Identity
from fastlog.server.storage import Storage

KINDS = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}


class NotAFileError(OSError):
    """Something else has the file's name. `kind` says what it is."""

    kind = ""


class LinesFile:
    """The file is opened, made if there is none, and locked. `empty`: another file of this name is removed before.

    Raises BlockingIOError if another process has locked it, and other OSErrors, with the path as their `filename`.
    """

    def __init__(self, storage: Storage, path: Path, *, empty: bool = False) -> None:
        self.size = 0  # bytes that it has, as far as this process knows
        self.durable_size = 0 if empty else None  # bytes that the last good sync covered; None: not known
        self.identity: Identity | None = None  # None: it has none, or nobody has looked yet
        self.is_rotated_out = False  # a rotation removed it, as LOG_BACKUPS asks for
        self._storage = storage
        _check_regular(path)
        self.fd = storage.create(path) if empty else storage.open(path)
        try:
            storage.lock(self.fd)
        except OSError as error:
            self.close()
            error.filename = str(path)
            raise

    def append(self, lines: memoryview) -> tuple[int, OSError | None]:
        """Returns how many bytes the file took, which are whole lines; and why they are fewer than given, or None.

        Afterwards the file ends with a whole line, or the error is such that nothing more may be written to it.
        """
        try:
            self._check_size()
        except OSError as error:
            return 0, error
        done, failure = self._write(lines)
        self.size += done
        return (done, failure) if self.is_whole() else (0, _gone())

    def is_whole(self) -> bool:
        """Whether the file still has a name, and its size. A file that cannot be looked at is not whole: it may be on
        another machine, which has removed it or is gone."""
        try:
            state = os.fstat(self.fd)
        except OSError:
            return False
        return state.st_nlink > 0 and state.st_size >= self.size

    def was_cut(self) -> bool:
        """Whether another program has made it smaller."""
        try:
            return os.fstat(self.fd).st_size < self.size
        except OSError:
            return False

    def adopt(self) -> None:
        """Takes the file as it is now. If its last line is not whole, or cannot be read, it is ended. Raises OSError;
        the next append tries again then."""
        size = os.fstat(self.fd).st_size
        try:
            is_whole = not size or os.pread(self.fd, 1, size - 1) == b"\n"
        except OSError:
            is_whole = False
        if not is_whole:
            size += self._storage.write(self.fd, memoryview(b"\n"))
        self.size = size
        if self.durable_size is not None:
            self.durable_size = min(self.durable_size, size)

    def is_at(self, path: Path) -> bool:
        """Whether the file has this name now."""
        try:
            return os.path.samestat(os.stat(path), os.fstat(self.fd))
        except OSError:
            return False

    def close(self) -> None:
        self._storage.close(self.fd)

    def _check_size(self) -> None:
        state = os.fstat(self.fd)
        if state.st_nlink == 0 or state.st_size < self.size:
            raise _gone()
        if state.st_size > self.size:  # another program has written to it
            self.adopt()

    def _write(self, lines: memoryview) -> tuple[int, OSError | None]:
        done = 0
        try:
            while done < len(lines):
                done += self._storage.write(self.fd, lines[done:])
        except OSError as error:
            whole = bytes(lines[:done]).rfind(b"\n") + 1
            try:
                if done > whole:
                    self._storage.truncate(self.fd, os.fstat(self.fd).st_size - (done - whole))
            except OSError as worse:  # half a line stays: nothing more may be written after it
                return whole, OSError(errno.EIO, worse.strerror or str(worse))
            return whole, error.with_traceback(None)  # which would hold the lines
        return done, None


def _gone() -> OSError:
    return OSError(errno.ESTALE, "another program removed or cut it")


def _check_regular(path: Path) -> None:
    """To open a FIFO or a device may wait for ever, or do something. Raises NotAFileError, and other OSErrors."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        text = os.strerror(number) if number == errno.EISDIR else "Not a regular file"
        error = NotAFileError(number, text, str(path))
        error.kind = KINDS.get(stat.S_IFMT(mode), "a device")
        raise error
