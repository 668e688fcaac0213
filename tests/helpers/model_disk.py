"""A disk as Linux has it, for random runs: the real files are the page cache, and this notes what the disk has of it.

Each operation of the server may fail, and it may be the last one. Syncs end when the run says so, in any order.
"""

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

from fastlog.server import found_files
from fastlog.server.storage import Storage
from tests.helpers.model_file import CUT, Description, File
from tests.helpers.model_names import Names

OPERATIONS_MAX = 5_000  # many times what a run has


class Died(BaseException):
    """The server is killed, or the power is cut: nothing of it runs any more."""


class Sync(NamedTuple):
    covered: list[tuple[Description, int, list]]  # files, how many changes of each, and which attributes
    names_to: int  # how many changes of names
    done: Callable[[OSError | None], None]


class Faults:
    """What fails from now on."""

    def __init__(self, rng: Random, note: Callable[[str], None]) -> None:
        self._rng = rng
        self._note = note
        self.heal()

    def heal(self) -> None:
        self.operations: dict[str, list[int]] = {}  # [errno, how many times]
        self.room: int | None = None  # bytes that the disk has room for; None: enough
        self.file_max: int | None = None  # bytes of the largest file
        self.sync_fails = 0.0  # how probable it is that the sync of a file fails, or of the directory

    def check(self, operation: str) -> None:
        """Raises OSError if the operation is to fail."""
        fault = self.operations.get(operation)
        if fault:
            number, fault[1] = fault[0], fault[1] - 1
            if not fault[1]:
                del self.operations[operation]
            self._note(f"            fails: {os.strerror(number)}")
            raise OSError(number, os.strerror(number))

    def sync_fails_now(self) -> bool:
        return self.sync_fails > 0 and self._rng.random() < self.sync_fails

    def fitting(self, size: int, file_size: int) -> int:
        """How much of a write the disk takes. Raises OSError if it is nothing."""
        if self.file_max is not None:
            size = min(size, max(self.file_max - file_size, 0))
            if not size:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        if self.room is not None:
            size = min(size, self.room)
            self.room -= size
            if not size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return size


class ModelDisk(Storage):
    """`before_each` is called before each operation; `on_failure` when a file failed."""

    def __init__(self, directory: Path, rng: Random, note: Callable[[str], None]) -> None:
        super().__init__()
        self.directory = directory
        self.names = Names()
        self.faults = Faults(rng, note)
        self.is_blocking = False
        self.operations = 0  # so far
        self.dies_at = -1  # after that many operations
        self.is_dead = False
        self.half_lines = False  # one could not be cut off, or is all that the disk has of a file set aside
        self.before_each: Callable[[], None] = lambda: None
        self.on_failure: Callable[[], None] = lambda: None
        self.by_inode: dict[int, File] = {}
        self._under_way: list[Sync] = []
        self._open: dict[int, Description] = {}
        self._rng = rng
        self._note = note

    def open(self, path):
        self._begin("open", path.name)
        if path.name not in self.names.now:
            self.faults.check("create")
            fd = super().open(path)
            file = self.by_inode[os.fstat(fd).st_ino] = File()
            self.names.add(path.name, file)
        else:
            fd = super().open(path)
        self._open[fd] = Description(self.names.now[path.name])
        return fd

    def open_to_change(self, path):
        self._begin("open", path.name)
        fd = super().open_to_change(path)
        self._open[fd] = Description(self.names.now[path.name])
        return fd

    def dup(self, fd: int) -> int:
        """Another descriptor of an open file, which another process has."""
        another = os.dup(fd)
        self._open[another] = Description(self._file(fd))
        return another

    def close(self, fd):
        self._open.pop(fd, None)
        super().close(fd)

    def make_directory(self, path):
        self._begin("make_directory", path)
        if not path.is_dir():
            path.mkdir()
            self.names.renew()

    def set_time(self, fd, modified_ns):
        self._begin("set_time")
        super().set_time(fd, modified_ns)

    def write(self, fd, data):
        file = self._file(fd)
        data = bytes(data)
        try:
            self._begin("write", data)
        except OSError:
            if data != b"\n":  # which ends another program's line, before anything is written to the file
                file.note_failure()
            self.on_failure()
            raise
        data = data[: self.faults.fitting(len(data), file.size)]
        taken = os.write(fd, data)
        file.add(data, file.size)
        return taken

    def overwrite(self, fd, data, offset):
        self._begin("overwrite", bytes(data), offset)
        super().overwrite(fd, data, offset)
        self._open[fd].file.add(bytes(data), offset)

    def set_attribute(self, fd, name, value):
        self._begin("set_attribute", name, value)
        super().set_attribute(fd, name, value)
        if os.fstat(fd).st_ino in self.by_inode:  # not of the directory, whose mark may survive or not
            self._file(fd).new_attributes.append((name, value))

    def truncate(self, fd, size):
        try:
            self._begin("truncate", size)
        except OSError:
            self.half_lines = True
            self.on_failure()
            raise
        file = self._open[fd].file
        if self.faults.room is not None:
            self.faults.room += max(file.size - size, 0)
        super().truncate(fd, size)
        file.add(CUT, size)

    def rename(self, old, new):
        self._begin("rename", old.name, new.name)
        self.names.about_to_lose(new)
        super().rename(old, new)
        self.names.rename(old.name, new.name)

    def unlink(self, path):
        if path.name in self.names.now:
            self._begin("unlink", path.name)
        self.names.about_to_lose(path)
        super().unlink(path)
        self.names.remove(path.name)

    def sync(self, files, directory, done):
        self._begin("sync", len(files), directory is not None)
        self._under_way.append(self._sync_of(files, directory, done))
        if self.is_blocking:
            self.end_one()

    def sync_now(self, files, directory=None):
        self._begin("sync_now", len(files), directory is not None)
        errors: list[OSError | None] = []
        self._end(self._sync_of(files, directory, errors.append))
        for fd in files:
            _evict(self, fd, self._rng)
        if errors[0]:
            raise errors[0]

    def finish(self):
        while self._under_way:
            self.end_one()

    def end_one(self) -> None:
        """Ends one of the syncs under way, if there is one."""
        if self._under_way:
            if self.is_dead:
                raise Died
            self._end(self._under_way.pop(self._rng.randrange(len(self._under_way))))

    def dies(self) -> None:
        """The process is gone: its descriptors are closed. Syncs under way are left to the kernel."""
        self._under_way.clear()
        self.is_dead = False
        self.dies_at = -1
        for fd in list(self._open):
            self.close(fd)

    def _begin(self, operation: str, *arguments: object) -> None:
        self.before_each()
        if self.is_dead or self.operations == self.dies_at:
            self.is_dead = True
            raise Died
        self.operations += 1
        assert self.operations < OPERATIONS_MAX, "it does not end"
        self._note(f"        {operation} {' '.join(map(str, arguments))}")
        self.faults.check(operation)

    def _file(self, fd: int) -> File:
        return self.by_inode[os.fstat(fd).st_ino]

    def _sync_of(self, files, directory, done) -> Sync:
        covered = []
        for fd in files:
            description = self._open.get(fd) or Description(self._file(fd))
            attributes = description.file.new_attributes if self._take_attributes(fd) else []
            covered.append((description, description.file.count, list(attributes)))
        names_to = -1
        if directory is not None:
            try:
                if os.path.samestat(os.fstat(directory), os.stat(self.directory)):
                    names_to = self.names.count
            except FileNotFoundError:
                pass
        return Sync(covered, names_to, done)

    def _end(self, sync: Sync) -> None:
        error = None
        for description, to, attributes in sync.covered:
            file = description.file
            if self.faults.sync_fails_now():
                file.lose(to)
                self.on_failure()
            if description.error_to_tell():
                error = OSError(errno.EIO, os.strerror(errno.EIO))
                file.note_failure()
            else:
                file.make_sure(to)
                file.attributes.update(attributes)
                del file.new_attributes[: len(attributes)]
        if sync.names_to >= 0:
            if self.faults.sync_fails_now():
                error = error or OSError(errno.EIO, os.strerror(errno.EIO))
            else:
                self.names.make_sure(sync.names_to)
        if error:
            self.on_failure()
        self._note(f"        the sync of {len(sync.covered)} files ends: {error or 'well'}")
        sync.done(error)


def _evict(disk: ModelDisk, fd: int, rng: Random) -> None:
    """A start reads what the disk has of files that were set aside."""
    file = disk.by_inode.get(os.fstat(fd).st_ino)
    name = next((name for name, each in disk.names.now.items() if each is file), "")
    if file and re.search(found_files.DISTRUSTED + "$", name) and file.has_lost:
        content = file.after_a_cut(rng)[: file.size]
        content += bytes(file.size - len(content))
        with open(disk.directory / name, "r+b") as real:
            real.write(content)
        disk.half_lines = True
        file.renew(content)
