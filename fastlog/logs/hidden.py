"""Entries that a window hides, since their senders' clocks are wrong, or they came late.

An entry is hidden if it stands between two entries in the window, and meets all other conditions, but its `timestamp`
is outside of the window. Which entries are in the window goes by their times alone: so a search that finds nothing says
of whom it found nothing. Differences of less than NEAR are not reported, since clocks are never quite the same.

Frames that were not unpacked are judged by their summaries.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import groupby
from operator import attrgetter

import msgspec

from fastlog.archive.index import Frame
from fastlog.archive.summary import Summary
from fastlog.entry import LEVELS
from fastlog.logs._hidden import Bounds, look_at
from fastlog.logs.conditions import LATEST, Conditions, Window, entry_time
from fastlog.logs.open_file import OpenFile
from fastlog.logs.parts import Lines, Part, RarePart
from fastlog.logs.selection import Selection
from fastlog.times import MICROSECOND, microseconds

NEAR = timedelta(seconds=10)
SLACK_MAX_SEC = 999_999_999  # what `--clock-slack` takes in seconds; more is said in days

Runs = list[tuple[int, int]]


class Tally(msgspec.Struct, frozen=True):
    """Entries outside of the window. `is_exact`: there may not be fewer. `farthest`: microseconds."""

    count: int = 0
    farthest: int = 0
    is_exact: bool = True

    def __add__(self, other: "Tally") -> "Tally":
        is_exact = self.is_exact and other.is_exact
        return Tally(self.count + other.count, max(self.farthest, other.farthest), is_exact)


NONE = Tally()
UNSURE = Tally(is_exact=False)


class Seen(msgspec.Struct, frozen=True):
    """What was seen of lines that follow each other. `frame`: the number of their frame, if they are of an archive
    with summaries. `has_inside`: whether an entry is in the window; `before`, `between` and `after` them those that are
    not. Without one, all are before."""

    frame: int | None
    has_inside: bool
    before: Tally = NONE
    between: Tally = NONE
    after: Tally = NONE


class Hidden:
    """Adds up those of a selection that has a window, in files from an offset of the first one on."""

    def __init__(self, selection: Selection, files: list[OpenFile], offset: int = 0) -> None:
        conditions = selection.conditions
        self._window = conditions.window or Window()
        self._conditions = conditions
        has_others = conditions != Conditions(levels=frozenset(LEVELS), window=conditions.window)
        self._others = selection.at_any_time() if has_others else None
        self._bounds = _bounds(self._window)
        self._files = iter(files)
        self._file = next(self._files, None)
        self._frame = _frame_at(_frames(self._file), offset)  # the next one to judge
        self._total = NONE
        self._pending = NONE  # what stands behind the last entry in the window
        self._has_begun = False

    def look(self, part: Part, lines: Lines, runs: Runs) -> list[Seen]:
        """Lines of a part, and where the wanted ones are. In any thread."""
        if isinstance(part, RarePart):
            return [self._look(frame, its, []) for frame, its in _by_frame(part, lines)]
        frame = _frame_at(_frames(part.file), part.at) if part.file.index else None
        return [self._look(frame, lines, runs)]

    def add(self, part: Part, seen: list[Seen]) -> None:
        """What was seen of the next part."""
        while self._file is not None and self._file is not part.file:
            self._next_file()
        for each in seen:
            if each.frame is None:
                self._add(each)
                continue
            self._pass_over(each.frame)
            self._frame = each.frame + 1
            if isinstance(part, RarePart):
                self._add_rare(each, _frames(part.file)[each.frame].summary)
            else:
                self._add(each)

    def report(self, done: str, does: str) -> str:
        """What to tell the user, once all parts were added; empty if nothing is hidden. `done`, `does`: the words for
        what is not done with hidden entries, and what the slack does with them."""
        while self._file is not None:
            self._next_file()
        if not self._total.count:
            return ""
        count = self._total.count
        number = f"{'' if self._total.is_exact else 'up to '}{count:,} {'entry' if count == 1 else 'entries'}"
        slack = _slack(self._total.farthest * MICROSECOND)
        return (
            f"not {done}: {number} between those in the window, whose `timestamp` is outside of it by up to "
            f"{slack}; --clock-slack {slack} {does} them"
        )

    def _look(self, frame: int | None, lines: Lines, runs: Runs) -> Seen:
        block, start, end = lines
        if runs == [(start, end)] and _is_timed_at(block, start):
            return Seen(frame, True)
        others = self._others.runs(block, start, end) if self._others else [(start, end)]
        has_inside, *tallies = look_at(block, start, end, others, self._bounds)
        return Seen(frame, has_inside, *(Tally(*each) for each in tallies))

    def _add(self, seen: Seen) -> None:
        if seen.has_inside:
            if self._has_begun:
                self._total += self._pending + seen.before
            self._total += seen.between
            self._pending, self._has_begun = seen.after, True
        elif self._has_begun:
            self._pending += seen.before

    def _add_rare(self, seen: Seen, summary: Summary | None) -> None:
        """Of the frame, only lines of rare levels were seen. So its summary says whether an entry is in the window, but
        not where: the lines are taken to stand behind it, and before the first one in the window there are none."""
        if not seen.has_inside and summary and (by_summary := self._by_summary(summary)).has_inside:
            behind = seen.before if self._has_begun else NONE
            seen = Seen(seen.frame, True, by_summary.before, after=behind + by_summary.after)
        self._add(seen)

    def _pass_over(self, end: int) -> None:
        """The frames up to that one, none of whose lines were seen."""
        for frame in _frames(self._file)[self._frame : end]:
            if frame.summary:
                self._add(self._by_summary(frame.summary))
        self._frame = max(self._frame, end)

    def _next_file(self) -> None:
        self._pass_over(len(_frames(self._file)))
        self._file, self._frame = next(self._files, None), 0

    def _by_summary(self, summary: Summary) -> Seen:
        """A frame that may have entries in the window was passed over for another condition, which none of it meets."""
        if not self._window.overlaps(summary):
            return Seen(None, False, self._outside(summary))
        known = NONE if self._window.surely_has(summary) else UNSURE
        return Seen(None, True, known, after=known)

    def _outside(self, summary: Summary) -> Tally:
        """Of a frame without an entry in the window, as far as its summary says."""
        if summary.timestamp is None:
            return NONE
        since, until = microseconds(self._window.since), microseconds(self._window.until)
        distances = [since - time if time < since else time - until + 1 for time in summary.timestamp]
        counts, is_exact = self._conditions.counts(summary)
        count = min(counts)
        if not count or max(distances) < NEAR // MICROSECOND:
            return NONE
        is_exact &= summary.received is None and not summary.untimed and min(distances) >= NEAR // MICROSECOND
        return Tally(count, max(distances), is_exact)


def _bounds(window: Window) -> Bounds:
    since, until, wide_since, wide_until = (
        microseconds(time) + (time == LATEST) for is_received in (True, False) for time in window.bounds(is_received)
    )
    return Bounds(since, until, wide_since, wide_until, NEAR // MICROSECOND)


def _frames(file: OpenFile | None) -> Sequence[Frame]:
    return file.index.frames if file and file.index else ()


def _frame_at(frames: Sequence[Frame], place: int) -> int:
    """The number of the frame in which a line begins; 0 if there are none."""
    return max(bisect_right(frames, place, key=attrgetter("start")) - 1, 0)


def _by_frame(part: RarePart, lines: Lines) -> Iterator[tuple[int, Lines]]:
    """The lines of each frame, with its number."""
    block, start, _ = lines
    numbers = [_frame_at(_frames(part.file), place) for place in part.places]
    for number, its in groupby(numbers):
        end = start
        for _ in its:
            end = block.index(b"\n", end) + 1
        yield number, (block, start, end)
        start = end


def _is_timed_at(block: bytes | bytearray, start: int) -> bool:
    return entry_time(block[start : block.index(b"\n", start)]) is not None


def _slack(distance: timedelta) -> str:
    """As `--clock-slack` takes it."""
    seconds = -(-distance // timedelta(seconds=1))
    return f"{seconds}s" if seconds <= SLACK_MAX_SEC else f"{distance.days + 1}d"
