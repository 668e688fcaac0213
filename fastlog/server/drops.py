"""What the kernel dropped at the sockets: because a receive buffer was full, or because a filter kept it out.

The kernel has one counter for both at a socket. But of a whole network namespace it also counts how often a receive
buffer was full, or a checksum wrong; what the filter drops is in neither figure. So while there is a filter, the rest
of what the sockets dropped is what it kept out.

If another program's receive buffer is full within the same second, that makes the share of the filter look smaller than
it is, never larger: a loss is never taken for the filter's work, but for one that the kernel is just counting.
"""

import contextlib
import socket
from collections.abc import Callable
from pathlib import Path

SO_NETNS_COOKIE = 71  # from asm-generic/socket.h; since Linux 5.14
# The errors of UDP that count as drops of a socket, but for those of a filter.
ERRORS = ("RcvbufErrors", "MemErrors", "InCsumErrors")
SNMP = Path("/proc/self/net/snmp")
SNMP6 = Path("/proc/self/net/snmp6")


def errors_of_namespace() -> int:
    """ERRORS so far, of IPv4 and IPv6, in this process's network namespace. Raises OSError or ValueError."""
    names, values = (line.split() for line in SNMP.read_text().splitlines() if line.startswith("Udp: "))
    count = sum(int(value) for name, value in zip(names, values, strict=True) if name in ERRORS)
    with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
        fields = (line.split() for line in SNMP6.read_text().splitlines())
        count += sum(int(value) for name, value in fields if name.removeprefix("Udp6") in ERRORS)
    return count


def can_tell_apart(sock: socket.socket) -> bool:
    """Whether the counters of the namespace can be read, and are those of the socket, which may be of another one."""
    try:
        errors_of_namespace()
    except (OSError, ValueError):
        return False
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mine:
        return _namespace(mine) == _namespace(sock)
    return True


def _namespace(sock: socket.socket) -> bytes:
    return sock.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)


class Drops:
    """`read`: all drops of the sockets so far; None: the kernel does not count them."""

    def __init__(self, read: Callable[[], int | None]) -> None:
        self._read = read
        self._filtering = False
        self._seen = 0  # of all drops
        self._errors = 0  # of the namespace, as last read
        self._errors_left = 0  # errors that were seen before the drops that belong to them
        self._filtered = 0

    def filtering(self, is_on: bool) -> None:
        """To be called before the first filter is set, and after the last one was taken off."""
        if is_on == self._filtering:
            return
        errors = _errors_or(0) if is_on else 0  # before the drops: what overflows meanwhile is none of the filter's
        self.count()
        self._filtering = is_on
        self._errors, self._errors_left = errors, 0

    def count(self) -> tuple[int | None, int | None]:
        """Datagrams dropped because a receive buffer was full (or a checksum wrong), and kept out by a filter."""
        drops = self._read()  # before the errors: the kernel counts a drop first, and then the error
        if drops is None:
            return None, None
        if self._filtering:
            errors = _errors_or(self._errors)
            new_errors, self._errors = errors - self._errors, errors
            new = drops - self._seen
            lost = min(new, new_errors + self._errors_left)
            self._errors_left = min(new_errors, new_errors + self._errors_left - lost)
            self._filtered += new - lost
        self._seen = drops
        return drops - self._filtered, self._filtered


def _errors_or(last: int) -> int:
    """The errors of the namespace; `last` if they cannot be read now."""
    try:
        return errors_of_namespace()
    except (OSError, ValueError):
        return last
