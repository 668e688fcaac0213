"""The time of day, for what is deleted by its age: only as far as it can be trusted.

A wall clock may jump: by a wrong answer of a time server, on a board without a battery, in a virtual machine that is
resumed. A jump back makes all files younger, so it harms none, and counts at once. A long jump ahead would delete
everything, so it counts when it has lasted. A clock that nobody sets measures how long that is.

At a start the newest file says what time it was. That one may have been written after such a jump, so a mark outlives
the server.
"""

import math
import re
import time
from collections.abc import Iterable

MARK_ATTRIBUTE = "user.fastlog.clock"  # of the log's directory: <when it began> <seconds ahead>

_MARK = re.compile("([0-9]{1,12}) ([0-9]{1,12})")


def run_time() -> float:
    """Seconds since some moment, those in which the machine was suspended included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Clock:
    """Moments in seconds, by time.time. `patience_sec`: how long a jump must last that is longer than this. `written`:
    when files of the log were. `mark`: what an earlier run has left."""

    def __init__(self, patience_sec: float = math.inf, written: Iterable[float] = (), mark: str = "") -> None:
        self.patience_sec = patience_sec
        self.ahead_sec = 0.0  # how far the wall clock is ahead of this one
        self._off_sec = 0.0  # how far it has jumped in all; below 0: back
        self._jumped_at = 0.0  # by `run_time`
        # The time of both clocks when they agreed last.
        self._run = run_time()
        wall = time.time()
        self._wall = max((moment for moment in written if moment - wall <= patience_sec), default=wall)
        match = _MARK.fullmatch(mark)
        if match and 0 <= (lasted_sec := wall - int(match[1])) < patience_sec:
            self._off_sec = self.ahead_sec = float(match[2])
            self._wall, self._jumped_at = wall - self.ahead_sec, self._run - lasted_sec

    @property
    def mark(self) -> str:
        """For the next run, while there is a jump ahead."""
        return f"{int(time.time() - (run_time() - self._jumped_at))} {int(self.ahead_sec)}"

    def now(self) -> float:
        wall, run = time.time(), run_time()
        off = wall - self._wall - (run - self._run)
        has_jumped = abs(off - self._off_sec) > self.patience_sec
        if has_jumped:
            self._off_sec, self._jumped_at = off, run
            self.ahead_sec = max(off, 0.0)
        if abs(off) <= self.patience_sec or (not has_jumped and run - self._jumped_at >= self.patience_sec):
            self._wall, self._run = wall, run
            self._off_sec = self.ahead_sec = 0.0
        return wall - self.ahead_sec
