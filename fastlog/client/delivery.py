"""What becomes of the priority entries of one client after they were sent: acknowledged, passed over, or given up. It
brings together those that wait for their ACK, those that the server passes over, and the queue behind them. There is no
socket and no clock in here.
"""

import math
from collections.abc import Callable

import msgspec

from fastlog.client.core import Outbox
from fastlog.client.options import ClientOptions
from fastlog.client.retransmit import Sent, Unacknowledged, items_of
from fastlog.client.send_queue import PRIORITY, SendQueue
from fastlog.client.unheard import Unheard

SHOWN_MAX = 20  # entries given up that are kept for ClientStats
LOOK_SEC = 0.1  # between two looks at entries whose time is over, while they cannot be tried again
ASIDE_SHARE = 1 / 2  # of the priority lane: fuller, it has no room for entries that the server does not acknowledge
TAKEN_ASKS = 2  # a server on this machine that took so many asks and answered none acknowledges nothing


SetAside = Callable[[list[bytes]], bool]  # takes entries as they were sent; False if the disk refuses


class Counts(msgspec.Struct):
    acknowledged: int = 0
    acknowledged_once: int = 0  # entries that were sent as ordinary ones
    given_up: int = 0
    set_aside: int = 0
    given_up_first: list[bytes] = []


class Delivery:
    """Times are those of time.monotonic."""

    def __init__(
        self, options: ClientOptions, outbox: Outbox, unacknowledged: Unacknowledged, queue: SendQueue, unheard: Unheard
    ) -> None:
        self.counts = Counts()
        self.next_at = math.inf  # `give_up_overdue` may have something to do then
        self._outbox = outbox
        self._unacknowledged = unacknowledged
        self._queue = queue
        self._unheard = unheard
        self._give_up_sec = options.gives_up_after_sec
        self._taken = 0  # asks in a row that the server took and did not answer

    def take_acks(self, sequences: list[int], now: float) -> float | None:
        """Returns when the latest of the acknowledged entries was sent first, or None if no ACK was for an entry."""
        unacknowledged, unheard, counts = self._unacknowledged, self._unheard, self.counts
        acknowledged: list[Sent] = []
        levels = set()
        for sequence in sequences:
            sent = unacknowledged.acknowledge(sequence, now)
            is_pending = sent is not None
            sent = sent or unheard.acknowledge(sequence)
            if sent:
                counts.acknowledged += 1
                acknowledged.append(sent)
                if sent.item:
                    level = sent.item.level
                    unheard.heard_at[level] = max(sent.first_at, unheard.heard_at.get(level, -math.inf))
                if not is_pending:
                    unacknowledged.has_heard(sent.first_at, now)
            elif (once := unheard.acknowledge_once(sequence)) is not None:
                counts.acknowledged_once += 1
                unacknowledged.has_heard(-math.inf, now)
                levels.add(once)
            else:
                unacknowledged.timeout.was_needless(now)
        self._outbox.release(items_of(acknowledged))
        has_once = bool(levels)
        if unheard.is_watching:
            levels |= {sent.item.level for sent in acknowledged if sent.item}
            if levels:
                levels |= unheard.assumed
            for level in levels:
                if unheard.has_heard(level, now):
                    self._outbox.set_priority(level, True)
        if not acknowledged:
            return -math.inf if has_once else None
        return max(sent.first_at for sent in acknowledged)

    def pass_over(self, now: float, set_aside: SetAside | None) -> None:
        """Entries that the server passes over hold up nothing any more. `set_aside` takes them, or returns False; they
        stay in memory if there is none."""
        found = self._unacknowledged.hopeless()
        if found:
            for level in self._unheard.judge(found, now):
                self._queue.make_ordinary(level)
            self._set_aside(found, now)
        if not (set_aside and self._unheard.aside):
            return
        assumed = self._unheard.assumed  # an ACK for another entry may still end that
        aside = [sent for sent in self._unheard.aside.values() if not (sent.item and sent.item.level in assumed)]
        self._put_away(aside, set_aside)  # also those that it has not taken before

    def is_asked_again(self, is_taken: bool, now: float) -> None:
        """A server that has never acknowledged anything is about to be asked again. `is_taken`: it is on this machine,
        and has emptied its receive buffer. If it takes what it is sent, it acknowledges none of these levels."""
        self._taken = self._taken + 1 if is_taken else 0
        if self._taken >= TAKEN_ASKS:
            self._taken = 0
            for level in {sent.item.level for sent in self._unacknowledged.pending.values() if sent.item}:
                self._unheard.is_unheard(level, now)
                self._unheard.assumed.add(level)
                self._queue.make_ordinary(level)
            self._set_aside([], now)

    def is_asked_anew(self) -> None:
        """The socket is a new one: what was asked through the old one says nothing, since the answer cannot come."""
        self._taken = -1

    def give_up_overdue(self, now: float, may_try: bool) -> list[Sent]:
        """Gives up what was not acknowledged in time. Returns the entries to try again before they are given up."""
        unacknowledged = self._unacknowledged
        given_up, again = unacknowledged.overdue(now - self._give_up_sec, now, may_try)
        self.give_up(given_up)
        self.next_at = math.inf
        if unacknowledged.pending:
            oldest = unacknowledged.oldest()
            at = max(oldest.first_at + self._give_up_sec, oldest.sent_at + unacknowledged.timeout.seconds)
            self.next_at = max(at, now + LOOK_SEC)
        return again

    def make_room(self) -> None:
        """Gives up entries that the server passes over, the oldest first, rather than have newer ones dropped."""
        while self._unheard.aside and self._queue.is_lane_full_to(ASIDE_SHARE, PRIORITY):
            self.give_up(self._unheard.take([next(iter(self._unheard.aside.values()))]))

    def give_up(self, sent: list[Sent]) -> None:
        counts = self.counts
        self._outbox.release(items_of(sent))
        counts.given_up += len(sent)
        counts.given_up_first += [each.line for each in sent[: SHOWN_MAX - len(counts.given_up_first)]]

    def keep(self, keep: Callable[[list[bytes]], bool]) -> None:
        """Hands the entries that wait for their ACK to `keep`, the newest first, and holds them no more if it returns
        True."""
        unacknowledged = self._unacknowledged
        sent = list(unacknowledged.pending.values())[::-1]
        if sent and keep([each.line for each in sent]):
            self._outbox.release(items_of(unacknowledged.take(sent)))

    def slept(self, seconds: float) -> None:
        """For so long the client's thread did not run."""
        self._unacknowledged.slept(seconds)
        self._unheard.slept(seconds)

    def end(self, set_aside: SetAside | None) -> None:
        """Gives up everything that `set_aside` does not take."""
        self._put_away(list(self._unheard.aside.values()), set_aside)
        self.give_up(self._unacknowledged.take(list(self._unacknowledged.pending.values())))
        self.give_up(self._unheard.take_all())

    def _set_aside(self, passed_over: list[Sent], now: float) -> None:
        """Also sets aside what waits of levels that the server does not acknowledge."""
        self._unheard.set_aside(passed_over + self._unacknowledged.take_levels(self._unheard.levels), now)

    def _put_away(self, aside: list[Sent], set_aside: SetAside | None) -> None:
        if aside and set_aside and set_aside([sent.line for sent in aside]):
            self._unheard.take(aside)
            self._outbox.release(items_of(aside))
            self.counts.set_aside += len(aside)
