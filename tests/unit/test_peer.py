"""The server as a client sees it, through refusals, tries and addresses, without a network."""

import errno
import itertools
import math
import os
import socket
import sys

import pytest

from fastlog.client import lookup, reach
from fastlog.client.lookup import FAILED_FIRST_SEC
from fastlog.client.options import checked_options
from fastlog.client.peer import Event, Peer
from fastlog.client.reach import REFUSAL_SEC, TRY_FIRST_SEC, TRY_LONGEST_SEC
from fastlog.client.route import PATH_SEC, QUIET_LONGEST_SEC, QUIET_SEC


class FakeLink:
    """A link whose network does what the test says."""

    is_unix = False

    def __init__(self, address, is_local: bool) -> None:
        self.address, self.is_local, self.socket = address, is_local, self
        self.sent: list[bytes] = []
        self.next_acks: tuple[list[int], list[OSError]] = [], []
        self.error: OSError | None = None
        self.errors_once: list[OSError] = []
        self.size = 1000
        self.is_elsewhere = self.is_closed = False

    def send(self, datagram: bytes) -> None:
        if self.errors_once:
            raise self.errors_once.pop()
        if self.error:
            raise self.error
        self.sent.append(datagram)

    def acks(self) -> tuple[list[int], list[OSError]]:
        found, self.next_acks = self.next_acks, ([], [])
        return found

    def pack_bytes(self) -> int:
        return self.size

    def has_moved(self) -> bool:
        return self.is_elsewhere

    def close(self) -> None:
        self.is_closed = True


def connected(is_local: bool = True, **options) -> Peer:
    """A peer that has found its server at time 0."""
    peer = Peer(checked_options(**options), lambda address: FakeLink(address, is_local), lambda: None)
    assert peer.look_up(0.0, False) is Event.RECONNECTED
    return peer


def refuse(peer: Peer, now: float, number: int = errno.ECONNREFUSED) -> None:
    peer.link.next_acks = [], [OSError(number, os.strerror(number))]
    assert peer.receive(now) == []


def several(monkeypatch, *addresses: str) -> list[tuple[str, int]]:
    """The name `several` has these addresses, and they are found at once."""
    found = [(address, 5514) for address in addresses]
    monkeypatch.setattr(lookup, "is_numeric", lambda _: True)
    monkeypatch.setattr(lookup, "resolve", lambda *_: [(socket.AF_INET, address) for address in found])
    return found


def test_a_peer_connects_once():
    peer = connected()
    assert peer.link.address == (socket.AF_INET, ("127.0.0.1", 5514))
    assert peer.pack_bytes == 1000
    assert peer.look_up(0.0, False) is None
    assert peer.look_up(1e6, False) is None  # the same address again


# Refusals


def test_a_refusal_on_this_machine_is_for_the_last_datagram_which_is_sent_first_when_the_server_is_back():
    peer = connected()
    assert peer.send(b"first", 1, 0.0)
    assert not peer.is_settled
    refuse(peer, 0.0)
    assert (peer.is_down, [kept.data for kept in peer.refused], peer.flight.lost) == (True, [b"first"], 0)
    assert peer.problem(0.0) == "nothing listens on 127.0.0.1 port 5514/udp (refused)"
    assert peer.reach.try_at == TRY_FIRST_SEC
    assert peer.begin_try(TRY_FIRST_SEC) is None
    assert peer.send(b"first", 1, TRY_FIRST_SEC)
    assert peer.receive(TRY_FIRST_SEC) == []
    assert peer.settle(TRY_FIRST_SEC) is Event.CAME_UP
    peer.refused.clear()
    assert (peer.is_down, peer.is_settled, peer.problem(1.0)) == (False, True, "")
    assert peer.send(b"second", 1, 1.0)
    assert peer.receive(1.0) == []
    assert not peer.only_refusals


def test_an_ack_of_what_was_sent_before_does_not_mend_a_socket_that_sends_nothing_any_more():
    peer = connected(is_local=False)
    peer.link.error = OSError(errno.ENETUNREACH, "the network is unreachable")
    assert not peer.send(b"x", 1, 0.0)
    assert peer.heard(0.0, 0.01) is None
    assert peer.is_down
    assert peer.begin_try(peer.next_at(False)) is Event.RECONNECTED
    assert peer.send(b"x", 1, 1.0)


def test_without_a_socket_nothing_is_to_be_done_before_the_next_try():
    peer = connected(is_local=False)
    refuse(peer, 0.0)
    now = QUIET_SEC
    assert peer.begin_try(now) is None
    refuse(peer, now)
    peer.reopen()  # as after an error, or when the program has closed all descriptors
    now += REFUSAL_SEC
    assert now < peer.reach.try_at
    assert peer.look_up(now, False) is None
    assert peer.next_at(False) > now


def test_only_the_ack_of_an_entry_means_that_the_server_is_up():
    peer = connected(is_local=False)
    refuse(peer, 0.0)
    peer.link.next_acks = [7, 8], []
    assert peer.receive(0.01) == [7, 8]
    assert peer.is_down
    assert peer.heard(0.0, 0.01) is Event.CAME_UP
    assert not peer.is_down
    assert not peer.only_refusals


@pytest.mark.parametrize("is_local", [True, False])
def test_nothing_listens_only_while_no_try_is_under_way(is_local):
    """The server may be back: whoever closes the client just then waits for its ACK."""
    peer = connected(is_local)
    for _ in range(2):
        refuse(peer, 0.0)
    assert peer.only_refusals
    peer.begin_try(peer.reach.try_at)
    assert peer.send(b"first", 1, TRY_FIRST_SEC)
    assert not peer.only_refusals
    refuse(peer, TRY_FIRST_SEC)
    assert peer.only_refusals


def test_nothing_seems_to_listen_at_no_moment_of_the_judgement_of_a_try():
    """Another thread closes the client at any of these moments. The entry has arrived, and its ACK is under way."""
    peer = connected(is_local=True)
    for _ in range(2):
        refuse(peer, 0.0)
    peer.begin_try(peer.reach.try_at)
    assert peer.send(b"first", 1, TRY_FIRST_SEC)
    seen = []

    def look(frame, event, _):
        if frame.f_code.co_filename == reach.__file__ and frame.f_code.co_name != "is_trying":
            seen.append(peer.only_refusals)
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        assert peer.settle(TRY_FIRST_SEC) is Event.CAME_UP
    finally:
        sys.settrace(before)
    assert len(seen) > 5
    assert not any(seen)


def test_a_retransmission_that_is_refused_is_not_sent_again_for_that():
    peer = connected()
    peer.retransmit([b"one", b"two"], 0.0)
    refuse(peer, 0.0)
    assert peer.refused == []
    assert peer.flight.lost == 0


def test_what_is_sent_to_another_machine_at_first_is_kept_until_a_refusal():
    peer = connected(is_local=False)
    for number in range(3):
        assert peer.send(b"%d" % number, 2, number * 0.01)
    assert peer.is_settled  # nobody waits for it
    assert peer.settle(0.03) is None
    refuse(peer, 0.03)
    assert [kept.data for kept in peer.refused] == [b"0", b"1", b"2"]
    assert (peer.flight.lost, peer.flight.lost_entries) == (0, 0)


def test_a_later_refusal_from_another_machine_is_for_the_latest_datagrams_at_most():
    peer = connected(is_local=False)
    for number in range(20):
        assert peer.send(b"x", 2, 10.0 + number)
        peer.settle(10.0 + number)
    refuse(peer, 29.5)
    assert peer.refused == []
    assert (peer.flight.lost, peer.flight.lost_entries) == (10, 20)
    refuse(peer, 29.6)
    assert peer.flight.lost == 10


def test_what_an_ack_covers_is_not_lost():
    peer = connected(is_local=False)
    for number in range(20):
        assert peer.send(b"x", 1, 10.0 + number / 10)
    peer.heard(11.0, 11.5)
    refuse(peer, 12.0)
    assert 9 <= peer.flight.lost <= 9 + 5  # what was sent since, and in the half second before


def test_while_an_entry_waits_in_vain_ordinary_ones_are_kept():
    peer = connected(is_local=False)
    peer.reach.waits(100.0, True)
    for number in range(20):
        assert peer.send(b"%d" % number, 1, 100.0 + number)
        peer.settle(100.0 + number)
    refuse(peer, 119.5)
    assert [int(kept.data) for kept in peer.refused] == list(range(9, 20))  # those of the last ten seconds


def test_what_is_left_at_the_end_counts_as_lost():
    peer = connected(is_local=False)
    assert peer.send(b"one", 3, 0.0)
    refuse(peer, 0.1)
    peer.give_up()
    assert (peer.flight.lost, peer.flight.lost_entries, peer.is_settled) == (1, 3, True)


# Errors of the socket


@pytest.mark.parametrize("number", [errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EINVAL,
                                    errno.EPERM, errno.ENETDOWN, errno.ENOBUFS])  # fmt: skip
def test_a_socket_that_cannot_send_is_replaced_and_the_caller_keeps_the_datagram(number):
    peer = connected(is_local=False)
    broken = peer.link
    broken.error = OSError(number, os.strerror(number))
    assert not peer.send(b"first", 1, 0.0)
    assert peer.problem(0.0) == f"cannot send to 127.0.0.1 port 5514/udp: {os.strerror(number)}"
    assert (peer.is_down, peer.counts.datagrams, peer.flight.lost) == (True, 0, 0)
    assert not peer.send(b"first", 1, 0.0)
    assert peer.begin_try(peer.reach.try_at) is Event.RECONNECTED
    assert peer.link is not broken
    assert peer.send(b"first", 1, 0.05)
    assert peer.settle(0.05) is None
    assert peer.settle(0.05 + REFUSAL_SEC) is Event.CAME_UP
    assert peer.problem(1.0) == ""
    assert not peer.only_refusals


def test_new_sockets_are_made_once_a_second_while_none_of_them_sends():
    peer = connected(is_local=False)
    now, made = 0.0, 0
    peer.link.error = OSError(errno.ENETUNREACH, "")
    peer.send(b"first", 1, now)
    while now < 100:
        now = peer.reach.try_at
        made += peer.begin_try(now) is Event.RECONNECTED
        peer.link.error = OSError(errno.ENETUNREACH, "")
        peer.send(b"first", 1, now)
        assert peer.reach.try_at <= now + TRY_LONGEST_SEC
    assert made < 110


@pytest.mark.parametrize("number", [errno.EBADF, errno.ENOTSOCK])
def test_a_socket_that_is_gone_is_replaced(number):
    peer = connected()
    foreign = peer.link
    foreign.error = OSError(number, os.strerror(number))
    assert not peer.send(b"first", 1, 0.0)
    assert foreign.is_closed
    assert peer.link is None
    assert peer.begin_try(peer.reach.try_at) is Event.RECONNECTED


def test_a_socket_that_is_blocked_is_no_worse():
    peer = connected()
    peer.link.error = BlockingIOError()
    assert not peer.send(b"first", 1, 0.0)
    assert (peer.is_down, peer.is_blocked) == (False, True)


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, "Too many open files"), RuntimeError("a guard")])
def test_a_socket_that_cannot_be_made_is_tried_again_soon(error):
    def connect(address):
        if errors:
            raise errors.pop()
        return FakeLink(address, True)

    errors = [error] * 3
    peer = Peer(checked_options(), connect, lambda: None)
    assert peer.look_up(0.0, False) is None
    assert peer.problem(0.0) in (
        "cannot reach 127.0.0.1 port 5514/udp: Too many open files", "cannot reach 127.0.0.1 port 5514/udp: a guard"
    )  # fmt: skip
    now = 0.0
    for expected in (None, None, Event.RECONNECTED):
        assert peer.look_up(now, False) is None
        now = peer.next_at(False)
        assert peer.begin_try(now) is expected
    assert now < 1
    assert peer.settle(now) is Event.CAME_UP
    assert peer.problem(now) == ""


# Datagrams that are too large


def test_datagrams_that_the_network_cannot_carry_are_lost_and_hold_up_nothing():
    peer = connected()
    peer.link.error = OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
    assert peer.send(b"x" * 2000, 3, 0.0)
    assert (peer.flight.lost, peer.flight.lost_entries, peer.counts.datagrams) == (1, 3, 0)
    assert peer.problem(0.0) == "the network refuses datagrams of 2000 bytes; set datagram_bytes"
    assert not peer.is_down


@pytest.mark.parametrize("when", ["receiving", "sending"])
def test_a_routers_answer_that_a_datagram_was_too_large_is_no_refusal_and_costs_that_datagram_alone(when):
    peer = connected(is_local=False)
    assert peer.send(b"x" * 2000, 4, 10.0)
    peer.link.size = 500
    if when == "receiving":
        refuse(peer, 10.1, errno.EMSGSIZE)
    else:
        peer.link.errors_once = [OSError(errno.EMSGSIZE, "")]
    assert peer.send(b"small", 1, 10.2)
    assert peer.link.sent[-1] == b"small"
    assert (peer.counts.refused, peer.flight.lost, peer.flight.lost_entries) == (0, 1, 4)
    assert (peer.is_down, peer.pack_bytes) == (False, 500)
    text = "the way to 127.0.0.1 port 5514/udp does not carry larger datagrams than 500 bytes"
    assert peer.problem(10.2) == text
    peer.heard(10.2, 10.3)
    assert peer.problem(10.4) == ""


def test_the_size_of_datagrams_follows_the_path():
    peer = connected(is_local=False)
    peer.link.size = 500
    assert peer.look_up(1.0, False) is None
    assert peer.pack_bytes == 1000
    assert peer.look_up(PATH_SEC, False) is None
    assert peer.pack_bytes == 500


# Moves to other sockets and addresses


def test_another_address_is_tried_when_one_refuses(monkeypatch):
    addresses = several(monkeypatch, "192.0.2.1", "192.0.2.2")
    peer = connected(host="several", is_local=False)
    for expected in (addresses[1], addresses[0]):
        refuse(peer, 0.0)
        assert peer.begin_try(1.0) is Event.RECONNECTED
        assert peer.link.address == (socket.AF_INET, expected)


def test_silence_moves_on_to_each_of_twenty_addresses_and_stays_where_answers_come_from(monkeypatch):
    addresses = several(monkeypatch, *(f"192.0.2.{n}" for n in range(20)))
    peer = connected(host="several", is_local=False)
    peer.reach.waits(0.0, True)
    now = 0.0
    for address in addresses[1:]:
        assert peer.look_up(now + QUIET_SEC - 0.01, True) is None
        now += QUIET_SEC
        assert peer.next_at(True) <= now
        assert peer.look_up(now, True) is Event.RECONNECTED
        assert peer.link.address[1] == address
    assert peer.problem(now) == "several port 5514/udp does not answer"
    peer.heard(now, now)
    assert peer.problem(now) == ""
    peer.reach.waits(math.inf, False)
    assert peer.look_up(now + 1e4, False) is None
    assert peer.link.address[1] == addresses[-1]


def test_a_silent_address_gets_new_sockets_less_and_less_often():
    peer = connected(is_local=False)
    peer.reach.waits(0.0, True)
    moves = []
    while not moves or moves[-1] < 3000:
        now = peer._route._move_at(0.0)
        assert peer.look_up(now, True) is Event.RECONNECTED
        moves.append(now)
    waits = [after - before for before, after in itertools.pairwise([0.0, *moves])]
    assert waits[:4] == [QUIET_SEC, QUIET_SEC * 2, QUIET_SEC * 4, QUIET_SEC * 8]
    assert max(waits) == QUIET_LONGEST_SEC


def test_a_server_that_stays_down_gets_a_new_socket_too():
    """A translator of addresses on the way may lead the old port to nowhere."""
    peer = connected(is_local=False)
    refuse(peer, 1.0)
    assert peer.look_up(1.0 + QUIET_SEC, False) is Event.RECONNECTED
    assert peer.is_down


def test_an_address_to_which_there_is_no_way_is_skipped(monkeypatch):
    def connect(address):
        if address[1] == addresses[0]:
            raise OSError(errno.ENETUNREACH, "Network is unreachable")
        return FakeLink(address, False)

    addresses = several(monkeypatch, "192.0.2.1", "192.0.2.2")
    peer = Peer(checked_options(host="several"), connect, lambda: None)
    assert peer.look_up(0.0, False) is Event.RECONNECTED
    assert peer.link.address[1] == addresses[1]
    assert peer.problem(0.0) == ""


def test_another_address_of_this_machine_is_followed():
    peer = connected(is_local=False)
    before = peer.link
    before.is_elsewhere = True
    assert peer.look_up(PATH_SEC - 0.1, False) is None
    assert peer.look_up(PATH_SEC, False) is Event.RECONNECTED
    assert before.is_closed
    assert not peer.link.is_closed


def test_a_new_look_up_moves_on_from_an_address_that_is_gone(monkeypatch):
    several(monkeypatch, "192.0.2.1", "192.0.2.2")
    peer = connected(host="several", is_local=False)
    refuse(peer, 1.0)
    [address] = several(monkeypatch, "192.0.2.3")
    assert peer.look_up(20.0, False) is Event.RECONNECTED
    assert peer.link.address[1] == address
    assert peer.look_up(20.1, False) is None


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
    assert peer.problem(0.0) == "cannot find the server 'a..b': Name or service not known"
    assert peer.next_at(False) == FAILED_FIRST_SEC
