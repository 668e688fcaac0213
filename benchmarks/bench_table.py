"""Prints the table of `make bench`, in Markdown.

usage: python -m benchmarks.bench_table JSON, as pytest-benchmark writes it
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from benchmarks.tables import count, markdown


def table(benchmarks: list[dict[str, Any]]) -> str:
    rows = []
    for each in benchmarks:
        more = each["extra_info"]
        statistics = each["stats"]
        work = more["count"]
        plural = {"entry": "entries"}.get(more["unit"], f"{more['unit']}s")
        rows.append(
            [
                title(each),
                f"{count(work)} {plural if work > 1 else more['unit']}",
                statistics["rounds"],
                f"{more['bytes']:.0f}" if "bytes" in more else "",
                count(statistics["median"] / work * 1e9),
                count(statistics["min"] / work * 1e9),
                count(more["server's CPU"]) if "server's CPU" in more else "",
            ]
        )
    return markdown(
        ["what", "a round", "rounds", "bytes each", "ns each", "best ns each", "server's CPU ns each"], rows
    )


def title(benchmark: dict[str, Any]) -> str:
    """Makes `scan (short)` or `drain: flood of bad input noted (syntax)` of a file, a function and its parameters."""
    part = Path(benchmark["fullname"].split("::")[0]).stem.removeprefix("test_")
    name: str = benchmark["name"].split("[")[0].removeprefix("test_").replace("_", " ")
    case = re.search(r"\[(.*)\]$", benchmark["name"])
    if not name.startswith(part):
        name = f"{part}: {name}"
    return name + (f" ({case[1].replace('-', ', ')})" if case else "")


if __name__ == "__main__":
    print(table(json.loads(Path(sys.argv[1]).read_text())["benchmarks"]), end="")
