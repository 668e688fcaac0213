"""Power cuts while the log is shipped: nothing is in the engine that the disk does not have, in any state in which it may
be left at any moment of a recorded run, and a shipper that continues there ships the rest, each line once.

The run is that of `test_crash.py`, and the model of the disk, too; or those of `test_compression_crash.py`, in which the
server compresses archives. Between the server's operations, the real shipper
looks at the files; its syncs are recorded among the server's. In some of the runs it is a new one each time: it was
killed and started again.
"""

import itertools
import os
import shutil
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from fastlog import file_systems
from fastlog.archive import zstd
from fastlog.segments import (
    ATTRIBUTE,
    DURABLE_ATTRIBUTE,
    Identity,
    Position,
    is_compressed,
    is_of_log,
    position_from,
)
from fastlog.server.logfile import LogFile
from fastlog.ship import files as ship_files
from fastlog.ship import segment_file
from fastlog.ship.files import LogFiles
from fastlog.ship.refused import RefusedFile
from fastlog.ship.shipper import Shipper
from fastlog.ship.sink import Batch, RefusedError
from tests.helpers.archives import text_of
from tests.helpers.disk import EIO, RecordingStorage, error
from tests.helpers.ship_oracle import Part, compare, places
from tests.helpers.shipping import Recorder
from tests.unit import test_compression_crash, test_crash
from tests.unit.test_crash import Disk, InstantStorage, record

LIVE = "server.log"
BATCH_BYTES = 1 << 18
memory_directory = test_crash.memory_directory  # a fixture
CONTINUED = 12  # from one state of so many, a server and a shipper continue
NEW_LINE = b'{"level":"INFO","message":"after the power cut"}\n'


class Engine(Recorder):
    """Acknowledges what it is sent. `on_part` is called for each batch."""

    def __init__(self, shipped: list[Part], on_part: Callable[[Part], None]) -> None:
        super().__init__(Position(*shipped[-1].identity, shipped[-1].end) if shipped else None)
        self.shipped = shipped
        self._on_part = on_part

    def send(self, batch: Batch) -> int:
        first = batch.first
        part = Part(Identity(first.log, first.segment), first.offset, batch.last.offset, batch.lines)
        self.shipped.append(part)
        self._on_part(part)
        return super().send(batch)


class RecordedOs:
    """The module `os` for the shipper, whose syncs are recorded among the server's operations.

    What a sync has failed to write is lost: a later one does not write it, and fails only for those who had the file
    open before.
    """

    def __init__(self, storage: RecordingStorage, without: str) -> None:
        self._operations = storage.operations
        self._without = without  # "file" or "directory": its syncs do nothing
        self._storage = storage
        self._opened: dict[int, int] = {}  # descriptors: after how many operations, or when an error was reported

    def __getattr__(self, name: str):
        return getattr(os, name)

    def open(self, path, flags, *mode) -> int:
        fd = os.open(path, flags, *mode)
        self._opened[fd] = len(self._operations)
        return fd

    def fsync(self, fd: int) -> None:
        covered = len(self._operations)
        is_directory = stat.S_ISDIR(os.fstat(fd).st_mode)
        if self._without == ("directory" if is_directory else "file"):
            return
        if is_directory:
            self._operations.append(("synced", covered, (), True))
            return
        number = self._storage._file(fd)
        since, self._opened[fd] = self._opened[fd], covered
        if any(kind == "failed" and number in rest[1] for kind, *rest in self._operations[since:]):
            raise EIO
        self._operations.append(("attributes synced", covered, (number,)))
        self._operations.append(("synced", covered, (number,), False))


class WatchedStorage(RecordingStorage):
    """Calls `look` before each operation, and records attributes, and syncs that failed."""

    look: Callable[[], None] = staticmethod(lambda: None)

    def set_attribute(self, fd, name, value):
        if name != DURABLE_ATTRIBUTE:  # between the kernel's word about a failure and this, there are microseconds
            self.look()
        super().set_attribute(fd, name, value)

    def sync(self, files, directory, done):
        self.look()
        covered, numbers = len(self.operations), tuple(map(self._file, files))

        def ended(error):
            if error:
                self.note("failed", covered, numbers)
            done(error)

        super().sync(files, directory, ended)


class WholeDisk(Disk):
    """Contents and attributes are part of its states. What a sync has failed to write is never sure."""

    def __init__(self) -> None:
        super().__init__()
        self._lost: set[tuple[int, int]] = set()  # (file, operation)

    def apply(self, at, operation):
        kind, *rest = operation
        if kind != "failed":
            super().apply(at, operation)
            return
        covered, numbers = rest
        for number in numbers:
            sure = self.sure.get(number, 0)
            self._lost.update((number, at) for at, _, _ in self.changes.get(number, []) if sure <= at < covered)

    def states(self):
        """Every {name: (content, attributes)} that may be found after a power cut now."""
        for contents, names in self.contents_and_names():
            for attributes in self._attribute_states(list(names.values())):
                yield {name: (contents.get(number, b""), attributes.get(number, ())) for name, number in names.items()}

    def is_open(self, number, at):
        return super().is_open(number, at) or (number, at) in self._lost

    def _attribute_states(self, numbers: list[int]):
        """Every {file: attributes}. They are set one after the other, so the later ones may be missing."""
        choices = []
        for number in numbers:
            known = self.attributes.get(number, [])
            sure = sum(at < self.sure_attributes.get(number, 0) for at, _, _ in known)
            choices.append([tuple(known[:count]) for count in range(sure, len(known) + 1)])
        for chosen in itertools.product(*choices):
            yield dict(zip(numbers, chosen, strict=True))


def lay_out(directory: Path, state: dict[str, tuple[bytes, tuple]]) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for name, (content, attributes) in state.items():
        (directory / name).write_bytes(content)
        for _, attribute, value in attributes:
            os.setxattr(directory / name, attribute, value.encode())


def _watched(name: str):
    def operation(self, *arguments):
        self.look()
        return getattr(RecordingStorage, name)(self, *arguments)

    return operation


for _name in ("open", "write", "overwrite", "truncate", "rename", "unlink"):
    setattr(WatchedStorage, _name, _watched(_name))


def shipper_of(directory: Path, engine: Engine) -> Shipper:
    return Shipper(LogFiles(directory / "server.log"), engine, RefusedFile(directory, 0), batch_bytes=BATCH_BYTES)


def ship_all(shipper: Shipper) -> None:
    while shipper.turn():
        pass


def begun(shipper: Shipper) -> Shipper | None:
    """None: the log is not there yet, or has no identity."""
    try:
        return shipper if shipper.begin() else None
    except RefusedError:
        return None


def kill(shipper: Shipper | None) -> None:
    if shipper:
        if shipper._reader:
            shipper._reader.file.close()
        shipper._lock.close()


def record_shipped(
    directory: Path, monkeypatch, every: int, *, anew: bool, without: str = "", run: Callable = record
) -> list[tuple]:
    """The operations of the run, with `("shipped", part)` among them. The shipper looks at `every` so many operations;
    `anew`: each time it is another one."""
    storage = WatchedStorage()
    engine = Engine([], lambda part: storage.operations.append(("shipped", part)))
    count = 0
    shipper: Shipper | None = None

    def look() -> None:
        nonlocal count, shipper
        count += 1
        if count % every:
            return
        if shipper is None:
            shipper = begun(shipper_of(directory, engine))
        if shipper is None:
            return
        ship_all(shipper)
        if anew:
            kill(shipper)
            shipper = None

    storage.look = look
    with monkeypatch.context() as patched:
        recorded = RecordedOs(storage, without)
        for module in (segment_file, file_systems):
            patched.setattr(module, "os", recorded)
        run(directory, storage=storage)
        kill(shipper)
    return storage.operations


def contents(directory: Path) -> dict[Identity, bytes]:
    """The files of the log, in order, by their identities."""
    listing = LogFiles(directory / "server.log").now()
    return {Identity(listing.log, segment): text_of(Path(path)) for segment, path in listing.segments.items()}


def contents_of(state: dict[str, tuple[bytes, tuple]]) -> dict[Identity, bytes]:
    """The same, of what a power cut left. Of an archive that is there in both forms, the plain one is in force."""
    return {
        Identity(*position_from(f"{value}:0")[:2]): zstd.decompress(content) if is_packed else content
        for is_packed in (True, False)
        for name, (content, attributes) in state.items()
        for _, attribute, value in attributes
        if attribute == ATTRIBUTE and is_of_log(LIVE, name) and is_compressed(LIVE, name) == is_packed
    }


def failed_files(operations: list[tuple]) -> set[Identity]:
    """Those that were set aside, or of which a sync has failed: not all of them needs to be shipped, since the server
    writes again what it has promised."""
    identities, failed = {}, set()
    for kind, *rest in operations:
        if kind == "attribute" and rest[1] == ATTRIBUTE:
            identities[rest[0]] = Identity(*position_from(f"{rest[2]}:0")[:2])
        elif kind == "attribute":
            failed.add(rest[0])
        elif kind == "failed":
            failed.update(rest[1])
    return {identities[number] for number in failed}


def check_survive(shipped: list[Part], found: dict[Identity, bytes]) -> None:
    for part in shipped:
        is_there = found.get(part.identity, b"")[part.start : part.end] == part.lines
        assert is_there, f"shipped and not on the disk: {places([part])}"


def continue_after(directory: Path, shipped: list[Part]) -> tuple[list[Part], dict[Identity, bytes]]:
    """A server starts on what the power cut left, and then a shipper. Returns all that is shipped then, and the files."""
    log = LogFile(InstantStorage(), directory, "server.log", 220, 50)
    check_survive(shipped, contents(directory))
    log.append(memoryview(NEW_LINE), durable=True)
    log.close()
    engine = Engine(list(shipped), lambda part: None)
    shipper = shipper_of(directory, engine)
    assert shipper.begin()
    ship_all(shipper)
    kill(shipper)
    return engine.shipped, contents(directory)


def check_every_state(operations: list[tuple], directory: Path) -> int:
    disk = WholeDisk()
    failed = failed_files(operations)
    shipped: list[Part] = []
    checked = set()
    for at, operation in enumerate(operations):
        if operation[0] == "shipped":
            shipped.append(operation[1])
        else:
            disk.apply(at, operation)
        for state in disk.states():
            key = (len(shipped), tuple(sorted(state.items())))
            if key in checked:
                continue
            checked.add(key)
            try:
                check_survive(shipped, contents_of(state))
                if len(checked) % CONTINUED:
                    continue
                lay_out(directory, state)
                all_shipped, files = continue_after(directory, shipped)
                found = compare(all_shipped, files)
                lines = set(b"".join(part.lines for part in all_shipped).splitlines())
                assert not found.twice
                assert not [part for part in found.missing if part.identity not in failed]
                assert lines >= {NEW_LINE[:-1], *map(error, disk.acked)}
            except AssertionError as failure:
                raise AssertionError(f"after operation {at}, {operation}: {failure}") from failure
    return len(checked)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """The shipper looks at each file each time, however short ago the last look was."""
    monkeypatch.setattr(ship_files, "LOOK_ANYWAY_SEC", 0.0)


@pytest.mark.parametrize(("every", "anew"), [(1, False), (1, True), (3, True), (7, False)])
def test_no_power_cut_takes_what_was_shipped(tmp_path, memory_directory, monkeypatch, every, anew):
    operations = record_shipped(tmp_path, monkeypatch, every, anew=anew)
    assert [kind for kind, *_ in operations].count("shipped") > 10
    assert check_every_state(operations, memory_directory) > 100


@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize("seed", test_compression_crash.SEEDS[1:])
def test_no_power_cut_takes_what_was_shipped_while_archives_are_compressed(
    tmp_path, memory_directory, monkeypatch, seed, every
):
    run = partial(test_compression_crash.record, seed=seed)
    operations = record_shipped(tmp_path, monkeypatch, every, anew=False, run=run)
    assert any(kind == "rename" and rest[1].endswith(".zst") for kind, *rest in operations)
    assert [kind for kind, *_ in operations].count("shipped") > 3
    assert check_every_state(operations, memory_directory) > 30


@pytest.mark.parametrize("part", ["file", "directory"])
def test_every_part_of_the_shippers_sync_is_needed(tmp_path, memory_directory, monkeypatch, part):
    operations = record_shipped(tmp_path, monkeypatch, 2, anew=False, without=part)
    with pytest.raises(AssertionError, match="shipped and not on the disk"):
        check_every_state(operations, memory_directory)
