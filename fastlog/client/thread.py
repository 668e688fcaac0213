"""The thread that works for a client, as a fact and not as a flag.

The outbox knows whether a thread of this process works. Whoever finds none, starts one: a log call, `flush`, `close`.
Whatever an error ends, begins again after a pause, with what was accepted; `problem` reports it. Where no thread can be
started, those who wait do the work themselves, and at the end of the program every call does.

Other threads reach the worker by the outbox, by waiters and by flags, for which the GIL is enough.
"""

import _thread
import contextlib
import math
import threading
import types
from collections.abc import Callable
from functools import partial
from sys import is_finalizing
from time import monotonic
from typing import NamedTuple

from fastlog.client._native import pause
from fastlog.client._outbox import Outbox
from fastlog.client.options import ClientOptions
from fastlog.client.stats import ClientStats
from fastlog.client.worker import Worker

START_AGAIN_SEC = 0.5  # until a thread that could not be started is tried again: each try is a system call
PAUSE_FIRST_SEC = 0.1  # after an error, before the work begins again; doubles
PAUSE_LONGEST_SEC = 5.0  # so that a client works again soon after the trouble is over
PAUSE_PART_SEC = 0.1  # in a pause, how often the thread looks whether it is to end: nothing wakes it then
PROBLEM_SEC = 60.0  # how long an error is reported after the work has begun again
LEAVING_SEC = 30.0  # a client that nobody uses any more tries so long: a restart of the server takes less
STALL_SEC = 0.3  # without an ACK, a handler is not waited for any longer: it may be one of several, under a lock
END_SEC = 1.0  # the longest wait for the end of the thread, which waits for nothing but its sockets
GREEN_SEC = 0.02  # how often a greenlet looks whether it has been released: an event of another thread may not wake it


class EndOfProgram:
    """Whether the program ends: then no thread is started any more, and nobody waits longer than until that time. The
    two functions are those of `lifecycle.py`."""

    until = math.inf
    has_begun = False
    expect: Callable[[], None]  # called before a thread is started
    tell: Callable[[dict[str, "Lost"]], None]  # reports what was not delivered, by server


class Lost(NamedTuple):
    entries: int
    reason: str


end_of_program = EndOfProgram()


class ClientThread:
    def __init__(self, options: ClientOptions) -> None:
        self.outbox = Outbox(options, self)
        self.server = f"{options.host} port {options.port}/udp"
        self._options = options
        self._workers: dict[int, Worker] = {}  # by the generation of the outbox; only the newest one is used
        self._waiters: dict[threading.Event, Callable[[], bool]] = {}  # each is set when its condition holds
        self._is_leaving = False  # ends when everything is sent
        self._is_dropped = False  # nobody can put anything any more
        self._is_closing = False  # ends now, and gives up what is left
        self._is_pausing = False  # ends now, and leaves everything as it is
        self._leave_at = math.inf
        self._start_at = -math.inf  # when a start may be tried again
        self._pause_sec = PAUSE_FIRST_SEC
        self._problem = ""
        self._problem_at = -math.inf

    def worker(self) -> Worker:
        """The worker of this process. That of the parent is abandoned: the parent continues with it."""
        self.outbox.begin_anew()
        generation = self.outbox.generation
        found = self._workers.get(generation)
        if found is None:
            made = Worker(self._options, self.outbox)
            self._is_pausing = False  # it was the parent that ended
            found = self._workers.setdefault(generation, made)
            for other in self._workers.keys() - {generation}:
                abandoned = self._workers.pop(other, None)
                if abandoned:
                    abandoned.abandon()
        return found

    def begin_anew(self) -> None:
        """In a child after a fork."""
        if self._workers:
            self._waiters.clear()
            self.worker()
        else:
            self.outbox.begin_anew()

    @property
    def is_done(self) -> bool:
        """All that was accepted is finished."""
        return not self.outbox.accepted or _is_true(lambda: self.worker().is_finished(self.outbox.accepted))

    # For other threads

    def attend(self) -> None:
        """Sees that somebody works: called when there is work and no thread of this process."""
        if end_of_program.has_begun:
            number, worker = self.outbox.accepted, self.worker()

            def is_over() -> bool:
                return worker.is_finished(number) or worker.nothing_listens

            self._work_here(is_over, end_of_program.until)
            if not _is_true(is_over):  # another thread of the program does the work
                self.wait_until(is_over, None)
            end_of_program.tell(self.finish_if_over(0.0))
        elif monotonic() >= self._start_at:
            end_of_program.expect()
            if not self.outbox.start():
                self._start_at = monotonic() + START_AGAIN_SEC
                self._note("cannot start the client's thread: the process may have no more threads")

    def wait_until(self, holds: Callable[[], bool], timeout: float | None) -> bool:
        """Waits until `holds()`, or `timeout` seconds are over; returns whether it holds. `holds` is called by the
        thread. Where there is no thread, the caller does its work meanwhile. In the thread itself, as the garbage
        collector may call, nothing is waited for."""
        until = min(math.inf if timeout is None else monotonic() + timeout, end_of_program.until)
        released = threading.Event()
        self._waiters[released] = holds
        try:
            while not (self.outbox.is_here or _is_true(holds) or monotonic() >= until):
                if not self.outbox.has_thread and not end_of_program.has_begun:
                    self.attend()
                if not self.outbox.has_thread or is_finalizing():
                    self._work_here(holds, until)
                    continue
                self.outbox.wake_thread()
                left = min(until - monotonic(), GREEN_SEC if _is_green() else math.inf)
                released.wait(None if left == math.inf else max(0.0, left))
                released.clear()
        finally:  # a signal handler may raise an error meanwhile
            self._waiters.pop(released, None)
        return _is_true(holds)

    def flush(self, timeout: float, may_end_early: bool = False) -> bool:
        """Waits until all entries taken so far are finished. Returns False if they are not, or a priority entry was not
        acknowledged. It may end early if in its whole life the client got nothing but refusals."""
        self.outbox.begin_anew()
        number = self.outbox.accepted
        if not number:
            return True
        worker = self.worker()
        unconfirmed = worker.unconfirmed
        self.wait_until(
            lambda: worker.is_finished(number) or (may_end_early and worker.nothing_listens),
            timeout,
        )
        return _is_true(lambda: worker.is_finished(number) and worker.is_confirmed(unconfirmed))

    def flush_while_it_advances(self, timeout: float) -> None:
        """Waits until all entries taken so far are finished, but not for a server that is away or does not answer."""
        self.outbox.begin_anew()
        number = self.outbox.accepted
        if not number:
            return
        worker = self.worker()

        def is_enough(before: int) -> bool:
            return worker.is_away or worker.progress != before or worker.is_finished(number)

        until = monotonic() + timeout
        before = -1
        while worker.progress != before and monotonic() < until:
            before = worker.progress
            self.wait_until(partial(is_enough, before), min(STALL_SEC, until - monotonic()))
            if worker.is_away or _is_true(lambda: worker.is_finished(number)):
                break

    def close(self, timeout: float) -> bool:
        """Takes no more entries, flushes, and ends the thread; `Worker.finish` says what becomes of those left."""
        self.outbox.close()
        done = self.flush(timeout, may_end_early=True)
        self._is_closing = True
        self._end_thread(END_SEC)
        if self._workers and self._take_over():
            try:
                self.worker().finish()
            finally:
                self._end()
        return done

    def leave(self, is_dropped: bool = False) -> None:
        """Nobody uses the client any more: the thread ends when everything is sent, or after LEAVING_SEC. An entry that
        comes all the same begins it anew, unless the client itself is gone."""
        self._is_leaving = True
        self._is_dropped = is_dropped
        self._leave_at = min(self._leave_at, monotonic() + LEAVING_SEC)
        self.outbox.wake_thread()
        if is_dropped and not self.outbox.has_thread and self.is_done:
            self.outbox.disown()

    def stats(self) -> ClientStats:
        problem = self._problem if monotonic() - self._problem_at < PROBLEM_SEC else ""
        return self.worker().stats(problem)

    # At the end of the program

    def pause(self, timeout: float) -> None:
        """Ends the thread, which leaves everything as it is: from now on, those who call do its work."""
        self._is_pausing = True
        self._end_thread(timeout)

    def finish_if_over(self, timeout: float) -> dict[str, Lost]:
        """When the time is over, what is left goes to the spill file, or is given up. Returns that, by server."""
        if self.is_done:
            return {}
        self._end_thread(timeout)
        if not self._take_over():
            return {self.server: Lost(sum(self.outbox.entries), "the client's thread hangs")}
        try:
            worker = self.worker()
            problem, before = worker.problem, worker.losses
            worker.finish()
            lost = worker.losses - before
            return {self.server: Lost(lost, problem)} if lost else {}
        finally:
            self._end()

    # The thread

    def run(self) -> None:
        try:
            while not self._work():
                pass
        finally:
            self._end()
            if self._is_dropped:
                self.outbox.disown()

    def _work(self) -> bool:
        """Returns False if an error has ended it before its time."""
        try:
            worker = self.worker()
            worker.begin()
            self._leave_at = monotonic() + LEAVING_SEC if self._is_leaving else math.inf
            if self._drive(worker, self._is_to_end, None) and not self._is_pausing:
                worker.finish()
        except BaseException as error:
            self._recover(error)
            return False
        return True

    def _is_to_end(self) -> bool:
        if self._is_closing or self._is_pausing or monotonic() >= self._leave_at:
            return True
        return self._leave_at < math.inf and self.worker().is_finished(self.outbox.accepted)

    def _drive(self, worker: Worker, is_enough: Callable[[], bool], until: float | None) -> bool:
        """Works until `is_enough()`, or until that time. Returns False if another thread works by now."""
        wakeup = self.outbox.wakeup
        while not is_enough():
            if not wakeup.is_open:
                wakeup.open()
            worker.turn(monotonic())
            self._pause_sec = PAUSE_FIRST_SEC
            for released, holds in self._waiters.copy().items():  # other threads change it meanwhile
                if holds():
                    released.set()
            wait_until = self._leave_at if until is None else until
            if is_enough() or monotonic() >= wait_until:
                break
            worker.wait(wait_until)
            if not self.outbox.awake():
                return False
        return True

    def _work_here(self, is_enough: Callable[[], bool], until: float) -> None:
        """Does the work of the thread in the calling one."""
        if not self._take_over():
            return
        try:
            self.worker().begin(takes_over=not end_of_program.has_begun)
            while True:
                try:
                    self._drive(self.worker(), is_enough, until)
                except Exception as error:
                    self._note(f"the client has failed, and begins again: {error!r}")
                    self.worker().recover()
                    if monotonic() < until:
                        pause(max(0.0, min(PAUSE_FIRST_SEC, until - monotonic())))
                        continue
                break
        finally:
            self._end()

    def _end(self) -> None:
        self.outbox.end()  # before the last look at the waiters: one that comes after it does not wait
        for released in list(self._waiters):
            released.set()

    def _recover(self, error: BaseException) -> None:
        """After an error: reports it, and waits. What was accepted is kept."""
        with contextlib.suppress(Exception):  # there may be no memory for that, either
            self._note(f"the client's thread has failed, and begins again: {error!r}")
            self.worker().recover()
        until = monotonic() + self._pause_sec
        self._pause_sec = min(self._pause_sec * 2, PAUSE_LONGEST_SEC)
        while monotonic() < until and not (self._is_closing or self._is_pausing):
            pause(PAUSE_PART_SEC)

    def _take_over(self) -> bool:
        # When the interpreter is taken apart, no other thread runs any more, whatever it was about.
        return self.outbox.take_over(is_finalizing())

    def _end_thread(self, timeout: float) -> None:
        if self.outbox.is_here:
            return
        until = monotonic() + timeout
        ended = threading.Event()
        self._waiters[ended] = _never
        try:
            while self.outbox.has_thread and monotonic() < until:
                self.outbox.wake_thread()
                ended.wait(max(0.0, min(until - monotonic(), GREEN_SEC if _is_green() else math.inf)))
                ended.clear()
        finally:
            self._waiters.pop(ended, None)

    def _note(self, problem: str) -> None:
        self._problem, self._problem_at = problem, monotonic()


def _never() -> bool:
    """For waiters: until the thread has ended."""
    return False


def _is_true(holds: Callable[[], bool]) -> bool:
    """Whether it holds, asked by another thread than that which works. In the middle of a change it does not."""
    try:
        return holds()
    except (IndexError, KeyError, RuntimeError, StopIteration):
        return False


def _is_green() -> bool:
    """Whether a library has replaced the interpreter's threads by greenlets."""
    return not isinstance(_thread.start_new_thread, types.BuiltinFunctionType)
