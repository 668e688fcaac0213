"""An engine that is away for a while: nothing that waits for it is deleted, as long as the hold has room for it."""

import pytest

from tests.helpers.collector import NODE, Collector
from tests.helpers.nats import STREAM, needs_nats
from tests.helpers.running import eventually
from tests.helpers.ship_oracle import check_exactly_once, compare, lines_in, parts_of

LINES = 1_500
SERVER = {"FLUSH_COUNT": "50", "MAX_LOG_SIZE_MB": "0.02", "LOG_BACKUPS": "1", "DASHBOARD_PORT": "0"}

pytestmark = needs_nats


@pytest.fixture
def collector(tmp_path, closing, rng, nats):
    """Makes one, with settings of its server."""

    def make(**settings: str) -> Collector:
        ship = {"SHIP_TO": f"{nats.url}/{STREAM}", "SHIP_BATCH_KB": "16"}
        collector = closing(Collector(tmp_path, rng, {**SERVER, **settings}, ship))
        collector.start_server()
        collector.start_shipper()
        collector.wait_for_note()
        return collector

    return make


def unshipped(collector):
    return collector.server.stats()["losses"]["unshipped"]


def files_of(collector):
    return sorted(path for path in collector.logs.glob("server.log*") if path.name != "server.log.shipped")


def test_nothing_is_deleted_before_it_is_shipped(nats, collector):
    collector = collector()
    collector.send(100)
    nats.kill()
    collector.send(LINES)
    assert len(files_of(collector)) > 5, "archives beyond LOG_BACKUPS are not kept"
    nats.start()
    collector.client.settle()
    eventually(lambda: collector.server.stats()["ship"], lambda ship: ship and ship["lag_bytes"] == 0)
    assert unshipped(collector) == 0
    collector.settle()
    collector.ship_the_rest()
    files = collector.files.contents()
    check_exactly_once(parts_of(nats.messages(), NODE), files)

    collector.start_server()  # nothing waits any more
    assert len(files_of(collector)) <= 2


def test_over_the_hold_the_count_of_what_was_deleted_is_what_is_missing(nats, collector):
    collector = collector(SHIP_HOLD_MB="0.1")
    collector.send(100)
    nats.kill()
    collector.send(LINES)
    collector.client.settle()
    nats.start()
    eventually(lambda: collector.server.stats()["ship"], lambda ship: ship and ship["lag_bytes"] == 0)
    counted = eventually(lambda: unshipped(collector), lambda count: count > 0)
    collector.settle()
    collector.ship_the_rest()
    found = compare(parts_of(nats.messages(), NODE), collector.files.contents())
    assert not found.twice
    assert lines_in(found.missing) == counted
