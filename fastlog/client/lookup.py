"""Looks up a server's name, again and again, without making anybody wait."""

import contextlib
import math
from collections.abc import Callable
from functools import partial

from fastlog.addresses import Address, AddressError, is_numeric, resolve
from fastlog.client.core import start

INTERVAL_SEC = 300.0  # between two look-ups; entries do not wait for one
TROUBLE_INTERVAL_SEC = 10.0  # between two look-ups while the server does not answer; the most after one that failed
FAILED_FIRST_SEC = 0.5  # after a look-up that failed; doubles
ADDRESSES_MAX = 32  # of one name; whoever answers for the name chooses how many it has


class Resolver:
    """The addresses of one server. Used by one thread alone; times are those of time.monotonic. `wake` is called by
    another thread when a look-up has ended."""

    def __init__(self, host: str, port: int, wake: Callable[[], None]) -> None:
        self.addresses: list[Address] = []
        self._host, self._port, self._wake = host, port, wake
        self._lookup: _Lookup | None = None
        self._began_at = -math.inf
        self._failed_sec = 0.0  # the wait after the last look-up, if it failed

    def next_at(self, is_trouble: bool) -> float:
        """When there is something to do: the next look-up, or the end of the present one; math.inf until that ends."""
        if self._lookup:
            return self._began_at if self._lookup.done else math.inf
        return self._began_at + (self._failed_sec or (TROUBLE_INTERVAL_SEC if is_trouble else INTERVAL_SEC))

    def refresh(self, now: float, is_trouble: bool) -> bool:
        """Begins a look-up when it is time. Returns True if one has ended, and `addresses` are new. Raises AddressError
        if one has failed."""
        if self._lookup is None and now >= self.next_at(is_trouble):
            self._lookup = self._begin()
            self._began_at = now
        if self._lookup is None or not self._lookup.done:
            return False
        found = self._lookup
        if found.error:
            self._failed_sec = min(max(self._failed_sec * 2, FAILED_FIRST_SEC), TROUBLE_INTERVAL_SEC)
            self._began_at = now
            self._lookup = None
            raise found.error
        self._failed_sec = 0.0
        self.addresses = found.addresses
        self._lookup = None  # last: a signal handler may raise an error, which has all of this done again
        return True

    def _begin(self) -> "_Lookup":
        lookup = _Lookup(self._host, self._port)
        try:
            if is_numeric(self._host):
                lookup.run()
            else:
                self._start(lookup)
        except Exception as error:  # such as no memory
            lookup.fail(repr(error))
        return lookup

    def _start(self, lookup: "_Lookup") -> None:
        if start(partial(lookup.run, self._wake)):
            return
        if self.addresses:  # no thread is left, or the interpreter ends: the addresses at hand stay in use
            lookup.fail("the process may have no more threads")
        else:
            lookup.run()


class _Lookup:
    """One look-up. It gets a thread of its own, since a resolver may take half a minute, or hang for ever."""

    def __init__(self, host: str, port: int) -> None:
        self.done = False
        self.addresses: list[Address] = []
        self.error: AddressError | None = None
        self._host, self._port = host, port

    def run(self, wake: Callable[[], None] | None = None) -> None:
        """Raises nothing: an error of any kind is a look-up that failed."""
        try:
            found = dict.fromkeys(resolve(self._host, self._port))
            self.addresses = list(found)[:ADDRESSES_MAX]
            if not found:
                self.fail("the name has no address")
        except AddressError as error:
            self.error = error
        except Exception as error:
            self.fail(repr(error))
        self.done = True
        if wake:
            with contextlib.suppress(Exception):  # without its descriptors the client sees `done` at its next turn
                wake()

    def fail(self, reason: str) -> None:
        self.error = AddressError(self._host, reason)
        self.done = True
