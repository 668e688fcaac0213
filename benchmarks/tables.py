"""Tables in Markdown that can be read on a terminal as well."""

from collections.abc import Sequence


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """The first column is text; the others are figures, which are aligned to the right."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "".join(
        "| " + " | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) + " |\n"
        for row in (cells[0], rule, *cells[1:])
    )


def count(number: float) -> str:
    return f"{number:,.0f}"


def share(part: float) -> str:
    """A share in per cent; only a whole one is shown as 100."""
    percent = 100 * part
    return f"{percent:.0f} %" if percent in (0, 100) else f"{min(percent, 99.999):.3f} %"
