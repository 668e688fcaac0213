"""Power cuts: every state that a disk may be left in, at every moment of a recorded run, is recovered from.

The run has ordinary and priority entries, rotations, a failed sync, and syncs that end late. The model of the disk is
the strict one: of a file's data only what a sync covered is sure to be there; every later write may be there, missing
(its place reads as zeros if a later one is there), or torn. Changes of names are kept in their order, and those after
the last sync of the directory may be missing.
"""

import itertools
import os
import shutil
from pathlib import Path

import pytest

from fastlog.server.logfile import LogFile
from fastlog.server.storage import Storage
from tests.helpers.disk import EIO, RecordingStorage, Way, error, info

TORN = 7  # bytes of a torn write that are there


class InstantStorage(Storage):
    """For the recovery, which is not what is tested for its syncs here."""

    def sync(self, files, directory, done):
        done(None)


@pytest.fixture
def memory_directory(tmp_path):
    """Thousands of states are written: in memory where there is such a file system."""
    directory = Path(f"/dev/shm/fastlog-test-{os.getpid()}")
    if not os.access(directory.parent, os.W_OK):
        directory = tmp_path / "states"
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


def record(directory: Path, leaves_out: str = "") -> tuple[list[tuple], list[bytes]]:
    """The operations of a run, with `("ack", n)` among them where an ACK left; and what was sent."""
    storage = RecordingStorage(leaves_out)
    way = Way(directory, storage, limit=220)
    storage.before_each = lambda: [storage.operations.append(("ack", n)) for n in way.read_acks()]
    number = itertools.count(1)
    way.send(info(next(number)))
    way.send(error(next(number)))
    storage.end_one()
    way.send(info(next(number)), error(next(number)))
    way.send(error(next(number)))  # gathers while the sync before it is under way
    storage.end_one()
    storage.end_one()
    for _ in range(2):
        way.send(info(next(number)))
    way.send(error(next(number)), error(next(number)), error(next(number)))  # over a rotation
    storage.end_one()
    way.send(error(next(number)))
    way.send(info(next(number)))
    way.send(info(next(number)))
    way.send(info(next(number)), error(next(number)))  # rotations while a sync is under way
    storage.end_one()
    storage.end_one()
    storage.write_failure = EIO
    way.send(error(next(number)))  # the live file is no longer trusted: what is not acknowledged moves to a new one
    storage.end_one()
    storage.end_one()
    way.send(error(next(number)))
    storage.write_failure = EIO
    way.send(error(next(number)))  # the sync under way is not believed
    storage.finish()
    way.send(error(next(number)))
    storage.end_one(EIO)
    storage.finish()
    way.send(error(next(number)))
    storage.finish()
    storage.before_each()
    sent = way.sent
    way.close()
    return storage.operations, sent


class Disk:
    """What the operations so far may have left on the disk."""

    def __init__(self) -> None:
        self.names: list[tuple] = []  # changes of names, in order
        self.names_sure = 0  # of them are durable
        self.writes: dict[int, list[tuple[int, bytes, int]]] = {}  # inode: (operation, data, offset)
        self.sizes: dict[int, int] = {}
        self.sure: dict[int, int] = {}  # inode: writes of operations before this one are durable
        self.acked: set[int] = set()
        self._name_operations: list[int] = []

    def apply(self, at: int, operation: tuple) -> None:
        kind, *rest = operation
        if kind == "ack":
            self.acked.add(rest[0])
        elif kind == "write":
            inode, data = rest
            offset = self.sizes.get(inode, 0)
            self.writes.setdefault(inode, []).append((at, data, offset))
            self.sizes[inode] = offset + len(data)
        elif kind == "synced":
            covered, inodes, with_names = rest
            for inode in inodes:
                self.sure[inode] = max(self.sure.get(inode, 0), covered)
            if with_names:
                self.names_sure = max(self.names_sure, sum(number < covered for number in self._name_operations))
        else:
            assert kind in ("create", "rename", "unlink"), kind
            self.names.append(operation)
            self._name_operations.append(at)

    def states(self):
        """Every {name: content} that may be found after a power cut now."""
        open_writes = [
            (inode, number)
            for inode, writes in self.writes.items()
            for number, (at, _, _) in enumerate(writes)
            if at >= self.sure.get(inode, 0)
        ]
        for fates in itertools.product(("there", "missing", "torn"), repeat=len(open_writes)):
            fate = dict(zip(open_writes, fates, strict=True))
            contents = {inode: self._content(inode, fate) for inode in self.writes}
            for count in range(self.names_sure, len(self.names) + 1):
                yield {name: contents.get(inode, b"") for name, inode in self._directory(count).items()}

    def _content(self, inode: int, fate: dict[tuple[int, int], str]) -> bytes:
        content = bytearray()
        for number, (_, data, offset) in enumerate(self.writes[inode]):
            how = fate.get((inode, number), "there")
            if how == "missing":
                continue
            content += bytes(max(0, offset - len(content)))
            content[offset:] = data[:TORN] if how == "torn" else data
        return bytes(content)

    def _directory(self, count: int) -> dict[str, int]:
        names: dict[str, int] = {}
        for kind, *rest in self.names[:count]:
            if kind == "create":
                names[rest[0]] = rest[1]
            elif kind == "rename":
                names[rest[1]] = names.pop(rest[0])
            else:
                del names[rest[0]]
        return names


def recover(directory: Path, state: dict[str, bytes]) -> list[bytes]:
    """Starts on what the power cut left, and returns all lines that are there then."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for name, content in state.items():
        (directory / name).write_bytes(content)
    log = LogFile(InstantStorage(), directory, "server.log", 220, 50)
    log.close()
    found = []
    for path in directory.glob("server.log*"):
        if path.suffix not in (".torn", ".new"):
            content = path.read_bytes()
            assert not content or content.endswith(b"\n"), path
            found += content.splitlines()
    return found


def check_every_state(operations: list[tuple], sent: list[bytes], directory: Path) -> int:
    disk = Disk()
    known = set(sent)
    checked = set()
    for at, operation in enumerate(operations):
        disk.apply(at, operation)
        acked = frozenset(disk.acked)
        for state in disk.states():
            key = (acked, tuple(sorted(state.items())))
            if key in checked:
                continue
            checked.add(key)
            found = recover(directory, state)
            assert set(found) <= known, f"a line that nobody sent, after operation {at}: {operation}"
            missing = {error(n) for n in acked} - set(found)
            assert not missing, f"acknowledged and lost, after operation {at} {operation}: {missing}"
    return len(checked)


def test_no_power_cut_loses_what_was_acknowledged_or_leaves_half_a_line(tmp_path, memory_directory):
    operations, sent = record(tmp_path)
    kinds = [operation[0] for operation in operations]
    assert kinds.count("ack") == sum(b"ERROR" in entry for entry in sent)
    assert kinds.count("rename") > 10
    assert check_every_state(operations, sent, memory_directory) > 1_000


@pytest.mark.parametrize("part", ["files", "first file", "last file", "directory"])
def test_every_part_of_a_sync_is_needed(tmp_path, memory_directory, part):
    """The same run without that part: some state loses an acknowledged entry, and the check above finds it."""
    operations, sent = record(tmp_path, leaves_out=part)
    with pytest.raises(AssertionError, match="acknowledged and lost"):
        check_every_state(operations, sent, memory_directory)
