"""The priority entries, and the levels, that a server does not acknowledge while it acknowledges others. There is no
socket and no clock in here.

An entry that it passes over again and again may be too long for the server or for the network. It is set aside: nothing
waits for it any more, and it is tried again now and then, with a back-off of its own, until it is given up.

If several entries of a level are passed over, and none of that level that was sent later is acknowledged, the server
does not acknowledge the level: its PRIORITY_LEVELS are others than the client's. From then on entries of the level are
sent once. Each of them also asks the server: one that does acknowledge the level answers, and the first ACK ends that.
"""

import heapq
import math
from collections.abc import Iterable

from fastlog.client.retransmit import LONGEST_BACKOFF_SEC, Sent
from fastlog.entry import LEVELS
from fastlog.limits import SEQUENCE_WINDOW

LEVEL_AFTER = 3  # entries of a level that are passed over: one alone may be too long
FIRST_WAIT_SEC = 1.0  # until an entry that was set aside is tried again; doubles up to LONGEST_BACKOFF_SEC
PACE_SEC = 1.0  # between two such tries: they cost little, however many entries wait
PER_ACK = 2  # such tries for each ACK that one of them gets: the server takes them again
ONCE_MAX = SEQUENCE_WINDOW  # entries sent once whose ACK would be known: as far back as retransmissions go


class Unheard:
    """Times are those of time.monotonic. `give_up_sec`: how long after its first sending an entry is given up."""

    def __init__(self, give_up_sec: float) -> None:
        self.aside: dict[int, Sent] = {}
        self.levels: set[int] = set()  # those that the server does not acknowledge, by index in entry.LEVELS
        self.assumed: set[int] = set()  # those of them that were found because the server acknowledged nothing at all
        self.heard_at: dict[int, float] = {}  # of each level, when the latest acknowledged entry was sent
        self._longest = 0  # bytes of an entry that was set aside
        self.sent_once = 0  # entries of the priority levels that were sent once, and are not known to be stored
        self.retransmitted = 0
        self.next_at = math.inf  # `due` or `overdue` may have something then, not before
        self._give_up_sec = give_up_sec
        self._due: list[tuple[float, float, int]] = []  # a heap: when, the wait before, and the sequence
        self._due_at: dict[int, float] = {}  # when, by sequence: other times in the heap do not count any more
        self._overdue: list[Sent] = []
        self._passed_over: dict[int, int] = {}  # entries of each level since the last ACK of the level
        self._once: dict[int, int] = {}  # the levels of the last entries that were sent once, by sequence
        self._pace_at = -math.inf
        self._credit = 0  # tries that need not keep the pace
        self._ask_at: dict[int, float] = {}  # when an entry of a level in `levels` may be tried again

    @property
    def problem(self) -> str:
        if self.levels:
            names = ", ".join(LEVELS[level] for level in sorted(self.levels))
            return (
                f"the server does not acknowledge {names}, so these entries are sent once: "
                "set its PRIORITY_LEVELS, or priority_levels of this client"
            )
        if self.aside:
            return (
                f"the server acknowledges later entries, but not {len(self.aside)} of up to {self._longest} bytes: "
                "look at its rejects and its BUFFER_SIZE, and at what the network carries"
            )
        return ""

    def set_aside(self, passed_over: Iterable[Sent], now: float) -> None:
        for sent in passed_over:
            self.aside[sent.sequence] = sent
            self._longest = max(self._longest, len(sent.line))
            self._set_due(sent, now + FIRST_WAIT_SEC, FIRST_WAIT_SEC)

    def judge(self, passed_over: Iterable[Sent], now: float) -> set[int]:
        """The levels that are found to be unacknowledged because of these entries."""
        found = set()
        for sent in passed_over:
            if sent.item is not None and sent.item.level not in self.levels:
                level = sent.item.level
                if sent.first_at < self.heard_at.get(level, -math.inf):
                    continue  # it is not for its level that it is passed over
                self._passed_over[level] = self._passed_over.get(level, 0) + 1
                if self._passed_over[level] >= LEVEL_AFTER:
                    found.add(level)
        for level in found:
            self.is_unheard(level, now)
        return found

    def is_unheard(self, level: int, now: float) -> None:
        """The server does not acknowledge that level."""
        self.levels.add(level)
        self._ask_at[level] = now + LONGEST_BACKOFF_SEC

    def has_heard(self, level: int, now: float) -> bool:
        """An entry of that level was acknowledged. Returns whether the level was found to be unacknowledged before."""
        self._passed_over.pop(level, None)
        if level not in self.levels:
            return False
        self.levels.remove(level)
        self.assumed.discard(level)
        for sent in self.aside.values():
            if sent.item is not None and sent.item.level == level:
                self._set_due(sent, now, FIRST_WAIT_SEC)
        return True

    @property
    def is_watching(self) -> bool:
        """Whether `has_heard` matters."""
        return bool(self._passed_over or self.levels)

    def sent_ordinary(self, once: Iterable[tuple[int, int]]) -> None:
        """Entries of these sequences and levels were sent, and will not be sent again."""
        for sequence, level in once:
            self._once[sequence] = level
            self.sent_once += 1
        while len(self._once) > ONCE_MAX:
            del self._once[next(iter(self._once))]

    def acknowledge(self, sequence: int) -> Sent | None:
        """The entry, if it was set aside."""
        sent = self._pop(sequence) if sequence in self.aside else None
        if sent is not None:
            self._credit = min(self._credit + PER_ACK, SEQUENCE_WINDOW)
            self.next_at = min(self.next_at, self._due[0][0] if self._due else math.inf)
        return sent

    def acknowledge_once(self, sequence: int) -> int | None:
        """The level of an entry that was sent once, and is stored after all."""
        level = self._once.pop(sequence, None)
        self.sent_once -= level is not None
        return level

    def due(self, now: float) -> Sent | None:
        """The entry to try again now; call `sent_again` if it was sent."""
        while self._due and self._due[0][0] <= now:
            at, _, sequence = self._due[0]
            sent = self.aside.get(sequence)
            if sent is None or self._due_at[sequence] != at:
                heapq.heappop(self._due)
                continue
            if sent.first_at + self._give_up_sec <= now:
                heapq.heappop(self._due)
                self._overdue.append(self._pop(sequence))
                continue
            level = -1 if sent.item is None else sent.item.level
            if level in self.levels and now < self._ask_at[level]:
                heapq.heappop(self._due)
                self._set_due(sent, self._ask_at[level], LONGEST_BACKOFF_SEC)
                continue
            if self._credit <= 0 and now < self._pace_at:
                self.next_at = self._pace_at
                return None
            return sent
        self.next_at = self._due[0][0] if self._due else math.inf
        return None

    def sent_again(self, sent: Sent, now: float) -> None:
        """The entry that `due` returned was sent."""
        _, wait, _ = heapq.heappop(self._due)
        wait = min(wait * 2, LONGEST_BACKOFF_SEC)
        sent.sent_at = now
        self.retransmitted += 1
        self._credit = max(0, self._credit - 1)
        self._pace_at = now + PACE_SEC
        if sent.item is not None and sent.item.level in self.levels:
            self._ask_at[sent.item.level] = now + LONGEST_BACKOFF_SEC
        self._set_due(sent, now + wait, wait)

    def overdue(self) -> list[Sent]:
        """Takes out the entries to give up."""
        found, self._overdue = self._overdue, []
        return found

    def slept(self, seconds: float) -> None:
        """See Unacknowledged.slept."""
        for sent in self.aside.values():
            sent.first_at += seconds
            sent.sent_at += seconds
        for level in self.heard_at:
            self.heard_at[level] += seconds

    def take(self, chosen: list[Sent]) -> list[Sent]:
        return [self._pop(sent.sequence) for sent in chosen]

    def take_all(self) -> list[Sent]:
        found = self.overdue() + list(self.aside.values())
        self.aside.clear()
        self._due_at.clear()
        return found

    def _pop(self, sequence: int) -> Sent:
        del self._due_at[sequence]
        return self.aside.pop(sequence)

    def _set_due(self, sent: Sent, at: float, wait: float) -> None:
        at = min(at, max(sent.first_at + self._give_up_sec, sent.sent_at + FIRST_WAIT_SEC))
        self._due_at[sent.sequence] = at
        heapq.heappush(self._due, (at, wait, sent.sequence))
        self.next_at = min(self.next_at, at)
