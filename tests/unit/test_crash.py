"""Power cuts: every state that a disk may be left in, at every moment of a recorded run, is recovered from.

The run has ordinary and priority entries, rotations, failed writes, a failed sync, syncs that end late, and a restart
after `kill -9`. Starts that repair damaged files are recorded as well, and cut short in the same harness.

The model of the disk is the strict one: of a file's data only what a sync covered is sure to be there; every later write
may be there, missing (its place reads as zeros if a later one is there), or torn, and a later truncation there or
missing. Changes of names are kept in their order, and those after the last sync of the directory may be missing.
"""

import itertools
import os
import re
import shutil
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from fastlog.segments import ATTRIBUTE, DURABLE_ATTRIBUTE, Shipped, identity_of, is_of_log
from fastlog.server import found_files, repair
from fastlog.server.logfile import LogFile
from fastlog.server.storage import Storage
from tests.helpers.disk import EIO, Harness, RecordingStorage, error, info
from tests.helpers.shipping import write_note

TORN = 7  # bytes of a torn write that are there


class InstantStorage(Storage):
    """A storage for recoveries that are not cut short."""

    def sync(self, files, directory, done):
        done(None)

    def sync_now(self, files, directory=None):
        pass


@pytest.fixture
def memory_directory(tmp_path):
    """Thousands of states are written: in memory where there is such a file system."""
    directory = Path(f"/dev/shm/fastlog-test-{os.getpid()}")
    if not os.access(directory.parent, os.W_OK):
        directory = tmp_path / "states"
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


def record(
    directory: Path, backups: int = 50, storage: RecordingStorage | None = None
) -> tuple[list[tuple], list[bytes]]:
    """The operations of a run, with `("ack", n)` among them where an ACK left; and what was sent."""
    storage = storage or RecordingStorage()
    harness = Harness(directory, storage, limit=220, backups=backups)

    def note_acks():
        storage.operations.extend(("ack", n) for n in harness.read_acks())

    storage.before_each = note_acks
    number = itertools.count(1)
    harness.send(info(next(number)), error(next(number)))
    storage.end_one()
    harness.send(info(next(number)), error(next(number)))
    harness.send(error(next(number)))  # gathers while the sync before it is under way
    storage.end_one()
    storage.end_one()
    for _ in range(2):
        harness.send(info(next(number)))
    harness.send(error(next(number)), error(next(number)), error(next(number)))  # over a rotation
    storage.end_one()
    harness.send(error(next(number)))
    harness.send(info(next(number)))
    harness.send(info(next(number)))
    harness.send(info(next(number)), error(next(number)))  # rotations while a sync is under way
    storage.end_one()
    storage.end_one()
    storage.write_failure = EIO
    harness.send(error(next(number)))  # the live file is no longer trusted: what is not acknowledged moves to a new one
    storage.end_one()
    storage.end_one()
    harness.send(error(next(number)))
    storage.write_failure = EIO
    harness.send(error(next(number)))  # the sync under way is not believed
    storage.finish()
    harness.retry()
    storage.finish()
    harness.send(error(next(number)))
    storage.end_one(EIO)
    harness.retry()
    storage.finish()
    harness.send(info(next(number)), info(next(number)))
    unanswered = next(number), next(number)
    harness.send(error(unanswered[0]))
    harness.send(info(next(number)), info(next(number)), info(next(number)), info(next(number)))
    sent = harness.sent
    storage.before_each = lambda: None
    harness.kill()
    harness = Harness(directory, storage, limit=220, backups=backups)
    storage.before_each = note_acks
    harness.send(*map(error, unanswered))  # the first one is known as stored, and is in an archive
    storage.finish()
    note_acks()
    sent += harness.sent
    harness.close()
    return storage.operations, sent


class Disk:
    """What the operations so far may have left on the disk. `found`: durable files, {name: (number, content)}."""

    def __init__(self, found: dict[str, tuple[int, bytes]] | None = None) -> None:
        self.names: list[tuple] = []  # changes of names, in order
        self.names_sure = 0  # of them are durable
        self.changes: dict[int, list[tuple[int, bytes | None, int]]] = {}  # file: (operation, data, offset); None: cut
        self.sizes: dict[int, int] = {}
        self.sure: dict[int, int] = {}  # file: changes by operations before this one are durable
        self.acked: set[int] = set()
        self.attributes: dict[int, list[tuple[int, str, str]]] = {}  # file: (operation, name, value)
        self.sure_attributes: dict[int, int] = {}  # file: attributes by operations before this one are durable
        self._name_operations: list[int] = []
        for name, (number, content) in (found or {}).items():
            self.names.append(("create", name, number))
            self._name_operations.append(-1)
            self.changes[number] = [(-1, content, 0)]
            self.sizes[number] = len(content)
        self.names_sure = len(self.names)

    def apply(self, at: int, operation: tuple) -> None:
        kind, *rest = operation
        if kind == "ack":
            self.acked.add(rest[0])
        elif kind == "write":
            number, data = rest
            offset = self.sizes.get(number, 0)
            self.changes.setdefault(number, []).append((at, data, offset))
            self.sizes[number] = offset + len(data)
        elif kind == "overwrite":
            number, data, offset = rest
            self.changes[number].append((at, data, offset))
        elif kind == "truncate":
            number, size = rest
            self.changes[number].append((at, None, size))
            self.sizes[number] = size
        elif kind == "attribute":
            number, *attribute = rest
            self.attributes.setdefault(number, []).append((at, *attribute))
        elif kind == "attributes synced":
            covered, numbers = rest
            for number in numbers:
                self.sure_attributes[number] = max(self.sure_attributes.get(number, 0), covered)
        elif kind == "synced":
            covered, numbers, with_names = rest
            for number in numbers:
                self.sure[number] = max(self.sure.get(number, 0), covered)
            if with_names:
                self.names_sure = max(self.names_sure, sum(number < covered for number in self._name_operations))
        else:
            assert kind in ("create", "rename", "unlink"), kind
            self.names.append(operation)
            self._name_operations.append(at)

    def states(self):
        """Every {name: content} that may be found after a power cut now."""
        for contents, names in self.contents_and_names():
            yield {name: contents.get(number, b"") for name, number in names.items()}

    def is_open(self, number: int, at: int) -> bool:
        """Whether the change of a file by this operation may be missing."""
        return at >= self.sure.get(number, 0)

    def contents_and_names(self):
        """Every {file: content} with every {name: file} that may be found."""
        open_changes = [
            (number, place, data)
            for number, changes in self.changes.items()
            for place, (at, data, _) in enumerate(changes)
            if self.is_open(number, at)
        ]
        choices = [
            ("there", "missing") if data is None else ("there", "missing", "torn") for _, _, data in open_changes
        ]
        for fates in itertools.product(*choices):
            fate = {(number, place): how for (number, place, _), how in zip(open_changes, fates, strict=True)}
            contents = {number: self._content(number, fate) for number in self.changes}
            for count in range(self.names_sure, len(self.names) + 1):
                yield contents, self.directory(count)

    def states_of_attributes(self):
        """Every {name: (file, {attribute: value})} that may be found; each that no sync covered may be missing."""
        is_open = {
            (number, at): at >= self.sure_attributes.get(number, 0)
            for number, each in self.attributes.items()
            for at, *_ in each
        }
        choices = [(True, False) if may_miss else (True,) for may_miss in is_open.values()]
        for fates in itertools.product(*choices):
            there = dict(zip(is_open, fates, strict=True))
            values = {
                number: {name: value for at, name, value in each if there[number, at]}
                for number, each in self.attributes.items()
            }
            for count in range(self.names_sure, len(self.names) + 1):
                yield {name: (number, values.get(number, {})) for name, number in self.directory(count).items()}

    def content(self, number: int) -> bytes:
        """What the page cache has of a file."""
        return self._content(number, {})

    def sure_bytes(self, number: int) -> int:
        sure = [change for change in self.changes.get(number, []) if change[0] < self.sure.get(number, 0)]
        return sum(len(data or b"") for _, data, _ in sure)

    def _content(self, number: int, fate: dict[tuple[int, int], str]) -> bytes:
        content = bytearray()
        for place, (_, data, offset) in enumerate(self.changes.get(number, [])):
            how = fate.get((number, place), "there")
            if how == "missing":
                continue
            if data is None:
                del content[offset:]
                continue
            content += bytes(max(0, offset - len(content)))
            written = data[:TORN] if how == "torn" else data
            content[offset : offset + len(written)] = written
        return bytes(content)

    def directory(self, count: int) -> dict[str, int]:
        names: dict[str, int] = {}
        for kind, *rest in self.names[:count]:
            if kind == "create":
                names[rest[0]] = rest[1]
            elif kind == "rename":
                names[rest[1]] = names.pop(rest[0])
            else:
                del names[rest[0]]
        return names


def lay_out(directory: Path, state: dict[str, bytes]) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for name, content in state.items():
        (directory / name).write_bytes(content)


def lines_of(directory: Path) -> list[bytes]:
    """All lines of the live file, its archives and the files set aside; each must be whole."""
    found = []
    for path in directory.glob("server.log*"):
        if found_files.NAMES.fullmatch(path.name.removeprefix("server.log")):
            content = path.read_bytes()
            assert not content or content.endswith(b"\n"), f"half a line in {path}"
            found += content.splitlines()
    return found


def recover(directory: Path, state: dict[str, bytes]) -> list[bytes]:
    """Starts on what the power cut left, and returns all lines that are there then."""
    lay_out(directory, state)
    LogFile(InstantStorage(), directory, "server.log", 220, 50).close()
    return lines_of(directory)


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


def without(operations: list[tuple], part: str) -> list[tuple]:
    """The operations with every sync less effective: without its files, the first or the last one, or the directory."""
    kept = {"files": slice(0), "first file": slice(1, None), "last file": slice(-1)}.get(part, slice(None))
    return [
        (kind, rest[0], rest[1][kept], rest[2] and part != "directory") if kind == "synced" else (kind, *rest)
        for kind, *rest in operations
    ]


def test_no_power_cut_loses_what_was_acknowledged_or_leaves_half_a_line(tmp_path, memory_directory):
    operations, sent = record(tmp_path)
    kinds = [operation[0] for operation in operations]
    assert kinds.count("ack") == len({entry for entry in sent if b"ERROR" in entry})
    assert kinds.count("rename") > 10
    assert check_every_state(operations, sent, memory_directory) > 1_000


def test_no_power_cut_loses_what_is_held_until_it_is_shipped(tmp_path, memory_directory):
    storage = RecordingStorage()
    harness = Harness(tmp_path, storage, limit=120, backups=1, hold_bytes=10**9)
    write_note(harness.log.path, 1)  # nothing is shipped
    storage.before_each = lambda: storage.operations.extend(("ack", n) for n in harness.read_acks())
    for number in range(1, 20, 2):
        harness.send(error(number), info(number + 1))
        storage.end_one()
    storage.before_each = lambda: None
    harness.close()
    assert len(list(tmp_path.glob("server.log.[0-9]*"))) > 2
    assert check_every_state(storage.operations, harness.sent, memory_directory) > 100


@pytest.mark.parametrize("part", ["files", "first file", "last file", "directory"])
def test_every_part_of_a_sync_is_needed(tmp_path, memory_directory, part):
    """Without that part of each sync, some state loses an acknowledged entry, and the check above finds it."""
    operations, sent = record(tmp_path)
    with pytest.raises(AssertionError, match="acknowledged and lost"):
        check_every_state(without(operations, part), sent, memory_directory)


def check_identities(operations: list[tuple], directory: Path, backups: int) -> int:
    """Every file of the log has an identity of its own after every power cut, and one that was sure stays with its file."""
    disk = Disk()
    checked = set()
    owners: dict[str, int] = {}  # of an identity that was sure once, when its file was part of the log: the file
    for at, operation in enumerate(operations):
        disk.apply(at, operation)
        now = {number for name, number in disk.directory(len(disk.names)).items() if is_of_log("server.log", name)}
        for number in now:
            attributes = disk.attributes.get(number, [])
            sure = [
                value
                for when, name, value in attributes
                if name == ATTRIBUTE and when < disk.sure_attributes.get(number, 0)
            ]
            assert all(owners.setdefault(value, number) == number for value in sure)
        for state in disk.states_of_attributes():
            key = tuple((name, number, *sorted(values.items())) for name, (number, values) in sorted(state.items()))
            if key not in checked:
                checked.add(key)
                check_start_of(disk, state, directory, backups, owners, f"after operation {at} {operation}: {key}")
    return len(checked)


def check_start_of(disk: Disk, state: dict, directory: Path, backups: int, owners: dict[str, int], where: str) -> None:
    lay_out(directory, {name: disk.content(number) for name, (number, _) in state.items()})
    files = {}
    for name, (number, values) in state.items():
        for attribute, value in values.items():
            os.setxattr(directory / name, attribute, value.encode())
            if attribute == DURABLE_ATTRIBUTE:
                assert int(value) <= disk.sure_bytes(number), f"not durable, {where}"
        files[(directory / name).stat().st_ino] = number
    if backups == 0 and owners:  # what is deleted was shipped, so the note has its number
        log, _, segment = max(owners, key=lambda identity: int(identity.split(":")[1])).partition(":")
        note = msgspec.json.encode(Shipped(log, int(segment), 0))
        (directory / "server.log.shipped").write_bytes(note)
    log = LogFile(InstantStorage(), directory, "server.log", 220, backups)
    log.close()
    found = {}
    for path in directory.glob("server.log*"):
        if not is_of_log("server.log", path.name):
            continue
        identity = identity_of(path)
        assert identity, f"{path.name} has none, {where}"
        assert identity.log == log.identity.log, where
        assert identity not in found, f"two files have {identity}, {where}"
        found[identity] = number = files.get(path.stat().st_ino)
        if str(identity) in owners:
            assert number == owners[str(identity)], f"{identity} is another file, {where}"
    assert log.identity == max(found), where


@pytest.mark.parametrize("backups", [50, 2, 1, 0])
def test_after_every_power_cut_each_file_has_an_identity_of_its_own(tmp_path, memory_directory, backups):
    operations, _ = record(tmp_path, backups)
    assert check_identities(operations, memory_directory, backups) > 50


def record_a_cut(directory: Path, *, is_killed: bool) -> list[tuple]:
    """Another program cuts the file. `is_killed`: the server ends before the sync after that, and starts again."""
    storage = RecordingStorage()
    harness = Harness(directory, storage)
    harness.send(error(1))
    storage.finish()
    os.truncate(harness.log.path, 0)
    storage.note("truncate", storage.number(harness.log.path.stat().st_ino), 0)
    if is_killed:
        harness.send(info(1))
        harness.kill()
        harness = Harness(directory, storage)
    harness.send(error(2))
    storage.finish()
    for n in harness.read_acks():
        storage.note("ack", n)
    harness.close()
    return storage.operations


def check_cut(operations: list[tuple]) -> None:
    """What was acknowledged after another program cut the file is not in the file that has the old number."""
    disk = Disk()
    for at, operation in enumerate(operations):
        disk.apply(at, operation)
    assert disk.acked == {2}
    for state in disk.states_of_attributes():
        [(number, values)] = state.values()
        assert disk.content(number).endswith(stored(error(2)))
        assert values[ATTRIBUTE].endswith(":2"), "a number stands for other content than before"


def test_a_number_that_a_killed_server_set_is_durable_before_an_ack(tmp_path):
    check_cut(record_a_cut(tmp_path, is_killed=True))


def test_a_number_is_not_given_back_to_a_file_that_was_cut(tmp_path):
    operations = record_a_cut(tmp_path, is_killed=False)
    check_cut(operations)
    last = max(at for at, (kind, *_) in enumerate(operations) if kind == "attributes synced" and operations[at][2])
    with pytest.raises(AssertionError):
        check_cut([*operations[:last], *operations[last + 1 :]])


def stored(*entries: bytes) -> bytes:
    return b"".join(entry + b"\n" for entry in entries)


HOLE = bytes(30)
LONG = b'{"level":"INFO","message":"%s","sequence":9}\n' % (b"x" * 100)
TAIL_OF_A_LINE = b'xxx","sequence":9}\n'

# Files that a power cut left, and what of them is not a whole line.
DAMAGED: dict[str, tuple[dict[str, bytes], list[bytes]]] = {
    "an unfinished line": ({"server.log": stored(info(1), error(2)) + LONG[:60]}, [LONG[:60]]),
    "zeros at the end": ({"server.log": stored(info(1), error(2)) + HOLE}, []),
    "whole lines behind zeros": (
        {"server.log": stored(info(1), error(2)) + LONG[:40] + HOLE + TAIL_OF_A_LINE + stored(error(3), info(4))},
        [LONG[:40], TAIL_OF_A_LINE],
    ),
    "a whole line directly behind zeros, at the beginning": ({"server.log": HOLE + stored(error(3))}, []),
    "two holes, and an unfinished line": (
        {"server.log": stored(info(1)) + HOLE + stored(error(2)) + LONG[:50] + HOLE + stored(error(3)) + LONG[:60]},
        [LONG[:50], LONG[:60]],
    ),
    # A new line that took the place of the beginning and the zeros would leave the rest as a line of its own.
    "zeros in the last line": (
        {"server.log": stored(error(2)) + LONG[:10] + bytes(len(stored(info(5))) - 10) + TAIL_OF_A_LINE},
        [LONG[:10], TAIL_OF_A_LINE],
    ),
    "an object that is not an entry behind zeros": (
        {"server.log": stored(error(2)) + LONG[:40] + HOLE + b'{"a":{}}\n' + stored(error(3))},
        [LONG[:40], b'{"a":{}}\n'],
    ),
    "an entry inside a line whose beginning is missing": (
        {"server.log": stored(error(2)) + HOLE + stored(error(1))[:-1] + b"}\n" + stored(error(3))},
        [error(1) + b"}\n"],
    ),
    "zeros over the ends of two lines, and at the end": (
        {"server.log": LONG[:9] + HOLE + LONG[:9] + HOLE + b"\n" + stored(error(2)) + LONG[:40] + HOLE},
        [LONG[:9] + LONG[:9] + b"\n", LONG[:40]],
    ),
    "an archive of logrotate": (
        {"server.log-20261124": stored(error(1)) + LONG[:30], "server.log": stored(error(2))},
        [LONG[:30]],
    ),
    "several files": (
        {
            "server.log.2": stored(error(1)) + HOLE + stored(error(2)),
            "server.log.1": stored(info(3)) + LONG[:20],
            "server.log.distrusted.1": stored(error(4)) + LONG[:30],
            "server.log": stored(error(5)),
        },
        [LONG[:20], LONG[:30]],
    ),
}


Found = dict[str, tuple[int, bytes]]


def record_start(directory: Path, state: dict[str, bytes], *, with_lines: bool) -> tuple[Found, list[tuple]]:
    """The operations of a start on what a crash left, and the files that it found; `with_lines`: some lines are written after it."""
    lay_out(directory, state)
    storage = RecordingStorage()
    found = {path.name: (storage.number(path.stat().st_ino), path.read_bytes()) for path in directory.iterdir()}
    log = LogFile(storage, directory, "server.log", 10_000, 50)
    if with_lines:
        log.append(memoryview(stored(info(5))), durable=False)
        log.append(memoryview(stored(error(6))), durable=True)
        log.sync()
        storage.note("ack", 6)
    log.close()
    return found, storage.operations


def check_start(directory: Path, case: str, found_files: Found, operations: list[tuple]) -> set[tuple]:
    """Cuts a start short after each operation and starts anew. Returns what was found on the disks in between."""
    state, torn = DAMAGED[case]
    survive = {line for n in range(6) for line in (info(n), error(n)) if stored(line) in b"".join(state.values())}
    disk = Disk(found_files)
    checked = set()
    for at, operation in enumerate(operations):
        disk.apply(at, operation)
        for left in disk.states():
            key = (6 in disk.acked, tuple(sorted(left.items())))
            if key in checked:
                continue
            checked.add(key)
            found = Counter(line.lstrip(b" ") for line in recover(directory, left))  # spaces may replace damage
            where = f"after operation {at}: {operation}"
            assert set(found) <= survive | {info(5), error(6)}, f"a line that nobody sent, {where}"
            assert found.total() == len(found), f"a line twice, {where}"
            missing = (survive | {error(n) for n in disk.acked}) - set(found)
            assert not missing, f"lost, {where}: {missing}"
            kept = (
                (directory / "server.log.torn").read_bytes()
                if torn and (directory / "server.log.torn").exists()
                else b""
            )
            assert all(part in kept for part in torn), f"torn bytes not kept, {where}"
    return {state for _, state in checked}


@pytest.mark.parametrize("case", DAMAGED)
def test_no_power_cut_during_a_repair_nor_during_the_next_one_loses_a_line(memory_directory, case):
    for left in check_start(memory_directory, case, *record_start(memory_directory, DAMAGED[case][0], with_lines=True)):
        check_start(memory_directory, case, *record_start(memory_directory, dict(left), with_lines=False))


@pytest.mark.parametrize("case", DAMAGED)
def test_no_power_cut_during_a_repair_takes_away_an_identity(memory_directory, case):
    lay_out(memory_directory, DAMAGED[case][0])
    storage = RecordingStorage()
    expected, files = {}, {}
    for segment, path in enumerate(sorted(memory_directory.iterdir(), reverse=True), 1):  # the live one comes last
        expected[path.name] = {ATTRIBUTE: f"0123456789ab:{segment}", DURABLE_ATTRIBUTE: "1"}
        if path.name == "server.log":
            del expected[path.name][DURABLE_ATTRIBUTE]
        for attribute, value in expected[path.name].items():
            os.setxattr(path, attribute, value.encode())
        files[path.name] = storage.number(path.stat().st_ino), path.read_bytes()
    LogFile(storage, memory_directory, "server.log", 10_000, 50).close()
    disk = Disk(files)
    for name, (number, _) in files.items():
        disk.attributes[number] = [(-1, *attribute) for attribute in expected[name].items()]
    for at, operation in enumerate(storage.operations):
        disk.apply(at, operation)
        for state in disk.states_of_attributes():
            assert {name: state[name][1] for name in expected} == expected, f"after operation {at} {operation}"


def test_no_power_cut_loses_a_line_if_damage_is_overwritten(memory_directory, monkeypatch):
    """So it is if the file is large or the disk is full."""
    monkeypatch.setattr(repair._FileRepair, "_may_rewrite", lambda *_: False)
    monkeypatch.setattr(repair, "BLOCK_BYTES", 40)
    overwritten = set()
    for case, (state, _) in DAMAGED.items():
        found, operations = record_start(memory_directory, state, with_lines=True)
        overwritten |= {case for kind, *_ in operations if kind == "overwrite"}
        for left in check_start(memory_directory, case, found, operations):
            check_start(memory_directory, case, *record_start(memory_directory, dict(left), with_lines=False))
    assert len(overwritten) > 5


def test_the_sync_between_two_overwritings_is_needed(memory_directory, monkeypatch):
    monkeypatch.setattr(repair._FileRepair, "_may_rewrite", lambda *_: False)
    monkeypatch.setattr(repair, "BLOCK_BYTES", 40)
    case = "whole lines behind zeros"
    found, operations = record_start(memory_directory, DAMAGED[case][0], with_lines=False)
    kinds = [operation[0] for operation in operations]
    between = kinds.index("synced", kinds.index("overwrite"))
    assert "overwrite" in kinds[between:]
    with pytest.raises(AssertionError):
        check_start(memory_directory, case, found, operations[:between] + operations[between + 1 :])


def roles(disk: Disk, operations: list[tuple]):
    """Every part of a sync among the operations: its meaning, and the operations without it."""
    for at, operation in enumerate(operations):
        disk.apply(at, operation)
        if operation[0] != "synced":
            continue
        _, covered, numbers, with_names = operation
        names = {number: name for name, number in disk.directory(len(disk.names)).items()}
        for number in numbers:
            less = ("synced", covered, tuple(n for n in numbers if n != number), with_names)
            yield names[number], [*operations[:at], less, *operations[at + 1 :]]
        if with_names:
            less = ("synced", covered, numbers, False)
            yield f"the name of {names[numbers[0]]}", [*operations[:at], less, *operations[at + 1 :]]


def test_every_part_of_a_sync_during_a_repair_is_needed(memory_directory):
    missed = {}
    for case, (state, _) in DAMAGED.items():
        found, operations = record_start(memory_directory, state, with_lines=True)
        start = next(
            at for at, operation in enumerate(operations) if operation[:1] == ("write",) and info(5) in operation[2]
        )
        for role, less in roles(Disk(found), operations[:start]):
            try:
                check_start(memory_directory, case, found, [*less, *operations[start:]])
            except AssertionError:
                missed[role] = True
            else:
                missed.setdefault(role, False)
    # An archive's own sync is for a start that no longer searches it: tests/unit/test_repair.py.
    missed = {role: is_missed for role, is_missed in missed.items() if not re.search(r"[.]log[.-].*[0-9]$", role)}
    assert missed == dict.fromkeys(
        (
            "server.log.torn",
            "the name of server.log.torn",
            "server.log.repaired",
            "server.log",
            "the name of server.log",
        ),
        True,
    )


@pytest.mark.parametrize("step", ["rename", "truncate"])
def test_every_other_step_of_a_repair_is_needed(memory_directory, monkeypatch, step):
    monkeypatch.setattr(InstantStorage, step, lambda *_: None, raising=False)

    def recover_all():
        for state, _ in DAMAGED.values():
            assert b"\0" not in b"".join(recover(memory_directory, state))

    with pytest.raises(AssertionError):
        recover_all()
