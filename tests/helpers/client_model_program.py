"""A program that logs, in a random run of the client: the real client, worked by hand in virtual time.

No thread is started. Where the client's thread would wait, virtual time passes; so the thread's whole work is done in
the calls that wait for it (`ClientThread._work_here`), which is also what the client does where threads cannot start.
"""

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastlog.client import lifecycle, pure_native
from fastlog.client.core import COMPILED, IMPLEMENTATION, WRITE, Outbox
from fastlog.client.options import ClientOptions
from fastlog.client.stats import ClientStats
from fastlog.client.thread import ClientThread, end_of_program, is_done
from fastlog.client.waiting import Trouble
from tests.helpers._hooks import count_fork
from tests.helpers.client_model_network import Network
from tests.helpers.client_model_oracle import Entry

note_fork = count_fork if IMPLEMENTATION == COMPILED else pure_native.process.note_fork

TURN_SEC = 1e-5  # that a turn takes
SPIN_TURNS = 20_000  # in a virtual second: nothing that a run does needs so many
SPIN_SEC = 1.0
UNTOUCHED = b"a file of the program"


class Broken(BaseException):
    """What the client must never do. It is no Exception, which the client would catch."""


class ModelWakeup:
    """In place of the pipe: lets virtual time pass."""

    is_open = True

    def __init__(self, network: Network) -> None:
        self._network = network
        self._is_woken = False
        self._turns = 0
        self._counted_from = network.clock.now

    def open(self) -> None:
        pass

    def close(self) -> None:
        pass

    def shut(self) -> None:
        pass

    def wake(self) -> bool:
        self._is_woken = True
        return True

    def wait(self, others: list[tuple[int, int]], seconds: float) -> None:
        network, clock = self._network, self._network.clock
        found = {own.fileno(): own for own in network.sockets}
        waited = [(found.get(fd), events) for fd, events in others]

        def is_ready() -> bool:
            return self._is_woken or any(
                own is None or own.is_readable or (events & WRITE and clock.now >= network.blocked_until)
                for own, events in waited
            )

        self._count()
        clock.now += TURN_SEC
        clock.run_until(clock.now + seconds, is_ready)
        self._is_woken = False

    def _count(self) -> None:
        now = self._network.clock.now
        if now - self._counted_from > SPIN_SEC:
            self._counted_from, self._turns = now, 0
        self._turns += 1
        if self._turns > SPIN_TURNS:
            raise Broken(f"{self._turns} turns within {SPIN_SEC} s")


class ModelOutbox:
    """The real outbox, which starts no thread."""

    def __init__(self, network: Network, options: ClientOptions, owner: ClientThread) -> None:
        self._outbox = Outbox(options, owner)
        self.wakeup = ModelWakeup(network)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._outbox, name)

    def start(self) -> bool:
        return False

    def wake_thread(self) -> None:
        self.wakeup.wake()


class ModelTrouble(Trouble):
    """`may_come`: an error was injected, which the client may report."""

    may_come = False

    def note(self, text: str) -> None:
        error = sys.exc_info()[1]
        if error is not None and not self.may_come:
            raise Broken(f"an error in the client's thread: {error!r}") from error
        super().note(text)


class ModelThread(ClientThread):
    def __init__(self, options: ClientOptions) -> None:
        super().__init__(options)
        self.trouble = ModelTrouble()

    def attend(self) -> None:
        if end_of_program.has_begun:
            super().attend()


class Program:
    """One process, with one client. `parent`: it is the child of that one, which has ended, and has its memory."""

    def __init__(self, number: int, options: ClientOptions, network: Network, parent: "Program | None" = None) -> None:
        self.pid = 1000 + number
        self.options = options
        self.fds: set[int] = set()  # files that it has open
        self.spill_files: set[object] = set()  # those of them that its client knows to be in use
        self.entries: list[Entry] = []  # that its client took, by their numbers in the outbox
        self.calls = 0
        self.dropped = 0  # of them
        self.is_alive = True
        self.was_killed = False
        self.has_worked = False
        self.has_failed = False  # an error was injected, so that some figures may be wrong
        self.victims: set[int] = set()  # descriptors that were the client's, and are other files now
        self.thread = parent.thread if parent else ModelThread(options)
        self._network = network
        self._last: ClientStats | None = None  # of a program that has ended

    @property
    def outbox(self) -> ModelOutbox:
        return self.thread.outbox

    @property
    def stats(self) -> ClientStats:
        return self._last or self.thread.worker().stats(self.thread.trouble.text)

    @property
    def told(self) -> int:
        """Priority entries that it gave up or dropped after it had taken them, by its own figures."""
        stats = self.stats
        return stats.given_up + sum(stats.dropped.values()) - self.dropped + stats.sent_unacknowledged

    @property
    def is_done(self) -> bool:
        return is_done(self.thread)

    def held(self) -> set[int]:
        """The numbers of the entries that it has in memory."""
        if not self.is_alive:
            return set()
        worker = self.thread.worker()
        queue = worker._queue
        unheard = worker._unheard
        sent = [*worker._unacknowledged.pending.values(), *unheard.aside.values(), *unheard._overdue]
        items = queue.items + [each.item for each in sent]
        return {item.number for item in items} | set(range(queue._fetched, self.outbox.accepted))

    def put(self, entry: Entry, fields: dict[str, object]) -> None:
        outbox = self.outbox
        accepted, dropped = outbox.accepted, sum(outbox.dropped.values())
        outbox.put(fields)
        self.calls += 1
        taken, refused = outbox.accepted - accepted, sum(outbox.dropped.values()) - dropped
        # At the end of the program an entry that was taken may be dropped in the same call.
        is_once = taken + refused == 1 or (taken == 1 and end_of_program.has_begun)
        assert is_once, f"a call is counted {taken} times as taken, {refused} times as dropped"
        if taken:
            entry.is_taken = True
            entry.index = accepted
            self.entries.append(entry)
        else:
            self.dropped += 1

    def work(self, seconds: float, is_enough: Callable[[], bool] = lambda: False) -> None:
        """The client's thread works for so long. It is not started before the first entry."""
        until = self._network.clock.now + seconds
        if self.outbox.accepted or self.has_worked:
            self.has_worked = True
            self.thread._work_here(lambda: self._network.clock.now >= until or is_enough(), until)
        if self._network.clock.now < until and not is_enough():
            self._network.clock.run_until(until)

    def exit(self) -> None:
        """The program ends, as `lifecycle.py` has it; functions that are called later may still log."""
        end_of_program.until, end_of_program.has_begun = self._network.clock.now + 2.0, True
        self.thread.flush(2.0, may_end_early=True)
        self.thread.pause(0.0)
        lifecycle._finish([self.thread])

    def no_end(self) -> None:
        """For the other programs."""
        end_of_program.until, end_of_program.has_begun = float("inf"), False

    def exited(self) -> None:
        """What it has open, the kernel closes."""
        self.ends()
        self.kernel_closes()

    def ends(self) -> None:
        self._last = self.stats
        self.is_alive = False

    def fork(self, number: int) -> "Program":
        """The program forks and ends at once. Returns the child; call `begin_anew` in it."""
        self.ends()
        child = Program(number, self.options, self._network, self)
        for own in self.sockets():
            own.program = child
        child.fds, self.fds = self.fds, set()
        child.spill_files, child.has_failed = set(self.spill_files), self.has_failed
        child.victims, self.victims = self.victims, set()
        return child

    def begin_anew(self, *, is_seen: bool) -> None:
        """`is_seen`: it was forked by os.fork, and not in C."""
        note_fork()
        if is_seen:  # as `lifecycle.py` has it
            self.outbox.begin_anew()
            if self.thread.is_in_use:
                self.thread.worker()

    def close_descriptors(self, victim: Path) -> None:
        """As a daemon does. Another file gets their numbers."""
        fd = os.open(victim, os.O_RDWR | os.O_CREAT, 0o600)
        os.pwrite(fd, UNTOUCHED, 0)
        for number in [own.fileno() for own in self.sockets()] + sorted(self.fds):
            os.dup2(fd, number, inheritable=False)
            self.victims.add(number)
        self.fds.clear()
        os.close(fd)

    def check_victims(self) -> None:
        """Files that have the numbers of descriptors that were the client's are as they were."""
        for fd in self.victims:
            assert os.pread(fd, len(UNTOUCHED) + 1, 0) == UNTOUCHED, "the client has changed a file of the program"
            os.close(fd)
        self.victims.clear()

    def sockets(self) -> list[Any]:
        return [own for own in self._network.sockets if own.program is self]

    def kernel_closes(self) -> None:
        """The program is gone."""
        for own in self.sockets():
            fd = own.detach()
            if fd not in self.victims:
                os.close(fd)
        for fd in self.fds:
            with contextlib.suppress(OSError):
                os.close(fd)
        self.fds.clear()
