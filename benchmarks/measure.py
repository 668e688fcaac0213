"""Measures the figures of docs/performance.md and keeps them in docs/performance.json, from which report.py makes the
page. Each part can be measured alone; the others stay as they were.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import entries, machine
from benchmarks.bench_peers import Contest, measure, paced, points
from benchmarks.peers import collectors, trial

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "docs/performance.json"
PARTS = ROOT / "build/bench.json"  # of `make bench`
ARCHIVES = ROOT / "build/bench-archives.json"  # likewise
ALL = collectors.OF_ENTRIES
BOUNDS = ("ceiling", "ceiling-waits", "fastlog")
RATES = [50_000, 200_000, 0]  # of the comparison with others; 0: as fast as one sender can
MORE_RATES = [1_000, 5_000, 20_000, 100_000, 400_000]
SINGLE_RATES = [5_000, 50_000, 200_000]  # with one datagram for each system call of the sender
SIZES = [20, 100, 300, 1_000, 4_000, 16_000]  # bytes of a message
SIZES_RATE = 20_000
SENDERS = [1, 10, 100, 1_000, 10_000]
SENDERS_RATE = 200_000
ERROR_SHARES = [0.0, 0.001, 0.01, 0.1, 0.5, 1.0]
ERRORS_RATE = 50_000
PER_DATAGRAM = [1, 5, 30]
TOGETHER_RATE = 400_000  # entries a second, whatever the number in a datagram
SEGMENT_BYTES = 320
SEGMENT_MESSAGE_BYTES = 90  # so that its entries fit


@dataclass(frozen=True)
class Options:
    folder: Path  # for the files of entries
    seconds: float  # of a paced load
    count: int  # most entries of a load

    def contest(self, systems: tuple[str, ...], **more: Any) -> Contest:
        """A load of ordinary entries. `more`: arguments of trial.Load and entries.write that differ."""
        written = {name: more.pop(name) for name in ("message_bytes", "error_share") if name in more}
        source = self.folder / "-".join(["entries", *map(str, written.values())])
        about = entries.write(source, **written)
        rate = more.get("rate", 0)
        each = more.get("per_datagram", 1)
        sent = min(self.count, paced(rate, self.seconds, each)) if rate else self.count
        note = {"entry_bytes": round(about["mean_bytes"]), "error_share": written.get("error_share", 0.0)}
        return Contest(trial.Load(source, sent, **more), systems, note)


def peers(options: Options) -> list[Contest]:
    return [options.contest(ALL, rate=rate) for rate in RATES]


def rate(options: Options) -> list[Contest]:
    return [options.contest(BOUNDS, rate=rate) for rate in MORE_RATES] + [
        options.contest(("ceiling", "fastlog"), rate=rate, burst=1) for rate in SINGLE_RATES
    ]


def size(options: Options) -> list[Contest]:
    return [options.contest(("ceiling", "fastlog"), rate=SIZES_RATE, message_bytes=size) for size in SIZES]


def senders(options: Options) -> list[Contest]:
    return [options.contest(("ceiling", "fastlog"), rate=SENDERS_RATE, senders=senders) for senders in SENDERS]


def errors(options: Options) -> list[Contest]:
    return [options.contest(("fastlog",), rate=ERRORS_RATE, error_share=share) for share in ERROR_SHARES]


def together(options: Options) -> list[Contest]:
    coalesced: dict[str, Any] = {"message_bytes": SEGMENT_MESSAGE_BYTES, "segment_bytes": SEGMENT_BYTES}
    contests = []
    for rate in (TOGETHER_RATE, 0):
        loads: list[dict[str, Any]] = [{"per_datagram": number, "rate": rate / number} for number in PER_DATAGRAM]
        contests += [options.contest(("fastlog",), **load) for load in (*loads, {"rate": rate, **coalesced})]
    return contests


CONTESTS: dict[str, Callable[[Options], list[Contest]]] = {
    "peers": peers,
    "rate": rate,
    "size": size,
    "senders": senders,
    "errors": errors,
    "together": together,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = [*CONTESTS, "parts", "archives"]
    add = parser.add_argument
    add("parts", nargs="*", metavar="PART", help=f"one of {', '.join(known)}, two of them from `make bench`; none: all")
    add("--rounds", type=int, default=3)
    add("--seconds", type=float, default=1.0, help="length of a paced load; default: 1")
    add("--count", type=int, default=600_000, help="most entries of a load; default: 600000")
    add(
        "--directory", type=Path, help="where the collectors write; default: the system's directory for temporary files"
    )
    arguments = parser.parse_args()
    parts = arguments.parts or known
    if unknown := set(parts) - set(known):
        parser.error(f"unknown part: {', '.join(sorted(unknown))}")

    result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        options = Options(Path(folder), arguments.seconds, arguments.count)
        for part in parts:
            if part == "parts":
                result[part] = _brief(json.loads(PARTS.read_text())["benchmarks"])
                continue
            if part == "archives":
                result[part] = json.loads(ARCHIVES.read_text())
                continue
            print(f"{part}:", file=sys.stderr)
            contests = CONTESTS[part](options)
            rows = measure(contests, arguments.rounds, arguments.directory, lambda line: print(line, file=sys.stderr))
            result[part] = points(rows)
            result["machine"] = machine.facts(arguments.directory, list(ALL))
            result["how"] = {"seconds": arguments.seconds, "count": arguments.count}
    RESULT.write_text(_compact(result))


def _brief(benchmarks: list[Any]) -> list[Any]:
    """The part of pytest-benchmark's results that bench_table.py reads."""
    kept = ("rounds", "median", "min")
    return [
        {
            "fullname": each["fullname"],
            "name": each["name"],
            "extra_info": each["extra_info"],
            "stats": {name: each["stats"][name] for name in kept},
        }
        for each in benchmarks
    ]


def _compact(result: dict[str, Any]) -> str:
    """Writes a line for each point, so that a diff can be read."""

    def rounded(value: Any) -> Any:
        if isinstance(value, float):
            return float(f"{value:.7g}")
        if isinstance(value, list):
            return [rounded(each) for each in value]
        return {name: rounded(each) for name, each in value.items()} if isinstance(value, dict) else value

    parts = []
    for name, value in sorted(result.items()):
        if isinstance(value, list):
            lines = ",\n".join("  " + json.dumps(rounded(each), ensure_ascii=False) for each in value)
            parts.append(f' "{name}": [\n{lines}\n ]')
        else:
            parts.append(f' "{name}": {json.dumps(value, ensure_ascii=False)}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    main()
