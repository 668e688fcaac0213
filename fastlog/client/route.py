"""Where the server is, and when another socket is to be made to it. There is no socket in here.

A name may have several addresses, and nobody may answer at the first of them. A machine's own address may change, and a
translator of addresses on the way may forget a port, while the socket stays what it was. So when the server is silent
although an entry waits for its ACK, or is down, the client moves to a new socket: to the next address, or to the same
one. It stays where answers come from.
"""

import math
from collections.abc import Callable

from fastlog.addresses import Address, AddressError
from fastlog.client.lookup import Resolver

QUIET_SEC = 5.0  # without any answer, until the next move; doubles after each round of all addresses
QUIET_LONGEST_SEC = 300.0  # to a server, each new socket is a new sender
AGAIN_SEC = 1.0  # after a move that failed
PATH_SEC = 10.0  # between two looks at the path: the largest datagram, and this machine's own address


class Route:
    """Used by one thread alone; nothing here waits. Times are those of time.monotonic. `wake` wakes the thread."""

    def __init__(self, host: str, port: int, wake: Callable[[], None]) -> None:
        self.problem = ""  # of the look-up
        self.heard_at = -math.inf
        self._resolver = Resolver(host, port, wake)
        self._moved_at = -math.inf
        self._moves = 0  # since the server was heard
        self._path_at = math.inf

    def next_at(self, is_trouble: bool, since: float) -> float:
        """When there is something to do. `since`: since when the server is down, or an entry waits for its ACK."""
        return min(self._resolver.next_at(is_trouble), self._move_at(since))

    def look_up(self, now: float, is_trouble: bool) -> list[Address]:
        """Looks up the name when it is time. Returns the addresses that are known."""
        try:
            if self._resolver.refresh(now, is_trouble):
                self.problem = ""
        except AddressError as error:
            self.problem = str(error)
        return self._resolver.addresses

    def move(self, now: float, address: Address, since: float) -> list[Address]:
        """The addresses to try, in order, if it is time to leave that one; otherwise none."""
        if address not in self._resolver.addresses:
            return self.after(address) if now >= self._moved_at + AGAIN_SEC else []
        if now < self._move_at(since):
            return []
        self._moves += 1
        return self.after(address)

    def after(self, address: Address | None) -> list[Address]:
        """All addresses, beginning with the one to try if that one does not answer."""
        addresses = self._resolver.addresses
        at = addresses.index(address) + 1 if address in addresses else 0
        return addresses[at:] + addresses[:at]

    def moved(self, now: float) -> None:
        """A new socket was made, or could not be made."""
        self._moved_at = now
        self._path_at = now + PATH_SEC

    def heard(self, now: float) -> None:
        """The server has acknowledged an entry."""
        self.heard_at = now
        self._moves = 0

    def is_path_due(self, now: float) -> bool:
        """Whether it is time for a look at the path."""
        if now < self._path_at:
            return False
        self._path_at = now + PATH_SEC
        return True

    def _move_at(self, since: float) -> float:
        if since == math.inf or self._moved_at == -math.inf:
            return math.inf
        rounds = self._moves // max(1, len(self._resolver.addresses))
        wait = min(QUIET_SEC * float(2 ** min(rounds, 16)), QUIET_LONGEST_SEC)
        return max(since, self.heard_at, self._moved_at) + wait
