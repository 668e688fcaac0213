"""The arena and the ACKs on real sockets, where the kernel has no room for its reports or refuses to send."""

import socket

import pytest

from fastlog.server._drain import Intake
from fastlog.server._socket import Acks, Admission
from fastlog.server.listener import UDP_GRO
from tests.helpers._hooks import limit_reports, owe

SO_NO_CHECK = 11  # sends without checksums
UDP_SEGMENT = 103  # of linux/udp.h
SO_TIMESTAMPNS = 35  # of asm-generic/socket.h
TIMESTAMP_BYTES = 32  # of the room for the kernel's reports
REFUSED = "255.255.255.255"  # nothing is sent to all hosts without SO_BROADCAST
ACKS_MAX = 1 << 18  # of server/_socket.pyx
NOT_OURS = "192.0.2.1"  # of a network for documentation


def bound() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(("127.0.0.1", 0))
    return sock


@pytest.fixture
def server(closing):
    return closing(bound())


@pytest.fixture
def client(closing):
    return closing(bound())


def received(client: socket.socket) -> list[tuple[bytes, str]]:
    """What has come, and from which addresses."""
    datagrams = []
    while True:
        try:
            datagram, (address, _) = client.recvfrom(100)
        except BlockingIOError:
            return datagrams
        datagrams.append((datagram, address))


def ack(sequence: int) -> bytes:
    return b'{"ack":true,"sequence":%d}' % sequence


@pytest.mark.parametrize("room", [0, TIMESTAMP_BYTES, TIMESTAMP_BYTES + 17])
def test_datagrams_are_rejected_if_the_kernel_had_no_room_to_report_where_each_ends(server, client, room):
    """As one they might be read wrongly. The same room for reports that fit is enough."""
    server.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
    server.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    client.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 40)
    client.sendto(b'{"level":"INFO","message":"m"}'.ljust(40) * 3, server.getsockname())
    intake = Intake(65536, ["ERROR"], Admission([]))
    intake.rejects.allow(2, 1000)
    limit_reports(intake, room)
    intake.drain(server.fileno())
    assert intake.rejects.counts["truncated"] == 1
    assert intake.total_received == 0
    [note] = intake.rejects.take_notes()
    assert note[1] == "truncated"


def test_an_ack_that_cannot_be_sent_costs_no_other_one(server, client):
    acks = Acks()
    port = client.getsockname()[1]
    for sequence in range(300):  # several calls of sendmmsg
        owe(acks, sequence, REFUSED if sequence % 3 else "127.0.0.1", port)
    acks.send(server.fileno())
    assert (acks.count, acks.sent, acks.dropped) == (0, 100, 200)
    assert received(client) == [(ack(sequence), "127.0.0.1") for sequence in range(0, 300, 3)]


@pytest.mark.parametrize("source", [None, "127.0.0.7"])
@pytest.mark.parametrize("one_by_one", [False, True])
def test_acks_that_leave_together_come_as_datagrams_of_their_own(client, one_by_one, source):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wildcard:
        wildcard.bind(("0.0.0.0", 0))
        # The kernel does not take several datagrams in one call then.
        wildcard.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, one_by_one)
        acks = Acks()
        for sequence in range(5, 205):  # of 1, 2 and 3 digits
            owe(acks, sequence, "127.0.0.1", client.getsockname()[1], source)
        acks.send(wildcard.fileno())
    assert received(client) == [(ack(sequence), source or "127.0.0.1") for sequence in range(5, 205)]
    assert (acks.sent, acks.dropped) == (200, 0)


def test_an_ack_leaves_from_the_address_it_is_to_leave_from_and_otherwise_from_any(server, client):
    wildcard = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with wildcard:
        wildcard.bind(("0.0.0.0", 0))
        acks = Acks()
        for sequence, source in enumerate(["127.0.0.7", NOT_OURS, None, "127.0.0.8"]):
            owe(acks, sequence, "127.0.0.1", client.getsockname()[1], source)
        acks.send(wildcard.fileno())
    assert received(client) == [
        (ack(0), "127.0.0.7"), (ack(1), "127.0.0.1"), (ack(2), "127.0.0.1"), (ack(3), "127.0.0.8")
    ]  # fmt: skip
    assert (acks.sent, acks.dropped) == (4, 0)


def test_a_group_that_takes_over_the_acks_of_another_keeps_their_addresses(server, client):
    one, other = Acks(), Acks()
    owe(one, 7, "127.0.0.1", client.getsockname()[1], "127.0.0.7")
    other.absorb(one)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wildcard:
        wildcard.bind(("0.0.0.0", 0))
        other.send(wildcard.fileno())
    assert received(client) == [(ack(7), "127.0.0.7")]


def test_acks_beyond_the_limit_are_counted():
    acks = Acks()
    for sequence in range(ACKS_MAX + 7):
        owe(acks, sequence, "127.0.0.1", 5000)
    assert (acks.count, acks.dropped) == (ACKS_MAX, 7)


def test_the_acks_of_the_entries_that_are_forgotten_and_no_others_are_dropped(server, client):
    acks = Acks()
    for number in range(10):
        owe(acks, number, "127.0.0.1", client.getsockname()[1], number=number)
    acks.forget(3, 4)
    assert (acks.count, acks.dropped) == (6, 4)
    acks.send(server.fileno())
    assert received(client) == [(ack(number), "127.0.0.1") for number in (0, 1, 2, 7, 8, 9)]


@pytest.mark.parametrize("sequence", [0, 2**64 - 1])
def test_an_ack_is_shorter_than_the_shortest_entry_that_gets_one(server, client, sequence):
    """Nobody can make the server send more bytes than it received, whosever address the sender gives."""
    entry = b'{"level":"","message":"","sequence":%d}' % sequence
    client.sendto(entry, server.getsockname())
    intake = Intake(65536, ["OTHER"], Admission([]))
    intake.drain(server.fileno())
    intake.acks.send(server.fileno())
    [(answer, _)] = received(client)
    assert answer == ack(sequence)
    assert len(answer) < len(entry)
