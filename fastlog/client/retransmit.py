"""The priority entries that were sent and not acknowledged: when to send them again, and how long to wait. There is no
socket and no clock in here.

The time-out is that of RFC 6298: the smoothed round-trip time and four times its variation, measured only on entries
that were sent once (Karn's rule). When it runs out again and again without any ACK it doubles, once for all entries
that were sent before, up to a limit. An ACK ends that, since the network carries entries again. A server that is silent
after several time-outs is asked with one entry alone, the newest: a server that comes back without memory takes the
first sequence it sees as the sender's start, and counts none before it as lost.

Three rules keep one entry from costing more than its share, and the others from waiting for it:

- Each entry has a back-off of its own. The first tries, as many as the losses of the network explain, come one time-out
  apart. Then the wait doubles with each try.
- An entry whose tries were passed over is hopeless: each time the server acknowledged something that was sent later.
  Whoever uses this class takes it out with `hopeless`.
- Retransmissions have a credit, which ACKs earn. After a silence it is small, so that a server that comes back is not
  flooded, and entries that it does not acknowledge are not repeated all at once.
"""

import heapq
import math
import random
from collections.abc import Container, Iterable, Iterator

import msgspec

from fastlog.client.core import Item
from fastlog.limits import FIRST_TIMEOUT_SEC, LONGEST_TIMEOUT_SEC, SEQUENCE_WINDOW, TIMEOUT_JITTER

SHORTEST_TIMEOUT_SEC = 0.02  # a needless retransmission is cheap; RFC 6298 says 1 s, for TCP over any path
GRANULARITY_SEC = 0.001  # a round trip is not measured more exactly, since a thread reads the ACKs
STEADY = 2  # time-outs in a row without any ACK before they double: the last entries of a burst get through sooner
SILENT_AFTER = 6  # time-outs in a row without any ACK: entries that were lost by chance have come through by then

QUICK_TRIES = 4  # before an entry's own wait doubles; more where the network loses much
QUICK_CHANCE = 1e-5  # of entries that need more than the quick tries: for them some seconds of delay do no harm
HOPELESS_TRIES = 6  # passed over so often, an entry is hopeless; more where the network loses much
HOPELESS_CHANCE = 1e-7  # of entries that the network loses so often by chance
LONGEST_BACKOFF_SEC = 60.0  # of one entry: "now and then" for whoever reads the server's log
DOUBLINGS_MAX = 20  # more would exceed the longest back-off anyway
SCHEDULE_SPARE = SEQUENCE_WINDOW  # times that do not count any more are kept up to that number, which costs less

LOSS_WEIGHT = 1 / 64  # of the newest acknowledged entry in the measured loss
LOSS_MAX = 0.8  # a network that loses more is as good as silent
TRIES_LEAST = 1.001  # of an entry, smoothed: fewer are as good as one
TRIES_UNHEARD = 2.0  # of an entry, before any was measured: half is lost

CREDIT_FIRST = 32  # retransmissions, in entries, before any ACK
CREDIT_MAX = 256  # a quarter of a window: more at once may fill a receive buffer
CREDIT_PER_ACK = 4  # so a network that loses four of five slows nothing down
CREDIT_LEAST = 4  # after a silence, and after each time-out without credit


class Timeout:
    """The retransmission time-out, in seconds (RFC 6298)."""

    def __init__(self) -> None:
        self.round_trip: float | None = None  # smoothed
        self.doublings = 0
        self.in_a_row = 0  # time-outs without an ACK
        self._variation = 0.0
        self._base = FIRST_TIMEOUT_SEC
        self._noted_at = -math.inf
        self._grown_at = -math.inf

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

    def was_needless(self, now: float) -> None:
        """A second ACK has come for an entry: it was sent again too soon. When the round trip has grown for good, each
        entry is sent again before its ACK, and nothing could be measured. Many that were sent together count once."""
        if now - self._grown_at >= self.seconds:
            self._grown_at = now
            self._base = min(self._base * 2, LONGEST_TIMEOUT_SEC)

    def note(self, sent_at: float, now: float) -> None:
        """An entry that was sent at that time has had no ACK in time. Many that were sent together count once."""
        if sent_at >= self._noted_at:
            self._noted_at = now
            self.in_a_row += 1
            if self.in_a_row > STEADY:
                self.ran_out()

    def heard(self) -> None:
        self.doublings = self.in_a_row = 0

    def ran_out(self) -> None:
        if self.seconds < LONGEST_TIMEOUT_SEC:
            self.doublings += 1


class Loss:
    """How much the network loses, measured on entries that were acknowledged: those that never are say nothing."""

    def __init__(self) -> None:
        self.is_any = True  # something is lost, as far as is known
        self._tries = TRIES_UNHEARD  # of an entry until its ACK, smoothed
        self._weight = 1.0

    def measured(self, tries: int) -> None:
        self._weight = max(self._weight / (1 + self._weight), LOSS_WEIGHT)
        self._tries += (tries - self._tries) * self._weight
        self.is_any = self._tries > TRIES_LEAST

    def wait(self, times: int, timeout_sec: float) -> float:
        """How long an entry that was sent so often waits for its ACK."""
        if times <= QUICK_TRIES or times <= self.quick_tries:  # most entries need no look at the losses
            return timeout_sec
        in_vain = min(times - self.quick_tries, DOUBLINGS_MAX)
        return min(timeout_sec * float(2**in_vain), LONGEST_BACKOFF_SEC)

    @property
    def quick_tries(self) -> int:
        """How often an entry is sent before its own wait doubles."""
        return max(QUICK_TRIES, self._tries_until(QUICK_CHANCE))

    @property
    def hopeless_tries(self) -> int:
        """How often an entry is passed over until it is hopeless."""
        return max(HOPELESS_TRIES, self._tries_until(HOPELESS_CHANCE))

    def _tries_until(self, chance: float) -> int:
        """How many tries in a row the network loses with that chance."""
        lost = min(1 - 1 / self._tries, LOSS_MAX)
        return math.ceil(math.log(chance) / math.log(lost)) if lost > 0 else 0


class Sent(msgspec.Struct, gc=False):
    """An entry that waits for its ACK. Times are those of time.monotonic."""

    sequence: int
    line: bytes  # the entry as it was sent, and is sent again
    item: Item | None  # the entry before; None if it comes from a spill file
    first_at: float
    sent_at: float
    due_at: float = math.inf
    times: int = 1
    passed: int = 0  # tries after which an entry was acknowledged that was sent later
    is_stalled: bool = False  # tried in vain so often that new entries do not wait for it


def items_of(sent: Iterable[Sent]) -> list[Item]:
    """The items of those entries, which the outbox still holds."""
    return [each.item for each in sent if each.item is not None]


def packed(sent: Iterable[Sent], limit_bytes: int) -> Iterator[list[Sent]]:
    """Entries that share a datagram of at most `limit_bytes`, unless one entry alone takes more."""
    group: list[Sent] = []
    size = 0
    for each in sent:
        if group and size + len(each.line) > limit_bytes:
            yield group
            group, size = [], 0
        group.append(each)
        size += len(each.line) + 1
    if group:
        yield group


def datagram_of(group: Iterable[Sent]) -> bytes:
    return b"\n".join([sent.line for sent in group])


class Schedule:
    """When entries are due. Those that are due wait here until they may be sent; then the oldest goes first."""

    def __init__(self) -> None:
        self.overdue: list[int] = []  # a heap of sequences
        self._times: list[tuple[float, int]] = []  # a heap of times and sequences; some do not count any more

    @property
    def next_at(self) -> float:
        return self._times[0][0] if self._times else math.inf

    def set(self, sent: Sent, at: float) -> None:
        sent.due_at = at
        heapq.heappush(self._times, (at, sent.sequence))

    def set_all(self, pending: dict[int, Sent], at: float) -> None:
        self.forget()
        for sent in pending.values():
            sent.due_at = at
        self._gather(pending)

    def forget(self) -> None:
        self._times.clear()
        self.overdue.clear()

    def tidy(self, pending: dict[int, Sent]) -> None:
        """Throws out times that do not count any more, if there are many."""
        if len(self._times) > 2 * len(pending) + SCHEDULE_SPARE:
            self._gather(pending)

    def pass_time(self, pending: dict[int, Sent], now: float) -> list[Sent]:
        """The entries that have become due."""
        found = []
        while self._times and self._times[0][0] <= now:
            at, sequence = heapq.heappop(self._times)
            sent = pending.get(sequence)
            if sent is not None and sent.due_at == at:
                sent.due_at = math.inf
                heapq.heappush(self.overdue, sequence)
                found.append(sent)
        return found

    def take(self, pending: dict[int, Sent], most: int) -> list[Sent]:
        """Entries that are due. They are to be set again."""
        found: list[Sent] = []
        while self.overdue and len(found) < most:
            sent = pending.get(heapq.heappop(self.overdue))
            if sent is not None and sent.due_at == math.inf:
                found.append(sent)
        return found

    def _gather(self, pending: dict[int, Sent]) -> None:
        self._times = [(sent.due_at, sequence) for sequence, sent in pending.items()]
        heapq.heapify(self._times)


class Unacknowledged:
    """The unacknowledged entries of one socket, in the order in which they were sent."""

    def __init__(self) -> None:
        self.pending: dict[int, Sent] = {}
        self.stalled = 0  # pending entries that new ones do not wait for
        self.timeout = Timeout()
        self.loss = Loss()
        self.heard = False  # the server has acknowledged something at some time
        self.silent = False
        self.next_at = math.inf  # something may be due then, not before
        self.retransmitted = 0  # entries
        self._schedule = Schedule()
        self._heard_at = -math.inf  # the last time at which an entry was sent that is acknowledged
        self._hopeless: dict[int, Sent] = {}
        self._credit = CREDIT_FIRST
        self._credit_at = -math.inf  # when there is credit without any ACK

    def oldest(self) -> Sent:
        return next(iter(self.pending.values()))

    def newest(self) -> Sent:
        return next(reversed(self.pending.values()))

    def is_past(self, number: int) -> bool:
        """Whether all items before that number, in the order of the outbox, are acknowledged or given up."""
        return all(sent.item is None or number <= sent.item.number for sent in self.pending.values())

    def add(self, sequence: int, line: bytes, now: float, item: Item | None = None) -> None:
        """The entry was sent for the first time."""
        if self.silent and now >= self.next_at:  # this one asks instead of the newest
            self.timeout.ran_out()
        sent = self.pending[sequence] = Sent(sequence, line, item, now, now)
        self._set_due(sent, now)

    def acknowledge(self, sequence: int, now: float) -> Sent | None:
        """The entry, unless it was acknowledged before."""
        sent = self.pending.get(sequence)
        if sent is None:
            return None
        if sent.times == 1:
            self.timeout.measured(now - sent.sent_at)
        if sent.times > 1 or self.loss.is_any:
            self.loss.measured(sent.times)
        self.has_heard(sent.first_at, now)
        if self._hopeless:
            self._hopeless.pop(sequence, None)
        self.stalled -= sent.is_stalled
        del self.pending[sequence]  # the last step: an error before it loses nothing
        return sent

    def has_heard(self, sent_at: float, now: float) -> None:
        """The server has acknowledged an entry, of this class or not, that was sent at that time or later."""
        self._heard_at = max(self._heard_at, sent_at)
        if self._credit < CREDIT_MAX:
            self._credit += CREDIT_PER_ACK
        if self._schedule.overdue and now < self.next_at:
            self.next_at = now
        self.timeout.heard()
        self.heard = True
        if self.silent:
            self.silent = False
            self.hurry(now)

    def learn_from(self, other: "Unacknowledged") -> None:
        """What is known of another socket to the same server counts here, too."""
        self._heard_at = max(self._heard_at, other._heard_at)
        if self.timeout.round_trip is None and other.timeout.round_trip is not None:
            self.timeout.measured(other.timeout.round_trip)

    def due(self, now: float) -> list[Sent]:
        """The entries to retransmit now. Give those that were not sent after all to `put_back`."""
        schedule = self._schedule
        if not self.pending:
            schedule.forget()
            self.next_at = math.inf
        schedule.tidy(self.pending)
        if now < self.next_at:
            return []
        if self.silent:
            self.timeout.ran_out()
            return [self.newest()]
        if self._credit < CREDIT_LEAST and now >= self._credit_at:
            self._credit = CREDIT_LEAST
            self._credit_at = now + self.timeout.seconds
        for sent in schedule.pass_time(self.pending, now):
            self.timeout.note(sent.sent_at, now)
        found = schedule.take(self.pending, self._credit)
        self._credit -= len(found)
        self.next_at = min(schedule.next_at, self._credit_at) if schedule.overdue else schedule.next_at
        if self.timeout.in_a_row >= SILENT_AFTER:
            self.fall_silent(now)
            return self.due(now) if found else []
        return found

    def sent_again(self, group: Iterable[Sent], now: float) -> None:
        for sent in group:
            if sent.sent_at < self._heard_at:
                sent.passed += 1
                if sent.passed >= self.loss.hopeless_tries:
                    self._hopeless[sent.sequence] = sent
            sent.sent_at = now
            if not self.silent or sent.times == 1:  # to ask a silent server says nothing about the entry
                sent.times += 1
            if sent.times > QUICK_TRIES and not sent.is_stalled and sent.times > self.loss.quick_tries:
                sent.is_stalled = True
                self.stalled += 1
            self._set_due(sent, now)
            self.retransmitted += 1

    def put_back(self, due: Iterable[Sent], at: float) -> None:
        """Due entries that were not sent are due at that time."""
        for sent in due:
            if self.silent:
                self.next_at = at
            else:
                self._schedule.set(sent, at)
                self._credit += 1
                self.next_at = min(self.next_at, at)

    def hopeless(self) -> list[Sent]:
        """Takes out the entries that the server has passed over again and again."""
        found, self._hopeless = self._hopeless, {}
        return self.take(list(found.values())) if found else []

    def take(self, chosen: list[Sent]) -> list[Sent]:
        """Takes out entries that are pending: they hold up nothing any more. If no other is left, the server is not
        silent: it is asked nothing."""
        found = [sent for sent in chosen if self.pending.pop(sent.sequence, None)]
        self.stalled -= sum(sent.is_stalled for sent in found)
        for sent in found:
            self._hopeless.pop(sent.sequence, None)
        if not self.pending:
            self.silent = False
            self._schedule.forget()
            self.next_at = math.inf
        return found

    def take_levels(self, levels: Container[int]) -> list[Sent]:
        """Takes out the entries of those levels. If no other is left, the time-outs mean nothing: it was not asked."""
        found = self.take([sent for sent in self.pending.values() if sent.item and sent.item.level in levels])
        if not self.pending:
            self.timeout.heard()
        return found

    def fall_silent(self, now: float, wait: float = 0.0) -> None:
        """The server does not answer: from now on only the newest entry is retransmitted, until it does."""
        self.silent = True
        self._schedule.forget()
        self._credit = CREDIT_LEAST
        for sent in self.pending.values():
            sent.is_stalled = True
        self.stalled = len(self.pending)
        self.next_at = now + wait

    def hurry(self, now: float) -> None:
        """All entries are due now, as far as there is credit."""
        self._credit = min(self._credit, CREDIT_LEAST)
        self._credit_at = now + self.timeout.seconds
        self._schedule.set_all(self.pending, now)
        self.next_at = now if self.pending else math.inf

    def overdue(self, first_before: float, now: float, may_try: bool) -> tuple[list[Sent], list[Sent]]:
        """Takes out the entries to give up, of those that were first sent at that time or before: each of them was
        tried again, if that is possible, and its ACK had a whole time-out to arrive. Also returns those to try again
        now, which stay here."""
        given_up: list[Sent] = []
        again: list[Sent] = []
        for sent in self.pending.values():
            if sent.first_at > first_before:
                break
            if now - sent.sent_at < self.timeout.seconds:
                continue
            (again if may_try and sent.times == 1 else given_up).append(sent)
        return self.take(given_up), again

    def slept(self, seconds: float) -> None:
        """For so long nobody has read ACKs or sent anything: that time does not count."""
        for sent in self.pending.values():
            sent.first_at += seconds
            sent.sent_at += seconds
        self._heard_at += seconds

    def _set_due(self, sent: Sent, now: float) -> None:
        wait = self.timeout.seconds
        if sent.times > QUICK_TRIES and not self.silent:
            wait = self.loss.wait(sent.times, wait)
        at = now + wait * random.uniform(1, 1 + TIMEOUT_JITTER)
        if self.silent:
            self.next_at = at
            return
        self._schedule.set(sent, at)
        self.next_at = min(self.next_at, at)
