"""New entries on their way to the socket: which goes next, and which are held back. There is no socket and no clock in
here.

Entries keep their order. Two things hold them back. A priority entry waits while the window of unacknowledged ones is
full. Every entry waits while an unacknowledged one is so far behind that the server could no longer tell its
retransmission from a stray. Both waits have a limit; then ordinary entries pass the priority entries that still wait
for the window.
"""

import math
import os
from collections.abc import Callable

from fastlog.client._outbox import Datagram, Item, Outbox
from fastlog.client.options import ClientOptions
from fastlog.client.retransmit import Unacknowledged
from fastlog.limits import SEQUENCE_WINDOW

HOLD_SEC = 10.0  # how long an unacknowledged entry holds back entries that would be too far ahead of it
HOLD_UNHEARD_SEC = 1.0  # the same while the server has acknowledged nothing: it may not acknowledge these levels at all
FIRST_SEQUENCE_BYTES = 6  # random bytes at the start of the sequence: 48 bits, which every JSON reader keeps


def first_sequence() -> int:
    """Where the sequence of a new sender starts. It is random, so that to the server a sender that reuses a port does
    not repeat the sequences of the one before it."""
    return int.from_bytes(os.urandom(FIRST_SEQUENCE_BYTES)) + 1


class SendQueue:
    """What one client has not sent yet. Times are those of time.monotonic."""

    def __init__(self, options: ClientOptions, outbox: Outbox, unacknowledged: Unacknowledged) -> None:
        self.sent = 0  # entries, each once
        self.sent_at = -math.inf  # when the last datagram was sent
        self._window = options.window
        self._most = SEQUENCE_WINDOW if options.pack else 1  # entries in a datagram
        self._outbox = outbox
        self._unacknowledged = unacknowledged
        self._sequence = first_sequence()  # the next entry to be sent has this sequence
        self._fetched = 0  # the next item to fetch has this number
        self._ready: list[Item] = []  # fetched and not sent, from `_at` on
        self._at = 0
        self._overtaken: list[Item] = []  # priority items that ordinary ones have passed

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
        return self._overtaken + self._ready[self._at :]

    def is_past(self, number: int) -> bool:
        """Whether all items before that number were fetched, and are in here no more."""
        first = self._ready[self._at].number if self._at < len(self._ready) else self._fetched
        return number <= min(first, self._overtaken[0].number if self._overtaken else first)

    def next(self, now: float, limit_bytes: int) -> Datagram | float:
        """The next datagram, of at most `limit_bytes` unless one entry alone takes more; call `sent_now` if it was
        sent. Or the time to ask again, math.inf if something else must happen first."""
        room = self._window - len(self._unacknowledged.pending)
        items, start = (self._overtaken, 0) if self._overtaken and room > 0 else (self._ready, self._at)
        if start == len(items):
            return math.inf
        ahead, hold_until = self._held_back(now)
        if ahead <= 0 or (room <= 0 and items[start].priority):
            if now < hold_until:
                return hold_until
            self._let_ordinary_pass()
            return self.next(now, limit_bytes)
        return self._outbox.pack(items, start, self._sequence, limit_bytes, min(ahead, self._most), room)

    def sent_now(self, datagram: Datagram, now: float) -> None:
        """The datagram that `next` returned last was sent."""
        for sequence, line, item in datagram.priority:
            self._unacknowledged.add(sequence, line, now, item)
        self._outbox.release(datagram.ordinary)
        self.sent += datagram.count
        self.sent_at = now
        self._sequence += datagram.count
        if self._overtaken and datagram.priority and datagram.priority[0][2] is self._overtaken[0]:
            del self._overtaken[: datagram.count]
            return
        self._at += datagram.count
        if self.is_empty:
            self._ready, self._at = [], 0

    def hand_over_priority(self, take: Callable[[list[Item]], bool]) -> None:
        """Gives all priority items to `take`, and keeps them if it returns False."""
        rest = self._ready[self._at :]
        priority = self._overtaken + [item for item in rest if item.priority]
        ordinary = [item for item in rest if not item.priority]
        if priority and take(priority):  # all that may fail comes before: nothing is taken twice
            self._ready, self._at, self._overtaken = ordinary, 0, []
            self._outbox.release(priority)

    def drop(self) -> None:
        """Gives up everything."""
        self._outbox.drop(self.items)
        self._ready, self._at, self._overtaken = [], 0, []

    def _held_back(self, now: float) -> tuple[int, float]:
        """How many entries may be sent before one is too far ahead of the oldest unacknowledged entry; and until when
        that entry holds back others."""
        if not self._unacknowledged.pending:
            return SEQUENCE_WINDOW, -math.inf
        oldest = self._unacknowledged.oldest()
        until = oldest.first_at + (HOLD_SEC if self._unacknowledged.heard else HOLD_UNHEARD_SEC)
        return (oldest.sequence + SEQUENCE_WINDOW - self._sequence if now < until else SEQUENCE_WINDOW), until

    def _let_ordinary_pass(self) -> None:
        """Puts the priority items aside."""
        rest = self._ready[self._at :]
        self._overtaken += [item for item in rest if item.priority]
        self._ready, self._at = [item for item in rest if not item.priority], 0
