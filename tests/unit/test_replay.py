"""The replay of a spill file when the server, the disk and the socket fail at the same time."""

import errno
import os
from collections import Counter
from types import SimpleNamespace

import pytest

from fastlog.client.replay import Replay, SpillCounts
from fastlog.client.retransmit import Unacknowledged
from fastlog.client.spill_file import SpillFile

NEVER = 2  # the sequence of the entry that the server never acknowledges
STEP_SEC = 0.05
MOST = 5_000  # steps until something happens


class Server:
    """It acknowledges what it gets, but for one entry. Also the socket to it, and the disk for what is set aside."""

    def __init__(self) -> None:
        self.is_up = True
        self.answers_after_sec = 0.0
        self.acks_found: list[tuple[float, int]] = []  # when they come
        self.errors: list[OSError] = []
        self.aside: list[bytes] | None = None  # no disk
        self.now = 100.0
        self.socket = SimpleNamespace(send=self.send)
        self.got: Counter[int] = Counter()

    def send(self, datagram: bytes) -> None:
        for line in datagram.splitlines() if self.is_up else ():
            sequence = int(line[12 : line.index(b",")])
            self.got[sequence] += 1
            if sequence != NEVER:
                self.acks_found.append((self.now + self.answers_after_sec, sequence))

    def room_at(self, size: int, now: float) -> float:
        return now

    def acks(self) -> tuple[list[int], list[OSError]]:
        found = [sequence for at, sequence in self.acks_found if at <= self.now]
        self.acks_found = [(at, sequence) for at, sequence in self.acks_found if at > self.now]
        errors, self.errors = self.errors, []
        return found, errors

    def close(self) -> None:
        pass

    def set_aside(self, lines: list[bytes]) -> bool:
        if self.aside is None:
            return False
        self.aside += lines
        return True


def line(sequence: int) -> bytes:
    return b'{"sequence":%d,"level":"ERROR"}' % sequence


@pytest.fixture
def file(tmp_path):
    made = SpillFile.create(str(tmp_path / "spill"))
    made.append([line(1), line(NEVER)])
    yield made
    made.close()


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def replay(file, server):
    return Replay(file, lambda: server, pack=True, counts=SpillCounts(), set_aside=server.set_aside)


def until(replay, server, holds) -> None:
    """Turns until it holds."""
    for _ in range(MOST):
        server.now += STEP_SEC
        replay.turn(server.now, True, Unacknowledged())
        if holds():
            return
    raise AssertionError("never came to hold")


def test_nothing_is_asked_when_all_that_is_left_waits_for_the_disk(replay, server):
    until(replay, server, lambda: replay._undeliverable)
    server.is_up = False
    server.acks_found.clear()  # the last ACK is lost
    until(replay, server, lambda: not replay._unacknowledged.pending)
    assert replay.waits_since == float("inf")  # so that nobody says that the server does not answer
    server.aside = []
    until(replay, server, lambda: server.aside == [line(NEVER)])
    assert replay.turn(server.now, True, Unacknowledged())


def test_a_replay_continues_after_the_only_entry_under_way_was_set_aside_in_silence(replay, server, file):
    server.aside = []
    until(replay, server, lambda: NEVER in server.got)
    until(replay, server, lambda: 1 not in replay._unacknowledged.pending)
    [suspect] = replay._unacknowledged.pending.values()
    suspect.passed = 1000
    replay._unacknowledged.has_heard(server.now + 1, server.now)
    server.errors = [ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))]
    replay._ask_witness = lambda now: None  # the receive buffer of the server has no room
    until(replay, server, lambda: server.aside)
    file.append([line(3)])
    until(replay, server, lambda: 3 in server.got)


@pytest.mark.parametrize("round_trip_sec", [0.0, 0.3, 0.6, 2.0])
def test_an_entry_that_is_never_acknowledged_is_sent_a_few_times_however_long_the_way_is(
    replay, server, round_trip_sec
):
    server.answers_after_sec = round_trip_sec
    server.aside = []
    until(replay, server, lambda: server.aside == [line(NEVER)])
    assert max(server.got.values()) < 20
