"""How many entries there are of each level, app, host or minute: of the frame of an archive by its summary where that
suffices, of lines in C (`_count.pyx`).

Both give what decoding every line would.
"""

from collections.abc import Mapping

import msgspec

from fastlog.archive.summary import Facts, Summary, facts_of, may_have
from fastlog.logs._count import BY_APP, BY_HOST, BY_LEVEL, BY_MINUTE, MINUTE_USEC, count_lines

VALUES_MAX = 1_000_000  # counted apart: the minutes of two years, and more hosts than anybody has; some 200 MB
VALUES_MAX_BYTES = 100_000_000  # of the names among them: a name may have 64 KB

# What entries are counted by. "total" has one value, which is "".
BY = ("level", "app", "host", "minute")
TOTAL = "total"

# A level, the name of an app or host, or a minute since 1970; None: the entry has none.
Value = str | int | None
Spread = dict[Value, int]  # how many entries have each value


class Conditions(msgspec.Struct, frozen=True):
    """TODO"""

    levels: frozenset[str] | None = None
    app: str | None = None
    host: str | None = None
    since: int | None = None
    until: int | None = None
    slack: int = 0
    has_pattern: bool = False


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
    if conditions.has_pattern or len(dividing) > 1:
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
    are_inside = _are_inside(summary, conditions)
    if not are_inside:
        parts["minute"] = None if are_inside is None else {None: summary.untimed}
    return {name: part for name, part in parts.items() if part is None or part != spread_of(summary, name)}


def _are_inside(summary: Summary, conditions: Conditions) -> bool | None:
    """Whether all entries that have a time are in the window; False: none of them is; None: neither is certain."""
    since, until = conditions.since, conditions.until
    inside, outside = True, True
    for times, slack in ((summary.received, 0), (summary.timestamp, conditions.slack)):
        if times is None:
            continue
        first, last = times
        is_late = since is None or first >= since - slack
        is_early = until is None or last < until + slack
        inside &= is_late and is_early
        outside &= (since is not None and last < since - slack) or (until is not None and first >= until + slack)
    return True if inside else False if outside else None


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
