"""`<name>.torn`: what a repair took out of the log, kept for a person to look at.

Keeping it is worth less than starting: where the file cannot be written, what would be in it is lost, and said to be.
"""

import contextlib
import errno
import os
from pathlib import Path

from fastlog.server.storage import Storage

BUFFER_BYTES = 1 << 20  # written at once: a file may have very many damaged lines


class Torn:
    """The unfinished lines of one file, appended as one line. `bytes` counts them, also if they could not be
    kept."""

    def __init__(self, storage: Storage, path: Path, directory_fd: int) -> None:
        self.bytes = 0
        self._storage = storage
        self._path = path
        self._directory_fd = directory_fd
        self._fd: int | None = None
        self._size_before = 0
        self._buffer = bytearray()
        self._failure: OSError | None = None

    def keep(self, part: bytes) -> None:
        self.bytes += len(part)
        if self._failure is None:
            self._buffer += part
            if len(self._buffer) >= BUFFER_BYTES:
                self._write()

    def finish(self) -> None:
        """Makes durable what is kept, or takes back what was written of it."""
        if self.bytes and self._failure is None:
            self._buffer += b"\n"
            self._write()
        if self._fd is None:
            return
        try:
            if self._failure is None:
                self._storage.sync_now([self._fd], self._directory_fd)
        except OSError as error:
            self._failure = error
        if self._failure:
            with contextlib.suppress(OSError):
                self._storage.truncate(self._fd, self._size_before)
        self._storage.close(self._fd)

    @property
    def outcome(self) -> str:
        """What became of it, for a message."""
        if not self.bytes:
            return "removed them"
        if self._failure is None:
            return f"moved {self.bytes} bytes to {self._path}"
        return f"{self.bytes} bytes are lost, since {self._path} cannot be written: {self._failure.strerror}"

    def _write(self) -> None:
        try:
            if self._fd is None:
                self._fd = self._open()
            self._storage.write_all(self._fd, self._buffer)
        except OSError as error:
            self._failure = error
        self._buffer = bytearray()

    def _open(self) -> int:
        if self._path.exists() and not self._path.is_file():  # a FIFO would take the bytes, or hold up the start
            raise OSError(errno.EINVAL, "it is not a file")
        fd = self._storage.open(self._path)
        self._size_before = os.fstat(fd).st_size
        return fd
