"""Who may send, beside the limit of each sender: whom ALLOW_FROM denies takes nothing of what RATE_LIMIT gives."""

import socket
import struct
from ipaddress import ip_network

from fastlog.server._drain import Intake
from fastlog.server._rate_limit import HOSTS_MAX, RateLimit
from fastlog.server._socket import Admission
from tests.helpers.disk import info

IP_PKTINFO = 8


def send_from(sock: socket.socket, address: str, to: tuple[str, int]) -> None:
    """Sends garbage from this address of loopback."""
    packet_info = struct.pack("=i4s4s", 0, socket.inet_aton(address), bytes(4))
    sock.sendmsg([b"garbage"], [(socket.IPPROTO_IP, IP_PKTINFO, packet_info)], 0, to)


def test_strangers_with_any_number_of_addresses_take_nothing_of_the_limit_of_an_admitted_sender():
    limit = RateLimit(1, 5)
    intake = Intake(65536, ["ERROR"], Admission([ip_network("127.0.0.1")]), limit=limit)
    crowd = 2 * HOSTS_MAX
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        server.setblocking(False)
        server.bind(("127.0.0.1", 0))
        for n in range(crowd):
            send_from(sender, f"127.1.{n >> 8}.{n & 255}", server.getsockname())
            if n % 64 == 63:
                intake.drain(server.fileno())
        for _ in range(10):
            send_from(sender, "127.1.0.0", server.getsockname())
        for n in range(10):
            sender.sendto(info(n), server.getsockname())
        intake.drain(server.fileno())
    assert (intake.rejects.counts["denied"], intake.rejects.counts["rate"]) == (crowd + 10, 5)
    assert bytes(intake.lines).splitlines() == [info(n) for n in range(5)]
    assert [(over.address, over.passed, over.rejected) for over in limit.report(0)] == [("127.0.0.1", 0, 5)]
