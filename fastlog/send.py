"""`fastlog send`: one message, samples, or lines from standard input, and a word on what was not acknowledged."""

import argparse
import os
import random
import sys
from collections.abc import Iterator

from fastlog.config import Settings
from fastlog.messages import say
from fastlog.sender import Sender, SendError

READ_BYTES = 1 << 16  # of standard input, the size of a pipe
LINE_MAX_BYTES = 1 << 20  # of an unfinished line kept in memory; no datagram could hold it

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


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Sends what the command line asks for; returns the exit code."""
    sender = Sender(
        options.server, settings.server_port, settings.sndbuf_size, settings.priority_levels, options.timeout
    )
    fields = {"app": _clean(options.app)} if options.app else {}
    too_long = 0
    try:
        if options.message is not None:
            sender.send(_clean(options.level), _clean(options.message), **fields)
        elif options.samples is not None:
            for number in range(options.samples):
                if number and options.interval:
                    sender.idle(options.interval)
                level, message = random.choices(SAMPLES, SAMPLE_WEIGHTS)[0]
                sender.send(level, message, **{"app": "sample", **fields})
        else:
            for number, line in enumerate(_lines(sender), 1):
                try:
                    sender.send(_clean(options.level), line, **fields)
                except SendError as error:
                    too_long += 1
                    say(f"line {number} of standard input was not sent: {error}")
        sender.wait()
    finally:
        sender.close()
    return _account(sender, options.server, settings.server_port, too_long)


def _lines(sender: Sender) -> Iterator[str]:
    """The lines of standard input that are not empty. ACKs are looked after while none comes."""
    if sys.stdin is None:
        raise SendError("standard input is closed, and there is no MESSAGE")
    source = sys.stdin.fileno()
    if os.isatty(source):
        say("reading lines from standard input; Ctrl-D ends it")
    rest = b""
    while True:
        sender.idle(None, source)
        data = os.read(source, READ_BYTES)
        *lines, rest = (rest + data).split(b"\n")
        if not data or len(rest) > LINE_MAX_BYTES:
            lines.append(rest)
            rest = b""
        for line in lines:
            text = line.rstrip(b"\r").decode("utf-8", "replace")
            if text:
                yield text
        if not data:
            return


def _clean(argument: str) -> str:
    """A command-line argument as valid Unicode: bytes that were no UTF-8 become U+FFFD."""
    return os.fsencode(argument).decode("utf-8", "replace")


def _account(sender: Sender, host: str, port: int, unsent: int) -> int:
    server = f"{host} port {port}/udp"
    for sequence, message in sender.unacknowledged:
        say(f"not acknowledged: sequence {sequence}, {message[:200]!r}")
    if sender.given_up > len(sender.unacknowledged):
        say(f"not acknowledged: {sender.given_up - len(sender.unacknowledged)} more")
    if sender.refused:
        say(f"nothing listened on {server} for a time: entries sent then are lost. Is `fastlog serve` running there?")
    say(f"{sender.sent} sent to {server}, {sender.acknowledged} acknowledged, {sender.given_up} not")
    return 1 if sender.given_up or sender.refused or unsent else 0
