"""The server as a client sees it: where it is, and whether it takes datagrams.

When the network reports that nothing listens there, new entries wait, and one datagram is sent now and then to try
again. A server on this machine refuses at once, so the client knows which datagram was refused, and sends it first when
the server is back. Elsewhere the refusal may be for any datagram under way, and the entries in it are lost.

Methods return an Event when something has happened that concerns the unacknowledged entries; this module does not know
them.
"""

import errno
import math
from collections.abc import Callable, Iterable
from enum import Enum

import msgspec

from fastlog.addresses import Address, AddressError
from fastlog.client.link import Link
from fastlog.client.lookup import Resolver
from fastlog.client.options import ClientOptions

REFUSED_FIRST_SEC = 0.05  # before the next try after a refusal; doubles
REFUSED_LONGEST_SEC = 1.0  # so that a server that comes back is noticed soon
REFUSALS_TO_TELL = 2  # so many show that nothing listens: one may be of a server that is just starting
REFUSAL_SEC = 0.2  # the longest time until the refusal of a try arrives


class Event(Enum):
    CAME_UP = "the server takes datagrams again"
    RECONNECTED = "the socket is a new one"


class PeerCounts(msgspec.Struct):
    datagrams: int = 0
    sent_bytes: int = 0
    refused: int = 0  # times that the network reported that nothing listens there
    lost: int = 0  # datagrams refused and not sent again; which entries were in them is not known


class Peer:
    """Used by one thread alone; nothing here waits. Times are those of time.monotonic. `connect` makes a Link to an
    address, or raises OSError; `wake` wakes the thread."""

    def __init__(self, options: ClientOptions, connect: Callable[[Address], Link], wake: Callable[[], None]) -> None:
        self.link: Link | None = None
        self.pack_bytes = 0  # up to this size several entries share a datagram
        self.is_down = False
        self.is_blocked = False  # the socket takes no more at present
        self.refused: list[bytes] = []  # datagrams to be sent again before everything else
        self.problem = ""
        self.counts = PeerCounts()
        self._host, self._datagram_bytes = options.host, options.datagram_bytes
        self._connect_to = connect
        self._resolver = Resolver(options.host, options.port, wake)
        self._try_at = math.inf
        self._try_delay = REFUSED_FIRST_SEC
        self._up_at = math.inf  # if the last try is not refused until then, it has arrived
        self._unsure = b""  # the last datagram, as long as its refusal may come
        self._was_there = False  # the server has answered, or has not refused a datagram on this machine
        self._connects_again = False

    def next_at(self, is_silent: bool) -> float:
        """When there is something to do, if nothing comes before. `is_silent`: the server acknowledges nothing."""
        return min(self._resolver.next_at(self._is_trouble(is_silent)), self._try_at, self._up_at)

    @property
    def is_settled(self) -> bool:
        """Nothing can still be refused or has to be sent again."""
        return not (self.refused or self._unsure)

    @property
    def only_refusals(self) -> bool:
        """Nothing has ever come but refusals, and more than one."""
        return self.is_down and self.counts.refused >= REFUSALS_TO_TELL and not self._was_there

    def look_up(self, now: float, is_silent: bool) -> Event | None:
        """Looks up the name when it is time, and connects to the address."""
        try:
            if not self._resolver.refresh(now, self._is_trouble(is_silent)) and not self._connects_again:
                return None
        except AddressError as error:
            self.problem = str(error)
            return None
        self._connects_again = False
        if self.link and self.link.address in self._resolver.addresses:
            return None
        return self._connect(self._resolver.addresses[0])

    def receive(self, now: float) -> tuple[list[int], Event | None]:
        """The sequences acknowledged since the last call."""
        if self.link is None:
            return [], None
        event = None
        sequences, refusals = self.link.acks()
        for _ in range(refusals):
            self._on_refused(now)
        if sequences and not refusals and self.is_down:
            event = self._come_up()
        if sequences or (self._unsure and self.link.is_local and not self.is_down):
            self._was_there = True
        if not self.is_down:
            self._unsure = b""  # a server on this machine would have refused it by now
        return sequences, event

    def settle(self, now: float) -> Event | None:
        """Sees whether the last try was refused in time. If not, the server is up."""
        return self._come_up() if self._up_at <= now else None

    def may_try(self, now: float) -> bool:
        """While the server is down: whether it is time for another try."""
        return self.is_down and now >= self._try_at

    def begin_try(self, now: float) -> Event | None:
        """Prepares for a datagram that tries whether the server is up again, and that is sent next."""
        event = None
        if self.link and len(self._resolver.addresses) > 1:  # a server may listen at another address
            event = self._connect(self._resolver.address_after(self.link.address))
        self._try_at = math.inf
        self._up_at = now + (0 if self.link and self.link.is_local else REFUSAL_SEC)
        return event

    def send(self, datagram: bytes, now: float) -> bool:
        """Sends one datagram. Returns False if it was not sent."""
        if self.link is None:
            return False
        try:
            self.link.socket.send(datagram)
        except BlockingIOError:
            self.is_blocked = True
            return False
        except ConnectionRefusedError:
            self._on_refused(now)
            return False
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                self.problem = f"cannot send to {self._host!r}: {error.strerror}"
                self._go_down(now)
                return False
            self.problem = f"the network refuses datagrams of {len(datagram)} bytes; set datagram_bytes"
            self.counts.lost += 1
            return True
        self.counts.datagrams += 1
        self.counts.sent_bytes += len(datagram)
        self._unsure = datagram if self.link.is_local or self.is_down else b""
        return True

    def send_refused(self, now: float) -> bool:
        """Sends the first of the refused datagrams. Returns False if it was not sent."""
        datagram = self.refused.pop(0)
        if self.send(datagram, now):
            return True
        self.refused.insert(0, datagram)
        return False

    def retransmit(self, datagrams: Iterable[bytes], now: float) -> None:
        """Sends retransmissions. A refusal of one does not matter, since it is retransmitted until acknowledged."""
        for datagram in datagrams:
            if self.send(datagram, now):
                self._unsure = b""

    def give_up(self) -> None:
        """Counts datagrams that are not settled as lost."""
        self.counts.lost += len(self.refused) + bool(self._unsure)
        self.refused, self._unsure = [], b""

    def reopen(self) -> None:
        """Closes the socket. Another one is made when there is something to do."""
        self.close()
        self.link = None
        self._connects_again = bool(self._resolver.addresses)

    def close(self) -> None:
        if self.link:
            self.link.close()

    def _is_trouble(self, is_silent: bool) -> bool:
        return self.link is None or self.is_down or is_silent

    def _connect(self, address: Address) -> Event | None:
        try:
            link = self._connect_to(address)
        except OSError as error:
            self.problem = f"cannot reach the server {self._host!r}: {error.strerror}"
            return None
        self.close()
        self.link = link
        self.pack_bytes = self._datagram_bytes or link.pack_bytes()
        self._unsure = b""
        self.problem = ""
        return Event.RECONNECTED

    def _on_refused(self, now: float) -> None:
        self.counts.refused += 1
        if self._unsure:
            self.refused.append(self._unsure)
            self._unsure = b""
        elif not self.is_down:
            self.counts.lost += 1
        self._go_down(now)

    def _go_down(self, now: float) -> None:
        self._try_delay = min(self._try_delay * 2, REFUSED_LONGEST_SEC) if self.is_down else REFUSED_FIRST_SEC
        self.is_down = True
        self._try_at = now + self._try_delay
        self._up_at = math.inf

    def _come_up(self) -> Event:
        self.is_down = False
        self._was_there = self._was_there or bool(self.link and self.link.is_local)
        self._try_at = self._up_at = math.inf
        self._unsure = b""
        return Event.CAME_UP
