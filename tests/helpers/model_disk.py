"""A disk as Linux has it, for random runs: the real files are the page cache, and this notes what the disk holds of it.

Of a file's changes only what a sync covered is sure to be on the disk. A write-back that fails loses them: the page
cache then takes them for clean, and the error is reported once to each descriptor that was open. Changes of names are
kept in their order, and those after the last sync of the directory may be missing. Each operation may fail.
"""

import errno
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

from fastlog.server import found_files
from fastlog.server.storage import Storage

NAME = "server.log"
AWAY = "away"  # what begins so is a file that another program renamed: nobody counts on it
PENDING, SURE, LOST = range(3)  # what the disk has of a change: perhaps; for sure; perhaps, and no later sync writes it
CUT = None  # in place of a change's data


class Died(BaseException):
    """The server is killed, or the power is cut: nothing of it runs any more."""


class File:
    """`base`: what the disk has for sure; `changes`: what was done since, each [data or CUT, offset, state]."""

    __slots__ = ("base", "changes", "error", "error_seen", "merged", "size", "trusted")

    def __init__(self, content: bytes = b"") -> None:
        self.base = bytearray(content)
        self.changes: list[list] = []
        self.merged = 0  # changes before those
        self.size = len(content)
        self.error = 0  # write-backs that failed
        self.error_seen = True  # somebody was told of the last one
        self.trusted: bytes | None = None  # after a failure that the server saw: what was certain before

    def add(self, data: bytes | None, offset: int) -> None:
        self.changes.append([data, offset, PENDING])
        self.size = offset if data is CUT else max(self.size, offset + len(data))

    @property
    def count(self) -> int:
        return self.merged + len(self.changes)

    def make_sure(self, to: int) -> None:
        for change in self.changes[: max(to - self.merged, 0)]:
            if change[2] == PENDING:
                change[2] = SURE
        done = 0
        for data, offset, state in self.changes:
            if state != SURE:
                break
            apply(self.base, data, offset)
            done += 1
        self.merged += done
        del self.changes[:done]

    def lose(self, to: int) -> None:
        """The write-back of these changes fails."""
        for change in self.changes[: max(to - self.merged, 0)]:
            if change[2] == PENDING:
                change[2] = LOST
        self.error += 1
        self.error_seen = False

    def certain(self) -> bytes:
        """What is on the disk whatever happens; zeros stand for what is not certain."""
        content = bytearray(self.base)
        for data, offset, state in self.changes:
            if state == SURE:
                apply(content, data, offset)
            else:
                end = max(len(content), offset) if data is CUT else offset + len(data)
                apply(content, bytes(end - offset), offset)
        return bytes(content)

    def failed(self) -> None:
        if self.trusted is None:
            self.trusted = self.certain()

    def after_a_cut(self, rng: Random) -> bytes:
        """What may be found after a power cut."""
        content = bytearray(self.base)
        for place, (data, offset, state) in enumerate(self.changes):
            fate = 1.0 if state == SURE else rng.random()
            if data is CUT:
                # What is written behind a cut is on the disk only after it.
                if fate < 0.5 and all(later[2] != SURE for later in self.changes[place:]):
                    break
                del content[offset:]
            elif fate >= 0.6:
                apply(content, data, offset)
            elif fate >= 0.4:  # a part is missing, at its end or at its beginning
                size = rng.randrange(len(data) + 1)
                if fate >= 0.5:
                    apply(content, data[:size], offset)
                else:
                    apply(content, data[size:], offset + size)
            elif fate >= 0.3:  # its room is there
                content += bytes(max(0, offset + len(data) - len(content)))
        return bytes(content)


def apply(content: bytearray, data: bytes | None, offset: int) -> None:
    if data is CUT:
        del content[offset:]
        return
    if offset > len(content):
        content += bytes(offset - len(content))
    content[offset : offset + len(data)] = data


def holds(content: bytes, line: bytes) -> bool:
    """Whether this is a line of the content. Spaces before it may have taken the place of damage; a start finds an
    entry that stands directly behind zeros."""
    at = -1
    while (at := content.find(line + b"\n", at + 1)) >= 0:
        if not at or content[at - 1] in b"\n \0":
            return True
    return False


class Description:
    """An open file. It is told of a failed write-back once."""

    __slots__ = ("file", "told")

    def __init__(self, file: File) -> None:
        self.file = file
        self.told = file.error if file.error_seen else file.error - 1


class Sync:
    __slots__ = ("covered", "done", "names_to")

    def __init__(self, covered: list[tuple[Description, int]], names_to: int, done: Callable) -> None:
        self.covered = covered
        self.names_to = names_to
        self.done = done


class ModelDisk(Storage):
    """The storage, and what other programs do. `before_each` is called before each operation of the server."""

    def __init__(self, directory: Path, rng: Random) -> None:
        self.directory = directory
        self.rng = rng
        self.states: list[dict[str, File]] = [{}]  # the names that are sure, and then after each change
        self.names_before = 0  # changes of names before those
        self.under_way: list[Sync] = []
        self.is_blocking = False
        self.half_lines = False  # one could not be cut off, or is all that the disk has of a file set aside
        self.is_other = False  # another program does something
        self.operations = 0
        self.dies_at = -1
        self.is_dead = False
        self.faults: dict[str, list[int]] = {}  # operation: [errno, how many times]
        self.room: int | None = None  # bytes that the disk has room for; None: enough
        self.file_max: int | None = None  # bytes of the largest file
        self.sync_fails = 0.0  # how probable it is that a file's sync fails
        self.before_each: Callable[[], None] = lambda: None
        self.on_failure: Callable[[], None] = lambda: None  # a file failed: what it holds may be stored again
        self.on_removed: Callable[[str, File, bytes], None] = lambda name, file, content: None
        self.trace: list[str] | None = None
        self._open: dict[int, Description] = {}
        self._by_inode: dict[int, File] = {}

    # What the server does

    def open(self, path):
        self._begin("open", path.name)
        if path.name not in self.names:
            self._fail_if_asked("create")
            fd = super().open(path)
            self._named(path.name, self._new_file(fd))
        else:
            fd = super().open(path)
        self._open[fd] = Description(self.names[path.name])
        return fd

    def open_to_change(self, path):
        self._begin("open", path.name)
        fd = super().open_to_change(path)
        self._open[fd] = Description(self.names[path.name])
        return fd

    def close(self, fd):
        self._open.pop(fd, None)
        super().close(fd)

    def make_directory(self, path):
        self._begin("make_directory", path)
        if not path.is_dir():
            path.mkdir()
            self.states, self.names_before = [{}], self.names_before + len(self.states)

    def write(self, fd, data):
        file = self._open[fd].file
        try:
            self._begin("write", bytes(data))
        except OSError:
            if bytes(data) != b"\n":  # which ends another program's line, before anything is written to the file
                file.failed()
            raise
        data = bytes(data)
        if self.file_max is not None:
            data = data[: max(self.file_max - file.size, 0)]
            if not data:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        if self.room is not None:
            data = data[: self.room]
            self.room -= len(data)
            if not data:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = os.write(fd, data)
        file.add(data, file.size)
        return taken

    def overwrite(self, fd, data, offset):
        self._begin("overwrite", bytes(data), offset)
        super().overwrite(fd, data, offset)
        self._open[fd].file.add(bytes(data), offset)

    def truncate(self, fd, size):
        self._begin("truncate", size)
        file = self._open[fd].file
        if self.room is not None:
            self.room += max(file.size - size, 0)
        super().truncate(fd, size)
        file.add(CUT, size)

    def rename(self, old, new):
        self._begin("rename", old.name, new.name)
        before = self._before_removal(new)
        super().rename(old, new)
        self._renamed(old.name, new.name, before)

    def unlink(self, path):
        if path.name in self.names:
            self._begin("unlink", path.name)
        before = self._before_removal(path)
        super().unlink(path)
        self._unlinked(path.name, before)

    def sync(self, files, directory, done):
        self._begin("sync", len(files), directory is not None)
        self.under_way.append(self._sync_of(files, directory, done))
        if self.is_blocking:
            self.end_one()

    def sync_now(self, files, directory=None):
        self._begin("sync_now", len(files), directory is not None)
        errors: list[OSError | None] = []
        self._end(self._sync_of(files, directory, errors.append))
        for fd in files:
            self._evict(fd)
        if errors[0]:
            raise errors[0]

    def finish(self):
        while self.under_way:
            self.end_one()

    # What the kernel and the world do

    @property
    def names(self) -> dict[str, File]:
        return self.states[-1]

    def end_one(self) -> None:
        """Ends one of the syncs under way, if there is one."""
        if self.under_way:
            if self.is_dead:
                raise Died
            self._end(self.under_way.pop(self.rng.randrange(len(self.under_way))))

    def write_back(self, *, fails: bool) -> None:
        """The kernel writes to the disk what it has of one file, unasked."""
        if self.names:
            file = self.rng.choice(list(self.names.values()))
            if fails and file.changes:
                self._lose(file, file.count)
            else:
                file.make_sure(file.count)

    def heal(self) -> None:
        self.faults.clear()
        self.room = self.file_max = None
        self.sync_fails = 0.0

    def other_renames(self, old: str, new: str) -> None:
        before = self._before_removal(self.directory / new)
        os.replace(self.directory / old, self.directory / new)
        self.is_other = True
        self._renamed(old, new, before)
        self.is_other = False

    def other_removes(self, name: str) -> None:
        before = self._before_removal(self.directory / name)
        os.unlink(self.directory / name)
        self.is_other = True
        self._unlinked(name, before)
        self.is_other = False

    def other_makes(self, name: str, content: bytes) -> None:
        fd = os.open(self.directory / name, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o640)
        self._named(name, self._new_file(fd))
        os.write(fd, content)
        self.names[name].add(content, 0)
        os.close(fd)

    def other_cuts(self, name: str, size: int) -> None:
        os.truncate(self.directory / name, size)
        self.names[name].add(CUT, size)

    def other_appends(self, name: str, data: bytes) -> None:
        fd = os.open(self.directory / name, os.O_WRONLY | os.O_APPEND)
        os.write(fd, data)
        os.close(fd)
        self.names[name].add(data, self.names[name].size)

    def other_takes_directory(self, to: Path | None) -> None:
        """The directory is moved away, or removed with all it holds."""
        if to:
            os.rename(self.directory, to)
        else:
            shutil.rmtree(self.directory)
        self.names_before += len(self.states)
        self.states = [{}]

    def content(self, name: str) -> bytes:
        with open(self.directory / name, "rb", buffering=0) as file:
            return file.read()

    def is_certain(self, line: bytes, counts: Callable[[str], bool], *, is_new: bool) -> bool:
        """Whether the line is found after a power cut, in a file with a name that counts. A new line does not count in
        a file that has failed."""
        files = {file for name, file in self.names.items() if counts(name)}
        for state in self.states[:-1]:
            files &= {file for name, file in state.items() if counts(name)}
        return any(
            holds(file.certain(), line) and (not is_new or file.trusted is None or holds(file.trusted, line))
            for file in files
        )

    def trust_all(self) -> None:
        """A start does not know which files have failed."""
        for file in self.names.values():
            file.trusted = None

    def lost_lines(self) -> set[bytes]:
        """The lines that the page cache shows, and that a sync does not write to the disk any more."""
        return {
            line
            for name, file in self.names.items()
            if any(state == LOST for _, _, state in file.changes)
            for line in set(self.content(name).split(b"\n")) - set(file.certain().split(b"\n"))
        }

    def dies(self) -> None:
        """The process is gone: its descriptors are closed. Syncs under way are left to the kernel."""
        self.under_way.clear()
        self.is_dead = False
        self.dies_at = -1
        for fd in list(self._open):
            self.close(fd)

    def cut_power(self) -> None:
        """What the disk may hold then takes the place of the page cache."""
        chosen = self.rng.choice(self.states)
        found = {name: file.after_a_cut(self.rng) for name, file in chosen.items()}
        for name in self.names:
            os.unlink(self.directory / name)
        self.directory.mkdir(exist_ok=True)
        self._by_inode.clear()
        self.states, self.names_before = [{}], 0
        names: dict[str, File] = {}
        for name, content in found.items():
            fd = os.open(self.directory / name, os.O_WRONLY | os.O_CREAT, 0o640)
            os.write(fd, content)
            names[name] = self._by_inode[os.fstat(fd).st_ino] = File(content)
            os.close(fd)
        self.states = [names]

    # How

    def _begin(self, operation: str, *arguments: object) -> None:
        self.before_each()
        if self.is_dead or self.operations == self.dies_at:
            self.is_dead = True
            raise Died
        self.operations += 1
        if self.trace is not None:
            self.trace.append(f"        {operation} {' '.join(map(str, arguments))}")
        self._fail_if_asked(operation)

    def _fail_if_asked(self, operation: str) -> None:
        fault = self.faults.get(operation)
        if fault:
            number, fault[1] = fault[0], fault[1] - 1
            if not fault[1]:
                del self.faults[operation]
            if self.trace is not None:
                self.trace.append(f"            fails: {os.strerror(number)}")
            if operation in ("write", "truncate"):
                self.on_failure()
            self.half_lines = self.half_lines or operation == "truncate"
            raise OSError(number, os.strerror(number))

    def _new_file(self, fd: int) -> File:
        file = self._by_inode[os.fstat(fd).st_ino] = File()
        return file

    def _named(self, name: str, file: File) -> None:
        self.states.append({**self.names, name: file})

    def _before_removal(self, path: Path) -> bytes:
        return self.content(path.name) if path.name in self.names else b""

    def _renamed(self, old: str, new: str, before: bytes) -> None:
        names = dict(self.names)
        replaced = names.get(new)
        names[new] = names.pop(old)
        if replaced:
            self.on_removed(new, replaced, before)
        self.states.append(names)

    def _unlinked(self, name: str, before: bytes) -> None:
        names = dict(self.names)
        self.on_removed(name, names.pop(name), before)
        self.states.append(names)

    def _sync_of(self, files, directory, done) -> Sync:
        covered = []
        for fd in files:
            description = self._open.get(fd) or Description(self._by_inode[os.fstat(fd).st_ino])
            covered.append((description, description.file.count))
        names_to = -1
        if directory is not None and self._is_present(directory):
            names_to = self.names_before + len(self.states) - 1
        return Sync(covered, names_to, done)

    def _is_present(self, directory: int) -> bool:
        """Whether the open directory still has its name."""
        try:
            return os.path.samestat(os.fstat(directory), os.stat(self.directory))
        except FileNotFoundError:
            return False

    def _end(self, sync: Sync) -> None:
        error = None
        for description, to in sync.covered:
            file = description.file
            if self.sync_fails and self.rng.random() < self.sync_fails:
                self._lose(file, to)
            if file.error != description.told:
                description.told = file.error
                file.error_seen = True
                error = OSError(errno.EIO, os.strerror(errno.EIO))
                file.failed()
            else:
                file.make_sure(to)
        if sync.names_to >= 0:
            if self.sync_fails and self.rng.random() < self.sync_fails:
                error = error or OSError(errno.EIO, os.strerror(errno.EIO))
            elif sync.names_to > self.names_before:
                del self.states[: sync.names_to - self.names_before]
                self.names_before = sync.names_to
        if error:
            self.on_failure()
        if self.trace is not None:
            self.trace.append(f"        the sync of {len(sync.covered)} files ends: {error or 'well'}")
        sync.done(error)

    def _lose(self, file: File, to: int) -> None:
        file.lose(to)
        self.on_failure()

    def _evict(self, fd: int) -> None:
        """A start reads what the disk has of files that were set aside."""
        file = self._by_inode.get(os.fstat(fd).st_ino)
        name = next((name for name, each in self.names.items() if each is file), "")
        if re.search(found_files.DISTRUSTED + "$", name) and any(state == LOST for _, _, state in file.changes):
            content = file.after_a_cut(self.rng)[: file.size]
            content += bytes(file.size - len(content))
            with open(self.directory / name, "r+b") as real:
                real.write(content)
            self.half_lines = True
            renewed = File(content)
            file.base, file.changes, file.merged = renewed.base, [], file.count
