"""The way to the server, and whether it is open: finds the address, holds the link, and deals with refusals.

When the network says that nothing listens there, new entries wait, and one datagram is sent now and then to try again.
A server on this machine refuses at once, so what it refused is known, and goes first when it is back; elsewhere the
refusal may be of any datagram under way, and what was in it is lost. The flow is told when the way has changed.
"""

import errno
import math

from fastlog.addresses import Address
from fastlog.client.link import Link, Lookup
from fastlog.client.retransmit import Flow

REFUSED_FIRST_SEC = 0.05  # before the next try after a refusal; doubles
REFUSED_LONGEST_SEC = 1.0  # so that a server that comes back is noticed soon
REFUSAL_SEC = 0.2  # for which the refusal of a try may be on its way
FULL_FIRST_SEC = 0.001  # before the receive buffer of a server on this machine is looked at again; doubles
FULL_LONGEST_SEC = 0.02  # its thread is asleep then, or it hangs
LOOKUP_SEC = 300.0  # between two look-ups of the server's name, off the way of entries
LOOKUP_TROUBLE_SEC = 10.0  # the same while the server does not answer, or could not be found


class Way:
    """Used by one thread alone; nothing here waits. Times are of time.monotonic."""

    def __init__(self, host: str, port: int, send_buffer: int, datagram_bytes: int | None, flow: Flow) -> None:
        self.link: Link | None = None
        self.pack_bytes = 0  # up to which size several entries share a datagram
        self.is_down = False
        self.is_blocked = False  # the socket takes no more at present
        self.again: list[bytes] = []  # what was refused, to be sent again before everything else
        self.problem = ""
        self.datagrams = self.sent_bytes = self.refused = 0
        self.lost = 0  # datagrams refused and not sent again; which entries were in them is not known
        self._host, self._port, self._send_buffer, self._datagram_bytes = host, port, send_buffer, datagram_bytes
        self._flow = flow
        self._lookup: Lookup | None = None
        self._looked_up_at = -math.inf
        self._addresses: list[Address] = []
        self._credit = 0  # bytes that the server's receive buffer takes before it is looked at again
        self._full_delay = FULL_FIRST_SEC
        self._try_at = math.inf
        self._try_delay = REFUSED_FIRST_SEC
        self._up_at = math.inf  # if the last try is not refused until then, it came through
        self._unsure = b""  # the last datagram, as long as its refusal may come

    @property
    def next_at(self) -> float:
        """When there is something to do, if nothing comes before."""
        lookup_at = math.inf if self._lookup else self._looked_up_at + self._lookup_interval()
        return min(lookup_at, self._try_at, self._up_at)

    @property
    def is_settled(self) -> bool:
        """Nothing may still be refused or has to be sent again."""
        return not (self.again or self._unsure)

    def look_after(self, now: float, wake_fd: int) -> None:
        """Looks up the name when it is time, and makes the link."""
        if self._lookup is None and now >= self._looked_up_at + self._lookup_interval():
            self._looked_up_at = now
            self._lookup = Lookup(self._host, self._port, wake_fd)
        if self._lookup and self._lookup.done:
            found, self._lookup = self._lookup, None
            if found.problem:
                self.problem = found.problem
                return
            self._addresses = found.addresses
            if self.link is None or self.link.address not in self._addresses:
                self._connect(self._addresses[0], now)

    def acks(self, now: float) -> list[int]:
        """The sequences acknowledged since the last call."""
        if self.link is None:
            return []
        sequences, refusals = self.link.acks()
        for _ in range(refusals):
            self._on_refused(now)
        if sequences and not refusals and self.is_down:
            self._come_up(now)
        if not self.is_down:
            self._unsure = b""  # a server on this machine would have refused it by now
        return sequences

    def may_try(self, now: float) -> bool:
        """While the way is down: is it time for a datagram that tries again? Then it has to be sent now."""
        if self._up_at <= now:
            self._come_up(now)
        if not self.is_down or now < self._try_at:
            return False
        if self.link and len(self._addresses) > 1:  # another one may be served
            at = self._addresses.index(self.link.address) if self.link.address in self._addresses else 0
            self._connect(self._addresses[(at + 1) % len(self._addresses)], now)
        self._try_at = math.inf
        self._up_at = now + (0 if self.link and self.link.is_local else REFUSAL_SEC)
        return True

    def put(self, datagram: bytes, now: float) -> bool:
        """Sends one datagram; False if it was not sent."""
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
            self.problem = f"the way takes no datagram of {len(datagram)} bytes; set datagram_bytes"
            self.lost += 1
            return True
        self.datagrams += 1
        self.sent_bytes += len(datagram)
        self._unsure = datagram if self.link.is_local or self.is_down else b""
        return True

    def put_again(self, now: float) -> bool:
        """Sends the first of `again`."""
        datagram = self.again.pop(0)
        if self.put(datagram, now):
            return True
        self.again.insert(0, datagram)
        return False

    def put_repetition(self, datagram: bytes, now: float) -> None:
        """Sends what is repeated anyway until it is acknowledged."""
        if self.put(datagram, now):
            self._unsure = b""

    def room_at(self, datagram: bytes, now: float) -> float:
        """When a datagram may be sent, which is now unless a server on this machine has no room for it."""
        cost = Link.cost_of(len(datagram))
        if self.link and self._credit < cost:
            self._credit = self.link.room()
            if self._credit < cost:
                at = now + self._full_delay
                self._full_delay = min(self._full_delay * 2, FULL_LONGEST_SEC)
                return at
            self._full_delay = FULL_FIRST_SEC
        self._credit -= cost
        return now

    def give_up(self) -> None:
        """Counts what is not settled as lost."""
        self.lost += len(self.again) + bool(self._unsure)
        self.again, self._unsure = [], b""

    def close(self) -> None:
        if self.link:
            self.link.close()

    def _lookup_interval(self) -> float:
        return LOOKUP_TROUBLE_SEC if self.link is None or self.is_down or self._flow.silent else LOOKUP_SEC

    def _connect(self, address: Address, now: float) -> None:
        try:
            link = Link(address, self._send_buffer)
        except OSError as error:
            self.problem = f"cannot reach the server {self._host!r}: {error.strerror}"
            return
        self.close()
        self.link = link
        self.pack_bytes = self._datagram_bytes or link.pack_bytes()
        self._credit = 0
        self._unsure = b""
        self.problem = ""
        if self._flow.pending:
            self._flow.fall_silent(now)

    def _on_refused(self, now: float) -> None:
        self.refused += 1
        if self._unsure:
            self.again.append(self._unsure)
            self._unsure = b""
        elif not self.is_down:
            self.lost += 1
        self._go_down(now)

    def _go_down(self, now: float) -> None:
        self._try_delay = min(self._try_delay * 2, REFUSED_LONGEST_SEC) if self.is_down else REFUSED_FIRST_SEC
        self.is_down = True
        self._try_at = now + self._try_delay
        self._up_at = math.inf

    def _come_up(self, now: float) -> None:
        self.is_down = False
        self._try_at = self._up_at = math.inf
        self._unsure = b""
        self._flow.hurry(now)
