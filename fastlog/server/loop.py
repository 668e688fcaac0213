"""The event loop: one thread, one selector, and deadlines instead of timers.

It knows nothing of logs. A turn is: wait for a socket or the next deadline, call the readers that are ready, call the
deadlines that have come. Callbacks get the clock, which is read once a turn.
"""

import contextlib
import math
import selectors
import signal
import socket
from collections.abc import Callable, Collection
from time import monotonic
from types import FrameType

Callback = Callable[[float], None]


class Deadline:
    """A moment at which the loop makes one call; set and cleared at will."""

    __slots__ = ("_callback", "_loop", "at")

    def __init__(self, loop: "Loop", callback: Callback) -> None:
        self._loop = loop
        self._callback = callback
        self.at = math.inf  # on the clock of time.monotonic, in seconds

    def set(self, at: float) -> None:
        self.at = at
        self._loop.next_at = min(self._loop.next_at, at)

    def set_if_clear(self, at: float) -> None:
        if self.at == math.inf:
            self.set(at)

    def clear(self) -> None:
        self.at = math.inf

    def fire(self, now: float) -> None:
        self.at = math.inf
        self._callback(now)


class _Call:
    """A call that another thread asks for; however often it asks before it is made, it is made once."""

    def __init__(self, callback: Callback, wake: socket.socket) -> None:
        self._callback = callback
        self._wake = wake
        self._asked = False

    def ask(self) -> None:
        self._asked = True
        with contextlib.suppress(BlockingIOError):  # a byte that wakes the loop is in it already
            self._wake.send(b"\0")

    def make(self, now: float) -> None:
        if self._asked:
            self._asked = False
            self._callback(now)


class Loop:
    """Runs callbacks until it is stopped. Not thread-safe; signals and other threads wake it through a socket pair."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._deadlines: list[Deadline] = []
        self.next_at = math.inf  # the earliest deadline, or earlier; to look at all of them every turn costs too much
        self._running = True
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._calls: list[_Call] = []
        self.on_readable(self._wake_read, self._on_wake)

    def _on_wake(self, now: float) -> None:
        self._wake_read.recv(4096)
        for call in self._calls:
            call.make(now)

    def on_readable(self, source: socket.socket | int, callback: Callback) -> None:
        self._selector.register(source, selectors.EVENT_READ, callback)

    def forget(self, source: socket.socket | int) -> None:
        """Watches the source no longer, until `on_readable` names it again."""
        self._selector.unregister(source)

    def sources_but(self, fds: Collection[int]) -> list[int]:
        """The file descriptors of all sources that the loop watches, except these."""
        return [key.fd for key in self._selector.get_map().values() if key.fd not in fds]

    def deadline(self, callback: Callback) -> Deadline:
        """A new deadline, clear at first."""
        deadline = Deadline(self, callback)
        self._deadlines.append(deadline)
        return deadline

    def from_thread(self, callback: Callback) -> Callable[[], None]:
        """A function for another thread, which returns at once, and has the loop make the call."""
        call = _Call(callback, self._wake_write)
        self._calls.append(call)
        return call.ask

    def on_signal(self, number: int, callback: Callable[[], None]) -> None:
        """The callback runs between two bytecodes of the main thread, so it should only set something."""

        def handler(_number: int, _frame: FrameType | None) -> None:
            callback()

        signal.set_wakeup_fd(self._wake_write.fileno(), warn_on_full_buffer=False)
        signal.signal(number, handler)

    def run(self) -> None:
        select = self._selector.select
        while self._running:
            ready = select(None if self.next_at == math.inf else max(0.0, self.next_at - monotonic()))
            now = monotonic()
            for key, _ in ready:
                key.data(now)
            if self.next_at <= now:
                self._fire(now)

    def _fire(self, now: float) -> None:
        due = [deadline for deadline in self._deadlines if deadline.at <= now]
        self.next_at = min((deadline.at for deadline in self._deadlines if deadline.at > now), default=math.inf)
        for deadline in due:
            deadline.fire(now)

    def stop(self) -> None:
        """Ends `run` after the present turn."""
        self._running = False

    def close(self) -> None:
        signal.set_wakeup_fd(-1)
        self._selector.close()
        self._wake_read.close()
        self._wake_write.close()
