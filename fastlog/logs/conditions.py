"""What wanted entries have in common, and which frames of an archive may have some, by their summaries alone."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec

from fastlog.archive.index import Index
from fastlog.archive.summary import Summary, may_have, text_of
from fastlog.times import microseconds, time_of

EARLIEST, LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
NO_TIME = timedelta()


class _Time(msgspec.Struct, gc=False):
    """As they were written: a key may occur twice, and `received` may be a sender's own word, of any type."""

    timestamp: msgspec.Raw = msgspec.Raw()
    received: msgspec.Raw = msgspec.Raw()


_decode_time = msgspec.json.Decoder(_Time).decode


def entry_time(line: bytes | bytearray) -> tuple[datetime, bool] | None:
    """The time of an entry, and whether it is that of its receipt; None if it has none, or is not an entry."""
    try:
        times = _decode_time(line)
        for value, is_received in ((times.received, True), (times.timestamp, False)):
            text = text_of(value)
            if text is not None and (time := time_of(text)):
                return time, is_received
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    return None


class Window(msgspec.Struct, frozen=True):
    """From `since` on, and before `until`. An entry is taken by its `received` where that is a time, else by its
    `timestamp`, for which the window is wider by `slack` on both sides: a sender's clock may be wrong. Entries without
    a time are in every window."""

    since: datetime = EARLIEST
    until: datetime = LATEST
    slack: timedelta = NO_TIME

    def has(self, time: datetime, is_received: bool) -> bool:
        since, until = self.bounds(is_received)
        return since <= time and (time < until or until == LATEST)

    def bounds(self, is_received: bool) -> tuple[datetime, datetime]:
        """What the window begins with, and what it ends before."""
        window = self if is_received else self.widened(self.slack)
        return window.since, window.until

    def widened(self, by: timedelta) -> "Window":
        """One without a slack that is longer by so much on both sides."""
        since = self.since - by if self.since - EARLIEST > by else EARLIEST
        until = self.until + by if LATEST - self.until > by else LATEST
        return Window(since, until)

    def may_have(self, summary: Summary) -> bool:
        """Whether one of the frame's entries may be in the window."""
        return summary.untimed > 0 or self.overlaps(summary)

    def overlaps(self, summary: Summary) -> bool:
        """Whether the window has a part of the time between the frame's first entry and its last one."""
        return any(times[1] >= since and times[0] < until for times, since, until in self._ranges(summary))

    def surely_has(self, summary: Summary) -> bool:
        """Whether it has one of these two entries."""
        return any(since <= time < until for times, since, until in self._ranges(summary) for time in times)

    def _ranges(self, summary: Summary) -> Iterator[tuple[tuple[int, int], int, int]]:
        """The times of the frame, and the window for them."""
        for times, is_received in ((summary.received, True), (summary.timestamp, False)):
            if times is not None:
                since, until = self.bounds(is_received)
                yield times, microseconds(since), microseconds(until) + (until == LATEST)


class Conditions(msgspec.Struct, frozen=True):
    """None: anything will do. `levels`: those that are wanted; None takes lines that are not entries, too."""

    levels: frozenset[str] | None = None
    app: str | None = None
    host: str | None = None
    window: Window | None = None
    pattern: re.Pattern[str] | None = None
    source: str | None = None  # which no summary has

    def may_meet(self, summary: Summary) -> bool:
        """Whether one of the frame's lines may be wanted."""
        if self.levels is not None and self.levels.isdisjoint(summary.levels):
            return False
        if self.app is not None and not may_have(summary.apps, self.app):
            return False
        if self.host is not None and not may_have(summary.hosts, self.host):
            return False
        return self.window is None or self.window.may_have(summary)

    def counts(self, summary: Summary) -> tuple[list[int], bool]:
        """How many of the frame's entries meet each of the conditions besides the window and the pattern, at most; and
        whether as many meet all conditions but the window as meet the one that fewest meet."""
        entries = summary.entries
        counts = [sum(count for level, count in summary.levels.items() if not self.levels or level in self.levels)]
        is_exact = self.pattern is None and self.source is None
        for name, names in ((self.app, summary.apps), (self.host, summary.hosts)):
            if name is None:
                continue
            is_exact &= isinstance(names, dict)
            counts.append(names.get(name, 0) if isinstance(names, dict) else entries if may_have(names, name) else 0)
        return counts, is_exact and sum(count < entries for count in counts) <= 1

    def rare_levels(self, index: Index) -> list[str] | None:
        """The wanted levels that the archive has, if all of them are rare; else None."""
        if self.levels is None or not index.rare:
            return None
        wanted: set[str] = set()
        for frame in index.frames:
            if frame.summary is None:
                return None
            wanted.update(self.levels & frame.summary.levels.keys())
        return sorted(wanted) if wanted <= index.rare.keys() else None
