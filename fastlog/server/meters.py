"""Figures with a memory: rates over time, latencies, the newest priority entries, and when something was last lost.

Each has a bound. Only the loop feeds them.
"""

import itertools
import math
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence

from fastlog.stats import Latency, Rates

HISTORY_SEC = 300  # the dashboard shows five minutes
RATE_WINDOW_SEC = 3.0  # short enough to fall to 0 soon after the last entry, long enough to be steady
ACK_GROUPS = 1024  # latencies are taken from the newest ones
# Upper bounds of the latencies that are counted together, here, in `/metrics` and in `/history`: from a disk that needs
# no sync to a client that has given up.
ACK_BOUNDS_SEC = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
RECENT_MAX_BYTES = 4 << 20  # a thousand recent entries of the longest lines would take 64 times as much


class RecentRate:
    """By how much a counter grows a second, over the last few seconds."""

    def __init__(self, now: float, count: float = 0) -> None:
        self._samples: deque[tuple[float, float]] = deque([(now, count)])

    def tick(self, now: float, count: float) -> None:
        self._samples.append((now, count))
        while self._samples[1][0] <= now - RATE_WINDOW_SEC:
            self._samples.popleft()

    @property
    def now(self) -> float:
        (began, before), (ended, after) = self._samples[0], self._samples[-1]
        return (after - before) / (ended - began) if ended > began else 0.0


class RateMeter:
    """Turns a counter into rates. The counter is read from time to time."""

    def __init__(self, now: float) -> None:
        self._started = now
        self._read_at, self._count = now, 0
        self._recent = RecentRate(now)
        self._history: deque[int] = deque(maxlen=HISTORY_SEC)
        self._second_ends = now + 1.0
        self._second_began_at = 0  # the counter when the present second began
        self._peak = 0.0

    def tick(self, now: float, count: int) -> None:
        self._read_at, self._count = now, count
        self._recent.tick(now, count)
        seconds = int(now - self._second_ends) + 1 if now >= self._second_ends else 0
        if seconds:
            grown = count - self._second_began_at
            # A loop that was held up for several seconds spreads the growth evenly over them.
            self._history.extend(
                grown * (second + 1) // seconds - grown * second // seconds for second in range(seconds)[-HISTORY_SEC:]
            )
            self._second_began_at = count
            self._second_ends += seconds
            self._peak = max(self._peak, grown / seconds)

    @property
    def now(self) -> float:
        """Events a second over the last few seconds."""
        return round(self._recent.now, 1)

    def rates(self) -> Rates:
        ran_sec = self._read_at - self._started
        average = self._count / ran_sec if ran_sec > 0 else 0.0
        return Rates(peak=round(max(self._peak, self.now), 1), average=round(average, 1), history=list(self._history))


class LatencyMeter:
    """Latencies of the newest ACKs. ACKs that leave together have one latency: it is kept once, with their count.

    `counts`: all ACKs so far, by latency: up to each of ACK_BOUNDS_SEC, and above. `sum_sec`: all their latencies.
    """

    def __init__(self) -> None:
        self.counts = [0] * (len(ACK_BOUNDS_SEC) + 1)
        self.sum_sec = 0.0
        self._groups: deque[tuple[float, int]] = deque(maxlen=ACK_GROUPS)
        self._summary = Latency(None, None, None)
        self._changed = False

    def add(self, seconds: float, acks: int) -> None:
        self._groups.append((seconds, acks))
        self._changed = True
        self.counts[bisect_left(ACK_BOUNDS_SEC, seconds)] += acks
        self.sum_sec += seconds * acks

    def cumulative(self) -> dict[str, int]:
        """How many ACKs took at most so many seconds, by the text of that number; the last bound is infinite."""
        bounds = (*(f"{bound:g}" for bound in ACK_BOUNDS_SEC), "+Inf")
        return dict(zip(bounds, itertools.accumulate(self.counts), strict=True))

    def summary(self) -> Latency:
        if self._changed:
            groups = sorted(self._groups)
            sums = list(itertools.accumulate(count for _, count in groups))

            def at(share: float) -> float:
                wanted = share * sums[-1]
                return round(next(s for (s, _), total in zip(groups, sums, strict=True) if total >= wanted) * 1000, 3)

            self._summary = Latency(p50=at(0.5), p99=at(0.99), max=at(1.0))
            self._changed = False
        return self._summary


def quantile(counts: Sequence[float], share: float) -> float | None:
    """The latency in seconds that this share of so many ACKs did not exceed, interpolated as Prometheus does it
    (histogram_quantile): within the bounds as if all were evenly apart, and the last bound for all above. `counts`: as
    in LatencyMeter. None: there are no ACKs."""
    wanted, below, bound = share * sum(counts), 0.0, 0.0
    if not wanted > 0:
        return None
    for count, upper in zip(counts, ACK_BOUNDS_SEC, strict=False):
        if below + count >= wanted:
            return bound + (upper - bound) * (wanted - below) / count
        below, bound = below + count, upper
    return ACK_BOUNDS_SEC[-1]


class RecentEntries:
    """The stored lines of the newest priority entries, limited by number and by bytes."""

    def __init__(self, count: int) -> None:
        self._lines: deque[bytes] = deque(maxlen=count)
        self._bytes = 0
        self.taken = 0  # lines, since the start

    def extend(self, lines: bytes, count: int) -> None:
        """Takes that many lines with their line feeds, and keeps the newest without the line feeds."""
        self.taken += count
        most = min(count, self._lines.maxlen or 0)
        for line in lines.rsplit(b"\n", most + 1)[-most - 1 : -1]:
            if len(self._lines) == self._lines.maxlen:
                self._bytes -= len(self._lines[0])
            self._lines.append(line)
            self._bytes += len(line)
            while self._bytes > RECENT_MAX_BYTES:
                self._bytes -= len(self._lines.popleft())

    def lines(self) -> list[bytes]:
        return list(self._lines)


class LossMeter:
    """When a count of losses first and last grew. `before`: its value at the start, which is not this server's loss.

    Only a new maximum is growth: late entries fill gaps, so some counts fall, and rise to where they were.
    """

    def __init__(self, before: int = 0) -> None:
        self._before = before
        self._most = before
        self._is_known = True
        self._first_grew_at: float | None = None
        self._grew_at: float | None = None

    @property
    def grown(self) -> float:
        """By how much it has grown since the start; not a number while the count is not known."""
        return self._most - self._before if self._is_known else math.nan

    def tick(self, now: float, count: int | None) -> None:
        self._is_known = count is not None
        if count is not None and count > self._most:
            self._most = count
            self._grew_at = now
            if self._first_grew_at is None:
                self._first_grew_at = now

    def seconds_since(self, now: float) -> float | None:
        return None if self._grew_at is None else round(now - self._grew_at, 1)

    def first_seconds_since(self, now: float) -> float | None:
        return None if self._first_grew_at is None else round(now - self._first_grew_at, 1)
