"""Entries that a window leaves out, although they stand between those that are in it: their senders' clocks are wrong,
or they came late."""

from fastlog.logs.conditions import NO_TIME, Window, entry_time
from fastlog.logs.parts import Lines
from fastlog.logs.selection import Selection

# Without an entry in the window, what follows does not stand between such any more, but belongs to another time.
BLOCKS_BETWEEN_MAX = 8
COUNTED_MAX = 100_000  # more are not counted: that takes longer than to show them


class Hidden:
    """Counts those of a selection that has a window. `farthest`: how far the farthest is outside of it."""

    def __init__(self, selection: Selection) -> None:
        self.count = 0
        self.farthest = NO_TIME
        self._window = selection.conditions.window or Window()
        self._others = selection.at_any_time()
        self._between: list[Lines] = []  # what stands behind the last entry in the window
        self._has_begun = False

    def see(self, lines: Lines, runs: list[tuple[int, int]]) -> None:
        """Lines that follow those before, and where the wanted ones are."""
        if self.count >= COUNTED_MAX:
            return
        block, start, end = lines
        # An entry without a time is in every window, and says nothing about what is beside it.
        while runs and not _has_time(block, *runs[0]):
            runs = runs[1:]
        while runs and not _has_time(block, *runs[-1]):
            runs = runs[:-1]
        if not runs:
            if self._has_begun:
                self._between.append(lines)
                if len(self._between) > BLOCKS_BETWEEN_MAX:
                    self._between, self._has_begun = [], False
            return
        at = start if self._has_begun else runs[0][0]
        for run_start, run_end in runs:
            self._between.append((block, at, run_start))
            at = run_end
        for between in self._between:
            self._look_at(*between)
        self._between, self._has_begun = [(block, at, end)], True

    def report(self) -> str:
        """What to tell the user; empty if nothing is hidden."""
        if not self.count:
            return ""
        slack = int(self.farthest.total_seconds()) + 1
        number = f"{COUNTED_MAX:,} entries or more" if self.count >= COUNTED_MAX else f"{self.count:,} entries"
        return (
            f"not shown: {number} between these, whose `timestamp` is outside of the window, by {slack} s at most; "
            f"--clock-slack {slack}s shows them"
        )

    def _look_at(self, block: bytes | bytearray, start: int, end: int) -> None:
        since, until = self._window.since, self._window.until
        for run_start, run_end in self._others.runs(block, start, end):
            for line in block[run_start : run_end - 1].split(b"\n"):
                time = entry_time(line)
                if time is None or time[1] or self._window.has(*time):
                    continue
                distance = since - time[0] if time[0] < since else time[0] - until
                self.farthest = max(self.farthest, distance)
                self.count += 1


def _has_time(block: bytes | bytearray, start: int, end: int) -> bool:
    return any(entry_time(line) for line in block[start : end - 1].split(b"\n"))
