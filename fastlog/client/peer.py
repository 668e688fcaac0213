"""The server as a client sees it: the socket to it, and what was sent through it.

While the server is down (`reach.py`) new entries wait. A server on this machine refuses at once, so the client knows
which datagram was refused, and sends it first when the server is back. Elsewhere the refusal may be for any datagram
under way (`flight.py`). A socket that cannot send any more, or from which nothing comes although something should, is
replaced by a new one (`route.py`): from another port, and from the address that this machine has by then.

Methods return an Event when something has happened that concerns the unacknowledged entries; this module does not know
them.
"""

import math
from collections.abc import Callable, Iterable
from enum import Enum

import msgspec

from fastlog.addresses import Address, server_name
from fastlog.client.flight import Flight, Kept
from fastlog.client.link import Link, Trouble, trouble_of
from fastlog.client.options import ClientOptions
from fastlog.client.reach import Reach
from fastlog.client.route import Route

REFUSALS_TO_TELL = 2  # so many show that nothing listens: one may be of a server that is just starting
ANSWER_SEC = 2.0  # after that time without an answer, `problem` says so
KEPT_SEC = 10.0  # the longest time for which ordinary entries are kept while no ACK comes


class Event(Enum):
    CAME_UP = "the server takes datagrams again"
    RECONNECTED = "the socket is a new one"


class PeerCounts(msgspec.Struct):
    datagrams: int = 0
    sent_bytes: int = 0
    refused: int = 0  # times that the network reported that nothing listens there


class Peer:
    """Used by one thread alone; nothing here waits. Times are those of time.monotonic. `connect` makes a Link to an
    address, or raises an error; `wake` wakes the thread."""

    def __init__(self, options: ClientOptions, connect: Callable[[Address], Link], wake: Callable[[], None]) -> None:
        self.link: Link | None = None
        self.pack_bytes = 0  # up to this size several entries share a datagram
        self.is_blocked = False  # the socket takes no more at present
        self.refused: list[Kept] = []  # datagrams to be sent again before everything else
        self.counts = PeerCounts()
        self.flight = Flight()
        self.reach = Reach()
        self._route = Route(options.host, options.port, wake)
        self._connect_to = connect
        self._server = server_name(options.host, options.port)
        self._datagram_bytes = options.datagram_bytes
        self._problem = ""  # the latest error of the socket
        self._is_broken = False  # the socket sends nothing any more

    @property
    def is_down(self) -> bool:
        return self.reach.is_down

    @property
    def is_settled(self) -> bool:
        """Nothing can still be refused or has to be sent again."""
        return not (self.refused or (self.flight.kept and (self.is_down or self.reach.is_local)))

    @property
    def only_refusals(self) -> bool:
        """Whether nothing but refusals ever came, more than one, nothing stayed unrefused on this machine, and no try
        may have arrived just now."""
        if self.reach.was_taken or self.reach.is_trying:
            return False
        return self.is_down and self.counts.refused >= REFUSALS_TO_TELL

    def problem(self, now: float) -> str:
        """What is wrong at present, in words, or empty."""
        if self._problem:
            return self._problem
        if self.is_down:
            return f"nothing listens on {self._server} (refused)"
        if self.link and now - max(self.reach.waiting_since, self._route.heard_at) >= ANSWER_SEC:
            return f"{self._server} does not answer"
        return self._route.problem

    def next_at(self, is_silent: bool) -> float:
        """When there is something to do, if nothing comes before. `is_silent`: the server acknowledges nothing."""
        is_trouble = self.link is None or self.is_down or is_silent
        since = self.reach.trouble_since if self.link else math.inf  # without a socket, the next try makes one
        return min(self._route.next_at(is_trouble, since), self.reach.next_at())

    def look_up(self, now: float, is_silent: bool) -> Event | None:
        """Looks up the name when it is time, and moves to another socket if there is a reason."""
        addresses = self._route.look_up(now, self.link is None or self.is_down or is_silent)
        if self.link is None:
            return self._connect(addresses, now) if addresses and not self.is_down else None
        if self._route.is_path_due(now):
            self.pack_bytes = self._datagram_bytes or self.link.pack_bytes()
            if not self.is_down:
                self._problem = ""
            if self.link.has_moved():
                return self._connect([self.link.address], now)
        towards = self._route.move(now, self.link.address, self.reach.trouble_since)
        return self._connect(towards, now) if towards else None

    def receive(self, now: float) -> list[int]:
        """The sequences of the ACKs since the last call. Call `heard` if one is that of an entry."""
        if self.link is None:
            return []
        sequences, errors = self.link.acks()
        for error in errors:
            self._on_trouble(trouble_of(error, of_receiving=True), error, now)
        if self.reach.is_local and not errors and not self.is_down and self.flight.kept:
            self.flight.arrived(math.inf)  # it would have been refused by now
            self.reach.was_taken = True
        return sequences

    def heard(self, sent_at: float, now: float) -> Event | None:
        """The server has acknowledged an entry that was sent first at that time."""
        self._route.heard(now)
        self.flight.arrived(sent_at)
        if self._is_broken:  # it was sent before; a new socket is needed all the same
            return None
        self._problem = ""
        return Event.CAME_UP if self.reach.heard() else None

    def settle(self, now: float) -> Event | None:
        """Sees whether the last try was refused in time, and whether what was sent has arrived."""
        came_up = self.reach.settle(now)
        if came_up:
            self._problem = ""
        if self.reach.is_local:
            if came_up:
                self.flight.arrived(math.inf)
        elif not (self.is_down or self.reach.gentle.is_on):
            self.flight.trust(now - KEPT_SEC if self.reach.is_doubtful(now) else math.inf)
        return Event.CAME_UP if came_up else None

    def begin_try(self, now: float) -> Event | None:
        """Prepares for a datagram that tries whether the server is up again. It is sent next if `reach.is_trying`."""
        event = None
        towards = self._route.after(self.link.address if self.link else None)
        if self.link is None or self._is_broken or len(towards) > 1:  # a server may listen at another address
            event = self._connect(towards, now)
        if self.link and not self._is_broken:
            self.reach.begin_try(now)
        return event

    def send(self, data: bytes, entries: int, now: float) -> bool:
        """Sends one datagram, with that many ordinary entries. Returns False if it was not sent."""
        if not self._hand_over(data, entries, now):
            return False
        self.reach.gentle.sent()
        if self.reach.is_local:
            self.flight.arrived(math.inf)  # the one before was not refused
            self.flight.keep(Kept(data, entries, now))
        elif entries and self.reach.is_doubtful(now):
            self.flight.keep(Kept(data, entries, now))
        elif entries:
            self.flight.count(entries, now)
        return True

    def retransmit(self, datagrams: Iterable[bytes], now: float) -> None:
        """Sends retransmissions. A refusal of one does not matter, since it is retransmitted until acknowledged."""
        for datagram in datagrams:
            if self._hand_over(datagram, 0, now) and self.reach.is_local:
                self.flight.arrived(math.inf)

    def give_up(self) -> None:
        """Counts datagrams that are not settled as lost."""
        if not self.is_settled:
            self.flight.lose(self.refused + list(self.flight.kept))
        self.refused = []
        self.flight.arrived(math.inf)

    def reopen(self) -> None:
        """Closes the socket. Another one is made when there is something to do."""
        if self.link:
            self.link.close()
            self.link = None

    def _hand_over(self, data: bytes, entries: int, now: float) -> bool:
        """Gives a datagram to the socket. Returns False if the caller has to send it later."""
        for is_again in (False, True):
            if self.link is None or self._is_broken:
                return False
            try:
                self.link.socket.send(data)
            except OSError as error:
                trouble = trouble_of(error, of_receiving=False)
                if trouble is not Trouble.TOO_LARGE:
                    self._on_trouble(trouble, error, now)
                    return False
                too_large = error
            else:
                if is_again:  # the error was a router's answer to an earlier datagram
                    self._on_trouble(Trouble.TOO_LARGE, too_large, now)
                self.flight.last_entries = entries
                self.counts.datagrams += 1
                self.counts.sent_bytes += len(data)
                return True
        self.flight.last_entries = entries
        self._on_trouble(Trouble.TOO_LARGE, too_large, now)
        self._problem = f"the network refuses datagrams of {len(data)} bytes; set datagram_bytes"
        return True

    def _on_trouble(self, trouble: Trouble, error: OSError, now: float) -> None:
        if trouble is Trouble.REFUSED and self.link and self.link.is_unix:
            self.counts.refused += 1
            trouble = Trouble.BROKEN  # a server that starts makes a socket of its own
        if trouble is Trouble.BLOCKED:
            self.is_blocked = True
        elif trouble is Trouble.TOO_LARGE:
            self.pack_bytes = self._datagram_bytes or (self.link.pack_bytes() if self.link else 0)
            self._problem = f"the way to {self._server} does not carry larger datagrams than {self.pack_bytes} bytes"
            self.flight.lose_last()
        elif trouble is Trouble.REFUSED:
            self.counts.refused += 1
            self.reach.refused(now)
            self.refused = self.flight.refused(now - self.reach.counted_sec) + self.refused
            self._problem = ""
        else:
            self._problem = f"cannot send to {self._server}: {error.strerror}"
            self._is_broken = True
            self.reach.failed(now)
            if trouble is Trouble.FOREIGN:
                self.reopen()

    def _connect(self, towards: list[Address], now: float) -> Event | None:
        """Makes a socket to the first of these addresses to which there is a way."""
        self._route.moved(now)
        for address in towards:
            try:
                link = self._connect_to(address)
            except Exception as error:  # also one of a guard or a sandbox
                self._problem = f"cannot reach {self._server}: {getattr(error, 'strerror', None) or error}"
                is_unix = isinstance(address[1], str)
                if is_unix and isinstance(error, (ConnectionRefusedError, FileNotFoundError)):
                    self.counts.refused += 1
                continue
            self.reach.connected(now, link.is_local, is_same=self.link is None or self.link.address == address)
            self.reopen()
            self.link, self._is_broken = link, False
            self.pack_bytes = self._datagram_bytes or link.pack_bytes()
            if link.is_local:
                self.flight.arrived(math.inf)
            if not self.is_down:
                self._problem = ""
            return Event.RECONNECTED
        if self.link is None or self._is_broken:
            self.reach.failed(now)
        return None
