"""Group commit: which ACKs wait for which sync, when a sync may begin, and the ACKs' way out.

One group of entries is under way, its sync begun, while the next one gathers. Each holds the ACKs owed for its entries.

Rules: no ACK leaves before its entry is in the file and, where ACKs wait for the disk, durable there. A group may be
begun only when everything received so far is written, since an ACK is owed from the moment an entry is received.
Priority entries that nobody awaits do not set the disk's pace: the next sync covers them, which they bring about only
if no other does in time.
"""

import math
from collections.abc import Sequence
from typing import cast

from fastlog.server._drain import Intake
from fastlog.server._socket import Acks
from fastlog.server.held import Covered, Held, Numbers
from fastlog.server.meters import LatencyMeter

SYNCS_APART_SEC = 0.005  # the average time between syncs: each costs turns of the loop, and ACKs can leave together
SYNCS_IN_A_ROW = 20  # may begin at once after a pause: a client that awaits each ACK is not slowed
# When their sync begins after the first of the entries came that nobody awaits: it has time to end within a second.
UNAWAITED_SYNC_SEC = 0.8


class SyncPace:
    """When syncs may begin: `in_a_row` at once after a pause, otherwise `apart_sec` seconds apart on average.

    It has no clock: moments are seconds on any clock, as long as it is always the same one.
    """

    def __init__(self, apart_sec: float = SYNCS_APART_SEC, in_a_row: int = SYNCS_IN_A_ROW) -> None:
        self.next_at = 0.0  # the next sync may begin from here on
        self._apart_sec = apart_sec
        self._ahead_sec = (in_a_row - 1) * apart_sec
        self._even_at = 0.0  # when the syncs so far will no longer be ahead of the average

    def began(self, at: float) -> None:
        self._even_at = max(self._even_at, at) + self._apart_sec
        self.next_at = self._even_at - self._ahead_sec


class Group:
    """Priority entries that one sync makes durable, and the ACKs owed for some of them."""

    def __init__(self, acks: Acks) -> None:
        self.acks = acks
        self.since = math.inf  # a lower bound for the arrival of the first entry whose ACK is owed
        self.unawaited_since = math.inf  # and of the first of the others
        self.began = 0.0  # when its sync began
        self.covers_to: Covered = (0, 0)  # the entries that its sync covers

    def take_over(self, other: "Group") -> None:
        """Makes the other group's entries its own."""
        self.acks.absorb(other.acks)
        self.since = min(self.since, other.since)
        self.unawaited_since = min(self.unawaited_since, other.unawaited_since)
        other.clear()

    def clear(self) -> None:
        """Its entries are durable, and acknowledged, or another group's."""
        self.since = self.unawaited_since = math.inf


class Commit:
    """The two groups, and the sockets through which ACKs leave. Moments are seconds of time.monotonic.

    `fds`: the sockets' descriptors, in the order of their numbers. `waits_for_disk`: ACKs wait for the sync, not only
    for the write. `held`: the priority entries in memory.
    """

    def __init__(self, intake: Intake, fds: Sequence[int], waits_for_disk: bool, pace: SyncPace) -> None:
        self.waits_for_disk = waits_for_disk
        self.held = Held(intake.priority_entries)
        self.gathering = Group(intake.acks)
        self.under_way: Group | None = None
        self.syncs = 0
        self.sync_failures = 0
        self.sync_sec: float | None = None  # how long the last sync took
        self.latency = LatencyMeter()
        self._groups = self.gathering, Group(Acks())
        self._intake = intake
        self._fds = fds
        self._pace = pace
        self._unawaited_sec = UNAWAITED_SYNC_SEC

    @property
    def next_sync_at(self) -> float:
        """When a sync may begin; infinite while one is under way, since its end decides about the next."""
        return math.inf if self.under_way else self._pace.next_at

    @property
    def wanted_at(self) -> float:
        """When a sync should begin, unless one is under way; infinite: no priority entry waits for one."""
        if self._intake.priority_waits or self.gathering.acks.count or self.held.awaited.await_sync:
            return 0.0
        if self.held.unawaited.await_sync:
            return self.gathering.unawaited_since + self._unawaited_sec
        return math.inf

    @property
    def acks_pending(self) -> int:
        return sum(group.acks.count for group in self._groups)

    @property
    def acks_sent(self) -> int:
        return sum(group.acks.sent for group in self._groups)

    @property
    def acks_dropped(self) -> int:
        return sum(group.acks.dropped for group in self._groups)

    def note_arrival(self) -> None:
        """To be called before a write: remembers since when the gathering group's first priority entries wait."""
        if self._intake.priority_waits:
            self.gathering.since = min(self.gathering.since, self._intake.priority_since)
        if self._intake.unawaited_waits:
            self.gathering.unawaited_since = min(self.gathering.unawaited_since, self._intake.unawaited_since)
        self._intake.clear_priority()

    def begin(self, now: float) -> None:
        """The gathering group becomes the one under way, whose sync the caller begins; the other group gathers."""
        group = self.gathering
        self.gathering = self._groups[1] if group is self._groups[0] else self._groups[0]
        self._intake.take_acks(self.gathering.acks)
        group.began = now
        group.covers_to = self.held.seal()
        self._pace.began(now)
        self.under_way = group

    def succeeded(self, now: float) -> None:
        """The sync under way succeeded: sends the ACKs of its group."""
        self.syncs += 1
        group = self._end(now)
        self.held.durable(group.covers_to)
        self._send(group, now)

    def take_back(self, now: float, error: OSError | None = None) -> None:
        """The file that holds what both groups wait for cannot be trusted, or is gone; `error` is why the sync under
        way failed, if it did. From now on the gathering group owes all their ACKs, and all entries held are unwritten.
        """
        if self.under_way:
            self.gathering.take_over(self._end(now))
        if error:
            self.sync_failures += 1
        self._forget(self.held.unwrite())

    def bound_memory(self) -> None:
        """Drops what memory cannot hold. Entries that no file holds are lost then: their ACKs are not owed any more,
        and retransmissions are new entries."""
        self._forget(self.held.bound())

    def send_written(self, now: float) -> None:
        """If ACKs do not wait for the disk: everything received is written, so all ACKs are sent."""
        self.held.durable(self.held.seal())
        self._send(self.gathering, now)

    def hurry(self) -> None:
        """At the end of the server, syncs need not be apart any more, and nothing waits for another one."""
        self._pace = SyncPace(0.0)
        self._unawaited_sec = 0.0

    def _forget(self, numbers: Numbers) -> None:
        if numbers.entries:
            self._intake.forget(*numbers)

    def _end(self, now: float) -> Group:
        group, self.under_way = cast("Group", self.under_way), None
        self.sync_sec = now - group.began
        return group

    def _send(self, group: Group, now: float) -> None:
        if group.acks.count:
            self.latency.add(max(now - group.since, 0.0), group.acks.count)
            group.acks.send(*self._fds)
        group.clear()
