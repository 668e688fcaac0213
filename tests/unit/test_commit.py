"""Which entries a sync waits for, and how long an ACK is said to have taken."""

from time import monotonic

import pytest

from fastlog.server import writer
from fastlog.server.meters import LatencyMeter
from tests.helpers.disk import EIO, Harness, PatientStorage, RecordingStorage, error, info


@pytest.fixture
def server(tmp_path, closing):
    return closing(Harness(tmp_path, PatientStorage()))


def longest_ms(server: Harness) -> float:
    return server.commit.latency.summary().max


def test_a_priority_entry_is_synced_at_once_and_an_ordinary_one_is_not(server):
    server.send(info(1))
    assert not server.storage.under_way
    server.send(error(2))
    assert len(server.storage.under_way) == 1
    server.send(error(3))
    server.storage.end_one()
    assert len(server.storage.under_way) == 1  # the second sync, for the other one
    server.storage.end_one()
    assert not server.storage.under_way
    assert server.commit.syncs == 2


def test_an_ack_takes_from_the_arrival_of_its_groups_first_entry(server, monkeypatch):
    server.send(error(1))
    server.send(error(2))
    arrived = monotonic()
    server.send(error(3))
    server.storage.end_one()
    ends = monotonic()
    server.commit.latency = LatencyMeter()  # without the first entry's
    monkeypatch.setattr(writer, "monotonic", lambda: ends)
    server.storage.end_one()
    assert server.read_acks() == [1, 2, 3]
    assert longest_ms(server) >= round((ends - arrived) * 1000, 3)


def test_an_ack_takes_from_the_arrival_of_its_entry_also_after_a_failed_sync(server):
    server.send(error(1))
    arrived = monotonic()
    server.storage.end_one(EIO)
    ends = monotonic()
    server.storage.finish()
    assert server.read_acks() == [1]
    assert longest_ms(server) >= round((ends - arrived) * 1000, 3) > 0


def test_a_failed_sync_makes_the_acks_of_later_entries_take_no_longer(server, monkeypatch):
    server.send(error(1))
    server.storage.end_one(EIO)
    server.storage.finish()
    server.commit.latency = LatencyMeter()  # without the first entry's
    before = monotonic()
    server.send(error(2))
    ends = monotonic()
    monkeypatch.setattr(writer, "monotonic", lambda: ends)
    server.storage.finish()
    server.read_acks()
    assert server.acked == [1, 2]
    assert 0 < longest_ms(server) <= round((ends - before) * 1000, 3)


def test_at_the_end_ordinary_entries_are_synced_as_well(tmp_path, closing):
    storage = RecordingStorage()
    server = closing(Harness(tmp_path, storage))
    server.send(info(1))
    server.pipeline.finish()
    written = max(number for number, operation in enumerate(storage.operations) if operation[0] == "write")
    assert max(operation[1] for operation in storage.operations if operation[0] == "synced") > written
