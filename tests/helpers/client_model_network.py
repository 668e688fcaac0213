"""The network of a random run of the client, and its clock: nothing waits, and everything happens in virtual time.

The client's own sockets are real descriptors that carry nothing: what they are handed goes through this network, which
loses, repeats, reorders, delays and refuses. A server at 127.0.0.1 is on this machine: nothing gets lost on the way,
and it refuses at once. Everywhere else, the refusal takes a while, and a host refuses only once a second (Linux:
icmp_ratelimit).
"""

import errno
import heapq
import math
import os
import socket
import struct
from collections.abc import Callable
from random import Random
from typing import Any

from fastlog.addresses import Address, AddressError
from fastlog.client.sock_diag import INET_DIAG_MESSAGE_BYTES, INET_DIAG_SKMEMINFO, SOCK_DIAG_BY_FAMILY
from tests.helpers.client_model_server import ModelServer, Wire

PORT = 5514
HERE = "127.0.0.1"
LOCAL_SEC = 0.0002  # until a server on this machine has taken a datagram
REFUSALS_EACH_SEC = 1.0  # of one host
NLMSG_ERROR = 2
BEGAN_AT = 1000.0


class Clock:
    """What happens when."""

    def __init__(self) -> None:
        self.now = BEGAN_AT
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.run_until(self.now + seconds)

    def at(self, when: float, event: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, event))

    def run_until(self, until: float, is_enough: Callable[[], bool] = lambda: False) -> None:
        """Time passes, and what happens meanwhile happens, until that time or `is_enough()`."""
        while not is_enough():
            if not self._events or self._events[0][0] > until:
                if until < math.inf:
                    self.now = max(self.now, until)
                return
            when, _, event = heapq.heappop(self._events)
            self.now = max(self.now, when)
            event()

    def skip(self, seconds: float) -> None:
        """The machine sleeps: what happens meanwhile happens afterwards."""
        self.now += seconds


class Network:
    """`on_sent` gets each datagram that a socket has taken, and `on_lost` each that no server gets
    (`is_told`: the system reports it at once)."""

    def __init__(
        self,
        clock: Clock,
        rng: Random,
        server: ModelServer,
        on_sent: Callable[[bytes, float], None],
        on_lost: Callable[..., None],
    ) -> None:
        self.clock = clock
        self.rng = rng
        self.server = server
        self.on_sent = on_sent
        self.on_lost = on_lost
        self.names: list[str] = []  # the addresses that the name has
        self.sockets: list[ModelSocket] = []  # all that were made and not closed
        self.heal()
        self.own_address = "10.9.1.1"  # of this machine, where the server is elsewhere
        self._refuses_at = -math.inf
        self._is_server_due = False

    def heal(self) -> None:
        self.loss_there = self.loss_back = 0.0
        self.repeat = 0.0
        self.delay_sec = 0.005
        self.jitter_sec = 0.0  # more than zero: datagrams overtake each other
        self.is_unreachable = False
        self.has_sockets = True  # the process has descriptors left
        self.has_names = True
        self.largest = 65_507  # datagram that this machine sends
        self.blocked_until = -math.inf

    def addresses(self, host: str, port: int) -> list[Address]:
        """In place of getaddrinfo."""
        if not self.has_names:
            raise AddressError(host, "temporary failure in name resolution")
        return [(socket.AF_INET, (name, PORT)) for name in self.names]

    def sends(self, own: "ModelSocket", datagram: bytes) -> int:
        own.check()
        if self.is_unreachable or not own.has_address:
            raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
        if len(datagram) > self.largest:
            self.on_lost(datagram, is_told=True)
            raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        if self.clock.now < self.blocked_until:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self.on_sent(datagram, self.clock.now)
        if own.wire is None:
            own.wire = self.server.wire()
            own.wire.own = own
        if own.is_local:
            self._arrives(own, own.wire, datagram)
            return len(datagram)
        for _ in range(2 if self.rng.random() < self.repeat else 1):
            if self.rng.random() < self.loss_there:
                self.on_lost(datagram)
            else:
                wire = own.wire
                self.clock.at(self._after_delay(), lambda wire=wire: self._arrives(own, wire, datagram))
        return len(datagram)

    def room(self, host: str) -> tuple[int, int] | None:
        """Bytes used of a receive buffer on this machine, and its size; None if there is none."""
        if self.server.host != host:
            return None
        return self.server.used, self.server.capacity

    def run_server(self) -> None:
        """The server takes what waits, if it runs."""
        self._is_server_due = False
        for _, datagram in self.server.waiting:
            if len(datagram) > self.server.longest:
                self.on_lost(datagram)
        for wire, answer in self.server.run():
            own = wire.own
            if own.wire is not wire or not own.has_address:  # nobody knows that port any more
                continue
            if own.is_local:
                own.inbox.append(answer)
            elif self.rng.random() >= self.loss_back:
                for _ in range(2 if self.rng.random() < self.repeat else 1):
                    self.clock.at(self._after_delay(), lambda own=own, answer=answer: own.inbox.append(answer))

    def _arrives(self, own: "ModelSocket", wire: Wire, datagram: bytes) -> None:
        server = self.server
        if server.host != own.peer[0]:
            self.on_lost(datagram, is_told=own.is_local)
            self._refuse(own)
        elif not server.arrives(wire, datagram):
            self.on_lost(datagram)
        elif not self._is_server_due and not server.is_stopped:
            self._is_server_due = True
            self.clock.at(self.clock.now + LOCAL_SEC, self.run_server)

    def _refuse(self, own: "ModelSocket") -> None:
        if own.is_local:
            own.is_refused = True
        elif self.clock.now >= self._refuses_at:
            self._refuses_at = self.clock.now + REFUSALS_EACH_SEC
            if self.rng.random() >= self.loss_back:
                self.clock.at(self._after_delay(), own.refused)

    def _after_delay(self) -> float:
        return self.clock.now + self.delay_sec + self.rng.random() * self.jitter_sec


class ModelSocket(socket.socket):
    """A UDP socket of the client."""

    def __init__(self, network: Network) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_DGRAM)
        self.network = network
        self.peer: tuple[str, int] = ("", 0)
        self.own_address = HERE
        self.is_local = False
        self.is_refused = False
        self.inbox: list[bytes] = []
        self.wire: Wire | None = None
        self._number = self.fileno()
        self.program: Any = None  # whose it is
        network.sockets.append(self)

    def check(self) -> None:
        """Raises what the kernel does before it looks at the datagram."""
        if self.fileno() != self._number:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if self._number in self.program.victims:
            raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))
        if self.is_refused:
            self.is_refused = False
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))

    def refused(self) -> None:
        self.is_refused = True

    @property
    def has_address(self) -> bool:
        """This machine still has the address that it had when the socket was connected."""
        return self.own_address in (HERE, self.network.own_address)

    @property
    def is_readable(self) -> bool:
        return bool(self.inbox) or self.is_refused

    def connect(self, address: Any) -> None:
        if self.network.is_unreachable and address[0] != HERE:
            raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
        self.peer = address
        self.is_local = address[0] == HERE
        self.own_address = HERE if self.is_local else self.network.own_address

    def setsockopt(self, *_: Any) -> None:
        pass

    def getsockopt(self, *_: Any) -> int:
        return 1500

    def getsockname(self) -> tuple[str, int]:
        return self.own_address, 40_000

    def getpeername(self) -> tuple[str, int]:
        return self.peer

    def send(self, datagram: bytes, *_: Any) -> int:
        return self.network.sends(self, datagram)

    def recv(self, size: int, *_: Any) -> bytes:
        self.check()
        if not self.inbox:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return self.inbox.pop(0)[:size]

    def _is_gone(self) -> None:
        if self in self.network.sockets:
            self.network.sockets.remove(self)

    def close(self) -> None:
        self._is_gone()
        super().close()

    def detach(self) -> int:
        self._is_gone()
        return super().detach()


class ModelNetlink(ModelSocket):
    """Answers the questions about receive buffers on this machine (sock_diag)."""

    _header = struct.Struct("=IHHIIi")
    _memory = struct.Struct("=HH II")

    def send(self, question: bytes, *_: Any) -> int:
        self.check()
        number = struct.unpack_from("=I", question, 8)[0]
        found = self.network.room(HERE)
        if found is None:
            answer = self._header.pack(self._header.size, NLMSG_ERROR, 0, number, 0, -errno.ENOENT)
        else:
            size = INET_DIAG_MESSAGE_BYTES + self._memory.size
            answer = self._header.pack(size, SOCK_DIAG_BY_FAMILY, 0, number, 0, 0).ljust(INET_DIAG_MESSAGE_BYTES, b"\0")
            answer += self._memory.pack(self._memory.size, INET_DIAG_SKMEMINFO, *found)
        self.inbox = [answer]
        return len(question)
