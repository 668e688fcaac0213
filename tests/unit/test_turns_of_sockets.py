"""Several sockets in one intake: each has its turn, and a broken one does not stop the others."""

import os
import select
import socket
import threading
from time import monotonic

import pytest

from fastlog.server._drain import ALL_SOCKETS, DRAINED, TURN_OVER, Intake
from fastlog.server._socket import Acks, Admission
from tests.helpers._hooks import owe
from tests.helpers.disk import info

ROOMY_BYTES = 16 << 20
ROUNDS = 30


class Wire:
    """A receiving socket, and one that is connected to it."""

    def __init__(self) -> None:
        self.server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.server.setsockopt(socket.SOL_SOCKET, 33, ROOMY_BYTES)  # SO_RCVBUFFORCE
        self.server.setblocking(False)
        self.server.bind(("127.0.0.1", 0))
        self.client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.client.settimeout(5)
        self.client.connect(self.server.getsockname())
        self.send = self.client.send
        self.fd = self.server.fileno()

    def close(self) -> None:
        self.server.close()
        self.client.close()


def readable(wire: Wire) -> bool:
    return bool(select.select([wire.fd], [], [], 0)[0])


@pytest.fixture
def wires(closing):
    return [closing(Wire()) for _ in range(3)]


@pytest.fixture
def intake(wires):
    intake = Intake(65536, ["ERROR"], Admission([]), 10**6)
    intake.listen([wire.fd for wire in wires])
    return intake


def test_all_sockets_are_drained(wires, intake):
    for number, wire in enumerate(wires):
        for _ in range(number * 100):
            wire.send(info(number))
    assert intake.drain(ALL_SOCKETS) == DRAINED
    assert intake.datagrams_by_socket == [0, 100, 200]
    assert intake.drain(ALL_SOCKETS) == DRAINED
    wires[0].send(info(0))
    assert intake.drain(ALL_SOCKETS) == DRAINED
    assert intake.datagrams_by_socket == [1, 100, 200]


def test_a_full_socket_leaves_the_others_their_turns(wires, intake):
    for _ in range(300):
        wires[1].send(b'{"level":"INFO","message":"%s"}' % (b"x" * 20_000))
    assert intake.drain(ALL_SOCKETS) == TURN_OVER
    wires[0].send(info(0))
    wires[2].send(info(2))
    assert intake.drain(ALL_SOCKETS) != DRAINED
    first, full, last = intake.datagrams_by_socket
    assert (first, last) == (1, 1)
    assert full < 300


def test_a_wait_ends_with_a_datagram_from_any_socket(wires, intake):
    intake.wait_for_more(0, ROOMY_BYTES, [])
    for wire in wires:
        wire.send(info(1))
        intake.drain(ALL_SOCKETS, monotonic() + 0.001)
    assert intake.lines.entries == 3


def test_a_wait_that_something_else_ended_leaves_no_socket_out(wires, intake):
    """What the loop watches became readable together with one of the sockets, and then a datagram came to another."""
    watched, may_send = os.dup(wires[1].fd), threading.Semaphore(0)
    intake.wait_for_more(0, ROOMY_BYTES, [watched])

    def send() -> None:
        for _ in range(ROUNDS):
            may_send.acquire()
            wires[1].send(info(1))

    sender = threading.Thread(target=send)
    sender.start()
    try:
        for number in range(1, ROUNDS + 1):
            may_send.release()
            while intake.datagrams_by_socket[1] + readable(wires[1]) < number:
                intake.drain(ALL_SOCKETS, monotonic() + 1)
            wires[0].send(info(0))
            assert intake.drain(ALL_SOCKETS) == DRAINED
            assert intake.datagrams_by_socket == [number, number, 0]
    finally:
        may_send.release(ROUNDS)
        sender.join()
        os.close(watched)


def test_a_socket_that_fails_is_named_and_the_others_go_on(wires, intake, closing):
    reading, writing = os.pipe()
    os.write(writing, b"readable, and not a socket")
    intake.listen([reading, wires[0].fd])
    try:
        wires[0].send(info(1))
        for _ in range(2):
            with pytest.raises(OSError, match="non-socket"):
                intake.drain(ALL_SOCKETS)
            assert intake.failed == 0
        intake.rest(0, True)
        assert intake.drain(ALL_SOCKETS) == DRAINED
        assert intake.datagrams_by_socket == [0, 1]
        intake.rest(0, False)
        with pytest.raises(OSError, match="non-socket"):
            intake.drain(ALL_SOCKETS)
    finally:
        os.close(reading)
        os.close(writing)


def test_acks_leave_by_the_socket_that_the_entry_came_to(wires):
    acks = Acks()
    for sequence in range(200):
        by = sequence % 3
        owe(acks, sequence, "127.0.0.1", wires[by].client.getsockname()[1], by=by)
    acks.send(*(wire.fd for wire in wires))
    assert (acks.count, acks.sent, acks.dropped) == (0, 200, 0)
    for by, wire in enumerate(wires):  # each client is connected: nothing reaches it from another socket
        for sequence in range(by, 200, 3):
            assert wire.client.recv(100) == b'{"ack":true,"sequence":%d}' % sequence
