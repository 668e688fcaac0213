"""The receiving socket, as the kernel and its options have it: from which address ACKs leave, what comes with a
datagram, and errors of sending."""

import os
import socket
import subprocess
import sys
from contextlib import suppress

import pytest

from fastlog.server.own_addresses import has_several
from tests.helpers.entries import ERROR_7, lines
from tests.helpers.running import FASTLOG, PATIENCE_SEC, eventually
from tests.helpers.two_hosts import ASK, CABLE, TwoHosts, answers_of, needs_two_hosts
from tests.server import test_service_manager

IPV4 = ["10.9.0.1", "10.9.0.2"]
IPV6 = ["fd09::1", "fd09::2", f"fe80::1%{CABLE}", f"fe80::2%{CABLE}"]
ACK_7 = b'{"ack":true,"sequence":7}'
UDP_SEGMENT = 103  # of linux/udp.h
OPTIONS = {  # what a socket may have the kernel report with each datagram, by their numbers in Linux's headers
    "SO_TIMESTAMPNS": (socket.SOL_SOCKET, 35, 1),
    "SO_TIMESTAMPING": (socket.SOL_SOCKET, 37, 0x207C),  # the times that software and hardware took, and the interface
    "SO_RXQ_OVFL": (socket.SOL_SOCKET, 40, 1),
    "SO_RCVMARK": (socket.SOL_SOCKET, 75, 1),
    "SO_RCVPRIORITY": (socket.SOL_SOCKET, 82, 1),
    "IP_TOS": (socket.IPPROTO_IP, 13, 1),
    "IP_TTL": (socket.IPPROTO_IP, 12, 1),
    "IP_RECVOPTS": (socket.IPPROTO_IP, 6, 1),
    "IP_RETOPTS": (socket.IPPROTO_IP, 7, 1),
    "IP_PKTINFO": (socket.IPPROTO_IP, 8, 1),
    "IP_ORIGDSTADDR": (socket.IPPROTO_IP, 20, 1),
    "IP_CHECKSUM": (socket.IPPROTO_IP, 23, 1),
    "IP_RECVFRAGSIZE": (socket.IPPROTO_IP, 25, 1),
}
MAY_BE_MISSING = {"SO_RCVMARK": [OSError], "SO_RCVPRIORITY": [OSError]}  # before Linux 5.19 and 6.14


# With one address of its own, a host does not have the kernel report which one was asked.
needs_several_addresses = pytest.mark.skipif(
    not has_several(socket.AF_INET), reason="this host has one address, and ACKs can leave from no other"
)

take_over = test_service_manager.take_over  # the fixture


@pytest.fixture
def two_hosts(closing):
    return closing(TwoHosts())


@needs_several_addresses
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "::ffff:0.0.0.0"])
def test_an_ack_leaves_from_the_address_that_was_asked(start, host):
    server = start(host=host)
    for asked in ("127.0.0.1", "127.0.0.2", "127.9.9.9"):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(PATIENCE_SEC)
            client.sendto(ERROR_7, (asked, server.port))
            assert client.recvfrom(100) == (ACK_7, (asked, server.port))


@needs_several_addresses
def test_an_ack_of_a_socket_handed_over_leaves_from_the_address_that_was_asked(take_over, closing):
    sock = closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.bind(("0.0.0.0", 0))
    port = take_over(sock).port
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE_SEC)
        client.sendto(ERROR_7, ("127.0.0.2", port))
        assert client.recvfrom(100) == (ACK_7, ("127.0.0.2", port))


@needs_two_hosts
@pytest.mark.parametrize(("host", "asked"), [("0.0.0.0", IPV4), ("::", IPV4 + IPV6)])
def test_a_client_of_another_host_gets_its_ack_from_the_address_that_it_asked(start, two_hosts, host, asked):
    server = start(host=host, command=[*two_hosts.inside, *FASTLOG, "serve"])
    assert two_hosts.ask(server.port, ERROR_7, *asked) == [address.partition("%")[0] for address in asked]
    assert server.stop() == 0
    assert server.account.endswith(f"acknowledged {len(asked)}")


@needs_two_hosts
@pytest.mark.parametrize(
    ("host", "asked", "answered"),
    [
        ("0.0.0.0", "10.9.0.255", "10.9.0.1"),
        ("::", "10.9.0.255", "10.9.0.1"),
        ("::", f"ff02::1%{CABLE}", f"fe80::1%{CABLE}"),
    ],
)
def test_what_is_sent_to_all_hosts_is_acknowledged_from_an_address_of_the_server(
    start, two_hosts, host, asked, answered
):
    server = start(host=host, command=[*two_hosts.inside, *FASTLOG, "serve"])
    [address] = two_hosts.ask(server.port, ERROR_7, asked, connected=False)
    assert address.partition("%")[0][:-1] == answered.partition("%")[0][:-1]  # one of its two


@needs_two_hosts
@pytest.mark.parametrize(
    ("host", "asked", "gone"),
    [("0.0.0.0", "10.9.0.2", "10.9.0.2/24"), ("::", "10.9.0.2", "10.9.0.2/24"), ("::", "fd09::2", "fd09::2/64")],
)
def test_an_ack_leaves_also_if_the_address_that_was_asked_has_gone(start, two_hosts, host, asked, gone):
    server = start(host=host, command=[*two_hosts.inside, *FASTLOG, "serve"])
    assert two_hosts.ask(server.port, ERROR_7, asked) == [asked]
    with server.stopped():
        asking = two_hosts.asking(server.port, ERROR_7, asked, connected=False)
        eventually(server.queued, bool)
        two_hosts.remove_address(gone)
    assert answers_of(asking)[0][:-1] == asked[:-1]  # from the other one
    server.stop()
    assert server.account.endswith("acknowledged 2")


FULL = """
import os
import socket
from fastlog.server._socket import Acks
from tests.helpers._hooks import owe
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("10.9.0.1", 0))
sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
acks = Acks()
for sequence in range(1_000):
    owe(acks, sequence, "10.9.0.99", 5000)
acks.send(sock.fileno())
print(acks.count, acks.sent + acks.dropped, acks.dropped > 500)
"""


@needs_two_hosts
def test_acks_that_the_socket_does_not_take_are_counted(two_hosts):
    """They are for a host that does not answer: what was sent waits in the kernel, which takes little of that."""
    command = [*two_hosts.inside, sys.executable, "-c", FULL]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "0 1000 True\n"


@pytest.mark.parametrize("option", [*OPTIONS, "all of them"])
def test_coalesced_datagrams_are_taken_apart_whatever_else_the_kernel_reports(take_over, closing, option):
    sock = closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.bind(("127.0.0.1", 0))
    for name in OPTIONS if option == "all of them" else [option]:
        with suppress(*MAY_BE_MISSING.get(name, ())):
            sock.setsockopt(*OPTIONS[name])
    server = take_over(sock)
    sent = [b'{"level":"INFO","message":"%d"}' % number for number in range(10, 40)]
    cut_off = [entry[:-1] + b"{" for entry in sent]  # alone they harm nobody
    with server.client() as client:
        client.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, len(sent[0]))
        client.send(b"".join(part for pair in zip(sent, cut_off, strict=True) for part in pair))
    server.stop()
    assert server.log() == lines(sent)
    assert "received 30 entries in 60 datagrams" in server.account


@needs_two_hosts
def test_an_address_that_the_host_gets_later_is_known(start, closing):
    """Until it has a second one, the kernel reports nothing."""
    name = f"fastlog-one-{os.getpid()}"
    inside = ["ip", "netns", "exec", name]
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        for command in ("link set lo up", "addr add 10.9.9.1/32 dev lo"):
            subprocess.run([*inside, "ip", *command.split()], check=True)
        server = start(host="0.0.0.0", command=[*inside, *FASTLOG, "serve"])
        subprocess.run([*inside, "ip", "addr", "add", "10.9.9.2/32", "dev", "lo"], check=True)
        ask = [*inside, sys.executable, "-c", ASK % 1, str(server.port), "any", ERROR_7.decode(), "10.9.9.2"]
        eventually(
            lambda: subprocess.run(ask, capture_output=True, check=False).stdout,
            lambda found: found == b'["10.9.9.2"]\n',
        )
        assert server.stop() == 0
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)
