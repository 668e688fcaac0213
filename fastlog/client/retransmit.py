"""The priority entries that were sent and not acknowledged: when to send them again, and how long to wait. There is no
socket and no clock in here.

The time-out is that of RFC 6298: the smoothed round-trip time and four times its variation, measured only on entries
that were sent once (Karn's rule). When it runs out again and again without any ACK it doubles, once for all entries
that were sent before, up to a limit. An ACK ends that, since the network carries entries again. A server that is silent
after several time-outs is asked with one entry alone, the newest: a server that comes back without memory takes the
first sequence it sees as the sender's start, and counts none before it as lost.
"""

import heapq
import math
import random
from collections.abc import Iterable, Iterator

import msgspec

from fastlog.client._outbox import Item
from fastlog.limits import FIRST_TIMEOUT_SEC, LONGEST_TIMEOUT_SEC, TIMEOUT_JITTER

SHORTEST_TIMEOUT_SEC = 0.02  # a needless retransmission is cheap; RFC 6298 says 1 s, for TCP over any path
GRANULARITY_SEC = 0.001  # a round trip is not measured more exactly, since a thread reads the ACKs
STEADY = 2  # time-outs in a row without any ACK before they double: the last entries of a burst get through sooner
SILENT_AFTER = 6  # time-outs in a row without any ACK: entries that were lost by chance have come through by then


class Timeout:
    """The retransmission time-out, in seconds (RFC 6298)."""

    def __init__(self) -> None:
        self.round_trip: float | None = None  # smoothed
        self.doublings = 0
        self._variation = 0.0
        self._base = FIRST_TIMEOUT_SEC

    @property
    def seconds(self) -> float:
        return min(self._base * float(2**self.doublings), LONGEST_TIMEOUT_SEC)

    def measured(self, seconds: float) -> None:
        if self.round_trip is None:
            self.round_trip = seconds
            self._variation = seconds / 2
        else:
            self._variation += (abs(self.round_trip - seconds) - self._variation) / 4
            self.round_trip += (seconds - self.round_trip) / 8
        timeout = self.round_trip + max(GRANULARITY_SEC, 4 * self._variation)
        self._base = min(max(timeout, SHORTEST_TIMEOUT_SEC), LONGEST_TIMEOUT_SEC)

    def ran_out(self) -> None:
        if self.seconds < LONGEST_TIMEOUT_SEC:
            self.doublings += 1


class Sent(msgspec.Struct, gc=False):
    """An entry that waits for its ACK. Times are those of time.monotonic."""

    sequence: int
    line: bytes  # the entry as it was sent, and is sent again
    item: Item | None  # the entry before; None if it comes from a spill file
    first_at: float
    sent_at: float
    times: int = 1


def items_of(sent: Iterable[Sent]) -> list[Item]:
    """The items of those entries, which the outbox still holds."""
    return [each.item for each in sent if each.item is not None]


class Unacknowledged:
    """The unacknowledged entries of one socket, in the order in which they were sent."""

    def __init__(self) -> None:
        self.pending: dict[int, Sent] = {}
        self.timeout = Timeout()
        self.heard = False  # the server has acknowledged something at some time
        self.silent = False
        self.next_at = math.inf  # something may be due then, not before
        self.retransmitted = 0  # entries
        self._due: list[tuple[float, int]] = []  # a heap of times and sequences, some of them acknowledged by now
        self._ran_out_at = -math.inf
        self._ran_out = 0  # time-outs in a row without an ACK

    def oldest(self) -> Sent:
        return next(iter(self.pending.values()))

    def newest(self) -> Sent:
        return next(reversed(self.pending.values()))

    def is_past(self, number: int) -> bool:
        """Whether all items before that number, in the order of the outbox, are acknowledged or given up."""
        item = self.oldest().item if self.pending else None
        return item is None or number <= item.number

    def add(self, sequence: int, line: bytes, now: float, item: Item | None = None) -> None:
        """The entry was sent for the first time."""
        self.pending[sequence] = Sent(sequence, line, item, now, now)
        self._set_due(sequence, now)

    def acknowledge(self, sequence: int, now: float) -> Sent | None:
        """The entry, unless it was acknowledged before."""
        sent = self.pending.pop(sequence, None)
        if sent is None:
            return None
        if sent.times == 1:
            self.timeout.measured(now - sent.sent_at)
        self.timeout.doublings = self._ran_out = 0
        self.heard = True
        if self.silent:
            self.silent = False
            self.hurry(now)
        return sent

    def due(self, now: float) -> list[Sent]:
        """The entries to retransmit now."""
        if not self.pending:
            self._due.clear()
            self.next_at = math.inf
        if now < self.next_at:
            return []
        if self.silent:
            self.timeout.ran_out()
            return [self.newest()]
        found = []
        while self._due and self._due[0][0] <= now:
            sent = self.pending.get(heapq.heappop(self._due)[1])
            if sent is not None:
                found.append(sent)
                if sent.sent_at >= self._ran_out_at:  # sent after the time-out that doubled it last
                    self._ran_out_at = now
                    self._ran_out += 1
                    if self._ran_out > STEADY:
                        self.timeout.ran_out()
        self.next_at = self._due[0][0] if self._due else math.inf
        if self._ran_out >= SILENT_AFTER:
            self.fall_silent(now)
            return self.due(now) if found else []
        return found

    def retransmit(self, due: Iterable[Sent], limit_bytes: int, now: float) -> Iterator[bytes]:
        """Datagrams of the due entries, to be sent now, with the bytes of the first sending. A datagram takes at most
        `limit_bytes`, unless one entry alone takes more."""
        lines: list[bytes] = []
        size = 0
        for sent in due:
            if lines and size + len(sent.line) > limit_bytes:
                yield b"\n".join(lines)
                lines, size = [], 0
            lines.append(sent.line)
            size += len(sent.line) + 1
            sent.sent_at = now
            sent.times += 1
            self._set_due(sent.sequence, now)
            self.retransmitted += 1
        if lines:
            yield b"\n".join(lines)

    def fall_silent(self, now: float, wait: float = 0.0) -> None:
        """The server does not answer: from now on only the newest entry is retransmitted, until it does."""
        self.silent = True
        self._due.clear()
        self.next_at = now + wait

    def hurry(self, now: float) -> None:
        """All entries are due now."""
        self._due = [(now, sequence) for sequence in self.pending]  # equal times in order: it is a heap
        self.next_at = now if self.pending else math.inf

    def give_up(self, first_before: float) -> list[Sent]:
        """Takes out the entries that were first sent at that time or before."""
        found = []
        for sent in self.pending.values():
            if sent.first_at > first_before:
                break
            found.append(sent)
        for sent in found:
            del self.pending[sent.sequence]
        return found

    def _set_due(self, sequence: int, now: float) -> None:
        at = now + self.timeout.seconds * random.uniform(1, 1 + TIMEOUT_JITTER)
        if self.silent:
            self.next_at = at
            return
        heapq.heappush(self._due, (at, sequence))
        self.next_at = min(self.next_at, at)
