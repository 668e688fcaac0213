"""The entries of a load test, prepared ahead: made up, or the user's own lines.

A prepared entry has the bytes of its datagram. The engine (`_sender.pyx`) writes the sequence and the timestamp into
them each time that it sends the entry.
"""

import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from fastlog._parse import scan
from fastlog.client.lines import guess_level
from fastlog.entry import known_level
from fastlog.errors import ConfigError
from fastlog.limits import DATAGRAM_MAX_BYTES
from fastlog.loadtest._sender import SEQUENCE_DIGITS
from fastlog.loadtest.messages import made_up_fields

POOL_ENTRIES = 20_000  # made up for one run, 5 MB; a longer run sends them in turn
CORPUS_MAX_BYTES = 1 << 28  # read from a corpus
CORPUS_ENTRIES = 100_000  # taken from a corpus, evenly: a second of preparation, 30 MB
ERROR_SHARE = 0.01  # share of ERROR in made-up entries, about that of a healthy service
FIRST_SEQUENCE = 10 ** (SEQUENCE_DIGITS - 1)  # the first one with so many digits
SEQUENCE_PLACE = str(FIRST_SEQUENCE).encode()
TIMESTAMP_PLACE = "2026-11-24T07:00:00.000000Z"  # the engine writes its first TIMESTAMP_BYTES anew
HOST = "loadtest"  # the field `host`: these entries can be found in a log

_SEQUENCE = re.compile(rb'"sequence"[ \t]*:[ \t]*([0-9]+)')


class Prepared(msgspec.Struct, frozen=True):
    """An entry as bytes; at `digits_at` are the SEQUENCE_DIGITS digits of its sequence."""

    content: bytes
    digits_at: int
    timestamp_at: int  # offset of the timestamp that is written anew; 0: none is
    level: str  # one of entry.LEVELS


class Corpus(msgspec.Struct, frozen=True):
    entries: list[Prepared]
    left_out: int  # lines that do not fit in a datagram


class Supply:
    """Prepared entries for every run of a load test. Raises ConfigError.

    `error_share` None: ERROR_SHARE for made-up entries, and a corpus as it is. `message_bytes` None: sizes as in real
    logs. `corpus` None: entries are made up. `left_out` counts the lines of the corpus that do not fit in a datagram.
    """

    def __init__(self, seed: int, error_share: float | None, message_bytes: int | None, corpus: Path | None) -> None:
        self._rng = random.Random(seed)
        self._error_share = error_share
        self._message_bytes = message_bytes
        self._corpus = read_corpus(corpus) if corpus else Corpus([], 0)
        self.left_out = self._corpus.left_out

    def deal(self, counts: Sequence[int]) -> list[list[Prepared]]:
        """The entries of each client, which sends so many of them, in turn. The last entry that it sends is the last of
        its list."""
        corpus = self._corpus.entries
        if corpus and self._error_share is None:
            few = len(corpus) < len(counts)
            return [corpus if few else corpus[number :: len(counts)] for number in range(len(counts))]
        share = ERROR_SHARE if self._error_share is None else self._error_share
        total = sum(counts)
        errors_in_all = round(total * share) or (1 if share else 0)
        pool = max(1, POOL_ENTRIES // len(counts))
        dealt = []
        before = 0
        for count in counts:
            if count <= pool:
                size = count
                errors = errors_in_all * (before + count) // total - errors_in_all * before // total
            else:
                size = pool
                errors = round(size * share)
            before += count
            entries = self._pick(size, min(errors, size))
            first = -count % size
            dealt.append(entries[first:] + entries[:first])
        return dealt

    def _pick(self, size: int, errors: int) -> list[Prepared]:
        if self._corpus.entries:
            return picked(self._rng, self._corpus.entries, size, errors)
        return made_up(self._rng, size, errors, self._message_bytes)


def made_up(rng: random.Random, size: int, errors: int, message_bytes: int | None) -> list[Prepared]:
    """`size` entries, `errors` of them ERROR. `message_bytes`: size of every message; None: as in real logs."""
    error_places = _error_places(rng, size, errors)
    prepared = []
    for place in range(size):
        fields = made_up_fields(rng, "ERROR" if place in error_places else None, message_bytes)
        prepared.append(_prepare({"timestamp": TIMESTAMP_PLACE, "sequence": FIRST_SEQUENCE, **fields, "host": HOST}))
    return prepared


def picked(rng: random.Random, corpus: Sequence[Prepared], size: int, errors: int) -> list[Prepared]:
    """`size` entries of a corpus, `errors` of them ERROR. Raises ConfigError if it lacks one of the two kinds."""
    of_errors = [entry for entry in corpus if entry.level == "ERROR"]
    others = [entry for entry in corpus if entry.level != "ERROR"]
    if (errors and not of_errors) or (errors < size and not others):
        kind = "no ERROR entry" if not of_errors else "nothing but ERROR entries"
        raise ConfigError(f"--error-share: the corpus has {kind}; omit the flag to send the corpus unchanged")
    error_places = _error_places(rng, size, errors)
    return [rng.choice(of_errors if place in error_places else others) for place in range(size)]


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
    """The entries of a line if it holds nothing else, otherwise one entry with the line as its message."""
    pieces = scan(line) if line[:1] == b"{" else []
    if pieces and all(reason is None for reason, *_ in pieces):
        return [_numbered(line[start:end], level or "") for _, level, _, start, end, *_ in pieces]
    message = line.decode("utf-8", "replace")
    level = guess_level(message) or "INFO"
    fields = {"level": known_level(level) or level, "app": "loadtest", "message": message}
    return [_prepare({"timestamp": TIMESTAMP_PLACE, "sequence": FIRST_SEQUENCE, **fields, "host": HOST})]


def _numbered(entry: bytes, level: str) -> Prepared:
    """The entry with a place for our sequence: in place of its own one, else at its end, which always counts."""
    for found in _SEQUENCE.finditer(entry):
        content = entry[: found.start(1)] + SEQUENCE_PLACE + entry[found.end(1) :]
        # The same text may stand in a string or in a nested object, where it is not the entry's sequence.
        if [piece[2] for piece in scan(content)] == [FIRST_SEQUENCE]:
            return Prepared(content, found.start(1), 0, level)
    head = entry[:-1] + b',"sequence":'
    return Prepared(head + SEQUENCE_PLACE + b"}", len(head), 0, level)


def _prepare(fields: dict[str, Any]) -> Prepared:
    content = msgspec.json.encode(fields)
    return Prepared(content, content.index(SEQUENCE_PLACE), content.index(TIMESTAMP_PLACE.encode()), fields["level"])


def _error_places(rng: random.Random, size: int, errors: int) -> set[int]:
    """Places of ERROR entries, the last place among them: the server writes an ERROR at once, with everything before
    it, so nothing is left in its buffer when the run ends."""
    if not errors:
        return set()
    return {size - 1, *rng.sample(range(size - 1), min(errors, size) - 1)}
