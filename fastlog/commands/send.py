"""`fastlog send`: sends one message, samples, or lines of standard input, and reports what was not acknowledged."""

import argparse
import os
import random
import sys
import time

import msgspec

from fastlog.addresses import AddressError, resolve
from fastlog.client.client import Client
from fastlog.client.lines import guess_level, json_entry, read_lines
from fastlog.client.link import Link
from fastlog.client.stats import ClientStats
from fastlog.commands.levels import parse_level
from fastlog.config import Settings
from fastlog.errors import FastlogError, say

QUEUE_ENTRIES = 20_000  # held in memory; when half of them are, standard input is not read
LINES_PER_LOOK = 1_000  # sent before the client is asked again whether it has room
PATIENCE_SEC = 0.2  # the least time for the last entries, whatever --timeout says
PERHAPS_TOO_LONG_BYTES = 10_000  # JSON writes a byte in at most six, and a datagram holds 65,507
LOOK_SEC = 0.1  # between two checks whether the client makes progress
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


class _GivenUp(msgspec.Struct):
    sequence: int
    message: str


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Sends what the command line asks for; returns the exit code."""
    level = parse_level(options.level)
    _find_server(options.server, settings)
    client = Client(
        options.server,
        settings.server_port,
        app=_clean(options.app) if options.app else None,
        priority_levels=settings.priority_levels,
        send_buffer=settings.sndbuf_size,
        queue_entries=QUEUE_ENTRIES,
        give_up_sec=options.timeout,
    )
    try:
        if options.message is not None:
            message = _clean(options.message)
            client.send((options.guess_level and guess_level(message)) or level, message)
        elif options.samples is not None:
            _send_samples(client, options.samples, options.interval, has_app=bool(options.app))
        else:
            _send_lines(client, level, options.json, options.guess_level)
    finally:
        _wait(client, max(options.timeout, PATIENCE_SEC))
        client.close(0)
    return _report(client.stats(), options.server, settings.server_port)


def _send_samples(client: Client, count: int, interval_sec: float, has_app: bool) -> None:
    for number in range(count):
        if number and interval_sec:
            time.sleep(interval_sec)
        elif number % LINES_PER_LOOK == 0:
            client.wait_for_room()
        level, message = random.choices(SAMPLES, SAMPLE_WEIGHTS)[0]
        client.send(level, message, **({} if has_app else {"app": "sample"}))


def _find_server(host: str, settings: Settings) -> None:
    """Fails at once where the client would keep looking for the server. Raises AddressError."""
    address = resolve(host, settings.server_port)[0]
    try:
        Link(address, settings.sndbuf_size).close()
    except OSError as error:
        raise AddressError(host, error.strerror) from error


def _send_lines(client: Client, level: str, is_json: bool, guess: bool) -> None:
    """Sends each line of standard input as an entry. Raises FastlogError."""
    if sys.stdin is None:
        raise FastlogError("standard input is closed, and there is no MESSAGE")
    source = sys.stdin.fileno()
    if os.isatty(source):
        say("reading lines from standard input; Ctrl-D ends it")
    number = plain = shortened = 0
    for lines in read_lines(source):
        for line in lines:
            if number % LINES_PER_LOOK == 0:
                client.wait_for_room()
            number += 1
            if len(line) < PERHAPS_TOO_LONG_BYTES:
                plain += not _send_line(client, line, level, is_json, guess)
                continue
            before = client.stats().shortened
            plain += not _send_line(client, line, level, is_json, guess)
            if client.stats().shortened > before:
                shortened += 1
                if shortened <= REPORTED_MAX:
                    say(f"line {number} of standard input was shortened to fit in a datagram: it had {len(line)} bytes")
        client.wait_for_room()
    if shortened > REPORTED_MAX:
        say(f"{shortened - REPORTED_MAX} more lines were shortened")
    if plain:
        say(f"{plain} lines were not JSON objects with a message; sent as plain text")


def _send_line(client: Client, line: bytes, level: str, is_json: bool, guess: bool) -> bool:
    """False if the line should be a JSON entry but is not; it is sent as plain text then."""
    if is_json:
        entry = json_entry(line, level, guess)
        if entry:
            if not client.send_encoded(entry.level, entry.present, entry.body):  # it is too long as it stands
                client.send_entry(msgspec.json.decode(entry.body))
            return True
    text = line.decode("utf-8", "replace")
    client.send_entry({"level": (guess and guess_level(text)) or level, "message": text})
    return not is_json


def _wait(client: Client, patience_sec: float) -> None:
    """Returns when nothing is left to send, or when nothing has moved for `patience_sec`."""
    before, until = None, time.monotonic() + patience_sec
    while not client.flush(LOOK_SEC):
        stats = client.stats()
        moved = (stats.sent, stats.acknowledged, stats.given_up)
        now = time.monotonic()
        if before and moved != before:
            until = now + patience_sec
        before = moved
        if now >= until:
            break


def _clean(argument: str) -> str:
    """A command-line argument as valid Unicode: bytes that were not UTF-8 become U+FFFD."""
    return os.fsencode(argument).decode("utf-8", "replace")


def _report(stats: ClientStats, host: str, port: int) -> int:
    """Reports the outcome on standard error; returns the exit code."""
    server = f"{host} port {port}/udp"
    for line in stats.given_up_first:
        entry = msgspec.json.decode(line, type=_GivenUp)
        say(f"not acknowledged: sequence {entry.sequence}, {entry.message[:200]!r}")
    if stats.given_up > len(stats.given_up_first):
        say(f"not acknowledged: {stats.given_up - len(stats.given_up_first)} more")
    dropped = sum(stats.dropped.values())
    failed = bool(stats.given_up or stats.lost or dropped)
    if stats.refused:
        what = "entries sent then are lost. Is `fastlog serve` running there?" if failed else "entries waited for it"
        say(f"nothing listened on {server} for a while: {what}")
    elif failed and stats.problem:
        say(stats.problem)
    if dropped:
        say(f"{dropped} entries were never sent")
    say(f"{stats.sent} sent to {server}, {stats.acknowledged} acknowledged, {stats.given_up} unacknowledged")
    return 1 if failed else 0
