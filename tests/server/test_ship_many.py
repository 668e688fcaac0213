"""Many collectors, each with its shipper, into one stream of three replicas: exact to the line for each of them."""

import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest
from nats.js.errors import ServiceUnavailableError

from fastlog.ship.sink import EXIT_RIVAL
from tests.helpers.collector import Collector
from tests.helpers.nats import STREAM, NatsCluster, needs_nats
from tests.helpers.running import eventually, until
from tests.helpers.ship_oracle import check_exactly_once, parts_of

COLLECTORS = 8
LINES = 100  # of each collector: before a replica is killed, while it is away, and after it
SERVER = {"FLUSH_COUNT": "50", "MAX_LOG_SIZE_MB": "0.02", "LOG_BACKUPS": "99"}

pytestmark = needs_nats


@pytest.fixture
def cluster(tmp_path, closing):
    cluster = closing(NatsCluster(tmp_path / "nats"))
    cluster.make_stream()
    return cluster


def together(work, things):
    """Does it with all of them at once, since a program takes a while to start."""
    things = list(things)
    with ThreadPoolExecutor(len(things)) as pool:
        return list(pool.map(work, things))


def start(collector):
    collector.start_server()
    collector.start_shipper()


def messages_of(nats):
    """Those in the stream. A server of a cluster that has just come back does not answer at once."""

    def read():
        try:
            return nats.messages()
        except ServiceUnavailableError:
            return None

    return eventually(read, lambda messages: messages is not None)


def check_stream(nats, collectors):
    messages = messages_of(nats)
    for node, collector in collectors.items():
        own = [message for message in messages if message.subject == f"fastlog.{node}"]
        check_exactly_once(parts_of(own, node), collector.files.contents())
    assert {message.subject for message in messages} == {f"fastlog.{node}" for node in collectors}


def collector_of(directory, nats, rng, node):
    directory.mkdir(exist_ok=True)
    ship = {"SHIP_TO": f"{nats.url}/{STREAM}", "SHIP_NODE": node, "SHIP_BATCH_KB": "16"}
    return Collector(directory, rng, SERVER, ship)


def test_eight_collectors_ship_each_line_once_while_a_replica_is_away(tmp_path, closing, rng, cluster):
    nodes = [f"node-{number}" for number in range(COLLECTORS)]
    collectors = {node: closing(collector_of(tmp_path / node, cluster, rng, node)) for node in nodes}
    together(start, collectors.values())
    away = rng.choice(cluster.servers)
    for step in (away.kill, away.start, lambda: None):
        for collector in collectors.values():
            collector.send(LINES)
        step()
    together(Collector.settle, collectors.values())
    for collector in collectors.values():
        collector.wait_until_shipped()
    check_stream(cluster, collectors)


@pytest.fixture
def collector_and_clone(tmp_path, closing, rng, nats):
    """A collector, and one that is started on a copy of its log."""

    def make(node, node_of_clone):
        original = closing(collector_of(tmp_path / "original", nats, rng, node))
        original.start_server()
        original.send(LINES)
        original.settle()
        clone = closing(collector_of(tmp_path / "clone", nats, rng, node_of_clone))
        clone.logs.rmdir()
        shutil.copytree(original.logs, clone.logs)  # with the attributes
        together(start, [original, clone])
        return original, clone

    return make


@pytest.mark.parametrize("same_length", [False, True], ids=["other lines", "lines of the same length"])
def test_of_a_collector_and_its_clone_one_stops(nats, collector_and_clone, same_length):
    both = collector_and_clone("node", "node")
    if same_length:  # of all messages: their ids are the same then
        both[0].client._rng, both[1].client._rng = Random(1), Random(1)
        both[1].client.filler = "y"
    for each in both:
        each.send(LINES)
    until(lambda: any(each.shipper.process.poll() is not None for each in both), "one of the two ends")
    [stopped] = [each for each in both if each.shipper.process.poll() is not None]
    [other] = [each for each in both if each is not stopped]
    assert stopped.shipper.process.returncode == EXIT_RIVAL, stopped.shipper.messages
    assert re.search("another shipper|a copy of it is shipped elsewhere", stopped.shipper.messages)
    for each in both:
        each.settle()
    other.wait_until_shipped()
    check_stream(nats, {"node": other})


def test_a_clone_with_a_name_of_its_own_ships_as_well(nats, collector_and_clone):
    original, clone = collector_and_clone("node", "clone")
    for each in (original, clone):
        each.send(LINES)
        each.settle()
        each.wait_until_shipped()
    check_stream(nats, {"node": original, "clone": clone})
