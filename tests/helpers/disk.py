"""Storages that record, fail, or take their time; and the path from the socket to the file over such a storage."""

import errno
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from fastlog.config import Settings
from fastlog.server.commit import SyncPace
from fastlog.server.listener import Listener
from fastlog.server.logfile import LogFile
from fastlog.server.loop import Loop
from fastlog.server.pipeline import Pipeline
from fastlog.server.storage import Storage


class PatientStorage(Storage):
    """A sync ends when the test says so: `finish` ends the oldest one under way, and those that its end begins."""

    def __init__(self) -> None:
        self.under_way: list[Callable[[OSError | None], None]] = []
        self.write_failure: OSError | None = None  # with which the next write fails

    def write(self, fd, data):
        failure, self.write_failure = self.write_failure, None
        if failure:
            raise failure
        return super().write(fd, data)

    def sync(self, files, directory, done):
        files = [os.dup(fd) for fd in files]

        def end(failure):
            if failure:
                done(failure)
            else:
                super(PatientStorage, self).sync(files, directory, done)
            for fd in files:
                os.close(fd)

        self.under_way.append(end)

    def end_one(self, failure: OSError | None = None) -> None:
        """Ends the oldest sync under way, if there is one: well, or with this failure."""
        if self.under_way:
            self.under_way.pop(0)(failure)

    def finish(self):
        while self.under_way:
            self.end_one()


class RecordingStorage(PatientStorage):
    """Notes every operation, with files by their inode. `leaves_out` says which part of a sync is not done, to show
    that it would be missed: `files`, `last file`, `first file` or `directory`."""

    def __init__(self, leaves_out: str = "") -> None:
        super().__init__()
        self.operations: list[tuple] = []
        self.before_each = lambda: None
        self._leaves_out = leaves_out

    def note(self, *operation) -> None:
        self.before_each()
        self.operations.append(operation)

    def open(self, path):
        is_new = not path.exists()
        fd = super().open(path)
        if is_new:
            self.note("create", path.name, os.fstat(fd).st_ino)
        return fd

    def write(self, fd, data):
        taken = super().write(fd, data)
        self.note("write", os.fstat(fd).st_ino, bytes(data))
        return taken

    def truncate(self, fd, size):
        self.note("truncate", os.fstat(fd).st_ino, size)
        super().truncate(fd, size)

    def rename(self, old, new):
        super().rename(old, new)  # first, since it may fail
        self.note("rename", old.name, new.name)

    def unlink(self, path):
        super().unlink(path)
        self.note("unlink", path.name)

    def sync(self, files, directory, done):
        files = list(files)
        inodes = [os.fstat(fd).st_ino for fd in files]
        synced = {"files": [], "last file": inodes[:-1], "first file": inodes[1:]}.get(self._leaves_out, inodes)
        with_names = directory is not None and self._leaves_out != "directory"
        # what the sync covers is what was written before it began
        covered = len(self.operations)

        def ended(error):
            self.note("synced", covered, tuple(synced), with_names)
            done(error)

        super().sync(files, directory, ended)


class FailingStorage(PatientStorage):
    """`fails` tells for the number of an operation the errno with which it fails, or 0. A disk takes half of the write
    that fills it, and then nothing."""

    def __init__(self, fails: Callable[[int], int]) -> None:
        super().__init__()
        self.count = 0
        self._fails = fails
        self._is_full = False

    def _step(self) -> int:
        self.count += 1
        return self._fails(self.count)

    def _check(self) -> None:
        number = self._step()
        if number:
            raise OSError(number, os.strerror(number))

    def open(self, path):
        self._check()
        return super().open(path)

    def write(self, fd, data):
        number = self._step()
        if number == errno.ENOSPC and not self._is_full:
            self._is_full = True
            return super().write(fd, data[: len(data) // 2])
        if number:
            raise OSError(number, os.strerror(number))
        self._is_full = False
        return super().write(fd, data)

    def rename(self, old, new):
        self._check()
        super().rename(old, new)

    def unlink(self, path):
        if path.exists():
            self._check()
        super().unlink(path)

    def sync(self, files, directory, done):
        number = self._step()
        if number:
            self.under_way.append(lambda _: done(OSError(number, os.strerror(number))))
        else:
            super().sync(files, directory, done)


class Way:
    """The server's pipeline over a storage, with a sender before it. Every turn writes what it took."""

    def __init__(
        self, directory: Path, storage: Storage, limit: int = 10**9, backups: int = 50, pace: SyncPace | None = None
    ) -> None:
        self.storage = storage
        self.directory = directory
        self.sent: list[bytes] = []
        self.acked: list[int] = []
        self.listener = Listener.bind("127.0.0.1", 0, 1 << 20)
        self._client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._client.connect(self.listener.socket.getsockname())
        self.log = LogFile(storage, directory, "server.log", limit, backups)
        self.loop = Loop()
        settings = Settings(
            log_dir=str(directory), priority_levels=("ERROR",), max_errors=10, flush_count=1, rejects_max_mb=0
        )
        self.pipeline = Pipeline(settings, self.log, self.listener, self.loop, pace or SyncPace(0.0))
        self.intake = self.pipeline.intake
        self.writer = self.pipeline.writer
        self.commit = self.writer.commit

    def send(self, *entries: bytes) -> None:
        """Sends entries, one burst, and lets the server take them as one turn of its loop does."""
        for entry in entries:
            self.sent.append(entry)
            self._client.send(entry)
        self.pipeline.turn(monotonic())
        self.read_acks()

    def retry(self) -> None:
        """What the loop does when the time for another try has come."""
        self.writer.retry(monotonic())
        self.read_acks()

    def read_acks(self) -> list[int]:
        new = []
        while True:
            try:
                new.append(json.loads(self._client.recv(100, socket.MSG_DONTWAIT))["sequence"])
            except BlockingIOError:
                self.acked += new
                return new

    def lines(self) -> list[bytes]:
        """All lines of the live file and its archives, in any order; each must be whole."""
        found = []
        for path in self.directory.glob("server.log*"):
            content = path.read_bytes()
            assert content.endswith(b"\n") or not content, path
            found += content.splitlines()
        return found

    def close(self) -> None:
        self.storage.finish()
        self.pipeline.close()
        self.loop.close()
        self.listener.close()
        self._client.close()


EIO = OSError(errno.EIO, "Input/output error")


def error(sequence: int) -> bytes:
    return b'{"level":"ERROR","message":"e%d","sequence":%d}' % (sequence, sequence)


def info(sequence: int) -> bytes:
    return b'{"level":"INFO","message":"i%d","sequence":%d}' % (sequence, sequence)
