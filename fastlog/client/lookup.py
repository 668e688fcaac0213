"""Looks up a server's name, again and again, without making anybody wait."""

import math
from collections.abc import Callable

from fastlog.addresses import Address, AddressError, is_numeric, resolve
from fastlog.client._native import start

INTERVAL_SEC = 300.0  # between two look-ups; entries do not wait for one
TROUBLE_INTERVAL_SEC = 10.0  # between two look-ups while the server does not answer, or could not be found


class Resolver:
    """The addresses of one server. Used by one thread alone; times are those of time.monotonic. `wake` is called by
    another thread when a look-up has ended."""

    def __init__(self, host: str, port: int, wake: Callable[[], None]) -> None:
        self.addresses: list[Address] = []
        self._host, self._port, self._wake = host, port, wake
        self._lookup: _Lookup | None = None
        self._began_at = -math.inf

    def next_at(self, is_trouble: bool) -> float:
        """When to look up again; math.inf while a look-up is under way."""
        if self._lookup:
            return math.inf
        return self._began_at + (TROUBLE_INTERVAL_SEC if is_trouble else INTERVAL_SEC)

    def refresh(self, now: float, is_trouble: bool) -> bool:
        """Begins a look-up when it is time. Returns True if one has ended, and `addresses` are new. Raises AddressError
        if one has failed."""
        if now >= self.next_at(is_trouble):
            self._began_at = now
            self._lookup = _Lookup(self._host, self._port, self._wake)
        if self._lookup is None or not self._lookup.done:
            return False
        found, self._lookup = self._lookup, None
        if found.error:
            raise found.error
        self.addresses = found.addresses
        return True

    def address_after(self, address: Address) -> Address:
        """The address to try if that one does not answer."""
        at = self.addresses.index(address) if address in self.addresses else 0
        return self.addresses[(at + 1) % len(self.addresses)]


class _Lookup:
    """One look-up, in a thread of its own: a resolver may take half a minute."""

    def __init__(self, host: str, port: int, wake: Callable[[], None]) -> None:
        self.done = False
        self.addresses: list[Address] = []
        self.error: AddressError | None = None
        self._host, self._port, self._wake = host, port, wake
        if is_numeric(host):
            self._run()
            return
        if not start(self._run):  # no more threads
            self._run()

    def _run(self) -> None:
        try:
            self.addresses = resolve(self._host, self._port)
        except AddressError as error:
            self.error = error
        self.done = True
        self._wake()
