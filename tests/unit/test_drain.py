"""A drain that waits: what it waits for, and what ends it. A real socket; the waits that must not end are hours long."""

import contextlib
import math
import os
import socket
import threading
from time import monotonic

import pytest

from fastlog.server._drain import DRAINED, TURN_OVER, Intake
from fastlog.server._socket import Admission
from fastlog.server.listener import Listener
from tests.helpers.disk import error, info

HOUR = 3600.0


@pytest.fixture
def wire():
    """A function that sends a datagram, and the descriptor that it can be drained from."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.setblocking(False)
    server.bind(("127.0.0.1", 0))
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.connect(server.getsockname())
    yield client.send, server.fileno()
    server.close()
    client.close()


@pytest.fixture
def watched():
    fd = os.eventfd(0, os.EFD_NONBLOCK)
    yield fd
    os.close(fd)


def intake_that_waits(watched: int, flush_count: int = 10**6) -> Intake:
    intake = Intake(65536, ["ERROR"], Admission([]), flush_count)
    intake.wait_for_more(1000, 1 << 23, [watched])
    return intake


@contextlib.contextmanager
def sent_meanwhile(send, entries: list[bytes], watched: int):
    """Another thread sends these entries, and then makes the watched descriptor readable."""

    def send_all():
        for entry in entries:
            send(entry)
        os.eventfd_write(watched, 1)

    sender = threading.Thread(target=send_all)
    sender.start()
    yield
    sender.join()


def test_without_a_time_to_wait_for_it_takes_what_is_there(wire, watched):
    send, fd = wire
    send(info(1))
    intake = intake_that_waits(watched)
    assert intake.drain(fd) == DRAINED
    assert intake.lines.entries == 1
    assert intake.drain(fd) == DRAINED
    assert intake.lines.entries == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may have such a receive buffer")
def test_it_ends_when_it_has_done_enough_for_a_turn_and_the_next_one_continues(watched, closing):
    listener = closing(Listener.bind("127.0.0.1", 0, 16 << 20))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        for _ in range(100):
            client.sendto(b"garbage" * 9_000, listener.socket.getsockname())
    intake = intake_that_waits(watched)
    assert intake.drain(listener.fileno()) == TURN_OVER
    assert 30 < intake.datagrams < 70
    while intake.drain(listener.fileno()) == TURN_OVER:
        pass
    assert intake.datagrams == 100


def test_it_ends_when_the_flow_pauses(wire, watched):
    send, fd = wire
    send(info(1))
    intake = intake_that_waits(watched)
    assert intake.drain(fd, monotonic() + HOUR) == DRAINED
    assert intake.lines.entries == 1


def test_it_takes_what_comes_meanwhile_and_ends_when_a_watched_descriptor_calls(wire, watched):
    send, fd = wire
    intake = intake_that_waits(watched)
    send(info(0))
    with sent_meanwhile(send, [info(n) for n in range(1, 200)], watched):
        intake.drain(fd, monotonic() + HOUR)
    intake.drain(fd)  # what came behind the call
    assert intake.lines.entries == 200
    assert bytes(intake.lines).splitlines() == [info(n) for n in range(200)]


def test_a_call_ends_even_a_wait_that_nothing_else_would_end(wire, watched):
    send, fd = wire
    os.eventfd_write(watched, 1)
    send(info(1))
    intake = intake_that_waits(watched)
    intake.drain(fd, monotonic() + HOUR)
    assert intake.lines.entries == 1


def test_a_priority_entry_ends_it_at_once_where_a_sync_may_begin(wire, watched):
    send, fd = wire
    for n in range(3):
        send(error(n))
    intake = intake_that_waits(watched)
    began = monotonic()
    assert intake.drain(fd, began + HOUR) == DRAINED
    assert intake.priority_waits
    assert began <= intake.priority_since <= monotonic()


def test_a_priority_entry_that_nobody_awaits_ends_it_soon_whatever_else_comes(wire, watched):
    send, fd = wire
    intake = intake_that_waits(watched)
    is_over = threading.Event()

    def send_without_end():
        while not is_over.wait(0.002):
            send(info(0))

    send(b'{"level":"ERROR","message":"m"}')
    sender = threading.Thread(target=send_without_end)
    sender.start()
    began = monotonic()
    assert intake.drain(fd, began + HOUR, math.inf) == DRAINED
    is_over.set()
    sender.join()
    assert intake.unawaited_waits
    assert not intake.priority_waits
    assert began <= intake.unawaited_since <= monotonic()
    assert intake.lines.size < 200_000  # and not because there was much to write
    intake.clear_priority()
    assert not intake.unawaited_waits


def test_a_priority_entry_does_not_end_it_while_no_sync_may_begin(wire, watched):
    send, fd = wire
    intake = intake_that_waits(watched, flush_count=1)
    send(error(0))
    drains = 0
    with sent_meanwhile(send, [error(n) for n in range(1, 200)], watched):
        while intake.lines.entries < 200:
            intake.drain(fd, monotonic() + HOUR, math.inf)
            drains += 1
            if drains == 1:
                first_since = intake.priority_since
    assert intake.priority_since == first_since  # of the first of them, however many came behind
    assert bytes(intake.lines).splitlines() == [error(n) for n in range(200)]
    # ended by the call, by enough to flush, or by a pause of the sender: never once for each entry
    assert drains < 50
