"""New entries on their way to the socket: which goes next, and which are held back. There is no socket and no clock in
here.

Entries keep their order. Two things hold them back. A priority entry waits while the window of unacknowledged ones is
full. Every entry waits while an unacknowledged one is so far behind that the server could no longer tell its
retransmission from a stray. Both waits have a limit; then ordinary entries pass the priority entries that still wait
for the window, and those wait by level.

Nothing waits for entries that the server does not acknowledge. The window has places that only higher levels get. An
entry that was tried in vain gives its place to a new one. A silent server is asked with a new entry, if one waits.
"""

import math
import os
from collections.abc import Callable
from itertools import islice

from fastlog.client.core import Datagram, Item, Outbox
from fastlog.client.options import ClientOptions
from fastlog.client.retransmit import Unacknowledged
from fastlog.entry import LEVELS
from fastlog.limits import SEQUENCE_WINDOW

HOLD_SEC = 10.0  # how long an unacknowledged entry holds back entries that would be too far ahead of it
HOLD_UNHEARD_SEC = 1.0  # the same while the server has acknowledged nothing: it may not acknowledge these levels at all
FEW_HELD = 16  # entries that have held back others for their time: lost by chance; more show an outage
HELD_SHARE = 1 / 2  # of the ordinary lane: when more waits, nothing is held back, since entries would be dropped soon
NEARLY_FULL = 15 / 16  # of the priority lane: room for what comes until entries that wait have gone
ORDINARY, PRIORITY = 0, 1  # the lanes
LET_GO = 256  # overtaken entries in a turn, so that they are not sent all at once
RESERVED_SHARE = 16  # of the window, a part that each priority level leaves to each higher one
FIRST_SEQUENCE_BYTES = 6  # random bytes at the start of the sequence: 48 bits, which every JSON reader keeps


def first_sequence() -> int:
    """Where the sequence of a new sender starts. It is random, so that to the server a sender that reuses a port does
    not repeat the sequences of the one before it."""
    return int.from_bytes(os.urandom(FIRST_SEQUENCE_BYTES)) + 1


def _rank(level: int) -> int:
    """The order of the levels: OTHER is the lowest."""
    return (level + 1) % len(LEVELS)


def _number(item: Item) -> int:
    return item.number


class SendQueue:
    """What one client has not sent yet. Times are those of time.monotonic."""

    def __init__(self, options: ClientOptions, outbox: Outbox, unacknowledged: Unacknowledged) -> None:
        self.sent = 0  # entries, each once
        self.sent_once = 0  # those of them that are not sent again
        self.sent_at = -math.inf  # when the last datagram was sent
        self._window = options.window
        self._highest_first = sorted(map(LEVELS.index, set(options.priority_levels)), key=_rank, reverse=True)
        step = options.window // RESERVED_SHARE
        self._reserved = {level: i * step for i, level in enumerate(self._highest_first)}
        self._options = options
        self._most = SEQUENCE_WINDOW if options.pack else 1  # entries in a datagram
        self._outbox = outbox
        self._unacknowledged = unacknowledged
        self._sequence = first_sequence()  # the next entry to be sent has this sequence
        self._fetched = 0  # the next item to fetch has this number
        self._ready: list[Item] = []  # fetched and not sent, from `_at` on
        self._at = 0
        self._overtaken: dict[int, list[Item]] = {}  # by level: priority items that ordinary ones have passed

    def fetch(self) -> None:
        """Takes what the applications' threads have put."""
        if self._at:
            self._ready, self._at = self._ready[self._at :], 0
        self._fetched = self._outbox.fetch(self._ready)

    @property
    def is_empty(self) -> bool:
        """Whether no item can be sent now or soon. Overtaken ones wait for an ACK, which may take long."""
        return self._at == len(self._ready)

    @property
    def items(self) -> list[Item]:
        """All that are in here."""
        return self._all_overtaken() + self._ready[self._at :]

    def is_past(self, number: int) -> bool:
        """Whether all items before that number were fetched, and are in here no more."""
        first = self._ready[self._at].number if self._at < len(self._ready) else self._fetched
        return number <= min([first, *(items[0].number for items in self._overtaken.values())])

    def next(self, now: float, limit_bytes: int) -> Datagram | float:
        """The next datagram, of at most `limit_bytes` unless one entry alone takes more; call `sent_now` if it was
        sent. Or the time to ask again, math.inf if something else must happen first."""
        items, start = self._first(now)
        if start == len(items):
            return math.inf
        first = items[start]
        room = self._room(first.level, now) if first.priority else 1
        ahead, hold_until = self._held_back(now)
        if ahead <= 0 or room <= 0:
            if now < hold_until and not (ahead > 0 and self._unacknowledged.silent):
                return hold_until
            self._let_ordinary_pass()
            return self.next(now, limit_bytes)
        if items is self._ready:  # others in the datagram may have lower levels
            lowest = self._room(self._highest_first[-1], now) if self._highest_first else 0
            room = max(int(first.priority), lowest)
        return self._outbox.pack(items, start, self._sequence, limit_bytes, min(ahead, self._most), room)

    def sent_now(self, datagram: Datagram, now: float) -> None:
        """The datagram that `next` returned last was sent."""
        for sequence, line, item in datagram.priority:
            self._unacknowledged.add(sequence, line, now, item)
        self._outbox.release(datagram.ordinary)
        self.sent += datagram.count
        self.sent_once += len(datagram.ordinary)
        self.sent_at = now
        self._sequence += datagram.count
        if self._overtaken and datagram.priority:
            first = datagram.priority[0][2]
            overtaken = self._overtaken.get(first.level, [])
            at = 0 if overtaken and overtaken[0] is first else len(overtaken) - 1
            if overtaken and overtaken[at] is first:
                del overtaken[at : at + datagram.count]
                if not overtaken:
                    del self._overtaken[first.level]
                return
        self._at += datagram.count
        if self.is_empty:
            self._ready, self._at = [], 0

    def make_ordinary(self, level: int) -> None:
        """From now on entries of that level are ordinary ones, also those that wait."""
        self._outbox.set_priority(level, False)
        self.fetch()
        self._let_go(level, len(self._overtaken.get(level, [])))
        self._outbox.make_ordinary([item for item in self._ready[self._at :] if item.level == level])

    def relieve(self) -> None:
        """If the server has never acknowledged anything, and the priority lane is nearly full, the entries that wait
        longest are sent as ordinary ones: once. Otherwise newer ones would be dropped."""
        if not self._overtaken or self._unacknowledged.heard:
            return
        if self.is_lane_full_to(NEARLY_FULL, PRIORITY):
            level = min(self._overtaken, key=_rank)
            self._let_go(level, LET_GO)

    def is_lane_full_to(self, share: float, lane: int) -> bool:
        """That of the priority entries has those that were sent and wait for their ACK, too."""
        options, entries, size = self._options, self._outbox.entries[lane], self._outbox.bytes[lane]
        return entries >= options.queue_entries * share or size >= options.queue_bytes * share

    def hand_over_priority(self, take: Callable[[list[Item]], bool]) -> None:
        """Gives all priority items to `take`, and keeps them if it returns False."""
        rest = self._ready[self._at :]
        priority = self._all_overtaken() + [item for item in rest if item.priority]
        ordinary = [item for item in rest if not item.priority]
        if priority and take(priority):  # all that may fail comes before: nothing is taken twice
            self._ready, self._at, self._overtaken = ordinary, 0, {}
            self._outbox.release(priority)

    def drop(self) -> None:
        """Gives up everything."""
        self._outbox.drop(self.items)
        self._ready, self._at, self._overtaken = [], 0, {}

    def _room(self, level: int, now: float) -> int:
        """How many priority entries of that level may be sent now."""
        unacknowledged = self._unacknowledged
        room = self._window - len(unacknowledged.pending)
        if not unacknowledged.silent:
            room += unacknowledged.stalled
        elif now >= unacknowledged.next_at:
            room = max(room, 1 + self._reserved[level])
        return room - self._reserved[level]

    def _first(self, now: float) -> tuple[list[Item], int]:
        """The items to be sent next, and where they begin: overtaken ones of the highest level for which there is
        room. A silent server gets the newest of them, since it may never take the older ones."""
        if self._overtaken:
            for level in self._highest_first:
                items = self._overtaken.get(level)
                if items and self._room(level, now) > 0:
                    return items, (len(items) - 1 if self._unacknowledged.silent else 0)
        return self._ready, self._at

    def _all_overtaken(self) -> list[Item]:
        """In the order in which they were put."""
        return sorted((item for items in self._overtaken.values() for item in items), key=_number)

    def _held_back(self, now: float) -> tuple[int, float]:
        """How many entries may be sent before one is too far ahead of the oldest unacknowledged entry; and until when
        that entry holds back others. One that has done so for its time holds nothing. If the server answers, and such
        entries are few, those after them still do."""
        unacknowledged = self._unacknowledged
        if not unacknowledged.pending:
            return SEQUENCE_WINDOW, -math.inf
        oldest = unacknowledged.oldest()
        if unacknowledged.heard and not unacknowledged.silent:
            for sent in islice(unacknowledged.pending.values(), FEW_HELD):
                if sent.first_at + HOLD_SEC > now:
                    oldest = sent
                    break
        until = oldest.first_at + (HOLD_SEC if unacknowledged.heard else HOLD_UNHEARD_SEC)
        if self.is_lane_full_to(HELD_SHARE, ORDINARY):
            until = -math.inf
        return (oldest.sequence + SEQUENCE_WINDOW - self._sequence if now < until else SEQUENCE_WINDOW), until

    def _let_ordinary_pass(self) -> None:
        """Puts the priority items aside."""
        rest = self._ready[self._at :]
        for item in rest:
            if item.priority:
                self._overtaken.setdefault(item.level, []).append(item)
        self._ready, self._at = [item for item in rest if not item.priority], 0

    def _let_go(self, level: int, most: int) -> None:
        """The oldest overtaken items of a level go as ordinary items."""
        items = self._overtaken.get(level, [])
        chosen, rest = items[:most], items[most:]
        ready = sorted(chosen + self._ready[self._at :], key=_number)
        self._ready, self._at = ready, 0  # all that may fail comes before
        if rest:
            self._overtaken[level] = rest
        else:
            self._overtaken.pop(level, None)
        self._outbox.make_ordinary(chosen)
