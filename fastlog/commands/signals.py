"""The signals that ask a command to end, for a command that finishes what it has begun."""

import os
import select
import signal
import time
from types import FrameType
from typing import Self

ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# timeout(1), a service manager and a shell whose terminal closes send two signals for one wish to end.
ONE_WISH_SEC = 0.2


class SecondSignalError(Exception):
    """The user does not want to wait any longer."""


class EndingSignals:
    """While it is entered, the first signal is only noted, and wakes `wait`. A second one raises SecondSignalError in
    the main thread, once, and unless `ignore_second` was called. A signal that the caller of the command ignores, as
    nohup does, stays ignored."""

    def __init__(self) -> None:
        self.came: signal.Signals | None = None
        self.came_at = 0.0  # by time.monotonic
        self._may_raise = True

    def __enter__(self) -> Self:
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._wake, False)
        self._wake_before = signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        self._before = {
            number: signal.signal(number, self._note)
            for number in ENDING_SIGNALS
            if signal.getsignal(number) is not signal.SIG_IGN
        }
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wake_before)
        os.close(self._woken)
        os.close(self._wake)

    def ignore_second(self) -> None:
        """From now on the command ends by itself, soon."""
        self._may_raise = False

    def wait(self, seconds: float | None, source: int | None = None) -> bool:
        """Waits until there is something to read from the descriptor `source`, a signal has come, or the time is over.
        Returns whether there is something to read, or an error to be read."""
        ready = select.poll()
        ready.register(self._woken, select.POLLIN)
        if source is not None:
            ready.register(source, select.POLLIN)
        return any(fd == source for fd, _ in ready.poll(None if seconds is None else seconds * 1000))

    def _note(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.came is None:
            self.came, self.came_at = signal.Signals(number), now
        elif self._may_raise and now >= self.came_at + ONE_WISH_SEC:
            self._may_raise = False
            raise SecondSignalError
