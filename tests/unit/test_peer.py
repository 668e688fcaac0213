"""The server as a client sees it, through refusals, tries and addresses, without a network."""

import errno
import os
import socket

import pytest

from fastlog.client.options import checked_options
from fastlog.client.peer import REFUSAL_SEC, REFUSED_FIRST_SEC, REFUSED_LONGEST_SEC, Event, Peer


class FakeLink:
    """A link whose network does what the test says."""

    def __init__(self, address, is_local: bool) -> None:
        self.address, self.is_local, self.socket = address, is_local, self
        self.sent: list[bytes] = []
        self.next_acks: tuple[list[int], int] = [], 0
        self.error: OSError | None = None

    def send(self, datagram: bytes) -> None:
        if self.error:
            raise self.error
        self.sent.append(datagram)

    def acks(self) -> tuple[list[int], int]:
        found, self.next_acks = self.next_acks, ([], 0)
        return found

    def pack_bytes(self) -> int:
        return 1000

    def close(self) -> None:
        pass


def connected(is_local: bool = True, **options) -> Peer:
    """A peer that has found its server at time 0."""
    peer = Peer(checked_options(**options), lambda address: FakeLink(address, is_local), lambda: None)
    assert peer.look_up(0.0, False) is Event.RECONNECTED
    return peer


def refuse(peer: Peer, now: float, refusals: int = 1) -> None:
    peer.link.next_acks = [], refusals
    assert peer.receive(now) == ([], None)


def test_a_peer_connects_once():
    peer = connected()
    assert peer.link.address == (socket.AF_INET, ("127.0.0.1", 5514))
    assert peer.pack_bytes == 1000
    assert peer.look_up(0.0, False) is None
    assert peer.look_up(1e6, False) is None  # the same address again


def test_a_refusal_on_this_machine_is_for_the_last_datagram_which_is_sent_first_when_the_server_is_back():
    peer = connected()
    assert peer.send(b"first", 0.0)
    assert not peer.is_settled
    refuse(peer, 0.0)
    assert (peer.is_down, peer.refused, peer.counts.lost) == (True, [b"first"], 0)
    assert not peer.may_try(REFUSED_FIRST_SEC - 0.01)
    assert peer.may_try(REFUSED_FIRST_SEC)
    assert peer.begin_try(REFUSED_FIRST_SEC) is None
    assert peer.send_refused(REFUSED_FIRST_SEC)
    assert peer.link.sent == [b"first", b"first"]
    assert peer.receive(REFUSED_FIRST_SEC) == ([], None)
    assert peer.settle(REFUSED_FIRST_SEC) is Event.CAME_UP
    assert not peer.is_down
    assert peer.is_settled


def test_a_refusal_from_elsewhere_may_be_for_any_datagram_and_takes_its_time():
    peer = connected(is_local=False)
    assert peer.send(b"first", 0.0)
    refuse(peer, 0.0)
    assert (peer.is_down, peer.refused, peer.counts.lost) == (True, [], 1)
    peer.begin_try(1.0)
    assert peer.send(b"second", 1.0)
    assert peer.settle(1.0 + REFUSAL_SEC - 0.01) is None
    assert peer.settle(1.0 + REFUSAL_SEC) is Event.CAME_UP


def test_a_refused_try_is_repeated_later_and_later():
    peer = connected()
    refuse(peer, 0.0)
    now, waits = 0.0, []
    for _ in range(8):
        wait = peer.next_at(False) - now
        now += wait
        waits.append(wait)
        assert peer.may_try(now)
        peer.begin_try(now)
        peer.send(b"try", now)
        refuse(peer, now)
        peer.refused.clear()
        assert peer.settle(now) is None
    assert waits == pytest.approx([min(REFUSED_FIRST_SEC * 2**n, REFUSED_LONGEST_SEC) for n in range(8)])


def test_an_ack_means_that_the_server_is_up():
    peer = connected(is_local=False)
    refuse(peer, 0.0)
    peer.link.next_acks = [7, 8], 0
    assert peer.receive(0.01) == ([7, 8], Event.CAME_UP)
    assert not peer.is_down


def test_a_retransmission_that_is_refused_is_not_sent_again_for_that():
    peer = connected()
    peer.retransmit([b"one", b"two"], 0.0)
    refuse(peer, 0.0)
    assert peer.refused == []


def test_another_address_is_tried_when_one_refuses(monkeypatch):
    addresses = [("192.0.2.1", 5514), ("192.0.2.2", 5514)]
    found = [(socket.AF_INET, socket.SOCK_DGRAM, 0, "", address) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    peer = connected(host="192.0.2.1", is_local=False)
    for expected in (addresses[1], addresses[0]):
        refuse(peer, 0.0)
        assert peer.begin_try(1.0) is Event.RECONNECTED
        assert peer.link.address == (socket.AF_INET, expected)


def test_datagrams_that_the_network_cannot_carry_are_lost_and_hold_up_nothing():
    peer = connected()
    peer.link.error = OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
    assert peer.send(b"x" * 2000, 0.0)
    assert peer.counts.lost == 1
    assert peer.problem == "the network refuses datagrams of 2000 bytes; set datagram_bytes"
    assert not peer.is_down


@pytest.mark.parametrize(
    ("error", "is_down", "is_blocked"),
    [
        (BlockingIOError(), False, True),
        (ConnectionRefusedError(), True, False),
        (OSError(errno.ENETUNREACH, ""), True, False),
    ],
)
def test_the_caller_keeps_a_datagram_that_is_not_sent(error, is_down, is_blocked):
    peer = connected()
    peer.link.error = error
    assert not peer.send(b"first", 0.0)
    assert (peer.is_down, peer.is_blocked, peer.counts.datagrams) == (is_down, is_blocked, 0)


def test_a_name_that_is_not_found_is_a_problem(monkeypatch):
    def fail(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    peer = Peer(checked_options(host="a..b"), lambda address: FakeLink(address, True), lambda: woken.append(True))
    woken: list[bool] = []
    assert peer.look_up(0.0, False) is None
    while not woken:  # the look-up has a thread of its own
        os.sched_yield()
    assert peer.look_up(0.0, False) is None
    assert peer.problem == "cannot find the server 'a..b': Name or service not known"
    assert peer.next_at(False) == 10.0
