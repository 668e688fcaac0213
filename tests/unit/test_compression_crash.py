"""Power cuts while archives are compressed and rotated: every line that was acknowledged is in exactly one file that is in
force, every compressed archive is whole, and the next start leaves nothing over.

The model of the disk is that of `test_crash.py`. The runs are random: entries, rotations, looks of the server, the end
of a process and of a sync come in any order.
"""

import os
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from random import Random
from time import monotonic

import pytest

from fastlog.segments import COMPRESSED_ENDING, identity_of, is_of_log
from fastlog.server.logfile import LogFile
from fastlog.server.names import Names
from tests.helpers.archives import unpacked
from tests.helpers.compressing import InProcess, compressing
from tests.helpers.disk import Harness, RecordingStorage, error, info
from tests.unit import test_crash
from tests.unit.test_crash import Disk, InstantStorage, lay_out

LIVE = "server.log"
STEPS = 40
SEEDS = (0, 10, 19, 22, 50)  # of runs with several rotations and archives, and few states
ALL = ()
memory_directory = test_crash.memory_directory  # a fixture


def record(directory: Path, seed: int, storage: RecordingStorage | None = None) -> list[tuple]:
    """The operations of a run, with `("ack", n)` among them where an ACK left."""
    rng = Random(seed)
    storage = storage or RecordingStorage()
    harness = Harness(directory, storage, limit=130)
    compression, process = compressing(harness)
    storage.before_each = lambda: storage.operations.extend(("ack", n) for n in harness.read_acks())
    number = ordinary = 0
    try:
        for _ in range(STEPS):
            step = rng.choice(("send", "send ordinary", "sync", "sync", "look", "end", "end"))
            if step == "send" and len(storage.under_way) < 2:  # each one that is open doubles the states
                harness.send(error(number + 1), info(number + 2))
                number += 2
            elif step == "send ordinary" and ordinary < 1:  # which no sync covers
                ordinary += 1
                harness.send(info(number + 1), info(number + 2))
                number += 2
            elif step == "sync":
                storage.end_one()
            elif step == "look":
                compression._on_due(monotonic())
            elif step == "end" and process.asked:
                process.run()
        storage.finish()
    finally:
        storage.before_each = lambda: None
        harness.close()
    return storage.operations


def lines_of(path: Path) -> list[bytes]:
    return (unpacked(path) if path.suffix == COMPRESSED_ENDING else path.read_bytes()).splitlines()


def lines_after_start(directory: Path, where: str) -> Counter[bytes]:
    """What a start makes of a directory: all lines that are in force then."""
    log = LogFile(InstantStorage(), directory, LIVE, 130, 50)
    log.close()
    assert not (directory / f"{LIVE}.zst.new").exists(), f"left over, {where}"
    names = sorted(name for name in os.listdir(directory) if is_of_log(LIVE, name))
    plain = [name.removesuffix(".zst") for name in names]
    assert len(set(plain)) == len(plain), f"an archive has both forms, {where}: {names}"
    identities = [identity_of(directory / name) for name in names]
    assert len(set(identities)) == len(names), f"two files have one identity, {where}: {names}"
    return Counter(line for name in names for line in lines_of(directory / name))


def check_every_state(operations: list[tuple], directory: Path, kinds: Collection[str] = ALL) -> int:
    """`kinds`: of the operations after which the states are checked."""
    disk = Disk()
    found: dict[tuple, Counter[bytes]] = {}  # by state
    for at, operation in enumerate(operations):
        disk.apply(at, operation)
        if kinds and operation[0] not in kinds:
            continue
        where = f"after operation {at} {operation}"
        for state in states_of(disk):
            if state not in found:
                lay_out(directory, {name: content for name, content, _ in state})
                for name, _, attributes in state:
                    for attribute, value in attributes:
                        os.setxattr(directory / name, attribute, value.encode())
                found[state] = lines_after_start(directory, where)
            for number in disk.acked:
                count = found[state][error(number)]
                assert count == 1, f"entry {number} is there {count} times, {where}: {[name for name, *_ in state]}"
    return len(found)


def states_of(disk: Disk) -> set[tuple]:
    """What may be found after a power cut: of each file its name, content and attributes. Of the attributes that no
    sync covered none is there, or all are."""
    return {
        tuple(sorted((name, contents.get(number, b""), chosen.get(number, ())) for name, number in names.items()))
        for is_sure in (True, False)
        for chosen in [{number: attributes_of(disk, number, is_sure=is_sure) for number in disk.attributes}]
        for contents, names in disk.contents_and_names()
    }


def attributes_of(disk: Disk, number: int, *, is_sure: bool) -> tuple[tuple[str, str], ...]:
    sure = disk.sure_attributes.get(number, 0)
    return tuple({name: value for at, name, value in disk.attributes[number] if at < sure or not is_sure}.items())


@pytest.mark.parametrize("seed", SEEDS)
def test_no_power_cut_loses_or_doubles_what_was_acknowledged(tmp_path, memory_directory, seed):
    operations = record(tmp_path, seed)
    assert any(kind == "rename" and rest[1].endswith(".zst") for kind, *rest in operations)
    assert check_every_state(operations, memory_directory) > 100


def keep_the_name(names: Names) -> None:
    names.unsure = None


def no_sync(_process: InProcess, _fd: int) -> None:
    pass


STEPS_LEFT_OUT = {
    "the sync of the original": (InProcess, "sync_source", no_sync),
    "the sync of the new file": (InProcess, "sync_target", no_sync),
    "what a start cleans up": (Names, "clean_up", lambda _: None),
    "the name that a rotation takes back": (Names, "_take_name_back", keep_the_name),
}


@pytest.mark.parametrize("step", STEPS_LEFT_OUT)
def test_every_step_is_needed(tmp_path, memory_directory, monkeypatch, step):
    monkeypatch.setattr(*STEPS_LEFT_OUT[step])

    def check_runs():
        for seed in SEEDS:
            directory = tmp_path / str(seed)
            directory.mkdir()
            check_every_state(record(directory, seed), memory_directory, kinds=("rename",))

    with pytest.raises(AssertionError):
        check_runs()
