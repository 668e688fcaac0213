"""What is written to a log while somebody watches: read once, and looked at once for each filter.

The work is bounded. When the log grows faster than it can be looked at, a filter looks at the newest part of what came
since the last turn, and says so. Filters that cost little, such as one on a rare level, are served first, so they see
everything even then.
"""

from pathlib import Path
from time import thread_time
from typing import Generic, TypeVar

from fastlog.errors import say
from fastlog.logs.log_files import ReadError, open_log
from fastlog.logs.log_reader import Follower, Reader
from fastlog.logs.parts import Lines, end_of_lines
from fastlog.view.lines import Newest, count_lines, last_lines, position
from fastlog.view.query import RATE_MAX
from fastlog.view.wanted import Wanted

READ_MAX_BYTES_PER_SEC = 64 << 20  # of a log: more than 200,000 entries a second write
NEWEST_MAX_BYTES = 256 << 10  # of the newest lines of a filter: room for the longest one
AT_FIRST_SEC_PER_BYTE = 3e-10  # what a filter is taken to cost before it is measured: that of one on a level
MEASURED_FROM_BYTES = 256 << 10  # of a turn: less takes a few microseconds, most of which are not for the bytes
NEW_WEIGHT = 0.3  # of the newest turn in the average of what a filter costs

V = TypeVar("V")


class Group(Generic[V]):
    """The viewers with one filter, and what the last turn found for them: `matching`, how many lines, of which `newest`
    has some. `is_estimated`: not all lines were looked at."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.viewers: set[V] = set()
        self.newest = Newest(RATE_MAX, NEWEST_MAX_BYTES)
        self.matching = 0
        self.is_estimated = False
        self.sec_per_byte = AT_FIRST_SEC_PER_BYTE
        self._from = 0
        self._looked_bytes = 0

    def begin(self, skipped_bytes: int) -> None:
        """A turn, in which it looks only at what comes behind so many bytes."""
        self.newest.clear()
        self.matching = 0
        self._from = skipped_bytes
        self._looked_bytes = 0

    def look(self, lines: Lines, seen: int) -> None:
        """`seen`: bytes of the turn up to the end of these lines."""
        if seen <= self._from:
            return
        block, start, end = lines
        runs = self.wanted.runs(block, start, end)
        self._looked_bytes += end - start
        if runs:
            self.matching += count_lines(block, runs)
            self.newest.add([line for _, line in reversed(last_lines(block, runs, RATE_MAX))])

    def finish(self, total: int, took_sec: float) -> None:
        """`total`: bytes that the log grew by."""
        if self._looked_bytes >= MEASURED_FROM_BYTES:
            self.sec_per_byte += NEW_WEIGHT * (took_sec / self._looked_bytes - self.sec_per_byte)
        self.is_estimated = self._looked_bytes < total
        if self.is_estimated and self._looked_bytes:
            self.matching = round(self.matching * total / self._looked_bytes)


class Feed(Generic[V]):
    """Of the live file `path`, from the moment on in which the first viewer joins. `problem` says why it cannot be
    read; empty: it can."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._follower: Follower | None = None
        self.groups: dict[object, Group[V]] = {}
        self.problem = ""

    def join(self, key: object, wanted: Wanted, viewer: V) -> None:
        if self._follower is None:
            self._open()
        self.groups.setdefault(key, Group(wanted)).viewers.add(viewer)

    def leave(self, key: object, viewer: V) -> None:
        group = self.groups.get(key)
        if group is None:
            return
        group.viewers.discard(viewer)
        if not group.viewers:
            del self.groups[key]
        if not self.groups:
            self.close()

    def close(self) -> None:
        if self._follower:
            self._follower.close()
            self._follower = None

    @property
    def position(self) -> str:
        """How far it has read; empty: nothing yet."""
        place = self._follower.place if self._follower else None
        return position(*place) if place else ""

    def turn(self, since_sec: float, budget_sec: float) -> None:
        """Looks at what is new, for about `budget_sec` of processor time. `since_sec`: since the last turn."""
        if self._follower is None:
            self._open()
        if self._follower is None:
            for group in self.groups.values():
                group.begin(0)
            return
        try:
            self._read(self._follower, int(since_sec * READ_MAX_BYTES_PER_SEC), budget_sec)
            self.problem = "" if self._follower.place else self._missing()
        except (ReadError, OSError) as error:
            self._fail(error)

    def _read(self, follower: Follower, most_bytes: int, budget_sec: float) -> None:
        waiting = follower.waiting_bytes()
        passed = max(waiting - most_bytes, 0)
        if passed:
            follower.pass_over(passed)
        self._plan(waiting - passed, budget_sec)
        groups = [(group, [0.0]) for group in self.groups.values()]
        seen = 0
        for lines in follower.new():
            seen += lines[2] - lines[1]
            for group, took in groups:
                began = thread_time()
                group.look(lines, seen)
                took[0] += thread_time() - began
            if seen > most_bytes:  # it grows while it is read, or the next file is large: the rest is for later
                break
        for group, took in groups:
            group.finish(passed + seen, took[0])

    def _plan(self, size: int, budget_sec: float) -> None:
        """Shares the time out. What a cheap filter does not need of its share is for those that cost more."""
        by_cost = sorted(self.groups.values(), key=lambda group: group.sec_per_byte)
        for number, group in enumerate(by_cost):
            share = budget_sec / (len(by_cost) - number)
            affordable = int(share / max(group.sec_per_byte, 1e-12))
            group.begin(max(size - affordable, 0))
            budget_sec -= min(share, size * group.sec_per_byte)

    def _open(self) -> None:
        try:
            files = open_log(self._path)
        except (ReadError, OSError) as error:
            self._fail(error)
            return
        for file in files[:-1]:
            file.close()
        reader = None
        if files:
            try:
                files[-1].keep_open()
                reader = Reader(files[-1], 0 if files[-1].is_compressed else end_of_lines(files[-1]))
            except OSError as error:
                self._fail(error)
                return
            if files[-1].is_compressed:
                for _ in reader.read():
                    pass
        self._follower = Follower(self._path, reader)
        self.problem = "" if files else self._missing()

    def _missing(self) -> str:
        return f"{self._path} does not exist yet, or cannot be read"

    def _fail(self, error: Exception) -> None:
        problem = str(error)
        if problem != self.problem:
            say(problem)
        self.problem = problem
        self.close()
        for group in self.groups.values():
            group.begin(0)
