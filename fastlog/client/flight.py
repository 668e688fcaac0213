"""Datagrams of ordinary entries that were sent to another machine, as long as a refusal may be for them. There is no
socket and no clock in here.

Nobody acknowledges an ordinary entry, and a refusal does not say which datagram it is for. A machine refuses about once
a second for each other machine (icmp_ratelimit), however many clients that one has: a datagram that nobody refuses may
be lost all the same. So datagrams are kept while there is doubt that the server takes them, and a refusal means that
they are sent again. The others are only counted, and a refusal makes the latest of them count as lost: that is the most
that can be. A server on this machine refuses at once, so only the last datagram is kept.
"""

from collections import deque

import msgspec

from fastlog.client.reach import SHARED_COUNTED_SEC

KEPT_MAX = 1024  # datagrams: more than a client sends until it is refused
KEPT_MAX_BYTES = 1 << 20
STEP_SEC = 0.5  # what is sent within this time is counted together


class Kept(msgspec.Struct):
    data: bytes
    entries: int  # ordinary ones; the others are retransmitted anyway
    at: float  # when it was sent, by time.monotonic


class _Step(msgspec.Struct):
    """What was sent from `at` on, and only counted."""

    at: float
    datagrams: int = 0
    entries: int = 0


class Flight:
    def __init__(self) -> None:
        self.kept: deque[Kept] = deque()
        self.lost = 0  # datagrams that were refused, or may have been, and are not sent again
        self.lost_entries = 0  # the ordinary entries in them
        self.last_entries = 0  # ordinary ones, in the datagram sent last
        self._kept_bytes = 0
        self._steps: deque[_Step] = deque()

    def keep(self, sent: Kept) -> None:
        """Keeps a datagram, to be sent again after a refusal. Without room, the oldest one is only counted."""
        self.kept.append(sent)
        self._kept_bytes += len(sent.data)
        while len(self.kept) > KEPT_MAX or self._kept_bytes > KEPT_MAX_BYTES:
            self._count_oldest()

    def count(self, entries: int, at: float) -> None:
        """Counts a datagram, to be lost after a refusal."""
        steps = self._steps
        if not steps or at - steps[-1].at >= STEP_SEC:
            steps.append(_Step(at))
            while at - steps[0].at > SHARED_COUNTED_SEC:
                steps.popleft()
        steps[-1].datagrams += 1
        steps[-1].entries += entries

    def trust(self, before: float) -> None:
        """From now on, the kept datagrams that were sent before that time are only counted."""
        while self.kept and self.kept[0].at < before:
            self._count_oldest()

    def arrived(self, before: float) -> None:
        """Nobody refused what was sent before that time."""
        while self.kept and self.kept[0].at < before:
            self._kept_bytes -= len(self.kept.popleft().data)
        while self._steps and self._steps[0].at + STEP_SEC <= before:
            self._steps.popleft()

    def refused(self, since: float) -> list[Kept]:
        """After a refusal: the kept datagrams, in order, to be sent again. What was only counted is lost if it was sent
        since then."""
        for step in self._steps:
            if step.at >= since:
                self.lost += step.datagrams
                self.lost_entries += step.entries
        self._steps.clear()
        kept = list(self.kept)
        self.kept.clear()
        self._kept_bytes = 0
        return kept

    def lose(self, datagrams: list[Kept]) -> None:
        """Counts datagrams that are not sent again."""
        self.lost += sum(kept.entries > 0 for kept in datagrams)
        self.lost_entries += sum(kept.entries for kept in datagrams)

    def lose_last(self) -> None:
        """A datagram was too large for the path; it is taken to be the last one."""
        if self.last_entries:
            self.lost += 1
            self.lost_entries += self.last_entries
            self.last_entries = 0

    def _count_oldest(self) -> None:
        oldest = self.kept.popleft()
        self._kept_bytes -= len(oldest.data)
        self.count(oldest.entries, oldest.at)
