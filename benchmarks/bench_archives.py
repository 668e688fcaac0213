"""Measures compressed archives on this machine alone, and holds the figures against what is asked of them:

- window: `fastlog tail` of ten minutes out of the whole log
- level: all ERRORs of it, beside `zstdcat | grep`
- word: a word that one line has, beside `zstdcat | grep`, `zgrep` and lnav
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import archive_corpus
from benchmarks.archive_corpus import Corpus
from benchmarks.bench_ship import Row, at_most, directory_in, row, show
from benchmarks.ship_processes import environment
from benchmarks.tables import markdown

SHARE = float(os.environ.get("FASTLOG_BENCH_SHARE", "1"))  # of the log's size: a small one shows that it runs
GB = 1_000_000_000
READ_BYTES = 1 << 20  # at once, of what a command prints
WINDOW_MINUTES = 10
PART_ARCHIVES = 2  # that the slow ones have
LEVEL = '"level":"ERROR"'

# What is asked for.
FIRST_SEC, WHOLE_SEC = 0.2, 1.0
LEVEL_TIMES, WORD_TIMES = 10.0, 1.8  # faster than `zstdcat | grep`


@dataclass(frozen=True)
class Output:
    first_sec: float  # until its first byte
    whole_sec: float
    lines: int
    digest: bytes


def run(command: Sequence[str | Path], **more: str) -> Output:
    """`more`: of its environment. It may find nothing, as grep tells with 1."""
    hashed = hashlib.blake2b()
    block = memoryview(bytearray(READ_BYTES))
    lines, first = 0, None
    began = time.perf_counter()
    with subprocess.Popen(
        list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, bufsize=0, env=environment() | more
    ) as process:
        assert process.stdout
        while got := process.stdout.readinto(block):  # type: ignore[attr-defined]
            first = first or time.perf_counter() - began
            lines += bytes(block[:got]).count(b"\n")
            hashed.update(block[:got])
    whole = time.perf_counter() - began
    if process.returncode not in (0, 1):
        raise SystemExit(f"{command[0]} has ended with {process.returncode}")
    return Output(first or whole, whole, lines, hashed.digest())


def tail(corpus: Corpus, *flags: str) -> Output:
    command = [sys.executable, "-m", "fastlog", "tail", "--env-file", os.devnull]
    return run([*command, "--log-dir", corpus.live.parent, "-n", "all", *flags])


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


def same(what: str, outputs: dict[str, list[Output]]) -> Row:
    """Whether all have found the same lines in the same order."""
    digests = {each.digest for got in outputs.values() for each in got}
    lines = {each.lines for got in outputs.values() for each in got}
    return row(f"lines found, {what}", ", ".join(f"{each:,}" for each in sorted(lines)), "the same", len(digests) == 1)


def times(what: str, slow: float, fast: float, limit: float) -> Row:
    return row(what, f"{slow / fast:.1f} times", f"at least {limit:g} times", slow / fast >= limit)


def level(corpus: Corpus, options: argparse.Namespace) -> list[Row]:
    got = in_turn(
        options.rounds,
        tail=lambda: tail(corpus, "--level", "ERROR", "--json"),
        grep=lambda: grep(corpus, LEVEL),
    )
    return [
        same("--level ERROR and grep", got),
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
        same("--grep and grep", got),
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
    got = in_turn(options.rounds, json=lambda: tail(corpus, *flags, "--json"), text=lambda: tail(corpus, *flags))
    lines = {each.lines for outputs in got.values() for each in outputs}
    rows = [row("lines of ten minutes", ", ".join(f"{each:,}" for each in sorted(lines)))]
    for name, what in (("json", "as stored"), ("text", "as text")):
        first = median(each.first_sec for each in got[name])
        rows.append(at_most(f"{what}, first line", first, FIRST_SEC, "s"))
        rows.append(at_most(f"{what}, all lines", whole(got[name]), WHOLE_SEC, "s"))
    return rows


def gzip_copy(path: Path, target: Path) -> tuple[Path, int]:
    """Of an archive's text, as logrotate makes it; and how large that text is."""
    with open(target, "wb") as file, subprocess.Popen(["zstdcat", path], stdout=subprocess.PIPE) as text:
        subprocess.run(["gzip", "-6"], stdin=text.stdout, stdout=file, check=True)
    return target, archive_corpus.text_size(path)


MEASUREMENTS: dict[str, Callable[[Corpus, argparse.Namespace], list[Row]]] = {
    "window": window,
    "level": level,
    "word": word,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("measurements", nargs="*", help=f"out of {', '.join(MEASUREMENTS)}; default: all")
    add("--rounds", type=int, default=3, help="the figures are medians; default: 3")
    add("--gb", type=float, default=10 * SHARE, help="of the log's text; default: 10, times FASTLOG_BENCH_SHARE")
    add("--directory", type=Path, help="where the log is to be; the system's place for temporary files")
    add("--keep", type=Path, help="a directory in which the log is made, and stays for the next time")
    add("--any", action="store_true", help="exit with 0 also where a figure is not what is asked for")
    options = parser.parse_args()
    if unknown := set(options.measurements) - set(MEASUREMENTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    with directory_in(options.directory) as directory:
        corpus = the_log(options.keep or directory, int(options.gb * GB))
        rows = [
            row("log, as text", f"{corpus.text_bytes / GB:.2f} GB"),
            row("its archives", f"{corpus.stored_bytes / GB:.3f} GB"),
        ]
        for name in options.measurements or MEASUREMENTS:
            rows += [[f"{name}: {what}", *rest] for what, *rest in MEASUREMENTS[name](corpus, options)]
    print(f"Load of the machine: {os.getloadavg()[0]:.1f}\n")
    print(markdown(["what", "measured", "asked for", "met"], rows), end="")
    return 1 if any(each[-1] == "NO" for each in rows) and not options.any else 0


def the_log(directory: Path, size: int) -> Corpus:
    directory.mkdir(parents=True, exist_ok=True)
    corpus = archive_corpus.find(directory) if (directory / archive_corpus.LIVE).exists() else None
    corpus = corpus or archive_corpus.make(directory, size)
    show(f"{corpus.text_bytes / GB:.2f} GB in {len(corpus.archives)} archives")
    return corpus


if __name__ == "__main__":
    sys.exit(main())
