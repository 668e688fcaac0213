"""What `_native.pyx` does, in Python and on any system: threads, forks, wake-ups and waits.

A library that replaces the standard library's threads (gevent, eventlet) replaces these, too, if it does so before this
module is imported: then the client's thread is a greenlet among the program's own. Later it changes nothing here.
"""

import _socket
import os
import select
import signal
import socket
import sys
import time
from _thread import get_ident, interrupt_main, start_new_thread
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from fastlog.client.descriptor import Descriptor, close_socket, socket_above_standard_streams

READ, WRITE = 1, 4  # POLLIN and POLLOUT, which have these numbers everywhere
WAIT_MAX_SEC = 3600.0  # the longest wait; a longer one is begun anew
DRAINED_BYTES = 1024  # read at once of what woke the thread; each wake-up is one byte

this_thread = get_ident
getpid = os.getpid
_sleep = time.sleep
_select = select.select
_poll = getattr(select, "poll", None)  # Windows has none


class _Process:
    """This process, and an error of a signal handler that waits for the end of a fork."""

    def __init__(self) -> None:
        self.number = getpid()
        self.forks = 0
        self.interruption: BaseException | None = None
        self.handler: Any = None  # of SIGINT, before it was replaced by one that raises the interruption

    def note_fork(self) -> None:
        self.number = getpid()
        self.forks += 1


process = _Process()
if hasattr(os, "register_at_fork"):
    # The child may have the number of its parent, in a namespace of its own.
    os.register_at_fork(after_in_child=process.note_fork)


def generation() -> int:
    """Another number after each fork, also one that Python has not made."""
    if getpid() != process.number:
        process.note_fork()
    return process.forks


def note_fork_of_python(is_under_way: bool) -> None:
    """The compiled twin keeps forks of C code from those of Python apart. Here, threads have no part in them."""


def may_start_threads() -> bool:
    """Whether a thread may run in this process. Not in the master process of uWSGI: it forks in C code, and waits for
    no thread. If one has Python's lock at that moment, or the lock of a module, the child waits for that lock for ever.
    """
    uwsgi = sys.modules.get("uwsgi")  # there is such a module in its processes only
    try:
        return uwsgi is None or uwsgi.masterpid() != getpid()
    except AttributeError:  # another module of that name
        return True


def start(run: Callable[[], None]) -> bool:
    """Runs `run()`, which raises nothing, in a new thread. Returns False if there is no thread for it."""
    if not may_start_threads():
        return False
    try:
        start_new_thread(run, ())
    except RuntimeError:
        return False
    return True


def keep_interruption(error: BaseException | None) -> None:
    """An error of a signal handler that came before a fork of Python, where it would reach nobody; None for none."""
    if _raised_after_fork:
        _raised_after_fork.clear()
        signal.signal(signal.SIGINT, process.handler)
    if error is None:
        return
    process.handler, process.interruption = signal.getsignal(signal.SIGINT), error
    if process.handler is not None:  # otherwise C code has set it, and nothing could set it again
        with suppress(ValueError):  # another thread forks, and no signal handler has run in it
            signal.signal(signal.SIGINT, _raise_again)
            _raised_after_fork.append(signal.SIGINT)


def _raise_again(*_: object) -> None:
    error = process.interruption
    keep_interruption(None)
    if error is not None:
        raise error


# To be called in the parent. The main thread raises the error that was kept as soon as it runs Python code: as if a
# signal came, whose handler raises it. So this must not be such code itself: it raises each of these signals.
_raised_after_fork: list[int] = []
after_fork_of_python = partial(_raised_after_fork.sort, key=interrupt_main)


def pause(seconds: float) -> None:
    """Sleeps: for the client's own thread."""
    _sleep(max(0.0, min(seconds, WAIT_MAX_SEC)))


def _ready(waited: Sequence[tuple[int, int]], seconds: float) -> set[int]:
    """The descriptors among these pairs of a descriptor and READ or WRITE or both that are ready, or not open."""
    if _poll:
        waiting = _poll()
        for fd, events in waited:
            waiting.register(fd, events)
        return {fd for fd, _ in waiting.poll(seconds * 1000)}
    readers = [fd for fd, events in waited if events & READ]
    writers = [fd for fd, events in waited if events & WRITE]
    try:
        found = _select(readers, writers, [], seconds)
    except (OSError, ValueError):  # one of them is not open
        return {fd for fd, _ in waited}
    return {*found[0], *found[1]}


class Wakeup:
    """Wakes the client's thread, which waits for it among its sockets. It is a pair of sockets, since some systems wait
    for nothing else. Opened by the thread that waits, so that making a client opens no descriptor."""

    def __init__(self) -> None:
        self._ends: list[tuple[_socket.socket, Descriptor]] = []  # the one that is read, and the one that is written

    def __del__(self) -> None:
        self.close()

    def open(self) -> None:
        """Makes a pair, in place of the one before. Raises OSError where the process has no descriptor left."""
        self.close()
        make = getattr(_socket, "socketpair", socket.socketpair)  # Windows has only the one in Python
        for made in make():
            end = socket_above_standard_streams(made)
            end.setblocking(False)
            self._ends.append((end, Descriptor(end.fileno())))

    def close(self) -> None:
        """Closes what is still its own, and forgets the rest."""
        ends, self._ends = self._ends, []
        for end, descriptor in ends:
            close_socket(end, descriptor)

    @property
    def is_open(self) -> bool:
        """Both ends are open, and are those of this pair."""
        ends = self._ends
        return len(ends) == 2 and ends[0][1].is_ours() and ends[1][1].is_ours()

    def wake(self) -> bool:
        """Ends the wait of the thread, or the next one. Returns False if the thread cannot be woken."""
        ends = self._ends
        if not self.is_open:
            return False
        with suppress(OSError, IndexError):  # a pair that is full wakes the thread, too
            ends[1][0].send(b"w")
        return True

    def wait(self, others: list[tuple[int, int]], seconds: float) -> None:
        """Waits until it is woken, one of the other descriptors is ready, or the time is over. `others` are pairs of a
        descriptor and READ or WRITE or both. The error of a signal handler is raised in the main thread."""
        ends = self._ends
        if not self.is_open:
            return
        fd = ends[0][1].fd
        if fd in _ready([(fd, READ), *others], max(0.0, min(seconds, WAIT_MAX_SEC))) and self.is_open:
            with suppress(OSError):
                ends[0][0].recv(DRAINED_BYTES)
