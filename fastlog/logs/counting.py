"""How many entries there are of each level, app, host or minute: of the frame of an archive by its summary where that
suffices, of lines in C (`_count.pyx`).

Both give what decoding every line would.
"""

from collections.abc import Iterator, Mapping

from fastlog.archive.summary import Facts, Summary, facts_of, may_have
from fastlog.logs._count import BY_APP, BY_HOST, BY_LEVEL, BY_MINUTE, MINUTE_USEC, count_lines
from fastlog.logs.conditions import LATEST, Conditions, Window
from fastlog.logs.hidden import Hidden, Seen
from fastlog.logs.in_threads import looked_at
from fastlog.logs.open_file import OpenFile
from fastlog.logs.parts import Lines, Part, parts
from fastlog.logs.selection import Selection
from fastlog.times import microseconds

VALUES_MAX = 1_000_000  # counted apart: the minutes of two years, and more hosts than anybody has; some 200 MB
VALUES_MAX_BYTES = 100_000_000  # of the names among them: a name may have 64 KB

# What entries are counted by. "total" has one value, which is "".
BY = ("level", "app", "host", "minute")
TOTAL = "total"

# A level, the name of an app or host, or a minute since 1970; None: the entry has none.
Value = str | int | None
Spread = dict[Value, int]  # how many entries have each value


class Counts:
    """Adds up. `beyond`: entries with values for which there was no more room, since strangers choose names."""

    def __init__(self) -> None:
        self.spread: Spread = {}
        self.beyond = 0
        self._room = VALUES_MAX_BYTES

    @property
    def total(self) -> int:
        return sum(self.spread.values()) + self.beyond

    def add(self, spread: Mapping[Value, int]) -> None:
        own = self.spread
        for value, count in spread.items():
            if value in own:
                own[value] += count
                continue
            size = len(value) if isinstance(value, str) else 0
            if len(own) >= VALUES_MAX or size > self._room:
                self.beyond += count
            else:
                self._room -= size
                own[value] = count


def by_summary(summary: Summary, conditions: Conditions, by: str) -> Spread | None:
    """How many wanted entries of the frame have each value; None: the summary does not say.

    A summary has the spread of each property alone. So it says nothing of two that both divide the entries, such as how
    many of the ERRORs are of one app. It suffices where all entries share the same value of all properties but one.
    """
    dividing = _dividing(summary, conditions)
    if any(part is not None and not sum(part.values()) for part in dividing.values()):
        return {}
    counted = spread_of(summary, by)
    if counted is None or len(counted) != 1:
        dividing.setdefault(by, counted)
    if conditions.pattern is not None or len(dividing) > 1:
        return None
    if by in dividing:
        return dividing[by]
    part = next(iter(dividing.values()), counted)
    return dict.fromkeys(counted, sum(part.values())) if counted and part else None


def _dividing(summary: Summary, conditions: Conditions) -> dict[str, Spread | None]:
    """The properties by which some entries of the frame are wanted and others not, each with the wanted part of its
    spread; None: unknown."""
    parts: dict[str, Spread | None] = {}
    if conditions.levels is not None:
        parts["level"] = {name: count for name, count in summary.levels.items() if name in conditions.levels}
    for name, wanted, names in (("app", conditions.app, summary.apps), ("host", conditions.host, summary.hosts)):
        if wanted is None:
            continue
        if not may_have(names, wanted):
            parts[name] = {}
        else:
            parts[name] = {wanted: names[wanted]} if isinstance(names, dict) else None
    are_inside = _are_inside(summary, conditions.window)
    if not are_inside:
        parts["minute"] = None if are_inside is None else {None: summary.untimed}
    return {name: part for name, part in parts.items() if part is None or part != spread_of(summary, name)}


def _are_inside(summary: Summary, window: Window | None) -> bool | None:
    """Whether all entries that have a time are in the window; False: none of them is; None: neither is certain."""
    found = set()
    for times, is_received in ((summary.received, True), (summary.timestamp, False)):
        if window is not None and times is not None:
            since, until = map(microseconds, window.bounds(is_received))
            is_open = window.until == LATEST
            if since <= times[0] and (is_open or times[1] < until):
                found.add(True)
            elif times[1] < since or (times[0] >= until and not is_open):
                found.add(False)
            else:
                return None
    return None if len(found) > 1 else False not in found


def spread_of(summary: Summary, by: str) -> Spread | None:
    """How many entries of the frame have each value; None: the summary does not say."""
    entries = summary.entries
    if not entries:
        return {}
    if by == TOTAL:
        return {"": entries}
    if by == "level":
        return dict(summary.levels.items())
    if by == "minute":
        return _minutes(summary, entries)
    names = summary.apps if by == "app" else summary.hosts
    if isinstance(names, str):
        return None
    without = entries - sum(names.values())
    spread: Spread = dict(names.items())
    if without:
        spread[None] = without
    return spread


def _minutes(summary: Summary, entries: int) -> Spread | None:
    spread: Spread = {None: summary.untimed} if summary.untimed else {}
    minutes = {time // MINUTE_USEC for times in (summary.received, summary.timestamp) if times for time in times}
    if len(minutes) > 1:
        return None
    for minute in minutes:
        spread[minute] = entries - summary.untimed
    return spread


class Counting:
    """Counts the wanted entries of files. `others`: lines that are not entries, of those that were looked at; without
    conditions, all are."""

    def __init__(self, selection: Selection, by: str) -> None:
        self.counts = Counts()
        self.others = 0
        self.hidden: Hidden | None = None  # if there is a window
        self._selection = selection
        self._by = by

    def add(self, files: list[OpenFile]) -> None:
        """Closes them. To be called once."""
        if self._selection.conditions.window:
            self.hidden = Hidden(self._selection, files)
        for part, seen, spread, others in looked_at(self._unknown_parts(files), self._look):
            self.counts.add(spread)
            self.others += others
            if self.hidden:
                self.hidden.add(part, seen)
        for file in files:
            file.close()

    def _unknown_parts(self, files: list[OpenFile]) -> Iterator[Part]:
        """The parts whose lines have to be looked at; adds the others."""
        conditions = self._selection.conditions
        for file in files:
            known = self._known(file)
            if None not in known.values():  # so that not even the lines of rare levels are unpacked
                for spread in known.values():
                    self.counts.add(spread or {})
                continue
            for part in parts(file, conditions):
                spread = None if part.frame is None else known[part.frame.at]
                if spread is None:
                    yield part
                else:
                    self.counts.add(spread)

    def _known(self, file: OpenFile) -> dict[int, Spread | None]:
        """What the summaries say of each frame, by its place in the file."""
        if file.index is None:
            return {-1: None}
        known: dict[int, Spread | None] = {}
        for frame in file.index.frames:
            summary = frame.summary
            known[frame.at] = by_summary(summary, self._selection.conditions, self._by) if summary else None
            if summary and known[frame.at] is not None:  # otherwise they are counted when its lines are looked at
                self.others += summary.lines - summary.entries
        return known

    def _look(self, part: Part, lines: Lines) -> tuple[Part, list[Seen], Spread, int]:
        """In any thread."""
        block, start, end = lines
        runs = [(start, end)] if self._selection.is_all else self._selection.runs(block, start, end)
        seen = self.hidden.look(part, lines, runs) if self.hidden else []
        return part, seen, *of_lines(block, runs, self._by)


def of_lines(block: bytes | bytearray, runs: list[tuple[int, int]], by: str) -> tuple[Spread, int]:
    """How many entries have each value, in parts of a block that consist of whole lines; and how many lines are not
    entries. In any thread."""
    spread, others, unsure = count_lines(block, runs, _COUNTED_BY[by])
    for start, end in unsure:
        if facts := facts_of(bytes(block[start:end])):
            value = _value_of(facts, by)
            spread[value] = spread.get(value, 0) + 1
    if by == TOTAL:
        total = sum(spread.values())
        return {"": total} if total else {}, others
    return spread, others


_COUNTED_BY = {TOTAL: BY_LEVEL, "level": BY_LEVEL, "app": BY_APP, "host": BY_HOST, "minute": BY_MINUTE}


def _value_of(facts: Facts, by: str) -> Value:
    if by == "minute":
        time = facts.timestamp if facts.received is None else facts.received
        return None if time is None else time // MINUTE_USEC
    return facts.app if by == "app" else facts.host
