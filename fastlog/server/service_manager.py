"""Notifies a service manager such as systemd of the start, reloads, the end, and that the server still works.

The protocol is sd_notify(3), which NOTIFY_SOCKET in the environment turns on. It is implemented here because no
maintained library fits: some cannot announce a reload, others bring libsystemd and its compressors, and none gives up
on a manager that does not read. `listener.py` takes over the socket that a manager keeps.
"""

import os
import socket
from collections.abc import Callable, Mapping
from time import monotonic_ns

from fastlog.errors import say

STATUS_SEC = 10.0  # time between two status lines: only people read them, so more would be of no use
SEND_SEC = 1.0  # how long a manager that does not read may delay a start or the end


class ServiceManager:
    """Without NOTIFY_SOCKET there is no manager: every method does nothing, and `status` is never called.

    `status` returns one line on the state of the server. `every_sec` is the time between two calls of `alive`, at most
    half of the watchdog's limit; None: never call it.
    """

    def __init__(self, environment: Mapping[str, str], status: Callable[[], str]) -> None:
        self._status = status
        self.every_sec: float | None = None
        self._socket: socket.socket | None = None
        self._failing = False  # the last message did not reach the manager
        self._unsent: list[tuple[str, ...]] = []  # messages of a reload that the manager has not taken yet
        address = environment.get("NOTIFY_SOCKET", "")
        if not address:
            return
        if address[0] not in "/@":
            say(
                f"NOTIFY_SOCKET={address!r} is neither a path nor an abstract socket; not notifying the service manager"
            )
            return
        self._address = "\0" + address[1:] if address[0] == "@" else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.every_sec = min(STATUS_SEC, _watchdog_sec(environment) / 2)

    def ready(self) -> None:
        """Call this after the start."""
        if self._socket:
            self._notify("READY=1", f"STATUS={self._status()}", wait_sec=SEND_SEC)

    def reloading(self) -> None:
        """The time lets the manager distinguish this reload from an earlier one."""
        self._unsent = [("RELOADING=1", f"MONOTONIC_USEC={monotonic_ns() // 1000}")]
        self._send_unsent()

    def reloaded(self) -> None:
        """A reload never waits for the manager: what it does not take is sent again by `alive`."""
        if self._socket:
            self._unsent.append(("READY=1", f"STATUS={self._status()}"))
            self._send_unsent()

    def alive(self) -> None:
        """Feeds the watchdog. Only the loop may call this: the watchdog is there to find a loop that hangs."""
        if self._socket:
            self._send_unsent()
            self._notify("WATCHDOG=1", f"STATUS={self._status()}")

    def stopping(self) -> None:
        self._notify("STOPPING=1", "STATUS=flushing", wait_sec=SEND_SEC)

    def close(self) -> None:
        if self._socket:
            self._socket.close()

    def _send_unsent(self) -> None:
        while self._unsent and self._notify(*self._unsent[0]):
            del self._unsent[0]

    def _notify(self, *assignments: str, wait_sec: float = 0.0) -> bool:
        """Whether the manager took the message, or there is no manager."""
        if not self._socket:
            return True
        try:
            self._socket.settimeout(wait_sec)
            # Connected each time, since the manager may have made its socket anew. Without it, poll reports that a
            # manager can take a message which cannot, and the wait would use a whole processor.
            self._socket.connect(self._address)
            self._socket.send("\n".join(assignments).encode(errors="replace"))
        except OSError as error:
            if not self._failing:
                say(f"cannot send {assignments[0]} to the service manager: {error.strerror or error}")
            self._failing = True
        else:
            self._failing = False
        return not self._failing


def _watchdog_sec(environment: Mapping[str, str]) -> float:
    """The watchdog's limit, in seconds; infinite if the manager does not watch this process."""
    usec = environment.get("WATCHDOG_USEC", "")
    watched = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(usec) / 1e6 if watched and usec.isdecimal() and int(usec) else float("inf")
