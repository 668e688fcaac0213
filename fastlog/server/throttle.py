"""Hosts over RATE_LIMIT: what is said about them, their figures, and which of them a filter keeps out of the kernel's
queue.

What is over the limit is rejected as it is received. That costs little for each datagram, but a host that floods could
fill the one queue of the socket, and others would lose their datagrams. So a host far over its limit is thinned out by
a filter on the socket (socket_filter.py): about twice what it may send gets through. From that it is known what it
sends, and the filter follows: an instant after a flood has ended, all gets through again.
"""

from collections.abc import Sequence

import msgspec

from fastlog.errors import say
from fastlog.server._rate_limit import OTHERS, Over, RateLimit
from fastlog.server.drops import Drops
from fastlog.server.loop import Loop
from fastlog.server.socket_filter import NO_FILTER, SocketFilter
from fastlog.stats import ThrottledHost

# Time between two looks at the hosts over their limit, in seconds: while one is far over it, when a socket's queue
# could fill meanwhile; and otherwise.
FLOOD_LOOK_SEC = 0.02
LOOK_SEC = 0.05
# Refused datagrams a second, of all hosts together, that the server receives without a filter: a hundredth of a core.
REFUSED_PER_SEC = 10_000
COST_SHIFT = 12  # receiving 4 KiB costs about as much again as receiving a datagram
FAR_OVER = 3  # so many times as many datagrams are refused as taken: the host is far over its limit
LOOKS_FAR_OVER = 2  # so many times in a row, since a short burst may be over before a filter is set
# Of a host with a filter, how many refused datagrams get through in a second: enough to know what it sends, within a
# few hundredths.
SAMPLED_PER_SEC = 400
SHARE_MIN = 2.0**-20  # far less than any host needs
SHARE_STEP_SEC = 0.5  # time between two small changes of a share
GROWTH = 2.0  # of a share, when nothing was refused: after a few looks it lets all through
HOSTS_KEPT = 256  # whose figures are kept after they were over their limit
HOSTS_SHOWN = 10
MESSAGES = 10  # about the beginning of a throttle, in MESSAGES_SEC: strangers can cause them
MESSAGES_SEC = 60.0


class Host(msgspec.Struct):
    """A host that was over its limit. Counts are since the start of the server, unless it was forgotten meanwhile."""

    address: str
    packed: bytes | None
    rejected: int = 0
    kept_out: float = 0.0  # datagrams that the filter dropped, by what it let through
    is_over: bool = False
    over_at: float = 0.0  # when it was last over its limit
    # While it is over its limit: since when, its counts at that time, and whether that was said.
    since: float = 0.0
    rejected_before: int = 0
    kept_out_before: float = 0.0
    is_said: bool = False
    # The share of its datagrams that gets through the filter; and what got through since the share was last changed.
    share: float = 1.0
    looks_far_over: int = 0
    counted_since: float = 0.0
    passed: int = 0
    refused: int = 0


class Throttle:
    """`limit_text`: RATE_LIMIT as it is written."""

    def __init__(
        self, limit: RateLimit, filters: Sequence[SocketFilter], drops: Drops, loop: Loop, limit_text: str
    ) -> None:
        self._limit = limit
        self._filters = filters
        self._drops = drops
        self._limit_text = limit_text
        self._hosts: dict[str, Host] = {}
        self._looked_at = 0.0
        self._look_due = loop.deadline(self.look)
        self._messages_due = loop.deadline(self._end_of_messages)
        self._messages = 0
        self._not_said = 0

    def introduce(self) -> None:
        """At the start: says what cannot be had."""
        problems = {socket_filter.problem for socket_filter in self._filters if socket_filter.problem}
        if self._limit.on and problems:
            say(f"{NO_FILTER} ({', '.join(problems)})")

    def look_soon(self, now: float) -> None:
        """To be called when the limit has news."""
        if not any(host.is_over for host in self._hosts.values()):
            self._looked_at = now
        self._look_due.set_if_clear(now + FLOOD_LOOK_SEC)

    def look(self, now: float) -> None:
        """Takes over what the limit counted, and adjusts the filter to it."""
        seconds = max(now - self._looked_at, 1e-3)
        self._looked_at = now
        before = {host.address: host.share for host in self._hosts.values()}
        reports = self._limit.report(int(now * 1000))
        present = {report.address for report in reports}
        for host in self._hosts.values():
            if host.is_over and host.address not in present:  # others are refused more, and have its place
                self._end(host, now)
        costs = [(self._note(report, now), _cost(report) / seconds, report) for report in reports]
        self._choose(costs, now)
        self._forget()
        if any(before.get(host.address, 1.0) != host.share for host in self._hosts.values()):
            self._set_filters()
        if any(host.is_over for host in self._hosts.values()):
            is_flood = any(host.share < 1.0 or host.looks_far_over for host in self._hosts.values())
            self._look_due.set(now + (FLOOD_LOOK_SEC if is_flood else LOOK_SEC))

    def top(self, now: float) -> list[ThrottledHost]:
        """The hosts of which most was rejected or kept out."""
        hosts = sorted(self._hosts.values(), key=lambda host: -host.rejected - host.kept_out)
        return [
            ThrottledHost(
                address=host.address,
                throttled=host.is_over,
                rejected=host.rejected,
                filtered=int(host.kept_out),
                seconds_since_last=round(max(now - host.over_at, 0.0), 1),
            )
            for host in hosts[:HOSTS_SHOWN]
        ]

    def close(self) -> None:
        """Another server may get the sockets."""
        for socket_filter in self._filters:
            socket_filter.clear()

    def _note(self, report: Over, now: float) -> Host:
        host = self._hosts.setdefault(report.address, Host(report.address, report.packed))
        if report.is_over and not host.is_over:
            self._begin(host, now)
        host.rejected += report.rejected
        host.kept_out += (report.passed + report.refused) * (1 / host.share - 1)
        host.passed += report.passed
        host.refused += report.refused
        if report.rejected:
            host.over_at = now
        if not report.is_over:
            self._end(host, now)
        return host

    # The share that gets through the filter

    def _choose(self, costs: list[tuple[Host, float, Over]], now: float) -> None:
        """`costs`: for each host what it costs a second to refuse its datagrams."""
        left = sum(cost for _, cost, _ in costs)
        for host, cost, report in sorted(costs, key=lambda each: -each[1]):
            is_far_over = left > REFUSED_PER_SEC and report.refused > FAR_OVER * report.passed
            host.looks_far_over = host.looks_far_over + 1 if is_far_over else 0
            if host.packed is None or not host.is_over:
                continue
            if is_far_over and host.looks_far_over >= LOOKS_FAR_OVER:
                left -= cost
                self._adjust(host, now)
            elif host.share < 1.0:
                if not report.refused and not host.refused:
                    self._let_through(host, host.share * GROWTH, now)
                elif now - host.counted_since >= SHARE_STEP_SEC:
                    self._adjust(host, now)
            elif now - host.counted_since >= SHARE_STEP_SEC:
                self._let_through(host, 1.0, now)

    def _adjust(self, host: Host, now: float) -> None:
        """Has twice as much get through as is taken of the host, and some more."""
        wanted = 2 * host.passed + SAMPLED_PER_SEC * (now - host.counted_since)
        self._let_through(host, host.share * wanted / max(host.passed + host.refused, 1), now)

    def _let_through(self, host: Host, share: float, now: float) -> None:
        host.share = 1.0 if share >= 1.0 else max(share, SHARE_MIN)
        host.counted_since = now
        host.passed = host.refused = 0

    def _set_filters(self) -> None:
        thinned = sorted((host for host in self._hosts.values() if host.share < 1.0), key=lambda host: host.share)
        shares = {host.packed: host.share for host in thinned if host.packed is not None}
        usable = [socket_filter for socket_filter in self._filters if not socket_filter.problem]
        if shares and usable:
            self._drops.filtering(True)
        in_force = min((socket_filter.set(shares) for socket_filter in usable), default=0)
        for host in thinned[in_force:]:
            host.share = 1.0
        if not in_force:
            self._drops.filtering(False)

    # What is said

    def _begin(self, host: Host, now: float) -> None:
        host.is_over = True
        host.since = host.counted_since = now
        host.passed = host.refused = 0
        host.rejected_before, host.kept_out_before = host.rejected, host.kept_out
        self._messages_due.set_if_clear(now + MESSAGES_SEC)
        self._messages += 1
        host.is_said = self._messages <= MESSAGES
        if host.is_said:
            say(f"{_named(host)} more than RATE_LIMIT={self._limit_text} allows; the rest is rejected (rate)")
        else:
            self._not_said += 1

    def _end(self, host: Host, now: float) -> None:
        host.is_over = False
        host.share = 1.0
        host.looks_far_over = 0
        if host.is_said:
            rejected, kept_out = host.rejected - host.rejected_before, int(host.kept_out - host.kept_out_before)
            filtered = f", and the filter kept out about {kept_out} datagrams" if kept_out else ""
            say(
                f"{_named(host)} no more than RATE_LIMIT={self._limit_text} allows: "
                f"in {host.over_at - host.since:.0f} s {rejected} were rejected (rate){filtered}"
            )

    def _end_of_messages(self, now: float) -> None:
        if self._not_said:
            say(f"{self._not_said} more addresses sent more than RATE_LIMIT={self._limit_text} within a minute")
        self._messages = self._not_said = 0

    def _forget(self) -> None:
        """Forgets the hosts of which least was rejected, if there are too many."""
        surplus = len(self._hosts) - HOSTS_KEPT
        if surplus > 0:
            ended = sorted((host for host in self._hosts.values() if not host.is_over), key=lambda host: host.rejected)
            for host in ended[:surplus]:
                del self._hosts[host.address]


def _cost(report: Over) -> int:
    return report.refused + (report.refused_bytes >> COST_SHIFT)


def _named(host: Host) -> str:
    return "hosts without a place of their own send" if host.address == OTHERS else f"{host.address} sends"
