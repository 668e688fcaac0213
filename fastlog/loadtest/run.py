"""One run of a load test: its plan, its clients, and the wait until the server has taken what they sent.

Each client is a thread with a socket of its own, whose work is done in C (`_sender.pyx`).
"""

import math
import random
import socket
import threading
from itertools import pairwise
from time import monotonic, monotonic_ns
from typing import TypeVar

import msgspec

from fastlog.addresses import AddressError, local_address, resolve_within, unix_path
from fastlog.config import describe
from fastlog.errors import FastlogError, say
from fastlog.loadtest._sender import SEQUENCE_DIGITS, TICK_SEC, Sender
from fastlog.loadtest.entries import Prepared
from fastlog.loadtest.report import Outcome, Report, Sending, conclude, reconcile, restarted
from fastlog.stats import Latency
from fastlog.stats_client import Figures, StatsClient, UnreachableError

START_SEC = 0.02  # from the start of the threads to the first entry, so that all of them are ready
LATE_SHARE, LATE_SEC = 0.1, 0.1  # how much longer a paced run may last, to catch up with its pace
LOOK_SEC = 0.1  # between two looks at the counters
ACK_BUFFER_BYTES = 4 << 20  # SO_RCVBUF of a client: ACKs come in groups of thousands
LOOKUP_LEAST_SEC = 1.0  # the least time for the name service, whatever --timeout says
SETTLE_SEC = 10.0  # the longest wait, after the last ACK, until the server has emptied its receive buffer
FLUSH_PATIENCE_SEC = 30.0  # a server that flushes later than this is not waited for; the report shows what it buffers
ENDLESS = 1 << 62  # entries of a run that ends by the clock

T = TypeVar("T")


class LoadError(FastlogError):
    """The run failed: the network refuses to send."""


class Plan(msgspec.Struct, frozen=True):
    """One run. `rate` is in entries a second of all clients together; 0: as fast as possible. `entries` None: the run
    ends after `seconds`."""

    entries: int | None
    rate: float
    clients: int
    seconds: float | None = None

    @property
    def total(self) -> int:
        """Entries after which the run ends, unless the clock ends it before."""
        by_clock = math.ceil(self.rate * self.seconds) if self.rate and self.seconds else ENDLESS
        return min(self.entries or ENDLESS, by_clock)

    @property
    def counts(self) -> list[int]:
        """The entries of each client."""
        ends = [self.total * number // self.clients for number in range(self.clients + 1)]
        return [end - start for start, end in pairwise(ends)]


class Target(msgspec.Struct, frozen=True):
    """Where to send, and how."""

    host: str
    port: int
    send_buffer: int  # bytes of SO_SNDBUF
    give_up_sec: float  # how long a priority entry is retransmitted


class Watcher:
    """Follows a run from the main thread. This one shows nothing but an interruption."""

    def show(self, sent: int, retransmissions: int) -> None:
        """Called every LOOK_SEC while the clients send."""

    def interrupted(self, wait_sec: float) -> None:
        """Called when Ctrl-C has ended the sending; the report may take this long."""
        if wait_sec:
            say(f"interrupted; waiting up to {wait_sec:.0f} s for what is still on its way, Ctrl-C again to leave")
        else:
            say("interrupted")


class Crew:
    """The threads of a run, one for each sender."""

    def __init__(self, senders: list[Sender], plan: Plan) -> None:
        self._senders = senders
        self._plan = plan
        self._failures: list[OSError] = []
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        plan = self._plan
        begin = monotonic_ns() + int(START_SEC * 1e9)
        end = begin + ENDLESS
        if plan.seconds:
            late_sec = plan.seconds * LATE_SHARE + LATE_SEC if plan.rate else 0.0
            end = begin + int((plan.seconds + late_sec) * 1e9)
        # Clients begin one after the other, so that they do not send in step.
        apart_sec = max(TICK_SEC / plan.clients, 1 / plan.rate) if plan.rate else 0.0
        for number, (sender, count) in enumerate(zip(self._senders, plan.counts, strict=True)):
            arguments = (sender, count, begin + int(number * apart_sec * 1e9), end)
            self._threads.append(threading.Thread(target=self._work, args=arguments, name=f"client {number}"))
        for thread in self._threads:
            thread.start()

    def _work(self, sender: Sender, count: int, begin_ns: int, end_ns: int) -> None:
        try:
            sender.run(count, self._plan.rate / self._plan.clients, begin_ns, end_ns)
        except OSError as error:
            self._failures.append(error)
            self.stop()

    def watch(self, watcher: Watcher, stop_if_refused: bool) -> bool:
        """Returns when all threads have ended. True if it has stopped them, since nothing listens at the server's port.
        Raises LoadError."""
        stopped = False
        while self._join(LOOK_SEC):
            watcher.show(
                sum(sender.sent for sender in self._senders), sum(sender.retransmissions for sender in self._senders)
            )
            if stop_if_refused and not stopped and self._is_refused():
                stopped = True
                self.stop()
        if self._failures:
            raise LoadError(f"cannot send: {self._failures[0].strerror}") from self._failures[0]
        return stopped

    def stop(self) -> None:
        """Ends the sending; the threads end soon after."""
        for sender in self._senders:
            sender.stop()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _join(self, seconds: float) -> bool:
        """Waits for that long at most. False if all threads have ended."""
        alive = [thread for thread in self._threads if thread.is_alive()]
        if alive:
            alive[0].join(seconds)
        return bool(alive)

    def _is_refused(self) -> bool:
        return any(sender.refused for sender in self._senders) and not any(
            sender.acknowledged for sender in self._senders
        )


class Measurement:
    """One run and its report. It owns the clients' sockets, and the notes of why a figure is unknown.

    `dealt`: the entries of each client. `priority_levels`: those expected to be acknowledged if the server's settings
    are unknown."""

    def __init__(
        self,
        target: Target,
        plan: Plan,
        dealt: list[list[Prepared]],
        priority_levels: tuple[str, ...],
        stats_client: StatsClient,
        watcher: Watcher | None = None,
    ) -> None:
        self._target = target
        self._plan = plan
        self._dealt = dealt
        self._priority_levels = priority_levels
        self._stats_client = stats_client
        self._watcher = watcher or Watcher()
        self._notes: list[str] = []
        self._sockets: list[socket.socket] = []

    def run(self) -> Report:
        """Sends, waits until the server has settled, and compares. Raises AddressError and LoadError.

        Ctrl-C ends the sending; a second one, while this waits for the server, raises KeyboardInterrupt."""
        before = self._ask()
        try:
            for _ in range(self._plan.clients):
                self._sockets.append(_connect(self._target))
            senders = self._make_senders(before)
            interrupted = self._send(senders, before)
            sending = _sum_up(senders, self._target, self._plan, interrupted)
            outcome = self._settle(sending, before) if before else None
        finally:
            for sock in self._sockets:
                sock.close()
        return conclude(sending, outcome, self._notes)

    def _make_senders(self, before: Figures | None) -> list[Sender]:
        levels = self._priority_levels
        if before:
            levels = _server_setting(before, "PRIORITY_LEVELS", levels)
        return [
            Sender(
                sock.fileno(),
                [(entry.content, entry.digits_at, entry.timestamp_at, entry.level in levels) for entry in entries],
                _first_sequence(),
                int(self._target.give_up_sec * 1e9),
            )
            for sock, entries in zip(self._sockets, self._dealt, strict=True)
        ]

    def _send(self, senders: list[Sender], before: Figures | None) -> bool:
        """Returns whether Ctrl-C ended it. Raises LoadError."""
        crew = Crew(senders, self._plan)
        try:
            crew.start()
            return self._watch(crew, before)
        finally:
            crew.stop()  # if Ctrl-C came before all threads had begun, or a second one before they had ended

    def _watch(self, crew: Crew, before: Figures | None) -> bool:
        """Returns whether Ctrl-C ended the sending. Raises LoadError."""
        try:
            if crew.watch(self._watcher, stop_if_refused=before is None):
                self._notes.append("stopped early: nothing is listening")
        except KeyboardInterrupt:
            crew.stop()
            self._watcher.interrupted(max(SETTLE_SEC, _flush_sec(before)) if before else 0.0)
            crew.join()
            return True
        return False

    def _settle(self, sending: Sending, before: Figures) -> Outcome | None:
        """The outcome once the server has taken what waited for it and written what it had: all entries are there, or
        no more of them come. None if it is unknown."""
        addresses = [local_address(sock) for sock in self._sockets]
        last: tuple[int, int | None] | None = None  # what the server had received, and the kernel dropped, by then
        settled_by = monotonic() + SETTLE_SEC
        flushed_by = monotonic() + _flush_sec(before)
        while True:
            after = self._ask()
            if after is None:
                return None
            if restarted(before, after):
                self._notes.append("the server was restarted during the test: its figures do not cover all of it")
                return None
            outcome = reconcile(sending, addresses, before, after)
            received = after.datagrams, outcome.kernel_drops
            no_more_come = outcome.lost_in_network == 0 or received == last or monotonic() > settled_by
            if no_more_come and (not outcome.buffered or monotonic() > flushed_by):
                return outcome
            last = received

    def _ask(self) -> Figures | None:
        """New figures of the server; None, and a note, if there are none."""
        try:
            return self._stats_client.fresh_figures()
        except UnreachableError as error:
            note = f"{error}; use --dashboard for another address, and FASTLOG_DASHBOARD_TOKEN for a token"
            if note not in self._notes:
                self._notes.append(note)
            return None


def _server_setting(figures: Figures, variable: str, unknown: T) -> T:
    """The value of a setting in `/stats`; `unknown` if the server, being of another version, has none."""
    [setting] = [setting for setting in describe() if setting.variable == variable]
    try:
        value: T = setting.from_text(figures.settings.get(variable, ""))
    except ValueError:
        return unknown
    return value


def _flush_sec(figures: Figures) -> float:
    """How long to wait for a flush of that server."""
    flush_sec = _server_setting(figures, "FLUSH_TIMEOUT_SEC", FLUSH_PATIENCE_SEC)
    return flush_sec + 1 if flush_sec < FLUSH_PATIENCE_SEC else 0.0


def _sum_up(senders: list[Sender], target: Target, plan: Plan, interrupted: bool) -> Sending:
    sent = sum(sender.sent for sender in senders)
    began = min(sender.began_ns for sender in senders)
    seconds = (max(sender.ended_ns for sender in senders) - began) / 1e9
    if plan.rate:
        seconds = max(seconds, sent / plan.rate)  # the last entry has its share of the time, too
    priority = sum(sender.priority_sent for sender in senders)
    acknowledged = sum(sender.acknowledged for sender in senders)
    latencies = sorted(usec for sender in senders for usec in sender.latencies_usec)
    return Sending(
        server=f"{target.host} port {target.port}/udp",
        clients=plan.clients,
        rate_asked=plan.rate,
        rate=round(sent / seconds, 1) if seconds > 0 else 0.0,
        seconds=round(seconds, 6),
        entries=sent,
        retransmissions=sum(sender.retransmissions for sender in senders),
        bytes=sum(sender.sent_bytes for sender in senders),
        priority_entries=priority,
        acknowledged=acknowledged,
        not_acknowledged=priority - acknowledged,
        ack_latency_ms=_latency(latencies),
        refused=any(sender.refused for sender in senders),
        interrupted=interrupted,
    )


def _latency(usec: list[int]) -> Latency:
    """Percentiles of sorted latencies: each is the smallest one that the given share of them does not exceed."""
    if not usec:
        return Latency(None, None, None)
    p50, p99 = (usec[math.ceil(share * len(usec)) - 1] / 1000 for share in (0.5, 0.99))
    return Latency(p50, p99, usec[-1] / 1000)


def _connect(target: Target) -> socket.socket:
    """Raises AddressError if the name does not resolve or its address cannot be reached from here."""
    if unix_path(target.host):
        raise FastlogError("the load test sends over UDP only, not through a unix socket")
    family, address = resolve_within(target.host, target.port, max(target.give_up_sec, LOOKUP_LEAST_SEC))[0]
    try:
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, target.send_buffer)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ACK_BUFFER_BYTES)
            sock.connect(address)
        except OSError:
            sock.close()
            raise
    except OSError as error:
        raise AddressError(target.host, error.strerror) from error
    return sock


def _first_sequence() -> int:
    """A random one, so that no entry equals one of another client or of an earlier test: a server takes equal bytes for
    a retransmission. The last sequence of a run still has SEQUENCE_DIGITS digits."""
    return random.SystemRandom().randrange(10 ** (SEQUENCE_DIGITS - 1), 8 * 10 ** (SEQUENCE_DIGITS - 1))
