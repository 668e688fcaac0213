"""`fastlog loadtest`: sends at a pace, and tells what became of it by the server's own figures.

Each client is a thread with a socket of its own, whose work is done in C (`_sender.pyx`).
"""

import argparse
import math
import os
import random
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic, monotonic_ns

import msgspec

from fastlog.addresses import AddressError, dashboard_url, local_address, resolve
from fastlog.config import Settings
from fastlog.errors import FastlogError, discard_output, say
from fastlog.loadtest._sender import SEQUENCE_DIGITS, TICK_SEC, Sender
from fastlog.loadtest.entries import Prepared, Supply
from fastlog.loadtest.report import Outcome, Report, Sending, as_text, reconcile, report, restarted
from fastlog.loadtest.search import RUN_SEC, find_max
from fastlog.stats import Latency
from fastlog.stats_client import Figures, StatsClient, UnreachableError

START_SEC = 0.02  # until the first entry: the threads are there by then
LATE_SHARE, LATE_SEC = 0.1, 0.1  # by which a run at a pace may last longer, to make up for what was late
LOOK_SEC = 0.1  # between two looks at the counters
ACK_BUFFER_BYTES = 4 << 20  # SO_RCVBUF of a client: ACKs come in groups of thousands
SETTLE_SEC = 10.0  # after the last ACK, until the server has taken what waits in its receive buffer
FLUSH_PATIENCE_SEC = 30.0  # for a flush; a server that may wait for longer keeps its buffer, and the report tells it
INTERRUPTED = 130  # exit code of a command that Ctrl-C ended, as shells have it
ENDLESS = 1 << 62  # entries of a run that ends by the clock

Watch = Callable[[int, int], None]  # is shown entries sent and repetitions, now and then


class LoadError(FastlogError):
    """The test cannot be run: the network refuses."""


class Plan(msgspec.Struct, frozen=True):
    """One run. `rate`: entries a second of all clients together, 0: as fast as it goes; `entries` None: until
    `seconds` have passed."""

    entries: int | None
    rate: float
    clients: int
    seconds: float | None = None

    @property
    def total(self) -> int:
        """Entries that the run ends with, if no clock ends it before."""
        by_clock = math.ceil(self.rate * self.seconds) if self.rate and self.seconds else ENDLESS
        return min(self.entries or ENDLESS, by_clock)

    @property
    def counts(self) -> list[int]:
        """Entries that each client sends."""
        return [
            self.total * (number + 1) // self.clients - self.total * number // self.clients
            for number in range(self.clients)
        ]


class Target(msgspec.Struct, frozen=True):
    """Where to send, and how."""

    host: str
    port: int
    send_buffer: int  # bytes of SO_SNDBUF
    give_up_sec: float  # for which a priority entry is repeated


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Does what the command line asks for; returns the exit code."""
    dashboard = options.dashboard or dashboard_url(options.server, settings.dashboard_port)
    inquiry = StatsClient(dashboard, settings.dashboard_token)
    target = Target(options.server, settings.server_port, settings.sndbuf_size, options.timeout)
    supply = Supply(
        options.seed, options.error_share, options.message_bytes, Path(options.corpus) if options.corpus else None
    )
    if supply.left_out:
        say(f"{supply.left_out} lines of {options.corpus} do not fit in a datagram and are left out")
    entries = options.logs if options.logs or options.duration or options.find_max else 10_000
    clients = min(options.clients, entries or options.clients)
    if options.find_max:
        seconds = options.duration or RUN_SEC

        def measured(rate: float, longer: float) -> Report:
            plan = Plan(options.logs, rate, clients, seconds * longer)
            return measure(target, plan, supply.deal(plan.counts), settings.priority_levels, inquiry)

        found = find_max(measured, None if options.json else _tell)
        if options.json:
            _tell(msgspec.json.encode(found).decode())
        return 0 if found.rate is not None else 1
    plan = Plan(entries, options.rate, clients, options.duration)
    result = _watched(target, plan, supply.deal(plan.counts), settings, inquiry)
    _tell(msgspec.json.encode(result).decode() if options.json else as_text(result))
    if result.sending.interrupted:
        return INTERRUPTED
    return 0 if result.lossless else 1


def _tell(text: str) -> None:
    """To standard output; who reads it may have seen enough, and the exit code says the rest."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        discard_output()


def _watched(
    target: Target, plan: Plan, dealt: list[list[Prepared]], settings: Settings, inquiry: StatsClient
) -> Report:  # fmt: skip
    """The run, with a progress bar where a person looks on."""
    if not (sys.stderr and os.isatty(sys.stderr.fileno())):
        return measure(target, plan, dealt, settings.priority_levels, inquiry)
    from fastlog.loadtest.progress import Bar  # draws with rich, which scripts need not wait for

    with Bar(plan.total if plan.total < ENDLESS else None, inquiry) as bar:
        return measure(target, plan, dealt, settings.priority_levels, inquiry, bar.show)


def measure(
    target: Target,
    plan: Plan,
    dealt: list[list[Prepared]],
    priority_levels: tuple[str, ...],
    inquiry: StatsClient,
    watch: Watch | None = None,
) -> Report:
    """One run, and its account. `priority_levels`: those taken for acknowledged where the server does not tell.

    Raises AddressError and LoadError.
    """
    notes: list[str] = []
    before = _ask(inquiry, notes)
    if before:
        told = before.settings.get("PRIORITY_LEVELS", "").split(",")
        priority_levels = tuple(level.strip() for level in told)
    sockets = [_connect(target) for _ in range(plan.clients)]
    try:
        clients = [
            Sender(
                sock.fileno(),
                [(e.content, e.digits_at, e.timestamp_at, e.level in priority_levels) for e in entries],
                _first_sequence(),
                int(target.give_up_sec * 1e9),
            )
            for sock, entries in zip(sockets, dealt, strict=True)
        ]
        interrupted = _run_clients(clients, plan, before is not None, notes, watch)
        sending = _sum_up(clients, target, plan, interrupted)
        outcome = (
            _settled(sending, [local_address(sock) for sock in sockets], before, inquiry, notes) if before else None
        )
    finally:
        for sock in sockets:
            sock.close()
    return report(sending, outcome, notes)


def _run_clients(clients: list[Sender], plan: Plan, known: bool, notes: list[str], watch: Watch | None) -> bool:
    """Returns whether Ctrl-C ended it. Raises LoadError."""
    interrupted = False
    failures: list[OSError] = []
    begin = monotonic_ns() + int(START_SEC * 1e9)
    gap = max(TICK_SEC / plan.clients, 1 / plan.rate) if plan.rate else 0.0  # so that clients do not send in step
    ends = begin + (int((plan.seconds * (1 + LATE_SHARE) + LATE_SEC) * 1e9) if plan.seconds else ENDLESS)
    if plan.seconds and not plan.rate:
        ends = begin + int(plan.seconds * 1e9)

    def work(number: int, client: Sender) -> None:
        try:
            client.run(plan.counts[number], plan.rate / plan.clients, begin + int(number * gap * 1e9), ends)
        except OSError as error:
            failures.append(error)
            for other in clients:
                other.stop()

    threads = [
        threading.Thread(target=work, args=(number, client), name=f"client {number}")
        for number, client in enumerate(clients)
    ]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            while thread.is_alive():
                thread.join(LOOK_SEC)
                if watch:
                    watch(sum(client.sent for client in clients), sum(client.retransmissions for client in clients))
                if not known and _nobody_there(clients):
                    notes.append("the test was ended early, for nobody is there")
                    _stop(clients, threads)
    except KeyboardInterrupt:
        interrupted = True
        _stop(clients, threads)
    if failures:
        raise LoadError(f"cannot send: {failures[0].strerror}") from failures[0]
    return interrupted


def _nobody_there(clients: list[Sender]) -> bool:
    return any(client.refused for client in clients) and not any(client.acknowledged for client in clients)


def _stop(clients: list[Sender], threads: list[threading.Thread]) -> None:
    for client in clients:
        client.stop()
    for thread in threads:
        thread.join()


def _sum_up(clients: list[Sender], target: Target, plan: Plan, interrupted: bool) -> Sending:
    sent = sum(client.sent for client in clients)
    began = min(client.began_ns for client in clients)
    seconds = (max(client.ended_ns for client in clients) - began) / 1e9
    if plan.rate:
        seconds = max(seconds, sent / plan.rate)  # the last entry has its share of time, too
    priority = sum(client.priority_sent for client in clients)
    acknowledged = sum(client.acknowledged for client in clients)
    latencies = sorted(usec for client in clients for usec in client.latencies_usec)
    return Sending(
        server=f"{target.host} port {target.port}/udp",
        clients=plan.clients,
        rate_asked=plan.rate,
        rate=round(sent / seconds, 1) if seconds > 0 else 0.0,
        seconds=round(seconds, 6),
        entries=sent,
        repetitions=sum(client.retransmissions for client in clients),
        bytes=sum(client.sent_bytes for client in clients),
        priority_entries=priority,
        acknowledged=acknowledged,
        not_acknowledged=priority - acknowledged,
        ack_latency_ms=_latency(latencies),
        refused=any(client.refused for client in clients),
        interrupted=interrupted,
    )


def _latency(usec: list[int]) -> Latency:
    """Of sorted latencies: the smallest that the given share of them does not exceed."""
    if not usec:
        return Latency(None, None, None)
    p50, p99 = (usec[math.ceil(share * len(usec)) - 1] / 1000 for share in (0.5, 0.99))
    return Latency(p50, p99, usec[-1] / 1000)


def _settled(
    sending: Sending, addresses: list[str], before: Figures, inquiry: StatsClient, notes: list[str]
) -> Outcome | None:
    """The outcome when the server has taken what waited for it and written what it had: all is there, or nothing comes
    any more."""
    last: tuple[int, int | None] | None = None  # what the server had taken by then
    until = monotonic() + SETTLE_SEC
    flush_sec = float(before.settings.get("FLUSH_TIMEOUT_SEC", "0"))
    flushed_at = monotonic() + (flush_sec + 1 if flush_sec < FLUSH_PATIENCE_SEC else 0)
    while True:
        after = _ask(inquiry, notes)
        if after is None:
            return None
        if restarted(before, after):
            notes.append("the server was restarted during the test: its figures do not cover all of it")
            return None
        outcome = reconcile(sending, addresses, before, after)
        taken = after.datagrams, outcome.kernel_drops
        nothing_comes = outcome.on_the_way == 0 or taken == last or monotonic() > until
        if nothing_comes and (not outcome.buffered or monotonic() > flushed_at):
            return outcome
        last = taken


def _ask(inquiry: StatsClient, notes: list[str]) -> Figures | None:
    try:
        return inquiry.fresh_figures()
    except UnreachableError as error:
        text = f"{error}. --dashboard names another address; FASTLOG_DASHBOARD_TOKEN, in the environment, its token"
        if text not in notes:
            notes.append(text)
        return None


def _connect(target: Target) -> socket.socket:
    """Raises AddressError where the name does not resolve, or there is no way to its address."""
    family, address = resolve(target.host, target.port)[0]
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
    """By chance, so that no entry is the same as one of another client or of an earlier test: a server takes the same
    bytes again for a repetition. The last of a run has as many digits."""
    return random.SystemRandom().randrange(10 ** (SEQUENCE_DIGITS - 1), 8 * 10 ** (SEQUENCE_DIGITS - 1))
