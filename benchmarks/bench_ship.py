"""Measures `fastlog ship` on this machine alone, and holds the figures against what is asked of it:

- speed: a log that is there goes into a real nats-server, and as `_bulk` to a server that only answers, beside a plain
  read of the same files
- beside: a server under load, without a shipper and with one, in turn
- long: a steady load for some minutes
- away: a steady load, while the engine is killed and stays away for some minutes
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from benchmarks.bench_floods import honest
from benchmarks.peers import collectors, kernel
from benchmarks.ship_processes import (
    STREAM,
    SUMMARY,
    Collector,
    Shipper,
    bulk_server,
    lay_out,
    loaded,
    nats_pid,
    nats_server,
)
from benchmarks.ship_watch import Watch
from benchmarks.tables import count, markdown

READ_BYTES = 1 << 18  # at once, by the plain read: as much as a batch
ERROR_SHARE = 0.01
BESIDE_RATE, LONG_RATE, AWAY_RATE = 100_000, 50_000, 20_000  # entries a second
STREAM_BYTES = 2 << 30  # of the stream of a long load: its oldest messages go
BEFORE_SEC = 5.0  # of load before the engine is killed
AFTER_SEC = 30.0  # of load after it is back
REST_SEC = 30.0  # for what is not shipped yet when the load has ended
CAUGHT_UP_SEC = 1.0  # of lag

# What is asked for.
LINES_PER_SEC = 350_000
NATS_USEC, BULK_USEC = 2.0, 2.5  # of CPU time for each line
COST_MORE = 5.0  # per cent of the server's CPU time for each entry
ACK_MORE_MS = 2.0
LAG_SEC = 1.0
MEMORY_MB = 60.0

PLAIN_READ = """
import sys, time
block = bytearray(int(sys.argv[1]))
began, size = time.perf_counter(), 0
for path in sys.argv[2:]:
    with open(path, "rb", buffering=0) as file:
        while got := file.readinto(block):
            size += got
print(time.perf_counter() - began)
"""

Row = list[str]


def row(what: str, figure: str, limit: str = "", is_met: bool = True) -> Row:
    """`limit`: what is asked for; empty: nothing."""
    return [what, figure, limit, ("yes" if is_met else "NO") if limit else ""]


def at_least(what: str, figure: float, limit: float) -> Row:
    return row(what, count(figure), f"at least {count(limit)}", figure >= limit)


def at_most(what: str, figure: float, limit: float, unit: str) -> Row:
    return row(what, f"{figure:.2f} {unit}", f"at most {limit:g} {unit}", figure <= limit)


def equal(what: str, figure: int, wanted: int) -> Row:
    return row(what, count(figure), count(wanted), figure == wanted)


def show(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def directory_in(parent: Path | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bench-ship-", dir=parent) as name:
        yield Path(name)


# Speed


@dataclass(frozen=True)
class Speed:
    """Without the start and the end of the shipper."""

    lines_per_sec: float
    usec_each: float  # of the shipper's CPU time
    engine_usec_each: float
    peak_mb: float


def ship_once(directory: Path, to: str, engine: int, lines: int) -> Speed:
    """Ships a log into an engine with that pid. What a shipper costs that finds nothing to do is taken off."""
    used, began = kernel.cpu_ns(engine), time.monotonic()
    shipper = Shipper(directory, to, "--once")
    found = SUMMARY.search(shipper.wait())
    used, ended = kernel.cpu_ns(engine) - used, time.monotonic()
    if not found or int(found[1].replace(",", "")) != lines:
        raise SystemExit(f"not all of {lines} lines were shipped")
    idle = Shipper(directory, to, "--once")
    idle.wait()
    seconds = ended - began - (time.monotonic() - ended)
    cpu = shipper.cpu_sec - idle.cpu_sec
    return Speed(lines / seconds, cpu * 1e6 / lines, used / 1000 / lines, shipper.peak_mb)


def read_plainly(paths: list[Path], lines: int) -> float:
    """Lines a second."""
    command = [sys.executable, "-c", PLAIN_READ, str(READ_BYTES), *map(str, paths)]
    return lines / float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def speed(options: argparse.Namespace) -> list[Row]:
    reads: list[float] = []
    nats: list[Speed] = []
    bulk: list[Speed] = []
    for number in range(1, options.rounds + 1):
        with directory_in(options.directory) as directory:
            log = directory / "log"
            log.mkdir()
            paths = lay_out(log, options.lines)
            reads.append(read_plainly(paths, options.lines))
            with nats_server(directory / "nats") as server:
                to = f"{server.url}/{STREAM}"
                nats.append(ship_once(log, to, nats_pid(server), options.lines))
            (log / "server.log.shipped").unlink()  # for the other engine, nothing is shipped
            with bulk_server() as (pid, to):
                bulk.append(ship_once(log, to, pid, options.lines))
        show(f"{number}/{options.rounds} plain read {count(reads[-1])} lines/s; NATS {nats[-1]}; _bulk {bulk[-1]}")
    return [
        row("plain read of the files, lines/s", count(median(reads))),
        at_least("NATS, lines/s", median(each.lines_per_sec for each in nats), LINES_PER_SEC),
        at_most("NATS, CPU of the shipper for a line", median(each.usec_each for each in nats), NATS_USEC, "µs"),
        row("NATS, CPU of nats-server for a line", f"{median(each.engine_usec_each for each in nats):.2f} µs"),
        row("_bulk with gzip, lines/s", count(median(each.lines_per_sec for each in bulk))),
        at_most("_bulk, CPU of the shipper for a line", median(each.usec_each for each in bulk), BULK_USEC, "µs"),
        row("_bulk, CPU of the server that only answers", f"{median(each.engine_usec_each for each in bulk):.2f} µs"),
        at_most("memory of the shipper", max(each.peak_mb for each in nats + bulk), MEMORY_MB, "MB"),
    ]


# Under load


@dataclass(frozen=True)
class Run:
    """A load, with a shipper or without. `watch` has ended."""

    sent: int
    stored: int
    drops: int  # in the kernel
    usec_each: float  # of the server's CPU time for each entry stored
    ack_ms: float  # the 99th of a hundred
    watch: Watch | None
    peak_mb: float  # of the shipper

    @property
    def rows(self) -> list[Row]:
        """What holds for each run."""
        rows = [equal("entries stored", self.stored, self.sent), equal("dropped by the kernel", self.drops, 0)]
        if self.watch:
            rows += [
                equal("lines in the stream", self.watch.lines, self.stored),
                equal("messages out of order, twice, or behind a gap", self.watch.breaks, 0),
                at_most("memory of the shipper", self.peak_mb, MEMORY_MB, "MB"),
            ]
        return rows


def p99(latencies_ms: list[float]) -> float:
    return quantiles(latencies_ms, n=100, method="inclusive")[98]


@contextlib.contextmanager
def collecting(directory: Path, *flags: str) -> Iterator[Collector]:
    server = Collector(directory, *flags)
    try:
        yield server
    finally:
        server.close()


@contextlib.contextmanager
def shipping(log: Path, url: str) -> Iterator[Shipper]:
    """Ends it also if something goes wrong."""
    shipper = Shipper(log, f"{url}/{STREAM}")
    try:
        yield shipper
    finally:
        shipper.process.kill()


def under_load(parent: Path | None, rate: int, seconds: float, *, ships: bool, stream_bytes: int = -1) -> Run:
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(directory_in(parent))
        log = directory / "log"
        log.mkdir()
        server = stack.enter_context(collecting(log))
        watch = shipper = None
        if ships:
            engine = stack.enter_context(nats_server(directory / "nats", max_bytes=stream_bytes))
            watch = Watch(log / "server.log", engine.url, STREAM)
            stack.callback(watch.close)
            shipper = stack.enter_context(shipping(log, engine.url))
        used = server.cpu_ns
        with loaded(directory, server.port, rate, seconds, ERROR_SHARE):
            latencies_ms, repeated = honest(server.port, seconds)
        stats = server.settled()
        used = server.cpu_ns - used
        peak_mb = 0.0
        if watch and shipper:
            watch.wait_for(stats["stored"], REST_SEC)
            shipper.stop()
            peak_mb = shipper.peak_mb
        sent = int(rate * seconds) + len(latencies_ms)
        each = used / 1000 / stats["stored"]
        show(f"shipper: {ships}, {count(stats['stored'])} stored, {each:.3f} µs each, {repeated} ERRORs sent again")
        return Run(sent, stats["stored"], stats["losses"]["kernel_drops"], each, p99(latencies_ms), watch, peak_mb)


def beside(options: argparse.Namespace) -> list[Row]:
    without: list[Run] = []
    with_it: list[Run] = []
    for _ in range(options.rounds):
        for ships, runs in ((False, without), (True, with_it)):
            runs.append(under_load(options.directory, BESIDE_RATE, options.seconds, ships=ships))
    cost, cost_with = (median(run.usec_each for run in runs) for runs in (without, with_it))
    ack, ack_with = (median(run.ack_ms for run in runs) for runs in (without, with_it))
    worst = [run.watch.worst_sec for run in with_it if run.watch]
    return [
        *(each for run in without + with_it for each in run.rows),
        row("CPU of the server for an entry, without", f"{cost:.3f} µs"),
        row("CPU of the server for an entry, with a shipper", f"{cost_with:.3f} µs"),
        at_most("more CPU with it", 100 * (cost_with / cost - 1), COST_MORE, "%"),
        row("ACK, 99th of a hundred, without", f"{ack:.2f} ms"),
        row("ACK, 99th of a hundred, with a shipper", f"{ack_with:.2f} ms"),
        at_most("later with it", ack_with - ack, ACK_MORE_MS, "ms"),
        at_most("longest lag", max(worst), LAG_SEC, "s"),
    ]


def long(options: argparse.Namespace) -> list[Row]:
    seconds = options.minutes * 60
    run = under_load(options.directory, LONG_RATE, seconds, ships=True, stream_bytes=STREAM_BYTES)
    assert run.watch
    return [
        *run.rows,
        row("lag, 99th of a hundred", f"{run.watch.lag_at(99):.2f} s"),
        at_most("longest lag", run.watch.worst_sec, LAG_SEC, "s"),
        row("ACK, 99th of a hundred", f"{run.ack_ms:.2f} ms"),
    ]


# Without an engine


def away(options: argparse.Namespace) -> list[Row]:
    minutes_sec = options.minutes * 60
    seconds = BEFORE_SEC + minutes_sec + AFTER_SEC
    is_held = options.hold_mb is None  # all of it
    flags = ["--log-backups", "1"] if is_held else ["--log-backups", "1", "--ship-hold-mb", str(options.hold_mb)]
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(directory_in(options.directory))
        log = directory / "log"
        log.mkdir()
        server = stack.enter_context(collecting(log, *flags))
        engine = stack.enter_context(nats_server(directory / "nats"))
        watch = Watch(log / "server.log", engine.url, STREAM)
        stack.callback(watch.close)
        shipper = stack.enter_context(shipping(log, engine.url))
        with loaded(directory, server.port, AWAY_RATE, seconds, ERROR_SHARE):
            before, _ = honest(server.port, BEFORE_SEC)
            engine.kill()
            meanwhile, _ = honest(server.port, minutes_sec)
            waiting = server.stats()["ship"]["lag_bytes"]
            engine.start()
            back = time.time()
            after, _ = honest(server.port, AFTER_SEC)
        stats = server.settled()
        watch.wait_for(stats["stored"] - stats["losses"]["unshipped"], REST_SEC)
        shipper.stop()
        caught_up = watch.caught_up(back, CAUGHT_UP_SEC)
    sent = int(AWAY_RATE * seconds) + len(before) + len(meanwhile) + len(after)
    unshipped = stats["losses"]["unshipped"]
    run = Run(sent, stats["stored"], stats["losses"]["kernel_drops"], 0, 0, watch if is_held else None, shipper.peak_mb)
    return [
        *run.rows,
        equal("lines missing in the stream", stats["stored"] - watch.lines, unshipped),
        *([equal("lines deleted before they were shipped", unshipped, 0)] if is_held else []),
        row("waited for the engine", f"{waiting / 1e6:,.0f} MB"),
        row("caught up, after the engine was back", "never" if caught_up is None else f"{caught_up:.1f} s"),
        row("ACK, 99th of a hundred, before", f"{p99(before):.2f} ms"),
        row("the same while it was away", f"{p99(meanwhile):.2f} ms"),
        at_most("later while it catches up", p99(after) - p99(before), ACK_MORE_MS, "ms"),
    ]


MEASUREMENTS: dict[str, Callable[[argparse.Namespace], list[Row]]] = {
    "speed": speed,
    "beside": beside,
    "long": long,
    "away": away,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("measurements", nargs="*", help=f"out of {', '.join(MEASUREMENTS)}; default: speed and beside")
    add("--rounds", type=int, default=3, help="of speed and beside; the figures are medians; default: 3")
    add("--lines", type=int, default=1_000_000, help="of speed; default: 1000000")
    add("--seconds", type=float, default=15.0, help="of load of beside; default: 15")
    add("--minutes", type=float, default=10.0, help="of load of long, and without an engine of away; default: 10")
    add("--hold-mb", type=float, help="SHIP_HOLD_MB of away: what is deleted beyond it must be counted to the line")
    add("--directory", type=Path, help="where logs and streams are to be; the system's place for temporary files")
    options = parser.parse_args()
    collectors.build()
    rows = []
    for name in options.measurements or ["speed", "beside"]:
        rows += [[f"{name}: {what}", *rest] for what, *rest in MEASUREMENTS[name](options)]
    print(f"Load of the machine: {os.getloadavg()[0]:.1f}\n")
    print(markdown(["what", "measured", "asked for", "met"], rows), end="")
    return 1 if any(each[-1] == "NO" for each in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
