"""How much room the receive buffer of a server on this machine has. UDP reports to nobody that a buffer is full, but on
one machine the kernel answers questions about every socket (sock_diag(7), over netlink)."""

import socket
import struct

from fastlog.client.descriptor import Descriptor, close_socket
from fastlog.limits import DATAGRAM_MAX_BYTES, OVERHEAD_MOST_BYTES

FULL_FIRST_SEC = 0.001  # until a full buffer is looked at again; doubles
FULL_LONGEST_SEC = 0.02  # the longest time between two looks: the server's thread is asleep, or it hangs
UNKNOWN_BYTES = 1 << 30  # the room of a buffer that the kernel does not know: nothing to wait for

# From linux/sock_diag.h and linux/inet_diag.h.
NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST = 1
INET_DIAG_SKMEMINFO = 7
INET_DIAG_MESSAGE_BYTES = 88  # including the header of netlink
ANY_STATE = 0xFFFFFFFF
_REQUEST = struct.Struct("=IHHII BBBBI")
_PORTS = struct.Struct("!HH")
_NOWHERE = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)  # any interface, no cookie
_MEMINFO = struct.Struct("=HH II")  # length, type, bytes in the receive buffer, its size


class ReceiveBuffer:
    """The buffer that receives what a connected socket sends. Times are those of time.monotonic. Raises OSError."""

    def __init__(self, sender: socket.socket) -> None:
        self._question = _question(sender)
        self._credit = 0  # bytes that the buffer takes before it is looked at again
        self._delay = FULL_FIRST_SEC
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG)
        self._descriptor = Descriptor(self._socket.fileno())
        self._socket.setblocking(False)

    def room_at(self, size: int, now: float) -> float:
        """When a datagram of `size` bytes may be sent: `now`, or the time to ask again. Who gets `now` sends it."""
        cost = _cost(size)
        if self._credit < cost:
            self._credit = self._room()
            if self._credit < cost:
                at = now + self._delay
                self._delay = min(self._delay * 2, FULL_LONGEST_SEC)
                return at
            self._delay = FULL_FIRST_SEC
        self._credit -= cost
        return now

    def is_ours(self) -> bool:
        return self._descriptor.is_ours()

    def close(self) -> None:
        close_socket(self._socket, self._descriptor)

    def _room(self) -> int:
        """Bytes, as `_cost` counts them, that fit without filling more than half of the buffer: the other half is for
        other senders."""
        try:
            self._socket.send(self._question)
            answer = self._socket.recv(4096)
        except OSError:
            return UNKNOWN_BYTES
        at = INET_DIAG_MESSAGE_BYTES
        while at + _MEMINFO.size <= len(answer):
            length, kind, used, size = _MEMINFO.unpack_from(answer, at)
            if kind == INET_DIAG_SKMEMINFO:
                if not used:
                    return max(int(size) // 4, _cost(DATAGRAM_MAX_BYTES))  # an empty buffer takes any one datagram
                return max(0, int(size) // 2 - int(used)) // 2
            at += max(4, (length + 3) & ~3)
        return UNKNOWN_BYTES  # there is no such socket: datagrams to it will be refused


def _cost(size: int) -> int:
    """The most bytes of a receive buffer that a datagram of `size` bytes takes."""
    return 2 * size + OVERHEAD_MOST_BYTES


def _question(sender: socket.socket) -> bytes:
    """Asks for the socket that receives what `sender` sends. In sock_diag's terms, `source` is the sender."""
    family = sender.family
    own, own_port = sender.getsockname()[:2]
    peer, peer_port = sender.getpeername()[:2]
    addresses = b"".join(socket.inet_pton(family, text.split("%")[0]).ljust(16, b"\0") for text in (own, peer))
    body = _PORTS.pack(own_port, peer_port) + addresses + _NOWHERE
    size = _REQUEST.size + len(body)
    return (
        _REQUEST.pack(
            size, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 1, 0,
            family, socket.IPPROTO_UDP, 1 << (INET_DIAG_SKMEMINFO - 1), 0, ANY_STATE,
        )
        + body
    )  # fmt: skip
