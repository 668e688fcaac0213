"""A UDP socket that is connected to the server: how much to send at once, and the ACKs. Nothing here waits."""

import ipaddress
import re
import socket

from fastlog.addresses import Address
from fastlog.client.descriptor import Descriptor, close_socket
from fastlog.client.sock_diag import ReceiveBuffer
from fastlog.limits import DATAGRAM_MAX_BYTES, OVERHEAD_LEAST_BYTES, SEQUENCE_WINDOW

RECEIVE_BUFFER_BYTES = SEQUENCE_WINDOW * (OVERHEAD_LEAST_BYTES + 256)  # holds the ACKs of a whole window
ACKS_PER_CALL = 4096  # so that a flood of datagrams to this socket does not keep the thread
ACK_READ_BYTES = 512  # enough to recognise an ACK, with whitespace in it
LOCAL_PACK_BYTES = 16_384  # a datagram on this machine: larger ones gain nothing and waste receive buffer
IPV6_PACK_BYTES = 1_232  # if the path is unknown: what every IPv6 link carries (RFC 8200), less the headers
IPV4_PACK_BYTES = 1_472  # if the path is unknown: Ethernet, less the headers

IP_MTU = 14  # from linux/in.h; the socket module does not name it
IPV6_MTU = 24  # from linux/in6.h

_ACK = re.compile(rb'\s*\{\s*"ack"\s*:\s*true\s*,\s*"sequence"\s*:\s*([0-9]{1,20})\s*\}\s*')


class Link:
    """The socket. Raises OSError when it cannot be made."""

    def __init__(self, address: Address, send_buffer: int) -> None:
        self.address = address
        self._server_buffer: ReceiveBuffer | None = None
        family, peer = address
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self._descriptor = Descriptor(self.socket.fileno())
        try:
            self.socket.setblocking(False)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            self.socket.connect(peer)
            own = self.socket.getsockname()[0]
            self.is_local = own == self.socket.getpeername()[0] or ipaddress.ip_address(own.split("%")[0]).is_loopback
            if self.is_local:
                self._server_buffer = ReceiveBuffer(self.socket)
        except BaseException:
            self.close()
            raise

    def is_ours(self) -> bool:
        """Whether the descriptors still belong to this link: a program may close all of its descriptors."""
        return self._descriptor.is_ours() and (self._server_buffer is None or self._server_buffer.is_ours())

    def close(self) -> None:
        close_socket(self.socket, self._descriptor)
        if self._server_buffer:
            self._server_buffer.close()

    def pack_bytes(self) -> int:
        """The size up to which several entries share a datagram: what the path carries in one piece, as far as the
        kernel knows. A datagram in pieces is lost if any of them is."""
        if self.is_local:
            return LOCAL_PACK_BYTES
        is_ipv4 = self.socket.family == socket.AF_INET
        try:
            if is_ipv4:
                size = self.socket.getsockopt(socket.IPPROTO_IP, IP_MTU) - 28
            else:
                size = self.socket.getsockopt(socket.IPPROTO_IPV6, IPV6_MTU) - 48
        except OSError:
            size = IPV4_PACK_BYTES if is_ipv4 else IPV6_PACK_BYTES
        return min(size, DATAGRAM_MAX_BYTES)

    def room_at(self, size: int, now: float) -> float:
        """When a datagram of `size` bytes may be sent: `now`, unless a server on this machine has no room for it."""
        return self._server_buffer.room_at(size, now) if self._server_buffer else now

    def acks(self) -> tuple[list[int], int]:
        """The sequences acknowledged since the last call, and how many refusals came with them."""
        found: list[int] = []
        refusals = 0
        receive = self.socket.recv
        for _ in range(ACKS_PER_CALL):
            try:
                match = _ACK.fullmatch(receive(ACK_READ_BYTES))
            except BlockingIOError:
                break
            except OSError:  # the network's answer to an earlier datagram
                refusals += 1
                continue
            if match:
                found.append(int(match[1]))
        return found, refusals
