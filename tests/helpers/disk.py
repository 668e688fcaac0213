"""Storages that record, fail, or take their time; and the server's pipeline over such a storage."""

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
from fastlog.server.listeners import Listeners
from fastlog.server.logfile import LogFile
from fastlog.server.loop import Loop
from fastlog.server.pipeline import Pipeline
from fastlog.server.storage import Storage

SYNCS_MAX = 1_000  # in a row: far more than any test has
KILLED = OSError("nobody is there to see the end of the sync")


class PatientStorage(Storage):
    """A sync ends when the test says so: `finish` ends the oldest one under way, and those that its end begins."""

    def __init__(self) -> None:
        super().__init__()
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
            if failure is None:
                super(PatientStorage, self).sync(files, directory, done)
            elif failure is not KILLED:
                done(failure)
            for fd in files:
                os.close(fd)

        self.under_way.append(end)

    def end_one(self, failure: OSError | None = None) -> None:
        """Ends the oldest sync under way, if there is one: well, or with this failure."""
        if self.under_way:
            self.under_way.pop(0)(failure)

    def finish(self):
        for _ in range(SYNCS_MAX):
            if not self.under_way:
                return
            self.end_one()
        raise AssertionError("each sync that ends begins another one")


class SmallFilesStorage(PatientStorage):
    """A file has at most so many bytes."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__()
        self._most_bytes = most_bytes

    def write(self, fd, data):
        room = self._most_bytes - os.fstat(fd).st_size
        if room <= 0:
            raise OSError(errno.EFBIG, "File too large")
        return super().write(fd, data[:room])


class UnwritableStorage(PatientStorage):
    """While there is a `failure`, each write fails with it."""

    failure: OSError | None = None

    def write(self, fd, data):
        if self.failure:
            raise self.failure
        return super().write(fd, data)


class NoNameSyncsStorage(PatientStorage):
    """While it `fails`, so does each sync of the directory."""

    fails = False

    def sync(self, files, directory, done):
        if self.fails and directory is not None:
            self.under_way.append(lambda _: done(EIO))
        else:
            super().sync(files, directory, done)


class RecordingStorage(PatientStorage):
    """Records every operation. Each file has a number of its own, since the system reuses inode numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple] = []
        self.before_each = lambda: None
        self._numbers: dict[int, int] = {}  # by inode

    def note(self, *operation) -> None:
        self.before_each()
        self.operations.append(operation)

    def number(self, inode: int) -> int:
        return self._numbers.setdefault(inode, len(self._numbers))

    def open(self, path):
        is_new = not path.exists()
        fd = super().open(path)
        if is_new:
            inode = os.fstat(fd).st_ino
            self._numbers[inode] = 1000 + len(self.operations)
            self.note("create", path.name, self.number(inode))
        return fd

    def write(self, fd, data):
        taken = super().write(fd, data)
        self.note("write", self._file(fd), bytes(data))
        return taken

    def overwrite(self, fd, data, offset):
        super().overwrite(fd, data, offset)
        self.note("overwrite", self._file(fd), bytes(data), offset)

    def truncate(self, fd, size):
        super().truncate(fd, size)
        self.note("truncate", self._file(fd), size)

    def set_attribute(self, fd, name, value):
        super().set_attribute(fd, name, value)
        self.note("attribute", self._file(fd), name, value)

    def rename(self, old, new):
        super().rename(old, new)  # first, since it may fail
        self.note("rename", old.name, new.name)

    def unlink(self, path):
        super().unlink(path)
        self.note("unlink", path.name)

    def sync(self, files, directory, done):
        numbers = tuple(map(self._file, files))
        # what the sync covers is what was written before it began
        covered = len(self.operations)
        with_attributes = tuple(self._file(fd) for fd in files if self._take_attributes(fd))

        def ended(error):
            if error is None:
                self.note("attributes synced", covered, with_attributes)
                self.note("synced", covered, numbers, directory is not None)
            done(error)

        super().sync(files, directory, ended)

    def sync_now(self, files, directory=None):
        with_attributes = tuple(self._file(fd) for fd in files if self._take_attributes(fd))
        super().sync_now(files, directory)
        self.note("attributes synced", len(self.operations), with_attributes)
        self.note("synced", len(self.operations), tuple(map(self._file, files)), directory is not None)

    def _file(self, fd: int) -> int:
        return self.number(os.fstat(fd).st_ino)


class CheckedNames(Storage):
    """Calls `_check` before each change of a name, which raises OSError if that is to fail."""

    def rename(self, old, new):
        self._check()
        super().rename(old, new)

    def unlink(self, path):
        if path.exists():
            self._check()
        super().unlink(path)


class FailingStorage(CheckedNames, PatientStorage):
    """`fails` returns, for the number of an operation, the errno with which it fails, or 0. A disk takes half of the
    write that fills it, and then nothing."""

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

    def set_attribute(self, fd, name, value):
        self._check()
        super().set_attribute(fd, name, value)

    def sync(self, files, directory, done):
        number = self._step()
        if number:
            self.under_way.append(lambda _: done(OSError(number, os.strerror(number))))
        else:
            super().sync(files, directory, done)

    def sync_now(self, files, directory=None):
        self._check()
        super().sync_now(files, directory)


class Harness:
    """The server's pipeline over a storage, with a client that sends to it. Every turn writes what it received."""

    def __init__(
        self,
        directory: Path,
        storage: Storage,
        limit: int = 10**9,
        backups: int = 50,
        pace: SyncPace | None = None,
        hold_bytes: int | None = None,
    ) -> None:
        self.storage = storage
        self.directory = directory
        self.sent: list[bytes] = []
        self.acked: list[int] = []
        self.listener = Listener.bind("127.0.0.1", 0, 1 << 20)
        self.listeners = Listeners([self.listener])
        self._clients: list[socket.socket] = []
        self._client = self.another_sender()
        self.log = LogFile(storage, directory, "server.log", limit, backups, hold_bytes=hold_bytes)
        self.loop = Loop()
        settings = Settings(
            log_dir=str(directory),
            priority_levels=("ERROR",),
            max_errors=10,
            flush_count=1,
            rejects_max_mb=0,
            stamp="never",
        )
        self.pipeline = Pipeline(settings, self.log, self.listeners, self.loop, pace or SyncPace(0.0))
        self.intake = self.pipeline.intake
        self.writer = self.pipeline.writer
        self.commit = self.writer.commit

    def another_sender(self) -> socket.socket:
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.connect(self.listener.socket.getsockname())
        self._clients.append(client)
        return client

    def send(self, *entries: bytes) -> None:
        """Sends entries, one burst, and runs a turn of the pipeline."""
        for entry in entries:
            self.deliver(entry)
        self.pipeline.turn(monotonic())
        self.read_acks()

    def deliver(self, entry: bytes) -> None:
        """Sends an entry, which waits in the server's socket until it is received."""
        self.sent.append(entry)
        self._client.send(entry)

    def retry(self) -> None:
        """Does what the loop does when another attempt is due."""
        self.writer.retry(monotonic())
        self.read_acks()

    def later(self, seconds: float) -> None:
        """Does what the loop does until so many seconds from now."""
        now = monotonic() + seconds
        for deadline in list(self.loop._deadlines):
            if deadline.at <= now:
                deadline.fire(now)
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

    def kill(self) -> None:
        """Ends as a killed server does: syncs under way are left to the kernel, and their ends reach nobody."""
        while self.storage.under_way:
            self.storage.end_one(KILLED)
        self.close()

    def close(self) -> None:
        self.storage.finish()
        self.pipeline.close()
        self.loop.close()
        self.listener.close()
        for client in self._clients:
            client.close()


EIO = OSError(errno.EIO, "Input/output error")


def error(sequence: int) -> bytes:
    return b'{"level":"ERROR","message":"e%d","sequence":%d}' % (sequence, sequence)


def info(sequence: int) -> bytes:
    return b'{"level":"INFO","message":"i%d","sequence":%d}' % (sequence, sequence)
