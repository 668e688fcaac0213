"""What a service manager such as systemd is told.

The protocol is sd_notify(3); without its variables in the environment, nothing happens. It is written out here: of the
libraries, those that are maintained either cannot say that a reload began or bring libsystemd and its compressors, and
none gives up on a manager that does not listen. `listener.py` takes over the socket that a manager keeps.
"""

import os
import socket
from collections.abc import Callable, Mapping
from time import monotonic_ns

from fastlog.errors import say
from fastlog.stats import Stats

STATUS_SEC = 10.0  # between two lines of status: for whoever looks, and nothing that a manager has to read often
SEND_SEC = 1.0  # for which a manager that does not read may hold up a start, a reload or the end


class ServiceManager:
    """Where NOTIFY_SOCKET is not set, there is none: everything is told to nobody, and `status` is not asked.

    `status` gives a line that says how it is going. `every_sec`: how often `alive` is to be called, half of what the
    manager's watchdog allows; None: never.
    """

    def __init__(self, environment: Mapping[str, str], status: Callable[[], str]) -> None:
        self._status = status
        self.every_sec: float | None = None
        self._socket: socket.socket | None = None
        self._unheard = False  # the last message did not reach it
        address = environment.get("NOTIFY_SOCKET", "")
        if not address:
            return
        if address[0] not in "/@":
            say(f"NOTIFY_SOCKET={address!r} is no path and no abstract socket: the service manager is told nothing")
            return
        self._address = "\0" + address[1:] if address[0] == "@" else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.every_sec = min(STATUS_SEC, _watchdog_sec(environment) / 2)

    def ready(self) -> None:
        """After the start, and after a reload."""
        if self._socket:
            self._tell("READY=1", f"STATUS={self._status()}")

    def reloading(self) -> None:
        """With the time, by which the manager tells this reload from an earlier one."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={monotonic_ns() // 1000}")

    def alive(self) -> None:
        """Feeds the watchdog. To be called by the loop itself, which is what the watchdog is there for."""
        if self._socket:
            self._tell("WATCHDOG=1", f"STATUS={self._status()}", wait_sec=0.0)

    def stopping(self) -> None:
        self._tell("STOPPING=1", "STATUS=writing out what it has")

    def close(self) -> None:
        if self._socket:
            self._socket.close()

    def _tell(self, *assignments: str, wait_sec: float = SEND_SEC) -> None:
        if not self._socket:
            return
        try:
            self._socket.settimeout(wait_sec)
            self._socket.sendto("\n".join(assignments).encode(), self._address)
        except OSError as error:
            if not self._unheard:
                say(f"cannot tell the service manager {assignments[0]}: {error.strerror or error}")
            self._unheard = True
        else:
            self._unheard = False


def status_line(stats: Stats) -> str:
    """One line for `systemctl status`: how it is going, and what was lost."""
    drops = stats.losses.kernel_drops
    figures = (
        f"{stats.logs_per_second:.0f} entries/s, {stats.total_received} received; lost: "
        f"{'unknown' if drops is None else drops} in the kernel, {stats.losses.disk} to the disk"
    )
    return "; ".join([f"{stats.health.status}: {figures}", *stats.health.reasons])


def _watchdog_sec(environment: Mapping[str, str]) -> float:
    """What the manager's watchdog allows; infinite if it does not watch this process."""
    usec = environment.get("WATCHDOG_USEC", "")
    watched = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(usec) / 1e6 if watched and usec.isdecimal() and int(usec) else float("inf")
