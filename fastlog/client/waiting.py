"""Threads that wait until another one has done something. An error that is reported for a while."""

import _thread
import contextlib
import math
import threading
import types
from collections.abc import Callable, Iterator
from time import monotonic

GREEN_SEC = 0.02  # how often a greenlet looks whether it has been released: an event of another thread may not wake it
PROBLEM_SEC = 60.0  # how long an error is reported after it was noted


def is_true(holds: Callable[[], bool]) -> bool:
    """Whether it holds, as far as a thread can see that may look in the middle of another one's change."""
    try:
        return holds()
    except (IndexError, KeyError, RuntimeError, StopIteration):
        return False


def never() -> bool:
    """For those who wait for the end of the thread."""
    return False


class Waiter:
    def __init__(self) -> None:
        self._released = threading.Event()
        self.release = self._released.set

    def wait(self, until: float) -> None:
        """Waits until it is released, or for no reason."""
        is_green = not isinstance(_thread.start_new_thread, types.BuiltinFunctionType)
        seconds = min(until - monotonic(), GREEN_SEC if is_green else math.inf)
        self._released.wait(None if seconds == math.inf else max(0.0, seconds))
        self._released.clear()


class Waiters:
    def __init__(self) -> None:
        self._waiting: dict[Waiter, Callable[[], bool]] = {}  # each is released when its condition holds

    @contextlib.contextmanager
    def one(self, holds: Callable[[], bool]) -> Iterator[Waiter]:
        waiter = Waiter()
        self._waiting[waiter] = holds
        try:
            yield waiter
        finally:  # a signal handler may raise an error meanwhile
            self._waiting.pop(waiter, None)

    def release(self) -> None:
        """Releases those whose condition holds."""
        for waiter, holds in self._waiting.copy().items():  # other threads change it meanwhile
            if is_true(holds):
                waiter.release()

    def release_all(self) -> None:
        for waiter in list(self._waiting):
            waiter.release()


class Trouble:
    """The latest error."""

    def __init__(self) -> None:
        self._text = ""
        self._noted_at = -math.inf

    def note(self, text: str) -> None:
        self._text, self._noted_at = text, monotonic()

    @property
    def text(self) -> str:
        return self._text if monotonic() - self._noted_at < PROBLEM_SEC else ""
