"""`kill -9` of shipper, server and NATS at random moments, under load: the stream is the files, byte for byte.

One acknowledgement of NATS in twenty gets lost on the way, and the others are late, so that a kill mostly comes while a
message is under way. FASTLOG_SHIP_ROUNDS=200 kills 200 times.
"""

import itertools
import os
import sys
from math import ceil
from time import sleep

import pytest

from tests.helpers.collector import NODE, Collector
from tests.helpers.nats import STREAM, NatsServer, needs_nats
from tests.helpers.running import PATIENCE_SEC
from tests.helpers.ship_oracle import check_exactly_once, parts_of
from tests.helpers.tcp_proxy import TcpProxy, is_ack

ROUNDS = int(os.environ.get("FASTLOG_SHIP_ROUNDS", "10"))
CASES = 3
LOST = 20  # one ACK of so many
LATEST_SEC = 0.02  # by which an ACK is late
# The shipper as it is, but for the time that it waits for a lost ACK; and the server, but for the time until it sees that
# there is something to compress.
HASTY_PROGRAM = """
import sys
from fastlog.cli import main
from {0} import {1}
{1}.{2} = {3}
sys.exit(main())
"""
HASTY_SHIPPER = [sys.executable, "-c", HASTY_PROGRAM.format("fastlog.ship", "nats_link", "ANSWER_SEC", 0.25)]
HASTY_SERVER = [sys.executable, "-c", HASTY_PROGRAM.format("fastlog.server", "compression", "LOOK_SEC", 0.01), "serve"]
VICTIMS = (
    ("shipper",),
    ("server",),
    ("server", "shipper"),
    ("nats",),
    ("nats", "shipper"),
    ("nats", "server", "shipper"),
)
SERVER = {"FLUSH_COUNT": "50", "FLUSH_TIMEOUT_SEC": "3600", "MAX_LOG_SIZE_MB": "0.05"}


@needs_nats
@pytest.mark.parametrize(
    ("settings", "window_sec"),
    [
        ({"LOG_BACKUPS": "9999"}, 0.1),
        ({"LOG_BACKUPS": "1"}, 120),
        ({"LOG_BACKUPS": "9999", "LOG_COMPRESS": "zstd"}, 120),
    ],
    ids=["archives stay, short window", "archives are held", "archives are compressed"],
)
def test_killed_at_random_moments_every_line_is_in_the_stream_once(tmp_path, closing, rng, settings, window_sec):
    nats = closing(NatsServer(tmp_path / "nats"))
    nats.make_stream(duplicate_window=int(window_sec * 1e9))

    acks = itertools.count(rng.randrange(LOST))

    def loses(message: bytes, number: int) -> bool:
        if not is_ack(message):
            return False
        sleep(rng.uniform(0, LATEST_SEC))
        return next(acks) % LOST == 0

    proxy = closing(TcpProxy(nats.port, loses))
    ship = {"SHIP_TO": f"nats://127.0.0.1:{proxy.port}/{STREAM}", "SHIP_BATCH_KB": "16"}
    commands = {"ship_command": HASTY_SHIPPER, "server_command": HASTY_SERVER}
    collector = closing(Collector(tmp_path, rng, {**SERVER, **settings}, ship, **commands))
    collector.start_server()
    collector.start_shipper()
    collector.wait_for_note()
    compresses = "LOG_COMPRESS" in settings
    victims: list[tuple[str, ...]] = []
    for _ in range(ceil(ROUNDS / CASES)):
        victims = victims or rng.sample(VICTIMS, len(VICTIMS))
        chosen = victims.pop()
        collector.send(rng.randrange(100, 800))
        if "shipper" in chosen:
            collector.kill_shipper()
        if compresses:
            collector.wait_for_compression(1 + rng.randrange(3))
        if "nats" in chosen:
            nats.kill()
        if "server" in chosen:
            collector.kill_server()
            collector.start_server()
        collector.send(rng.randrange(100, 400))
        if "nats" in chosen:
            nats.start()
        if "shipper" in chosen:
            collector.start_shipper()
    collector.send(rng.randrange(100, 400))
    collector.settle()
    collector.ship_the_rest(PATIENCE_SEC + ROUNDS)  # late ACKs add up

    files = collector.files.contents()
    assert len(files) > 3, "it has not rotated"
    assert bool(collector.files.compressed()) == compresses
    assert collector.client.errors <= set(b"".join(files.values()).splitlines())
    check_exactly_once(parts_of(nats.messages(), NODE), files)
