"""One sender in detail, for `/sender`: how its address is looked up in the ledger, and when gaps were added to it."""

import ipaddress
import re
import socket
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from fastlog.addresses import split_host_port
from fastlog.answers import Growth

LOOK_SEC = 5.0  # time between two looks at the senders with the most gaps: as exactly it is known when one was added
WORST = 16  # senders with the most gaps that are looked at
SENDERS_MAX = 64  # whose gaps are noted; then the one whose gaps were noted longest ago is forgotten
MOMENTS_MAX = 120  # noted of a sender, the newest: ten minutes in which each look finds more gaps
ADDRESS_MAX_CHARACTERS = 128  # more than any address has
UNIX_KEY = 0xFFFF0000  # as in _address.pxd: the key of a sender at a unix socket

_UNIX = re.compile(r"unix:pid=([0-9]{1,9}),uid=([0-9]{1,10})(?:#([0-9a-f]{8}))?", re.ASCII)


class SenderKey(NamedTuple):
    """AddressKey in _address.pxd."""

    high: int
    low: int
    scope_and_port: int


def sender_key(text: str) -> SenderKey:
    """The key of an address as `/stats` shows it. Raises ValueError, whose text says what an address looks like."""
    try:
        return _key(text[:ADDRESS_MAX_CHARACTERS])
    except (ValueError, OSError):
        raise ValueError(
            "address is that of a sender as /stats shows it, such as 192.0.2.1:514, [2001:db8::1]:514 or "
            "unix:pid=4711,uid=33"
        ) from None


def _key(text: str) -> SenderKey:
    """Raises ValueError, and OSError for the name of an interface that there is not."""
    if match := _UNIX.fullmatch(text):
        return SenderKey(UNIX_KEY << 32 | int(match[2]) % 2**32, int(match[3] or "0", 16) << 32 | int(match[1]), 0)
    host, port = split_host_port(text, 0)
    if not port:
        raise ValueError
    return _ip_key(host, port)


def _ip_key(host: str, port: int) -> SenderKey:
    """Raises ValueError and OSError."""
    address = ipaddress.ip_address(host)
    if isinstance(address, ipaddress.IPv4Address):
        return SenderKey(0, 0xFFFF << 32 | int(address), port)
    scope = address.scope_id or ""
    number = int(scope) if scope.isdecimal() and scope.isascii() else socket.if_nametoindex(scope) if scope else 0
    return SenderKey(int(address) >> 64, int(address) % 2**64, (number % 2**32) << 16 | port)


class SenderGaps:
    """When gaps were added to the senders that have the most of them."""

    def __init__(self) -> None:
        self._noted: dict[str, _Noted] = {}  # by address, the one that was noted last at the end
        self._before: dict[str, int] = {}  # gaps of those that the last look was at

    def look(self, wall: float, worst: Iterable[tuple[str, int, int, float]]) -> None:
        """`worst`: as the ledger returns it. To be called every LOOK_SEC."""
        worst = list(worst)
        # A sender that the last look was not at had no more gaps then than each of those.
        most = min(self._before.values()) if len(self._before) >= WORST else 0
        for address, received, lost, _ in worst:
            noted = self._noted.get(address)
            if noted is None:
                noted = self._noted[address] = _Noted(min(self._before.get(address, most), lost))
            elif received < noted.received:  # another program has its address now
                noted = self._noted[address] = _Noted(0)
            if noted.note(wall, received, lost):
                self._noted[address] = self._noted.pop(address)
        self._before = {address: lost for address, _, lost, _ in worst}
        while len(self._noted) > SENDERS_MAX:
            del self._noted[next(iter(self._noted))]

    def of(self, address: str) -> list[Growth] | None:
        """When gaps were added; None: that was not noted."""
        noted = self._noted.get(address)
        return None if noted is None else list(noted.gaps)


class _Noted:
    """`before`: gaps that it may have had before."""

    def __init__(self, before: int) -> None:
        self.gaps: deque[Growth] = deque(maxlen=MOMENTS_MAX)
        self.received = 0
        self._most = before  # entries that come late fill gaps: only a new maximum is growth

    def note(self, wall: float, received: int, lost: int) -> bool:
        """Whether there are more gaps than ever."""
        self.received = received
        if lost <= self._most:
            return False
        self.gaps.append(Growth(round(wall, 3), lost - self._most))
        self._most = lost
        return True
