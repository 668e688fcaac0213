"""Writes the figures that documents quote, wherever they stand; with --check it only compares.

A quoted figure is the text of a link to its row in docs/performance.md, such as `[…](performance.md#entry)`. So a
reader finds what it means, and no document has a figure of its own.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.measure import RESULT, ROOT
from benchmarks.tables import count

PAGE = "docs/performance.md"
QUOTED_RATE = 200_000  # entries/s of the headline: it keeps one core busy for an eighth of the time
DIGITS = 2  # of a quoted figure at most; from run to run figures differ by a tenth
LINK = re.compile(r"\[([^\[\]]*)\]\(((?:docs/)?performance\.md)#([\w-]+)\)")
TIME = re.compile(r"\d[\d,.]*\s(ns|µs)\b")
OWN_UNITS = {"docs/ship.md": "µs"}  # a document with times of a measurement of its own, in this unit


class Figure(NamedTuple):
    text: str  # as documents quote it
    meaning: str


def figures(result: dict[str, Any]) -> dict[str, Figure]:
    """The figures by the name of their row."""
    at_the_rate = {point["system"]: point for point in result["peers"] if point["rate"] == QUOTED_RATE}
    rate = f"{count(QUOTED_RATE)} entries/s"
    calls = {part["name"]: part["stats"]["median"] / part["extra_info"]["count"] for part in result["parts"]}

    def call(name: str) -> str:
        return f"{rounded(calls[name] * 1e6)} µs"

    return {
        "entry": Figure(
            f"{rounded(at_the_rate['fastlog']['ns_each'])} ns of CPU time at {rate}",
            "what an entry costs the server, checked and stored",
        ),
        "entry-rsyslog": Figure(
            f"{rounded(at_the_rate['rsyslog']['ns_each'])} ns",
            "what it costs rsyslog to store it unchecked, under the same load",
        ),
        "call": Figure(call("test_our_handler[10000]"), "what a log call costs the program, through `fastlog.Handler`"),
        "call-syslog": Figure(call("test_handler[SysLogHandler]"), "through `SysLogHandler`"),
        "call-graypy": Figure(call("test_handler[graypy]"), "through `graypy`"),
        "call-pygelf": Figure(call("test_handler[pygelf]"), "through `pygelf`"),
        "send": Figure(call("test_client"), "what `Client.send` with two fields costs the program"),
        "send-full": Figure(call("test_client_with_a_full_queue"), "the same while the queue is full"),
    }


def rounded(figure: float) -> str:
    """1,800 of 1795, 21 of 21.3 and 1.2 of 1.2467."""
    short = float(f"{figure:.{DIGITS}g}")
    return count(short) if short >= 10 else f"{short:.1f}"


def quoting(text: str, known: dict[str, Figure], page: str) -> str:
    """The text with the figures as they are. `page`: how it refers to docs/performance.md."""

    def link(found: re.Match[str]) -> str:
        _, target, name = found.groups()
        return f"[{known[name].text}]({target}#{name})" if target == page and name in known else found[0]

    return LINK.sub(link, text)


def strays(text: str, own_unit: str = "") -> list[str]:
    """The times in nanoseconds and microseconds that do not come from the page."""
    return [found[0] for found in TIME.finditer(LINK.sub("", text)) if found[1] != own_unit]


def documents() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a document is not up to date")
    arguments = parser.parse_args()
    known = figures(json.loads(RESULT.read_text()))
    problems = []
    for path in documents():
        name = str(path.relative_to(ROOT))
        before = path.read_text()
        after = quoting(before, known, "docs/performance.md" if path.parent == ROOT else "performance.md")
        if name != PAGE:
            problems += [f"{name}: {time} must be a link to {PAGE}" for time in strays(after, OWN_UNITS.get(name, ""))]
        if arguments.check and before != after:
            problems.append(f"{name}: a quoted figure is not that of {PAGE}; run make docs")
        elif before != after:
            path.write_text(after)
    print("\n".join(problems), end="\n" if problems else "")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
