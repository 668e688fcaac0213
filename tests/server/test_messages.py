"""Packed datagrams and messages in chunks sent to a real server: their figures, their end, and attacks."""

import gzip
import socket
import zlib
from time import monotonic

from fastlog.inputs.chunks import OF_ONE_SENDER_MAX, WAIT_MS
from tests.helpers.bombs import bomb, many_blocks
from tests.helpers.chunks import chunk, cut
from tests.helpers.disk import error, info
from tests.helpers.running import PATIENCE_SEC, eventually

CARD = b'{"version":"1.1","host":"web1","short_message":"card refused","level":3,"_order":1093}'
GOOD = 20_000


def sender(server, address: str) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((address, 0))
    made.connect(("127.0.0.1", server.port))
    return made


def test_gelf_however_it_is_packed_and_cut(start):
    server = start()
    whole = [zlib.compress(CARD), gzip.compress(CARD), *cut(CARD, 1)]
    server.send([*whole, *cut(CARD, 3), *reversed(cut(zlib.compress(CARD), 9))])
    stats = eventually(server.stats, lambda stats: stats["total_received"] == 5)
    assert stats["inputs"]["gelf"] == 5
    assert stats["datagrams"] == 15
    assert stats["chunks"] == {"received": 13, "repeated": 0, "completed": 3, "waiting": 0, "waiting_bytes": 0}
    for entry in server.entries():
        assert (entry["level"], entry["message"], entry["host"], entry["order"]) == (
            "ERROR",
            "card refused",
            "web1",
            1093,
        )


def test_a_packed_priority_entry_is_acknowledged(start):
    server = start()
    with server.client() as client:
        client.send(gzip.compress(error(7)))
        assert client.recv(100) == b'{"ack":true,"sequence":7}'


def test_a_message_that_waits_is_seen_and_is_incomplete_after_5_s(start):
    server = start()
    began = monotonic()
    server.send(cut(b"0123456789" + info(1), 3)[:2])
    stats = eventually(server.stats, lambda stats: stats["chunks"]["waiting"] == 1)
    assert stats["chunks"]["waiting_bytes"] > 10
    assert stats["rejected"]["incomplete"] == 0
    stats = eventually(server.stats, lambda stats: stats["rejected"]["incomplete"])
    assert WAIT_MS / 1000 - 0.1 < monotonic() - began < PATIENCE_SEC
    assert (stats["chunks"]["waiting"], stats["chunks"]["waiting_bytes"]) == (0, 0)
    assert server.stop() == 0
    (note,) = server.rejects()
    assert note["reason"] == "incomplete"
    assert note["text"].startswith("0123456789")


def test_messages_that_wait_at_the_end_are_incomplete(start):
    server = start()
    server.send([chunk(1, 0, 2), chunk(2, 1, 3), info(1)])
    assert server.stop() == 0
    assert "received 1 entries in 3 datagrams, stored 1" in server.account
    assert "rejected 2 {'incomplete': 2}" in server.account
    assert [note["reason"] for note in server.rejects()] == ["incomplete"] * 2


def test_bombs_cost_no_entry(start):
    server = start()
    bombs = [bomb(), many_blocks(4_500), *cut(bomb(), 3)]
    datagrams = []
    for n in range(GOOD):
        datagrams.append(info(n))
        if n % 200 == 0:
            datagrams += bombs if n == 0 else bombs[:2]
    server.send(datagrams)
    stats = eventually(server.stats, lambda stats: stats["total_received"] == GOOD)
    assert stats["rejected"]["gelf"] == 2 * GOOD // 200 + 1
    assert stats["losses"]["kernel_drops"] == 0
    assert server.stop() == 0
    assert server.whole_log().splitlines() == [info(n) for n in range(GOOD)]


def test_a_flood_of_chunks_from_many_addresses_spoils_no_message(start):
    """It may take all places, and takes them from those who have most of them."""
    server = start()
    flooders = [sender(server, f"127.0.0.{n}") for n in range(2, 18)]
    with sender(server, "127.0.0.1") as honest:
        flood = [(flooders[n % 16], chunk(n, 0, 2, b"x" * (n % 900))) for n in range(8_000)]
        messages = [cut(info(n), 2) for n in range(40)]
        for n, (first, second) in enumerate(messages):
            flood.insert(n * 200, (honest, first))
            flood.insert(n * 200 + 60, (honest, second))
        server.send_from(flood)
    for flooder in flooders:
        flooder.close()
    stats = eventually(server.stats, lambda stats: stats["datagrams"] == len(flood))
    assert stats["chunks"]["completed"] == 40
    assert stats["chunks"]["waiting"] <= 16 * OF_ONE_SENDER_MAX
    assert server.stop() == 0
    assert server.log().splitlines() == [info(n) for n in range(40)]
    assert "'incomplete': 8000" in server.account


def test_a_forger_on_another_host_cannot_spoil_a_message(start):
    server = start()
    with sender(server, "127.0.0.1") as honest, sender(server, "127.0.0.9") as forger:
        datagrams = []
        for n in range(30):
            first, second = cut(info(n), 2)
            forged = first[:10] + bytes([1, 2]) + b"forged", first[:10] + bytes([0, 99])
            datagrams += [(forger, forged[0]), (honest, first), (forger, forged[1]), (honest, second)]
        server.send_from(datagrams)
    eventually(server.stats, lambda stats: stats["total_received"] == 30)
    assert server.stop() == 0
    assert server.log().splitlines() == [info(n) for n in range(30)]
