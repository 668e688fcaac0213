"""Draws the counts of `fastlog count` in a terminal."""

from collections.abc import Iterator
from itertools import pairwise

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from fastlog.commands.count_table import Table
from fastlog.commands.terminal import blocks_for
from fastlog.logs.counting import TOTAL

BAR_COLUMNS = 40  # at most: the eye compares short bars best
GAP_MINUTES = 60  # minutes in a row in which nothing came: so many are shown one by one, more of them as one line


def show(table: Table) -> None:
    """Prints on standard output, which is a terminal."""
    console = Console(highlight=False, emoji=False, markup=False, soft_wrap=True)
    text = Text.assemble((f"{table.total:,}", "bold"), " entry" if table.total == 1 else " entries")
    if table.by != TOTAL and table.total:
        _draw(table, text, console)
    console.print(text)


def _draw(table: Table, text: Text, console: Console) -> None:
    """Adds a line for each value: its name, its count and a bar, which takes what room the others leave."""
    lines = [*_lines(table)]
    largest = max(count for _, count in lines)
    name_columns = max(cell_len(name) for name, _ in lines)
    count_columns = len(f"{largest:,}")
    bar_columns = max(min(BAR_COLUMNS, console.width - name_columns - count_columns - 4), 0)
    full = blocks_for(console.encoding)[-1]
    for name, count in lines:
        text.append(f"\n{name}{' ' * (name_columns - cell_len(name))}  {count:>{count_columns},}")
        bar = full * -(-count * bar_columns // largest)
        if bar:
            text.append(f"  {bar}", "cyan")


def _lines(table: Table) -> Iterator[tuple[str, int]]:
    """The table's lines; of minutes also those between them that have no entry."""
    if table.by != "minute" or table.others:
        yield from table.lines()
        return
    for (value, count), (following, _) in pairwise([*table.rows, (None, 0)]):
        yield table.text_of(value), count
        if isinstance(value, int) and isinstance(following, int) and following - value <= GAP_MINUTES:
            yield from ((table.text_of(minute), 0) for minute in range(value + 1, following))
