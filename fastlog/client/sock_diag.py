"""How much room the receive buffer of a server on this machine has. UDP reports to nobody that a buffer is full, but on
one machine the kernel answers questions about every socket (sock_diag(7), over netlink).

That is a help, not a need: where the kernel has no answers, or a sandbox forbids the question, datagrams are sent as
they are to other machines.
"""

import _socket
import errno
import socket
import struct

from fastlog.addresses import unless_green
from fastlog.client.descriptor import Descriptor, close_socket, socket_above_standard_streams
from fastlog.limits import OVERHEAD_MOST_BYTES

FULL_FIRST_SEC = 0.001  # until a full buffer is looked at again; doubles
FULL_LONGEST_SEC = 0.02  # the longest time between two looks: the server's thread is asleep, or it hangs
FAILURES_MAX = 3  # questions in a row without an answer: this kernel or sandbox gives none, so none is asked any more
ANSWERS_READ_MAX = 4  # for one question; earlier ones that came late are among them

# From linux/sock_diag.h and linux/inet_diag.h.
NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLMSG_ERROR = 2
NLM_F_REQUEST = 1
INET_DIAG_SKMEMINFO = 7
INET_DIAG_MESSAGE_BYTES = 88  # including the header of netlink
ANY_STATE = 0xFFFFFFFF
_REQUEST = struct.Struct("=IHHII BBBBI")
_PORTS = struct.Struct("!HH")
_NOWHERE = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)  # any interface, no cookie
_MEMINFO = struct.Struct("=HH II")  # length, type, bytes in the receive buffer, its size
_ANSWER = struct.Struct("=IHHIIi")  # netlink's header: length, type, flags, number, port; an error's negative errno
_NUMBER = struct.Struct("=I")  # the number of a question, which its answer repeats
_NUMBER_AT = 8


class ReceiveBuffer:
    """The buffer that receives what a connected socket sends. Times are those of time.monotonic. Raises nothing: a
    buffer of which nothing is known has room."""

    def __init__(self, sender: socket.socket) -> None:
        self._credit = 0  # bytes that the buffer takes before it is looked at again
        self._delay = FULL_FIRST_SEC
        self._number = 0
        self._failures = 0
        self._socket: socket.socket | None = None
        try:
            self._question = bytearray(_question(sender))
            self._socket = socket_above_standard_streams(
                unless_green(socket.socket, _socket.socket)(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG)
            )
            self._descriptor = Descriptor(self._socket.fileno())
            self._socket.setblocking(False)
        except Exception:  # whatever forbids it: a sandbox, a guard of a test, the limit of descriptors
            self.close()

    def room_at(self, size: int, now: float) -> float:
        """When a datagram of `size` bytes may be sent: `now`, or the time to ask again. Who gets `now` sends it."""
        cost = _cost(size)
        if self._credit < cost:
            room = self._room(cost)
            if room is None:
                return now
            self._credit = room
            if self._credit < cost:
                at = now + self._delay
                self._delay = min(self._delay * 2, FULL_LONGEST_SEC)
                return at
            self._delay = FULL_FIRST_SEC
        self._credit -= cost
        return now

    def is_empty(self) -> bool:
        """Whether the server has taken all that was sent to it, as far as the kernel knows."""
        memory = self._memory()
        return memory is not None and memory[0] == 0

    def close(self) -> None:
        if self._socket:
            close_socket(self._socket, self._descriptor)
            self._socket = None

    def is_ours(self) -> bool:
        """Whether the descriptor, if there is one, still belongs to it."""
        return self._socket is None or self._descriptor.is_ours()

    def _room(self, cost: int) -> int | None:
        """Bytes, as `_cost` counts them, that fit without filling more than half of the buffer: the other half is for
        other senders. An empty buffer takes any one datagram, also of that cost. None if nothing is known: there is no
        such socket, or no answer."""
        memory = self._memory()
        if memory is None:
            return None
        used, size = memory
        if not used:
            return max(size // 4, cost)
        return max(0, size // 2 - used) // 2

    def _memory(self) -> tuple[int, int] | None:
        """Bytes in the buffer, and its size."""
        answer = self._answer()
        at = INET_DIAG_MESSAGE_BYTES
        while at + _MEMINFO.size <= len(answer):
            length, kind, used, size = _MEMINFO.unpack_from(answer, at)
            if kind == INET_DIAG_SKMEMINFO:
                return int(used), int(size)
            at += max(4, (length + 3) & ~3)
        return None

    def _answer(self) -> bytes:
        """What the kernel says of the buffer; empty if it knows no such socket, or says nothing."""
        if self._socket is None:
            return b""
        self._number = (self._number + 1) & 0xFFFFFFFF
        _NUMBER.pack_into(self._question, _NUMBER_AT, self._number)
        try:
            self._socket.send(self._question)
            for _ in range(ANSWERS_READ_MAX):
                answer = self._socket.recv(4096)
                if len(answer) < _ANSWER.size:
                    continue
                _, kind, _, number, _, error = _ANSWER.unpack_from(answer)
                if number != self._number:
                    continue
                if kind == NLMSG_ERROR and -error != errno.ENOENT:
                    break
                self._failures = 0
                return answer if kind == SOCK_DIAG_BY_FAMILY else b""
        except OSError:
            pass
        self._failures += 1
        if self._failures >= FAILURES_MAX:
            self.close()
        return b""


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
