"""A disk that fails: at every operation of a run, once and several times in a row, with an error or without space."""

import errno
import itertools
from collections import Counter
from time import monotonic

import pytest

from fastlog.server import commit, writer
from fastlog.server.commit import SyncPace
from fastlog.server.logfile import ROTATED_UNSYNCED_MAX
from tests.helpers.disk import EIO, FailingStorage, PatientStorage, RecordingStorage, Way, error, info

OPERATIONS = 60  # more than a run has
STARTED = 3  # operations of the start


def drive(way: Way) -> None:
    """Sends bursts of ordinary and priority entries over some rotations; syncs end late."""
    number = itertools.count(1)
    for _ in range(6):
        way.send(info(next(number)))
        way.send(info(next(number)), error(next(number)))
        way.send(error(next(number)))
        way.storage.end_one()
    way.storage.finish()
    way.read_acks()


def settle(way: Way) -> None:
    """Retries until the disk works again."""
    for _ in range(20):
        way.storage.finish()
        way.retry()
    way.storage.finish()
    way.read_acks()


def check(way: Way) -> None:
    intake = way.intake
    received = sum(intake.received.values())
    assert received == len(way.sent)
    assert received == way.writer.stored + intake.duplicates + way.writer.buffered + way.writer.lost
    found = Counter(way.lines())
    assert set(found) <= set(way.sent)
    for n in set(way.acked):
        assert found[error(n)] >= 1, f"{n} was acknowledged and is not there"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("lasting", [1, 2, 7])
def test_every_operation_may_fail(tmp_path, number, lasting):
    for first in range(STARTED + 1, OPERATIONS):
        directory = tmp_path / str(first)
        directory.mkdir()
        way = Way(
            directory,
            FailingStorage(lambda n, first=first: number if first <= n < first + lasting else 0),
            limit=220,
        )
        drive(way)
        check(way)
        settle(way)
        check(way)
        assert way.writer.failure is None, first
        assert way.writer.buffered == 0
        assert way.writer.lost == 0
        # every priority entry is acknowledged
        assert set(way.acked) == {n for n in range(1, 25) if error(n) in way.sent}, first
        found = Counter(way.lines())
        assert set(found) == set(way.sent)
        if number == errno.ENOSPC and lasting == 1:
            assert max(found.values()) <= 2
        way.close()


def test_after_a_failed_sync_nothing_is_acknowledged_from_that_file(tmp_path):
    storage = PatientStorage()
    way = Way(tmp_path, storage)
    way.send(error(1))
    storage.end_one(EIO)
    assert way.read_acks() == []
    first = (tmp_path / "server.log").read_bytes()
    assert first == error(1) + b"\n"
    storage.finish()
    assert way.read_acks() == [1]
    assert (tmp_path / "server.log.distrusted.1").read_bytes() == first
    assert (tmp_path / "server.log").read_bytes() == error(1) + b"\n"
    assert way.commit.sync_failures == 1
    assert way.writer.stored == 1
    way.close()


def test_after_a_failed_write_nothing_is_acknowledged_from_that_file(tmp_path):
    """The write fails while a sync of the same file is under way, which ends well."""
    storage = PatientStorage()
    way = Way(tmp_path, storage)
    way.send(error(1))
    storage.write_failure = EIO
    way.send(error(2))
    storage.end_one()
    assert way.read_acks() == []
    assert (tmp_path / "server.log").read_bytes() == error(1) + b"\n"
    storage.finish()
    assert sorted(way.read_acks()) == [1, 2]
    assert (tmp_path / "server.log.distrusted.1").read_bytes() == error(1) + b"\n"
    assert (tmp_path / "server.log").read_bytes() == error(1) + b"\n" + error(2) + b"\n"
    assert way.commit.sync_failures == 0
    check(way)
    way.close()


def test_more_errors_within_one_sync_than_memory_holds_are_acknowledged_if_it_ends_well(tmp_path, monkeypatch):
    monkeypatch.setattr(commit, "HELD_MAX_BYTES", 200)
    storage = PatientStorage()
    way = Way(tmp_path, storage)
    way.send(error(1))
    for n in range(2, 12):
        way.send(error(n))
    storage.finish()
    assert way.read_acks() == list(range(1, 12))
    way.send(error(12))
    storage.end_one(EIO)  # what was not held before is durable, and stays known as stored
    storage.finish()
    way.send(error(5))
    storage.finish()
    way.read_acks()
    assert way.acked[-2:] == [12, 5]
    assert way.intake.duplicates == 1
    check(way)
    way.close()


def test_the_end_writes_what_is_buffered_before_it_waits_for_a_sync(tmp_path):
    class Ending(PatientStorage):
        def finish(self):
            written.append((tmp_path / "server.log").read_bytes().splitlines())
            super().finish()

    written = []
    way = Way(tmp_path, Ending())
    way.send(error(1))
    written.clear()
    way._client.send(info(2))
    way.sent.append(info(2))
    way.intake.drain(way.listener.fileno())
    way.writer.finish(monotonic())
    assert written[0] == [error(1), info(2)]
    check(way)
    way.close()


def test_receiving_never_waits_for_a_sync(tmp_path):
    storage = PatientStorage()
    way = Way(tmp_path, storage)
    way.send(error(1))
    for n in range(2, 200):
        way.send(info(n), error(1000 + n))
    assert way.acked == []
    assert len(storage.under_way) == 1  # one sync under way, one group that gathers
    storage.end_one()
    assert way.read_acks() == [1]
    storage.end_one()
    assert way.read_acks() == [1000 + n for n in range(2, 200)]
    assert storage.under_way == []
    assert way.commit.syncs == 2
    way.close()


def test_syncs_begin_apart_after_some_in_a_row():
    pace = SyncPace(apart_sec=10.0, in_a_row=3)
    for _ in range(3):
        assert pace.next_at <= 1000.0
        pace.began(1000.0)
    assert pace.next_at == 1010.0
    pace.began(1010.0)
    assert pace.next_at == 1020.0
    pace.began(1025.0)  # later than it might have been
    assert pace.next_at == 1030.0
    pace.began(2000.0)  # after a pause
    pace.began(2000.0)
    assert pace.next_at <= 2000.0
    pace.began(2000.0)
    assert pace.next_at == 2010.0


def test_priority_entries_received_between_two_syncs_wait_for_one_together(tmp_path):
    storage = PatientStorage()
    way = Way(tmp_path, storage, pace=SyncPace(apart_sec=3600.0, in_a_row=2))
    for number in (1000, 1001):
        way.send(error(number))
        assert len(storage.under_way) == 1  # the first ones after a pause wait for nothing
        storage.end_one()
        assert way.read_acks() == [number]
    way.send(error(2))
    way.writer.flush_priority(monotonic())
    way.send(info(3), error(4))
    assert storage.under_way == []
    due = way.commit.next_sync_at
    assert due > monotonic() + 3000
    assert way.loop.next_at == due  # what waits is not forgotten
    way.writer.flush_priority(due)
    assert len(storage.under_way) == 1
    way.send(error(5))
    storage.end_one()
    assert way.read_acks() == [2, 4]
    way.writer.finish(monotonic())
    storage.finish()
    assert way.read_acks() == [5]
    check(way)
    way.close()


def test_a_duplicate_is_acknowledged_when_its_original_is_durable_and_stored_once(tmp_path):
    storage = PatientStorage()
    way = Way(tmp_path, storage)
    way.send(error(1))
    way.send(error(1))
    assert way.acked == []
    storage.finish()
    assert way.read_acks() == [1, 1]
    way.send(error(1))
    assert way.read_acks() == []
    storage.finish()
    assert way.read_acks() == [1]
    assert way.lines() == [error(1)]
    assert way.intake.duplicates == 2
    check(way)
    way.close()


def test_the_same_priority_entry_without_a_sequence_is_stored_each_time(tmp_path):
    way = Way(tmp_path, PatientStorage())
    way.send(b'{"level":"ERROR","message":"m"}', b'{"level":"ERROR","message":"m"}')
    assert way.lines() == [b'{"level":"ERROR","message":"m"}'] * 2
    way.close()


def test_without_room_ordinary_entries_are_lost_first_and_priority_ones_wait(tmp_path):
    full = {"disk": True}
    storage = FailingStorage(lambda n: errno.ENOSPC if n > 3 and full["disk"] else 0)
    way = Way(tmp_path, storage)
    big = b"x" * 60_000
    ordinary = [b'{"level":"INFO","message":"%b%d"}' % (big, n) for n in range(80)]  # more than the line buffer holds
    way.send(error(1))
    for entry in ordinary:
        way._client.send(entry)
        way.sent.append(entry)
        while way.intake.drain(way.listener.fileno()):
            way.writer.make_room(0)
    way.send(error(2))
    assert 0 < way.writer.lost < 80
    assert way.acked == []
    check(way)
    full["disk"] = False
    settle(way)
    assert set(way.acked) == {1, 2}
    assert {error(1), error(2)} <= set(way.lines())
    assert way.writer.buffered == 0
    check(way)
    way.close()


def test_memory_for_a_disk_without_room_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "UNWRITTEN_MAX_BYTES", 10_000)
    full = {"disk": True}
    way = Way(tmp_path, FailingStorage(lambda n: errno.ENOSPC if n > 3 and full["disk"] else 0))
    for n in range(1_000):
        way.send(error(n))
        if n % 50 == 0:
            way.writer.make_room(0)
    assert way.writer.lost > 0
    check(way)
    full["disk"] = False
    settle(way)
    check(way)
    lost = [n for n in range(1_000) if error(n) not in set(way.lines())]
    assert len(lost) == way.writer.lost
    assert not set(lost) & set(way.acked)
    way.send(*[error(n) for n in lost[:10]])  # their sender repeats them: they are new
    way.storage.finish()
    way.read_acks()
    assert set(lost[:10]) <= set(way.acked)
    assert {error(n) for n in lost[:10]} <= set(way.lines())
    way.close()


def test_what_could_not_be_kept_until_it_was_durable_is_stored_again(tmp_path, monkeypatch):
    """The sync of a file fails, and some of its entries were no longer in memory: they do not count as stored."""
    monkeypatch.setattr(commit, "HELD_MAX_BYTES", 200)
    storage = PatientStorage()
    way = Way(tmp_path, storage)
    way.send(error(1))
    for n in range(2, 12):
        way.send(error(n))
    for n in range(2, 12):  # their senders repeat them before the sync has ended
        way.send(error(n))
    storage.end_one(EIO)
    storage.finish()
    way.read_acks()
    (tmp_path / "server.log.distrusted.1").unlink()  # nothing of the file that failed survived
    assert {error(n) for n in way.acked} <= set(way.lines())
    unanswered = [n for n in range(1, 12) if n not in way.acked]
    assert unanswered
    for n in unanswered:
        way.send(error(n))
        storage.finish()
    way.read_acks()
    assert set(way.acked) == set(range(1, 12))
    assert {error(n) for n in range(1, 12)} == set(way.lines())
    way.close()


def test_half_a_line_that_cannot_be_cut_off_is_the_last_of_its_file(tmp_path):
    class Stuck(PatientStorage):
        def write(self, fd, data):
            taken = super().write(fd, data[: len(data) // 2] if is_full else data)
            if is_full:
                is_full.clear()
                self.write_failure = OSError(errno.ENOSPC, "No space left on device")
            return taken

        def truncate(self, fd, size):
            raise EIO

    is_full: list[bool] = []
    way = Way(tmp_path, Stuck())
    way.send(error(1))
    way.storage.finish()
    is_full.append(True)
    way.send(error(2))
    way.storage.finish()
    way.read_acks()
    assert way.acked == [1, 2]
    line = error(2) + b"\n"
    assert (tmp_path / "server.log.distrusted.1").read_bytes() == error(1) + b"\n" + line[: len(line) // 2]
    assert (tmp_path / "server.log").read_bytes() == line
    way.close()


def test_a_file_that_another_program_renamed_is_synced_before_its_entries_are_acknowledged(tmp_path):
    storage = RecordingStorage()
    way = Way(tmp_path, storage)
    way.send(error(1))
    way.send(error(2))  # the next sync has to cover it
    (tmp_path / "server.log").rename(tmp_path / "renamed")
    way.log.reopen()
    storage.end_one()
    assert way.read_acks() == [1]
    storage.end_one()
    assert way.read_acks() == [2]
    kind, _, files, with_names = storage.operations[-1]
    assert kind == "synced"
    assert {storage.number((tmp_path / name).stat().st_ino) for name in ("renamed", "server.log")} == set(files)
    assert with_names
    way.close()


@pytest.mark.parametrize("failure", [None, EIO])
def test_more_rotations_during_one_sync_than_descriptors_wait_for_it(tmp_path, failure):
    """The file grows past its limit. No sync begins out of turn, since nobody would learn of its failure."""
    storage = PatientStorage()
    way = Way(tmp_path, storage, limit=100, backups=100)
    for n in range(1, 120):
        way.send(error(n))
    assert len(storage.under_way) == 1
    assert way.log.rotations == ROTATED_UNSYNCED_MAX
    assert way.log.rotation_failure == f"{ROTATED_UNSYNCED_MAX} rotated files wait for a sync"
    storage.end_one()
    assert way.read_acks() == [1]
    storage.end_one(failure)
    assert way.read_acks() == ([] if failure else list(range(2, 120)))
    storage.finish()
    way.read_acks()
    assert set(way.acked) == set(range(1, 120))
    way.send(info(1000), info(1001), info(1002))
    assert way.log.rotation_failure is None
    check(way)
    way.close()


def test_a_rotation_that_fails_costs_no_archive_and_no_entry(tmp_path):
    """For example, the live file may not be renamed: it grows past its limit, and the rotation is tried again later."""
    fails = {"rename": False}

    class Renames(PatientStorage):
        def rename(self, old, new):
            if fails["rename"] and old.name == "server.log":
                raise PermissionError(errno.EPERM, "Operation not permitted")
            super().rename(old, new)

    way = Way(tmp_path, Renames(), limit=220, backups=3)
    for n in range(1, 30):
        way.send(info(n))
    fails["rename"] = True
    before = [(tmp_path / f"server.log.{n}").read_bytes() for n in (1, 2)]
    for n in range(30, 60):
        way.send(info(n), error(100 + n))
        way.storage.finish()
    way.read_acks()
    assert way.log.rotation_failure == "Operation not permitted"
    assert way.writer.failure is None
    kept = [(tmp_path / f"server.log.{n}") for n in (1, 2, 3)]
    assert [path.read_bytes() for path in kept if path.exists()][-2:] == before
    assert way.acked == [100 + n for n in range(30, 60)]
    fails["rename"] = False
    for n in range(60, 80):
        way.send(info(n))
    assert way.log.rotation_failure is None
    assert way.writer.lost == 0
    way.close()


def test_a_directory_that_cannot_be_synced_costs_no_archive(tmp_path):
    fails = {"directory": False}

    class Names(PatientStorage):
        def sync(self, files, directory, done):
            if fails["directory"] and directory is not None:
                self.under_way.append(lambda _: done(EIO))
            else:
                super().sync(files, directory, done)

    way = Way(tmp_path, Names(), limit=220, backups=10)
    for n in range(1, 9):
        way.send(info(n), error(100 + n))
        way.storage.finish()
    way.read_acks()
    acked = len(way.acked)
    archives = {path.name: path.read_bytes() for path in tmp_path.glob("server.log.[0-9]*")}
    fails["directory"] = True
    way.send(error(1000), error(1001), error(1002), error(1003), error(1004))
    for _ in range(10):
        way.storage.finish()
        way.retry()
    assert way.read_acks() == [] or len(way.acked) == acked
    assert way.writer.failure is not None
    now = {content for path in tmp_path.glob("server.log*") if (content := path.read_bytes())}
    assert len(archives) > 2
    assert set(archives.values()) <= now
    fails["directory"] = False
    settle(way)
    assert set(way.acked) >= {1000, 1001, 1002, 1003, 1004}
    check(way)
    way.close()
