"""Priority entries for which no ACK is owed: written at once, durable within a second, without a pace of their own."""

import os
import socket
from time import monotonic

import pytest

from fastlog.server import held, writer
from fastlog.server._drain import Intake
from fastlog.server._duplicates import STORED_MAX
from fastlog.server._socket import Admission
from fastlog.server.commit import UNAWAITED_SYNC_SEC, SyncPace
from fastlog.server.meters import LatencyMeter
from fastlog.server.writer import ROTATED_WAIT_MAX
from tests.helpers.disk import EIO, Harness, PatientStorage, UnwritableStorage, error, info

SECOND = 1.0
NO_SPACE = OSError(28, "No space left on device")


@pytest.fixture
def server(tmp_path, closing):
    return closing(Harness(tmp_path, PatientStorage()))


def unawaited(number: int) -> bytes:
    return b'{"level":"ERROR","message":"u%d"}' % number


def live_lines(server: Harness) -> list[bytes]:
    return server.log.path.read_bytes().splitlines()


def test_it_is_written_at_once_and_synced_within_a_second(server):
    server.send(unawaited(1))
    assert server.lines() == [unawaited(1)]
    assert not server.storage.under_way
    server.later(UNAWAITED_SYNC_SEC)
    assert len(server.storage.under_way) == 1
    assert UNAWAITED_SYNC_SEC < SECOND
    server.storage.end_one()
    server.later(10 * SECOND)
    assert not server.storage.under_way
    assert server.commit.syncs == 1


def test_a_stream_of_them_brings_about_one_sync_a_second(server):
    for number in range(500):
        server.send(unawaited(number))
    assert not server.storage.under_way
    server.later(SECOND)
    assert len(server.storage.under_way) == 1
    for number in range(500, 600):
        server.send(unawaited(number))
    server.storage.end_one()
    assert not server.storage.under_way
    server.later(SECOND)
    assert len(server.storage.under_way) == 1


def test_a_sync_for_an_ack_covers_them(server):
    server.send(unawaited(1))
    server.send(error(2))
    server.storage.end_one()
    assert server.read_acks() == [2]
    server.later(10 * SECOND)
    assert not server.storage.under_way
    assert server.commit.syncs == 1


def test_those_that_come_during_a_sync_are_synced_in_their_second_too(server):
    server.send(error(1))
    server.send(unawaited(2))
    assert live_lines(server) == [error(1), unawaited(2)]
    server.storage.end_one()
    assert not server.storage.under_way
    server.later(SECOND)
    assert len(server.storage.under_way) == 1


def test_a_priority_entry_behind_them_is_synced_at_once(server):
    server.send(unawaited(1), error(2))
    assert len(server.storage.under_way) == 1


def test_where_acks_do_not_wait_for_the_disk_nothing_is_synced(server):
    server.commit.waits_for_disk = False
    server.send(unawaited(1))
    server.later(10 * SECOND)
    assert live_lines(server) == [unawaited(1)]
    assert not server.storage.under_way
    assert not server.commit.held.unawaited.await_sync


def test_rotations_do_not_wait_for_one_another_until_there_is_no_room_for_more(tmp_path, closing):
    server = closing(Harness(tmp_path, PatientStorage(), limit=len(unawaited(1)) + 1))
    for _ in range(ROTATED_WAIT_MAX):
        server.send(unawaited(1))
        assert not server.storage.under_way
    for _ in range(3):
        server.send(unawaited(1))
        assert len(server.storage.under_way) == 1


def test_the_pace_of_syncs_holds_for_them_too(tmp_path, closing):
    server = closing(Harness(tmp_path, PatientStorage(), pace=SyncPace(100 * SECOND, 1)))
    server.send(error(1))
    server.storage.end_one()
    server.send(unawaited(2))
    server.later(10 * SECOND)
    assert not server.storage.under_way
    server.later(101 * SECOND)
    assert len(server.storage.under_way) == 1


def test_they_make_no_ack_seem_late(server, monkeypatch):
    server.send(error(0))
    server.storage.end_one()
    server.commit.latency = LatencyMeter()  # without that of the first sync
    server.send(unawaited(1))
    sent = monotonic()
    server.send(error(2))
    ends = monotonic()
    monkeypatch.setattr(writer, "monotonic", lambda: ends)
    server.storage.end_one()
    server.read_acks()
    assert server.acked == [0, 2]
    assert 0 < server.commit.latency.summary().max <= round((ends - sent) * 1000, 3)


def test_they_show_among_the_recent_errors_in_order_of_arrival(server):
    server.send(unawaited(1), error(2), info(3), unawaited(4))
    assert server.writer.recent.lines() == [unawaited(1), error(2), unawaited(4)]
    assert server.writer.recent.taken == 3


def test_after_a_failed_sync_they_go_to_the_new_file(server):
    server.send(unawaited(1), error(2), unawaited(3))
    server.storage.end_one(EIO)
    server.storage.finish()
    assert sorted(live_lines(server)) == sorted([error(2), unawaited(1), unawaited(3)])
    assert server.read_acks() == [2]
    assert server.writer.stored == 3


def test_after_a_failed_sync_of_their_own_they_go_to_a_new_file_as_well(server):
    server.send(unawaited(1))
    server.later(SECOND)
    server.storage.end_one(EIO)
    server.storage.finish()
    assert live_lines(server) == [unawaited(1)]
    assert (server.directory / "server.log.distrusted.1").exists()
    assert (server.writer.stored, server.writer.buffered) == (1, 0)


def test_what_is_durable_is_not_written_again(server):
    server.send(unawaited(1))
    server.later(SECOND)
    server.storage.end_one()
    server.send(error(2))
    server.later(SECOND)  # the sync before has begun then, as far as this server knows
    server.storage.end_one(EIO)
    server.storage.finish()
    assert live_lines(server) == [error(2)]


def test_a_file_that_is_removed_before_its_sync_costs_none(server):
    server.send(unawaited(1))
    server.log.path.unlink()
    server.later(SECOND)
    server.storage.finish()
    assert live_lines(server) == [unawaited(1)]


def test_a_file_that_is_removed_during_its_sync_costs_none(server):
    server.send(unawaited(1))
    server.later(SECOND)
    server.log.path.unlink()
    server.storage.end_one()
    assert live_lines(server) == [unawaited(1)]
    syncs = server.commit.syncs
    server.later(SECOND)
    server.storage.end_one()
    assert server.commit.syncs == syncs + 1


def test_on_a_disk_that_refuses_they_wait_in_memory_and_push_out_nobody_elses(tmp_path, closing, monkeypatch):
    monkeypatch.setattr(held, "HELD_MAX_BYTES", 1_000)
    server = closing(Harness(tmp_path, UnwritableStorage()))
    server.storage.failure = NO_SPACE
    server.send(error(1))
    for number in range(100):
        server.send(unawaited(number))
        server.writer.make_room(monotonic())
    server.storage.failure = None
    server.retry()
    server.storage.finish()
    assert server.read_acks() == [1]
    newest = [unawaited(number) for number in range(100)][-(1_000 // (len(unawaited(10)) + 1)) :]
    assert live_lines(server) == [error(1), *newest]
    assert server.writer.lost == 100 - len(newest)
    assert server.writer.stored == 1 + len(newest)


def test_the_end_of_the_server_waits_for_no_other_sync_and_bears_one_that_fails(server):
    server.send(unawaited(1))
    server.storage.sync = FailsOnce(server.storage)
    assert server.pipeline.finish()
    assert live_lines(server) == [unawaited(1)]
    assert (server.directory / "server.log.distrusted.1").exists()


class FailsOnce:
    """The next sync of the storage fails."""

    def __init__(self, storage: PatientStorage) -> None:
        self._storage = storage
        self._sync = storage.sync

    def __call__(self, files, directory, done):
        self._storage.sync = self._sync
        self._storage.under_way.append(lambda _: done(EIO))


def test_any_number_of_them_hides_no_retransmission(server):
    server.send(error(1))
    server.storage.finish()
    assert server.read_acks() == [1]
    lines = b"\n".join(unawaited(number) for number in range(1_500))
    for _ in range(STORED_MAX // 1_500 + 1):
        server.send(lines)
    server.send(error(1))
    server.storage.finish()
    assert server.intake.duplicates == 1
    assert server.read_acks() == [1]


@pytest.mark.parametrize("own", [None, "\0own"])
def test_an_entry_of_a_sender_without_an_address_is_one_that_nobody_awaits(tmp_path, closing, own):
    server, client = (closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) for _ in range(2))
    server.setblocking(False)
    server.bind(str(tmp_path / "socket"))
    if own:
        client.bind(f"{own}{os.getpid()}")
    client.connect(server.getsockname())
    intake = Intake(65536, ["ERROR"], Admission([]))
    intake.listen([server.fileno()])
    intake.is_unix(0, False)
    for _ in range(2):
        client.send(error(1))
    intake.drain(server.fileno())
    assert (intake.priority_waits, intake.unawaited_waits) == (bool(own), not own)
    assert (intake.lines.entries, intake.duplicates, intake.acks.count) == ((1, 1, 2) if own else (2, 0, 0))
