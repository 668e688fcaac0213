"""One open file of the log: its identity, what a sync has made durable of it, and its content."""

import errno
import os
from pathlib import Path

from fastlog.file_systems import NO_DIRECTORY_SYNC, is_file, open_to_read
from fastlog.segments import Identity, durable_size_of, identity_of


class CutError(Exception):
    """Another program has cut the file, which has another identity now, or will get one."""


class SyncError(OSError):
    """What the file has cannot be made durable. That is said once: a later sync would succeed, and prove nothing."""


class DurableNames:
    """Which files have durable names: those that had one when the directory was last synced."""

    def __init__(self) -> None:
        self._directory = (0, 0)
        self._newest = Identity("", 0)

    def sync(self, file: "SegmentFile") -> None:
        """Makes the name of this file durable, unless it is. Raises OSError."""
        state = os.stat(file.path.parent)
        directory = state.st_dev, state.st_ino
        log, segment = file.identity
        if directory == self._directory and log == self._newest.log and segment <= self._newest.segment:
            return
        sync_directory(file.path.parent)
        self._directory, self._newest = directory, Identity(log, file.newest)


class SegmentFile:
    """An open file of the log. Raises OSError, and CutError if the file of that path has another identity."""

    is_repaired = True  # the server removes damage from it when it starts

    def __init__(self, path: Path, identity: Identity) -> None:
        self.path = path  # the one that it had when it was opened
        self.identity = identity
        self.fd = open_to_read(path)
        try:
            if not is_file(self.fd):
                raise OSError(errno.EINVAL, "it is not a file")  # noqa: TRY301  # closes the descriptor, too
            self.check()
        except BaseException:
            self.close()
            raise
        state = os.fstat(self.fd)
        self.inode = state.st_dev, state.st_ino
        self.names = DurableNames()
        self.newest = identity.segment  # of the files that had their names when this one was opened

    def __str__(self) -> str:
        return f"segment {self.identity.segment} ({self.path.name})"

    def check(self) -> None:
        """Raises CutError if this is not the file any more that it was: its content is another one's now."""
        if identity_of(self.fd) != self.identity:
            raise CutError

    def is_at(self, path: str | Path) -> bool:
        """Whether the file has this name now."""
        try:
            state = os.stat(path)
        except OSError:
            return False
        return self.inode == (state.st_dev, state.st_ino)

    def size(self) -> int:
        return os.fstat(self.fd).st_size

    def size_left(self, offset: int) -> int:
        """Bytes from the offset on, as far as that can be known of a file that cannot be read."""
        return max(SegmentFile.size(self) - offset, 0)

    def sync(self) -> None:
        """Makes durable what the file has now; and its name, once. Raises OSError."""
        try:
            os.fsync(self.fd)
        except OSError as error:
            raise SyncError(error.errno, error.strerror) from error
        self.names.sync(self)

    def durable_size(self) -> int | None:
        """How many bytes are durable, by the server's word, of a file that was set aside. None: it was not."""
        return durable_size_of(self.fd)

    def read(self, size: int, offset: int) -> bytes:
        return os.pread(self.fd, size, offset)

    def close(self) -> None:
        os.close(self.fd)


def sync_directory(path: Path) -> None:
    """Makes the names in it durable, where the file system can. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in NO_DIRECTORY_SYNC:
            raise
    finally:
        os.close(fd)
