"""RATE_LIMIT: a sender that floods gets what it may have, and others do not notice it."""

import os
import socket
import struct

import pytest

from fastlog.server._filter import attach, attached
from fastlog.server.socket_filter import SO_LOCK_FILTER, program
from tests.helpers.entries import INFO
from tests.helpers.flood import Flood
from tests.helpers.running import PATIENCE_SEC, eventually
from tests.helpers.two_hosts import TwoHosts, needs_two_hosts
from tests.server import test_service_manager

FLOODS = {
    "ordinary": '{"level":"INFO","message":"a flood of ordinary entries"}',
    "garbage": "a flood of garbage",
    "priority": '{"level":"ERROR","message":"a flood of errors","sequence":7}',
    "braces": "{" * 65_000,
}
HONEST = "127.0.0.3"
FLOODING = "127.0.0.2"
LET_ALL_THROUGH = struct.pack("=HBBI", 0x06, 0, 0, 0xFFFFFFFF)

take_over = test_service_manager.take_over  # the fixture


def sender(address: str, server) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, 0))
    sock.connect(("::1" if ":" in address else "127.0.0.1", server.port))
    sock.settimeout(PATIENCE_SEC)
    return sock


def is_acknowledged(sock: socket.socket, sequence: int) -> bool:
    sock.send(b'{"level":"ERROR","message":"honest","sequence":%d}' % sequence)
    return sock.recv(100) == b'{"ack":true,"sequence":%d}' % sequence


def throttled(stats: dict) -> dict[str, dict]:
    return {host["address"]: host for host in stats["throttled"]}


def arrived(stats: dict) -> int:
    """All datagrams that came to the socket, by the server's account."""
    return stats["datagrams"] + stats["losses"]["kernel_drops"] + stats["losses"]["filtered"]


def test_without_a_limit_all_is_taken(start):
    server = start()
    server.send([INFO] * 5_000)
    stats = eventually(server.stats, lambda stats: stats["total_received"] == 5_000)
    assert (stats["rejected"]["rate"], stats["throttled"], stats["losses"]["filtered"]) == (0, [], 0)


def test_what_is_over_the_limit_is_counted_by_address_and_said_once(start):
    server = start(RATE_LIMIT="1,100")
    server.send([INFO] * 300)
    stats = eventually(server.stats, lambda stats: stats["datagrams"] == 300)
    rejected = stats["rejected"]["rate"]
    assert stats["total_received"] + rejected == 300
    assert 100 < rejected <= 200  # a token came each second
    stats = eventually(server.stats, lambda stats: stats["throttled"])
    [host] = stats["throttled"]
    assert (host["address"], host["throttled"], host["rejected"], host["filtered"]) == ("127.0.0.1", True, rejected, 0)
    assert server.stop() == 0
    assert [message for message in server.messages if "RATE_LIMIT" in message] == [
        "fastlog: 127.0.0.1 sends more than RATE_LIMIT=1,100 allows; the rest is rejected (rate)"
    ]
    assert f"rejected {rejected} {{'rate': {rejected}}}" in server.account
    assert not (server.directory / "rejects.jsonl").read_bytes()


def test_the_end_of_a_throttle_is_said_with_its_counts(start):
    server = start(RATE_LIMIT="1000,10")
    server.send([b"\n".join([INFO] * 30)])
    message = server.wait_for_message("sends no more than")
    assert message == (
        "fastlog: 127.0.0.1 sends no more than RATE_LIMIT=1000,10 allows: in 0 s 20 were rejected (rate)"
    )
    assert throttled(server.stats())["127.0.0.1"]["throttled"] is False


def test_a_priority_entry_over_the_limit_is_not_acknowledged_and_one_within_it_is(start):
    server = start(RATE_LIMIT="1,10")
    server.send([INFO] * 100)
    with server.client() as client:
        for sequence in range(10):
            assert is_acknowledged(client, sequence)
        for sequence in range(10, 30):
            client.send(b'{"level":"ERROR","message":"m","sequence":%d}' % sequence)
        stats = eventually(server.stats, lambda stats: stats["datagrams"] == 130)
    assert stats["acks"]["sent"] + stats["acks"]["pending"] < 20


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_harms_no_other_address_and_is_kept_out_before_the_receive_buffer(start, closing, kind):
    server = start(host="0.0.0.0", RATE_LIMIT="500", RCVBUF_SIZE=str(1 << 20))
    honest = closing(sender(HONEST, server))
    flood = closing(Flood(FLOODING, "127.0.0.1", server.port, FLOODS[kind]))
    eventually(server.stats, lambda stats: stats["losses"]["filtered"])
    for sequence in range(100):
        assert is_acknowledged(honest, sequence)
    sent = flood.end()
    stats = eventually(server.stats, lambda stats: arrived(stats) == sent + 100)
    assert list(throttled(stats)) == [FLOODING]
    assert throttled(stats)[FLOODING]["filtered"] > 0
    assert stats["stored"] + stats["buffered"] + stats["rejected"]["rate"] <= stats["datagrams"]


def test_an_admitted_flood_is_kept_out_beside_strangers_who_are_only_denied(start, closing):
    server = start(host="0.0.0.0", RATE_LIMIT="500", ALLOW_FROM=f"{FLOODING}/31")
    honest, stranger = closing(sender(HONEST, server)), closing(sender("127.0.0.9", server))
    flood = closing(Flood(FLOODING, "127.0.0.1", server.port, FLOODS["ordinary"]))
    eventually(server.stats, lambda stats: stats["losses"]["filtered"])
    for sequence in range(1_000):
        stranger.send(INFO)
        if sequence % 10 == 0:
            assert is_acknowledged(honest, sequence)
    flood.end()
    stats = eventually(server.stats, lambda stats: stats["rejected"]["denied"] == 1_000)
    assert list(throttled(stats)) == [FLOODING]


def test_all_of_an_address_is_let_through_again_when_its_flood_has_ended(take_over, closing):
    sock = closing(test_service_manager.bound())
    server = take_over(sock, RATE_LIMIT="100")
    flood = closing(Flood("127.0.0.1", "127.0.0.1", server.port, FLOODS["ordinary"]))
    eventually(lambda: attached(sock.fileno()), bool)
    eventually(
        lambda: throttled(server.stats()), lambda found: "127.0.0.1" in found and found["127.0.0.1"]["throttled"]
    )
    flood.end()
    eventually(lambda: attached(sock.fileno()), lambda filtered: not filtered)
    with server.client() as client:
        assert is_acknowledged(client, 1)


@pytest.mark.parametrize(("host", "address"), [("::", FLOODING), ("::", "::1"), ("::1", "::1"), ("0.0.0.0", FLOODING)])
def test_the_filter_knows_addresses_on_every_kind_of_socket(start, closing, host, address):
    server = start(host=host, RATE_LIMIT="100")
    flood = closing(Flood(address, "::1" if ":" in address else "127.0.0.1", server.port, FLOODS["ordinary"]))
    eventually(server.stats, lambda stats: stats["losses"]["filtered"])
    if host == "::":
        other = closing(sender(HONEST, server))
        assert all(is_acknowledged(other, sequence) for sequence in range(100))
    assert list(throttled(server.stats())) == [address]
    flood.end()


@needs_two_hosts
def test_another_host_of_the_same_network_is_not_filtered(start, closing):
    hosts = closing(TwoHosts())
    server = start(host="::", command=[*hosts.inside, *test_service_manager.FASTLOG, "serve"], RATE_LIMIT="100")
    inside = tuple(hosts.inside_client)
    flood = closing(Flood("fd09::9", "fd09::1", server.port, FLOODS["ordinary"], inside=inside))
    message = server.wait_for_message("sends more than RATE_LIMIT")
    assert "fd09::9 sends" in message
    error = b'{"level":"ERROR","message":"honest","sequence":1}'
    assert hosts.ask(server.port, error, *["10.9.0.1"] * 20, *["fe80::1%cable0"] * 20)
    flood.end()


def test_a_filter_that_a_killed_server_has_left_is_taken_off(take_over, closing):
    sock = closing(test_service_manager.bound())
    attach(sock.fileno(), program({bytes(10) + b"\xff\xff\x7f\x00\x00\x01": 1e-9}))
    server = take_over(sock)
    assert attached(sock.fileno()) == b""
    with server.client() as client:
        assert is_acknowledged(client, 1)


def test_the_filter_is_taken_off_at_the_end(take_over, closing):
    sock = closing(test_service_manager.bound())
    server = take_over(sock, RATE_LIMIT="10")
    flood = closing(Flood("127.0.0.1", "127.0.0.1", server.port, FLOODS["ordinary"]))
    eventually(lambda: attached(sock.fileno()), bool)
    assert server.stop() == 0
    assert attached(sock.fileno()) == b""
    flood.end()


@pytest.mark.parametrize(("is_locked", "reason"), [(False, "has a filter of somebody else"), (True, "is locked")])
def test_a_filter_of_somebody_else_stays(take_over, closing, is_locked, reason):
    sock = closing(test_service_manager.bound())
    if is_locked:
        sock.setsockopt(socket.SOL_SOCKET, SO_LOCK_FILTER, 1)
    else:
        attach(sock.fileno(), LET_ALL_THROUGH)
    server = take_over(sock, RATE_LIMIT="10")
    assert any("no filter can be set" in message and reason in message for message in server.messages)
    flood = closing(Flood("127.0.0.1", "127.0.0.1", server.port, FLOODS["ordinary"]))
    eventually(server.stats, lambda stats: stats["rejected"]["rate"] > 100_000)
    assert attached(sock.fileno()) == (b"" if is_locked else LET_ALL_THROUGH)
    assert server.stats()["losses"]["filtered"] == 0
    flood.end()


def test_a_full_receive_buffer_counts_as_such_while_there_is_a_filter(start, closing):
    server = start(host="0.0.0.0", RATE_LIMIT="100", RCVBUF_SIZE="1")
    flood = closing(Flood(FLOODING, "127.0.0.1", server.port, FLOODS["ordinary"]))
    eventually(server.stats, lambda stats: stats["losses"]["filtered"])
    honest = closing(sender(HONEST, server))
    before = server.stats()
    with server.stopped():
        for _ in range(1_000):
            honest.send(INFO)
    dropped = before["losses"]["kernel_drops"]
    after = eventually(server.stats, lambda stats: stats["losses"]["kernel_drops"] > dropped + 900)
    flood.end()
    assert after["health"]["status"] == "degraded"


def test_a_user_of_a_unix_socket_has_one_limit_for_all_its_programs(start, closing, tmp_path):
    path = str(tmp_path / "socket")
    server = start(UNIX_SOCKET=path, RATE_LIMIT="1,10")
    for _ in range(5):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.connect(path)
            for _ in range(10):
                client.send(INFO)
    stats = eventually(server.stats, lambda stats: stats["datagrams"] == 50)
    assert stats["rejected"]["rate"] > 25
    stats = eventually(server.stats, lambda stats: stats["throttled"])
    assert list(throttled(stats)) == [f"unix:uid={os.getuid()}"]
