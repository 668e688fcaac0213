"""Makes a log of compressed archives, as large as is wished, out of one minute of log.

The lines of that minute are made once, from random numbers. Each minute of the log is that one with another time,
other sequences and another ticket, all of the same size, so that it costs a copy and not the making of its lines. The
likeness of the minutes does not make the archives smaller, since an archive's frames are compressed each on its own.
The writer of the archives is the server's. Nothing but the archives is on the disk, besides a minute of live file.

- The lines are those of `entries.py` with the name of a logger, in the order of their times, LINE_BYTES in the mean.
- ERROR_SHARE of them are ERRORs. One minute of BURST_MINUTES has BURST_SHARE more, within BURST_SEC.
- One line of each minute has a ticket that no other line has: the rare word.
"""

import os
import random
import re
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from benchmarks import entries
from fastlog.archive.index import read_index
from fastlog.archive.writer import compress
from fastlog.segments import ATTRIBUTE, Identity

LINES = 38_000  # of a minute
LINE_BYTES = 263  # with its line feed, in the mean: as real lines have
MINUTES = 10  # of an archive, which is then about 100 MB of text
ERROR_SHARE = 0.001
BURST_SHARE = 0.01
BURST_MINUTES = 50
BURST_SEC = 5
LOGGERS = ("http.access", "orders", "jobs", "security")
BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
LIVE = "server.log"
LOG = "0123456789ab"
TICKET_LINE = 15_000  # of a minute
# What a minute has in place of these.
TIME, SEQUENCE, TICKET = b'"2026-11-01T00:00:', b'"sequence":100000', b"ticket 100000"
PLACES = re.compile(b"(" + b"|".join((TIME, SEQUENCE, TICKET)) + b")")


@dataclass(frozen=True)
class Corpus:
    archives: list[Path]  # the oldest first
    live: Path  # a minute, not compressed
    text_bytes: int  # of all
    stored_bytes: int  # of the archives
    minutes: int


def time_of(minute: float) -> datetime:
    return BEGIN + timedelta(minutes=minute)


def ticket_of(minute: int) -> str:
    return f"ticket {100_000 + minute}"


def make(directory: Path, size: int) -> Corpus:
    """A log of about that size in bytes of text: archives of MINUTES each, and a live file."""
    count = max(1, round(size / (LINES * LINE_BYTES * MINUTES)))
    live = directory / LIVE
    live.write_bytes(minute_text(count * MINUTES))
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as workers:
        paths = [directory / f"{LIVE}.{count - number}.zst" for number in range(count)]
        list(workers.map(_archive, paths, range(count)))
    for segment, path in enumerate([*paths, live], 1):
        os.setxattr(path, ATTRIBUTE, str(Identity(LOG, segment)).encode())
        last = time_of(min(segment * MINUTES, count * MINUTES + 1)).timestamp()
        os.utime(path, (last, last))
    return find(directory)


def find(directory: Path) -> Corpus:
    """The log that `make` has made."""
    live = directory / LIVE
    paths = sorted(directory.glob(f"{LIVE}.*.zst"), key=lambda path: int(path.stem.rpartition(".")[2]), reverse=True)
    archived = sum(map(text_size, paths))
    stored = sum(path.stat().st_size for path in paths)
    return Corpus(paths, live, archived + live.stat().st_size, stored, len(paths) * MINUTES + 1)


def text_size(path: Path) -> int:
    """Of an archive."""
    with open(path, "rb") as archive:
        index = read_index(archive.fileno())
    if index is None:
        raise SystemExit(f"{path} has no seek table")
    return index.text_size


def minute_text(minute: int) -> bytes:
    values = {
        TIME: f'"{time_of(minute):%Y-%m-%dT%H:%M:}'.encode(),
        SEQUENCE: b'"sequence":%06d' % (100_000 + minute),
        TICKET: ticket_of(minute).encode(),
    }
    pieces = _pieces(minute % BURST_MINUTES == BURST_MINUTES // 2)
    return b"".join(map(values.get, pieces, pieces))


def write_text(fd: int, number: int) -> None:
    """Writes the text of an archive, the first of which has number 0."""
    for minute in range(number * MINUTES, (number + 1) * MINUTES):
        os.write(fd, minute_text(minute))


def _archive(path: Path, number: int) -> None:
    source = os.memfd_create("log")
    target = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o640)
    try:
        write_text(source, number)
        compress(source, target)
    finally:
        os.close(source)
        os.close(target)


@cache
def _pieces(is_burst: bool) -> list[bytes]:
    """A minute, split at what changes."""
    rng = random.Random(entries.SEED)
    seconds = sorted(rng.uniform(0, 60) for _ in range(LINES))
    lines = []
    for number, second in enumerate(seconds):
        share = ERROR_SHARE
        if is_burst and 30 <= second < 30 + BURST_SEC:
            share += BURST_SHARE * 60 / BURST_SEC
        more: dict[str, object] = {
            "timestamp": f"2026-11-01T00:00:{second:09.6f}Z",
            "sequence": 100_000_000_000 + number,
            "logger": f"example.{rng.choice(LOGGERS)}",
        }
        if number == TICKET_LINE:
            more["message"] = "refund refused, see " + TICKET.decode()
        lines.append(entries.entry(rng, number, None, "ERROR" if rng.random() < share else None, **more))
    return PLACES.split(b"".join(line + b"\n" for line in lines))
