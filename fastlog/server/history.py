"""Figures over time, for `/history`: four rings, whose steps are the longer the farther they reach back.

The loop feeds the rings once a second with counters; other threads read copies. A ring is an array of rows, one for
each step. A row begins with the number of its step, by the wall clock: a row of any other step counts as empty, so a
clock that jumps leaves no wrong row. What a row counts adds up exactly, so a long step is the sum of short ones.
"""

import math
from array import array
from collections.abc import Callable, Iterable, Sequence
from operator import add
from typing import Literal, NamedTuple, TypeVar

from fastlog.answers import HistoryAnswer, Mark, RangeName, Series
from fastlog.entry import LEVELS
from fastlog.server.meters import ACK_BOUNDS_SEC, quantile

LOSSES = ("kernel_drops", "network", "disk", "unshipped", "rejected", "filtered")


class Range(NamedTuple):
    step_sec: int
    steps: int


# Together 1,284 rows of 280 bytes: 360 kB, in memory as on the disk.
RANGES: dict[RangeName, Range] = {
    "5m": Range(1, 300),
    "1h": Range(10, 360),
    "24h": Range(300, 288),
    "7d": Range(1800, 336),
}

# A row: its step, the most resident bytes in it, and then sums. These are of seconds, and of counts.
STEP, RESIDENT, RAN_SEC, CPU_SEC, COUNTS = range(5)
STARTS = COUNTS
RESTARTS = STARTS + 1
LEVELS_AT = RESTARTS + 1
LOSSES_AT = LEVELS_AT + len(LEVELS)
ACKS_AT = LOSSES_AT + len(LOSSES)
MARKS: tuple[tuple[Literal["start", "sender_restarts"], int], ...] = (("start", STARTS), ("sender_restarts", RESTARTS))
WIDTH = ACKS_AT + len(ACK_BOUNDS_SEC) + 1
NO_STEP = -1.0  # of a row that nothing was ever written to

Row = Sequence[float]
T = TypeVar("T")


class Counters(NamedTuple):
    """What the server has counted since its start. A count that is not known is not a number (`math.nan`)."""

    cpu_sec: float
    sender_restarts: int
    levels: Iterable[int]
    losses: Iterable[float]
    acks: Iterable[int]  # by latency: up to each of ACK_BOUNDS_SEC, and above

    def sums(self) -> tuple[float, ...]:
        """In the order of a row, from CPU_SEC on. The start of the server is one of its counts."""
        return (self.cpu_sec, 1, self.sender_restarts, *self.levels, *self.losses, *self.acks)


class Ring:
    """The last `steps` steps of one length. `changed`: the places of rows that have changed; who saves a row takes its
    place out before, so that a change meanwhile is not forgotten."""

    def __init__(self, step_sec: int, steps: int, wall: float) -> None:
        self.step_sec = step_sec
        self.steps = steps
        self.newest = int(wall // step_sec)  # the step that was fed last
        self.changed: set[int] = set()
        self._rows = array("d", [NO_STEP] * WIDTH * steps)

    def add(self, wall: float, ran_sec: float, grown: Sequence[float], resident: float) -> None:
        """`grown`: by how much the sums have grown in the `ran_sec` before the time `wall`.

        A loop that was held up has passed several steps; each of them gets its share."""
        step = int(wall // self.step_sec)
        passed = 1
        if step != self.newest + 1:
            passed = max(1, min(step - self.newest, math.ceil(ran_sec / self.step_sec)))
        self.newest = step
        if passed == 1:
            self._add(step, resident, (ran_sec, *grown))
            return
        for number in range(passed)[-self.steps :]:
            shares = (count * (number + 1) // passed - count * number // passed for count in grown[1:])
            self._add(step - passed + 1 + number, resident, (ran_sec / passed, grown[0] / passed, *shares))

    def _add(self, step: int, resident: float, sums: Sequence[float]) -> None:
        place = step % self.steps
        old = self.row(place)
        if old[STEP] == step:
            new = (step, max(old[RESIDENT], resident), *map(add, old[RAN_SEC:], sums))
        else:
            new = (step, resident, *sums)
        # One call, so that no other thread sees a row by halves.
        self._rows[place * WIDTH : (place + 1) * WIDTH] = array("d", new)
        self.changed.add(place)

    def row(self, place: int) -> "array[float]":
        return self._rows[place * WIDTH : (place + 1) * WIDTH]

    def restore(self, place: int, row: "array[float]") -> bool:
        """Takes over a row that an earlier run has left. False: it does not belong here."""
        step = row[STEP]
        if len(row) != WIDTH or not step.is_integer() or step % self.steps != place:
            return False
        self._rows[place * WIDTH : (place + 1) * WIDTH] = row
        return True

    def last_rows(self) -> tuple[int, list["array[float] | None"]]:
        """The newest step, and the rows of all steps up to it; None: of that step nothing is known."""
        newest, rows = self.newest, self._rows[:]  # a copy, made in one call
        found: list[array[float] | None] = []
        for step in range(newest - self.steps + 1, newest + 1):
            at = step % self.steps * WIDTH
            found.append(rows[at : at + WIDTH] if rows[at] == step else None)
        return newest, found


class History:
    """`wall` is the time of day in seconds of Unix time, `now` that of time.monotonic, `cpu_sec` the processor time so
    far, which is not of the time that is recorded. `revision` grows with each change."""

    def __init__(self, wall: float, now: float, cpu_sec: float = 0.0) -> None:
        self.rings = {name: Ring(*length, wall) for name, length in RANGES.items()}
        self.revision = 0
        self._now = now
        self._before: Sequence[float] = (cpu_sec, *(0.0,) * (WIDTH - CPU_SEC - 1))

    def add(self, wall: float, now: float, counters: Counters, resident: int | None) -> None:
        """To be called once a second."""
        sums = counters.sums()
        grown = [after - before for after, before in zip(sums, self._before, strict=True)]
        ran_sec, self._now, self._before = now - self._now, now, sums
        for ring in self.rings.values():
            ring.add(wall, ran_sec, grown, resident or 0)
        self.revision += 1


def history_answer(history: History, name: RangeName) -> HistoryAnswer:
    ring = history.rings[name]
    newest, rows = ring.last_rows()

    def each(figure: Callable[[Row], T | None]) -> list[T | None]:
        return [None if row is None else figure(row) for row in rows]

    def counts(at: int) -> list[int | None]:
        return each(lambda row: None if math.isnan(row[at]) else int(row[at]))

    series = Series(
        ran_seconds=each(lambda row: round(row[RAN_SEC], 3)),
        received=each(lambda row: int(sum(row[LEVELS_AT:LOSSES_AT]))),
        levels={level: counts(LEVELS_AT + number) for number, level in enumerate(LEVELS)},
        losses={loss: counts(LOSSES_AT + number) for number, loss in enumerate(LOSSES)},
        ack_p50_ms=each(lambda row: _latency_ms(row, 0.5)),
        ack_p99_ms=each(lambda row: _latency_ms(row, 0.99)),
        cpu_percent=each(lambda row: round(100 * row[CPU_SEC] / row[RAN_SEC], 1) if row[RAN_SEC] > 0 else None),
        resident_bytes=each(lambda row: int(row[RESIDENT]) or None),
    )
    marks = [
        Mark(int(row[STEP]) * ring.step_sec, kind, int(row[at]))
        for row in rows
        if row is not None
        for kind, at in MARKS
        if row[at] > 0
    ]
    return HistoryAnswer(name, ring.step_sec, (newest + 1) * ring.step_sec, series, marks)


def _latency_ms(row: Row, share: float) -> float | None:
    seconds = quantile(row[ACKS_AT:], share)
    return None if seconds is None else round(seconds * 1000, 3)
