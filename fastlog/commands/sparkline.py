"""Figures over time as a line of blocks, each of which stands for some of them."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from fastlog.answers import HistoryAnswer

START = "|"  # in place of a block: the server started then


class Sparkline(NamedTuple):
    """`text` has a block for each column; `most` is the figure of a full one."""

    text: str
    most: float


def sparkline(
    figures: Sequence[float | None], columns: int, blocks: str, together: Callable[[Iterable[float]], float]
) -> Sparkline:
    """`together` makes one figure of those that share a column. A column of which nothing is known is blank, and so is
    that of a zero; any more is at least the lowest block."""
    shown: list[float | None] = []
    for column in range(columns):
        part = figures[column * len(figures) // columns : (column + 1) * len(figures) // columns]
        known = [figure for figure in part if figure is not None]
        shown.append(together(known) if known else None)
    most = max((figure for figure in shown if figure is not None), default=0)
    full = len(blocks) - 1
    text = "".join(blocks[min(full, -(-int(1000 * full * (figure or 0) / (most or 1)) // 1000))] for figure in shown)
    return Sparkline(text, most)


def with_starts(line: Sparkline, history: HistoryAnswer) -> str:
    """The line with marks where the server started."""
    columns, steps = len(line.text), len(history.series.received)
    text = list(line.text)
    for mark in history.marks:
        step = steps - (history.end - mark.at) // history.step_seconds
        if mark.kind == "start" and 0 <= step < steps:
            text[step * columns // steps] = START
    return "".join(text)


def rates(history: HistoryAnswer) -> list[float | None]:
    """Entries a second in each step."""
    series = history.series
    return [
        None if count is None or not ran else count / ran
        for count, ran in zip(series.received, series.ran_seconds, strict=True)
    ]


def losses(history: HistoryAnswer) -> list[float | None]:
    """What was lost in each step, by any cause."""
    steps = zip(*history.series.losses.values(), strict=True)
    return [None if all(count is None for count in step) else sum(count or 0 for count in step) for step in steps]


def mean(figures: Iterable[float]) -> float:
    numbers = list(figures)
    return sum(numbers) / len(numbers)
