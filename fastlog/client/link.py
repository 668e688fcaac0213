"""A UDP socket that is connected to the server: finding the server, sending, ACKs, and the room in its receive buffer
where it is on this machine. Nothing here waits, but `resolve`."""

import ipaddress
import os
import re
import socket
import struct
import threading

from fastlog.addresses import Address, AddressError, is_numeric, resolve
from fastlog.limits import DATAGRAM_MAX_BYTES, OVERHEAD_LEAST_BYTES, OVERHEAD_MOST_BYTES, SEQUENCE_WINDOW

RECEIVE_BUFFER_BYTES = SEQUENCE_WINDOW * (OVERHEAD_LEAST_BYTES + 256)  # for the ACKs of a whole window at once
ACKS_PER_TURN = 4096  # so that whoever floods the socket does not keep the thread
LOCAL_PACK_BYTES = 16_384  # of one datagram on this machine: larger ones gain nothing more and waste receive buffer
IPV6_PACK_BYTES = 1_232  # where the path is unknown: what every IPv6 link carries (RFC 8200), less the headers
IPV4_PACK_BYTES = 1_472  # where the path is unknown: Ethernet, less the headers
ROOM_UNKNOWN_BYTES = 1 << 30  # the server is elsewhere, or the kernel does not tell: nothing to wait for

IP_MTU = 14  # of linux/in.h; the socket module does not name it
IPV6_MTU = 24  # of linux/in6.h
# Of linux/sock_diag.h and linux/inet_diag.h.
NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST = 1
INET_DIAG_SKMEMINFO = 7
INET_DIAG_MESSAGE_BYTES = 88  # with the header of netlink
_REQUEST = struct.Struct("=IHHII BBBBI")
_PORTS = struct.Struct("!HH")
_NOWHERE = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)  # any interface, no cookie
_MEMINFO = struct.Struct("=HH II")  # length, type, bytes in the receive buffer, its size

_ACK = re.compile(rb'\s*\{\s*"ack"\s*:\s*true\s*,\s*"sequence"\s*:\s*([0-9]{1,20})\s*\}\s*')


class Lookup:
    """One look-up of a name, in a thread of its own: a resolver may take half a minute, and the client goes on."""

    def __init__(self, host: str, port: int, wake_fd: int) -> None:
        self.done = False
        self.addresses: list[Address] = []
        self.problem = ""
        self._arguments = (host, port)
        self._wake_fd = os.dup(wake_fd)
        if is_numeric(host):
            self._run()
            return
        try:
            threading.Thread(target=self._run, name="fastlog look-up", daemon=True).start()
        except RuntimeError:  # the interpreter ends, and starts no threads any more
            self._run()

    def _run(self) -> None:
        try:
            self.addresses = resolve(*self._arguments)
        except AddressError as error:
            self.problem = str(error)
        self.done = True
        os.eventfd_write(self._wake_fd, 1)
        os.close(self._wake_fd)


class Link:
    """The socket. Raises OSError when it cannot be made."""

    def __init__(self, address: Address, send_buffer: int) -> None:
        self.address = address
        self._diagnosis: socket.socket | None = None
        family, peer = address
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self.socket.setblocking(False)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            self.socket.connect(peer)
            own = self.socket.getsockname()[0]
            self.is_local = own == self.socket.getpeername()[0] or ipaddress.ip_address(own.split("%")[0]).is_loopback
            if self.is_local:
                self._ask_about = self._question()
                self._diagnosis = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG)
                self._diagnosis.setblocking(False)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.socket.close()
        if self._diagnosis is not None:
            self._diagnosis.close()

    def pack_bytes(self) -> int:
        """Up to which size several entries share a datagram: what the path carries in one piece, as far as the kernel
        knows. A datagram in pieces is lost with any of them."""
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

    def room(self) -> int:
        """Bytes of datagrams that may be sent now, each counted by `cost_of`, without filling more than half of the
        server's receive buffer. UDP tells nobody that it is full; on one machine the kernel does when asked."""
        if self._diagnosis is None:
            return ROOM_UNKNOWN_BYTES
        try:
            self._diagnosis.send(self._ask_about)
            answer = self._diagnosis.recv(4096)
        except OSError:
            return ROOM_UNKNOWN_BYTES
        at = INET_DIAG_MESSAGE_BYTES
        while at + _MEMINFO.size <= len(answer):
            length, kind, used, size = _MEMINFO.unpack_from(answer, at)
            if kind == INET_DIAG_SKMEMINFO:
                if not used:
                    return max(int(size) // 4, self.cost_of(DATAGRAM_MAX_BYTES))  # it takes one, whatever its size is
                return max(0, int(size) // 2 - int(used)) // 2  # the other half is for other senders
            at += max(4, (length + 3) & ~3)
        return ROOM_UNKNOWN_BYTES  # no such socket: what is sent will be refused

    @staticmethod
    def cost_of(size: int) -> int:
        """Bytes that a datagram of that size takes of a receive buffer at the most."""
        return 2 * size + OVERHEAD_MOST_BYTES

    def acks(self) -> tuple[list[int], int]:
        """The sequences acknowledged since the last call, and how many refusals came with them."""
        found: list[int] = []
        refusals = 0
        receive = self.socket.recv
        for _ in range(ACKS_PER_TURN):
            try:
                match = _ACK.fullmatch(receive(512))
            except BlockingIOError:
                break
            except OSError:  # what the network says of an earlier datagram
                refusals += 1
                continue
            if match:
                found.append(int(match[1]))
        return found, refusals

    def _question(self) -> bytes:
        """Which socket would receive what this one sends? In sock_diag's terms `source` is the sender."""
        family = self.socket.family
        own, own_port = self.socket.getsockname()[:2]
        peer, peer_port = self.socket.getpeername()[:2]
        addresses = b"".join(socket.inet_pton(family, text.split("%")[0]).ljust(16, b"\0") for text in (own, peer))
        body = _PORTS.pack(own_port, peer_port) + addresses + _NOWHERE
        size = _REQUEST.size + len(body)
        any_state = 0xFFFFFFFF
        return (
            _REQUEST.pack(
                size, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 1, 0,
                family, socket.IPPROTO_UDP, 1 << (INET_DIAG_SKMEMINFO - 1), 0, any_state,
            )
            + body
        )  # fmt: skip
