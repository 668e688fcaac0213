"""What the figures and the health make of the parts' counters."""

import errno
from time import monotonic

import pytest

from fastlog.config import Settings
from fastlog.server.snapshot import DROPS_ALARM_SEC, SYNC_ALARM_SEC, Reporter
from tests.helpers.disk import Harness, PatientStorage, error, info

FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def harness(tmp_path, closing):
    return closing(Harness(tmp_path, PatientStorage(), limit=100, backups=1))


@pytest.fixture
def reporter(harness):
    return Reporter(Settings(), harness.listeners, harness.pipeline, "blocking", monotonic())


def reasons(reporter: Reporter, after_sec: float = 0.0) -> list[str]:
    """Why health is degraded at that time from now."""
    health = reporter.health(monotonic() + after_sec)
    assert (health.status == "degraded") == bool(health.reasons)
    return list(health.reasons)


def test_a_disk_that_refuses_degrades_health_until_it_takes_entries(harness, reporter):
    assert reasons(reporter) == []
    harness.storage.write_failure = FULL
    harness.send(info(1))
    assert reasons(reporter) == ["the disk refuses entries: No space left on device"]
    harness.retry()
    assert reasons(reporter) == []


def test_a_rotation_that_fails_degrades_health(harness, reporter):
    (harness.directory / "server.log.1").mkdir()
    for number in range(5):
        harness.send(info(number))
    assert reasons(reporter) == ["the log file cannot be rotated: Is a directory"]
    (harness.directory / "server.log.1").rmdir()
    for number in range(5, 10):
        harness.send(info(number))
    assert reasons(reporter) == []


def test_a_sync_that_takes_long_degrades_health_until_it_ends(harness, reporter):
    harness.send(error(1))
    assert reasons(reporter) == []
    assert reasons(reporter, SYNC_ALARM_SEC) == ["the disk does not answer: a sync has been under way for 3 s"]
    harness.storage.finish()
    assert reasons(reporter, SYNC_ALARM_SEC) == []


def test_drops_of_the_kernel_degrade_health_for_a_minute(harness, reporter):
    while harness.listener.drops() == 0:  # nothing is received meanwhile
        harness.deliver(b"x" * 60_000)
    reporter.tick(monotonic())
    [reason] = reasons(reporter)
    assert reason.startswith("the kernel dropped datagrams within the last minute")
    assert reasons(reporter, DROPS_ALARM_SEC) == []


def test_entries_lost_to_the_disk_are_shown(harness, reporter, monkeypatch):
    def refuse(*_):
        raise FULL

    monkeypatch.setattr(harness.storage, "write", refuse)
    harness.send(info(1), error(2))
    harness.writer.give_up()
    assert reporter.snapshot(monotonic()).losses.disk == 2


def test_a_log_that_is_shipped_and_gets_no_identity_is_a_warning(tmp_path, closing, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(PatientStorage, "set_attribute", refuse)
    harness = closing(Harness(tmp_path, PatientStorage(), hold_bytes=1))
    reporter = Reporter(Settings(), harness.listeners, harness.pipeline, "blocking", monotonic())
    assert reporter.health(monotonic()).warnings == []
    (tmp_path / "server.log.shipped").write_text('{"log":"0123456789ab","segment":1,"offset":0}')
    harness.log.tidy()
    [warning] = reporter.health(monotonic()).warnings
    assert warning == "the log cannot be shipped: it gets no identity: Operation not supported"
    monkeypatch.undo()
    harness.log.rotate()
    assert reporter.health(monotonic()).warnings == []
