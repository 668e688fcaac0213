"""Compares collectors of UDP datagrams side by side: what each stores, and the CPU time that it takes.

In each round every collector gets the same load, one after the other, so that whatever else the machine does at that
time meets all of them. The figures are the medians of the rounds. See peers/trial.py for how one is measured.
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

PACE_KEPT = 0.97  # of the rate asked for; below it the sender was too slow, and the table says so


@dataclass(frozen=True)
class Contest:
    """A load for some collectors. `note`: what else is to be known of it, for the rows."""

    load: trial.Load
    systems: Sequence[str]
    note: dict[str, Any]


def measure(contests: Sequence[Contest], rounds: int, folder: Path | None, tell: Callable[[str], None]) -> list[Any]:
    """A row for each run, in the order of the runs. SIGTERM ends it as Ctrl-C does, the collectors with it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    collectors.build()
    rows = []
    for number in range(1, rounds + 1):
        for contest in contests:
            for system in contest.systems:
                outcome = trial.run(system, contest.load, folder)
                rows.append({"system": system, "round": number, **_described(contest), **outcome.as_row()})
                tell(
                    f"{number}/{rounds} {system:15} {pace(contest.load.rate):>10}"
                    f" stored {share(outcome.share)} {outcome.ns_each:6.0f} ns{_told(contest)}"
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


def _told(contest: Contest) -> str:
    """What is not as usual with a load, in the words of `Load`."""
    load, usual = contest.load, trial.Load(contest.load.entries, contest.load.count)
    names = ("burst", "senders", "per_datagram", "segment_bytes")
    unusual = {name: getattr(load, name) for name in names if getattr(load, name) != getattr(usual, name)}
    return "".join(f" {name}={value}" for name, value in {**contest.note, **unusual}.items() if value)


def pace(rate: float) -> str:
    return f"{count(rate)}/s" if rate else "unpaced"


SUMMED = ("sent", "stored", "kernel_drops")
TAKEN_AS_MEDIAN = ("ns_each", "sent_rate", "user_share", "receive_buffer", "peak_memory_bytes")
OF_A_RUN = {"round", "datagrams", "sent_bytes", "cpu_ns", *SUMMED, *TAKEN_AS_MEDIAN}  # the rest tells what was run


def points(rows: Sequence[Any]) -> list[Any]:
    """The runs of the same collector under the same load as one: sums of counts, medians of figures, all the costs."""
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
    """None if a run has no such figure, as one that stored nothing has no cost of an entry."""
    known = [figure for figure in figures if figure is not None]
    return median(known) if len(known) == len(figures) else None


def ratio(point: Any, points: Sequence[Any]) -> float | None:
    """Of its cost to that of `ceiling` at the same rate; None where that was not measured."""
    base = [each["ns_each"] for each in points if each["rate"] == point["rate"] and each["system"] == "ceiling"]
    return point["ns_each"] / base[0] if base and point["ns_each"] else None


def table(points: Sequence[Any]) -> str:
    """A row for each collector and rate."""
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
    add("--systems", default=",".join(known), help=f"comma-separated, of {', '.join(known)}; default: all")
    add("--rates", default="5000,50000,200000,0", help="datagrams a second, comma-separated; 0: as fast as it goes")
    add("--rounds", type=int, default=3)
    add("--count", type=int, default=600_000, help="entries of a load at the most; default: 600000")
    add("--seconds", type=float, default=2.0, help="of a paced load; default: 2")
    add("--burst", type=int, default=64, help="datagrams of one system call of the sender, 1 to 1024; default: 64")
    add("--senders", type=int, default=1, help="addresses that send in turn, 1 to 60000; default: 1")
    add("--error-share", type=float, default=0.0, help="share of entries of level ERROR, 0 to 1; default: 0")
    add("--message-bytes", type=int, help="of each message; default: as logs have them")
    add("--per-datagram", type=int, default=1, help="entries in a datagram; default: 1")
    add("--segment-bytes", type=int, default=0, help="pad entries to that size, send them coalesced (UDP_SEGMENT)")
    add("--corpus", type=Path, help="a log file whose lines are sent instead, as entries or as messages of entries")
    add("--directory", type=Path, help="where the collectors write; default: the system's place for temporary files")
    add("--json", type=Path, help="also write every run to this file")
    arguments = parser.parse_args()
    systems = arguments.systems.split(",")
    unknown = [system for system in systems if system not in known]
    if unknown:
        parser.error(f"--systems: there is no {', '.join(unknown)}; there are {', '.join(known)}")

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "entries.jsonl"
        about = entries.write(source, arguments.error_share, arguments.message_bytes, arguments.corpus)
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
        f"Payload: {about['entries']:,} entries in turn, {about['mean_bytes']:.0f} bytes each on average, "
        f"{arguments.per_datagram} in a datagram, {100 * about['error_share']:.3g} % of level ERROR. "
        f"Senders: {arguments.senders:,}, in bursts of {arguments.burst}. Medians of {arguments.rounds} rounds.\n"
    )
    print(table(points(rows)))
    if arguments.json:
        arguments.json.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")


def paced(rate: float, seconds: float, per_datagram: int = 1) -> int:
    """Entries of a load at that rate of datagrams."""
    return max(1, round(rate * seconds) * per_datagram)


if __name__ == "__main__":
    main()
