"""A disk that fails at every operation of a run, once or several times in a row, with an error or for lack of space."""

import contextlib
import errno
import itertools
import os
import zlib
from collections import Counter
from pathlib import Path
from time import monotonic

import pytest

from fastlog.server import held, pipeline
from fastlog.server._drain import RETRANSMIT_MS
from fastlog.server.commit import SyncPace
from fastlog.server.logfile import ROTATED_UNSYNCED_MAX, UNSYNCED_MAX, LogFile
from fastlog.server.pipeline import TURN_SEC
from fastlog.server.storage import Storage
from tests.helpers._hooks import let_pass
from tests.helpers.disk import (
    EIO,
    FailingStorage,
    Harness,
    NoNameSyncsStorage,
    PatientStorage,
    RecordingStorage,
    SmallFilesStorage,
    UnwritableStorage,
    error,
    info,
)
from tests.helpers.identities import numbers

OPERATIONS = 80  # more than a run has
STARTED = 4  # operations of the start


def drive(harness: Harness) -> None:
    """Sends bursts of ordinary and priority entries over some rotations; syncs end late."""
    number = itertools.count(1)
    for _ in range(6):
        harness.send(info(next(number)))
        harness.send(info(next(number)), error(next(number)))
        harness.send(error(next(number)))
        harness.storage.end_one()
    harness.storage.finish()
    harness.read_acks()


def check_identities(directory: Path) -> None:
    """After a start each file has a number of its own, the live one the highest."""
    LogFile(Storage(), directory, "server.log", 220, 50).close()
    found = numbers(directory)
    assert None not in found.values()
    assert len(set(found.values())) == len(found)
    assert found[""] == max(found.values())


def settle(harness: Harness) -> None:
    """Retries until the disk works again."""
    for _ in range(20):
        harness.storage.finish()
        harness.retry()
    harness.storage.finish()
    harness.read_acks()


def check(harness: Harness) -> None:
    intake = harness.intake
    received = sum(intake.received.values())
    assert received == len(harness.sent)
    assert received == harness.writer.stored + intake.duplicates + harness.writer.buffered + harness.writer.lost
    found = Counter(harness.lines())
    assert set(found) <= set(harness.sent)
    for n in set(harness.acked):
        assert found[error(n)] >= 1, f"{n} was acknowledged and is not there"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("lasting", [1, 2, 7])
def test_every_operation_may_fail(tmp_path, number, lasting):
    for first in range(STARTED + 1, OPERATIONS):
        directory = tmp_path / str(first)
        directory.mkdir()
        harness = Harness(
            directory,
            FailingStorage(lambda n, first=first: number if first <= n < first + lasting else 0),
            limit=220,
        )
        drive(harness)
        check(harness)
        settle(harness)
        check(harness)
        assert harness.writer.failure is None, first
        assert harness.writer.buffered == 0
        assert harness.writer.lost == 0
        # every priority entry is acknowledged
        assert set(harness.acked) == {n for n in range(1, 25) if error(n) in harness.sent}, first
        found = Counter(harness.lines())
        assert set(found) == set(harness.sent)
        if number == errno.ENOSPC and lasting == 1:
            assert max(found.values()) <= 2
        harness.close()
        check_identities(directory)


def test_after_a_failed_sync_nothing_is_acknowledged_from_that_file(tmp_path):
    storage = PatientStorage()
    harness = Harness(tmp_path, storage)
    harness.send(error(1))
    storage.end_one(EIO)
    assert harness.read_acks() == []
    first = (tmp_path / "server.log").read_bytes()
    assert first == error(1) + b"\n"
    storage.finish()
    assert harness.read_acks() == [1]
    assert (tmp_path / "server.log.distrusted.1").read_bytes() == first
    assert (tmp_path / "server.log").read_bytes() == error(1) + b"\n"
    assert harness.commit.sync_failures == 1
    assert harness.writer.stored == 1
    harness.close()


def test_after_a_failed_write_nothing_is_acknowledged_from_that_file(tmp_path):
    """The write fails while a sync of the same file is under way, and that sync succeeds."""
    storage = PatientStorage()
    harness = Harness(tmp_path, storage)
    harness.send(error(1))
    storage.write_failure = EIO
    harness.send(error(2))
    storage.end_one()
    assert harness.read_acks() == []
    assert (tmp_path / "server.log").read_bytes() == error(1) + b"\n"
    storage.finish()
    assert sorted(harness.read_acks()) == [1, 2]
    assert (tmp_path / "server.log.distrusted.1").read_bytes() == error(1) + b"\n"
    assert (tmp_path / "server.log").read_bytes() == error(1) + b"\n" + error(2) + b"\n"
    assert harness.commit.sync_failures == 0
    check(harness)
    harness.close()


def test_a_new_file_whose_entries_are_acknowledged_is_kept_when_it_fails(tmp_path):
    """A retransmission asks for another sync, which fails, before anything else is written to the file."""
    storage = PatientStorage()
    harness = Harness(tmp_path, storage)
    harness.send(error(1))
    storage.end_one(EIO)
    storage.finish()
    assert harness.read_acks() == [1]
    harness.send(error(1))
    storage.end_one(EIO)
    harness.retry()
    storage.finish()
    assert (tmp_path / "server.log.distrusted.2").read_bytes() == error(1) + b"\n"
    check(harness)
    harness.close()


def test_entries_come_while_a_new_file_fails(tmp_path):
    """The error of a write must not hold the lines, which grow with what comes."""
    storage = PatientStorage()
    harness = Harness(tmp_path, storage)
    harness.send(error(1))
    storage.write_failure = EIO
    storage.end_one(EIO)
    assert harness.writer.failure == "Input/output error"
    for n in (2, 3):
        harness.send(error(n))
        harness.writer.make_room(monotonic())
    harness.writer.retry(monotonic())
    storage.finish()
    harness.read_acks()
    assert sorted(harness.acked) == [1, 2, 3]
    check(harness)
    harness.close()


def test_more_errors_within_one_sync_than_memory_holds_are_acknowledged_if_it_ends_well(tmp_path, monkeypatch):
    monkeypatch.setattr(held, "HELD_MAX_BYTES", 200)
    storage = PatientStorage()
    harness = Harness(tmp_path, storage)
    harness.send(error(1))
    for n in range(2, 12):
        harness.send(error(n))
    storage.finish()
    assert harness.read_acks() == list(range(1, 12))
    harness.send(error(12))
    storage.end_one(EIO)  # what was not held before is durable, and stays known as stored
    storage.finish()
    harness.send(error(5))
    storage.finish()
    harness.read_acks()
    assert harness.acked[-2:] == [12, 5]
    assert harness.intake.duplicates == 1
    check(harness)
    harness.close()


def test_the_end_writes_what_is_buffered_before_it_waits_for_a_sync(tmp_path):
    class Ending(PatientStorage):
        def finish(self):
            written.append((tmp_path / "server.log").read_bytes().splitlines())
            super().finish()

    written = []
    harness = Harness(tmp_path, Ending())
    harness.send(error(1))
    written.clear()
    harness.deliver(info(2))
    harness.intake.drain(harness.listener.fileno())
    harness.writer.finish(monotonic())
    assert written[0] == [error(1), info(2)]
    check(harness)
    harness.close()


def test_receiving_never_waits_for_a_sync(tmp_path):
    storage = PatientStorage()
    harness = Harness(tmp_path, storage)
    harness.send(error(1))
    for n in range(2, 200):
        harness.send(info(n), error(1000 + n))
    assert harness.acked == []
    assert len(storage.under_way) == 1  # one sync under way, one group that gathers
    storage.end_one()
    assert harness.read_acks() == [1]
    storage.end_one()
    assert harness.read_acks() == [1000 + n for n in range(2, 200)]
    assert storage.under_way == []
    assert harness.commit.syncs == 2
    harness.close()


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
    harness = Harness(tmp_path, storage, pace=SyncPace(apart_sec=3600.0, in_a_row=2))
    for number in (1000, 1001):
        harness.send(error(number))
        assert len(storage.under_way) == 1  # the first ones after a pause wait for nothing
        storage.end_one()
        assert harness.read_acks() == [number]
    harness.send(error(2))
    harness.writer.flush_priority(monotonic())
    harness.send(info(3), error(4))
    assert storage.under_way == []
    due = harness.commit.next_sync_at
    assert due > monotonic() + 3000
    assert due in [deadline.at for deadline in harness.loop._deadlines]  # what waits is not forgotten
    harness.writer.flush_priority(due)
    assert len(storage.under_way) == 1
    harness.send(error(5))
    storage.end_one()
    assert harness.read_acks() == [2, 4]
    harness.writer.finish(monotonic())
    storage.finish()
    assert harness.read_acks() == [5]
    check(harness)
    harness.close()


def test_an_entry_that_no_other_follows_is_written_in_time(tmp_path):
    harness = Harness(tmp_path, PatientStorage())
    harness.pipeline._flush_count = 2
    harness.send(info(1))
    assert harness.lines() == []
    harness.loop._fire(monotonic() + 3600.0)
    assert harness.lines() == [info(1)]
    harness.close()


def test_a_turn_ends_in_time_and_the_next_one_takes_the_rest(tmp_path):
    harness = Harness(tmp_path, PatientStorage())
    for first in range(0, 6_000, 1_000):  # more priority entries than the line buffer takes at once
        harness.deliver(b"".join(b'{"level":"ERR","message":"","sequence":%d}' % (first + n) for n in range(1_000)))
    harness.pipeline.turn(monotonic() - TURN_SEC)  # its time is over
    assert 0 < harness.intake.total_received < 6_000
    harness.loop._fire(monotonic())
    harness.loop._fire(monotonic())
    assert harness.intake.total_received == 6_000
    harness.close()


def test_the_end_takes_what_came_after_a_burst_that_a_turn_left_unfinished(tmp_path):
    harness = Harness(tmp_path, PatientStorage())
    for n in range(12):  # more than a turn scans
        harness.deliver(zlib.compress(b" " * 250_000 + info(n)))
    harness.pipeline.turn(monotonic() - 1)
    assert 0 < harness.intake.total_received < 12
    harness.deliver(info(12))
    harness.pipeline.receive_rest()
    assert harness.intake.total_received == 13
    harness.close()


def test_the_end_takes_nothing_more_from_the_socket_when_its_time_is_over(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "TURN_SEC", -1.0)
    monkeypatch.setattr(pipeline, "END_DRAIN_SEC", -1.0)
    harness = Harness(tmp_path, PatientStorage())
    for first in range(0, 10_000, 100):
        harness.deliver(b"".join(b'{"level":"ERR","message":"","sequence":%d}' % (first + n) for n in range(100)))
    harness.pipeline.receive_rest()
    assert harness.intake.total_received == 6_400  # of the datagrams that one call takes
    assert harness.writer.stored + harness.writer.buffered == 6_400
    harness.close()


def test_the_acks_of_entries_that_memory_could_not_hold_are_counted_as_dropped(tmp_path, monkeypatch):
    monkeypatch.setattr(held, "HELD_MAX_BYTES", 200)
    harness = Harness(tmp_path, PatientStorage())
    for n in range(20):
        harness.send(error(n))
    harness.storage.end_one(EIO)
    harness.storage.finish()
    commit = harness.commit
    assert commit.acks_dropped > 0
    assert commit.acks_sent + commit.acks_pending + commit.acks_dropped == 20
    harness.close()


def test_a_duplicate_is_acknowledged_when_its_original_is_durable_and_stored_once(tmp_path):
    storage = PatientStorage()
    harness = Harness(tmp_path, storage)
    harness.send(error(1))
    harness.send(error(1))
    assert harness.acked == []
    storage.finish()
    assert harness.read_acks() == [1, 1]
    harness.send(error(1))
    assert harness.read_acks() == []
    storage.finish()
    assert harness.read_acks() == [1]
    assert harness.lines() == [error(1)]
    assert harness.intake.duplicates == 2
    check(harness)
    harness.close()


TIMED = b'{"level":"ERROR","message":"m","sequence":1,"timestamp":"2026-11-24T07:00:00.5Z"}'


@pytest.mark.parametrize(("entry", "stored"), [(error(1), 3), (TIMED, 1)])
def test_the_same_bytes_of_different_senders_are_one_entry_only_with_a_timestamp(tmp_path, entry, stored):
    """Three devices lose their power, and send the same."""
    harness = Harness(tmp_path, PatientStorage())
    senders = [harness.another_sender() for _ in range(3)]
    for _ in range(2):  # each of them sends it again
        for sender in senders:
            sender.send(entry)
        harness.pipeline.turn(monotonic())
        harness.storage.finish()
    assert [[sender.recv(100) for _ in range(2)] for sender in senders] == [[b'{"ack":true,"sequence":1}'] * 2] * 3
    assert harness.lines() == [entry] * stored
    assert harness.intake.duplicates == 6 - stored
    harness.close()


@pytest.mark.parametrize(("entry", "stored"), [(error(1), 2), (TIMED, 1)])
def test_without_a_timestamp_the_same_bytes_are_a_new_entry_after_a_minute(tmp_path, entry, stored):
    harness = Harness(tmp_path, PatientStorage())
    for _ in range(3):  # a minute after it last came, not after it first came
        harness.send(entry)
        let_pass(harness.intake, RETRANSMIT_MS - 5_000)
    assert harness.lines() == [entry]
    let_pass(harness.intake, 5_001)
    harness.send(entry)
    assert harness.lines() == [entry] * stored
    harness.send(entry)
    assert harness.lines() == [entry] * stored
    harness.storage.finish()
    harness.read_acks()
    assert harness.acked == [1] * 5
    harness.close()


def test_an_entry_that_came_anew_is_known_though_the_first_of_its_bytes_is_forgotten(tmp_path):
    harness = Harness(tmp_path, PatientStorage())
    harness.send(error(1))
    let_pass(harness.intake, RETRANSMIT_MS + 1)
    harness.send(error(1))
    harness.intake.forget(0, 1)
    harness.send(error(1))
    assert harness.intake.duplicates == 1
    harness.close()


def test_a_retransmission_is_known_after_a_restart_however_much_came_behind_its_original(tmp_path):
    ordinary = b'{"level":"INFO","message":"%b"}\n' % (b"x" * 1_000_000)
    (tmp_path / "server.log").write_bytes(TIMED + b"\n" + ordinary * 60)
    harness = Harness(tmp_path, PatientStorage())
    harness.send(TIMED)
    assert harness.intake.duplicates == 1
    harness.close()


def test_the_same_priority_entry_without_a_sequence_is_stored_each_time(tmp_path):
    harness = Harness(tmp_path, PatientStorage())
    harness.send(b'{"level":"ERROR","message":"m"}', b'{"level":"ERROR","message":"m"}')
    assert harness.lines() == [b'{"level":"ERROR","message":"m"}'] * 2
    harness.close()


def test_without_room_ordinary_entries_are_lost_first_and_priority_ones_wait(tmp_path):
    full = {"disk": True}
    storage = FailingStorage(lambda n: errno.ENOSPC if n > 3 and full["disk"] else 0)
    harness = Harness(tmp_path, storage)
    big = b"x" * 60_000
    ordinary = [b'{"level":"INFO","message":"%b%d"}' % (big, n) for n in range(80)]  # more than the line buffer holds

    def receive_all():
        for entry in ordinary:
            harness.deliver(entry)
            while harness.intake.drain(harness.listener.fileno()):
                harness.writer.make_room(0)

    harness.send(error(1))
    receive_all()
    for size in [100] * 700 + [0] * 10:  # until there is no room even for a short one
        harness.deliver(b'{"level":"INFO","message":"%b"}' % (b"x" * size))
        harness.intake.drain(harness.listener.fileno())
    harness.send(error(2))
    assert 0 < harness.writer.lost < len(harness.sent)
    assert harness.acked == []
    check(harness)
    full["disk"] = False
    settle(harness)
    assert set(harness.acked) == {1, 2}
    assert {error(1), error(2)} <= set(harness.lines())
    assert harness.writer.buffered == 0
    check(harness)
    lost = harness.writer.lost
    receive_all()  # now the disk takes them
    assert harness.writer.lost == lost
    check(harness)
    harness.close()


def test_a_burst_of_priority_entries_that_the_disk_refuses_loses_none(tmp_path):
    """They are more than the line buffer takes at once, when ordinary ones are discarded already."""
    full = {"disk": True}
    harness = Harness(tmp_path, FailingStorage(lambda n: errno.ENOSPC if n > 3 and full["disk"] else 0))
    harness.send(info(1))
    harness.send(info(2))
    harness.writer.make_room(0)
    for first in range(0, 6_000, 1_000):
        harness.deliver(b"".join(b'{"level":"ERR","message":"","sequence":%d}' % (first + n) for n in range(1_000)))
    for _ in range(3):
        harness.pipeline.turn(monotonic())
    assert harness.intake.total_received == 6_002
    assert harness.writer.lost == 0
    assert harness.writer.buffered + harness.writer.stored == 6_002
    full["disk"] = False
    harness.close()


def test_no_ack_is_owed_for_the_duplicates_of_an_entry_that_is_stored_nowhere(tmp_path):
    harness = Harness(tmp_path, PatientStorage())
    for n in (1, 2, 2):
        harness.deliver(error(n))
    harness.intake.drain(harness.listener.fileno())
    harness.intake.forget(1, 1)  # the second one
    assert (harness.intake.acks.count, harness.intake.acks.dropped) == (1, 2)
    harness.close()


def test_memory_for_a_disk_without_room_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(held, "HELD_MAX_BYTES", 10_000)
    full = {"disk": True}
    harness = Harness(tmp_path, FailingStorage(lambda n: errno.ENOSPC if n > 3 and full["disk"] else 0))
    for n in range(1_000):
        harness.send(error(n))
        if n % 50 == 0:
            harness.writer.make_room(0)
    assert harness.writer.lost > 0
    check(harness)
    full["disk"] = False
    settle(harness)
    check(harness)
    lost = [n for n in range(1_000) if error(n) not in set(harness.lines())]
    assert len(lost) == harness.writer.lost
    assert not set(lost) & set(harness.acked)
    harness.send(*[error(n) for n in lost[:10]])  # their sender repeats them: they are new
    harness.storage.finish()
    harness.read_acks()
    assert set(lost[:10]) <= set(harness.acked)
    assert {error(n) for n in lost[:10]} <= set(harness.lines())
    harness.close()


def test_what_could_not_be_kept_until_it_was_durable_is_stored_again(tmp_path, monkeypatch):
    """The sync of a file fails, and some of its entries were no longer in memory: they do not count as stored."""
    monkeypatch.setattr(held, "HELD_MAX_BYTES", 200)
    storage = PatientStorage()
    harness = Harness(tmp_path, storage)
    harness.send(error(1))
    for n in range(2, 12):
        harness.send(error(n))
    for n in range(2, 12):  # their senders repeat them before the sync has ended
        harness.send(error(n))
    storage.end_one(EIO)
    storage.finish()
    harness.read_acks()
    (tmp_path / "server.log.distrusted.1").unlink()  # nothing of the file that failed survived
    assert {error(n) for n in harness.acked} <= set(harness.lines())
    unanswered = [n for n in range(1, 12) if n not in harness.acked]
    assert unanswered
    for n in unanswered:
        harness.send(error(n))
        storage.finish()
    harness.read_acks()
    assert set(harness.acked) == set(range(1, 12))
    assert {error(n) for n in range(1, 12)} == set(harness.lines())
    harness.close()


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
    harness = Harness(tmp_path, Stuck())
    harness.send(error(1))
    harness.storage.finish()
    is_full.append(True)
    harness.send(error(2))
    harness.storage.finish()
    harness.read_acks()
    assert harness.acked == [1, 2]
    line = error(2) + b"\n"
    assert (tmp_path / "server.log.distrusted.1").read_bytes() == error(1) + b"\n" + line[: len(line) // 2]
    assert (tmp_path / "server.log").read_bytes() == line
    harness.close()


def test_lines_behind_those_that_a_full_disk_took_are_held_as_they_are(tmp_path):
    class Filling(PatientStorage):
        def write(self, fd, data):
            taken = super().write(fd, data[: room.pop()] if room else data)
            if taken < len(data):
                self.write_failure = OSError(errno.ENOSPC, "No space left on device")
            return taken

    room = [len(info(1)) + 1]
    harness = Harness(tmp_path, Filling())
    harness.send(info(1), error(2), error(3))
    harness.retry()
    harness.storage.end_one(EIO)  # the new file gets what is held
    harness.storage.finish()
    assert harness.read_acks() == [2, 3]
    assert (tmp_path / "server.log").read_bytes() == error(2) + b"\n" + error(3) + b"\n"
    harness.close()


def test_a_file_that_another_program_renamed_is_synced_before_its_entries_are_acknowledged(tmp_path):
    storage = RecordingStorage()
    harness = Harness(tmp_path, storage)
    harness.send(error(1))
    harness.send(error(2))  # the next sync has to cover it
    (tmp_path / "server.log").rename(tmp_path / "renamed")
    harness.log.reopen()
    storage.end_one()
    assert harness.read_acks() == [1]
    storage.end_one()
    assert harness.read_acks() == [2]
    kind, _, files, with_names = storage.operations[-1]
    assert kind == "synced"
    assert {storage.number((tmp_path / name).stat().st_ino) for name in ("renamed", "server.log")} == set(files)
    assert with_names
    harness.close()


@pytest.mark.parametrize("failure", [None, EIO])
def test_more_rotations_during_one_sync_than_descriptors_wait_for_it(tmp_path, failure):
    """The file grows past its limit. No sync begins out of turn, since nobody would learn of its failure."""
    storage = PatientStorage()
    harness = Harness(tmp_path, storage, limit=100, backups=100)
    for n in range(1, 120):
        harness.send(error(n))
    assert len(storage.under_way) == 1
    assert harness.log.rotations == ROTATED_UNSYNCED_MAX
    assert harness.log.rotation_failure == f"{ROTATED_UNSYNCED_MAX} rotated files wait for a sync"
    storage.end_one()
    assert harness.read_acks() == [1]
    storage.end_one(failure)
    assert harness.read_acks() == ([] if failure else list(range(2, 120)))
    storage.finish()
    harness.read_acks()
    assert set(harness.acked) == set(range(1, 120))
    harness.send(info(1000), info(1001), info(1002))
    assert harness.log.rotation_failure is None
    check(harness)
    harness.close()


def test_a_reopened_file_does_not_lift_the_bound_on_files_that_wait_for_a_sync(tmp_path):
    storage = PatientStorage()
    harness = Harness(tmp_path, storage, limit=100, backups=100)
    for n in range(1, 120):
        harness.send(error(n))
    assert harness.log.rotations == ROTATED_UNSYNCED_MAX
    harness.log.path.rename(tmp_path / "taken away")
    harness.log.reopen()
    for n in range(120, 400):
        harness.send(error(n))
    assert harness.log.rotations == ROTATED_UNSYNCED_MAX
    storage.finish()
    assert harness.commit.acks_sent == 399
    harness.close()


def test_more_renamed_files_than_are_synced_at_once_wait_for_a_sync(tmp_path):
    """The last one takes entries until it has ended."""
    storage = PatientStorage()
    harness = Harness(tmp_path, storage)
    harness.send(error(0))
    for n in range(1, UNSYNCED_MAX + 5):
        harness.send(error(n))
        if harness.log.path.exists():
            harness.log.path.rename(tmp_path / f"taken away.{n}")
        with contextlib.suppress(OSError):
            harness.log.reopen()
    assert harness.log.name_failure == f"{UNSYNCED_MAX} files wait for a sync"
    storage.finish()
    assert harness.commit.acks_sent == UNSYNCED_MAX + 5
    harness.log.reopen()
    assert harness.log.name_failure is None
    harness.close()


def test_a_rotation_that_fails_costs_no_archive_and_no_entry(tmp_path):
    """For example, the live file may not be renamed: it grows past its limit, and the rotation is tried again later."""
    fails = {"rename": False}

    class Renames(PatientStorage):
        def rename(self, old, new):
            if fails["rename"] and old.name == "server.log":
                raise PermissionError(errno.EPERM, "Operation not permitted")
            super().rename(old, new)

    harness = Harness(tmp_path, Renames(), limit=220, backups=3)
    for n in range(1, 30):
        harness.send(info(n))
    fails["rename"] = True
    before = [(tmp_path / f"server.log.{n}").read_bytes() for n in (1, 2)]
    for n in range(30, 60):
        harness.send(info(n), error(100 + n))
        harness.storage.finish()
    harness.read_acks()
    assert harness.log.rotation_failure == "Operation not permitted"
    assert harness.writer.failure is None
    kept = [(tmp_path / f"server.log.{n}") for n in (1, 2, 3)]
    assert [path.read_bytes() for path in kept if path.exists()][-2:] == before
    assert harness.acked == [100 + n for n in range(30, 60)]
    fails["rename"] = False
    for n in range(60, 80):
        harness.send(info(n))
    assert harness.log.rotation_failure is None
    assert harness.writer.lost == 0
    harness.close()


def test_a_directory_that_cannot_be_synced_costs_no_archive(tmp_path):
    storage = NoNameSyncsStorage()
    harness = Harness(tmp_path, storage, limit=220, backups=10)
    for n in range(1, 9):
        harness.send(info(n), error(100 + n))
        harness.storage.finish()
    harness.read_acks()
    acked = len(harness.acked)
    archives = {path.name: path.read_bytes() for path in tmp_path.glob("server.log.[0-9]*")}
    storage.fails = True
    harness.send(error(1000), error(1001), error(1002), error(1003), error(1004))
    for _ in range(10):
        harness.storage.finish()
        harness.retry()
    assert len(harness.acked) == acked
    assert harness.writer.failure is not None
    now = {content for path in tmp_path.glob("server.log*") if (content := path.read_bytes())}
    assert len(archives) > 2
    assert set(archives.values()) <= now
    storage.fails = False
    settle(harness)
    assert set(harness.acked) >= {1000, 1001, 1002, 1003, 1004}
    check(harness)
    harness.close()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_disk_without_room_costs_no_file_its_trust(tmp_path, closing, number):
    storage = PatientStorage()
    server = closing(Harness(tmp_path, storage))
    storage.write_failure = OSError(number, os.strerror(number))
    server.send(error(1))
    server.retry()
    storage.finish()
    assert server.read_acks() == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["server.log"]


def test_what_a_full_disk_does_not_take_at_the_end_is_counted_as_lost(tmp_path, closing):
    storage = UnwritableStorage()
    storage.failure = OSError(errno.ENOSPC, "No space left on device")
    server = closing(Harness(tmp_path, storage))
    server.send(info(1), error(2))
    assert not server.pipeline.finish()
    server.writer.give_up()
    assert (server.writer.lost, server.writer.stored, server.writer.buffered) == (2, 0, 0)


def test_the_server_looks_for_its_file_again_and_again(tmp_path, closing):
    server = closing(Harness(tmp_path, PatientStorage()))
    for second in range(2, 8, 2):
        server.log.path.unlink()
        server.loop._fire(monotonic() + second)
        assert server.log.path.exists()


def test_a_disk_that_takes_no_write_is_not_filled_with_new_files(tmp_path):
    """Files can be made, renamed and synced, but each write fails."""
    storage = UnwritableStorage()
    storage.failure = EIO
    harness = Harness(tmp_path, storage)
    harness.send(info(1))
    for _ in range(50):
        harness.storage.finish()
        harness.pipeline.turn(monotonic())
    assert len(list(tmp_path.glob("*.distrusted.*"))) <= 1
    assert harness.writer.failure == "Input/output error"
    storage.failure = None
    settle(harness)
    assert harness.lines() == [info(1)]
    assert harness.writer.failure is None
    check(harness)
    harness.close()


def test_a_directory_that_cannot_be_synced_for_long_costs_one_file_set_aside(tmp_path):
    storage = NoNameSyncsStorage()
    harness = Harness(tmp_path, storage, limit=220)
    harness.send(info(1), error(2))
    harness.storage.finish()
    storage.fails = True
    harness.send(*[error(n) for n in range(3, 9)])  # over a rotation
    for _ in range(200):
        harness.storage.finish()
        harness.retry()
    assert len(list(tmp_path.glob("*.distrusted.*"))) == 1
    storage.fails = False
    settle(harness)
    assert sorted(harness.acked) == [2, *range(3, 9)]
    check(harness)
    harness.close()


def test_more_than_a_file_may_hold_moves_to_several_files_after_a_failed_sync(tmp_path):
    harness = Harness(tmp_path, SmallFilesStorage(200))
    for n in range(20):
        harness.send(error(n))
    harness.storage.end_one(EIO)
    settle(harness)
    assert sorted(harness.acked) == list(range(20))
    assert harness.writer.failure is None
    check(harness)
    harness.close()


def test_the_end_tries_once_more_to_begin_a_new_file(tmp_path):
    fails = [False]

    class NoFiles(PatientStorage):
        def open(self, path):
            if fails[0]:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().open(path)

    harness = Harness(tmp_path, NoFiles())
    harness.send(error(1))
    fails[0] = True
    harness.storage.end_one(EIO)
    assert harness.writer.failure == "No space left on device"
    fails[0] = False
    harness.writer.finish(monotonic())
    harness.writer.give_up()
    assert harness.read_acks() == [1]
    assert harness.writer.lost == 0
    harness.close()


def test_what_a_failed_write_held_can_still_be_put_together_with_more(tmp_path):
    """The error must not hold the memory of the lines, which could not grow then."""
    storage = UnwritableStorage()
    harness = Harness(tmp_path, storage)
    harness.send(error(1))
    storage.failure = OSError(errno.ENOSPC, "No space left on device")
    harness.storage.end_one(EIO)
    for n in range(2, 10):
        harness.send(error(n))
        harness.writer.make_room(monotonic())
    storage.failure = None
    settle(harness)
    assert sorted(harness.acked) == list(range(1, 10))
    check(harness)
    harness.close()
