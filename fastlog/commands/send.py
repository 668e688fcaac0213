"""`fastlog send`: one message, samples, or lines from standard input, and a word on what was not acknowledged."""

import argparse
import os
import random
import sys
import time

import msgspec

from fastlog.addresses import AddressError, resolve
from fastlog.client.client import Client, ClientStats
from fastlog.client.lines import guess_level, json_entry, read_lines
from fastlog.client.link import Link
from fastlog.config import Settings
from fastlog.errors import FastlogError, say

QUEUE_ENTRIES = 20_000  # in memory; when half of them are there, standard input waits
LINES_BETWEEN_LOOKS = 1_000  # until there may be no room any more
PATIENCE_SEC = 0.2  # for the last entries at the least, whatever --timeout says
PERHAPS_TOO_LONG_BYTES = 10_000  # JSON takes six bytes for one at the most, and a datagram 65,507
LOOK_SEC = 0.1  # between two looks whether anything moves
TOLD_MAX = 20  # lines that are told one by one

SAMPLES = (
    ("DEBUG", "cache miss for user profile 4711"),
    ("DEBUG", "query took 3.2 ms: SELECT id, name FROM customers WHERE region = 'north'"),
    ("INFO", "GET /api/orders/1093 200 in 12 ms"),
    ("INFO", "user anna logged in from 192.0.2.17"),
    ("INFO", "nightly report written, 8412 rows"),
    ("NOTICE", "configuration reloaded"),
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
            level = guess_level(message) if options.guess_level else None
            client.send(level or _clean(options.level), message)
        elif options.samples is not None:
            for number in range(options.samples):
                if number and options.interval:
                    time.sleep(options.interval)
                elif number % LINES_BETWEEN_LOOKS == 0:
                    client.wait_for_room()
                level, message = random.choices(SAMPLES, SAMPLE_WEIGHTS)[0]
                client.send(level, message, **({} if options.app else {"app": "sample"}))
        else:
            _send_lines(client, _clean(options.level), options.json, options.guess_level)
    finally:
        _wait(client, max(options.timeout, PATIENCE_SEC))
        client.close(0)
    return _account(client.stats(), options.server, settings.server_port)


def _find_server(host: str, settings: Settings) -> None:
    """The client would look for a server for ever; a command tells at once. Raises AddressError."""
    address = resolve(host, settings.server_port)[0]
    try:
        Link(address, settings.sndbuf_size).close()
    except OSError as error:
        raise AddressError(host, error.strerror) from error


def _send_lines(client: Client, level: str, is_json: bool, guess: bool) -> None:
    if sys.stdin is None:
        raise FastlogError("standard input is closed, and there is no MESSAGE")
    source = sys.stdin.fileno()
    if os.isatty(source):
        say("reading lines from standard input; Ctrl-D ends it")
    number = no_objects = shortened = 0
    for lines in read_lines(source):
        for line in lines:
            if number % LINES_BETWEEN_LOOKS == 0:
                client.wait_for_room()
            number += 1
            if len(line) < PERHAPS_TOO_LONG_BYTES:
                no_objects += not _send_line(client, line, level, is_json, guess)
                continue
            before = client.stats().truncated
            no_objects += not _send_line(client, line, level, is_json, guess)
            if client.stats().truncated > before:
                shortened += 1
                if shortened <= TOLD_MAX:
                    say(f"line {number} of standard input was shortened to fit in a datagram: it had {len(line)} bytes")
        client.wait_for_room()
    if shortened > TOLD_MAX:
        say(f"{shortened - TOLD_MAX} more lines were shortened")
    if no_objects:
        say(f"{no_objects} lines were no JSON objects with a message; each was sent as the message of an entry")


def _send_line(client: Client, line: bytes, level: str, is_json: bool, guess: bool) -> bool:
    """False if it should be a JSON entry and is none; then it is sent as a message."""
    if is_json:
        entry = json_entry(line, level, guess)
        if entry:
            if not client.send_encoded(entry.level, entry.present, entry.body):  # too long as it is
                client.send_entry(msgspec.json.decode(entry.body))
            return True
    text = line.decode("utf-8", "replace")
    client.send_entry({"level": (guess and guess_level(text)) or level, "message": text})
    return not is_json


def _wait(client: Client, patience_sec: float) -> None:
    """Until all is out, or nothing moved for that long."""
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
    """A command-line argument as valid Unicode: bytes that were no UTF-8 become U+FFFD."""
    return os.fsencode(argument).decode("utf-8", "replace")


def _account(stats: ClientStats, host: str, port: int) -> int:
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
        say(f"nothing listened on {server} for a time: {what}")
    elif failed and stats.problem:
        say(stats.problem)
    if dropped:
        say(f"{dropped} entries were never sent")
    say(f"{stats.sent} sent to {server}, {stats.acknowledged} acknowledged, {stats.given_up} not")
    return 1 if failed else 0
