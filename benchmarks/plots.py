"""Plots for the documents: small SVG files, always the same for the same figures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams.update(
    {
        "svg.fonttype": "none",  # text stays text: small files, and the reader's own font
        "svg.hashsalt": "fastlog",  # names inside the file do not change from run to run
        "font.family": "sans-serif",
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
)

from matplotlib import pyplot  # noqa: E402  (after the choice of its backend)

Line = list[tuple[str, float]]

WIDTH_IN, HEIGHT_IN = 7.5, 3.2
OURS = "fastlog"
OUR_COLOUR = "#0b6e99"
OTHER_COLOURS = ["#8a8a8a", "#bdbdbd", "#555555"]


def lines(path: Path, shown: dict[str, Line], x_title: str, y_title: str) -> None:
    """Draws a line for each name. The places along the x axis are equally far apart, whatever their values."""
    figure, axes = pyplot.subplots(figsize=(WIDTH_IN, HEIGHT_IN))
    places = list(dict.fromkeys(x for line in shown.values() for x, _ in line))
    others = iter(OTHER_COLOURS)
    for name, line in shown.items():
        ours = name == OURS
        axes.plot(
            [places.index(x) for x, _ in line],
            [y for _, y in line],
            marker="o",
            label=name,
            color=OUR_COLOUR if ours else next(others),
            linewidth=2.4 if ours else 1.4,
            zorder=3 if ours else 2,
        )
    axes.set_xticks(range(len(places)), places)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(x_title)
    axes.set_ylabel(y_title)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    if len(shown) > 1:
        axes.legend(frameon=False)
    _save(figure, path)


def bars(path: Path, shown: dict[str, float], title: str) -> None:
    figure, axes = pyplot.subplots(figsize=(WIDTH_IN, HEIGHT_IN))
    names: Sequence[str] = list(shown)
    drawn = axes.barh(names, list(shown.values()), color=[OUR_COLOUR if name == OURS else "#bdbdbd" for name in names])
    axes.bar_label(drawn, fmt="{:,.0f}", padding=3)
    axes.invert_yaxis()
    axes.set_xlabel(title)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    figure.patch.set_facecolor("white")  # readable on a dark page, too
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
