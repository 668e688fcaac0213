"""What a stored entry costs from the socket to the file: a full socket is drained, 2,000 datagrams a round."""

import itertools
import socket

import pytest

from fastlog._intake import DRAINED, Intake
from fastlog._net import Admission
from fastlog.logfile import LogFile
from fastlog.storage import Storage

COUNT = 2_000  # they fit in a receive buffer of 4 MiB


@pytest.fixture
def sockets():
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        receiver.setblocking(False)
        receiver.bind(("127.0.0.1", 0))
        sender.connect(receiver.getsockname())
        yield receiver, sender


def test_drain_of_a_full_socket(benchmark, sockets, corpus):
    receiver, sender = sockets
    intake = Intake(65536, ["ERROR", "CRITICAL"], Admission([]))

    def fill():
        intake.forget_lines(intake.lines_bytes, intake.buffered)
        for datagram in itertools.islice(corpus, COUNT):
            sender.send(datagram)

    assert benchmark.pedantic(intake.drain, (receiver.fileno(),), setup=fill, rounds=50) == DRAINED
    assert intake.buffered == COUNT


def test_flush(benchmark, tmp_path, corpus):
    lines = memoryview(b"\n".join(corpus[:COUNT]) + b"\n")
    log = LogFile(Storage(), tmp_path, "server.log", 10**9, 0)
    assert benchmark.pedantic(log.append, (lines, False), rounds=100) == len(lines)
    log.close()


def test_rotation(benchmark, tmp_path):
    log = LogFile(Storage(), tmp_path, "server.log", 10**9, 10)
    benchmark.pedantic(log.rotate, rounds=100)
    log.close()
