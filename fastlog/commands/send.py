"""`fastlog send`: sends one message, samples, or lines of standard input, and reports what was not acknowledged."""

import argparse
import fcntl
import os
import random
import signal
import stat
import sys

from fastlog.addresses import AddressError, resolve_within, server_name
from fastlog.client.client import Client
from fastlog.client.lines import guess_level, json_entry, read_lines, values_of
from fastlog.client.link import Link
from fastlog.client.stats import ClientStats
from fastlog.commands.delivery import PATIENCE_SEC, Delivery
from fastlog.commands.levels import parse_level
from fastlog.commands.signals import EndingSignals, SecondSignalError
from fastlog.config import Settings
from fastlog.early import closed_at_start
from fastlog.errors import FastlogError, messages, say

QUEUE_ENTRIES = 20_000  # held in memory; when half of them are, standard input is not read
LINES_PER_LOOK = 1_000  # sent before the client is asked again whether it has room
PERHAPS_TOO_LONG_BYTES = 10_000  # JSON writes a byte in at most six, and a datagram holds 65,507
MESSAGE_WAIT_SEC = 1.0  # for somebody to read messages: the command must end also if nobody does
INTERRUPTED = 130  # exit code of a command that Ctrl-C ended, as in shells
REPORTED_MAX = 20  # shortened lines that are reported one by one

SAMPLES = (
    ("DEBUG", "cache miss for user profile 4711"),
    ("DEBUG", "query took 3.2 ms: SELECT id, name FROM customers WHERE region = 'north'"),
    ("INFO", "GET /api/orders/1093 200 in 12 ms"),
    ("INFO", "user anna logged in from 192.0.2.17"),
    ("INFO", "nightly report written, 8412 rows"),
    ("INFO", "configuration reloaded"),
    ("WARNING", "connection pool at 90 % of 50"),
    ("WARNING", "retrying payment provider, attempt 2 of 5"),
    ("ERROR", "payment provider timed out after 30 s, order 1093 kept as pending"),
    ("CRITICAL", "disk /var/lib/shop is full, orders are refused"),
)
SAMPLE_WEIGHTS = (8, 8, 20, 20, 10, 6, 10, 8, 7, 3)


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Sends what the command line asks for; returns the exit code."""
    messages.wait_at_most(MESSAGE_WAIT_SEC)
    level = parse_level(options.level)
    reads = options.message is None and options.samples is None
    source = _standard_input() if reads else -1
    _find_server(options.server, settings, options.timeout)
    client = Client(
        options.server,
        settings.server_port,
        app=_clean(options.app) if options.app else None,
        priority_levels=settings.priority_levels,
        send_buffer=settings.sndbuf_size,
        queue_entries=QUEUE_ENTRIES,
        give_up_sec=options.timeout,
    )
    server = server_name(options.server, settings.server_port)
    is_whole = False  # everything that was to be sent was given to the client
    with EndingSignals() as signals:
        delivery = Delivery(client, server, options.timeout, signals)
        try:
            if reads:
                is_whole = _Lines(client, delivery, level, options.json, options.guess_level).send(source)
            elif options.message is not None:
                message = _clean(options.message)
                is_whole = True
                delivery.entries = 1
                client.send((options.guess_level and guess_level(message)) or level, message)
            else:
                is_whole = _send_samples(client, delivery, options.samples, options.interval, bool(options.app))
            delivery.finish()
            signals.ignore_second()
        except SecondSignalError:
            pass
        client.close(0)
        failed = _report(client.stats(), delivery, server, reads) or not is_whole
        return 1 if failed else INTERRUPTED if signals.came is signal.SIGINT else 0


def _standard_input() -> int:
    """The descriptor of standard input. Raises FastlogError."""
    if sys.stdin is None or 0 in closed_at_start:
        raise FastlogError("standard input is closed, and there is no MESSAGE")
    source = sys.stdin.fileno()
    if fcntl.fcntl(source, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY:
        raise FastlogError("cannot read standard input: it is open for writing only")
    return source


def _find_server(host: str, settings: Settings, timeout_sec: float) -> None:
    """Fails at once where the client would keep looking for the server. Raises AddressError."""
    address = resolve_within(host, settings.server_port, max(timeout_sec, PATIENCE_SEC))[0]
    try:
        Link(address, settings.sndbuf_size).close()
    except OSError as error:
        raise AddressError(host, error.strerror) from error


def _send_samples(client: Client, delivery: Delivery, count: int, interval_sec: float, has_app: bool) -> bool:
    """Sends until a signal comes. Returns False if it has sent fewer because the server takes none."""
    for number in range(count):
        if number and interval_sec:
            delivery.pause(interval_sec)
        if number % LINES_PER_LOOK == 0 and not delivery.make_room():
            say(f"{count - number} samples were not made, since the server takes none")
            return False
        if delivery.is_ending:
            break
        level, message = random.choices(SAMPLES, SAMPLE_WEIGHTS)[0]
        delivery.entries += 1
        client.send(level, message, **({} if has_app else {"app": "sample"}))
    return True


class _Lines:
    """Sends the lines of standard input, each as an entry."""

    def __init__(self, client: Client, delivery: Delivery, level: str, is_json: bool, guess: bool) -> None:
        self._client, self._delivery = client, delivery
        self._level, self._is_json, self._guess = level, is_json, guess
        self._is_file = False  # standard input is a file
        self._plain = 0  # lines that should be JSON entries and are not
        self._shortened = 0

    def send(self, source: int) -> bool:
        """Sends until the end of the input, or a signal. Returns False if the input could not be read to its end."""
        if os.isatty(source):
            say("reading lines from standard input; Ctrl-D ends it")
        self._is_file = stat.S_ISREG(os.fstat(source).st_mode)
        is_whole = True
        try:
            for lines in read_lines(source, self._wait_for_input):
                self._send_all(lines)
                self._delivery.make_room()
            if self._is_file and os.lseek(source, 0, os.SEEK_CUR) < os.fstat(source).st_size:
                say("the rest of standard input was not read")
                is_whole = False
        except OSError as error:
            say(f"cannot read standard input: {error.strerror}")
            is_whole = False
        if self._shortened > REPORTED_MAX:
            say(f"{self._shortened - REPORTED_MAX} more lines were shortened")
        if self._plain:
            say(f"{self._plain} lines were not JSON objects with a message; sent as plain text")
        return is_whole

    def _wait_for_input(self, source: int) -> bool:
        """Returns False if no more is to be read: whoever writes to a pipe must not wait for the server for ever, but a
        file can be sent again later."""
        return not (self._is_file and self._delivery.is_stalled) and self._delivery.wait_for_input(source)

    def _send_all(self, lines: list[bytes]) -> None:
        delivery = self._delivery
        for line in lines:
            if delivery.entries % LINES_PER_LOOK == 0:
                delivery.make_room()
            delivery.entries += 1
            if len(line) < PERHAPS_TOO_LONG_BYTES:
                self._send_one(line)
                continue
            before = self._client.stats().shortened
            self._send_one(line)
            if self._client.stats().shortened > before:
                self._shortened += 1
                if self._shortened <= REPORTED_MAX:
                    number, size = delivery.entries, len(line)
                    say(f"line {number} of standard input was shortened to fit in a datagram: it had {size} bytes")

    def _send_one(self, line: bytes) -> None:
        client = self._client
        if self._is_json:
            entry = json_entry(line, self._level, self._guess)
            if entry:
                if not client.send_encoded(entry.level, entry.present, entry.body):  # it is too long as it stands
                    client.send_entry(values_of(entry.body))
                return
            self._plain += 1
        text = line.decode("utf-8", "replace")
        client.send_entry({"level": (self._guess and guess_level(text)) or self._level, "message": text})


def _clean(argument: str) -> str:
    """A command-line argument as valid Unicode: bytes that were not UTF-8 become U+FFFD."""
    return os.fsencode(argument).decode("utf-8", "replace")


def _report(stats: ClientStats, delivery: Delivery, server: str, reads: bool) -> bool:
    """Reports the outcome on standard error. Returns whether something was not delivered, as far as is known."""
    delivery.show_given_up(stats)
    # The closed client holds nothing any more, unless its thread hangs.
    unacknowledged = stats.given_up + (stats.unacknowledged if stats.queued else 0)
    if unacknowledged > len(stats.given_up_first):
        say(f"not acknowledged: {unacknowledged - len(stats.given_up_first)} more")
    not_sent = delivery.entries - stats.sent
    failed = bool(unacknowledged or stats.lost or not_sent)
    if stats.refused:
        lost = f"datagrams sent then are lost ({stats.lost}), with their entries. " if stats.lost else ""
        what = f"{lost}Is `fastlog serve` running there?" if failed else "entries waited for it"
        say(f"nothing listened on {server} for a while: {what}")
    elif failed and stats.problem:
        say(stats.problem)
    read = f"{delivery.entries} read, " if reads else ""
    rest = f", {not_sent} not sent" if not_sent else ""
    say(
        f"{read}{stats.sent} sent to {server}, {stats.acknowledged} acknowledged, {unacknowledged} unacknowledged{rest}"
    )
    return failed
