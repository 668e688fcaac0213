"""Compares collectors of UDP datagrams side by side: how much each stores, and how much CPU time it takes.

In each round every collector gets the same load, one after the other, so that other work of the machine disturbs all of
them alike. The figures are the medians of the rounds. peers/trial.py measures a single run.
"""

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import entries, machine
from benchmarks.peers import collectors, trial
from benchmarks.tables import count, markdown, share

PACE_KEPT = 0.97  # of the rate asked for; below it the table says that the sender was too slow


@dataclass(frozen=True)
class Contest:
    """A load for some collectors. `note`: more facts about it, which go into the rows."""

    load: trial.Load
    systems: Sequence[str]
    note: dict[str, Any]


def measure(contests: Sequence[Contest], rounds: int, folder: Path | None, show: Callable[[str], None]) -> list[Any]:
    """A row for each run, in the order of the runs. `show` takes a line for each. SIGTERM ends all, the collectors too,
    as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    collectors.build()
    rows = []
    for number in range(1, rounds + 1):
        for contest in contests:
            for system in contest.systems:
                outcome = trial.run(system, contest.load, folder)
                rows.append({"system": system, "round": number, **_described(contest), **outcome.as_row()})
                show(
                    f"{number}/{rounds} {system:15} {pace(contest.load.rate):>10}"
                    f" stored {share(outcome.share)} {outcome.ns_each:6.0f} ns{_peculiarities(contest)}"
                )
    return rows


def _described(contest: Contest) -> dict[str, Any]:
    load = contest.load
    return {
        **contest.note,
        "rate": load.rate,
        "burst": load.burst,
        "senders": load.senders,
        "per_datagram": load.per_datagram,
        "segment_bytes": load.segment_bytes,
    }


def _peculiarities(contest: Contest) -> str:
    """The attributes of a load that differ from the defaults of `Load`."""
    load, usual = contest.load, trial.Load(contest.load.entries, contest.load.count)
    names = ("burst", "senders", "per_datagram", "segment_bytes")
    unusual = {name: getattr(load, name) for name in names if getattr(load, name) != getattr(usual, name)}
    return "".join(f" {name}={value}" for name, value in {**contest.note, **unusual}.items() if value)


def pace(rate: float) -> str:
    return f"{count(rate)}/s" if rate else "unpaced"


SUMMED = ("sent", "stored", "kernel_drops")
TAKEN_AS_MEDIAN = ("ns_each", "sent_rate", "user_share", "receive_buffer", "peak_memory_bytes")
OF_A_RUN = {
    "round",
    "datagrams",
    "sent_bytes",
    "cpu_ns",
    *SUMMED,
    *TAKEN_AS_MEDIAN,
}  # the other columns say what was run


def points(rows: Sequence[Any]) -> list[Any]:
    """Joins the runs of one collector under one load: sums of counts, medians of figures, a list of all costs."""
    found: dict[tuple[Any, ...], list[Any]] = {}
    for row in rows:
        found.setdefault(tuple(row[name] for name in row if name not in OF_A_RUN), []).append(row)
    return [
        {
            **{name: value for name, value in runs[0].items() if name not in OF_A_RUN},
            **{name: sum(run[name] for run in runs) for name in SUMMED},
            **{name: _median([run[name] for run in runs]) for name in TAKEN_AS_MEDIAN},
            "costs": [run["ns_each"] for run in runs],
        }
        for runs in found.values()
    ]


def _median(figures: Sequence[float | None]) -> float | None:
    """None if a run lacks the figure: a run that stored nothing has no cost of an entry."""
    known = [figure for figure in figures if figure is not None]
    return median(known) if len(known) == len(figures) else None


def ratio(point: Any, points: Sequence[Any]) -> float | None:
    """The ratio of the point's cost to that of `ceiling` at the same rate; None if `ceiling` was not measured."""
    base = [each["ns_each"] for each in points if each["rate"] == point["rate"] and each["system"] == "ceiling"]
    return point["ns_each"] / base[0] if base and point["ns_each"] else None


def table(points: Sequence[Any]) -> str:
    """Has a row for each collector and rate."""
    shown = []
    for point in points:
        slow = point["rate"] and point["sent_rate"] < PACE_KEPT * point["rate"]
        to_ceiling = ratio(point, points)
        shown.append(
            [
                point["system"],
                pace(point["rate"]),
                count(point["sent_rate"]) + (" (sender too slow)" if slow else ""),
                share(point["stored"] / point["sent"]),
                count(point["kernel_drops"]),
                count(point["ns_each"]) if point["ns_each"] else "-",
                f"{to_ceiling:.2f}" if to_ceiling else "-",
                count(point["receive_buffer"]),
                f"{point['peak_memory_bytes'] / 1e6:.0f}",
            ]
        )
    header = ["collector", "pace", "datagrams/s", "stored", "kernel drops", "CPU ns/entry", "to ceiling"]
    return markdown([*header, "receive buffer", "memory MB"], shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = list(collectors.COLLECTORS)
    add = parser.add_argument
    add("--systems", help=f"comma-separated names out of {', '.join(known)}; default: those that read the form")
    add("--form", default="entry", choices=entries.FORMS, help="what is sent: fastlog's entries, or syslog")
    add("--rates", default="5000,50000,200000,0", help="datagrams a second, comma-separated; 0: as fast as possible")
    add("--rounds", type=int, default=3)
    add("--count", type=int, default=600_000, help="most entries of a load; default: 600000")
    add("--seconds", type=float, default=2.0, help="length of a paced load; default: 2")
    add("--burst", type=int, default=64, help="datagrams of one system call of the sender, 1 to 1024; default: 64")
    add("--senders", type=int, default=1, help="addresses that send in turn, 1 to 60000; default: 1")
    add("--error-share", type=float, default=0.0, help="share of entries of level ERROR, 0 to 1; default: 0")
    add("--message-bytes", type=int, help="size of each message; default: as in real logs")
    add("--per-datagram", type=int, default=1, help="entries in a datagram; default: 1")
    add("--segment-bytes", type=int, default=0, help="pad entries to that size, send them coalesced (UDP_SEGMENT)")
    add("--corpus", type=Path, help="send the lines of a log file instead, as entries or as messages of entries")
    add(
        "--directory", type=Path, help="where the collectors write; default: the system's directory for temporary files"
    )
    add("--json", type=Path, help="also write every run to this file")
    arguments = parser.parse_args()
    usual = collectors.OF_ENTRIES if arguments.form == "entry" else collectors.OF_SYSLOG
    systems = arguments.systems.split(",") if arguments.systems else list(usual)
    unknown = [system for system in systems if system not in known]
    if unknown:
        parser.error(f"--systems: unknown: {', '.join(unknown)}; known are {', '.join(known)}")

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "entries.jsonl"
        about = entries.write(source, arguments.error_share, arguments.message_bytes, arguments.corpus, arguments.form)
        load = trial.Load(
            source,
            arguments.count,
            burst=arguments.burst,
            senders=arguments.senders,
            per_datagram=arguments.per_datagram,
            segment_bytes=arguments.segment_bytes,
        )
        contests = []
        for rate in map(float, arguments.rates.split(",")):
            sent = (
                arguments.count
                if not rate
                else min(arguments.count, paced(rate, arguments.seconds, arguments.per_datagram))
            )
            contests.append(Contest(replace(load, rate=rate, count=sent), systems, {}))
        rows = measure(contests, arguments.rounds, arguments.directory, lambda line: print(line, file=sys.stderr))

    print(machine.describe(machine.facts(arguments.directory, systems)))
    print(
        f"Payload: {about['entries']:,} messages ({arguments.form}) in turn, {about['mean_bytes']:.0f} bytes each on "
        f"average, {arguments.per_datagram} in a datagram, {100 * about['error_share']:.3g} % of level ERROR. "
        f"Senders: {arguments.senders:,}, in bursts of {arguments.burst}. Medians of {arguments.rounds} rounds.\n"
    )
    print(table(points(rows)))
    if arguments.json:
        arguments.json.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")


def paced(rate: float, seconds: float, per_datagram: int = 1) -> int:
    """The entries of a load at that rate of datagrams."""
    return max(1, round(rate * seconds) * per_datagram)


if __name__ == "__main__":
    main()
