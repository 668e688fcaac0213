"""The entries of a load test, prepared ahead: made up after real logs, or the user's own lines.

A prepared entry has the bytes of the datagram, in which the engine (`_sender.pyx`) writes the sequence anew each time.
"""

import random
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from fastlog._parse import scan
from fastlog.client.lines import guess_level
from fastlog.entry import ALIASES
from fastlog.errors import ConfigError
from fastlog.limits import DATAGRAM_MAX_BYTES
from fastlog.loadtest._sender import SEQUENCE_DIGITS

POOL_ENTRIES = 20_000  # made up for one run, 5 MB; a longer run takes them in turn
CORPUS_MAX_BYTES = 1 << 28  # read of a corpus
CORPUS_ENTRIES = 100_000  # taken of it, evenly: a second of preparation, 30 MB
ERROR_SHARE = 0.01  # of made-up entries, about that of a service in good health
FIRST_SEQUENCE = 10 ** (SEQUENCE_DIGITS - 1)  # the first with so many digits
PLACE = str(FIRST_SEQUENCE).encode()  # for a sequence

# Sizes of messages like those of real logs: many of some hundred bytes, few of some thousand.
MESSAGE_MEDIAN_BYTES = 100
MESSAGE_SPREAD = 0.75  # sigma of the logarithm
MESSAGE_MAX_BYTES = 8000

APPS = ("web", "shop", "worker", "auth", "billing")
OTHER_LEVELS = ("DEBUG", "INFO", "WARNING")
OTHER_WEIGHTS = (15, 75, 10)
# fmt: off
WORDS = (
    "connection", "reset", "by", "peer", "while", "reading", "response", "header", "from", "upstream", "configured",
    "installed", "status", "session", "opened", "for", "closed", "timeout", "payment", "order", "customer", "GET",
    "POST", "/api/v1/items", "200", "404", "502", "user", "retry", "queue", "worker", "eth0", "192.0.2.17", "in",
    "12", "ms", "cache", "miss", "key=7f3a", "rows=8412", "pool", "at", "90", "%", "kernel:", "libssl3", "started",
)
# fmt: on

_SEQUENCE = re.compile(rb'"sequence"[ \t]*:[ \t]*([0-9]+)')


class Prepared(msgspec.Struct, frozen=True):
    """An entry as bytes; at `digits_at` are the SEQUENCE_DIGITS digits of its sequence."""

    content: bytes
    digits_at: int
    level: str  # one of entry.LEVELS


class Corpus(msgspec.Struct, frozen=True):
    entries: list[Prepared]
    left_out: int  # lines that do not fit in a datagram


def made_up(rng: random.Random, size: int, errors: int, message_bytes: int | None) -> list[Prepared]:
    """`size` entries, `errors` of them ERROR. `message_bytes`: of every message; None: as in real logs."""
    where = _error_places(rng, size, errors)
    timestamp = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    made = []
    for place in range(size):
        level = "ERROR" if place in where else rng.choices(OTHER_LEVELS, OTHER_WEIGHTS)[0]
        made.append(_prepare(level, _message(rng, message_bytes), rng.choice(APPS), timestamp))
    return made


def picked(rng: random.Random, corpus: Sequence[Prepared], size: int, errors: int) -> list[Prepared]:
    """`size` entries of a corpus, of which `errors` are ERROR. Raises ConfigError where it has none of a kind."""
    of_errors = [entry for entry in corpus if entry.level == "ERROR"]
    others = [entry for entry in corpus if entry.level != "ERROR"]
    if (errors and not of_errors) or (errors < size and not others):
        kind = "no ERROR entry" if not of_errors else "nothing but ERROR entries"
        raise ConfigError(f"--error-share: the corpus has {kind}; leave the flag away to send it as it is")
    where = _error_places(rng, size, errors)
    return [rng.choice(of_errors if place in where else others) for place in range(size)]


def read_corpus(path: Path) -> Corpus:
    """The lines of a file: entries as they are, all others as messages. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            lines = [line for line in (line.strip() for line in file.read(CORPUS_MAX_BYTES).split(b"\n")) if line]
    except OSError as error:
        raise ConfigError(f"cannot read the corpus {path}: {error.strerror}") from error
    entries: list[Prepared] = []
    left_out = 0
    for line in lines[:: -(-len(lines) // CORPUS_ENTRIES) or 1]:
        prepared = _of_line(line)
        fitting = [entry for entry in prepared if len(entry.content) <= DATAGRAM_MAX_BYTES]
        left_out += len(prepared) - len(fitting)
        entries += fitting
    if not entries:
        raise ConfigError(f"the corpus {path} has no line that fits in a datagram ({DATAGRAM_MAX_BYTES} bytes)")
    return Corpus(entries, left_out)


def _of_line(line: bytes) -> list[Prepared]:
    """The entries of a line if it has nothing else, otherwise one entry with the line as its message."""
    pieces = scan(line) if line[:1] == b"{" else []
    if pieces and all(reason is None for reason, *_ in pieces):
        return [_numbered(line[start:end], level or "") for _, level, _, start, end, _ in pieces]
    message = line.decode("utf-8", "replace")
    level = guess_level(message) or "INFO"
    return [_prepare(ALIASES.get(level, level), message)]


def _numbered(entry: bytes, level: str) -> Prepared:
    """The entry with a place for our sequence: where its own was, or else at its end, where it counts in any case."""
    for found in _SEQUENCE.finditer(entry):
        content = entry[: found.start(1)] + PLACE + entry[found.end(1) :]
        # the same text may stand in a string or in a nested object, where it is no sequence
        if [piece[2] for piece in scan(content)] == [FIRST_SEQUENCE]:
            return Prepared(content, found.start(1), level)
    head = entry[:-1] + b',"sequence":'
    return Prepared(head + PLACE + b"}", len(head), level)


def _prepare(level: str, message: str, app: str = "loadtest", timestamp: str | None = None) -> Prepared:
    fields = {"timestamp": timestamp} if timestamp else {}
    content = msgspec.json.encode(
        {**fields, "sequence": FIRST_SEQUENCE, "level": level, "app": app, "host": "loadtest", "message": message}
    )
    return Prepared(content, content.index(PLACE), level)


def _message(rng: random.Random, size: int | None) -> str:
    if size is None:
        size = min(int(rng.lognormvariate(0, MESSAGE_SPREAD) * MESSAGE_MEDIAN_BYTES) + 1, MESSAGE_MAX_BYTES)
    text = " ".join(rng.choices(WORDS, k=size // 4 + 1))
    return text[:size].ljust(size, ".")


def _error_places(rng: random.Random, size: int, errors: int) -> set[int]:
    """The last place is one of them: an ERROR is written at once, and what came before it too, so that a server has
    nothing in its buffer when the run ends."""
    if not errors:
        return set()
    return {size - 1, *rng.sample(range(size - 1), min(errors, size) - 1)}
