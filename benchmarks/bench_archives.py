"""Measures compressed archives on this machine alone, and holds the figures against what is asked of them:

- window: `fastlog tail` of ten minutes out of the whole log
- level: all ERRORs of it, beside `zstdcat | grep`
- word: a word that one line has, beside `zstdcat | grep`, `zgrep` and lnav
- counts: `fastlog count` of all of it, by the summaries
- compressing: the process that makes an archive, beside bare zstd on the same frames
- beside: a server under load, with `LOG_COMPRESS=zstd` and without, in turn
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import archive_corpus, machine
from benchmarks.archive_corpus import Corpus
from benchmarks.bench_floods import honest
from benchmarks.bench_ship import Row, at_most, collecting, directory_in, equal, p99, row, show
from benchmarks.peers import collectors
from benchmarks.ship_processes import environment, loaded
from benchmarks.tables import count, markdown
from fastlog.archive.index import FRAME_BYTES

SHARE = float(os.environ.get("FASTLOG_BENCH_SHARE", "1"))  # of the log's size: a small one shows that it runs
GB = 1_000_000_000
READ_BYTES = 1 << 20  # at once, of what a command prints
BEGIN_BYTES = 100  # of what it prints, that are kept
WINDOW_MINUTES = 10
PART_ARCHIVES = 2  # that the slow ones have
LEVEL = '"level":"ERROR"'

BESIDE_RATE = 200_000  # entries a second
BESIDE_ERRORS = 0.001
ARCHIVE_MB = 100  # of the server under load

# Makes a process whose memory is told, which that of a child of this large process is not: a child has its parent's
# until it begins. It gives it two open files and its own pid.
LAUNCHER = """
import os, sys, time
began = time.perf_counter()
pid = os.posix_spawn(sys.executable, [sys.executable, *sys.argv[1:], str(os.getpid())], os.environ)
_, status, used = os.wait4(pid, 0)
print(os.waitstatus_to_exitcode(status), time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss)
"""
# What zstd costs alone: the same frames, written and synced, and nothing else.
BARE = f"""
import os, sys
from fastlog.archive import zstd
from fastlog.archive.writer import LEVEL
source, target = map(int, sys.argv[1:3])
options = {{zstd.CompressionParameter.compression_level: LEVEL, zstd.CompressionParameter.checksum_flag: 1}}
compressor = zstd.ZstdCompressor(options=options)
while block := os.read(source, {FRAME_BYTES}):
    os.write(target, compressor.compress(block, compressor.FLUSH_FRAME))
os.fsync(target)
"""

# What is asked for.
FIRST_SEC, WHOLE_SEC = 0.2, 1.0
LEVEL_TIMES, WORD_TIMES = 10.0, 1.8  # faster than `zstdcat | grep`
COUNT_SEC = 0.5
BARE_SHARE = 60.0  # per cent of the speed of bare zstd
MEMORY_MB = 32.0
COST_MORE = 5.0  # per cent of the server's CPU time for each entry


@dataclass(frozen=True)
class Output:
    first_sec: float  # until its first byte
    whole_sec: float
    lines: int
    begin: bytes
    digest: bytes


def run(command: Sequence[str | Path], **more: str) -> Output:
    """`more`: of its environment. It may find nothing, as grep says with 1."""
    hashed = hashlib.blake2b()
    block = memoryview(bytearray(READ_BYTES))
    lines, first, begin = 0, None, b""
    began = time.perf_counter()
    with subprocess.Popen(
        list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, bufsize=0, env=environment() | more
    ) as process:
        assert process.stdout
        while got := process.stdout.readinto(block):  # type: ignore[attr-defined]
            first = first or time.perf_counter() - began
            begin = begin or bytes(block[: min(got, BEGIN_BYTES)])
            lines += bytes(block[:got]).count(b"\n")
            hashed.update(block[:got])
    whole = time.perf_counter() - began
    if process.returncode not in (0, 1):
        raise SystemExit(f"{command[0]} has ended with {process.returncode}")
    return Output(first or whole, whole, lines, begin, hashed.digest())


def tail(corpus: Corpus, *flags: str) -> Output:
    return fastlog(corpus, "tail", "-n", "all", *flags)


def fastlog(corpus: Corpus, *words: str) -> Output:
    return run([sys.executable, "-m", "fastlog", *words, "--env-file", os.devnull, "--log-dir", corpus.live.parent])


def grep(corpus: Corpus, text: str) -> Output:
    """The best that grep does: for bytes, and for a text that is no pattern."""
    script = 'text=$1 live=$2; shift 2; { zstdcat -- "$@"; cat "$live"; } | grep -F -e "$text"'
    return run(["sh", "-c", script, "sh", text, corpus.live, *corpus.archives], LC_ALL="C")


def zgrep(paths: list[Path], text: str) -> Output:
    return run(["zgrep", "-h", "-F", "-e", text, *paths], LC_ALL="C")


def lnav(home: Path, paths: list[Path], text: str) -> Output:
    return run(["lnav", "-n", "-c", f":filter-in {text}", *paths], HOME=str(home))


def in_turn(rounds: int, **runs: Callable[[], Output]) -> dict[str, list[Output]]:
    """Each of them once in a round."""
    outputs: dict[str, list[Output]] = {name: [] for name in runs}
    for number in range(1, rounds + 1):
        for name, each in runs.items():
            outputs[name].append(each())
        show(f"{number}/{rounds} " + ", ".join(f"{name} {got[-1].whole_sec:.2f} s" for name, got in outputs.items()))
    return outputs


def whole(outputs: list[Output]) -> float:
    return median(each.whole_sec for each in outputs)


def same(outputs: dict[str, list[Output]]) -> Row:
    """All must have found the same lines in the same order: the speed of a wrong answer is nothing."""
    found = {name: {each.lines for each in got} for name, got in outputs.items()}
    if len({each.digest for got in outputs.values() for each in got}) != 1:
        raise SystemExit(f"not all have found the same lines: {found}")
    return row("lines found", count(found.popitem()[1].pop()))


def times(what: str, slow: float, fast: float, limit: float) -> Row:
    return row(what, f"{slow / fast:.1f} times", f"at least {limit:g} times", slow / fast >= limit)


def level(corpus: Corpus, options: argparse.Namespace) -> list[Row]:
    got = in_turn(
        options.rounds,
        tail=lambda: tail(corpus, "--level", "ERROR", "--json"),
        grep=lambda: grep(corpus, LEVEL),
    )
    return [
        same(got),
        row("--level ERROR over all", f"{whole(got['tail']):.3f} s"),
        row("zstdcat and grep", f"{whole(got['grep']):.2f} s"),
        times("faster than zstdcat and grep", whole(got["grep"]), whole(got["tail"]), LEVEL_TIMES),
    ]


def word(corpus: Corpus, options: argparse.Namespace) -> list[Row]:
    """gzip and lnav have a part of the log, and their times are scaled to all of it."""
    ticket = archive_corpus.ticket_of(corpus.minutes * 2 // 3)
    with directory_in(options.directory) as directory:
        part = corpus.archives[len(corpus.archives) * 2 // 3 :][:PART_ARCHIVES]
        zipped = [gzip_copy(path, directory / f"{path.stem}.gz") for path in part]
        part_bytes = sum(size for _, size in zipped)
        scale = corpus.text_bytes / part_bytes
        got = in_turn(
            options.rounds,
            tail=lambda: tail(corpus, "--grep", ticket, "--json"),
            grep=lambda: grep(corpus, ticket),
        )
        slow = {"zgrep": lambda: zgrep([path for path, _ in zipped], ticket)}
        if shutil.which("lnav"):
            slow["lnav"] = lambda: lnav(directory, part, ticket)
        on_part = in_turn(1, **slow)
    return [
        same(got),
        row("--grep of a rare word over all", f"{whole(got['tail']):.2f} s"),
        row("zstdcat and grep", f"{whole(got['grep']):.2f} s"),
        times("faster than zstdcat and grep", whole(got["grep"]), whole(got["tail"]), WORD_TIMES),
        *(
            row(f"{name}, scaled from {part_bytes / 1e6:,.0f} MB", f"{whole(outputs) * scale:.0f} s")
            for name, outputs in on_part.items()
        ),
    ]


def window(corpus: Corpus, options: argparse.Namespace) -> list[Row]:
    """From the middle of an archive to the middle of the next, or to the end of the log."""
    since = min(corpus.minutes * 2 // 3, corpus.minutes - WINDOW_MINUTES) - 0.5
    between = [f"{archive_corpus.time_of(at):%Y-%m-%dT%H:%M:%SZ}" for at in (since, since + WINDOW_MINUTES)]
    flags = ["--since", between[0], "--until", between[1]]
    got = in_turn(options.rounds, stored=lambda: tail(corpus, *flags, "--json"), text=lambda: tail(corpus, *flags))
    lines = {each.lines for outputs in got.values() for each in outputs}
    if lines != {WINDOW_MINUTES * archive_corpus.LINES}:
        raise SystemExit(f"the window has not {WINDOW_MINUTES * archive_corpus.LINES} lines, but {lines}")
    rows = [row("lines of ten minutes", count(*lines))]
    for name, what in (("stored", "as stored"), ("text", "as text")):
        first = median(each.first_sec for each in got[name])
        rows.append(at_most(f"{what}, first line", first, FIRST_SEC, "s"))
        rows.append(at_most(f"{what}, all lines", whole(got[name]), WHOLE_SEC, "s"))
    return rows


def counts(corpus: Corpus, options: argparse.Namespace) -> list[Row]:
    total = b'{"total":%d' % (corpus.minutes * archive_corpus.LINES)
    got = in_turn(
        options.rounds,
        all=lambda: fastlog(corpus, "count", "--json"),
        level=lambda: fastlog(corpus, "count", "--by", "level", "--json"),
        minute=lambda: fastlog(corpus, "count", "--by", "minute", "--json"),
    )
    if wrong := [each.begin for outputs in got.values() for each in outputs if not each.begin.startswith(total)]:
        raise SystemExit(f"not {total!r}, but {wrong}")
    return [
        row("entries", count(corpus.minutes * archive_corpus.LINES)),
        at_most("of all", whole(got["all"]), COUNT_SEC, "s"),
        at_most("by level", whole(got["level"]), COUNT_SEC, "s"),
        row("by minute", f"{whole(got['minute']):.2f} s"),
    ]


def gzip_copy(path: Path, target: Path) -> tuple[Path, int]:
    """Of an archive's text, as logrotate makes it; and how large that text is."""
    with open(target, "wb") as file, subprocess.Popen(["zstdcat", path], stdout=subprocess.PIPE) as text:
        subprocess.run(["gzip", "-6"], stdin=text.stdout, stdout=file, check=True)
    return target, archive_corpus.text_size(path)


@dataclass(frozen=True)
class Compressed:
    seconds: float
    cpu_sec: float
    peak_mb: float
    stored_bytes: int


def compress_once(directory: Path, command: Sequence[str]) -> Compressed:
    """Runs a process that compresses `directory/text`, from its start to its end."""
    with open(directory / "text", "rb") as source, tempfile.TemporaryFile(dir=directory) as target:
        numbers = (source.fileno(), target.fileno())
        launched = subprocess.run(
            [sys.executable, "-c", LAUNCHER, *command, *map(str, numbers)],
            pass_fds=numbers,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        code, seconds, cpu_sec, peak_kib = map(float, launched.stdout.split())
        if code:
            raise SystemExit(f"{command[-1]} has ended with {code:g}")
        return Compressed(seconds, cpu_sec, peak_kib * 1024 / 1e6, os.fstat(target.fileno()).st_size)


def compressing(options: argparse.Namespace) -> list[Row]:
    ours: list[Compressed] = []
    bare: list[Compressed] = []
    with directory_in(options.directory) as directory:
        with open(directory / "text", "wb") as text:
            archive_corpus.write_text(text.fileno(), 0)
            os.fsync(text.fileno())  # the disk is not to be busy with it later
            size = text.tell()
        for number in range(1, options.rounds + 1):
            ours.append(compress_once(directory, ["-m", "fastlog.archive.process"]))
            bare.append(compress_once(directory, ["-c", BARE]))
            show(f"{number}/{options.rounds} {ours[-1]}; bare zstd {bare[-1]}")
    speed, bare_speed = (size / 1e6 / median(each.cpu_sec for each in runs) for runs in (ours, bare))
    share = 100 * speed / bare_speed
    return [
        row("text of an archive", f"{size / 1e6:,.0f} MB"),
        row("time, until it is durable", f"{median(each.seconds for each in ours):.2f} s"),
        row("the same, bare zstd", f"{median(each.seconds for each in bare):.2f} s"),
        row("for a second of CPU time", f"{speed:,.0f} MB"),
        row("the same, bare zstd", f"{bare_speed:,.0f} MB"),
        row("share of its speed", f"{share:.0f} %", f"at least {BARE_SHARE:g} %", share >= BARE_SHARE),
        row("ratio, with summary and rare lines", f"{size / ours[0].stored_bytes:.2f}"),
        row("the same, bare zstd", f"{size / bare[0].stored_bytes:.2f}"),
        at_most("memory of the process", max(each.peak_mb for each in ours), MEMORY_MB, "MB"),
    ]


# Beside a load


@dataclass(frozen=True)
class Beside:
    """A load on a server. `usec_each`: of the server's own CPU time for each entry stored. `archives`: that were
    compressed before the load ended. `lines`: in all files of the log when all are compressed."""

    sent: int
    stored: int
    drops: int  # in the kernel
    usec_each: float
    ack_ms: float  # the 99th of a hundred
    archives: int
    lines: int


def under_load(options: argparse.Namespace, compress: str) -> Beside:
    with directory_in(options.directory) as directory:
        log = directory / "log"
        log.mkdir()
        limits = ["--max-log-size-mb", str(options.archive_mb), "--log-backups", "9999"]
        with collecting(log, *limits, "--log-compress", compress) as server:
            used = server.cpu_ns
            with loaded(directory, server.port, options.rate, options.seconds, BESIDE_ERRORS):
                latencies_ms, repeated = honest(server.port, options.seconds)
            archives = server.stats()["archives"]["compressed_files"]
            stats = server.settled()
            used = server.cpu_ns - used
            server.compressed()
        sent = int(options.rate * options.seconds) + len(latencies_ms)
        each = used / 1000 / stats["stored"]
        drops = stats["losses"]["kernel_drops"]
        show(
            f"{compress}: {count(stats['stored'])} stored, {each:.3f} µs each, {drops} dropped, "
            f"{archives} archives compressed meanwhile, {repeated} ERRORs sent again"
        )
        return Beside(sent, stats["stored"], drops, each, p99(latencies_ms), archives, lines_of(log))


def lines_of(log: Path) -> int:
    """In all files of a log."""
    script = "cat server.log $(ls server.log.* | grep -v zst$); ls server.log.*.zst | xargs -r zstdcat"
    text = subprocess.run(["sh", "-c", f"{{ {script}; }} | wc -l"], cwd=log, capture_output=True, check=True)
    return int(text.stdout)


def beside(options: argparse.Namespace) -> list[Row]:
    without: list[Beside] = []
    with_it: list[Beside] = []
    for _ in range(options.rounds):
        without.append(under_load(options, "none"))
        with_it.append(under_load(options, "zstd"))
    cost, cost_with = (median(run.usec_each for run in runs) for runs in (without, with_it))
    ack, ack_with = (median(run.ack_ms for run in runs) for runs in (without, with_it))
    archives = median(run.archives for run in with_it)
    every = without + with_it
    return [
        equal("entries stored", sum(run.stored for run in every), sum(run.sent for run in every)),
        equal("dropped by the kernel", sum(run.drops for run in every), 0),
        equal("lines in the files", sum(run.lines for run in every), sum(run.stored for run in every)),
        row("archives compressed under load", count(archives), "at least 1", archives >= 1),
        row("CPU of the server for an entry, without", f"{cost:.3f} µs"),
        row("CPU of the server for an entry, with it", f"{cost_with:.3f} µs"),
        at_most("more CPU with it", 100 * (cost_with / cost - 1), COST_MORE, "%"),
        row("ACK, 99th of a hundred, without", f"{ack:.2f} ms"),
        row("ACK, 99th of a hundred, with it", f"{ack_with:.2f} ms"),
    ]


SEARCHES: dict[str, Callable[[Corpus, argparse.Namespace], list[Row]]] = {
    "window": window,
    "level": level,
    "word": word,
    "counts": counts,
}
OTHERS: dict[str, Callable[[argparse.Namespace], list[Row]]] = {"compressing": compressing, "beside": beside}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("measurements", nargs="*", help=f"out of {', '.join([*SEARCHES, *OTHERS])}; default: all")
    add("--rounds", type=int, default=3, help="the figures are medians; default: 3")
    add("--gb", type=float, default=10 * SHARE, help="of the log's text; default: 10, times FASTLOG_BENCH_SHARE")
    add("--seconds", type=float, default=15 * SHARE, help="of load of beside; default: 15, scaled in the same way")
    add("--rate", type=int, default=BESIDE_RATE, help="of beside, in entries a second; default: 200000")
    add("--archive-mb", type=float, default=ARCHIVE_MB * SHARE, help="of beside; default: 100, scaled likewise")
    add("--directory", type=Path, help="where the log is to be; the system's place for temporary files")
    add("--keep", type=Path, help="a directory in which the log is made, and stays for the next time")
    add("--json", type=Path, help="a file for the figures, of which `make performance` makes a page")
    add("--any", action="store_true", help="exit with 0 also where a figure is not what is asked for")
    options = parser.parse_args()
    chosen = options.measurements or [*SEARCHES, *OTHERS]
    if unknown := set(chosen) - {*SEARCHES, *OTHERS}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    collectors.build()
    rows: list[Row] = []
    with directory_in(options.directory) as directory:
        if searches := [name for name in SEARCHES if name in chosen]:
            corpus = the_log(options.keep or directory, int(options.gb * GB))
            rows.append(row("log, as text", f"{corpus.text_bytes / GB:.2f} GB"))
            rows.append(row("its archives", f"{corpus.stored_bytes / GB:.3f} GB"))
            rows += [named(name, each) for name in searches for each in SEARCHES[name](corpus, options)]
    rows += [named(name, each) for name in OTHERS if name in chosen for each in OTHERS[name](options)]
    load = os.getloadavg()[0]
    print(f"Load of the machine: {load:.1f}\n")
    print(table(rows), end="")
    if options.json:
        facts = machine.facts(options.directory, [])
        options.json.write_text(json.dumps({"machine": facts, "load": round(load, 1), "rows": rows}))
    return 1 if any(each[-1] == "NO" for each in rows) and not options.any else 0


def table(rows: Sequence[Row]) -> str:
    return markdown(["what", "measured", "asked for", "met"], rows)


def named(measurement: str, each: Row) -> Row:
    return [f"{measurement}: {each[0]}", *each[1:]]


def the_log(directory: Path, size: int) -> Corpus:
    directory.mkdir(parents=True, exist_ok=True)
    corpus = archive_corpus.find(directory) if (directory / archive_corpus.LIVE).exists() else None
    corpus = corpus or archive_corpus.make(directory, size)
    show(f"{corpus.text_bytes / GB:.2f} GB in {len(corpus.archives)} archives")
    return corpus


if __name__ == "__main__":
    sys.exit(main())
