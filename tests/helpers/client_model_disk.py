"""The disk of a random run of the client: real files, and a module `os` that refuses, is full, and kills the program in
the middle of an operation. It knows which descriptors each program has open."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

OTHERS = {"s": b"one", "s.py": b"another", "s.1000-12": b"a third"}  # files that are no spill files


class Died(BaseException):
    """The program is killed: nothing of it runs any more."""


class Directory:
    """Where the spill files `s.*` are, beside files of somebody else; it may be away for a while."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._away = path.with_name("away")

    def make(self) -> None:
        self.path.mkdir(parents=True)
        for name, content in OTHERS.items():
            (self.path / name).write_bytes(content)

    def files(self) -> list[Path]:
        """The spill files. The others are as they were."""
        found = [path for directory in (self.path, self._away) for path in directory.glob("*")]
        others = {path.name: path.read_bytes() for path in found if path.name in OTHERS}
        assert others == OTHERS, f"files of somebody else have changed: {others}"
        return [path for path in found if path.name not in OTHERS]

    def take(self) -> None:
        if self.path.exists():
            self.path.rename(self._away)

    def bring(self) -> None:
        if self._away.exists():
            self._away.rename(self.path)


class Faults:
    """What fails from now on."""

    def __init__(self) -> None:
        self.heal()

    def heal(self) -> None:
        self.operations: dict[str, list[int]] = {}  # [errno, how many times]
        self.room: int | None = None  # bytes that the disk has room for; None: enough

    def check(self, operation: str) -> None:
        """Raises OSError if the operation is to fail."""
        fault = self.operations.get(operation)
        if fault:
            fault[1] -= 1
            if not fault[1]:
                del self.operations[operation]
            raise OSError(fault[0], os.strerror(fault[0]))

    def fitting(self, size: int) -> int:
        """How much of a write the disk takes. Raises OSError if it is nothing."""
        if self.room is not None:
            size = min(size, self.room)
            self.room -= size
            if not size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return size


class InUse:
    """In place of the set of files that a process has in use: each program has its own."""

    def __init__(self, disk: "ModelOs") -> None:
        self._disk = disk

    def __contains__(self, identity: object) -> bool:
        return identity in self._disk.owner.spill_files

    def add(self, identity: object) -> None:
        self._disk.owner.spill_files.add(identity)

    def discard(self, identity: object) -> None:
        self._disk.owner.spill_files.discard(identity)


class ModelOs:
    """Takes the place of `os` in the client's modules. `owner` is the program that runs now: it has `fds`, the
    descriptors that it has open, and a `pid`."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.owner: Any = None
        self.rng = Random(0)
        self.operations = 0
        self.dies_at = -1  # the operation in which the program is killed
        self.note: Callable[[str], None] = lambda text: None

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def getpid(self) -> int:
        return int(self.owner.pid)

    def urandom(self, size: int) -> bytes:
        return self.rng.randbytes(size)

    def open(self, path: str, flags: int, mode: int = 0o777) -> int:
        self._begin("create" if flags & os.O_CREAT else "open", path)
        fd = os.open(path, flags, mode)
        self.owner.fds.add(fd)
        return fd

    def close(self, fd: int) -> None:
        os.close(fd)
        self.owner.fds.discard(fd)

    def write(self, fd: int, data: bytes) -> int:
        return os.write(fd, self._taken(data, lambda part: os.write(fd, part)))

    def pwrite(self, fd: int, data: bytes, at: int) -> int:
        return os.pwrite(fd, self._taken(data, lambda part: os.pwrite(fd, part, at)), at)

    def pread(self, fd: int, size: int, at: int) -> bytes:
        self._begin("read", "")
        return os.pread(fd, size, at)

    def ftruncate(self, fd: int, size: int) -> None:
        self._begin("truncate", "")
        os.ftruncate(fd, size)

    def unlink(self, path: str) -> None:
        self._begin("unlink", path)
        os.unlink(path)

    def _taken(self, data: bytes, write: Callable[[bytes], int]) -> bytes:
        """What the disk takes of it now. A program that is killed now has written some of it."""
        try:
            self._begin("write", "")
        except Died:
            write(data[: self.rng.randrange(len(data) + 1)])
            raise
        return data[: self.faults.fitting(len(data))]

    def _begin(self, operation: str, path: str) -> None:
        self.operations += 1
        if self.operations == self.dies_at:
            self.note("            is killed in the middle of a call")
            raise Died
        self.faults.check(operation)
