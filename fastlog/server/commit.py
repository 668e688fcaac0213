"""Group commit: which ACKs wait for which sync, when a sync may begin, and the ACKs' way out.

One group of entries is under way, its sync begun, while the next one gathers. Each holds the ACKs owed for its entries,
and their lines in case the sync fails.

Rules: no ACK leaves before its entry is in the file and, where ACKs wait for the disk, durable there. A group may be
begun only when everything received so far is written, since an ACK is owed from the moment an entry is received.
"""

import math
import socket
from typing import cast

from fastlog.server._drain import Intake
from fastlog.server._socket import Acks
from fastlog.server.meters import LatencyMeter

SYNCS_APART_SEC = 0.005  # the average time between syncs: each costs turns of the loop, and ACKs can leave together
SYNCS_IN_A_ROW = 20  # may begin at once after a pause: a client that awaits each ACK is not slowed
HELD_MAX_BYTES = 16 << 20  # lines in memory until they are durable: seconds of nothing but priority entries


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
    """Entries that one sync makes durable."""

    def __init__(self, acks: Acks) -> None:
        self.acks = acks
        self.clear()

    def clear(self) -> None:
        """Empties the group except for its ACKs, which `Acks` removes itself when it sends them."""
        self.lines: list[bytes] = []  # of its priority entries, in order
        self.lines_bytes = 0
        self.incomplete = False  # some of its lines had no room in memory
        self.since = math.inf  # a lower bound for the arrival of its first entry
        self.began = 0.0  # when its sync began

    @property
    def is_empty(self) -> bool:
        return not (self.acks.count or self.lines or self.incomplete)


class Commit:
    """The two groups, and the socket through which ACKs leave. Moments are seconds of time.monotonic.

    `waits_for_disk`: ACKs wait for the sync, not only for the write.
    """

    def __init__(self, intake: Intake, sock: socket.socket, waits_for_disk: bool, pace: SyncPace) -> None:
        self.waits_for_disk = waits_for_disk
        self.gathering = Group(intake.acks)
        self.under_way: Group | None = None
        self.syncs = 0
        self.sync_failures = 0
        self.sync_sec: float | None = None  # how long the last sync took
        self.latency = LatencyMeter()
        self._groups = self.gathering, Group(Acks())
        self._intake = intake
        self._socket = sock
        self._pace = pace

    @property
    def next_sync_at(self) -> float:
        """When a sync may begin; infinite while one is under way, since its end decides about the next."""
        return math.inf if self.under_way else self._pace.next_at

    @property
    def is_due(self) -> bool:
        """Whether priority entries wait that the sync under way does not cover."""
        return self._intake.priority_waits or not self.gathering.is_empty

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
        """To be called before a write: remembers since when the gathering group's first priority entry waits."""
        if self._intake.priority_waits:
            self.gathering.since = min(self.gathering.since, self._intake.priority_since)
            self._intake.clear_priority()

    def hold(self, lines: list[bytes]) -> None:
        """Keeps these priority entries, which are in the file now, until a sync has made them durable."""
        group = self.gathering
        if self.waits_for_disk:
            group.lines += lines
            group.lines_bytes += sum(map(len, lines))
            if group.lines_bytes > HELD_MAX_BYTES:
                # If the sync fails they cannot be written again, and `take_back` forgets that they were received.
                group.lines = []
                group.lines_bytes = 0
                group.incomplete = True

    def begin(self, now: float) -> Group:
        """The gathering group becomes the one under way, whose sync the caller begins; the other group gathers."""
        group = self.gathering
        self.gathering = self._groups[1] if group is self._groups[0] else self._groups[0]
        self._intake.take_acks(self.gathering.acks)
        group.began = now
        self._pace.began(now)
        self.under_way = group
        return group

    def succeeded(self, now: float) -> None:
        """The sync under way succeeded: sends the ACKs of its group."""
        self.syncs += 1
        group = self._end(now)
        self._send(group, now)

    def take_back(self, now: float, error: OSError | None = None) -> list[bytes]:
        """The file that holds both groups' entries cannot be trusted; `error` is why the sync under way failed, if it
        did. Returns the lines of both, in order. From now on the gathering group owes all their ACKs, without lines."""
        gathering, under_way = self.gathering, self.under_way
        lines, since, incomplete = gathering.lines, gathering.since, gathering.incomplete
        gathering.clear()
        if under_way:
            lines = under_way.lines + lines
            since = min(since, under_way.since)
            incomplete = incomplete or under_way.incomplete
            gathering.acks.absorb(under_way.acks)
            self._end(now).clear()
        gathering.since = since
        if incomplete:
            self.forget()
        if error:
            self.sync_failures += 1
        return lines

    def send_written(self, now: float) -> None:
        """If ACKs do not wait for the disk: everything received is written, so all ACKs are sent."""
        self._send(self.gathering, now)

    def forget(self) -> None:
        """Some entries whose ACKs the gathering group owes are lost: it sends none, and retransmissions are new
        entries."""
        self.gathering.acks.forget()
        self._intake.forget_stored()

    def hurry(self) -> None:
        """At the end of the server, syncs need not be apart any more."""
        self._pace = SyncPace(0.0)

    def _end(self, now: float) -> Group:
        group, self.under_way = cast("Group", self.under_way), None
        self.sync_sec = now - group.began
        return group

    def _send(self, group: Group, now: float) -> None:
        if group.acks.count:
            self.latency.add(max(now - group.since, 0.0), group.acks.count)
            group.acks.send(self._socket.fileno())
        group.clear()
