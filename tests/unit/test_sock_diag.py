"""The room in a receive buffer on this machine, by the kernel's answers, and without any that make sense."""

import errno
import socket
import struct
from random import Random

import pytest

from fastlog.client.sock_diag import FAILURES_MAX, NLMSG_ERROR, SOCK_DIAG_BY_FAMILY, ReceiveBuffer


@pytest.fixture
def sender(closing):
    """A socket that is connected to a port of this machine at which nothing listens yet."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        address = free.getsockname()
    sender = closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sender.connect(address)
    return sender


class OddKernel:
    """Gives the answers of the test; each is made from the number of the question."""

    def __init__(self, *answers) -> None:
        self.answers = list(answers)
        self.asked = 0
        self.is_closed = False

    def send(self, question: bytes) -> None:
        self.asked += 1
        self.number = struct.unpack_from("=I", question, 8)[0]

    def recv(self, size: int) -> bytes:
        answer = self.answers.pop(0) if self.answers else OSError(errno.EAGAIN, "")
        if isinstance(answer, OSError):
            raise answer
        return answer(self.number) if callable(answer) else answer

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        self.is_closed = True

    detach = close


def header(kind: int, number: int, rest: bytes = b"") -> bytes:
    return struct.pack("=IHHII", 16 + len(rest), kind, 0, number, 0) + rest


def answer(used: int, size: int):
    memory = struct.pack("=HHII", 12, 7, used, size)
    return lambda number: header(SOCK_DIAG_BY_FAMILY, number, bytes(72) + memory)


def with_kernel(sender: socket.socket, *answers) -> tuple[ReceiveBuffer, OddKernel]:
    buffer = ReceiveBuffer(sender)
    buffer.close()
    kernel = OddKernel(*answers)
    buffer._socket = kernel
    return buffer, kernel


def test_a_server_that_starts_later_is_not_sent_more_than_it_has_room_for(sender, closing):
    buffer = closing(ReceiveBuffer(sender))
    for _ in range(10):
        assert buffer.room_at(1000, 5.0) == 5.0
    server = closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 30_000)
    server.bind(sender.getpeername())
    sent = 0
    while buffer.room_at(1000, 5.0) == 5.0:
        sender.send(b"x" * 1000)
        sent += 1
        assert sent < 1000
    server.setblocking(False)
    for _ in range(sent):
        server.recv(2000)  # none was dropped
    with pytest.raises(BlockingIOError):
        server.recv(2000)
    assert buffer.room_at(1000, 6.0) == 6.0


def test_answers_to_earlier_questions_are_passed_over(sender):
    buffer, _ = with_kernel(sender, lambda number: answer(0, 1 << 30)(number - 1), b"", answer(900, 1000))
    assert buffer.room_at(1000, 5.0) > 5.0


@pytest.mark.parametrize("odd", [
    lambda number: header(SOCK_DIAG_BY_FAMILY, number),
    lambda number: header(SOCK_DIAG_BY_FAMILY, number, Random(1).randbytes(500)),
    lambda number: answer(900, 1000)(number)[:-1],
    lambda number: header(SOCK_DIAG_BY_FAMILY, number, bytes(4000)),
    lambda number: header(NLMSG_ERROR, number, struct.pack("=i", -errno.ENOENT)),
    lambda number: header(NLMSG_ERROR, number, struct.pack("=i", -errno.EPERM)),
    lambda number: header(99, number, bytes(100)),
    b"", b"x", OSError(errno.ENOBUFS, ""),
])  # fmt: skip
def test_an_odd_answer_means_that_nothing_is_known(sender, odd):
    buffer, kernel = with_kernel(sender, odd)
    assert buffer.room_at(1000, 5.0) == 5.0
    kernel.answers = [answer(900, 1000)]
    assert buffer.room_at(1000, 5.0) > 5.0


@pytest.mark.parametrize("odd", [OSError(errno.EPERM, ""), OSError(errno.EAGAIN, ""),
                                 lambda number: header(NLMSG_ERROR, number, struct.pack("=i", -errno.EPERM))])  # fmt: skip
def test_a_kernel_that_gives_no_answers_is_not_asked_for_long(sender, odd):
    buffer, kernel = with_kernel(sender, *[odd] * 1000)
    for _ in range(100):
        assert buffer.room_at(1000, 5.0) == 5.0
    assert kernel.asked == FAILURES_MAX


def test_a_socket_that_cannot_be_had_is_done_without(sender, monkeypatch):
    def fail(*_):
        raise OSError(errno.EMFILE, "")

    monkeypatch.setattr(socket, "socket", fail)
    buffer = ReceiveBuffer(sender)
    assert buffer.room_at(60_000, 5.0) == 5.0
    assert buffer.is_ours()
    buffer.close()
