"""What `fastlog count` shows: which values, in which order, as columns of text or as JSON."""

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from fastlog.commands.terminal import visible
from fastlog.entry import LEVELS
from fastlog.logs.counting import TOTAL, Counts, Value
from fastlog.times import EPOCH

NO_VALUE = "-"  # as `fastlog tail` shows a field that is missing


class Table(msgspec.Struct, frozen=True):
    """`rows`: values with their counts, in order. `others`: how many values the rest has, and how many entries.
    `is_local`: minutes are shown in the time zone of this machine, and not in UTC."""

    by: str
    total: int
    rows: list[tuple[Value, int]]
    others: tuple[int, int] | None
    is_local: bool = False

    def lines(self) -> list[tuple[str, int]]:
        """The rows and the rest, as people see them."""
        lines = [(self.text_of(value), count) for value, count in self.rows]
        if self.others:
            values, count = self.others
            lines.append((f"{values:,} other{'s' * (values > 1)}" if values else "others", count))
        return lines

    def text_of(self, value: Value) -> str:
        """A value as people see it."""
        if value is None:
            return NO_VALUE
        if isinstance(value, int):
            return _begin_of(value, "minutes", self.is_local)
        return visible(value) if value else '""'


def make_table(by: str, counts: Counts, top: int | None, *, is_local: bool = False) -> Table:
    """Levels by severity, minutes by time, apps and hosts by their counts. With `top`, only so many values, those of
    most entries."""
    ranked = sorted(counts.spread.items(), key=lambda row: (-row[1], row[0] is None, str(row[0])))
    rows, rest = ranked[:top], ranked[len(ranked[:top]) :]
    if by == "level":
        rows.sort(key=lambda row: LEVELS.index(str(row[0])))
    elif by == "minute":
        rows.sort(key=lambda row: (row[0] is None, row[0]))
    others = sum(count for _, count in rest) + counts.beyond
    return Table(by, counts.total, rows, (len(rest), others) if others else None, is_local)


def as_text(table: Table) -> str:
    """Columns: the values, and their counts in digits alone, for programs that read lines."""
    if table.by == TOTAL:
        return str(table.total)
    lines = table.lines()
    width = max((len(name) for name, _ in lines), default=0)
    digits = len(str(max((count for _, count in lines), default=0)))
    return "\n".join(f"{name:<{width}} {count:>{digits}}" for name, count in lines)


def as_json(table: Table) -> str:
    """One object. A value that is missing is null; `counts` and `others` are there with --by alone."""
    found: dict[str, Any] = {"total": table.total}
    if table.by != TOTAL:
        found["by"] = table.by
        found["counts"] = [
            {table.by: _begin_of(value, "seconds", table.is_local) if isinstance(value, int) else value, "count": count}
            for value, count in table.rows
        ]
        values, count = table.others or (0, 0)
        found["others"] = {"values": values, "count": count}
    return msgspec.json.encode(found).decode()


def _begin_of(minute: int, timespec: str, is_local: bool) -> str:
    try:
        time = EPOCH + timedelta(minutes=minute)
    except OverflowError:  # with a zone, a time of the year 1 or 9999 may be in another one
        time = (datetime.min if minute < 0 else datetime.max).replace(tzinfo=UTC)
    if is_local:
        with contextlib.suppress(OverflowError, ValueError):  # the same the other way round
            return time.astimezone().isoformat(timespec=timespec)
    return time.isoformat(timespec=timespec)[: -len("+00:00")] + "Z"
