"""The thread that works for a client, as a fact and not as a flag.

The outbox knows whether a thread of this process works. Whoever finds none, starts one: a log call, `flush`, `close`.
Whatever an error ends, begins again after a pause, with what was accepted; `problem` reports it. Where no thread can be
started, those who wait do the work themselves, and at the end of the program every call does. So does every call in a
process where no thread may run, but it does not wait for ACKs.

Other threads reach the worker by the outbox, by waiters and by flags, for which the GIL is enough.
"""

import contextlib
import math
from collections.abc import Callable
from sys import is_finalizing
from time import monotonic

from fastlog.addresses import server_name
from fastlog.client.core import Outbox, may_start_threads, pause
from fastlog.client.options import ClientOptions
from fastlog.client.waiting import Trouble, Waiters, is_true, never
from fastlog.client.worker import Worker

START_AGAIN_SEC = 0.5  # until a thread that could not be started is tried again: each try is a system call
PAUSE_FIRST_SEC = 0.1  # after an error, before the work begins again; doubles
PAUSE_LONGEST_SEC = 5.0  # so that a client works again soon after the trouble is over
PAUSE_PART_SEC = 0.1  # in a pause, how often the thread looks whether it is to end: nothing wakes it then
LEAVING_SEC = 30.0  # a client that nobody uses any more tries so long: a restart of the server takes less
FORK_SEC = 0.05  # before a fork, to send what waits: a server on the same machine takes it within a millisecond
END_SEC = 1.0  # the longest wait for the end of the thread, which waits for nothing but its sockets


class EndOfProgram:
    """Whether the program ends: then no thread is started any more, and nobody waits longer than until that time. The
    two functions are those of `lifecycle.py`."""

    until = math.inf
    has_begun = False
    expect: Callable[[], None]  # called before a thread is started
    finish: Callable[["ClientThread"], None]  # keeps or gives up, and reports, what was not delivered in time


end_of_program = EndOfProgram()


class ClientThread:
    def __init__(self, options: ClientOptions) -> None:
        self.outbox = Outbox(options, self)
        self.server = server_name(options.host, options.port)
        self._options = options
        self._workers: dict[int, Worker] = {}  # by the generation of the outbox; only the newest one is used
        self._waiters = Waiters()
        self._is_leaving = False  # ends when everything is sent
        self._is_dropped = False  # nobody can put anything any more
        self._is_closing = False  # ends now, and gives up what is left
        self._is_pausing = False  # ends now, and leaves everything as it is
        self._leave_at = math.inf
        self._start_at = -math.inf  # when a start may be tried again
        self._pause_sec = PAUSE_FIRST_SEC
        self.trouble = Trouble()

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

    @property
    def is_in_use(self) -> bool:
        return bool(self._workers)

    # For other threads

    def attend(self) -> None:
        """Sees that somebody works: called when there is work and no thread of this process."""
        if end_of_program.has_begun:
            number, worker = self.outbox.accepted, self.worker()

            def is_over() -> bool:
                return worker.is_finished(number) or worker.nothing_listens

            try:
                self._work_here(is_over, end_of_program.until)
                if not is_true(is_over):  # another thread of the program does the work
                    self.wait_until(is_over, None)
            finally:  # also if a signal handler has raised an error
                end_of_program.finish(self)
        elif not may_start_threads():  # this process forks at any moment
            number, worker = self.outbox.accepted, self.worker()
            self._work_here(lambda: worker.is_sent(number) or worker.is_away, monotonic() + FORK_SEC)
        elif monotonic() >= self._start_at:
            end_of_program.expect()
            if not self.outbox.start():
                self._start_at = monotonic() + START_AGAIN_SEC
                self.trouble.note("cannot start the client's thread: the process may have no more threads")

    def wait_until(self, holds: Callable[[], bool], timeout: float | None) -> bool:
        """Waits until `holds()`, or `timeout` seconds are over; returns whether it holds. `holds` is called by the
        thread. Where there is no thread, the caller does its work meanwhile. In the thread itself, as the garbage
        collector may call, nothing is waited for."""
        until = min(math.inf if timeout is None else monotonic() + timeout, end_of_program.until)
        with self._waiters.one(holds) as waiter:
            while not (self.outbox.is_here or is_true(holds) or monotonic() >= until):
                if not self.outbox.has_thread and not end_of_program.has_begun:
                    self.attend()
                if not self.outbox.has_thread or is_finalizing():
                    self._work_here(holds, until)
                    continue
                self.outbox.wake_thread()
                waiter.wait(until)
        return is_true(holds)

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
        return is_true(lambda: worker.is_finished(number) and worker.is_confirmed(unconfirmed))

    def send_until(self, until: float) -> None:
        """Waits until all entries taken so far were sent once, but not for a server that is away."""
        number = self.outbox.accepted
        if number and not end_of_program.has_begun:
            worker = self.worker()
            self.wait_until(lambda: worker.is_sent(number) or worker.is_away, max(0.0, until - monotonic()))

    def close(self, timeout: float) -> bool:
        """Takes no more entries, flushes, and ends the thread; `Worker.finish` says what becomes of those left."""
        self.outbox.close()
        done = self.flush(timeout, may_end_early=True)
        self._is_closing = True
        self._end_thread(END_SEC)
        if self.is_in_use:
            self.finish()
        return done

    def pause(self, timeout: float) -> None:
        """Ends the thread, which leaves everything as it is."""
        self._is_pausing = True
        self._end_thread(timeout)

    def finish(self) -> bool:
        """Keeps or gives up what is left. Returns False if the thread works on."""
        # When the interpreter is taken apart, no other thread runs any more, whatever it was about.

        def finish() -> None:
            try:
                self.worker().finish()
            except Exception as error:
                self.trouble.note(f"the client has failed at its end: {error!r}")

        try:
            return self.outbox.visit(is_finalizing(), finish)
        finally:
            self._waiters.release_all()

    def leave(self, is_dropped: bool = False) -> None:
        """Nobody uses the client any more: the thread ends when everything is sent, or after LEAVING_SEC. An entry that
        comes all the same begins it anew, unless the client itself is gone."""
        self._is_leaving = True
        self._is_dropped = is_dropped
        self._leave_at = min(self._leave_at, monotonic() + LEAVING_SEC)
        self.outbox.wake_thread()
        if self.outbox.has_thread or not is_dropped:
            return
        if not is_done(self):
            self.attend()
        elif not self.is_in_use or self.finish():
            self.outbox.disown()

    # The thread

    def run(self) -> None:
        try:
            while not self._work():
                pass
        finally:
            self.outbox.end()  # before the last look at the waiters: one that comes after it does not wait
            self._waiters.release_all()
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
            self._waiters.release()
            wait_until = self._leave_at if until is None else until
            if is_enough() or monotonic() >= wait_until:
                break
            worker.wait(wait_until)
            if not self.outbox.awake():
                return False
        return True

    def _work_here(self, is_enough: Callable[[], bool], until: float) -> None:
        """Does the work of the thread in the calling one."""

        def work() -> None:
            while True:
                try:
                    worker = self.worker()
                    worker.begin(takes_over=not end_of_program.has_begun)
                    self._drive(worker, is_enough, until)
                except Exception as error:
                    self.trouble.note(f"the client has failed, and begins again: {error!r}")
                    with contextlib.suppress(Exception):  # there may be no memory for that, either
                        self.worker().recover()
                    if monotonic() < until:
                        pause(max(0.0, min(PAUSE_FIRST_SEC, until - monotonic())))
                        continue
                break

        try:
            self.outbox.visit(is_finalizing(), work)
        finally:
            self._waiters.release_all()

    def _recover(self, error: BaseException) -> None:
        """After an error: reports it, and waits. What was accepted is kept."""
        with contextlib.suppress(Exception):  # there may be no memory for that, either
            self.trouble.note(f"the client's thread has failed, and begins again: {error!r}")
            self.worker().recover()
        until = monotonic() + self._pause_sec
        self._pause_sec = min(self._pause_sec * 2, PAUSE_LONGEST_SEC)
        while monotonic() < until and not (self._is_closing or self._is_pausing):
            pause(PAUSE_PART_SEC)

    def _end_thread(self, timeout: float) -> None:
        until = monotonic() + timeout
        with self._waiters.one(never) as waiter:
            while self.outbox.has_thread and not self.outbox.is_here and monotonic() < until:
                self.outbox.wake_thread()
                waiter.wait(until)


def is_done(thread: ClientThread) -> bool:
    """All that was accepted is finished."""
    accepted = thread.outbox.accepted
    return not accepted or is_true(lambda: thread.worker().is_finished(accepted))
