"""The server compresses archives while they wait for the shipper, or while it reads them: the stream is the log, byte
for byte."""

import signal

import pytest

from tests.helpers.collector import NODE, Collector
from tests.helpers.nats import STREAM, needs_nats
from tests.helpers.running import eventually, until
from tests.helpers.ship_oracle import check_exactly_once, parts_of

FILE_BYTES = 100_000
LINES = 2_000  # several files
SERVER = {
    "LOG_COMPRESS": "zstd",
    "MAX_LOG_SIZE_MB": str(FILE_BYTES / 1_000_000),
    "LOG_BACKUPS": "99",
    "FLUSH_COUNT": "50",
    "DASHBOARD_PORT": "0",
}

pytestmark = needs_nats


@pytest.fixture
def collector(tmp_path, closing, rng, nats):
    """Makes one that ships, with settings of its server."""

    def make(**settings: str) -> Collector:
        ship = {"SHIP_TO": f"{nats.url}/{STREAM}", "SHIP_BATCH_KB": "16"}
        collector = closing(Collector(tmp_path, rng, {**SERVER, **settings}, ship))
        collector.start_server()
        collector.start_shipper()
        collector.wait_for_note()
        return collector

    return make


def wait_for_compression(collector: Collector) -> None:
    """Until all archives are compressed."""
    collector.client.settle()
    collector.wait_for_compression(LINES)


def wait_until_shipped(collector: Collector) -> None:
    collector.client.settle()
    eventually(lambda: collector.server.stats()["ship"], lambda ship: ship and ship["lag_bytes"] == 0)


def check_stream(collector: Collector, nats, *, compressed: int) -> None:
    """Ends all of it. Of the archives, at least so many were compressed."""
    assert len(collector.files.compressed()) >= compressed
    collector.settle()
    collector.ship_the_rest()
    check_exactly_once(parts_of(nats.messages(), NODE), collector.files.contents())
    assert " is taken for a copy" not in collector.shipper.messages
    assert "left out" not in collector.shipper.messages
    assert "missing" not in collector.shipper.messages


def test_what_is_compressed_while_the_shipper_is_off_is_shipped_from_there(nats, collector):
    collector = collector()
    collector.send(LINES // 3)
    collector.kill_shipper()
    collector.send(LINES)
    wait_for_compression(collector)
    collector.start_shipper()
    wait_until_shipped(collector)
    check_stream(collector, nats, compressed=4)


def test_a_file_that_is_compressed_while_it_is_shipped_is_continued(nats, collector):
    """The engine is away in the midst of a file. When it is back, the shipper has the original open, which is gone."""
    collector = collector()
    collector.send(LINES // 3)
    nats.kill()
    collector.send(LINES)
    wait_for_compression(collector)
    nats.start()
    wait_until_shipped(collector)
    check_stream(collector, nats, compressed=4)


def test_archives_are_compressed_and_shipped_side_by_side(nats, collector):
    """The shipper stands still now and then, wherever it is."""
    collector = collector()
    for _ in range(5):
        collector.send(LINES // 5)
        collector.shipper.process.send_signal(signal.SIGSTOP)
        collector.send(LINES // 5)
        collector.shipper.process.send_signal(signal.SIGCONT)
    wait_until_shipped(collector)
    wait_for_compression(collector)
    check_stream(collector, nats, compressed=4)


def test_held_archives_are_compressed_and_deleted_when_they_are_shipped(nats, collector):
    collector = collector(LOG_BACKUPS="1")
    collector.send(LINES // 3)
    nats.kill()
    collector.send(LINES)
    wait_for_compression(collector)
    assert len(collector.files.compressed()) > 3, "archives beyond LOG_BACKUPS are not kept"
    nats.start()
    wait_until_shipped(collector)
    until(lambda: len(collector.files.compressed()) <= 1, "the end of archives that need not be held any more")
    assert collector.server.stats()["losses"]["unshipped"] == 0
    check_stream(collector, nats, compressed=0)
