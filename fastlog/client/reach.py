"""Whether the server takes datagrams: up or down, by refusals, ACKs and silence. There is no socket and no clock in
here.

While it is down, one datagram tries again now and then. A server on this machine refuses at once, so silence says that
it is back. A refusal from elsewhere takes its time, and may not come at all, since machines limit how many they send.
So after a refusal only an ACK says that the server is back; or, where none can be expected, tries that nobody refuses,
spaced wider than that limit. Then the client starts gently, and its first datagrams are kept until nobody has refused
any of them for a while.
"""

import math
import random

TRY_FIRST_SEC = 0.05  # before the next try at a server on this machine, or after an error of the socket; doubles
TRY_LONGEST_SEC = 1.0  # so that a server, or a network, that comes back is noticed soon
REFUSAL_SEC = 0.2  # the longest time until the refusal of a try arrives
REMOTE_FIRST_SEC = 0.5  # before the next try after a refusal from another machine, which may send no more of them
REMOTE_LONGEST_SEC = 2.0  # between two tries there
SHARED_LONGEST_SEC = 4.0  # the same where other clients of this machine use up the refusals
SPACED_SEC = 1.5  # between tries of which the silence counts: hosts refuse once a second (icmp_ratelimit)
JITTER = 0.25  # of these times, so that the clients of a machine do not try at the same moment
TRIES = 2  # unrefused in a row that say that the server is up
SHARED_TRIES = 4  # the same where others use up the refusals
UNHEARD_TRIES = 15  # the same while entries wait for an ACK: the server may not acknowledge their levels
GENTLE_DATAGRAMS = (128, 512)  # sent at most in each step of a gentle start
GENTLE_SEC = 2.0  # such a step; it is longer where others use up the refusals
NEW_SEC = 0.05  # what is sent to a new address is in doubt for that time: a refusal from nearby has arrived by then
SHARED_DOUBT_SEC = 30.0  # the same after a gentle start where others use up the refusals
COUNTED_SEC = 10.0  # a refusal may be for what was sent that long before
SHARED_COUNTED_SEC = 30.0  # the same where others use up the refusals


class GentleStart:
    """A server is believed to be up, since nobody refuses anything any more. A few datagrams go in each step."""

    def __init__(self) -> None:
        self.is_on = False
        self.until = math.inf  # the end of the step
        self._step = self._sent = 0

    def begin(self, now: float, step_sec: float) -> None:
        self.is_on, self.until = True, now + step_sec
        self._step = self._sent = 0

    def end_step(self, now: float, step_sec: float) -> None:
        self._step, self._sent = self._step + 1, 0
        if self._step < len(GENTLE_DATAGRAMS):
            self.until = now + step_sec
        else:
            self.stop()

    def stop(self) -> None:
        self.is_on, self.until = False, math.inf

    def sent(self) -> None:
        self._sent += 1

    def send_at(self, now: float) -> float:
        """When the next datagram may be sent: `now`, or the time to ask again."""
        return self.until if self.is_on and self._sent >= GENTLE_DATAGRAMS[self._step] else now


class Reach:
    """Of one address at a time. Times are those of time.monotonic."""

    def __init__(self) -> None:
        self.is_down = False
        self.is_local = False  # the server is on this machine
        self.was_taken = False  # something was acknowledged, or not refused where a refusal would have come
        self.waiting_since = math.inf  # the oldest entry waits for its ACK
        self.try_at = math.inf
        self._is_overdue = False  # that entry was sent again
        self._is_heard = False  # the server has acknowledged something through this socket
        self._down_at = math.inf
        self._verdict_at = math.inf  # if the last try is not refused until then, it may have arrived
        self._doubt_until = -math.inf  # the address is new, or silence of others proved little
        self._has_refused = False  # and nothing has proved since that the server is up
        self._delay = TRY_FIRST_SEC
        self._sent_at = -math.inf  # the last try, or what was refused before the first one
        self._is_spaced = False  # the last try
        self._unrefused = 0  # tries in a row of which the silence counts
        self._is_shared = False  # others use up the refusals
        self.gentle = GentleStart()

    def waits(self, since: float, is_overdue: bool) -> None:
        """Since when the oldest entry waits for its ACK, math.inf if none does, and whether it was sent again."""
        self.waiting_since, self._is_overdue = since, is_overdue

    @property
    def trouble_since(self) -> float:
        """Since when the server is down, or an entry waits; math.inf if all is well."""
        return min(self.waiting_since, self._down_at)

    @property
    def is_trying(self) -> bool:
        return self._verdict_at < math.inf

    @property
    def may_be_up(self) -> bool:
        """Whether nothing is known against it, or a try was not refused."""
        return not self.is_down or self._unrefused > 0

    def is_doubtful(self, now: float) -> bool:
        """Whether what is sent may be lost without a refusal in time."""
        is_unanswered = self.waiting_since < math.inf and (self._is_overdue or not self._is_heard)
        return self.is_down or self.gentle.is_on or is_unanswered or now < self._doubt_until

    def connected(self, now: float, is_local: bool, is_same: bool) -> None:
        """There is a new socket, to the same address or to another one, of which nothing is known."""
        self.is_local, self._is_heard = is_local, False
        self._doubt_until = max(self._doubt_until, now + NEW_SEC)
        if not is_same:
            self._has_refused, self._unrefused = False, 0
            self.gentle.stop()

    def begin_try(self, now: float) -> None:
        self._is_spaced = now - self._sent_at >= SPACED_SEC
        self._sent_at = now
        self.try_at = math.inf
        self._verdict_at = now if self.is_local else now + REFUSAL_SEC

    def settle(self, now: float) -> bool:
        """Judges a try that was not refused in time, and the steps of a gentle start. Returns True if the server has
        come up."""
        if now >= self.gentle.until:
            self._end_step(now)
        if now < self._verdict_at:
            return False
        # The try lasts until its outcome is known: other threads look at both meanwhile.
        if self.is_local or not self._has_refused:
            return self._come_up()
        self._unrefused += self._is_spaced
        needed = UNHEARD_TRIES if self.waiting_since < math.inf else SHARED_TRIES if self._is_shared else TRIES
        if self._unrefused >= needed:
            self.gentle.begin(now, self._step_sec)
            return self._come_up()
        self._delay = max(self._delay, SPACED_SEC)
        self._try_later(now)
        return False

    def refused(self, now: float) -> None:
        """The network reported that nothing listens there."""
        self._has_refused = True
        if self._unrefused or self.gentle.is_on:  # this is where a silence before it came from
            self._is_shared = True
        self._unrefused = 0
        self.gentle.stop()
        if not self.is_down or self.is_trying:  # otherwise it is for a datagram that was sent before
            self.failed(now)

    def failed(self, now: float) -> None:
        """A datagram was not sent, or in vain."""
        if self.is_down:
            self._delay *= 2
        else:
            self.is_down, self._down_at, self._sent_at = True, now, now
            self._delay = REMOTE_FIRST_SEC if self._has_refused and not self.is_local else TRY_FIRST_SEC
        self._try_later(now)

    def heard(self) -> bool:
        """The server has acknowledged an entry. Returns True if it has come up by that."""
        self._is_shared = False
        self._has_refused, self._unrefused = False, 0
        self._doubt_until = -math.inf
        self.gentle.stop()
        self.was_taken = self._is_heard = True
        return self.is_down and self._come_up()

    @property
    def counted_sec(self) -> float:
        """How long before a refusal what was sent may have been refused."""
        return SHARED_COUNTED_SEC if self._is_shared else COUNTED_SEC

    def next_at(self) -> float:
        """When there is something to do."""
        return min(self.try_at, self._verdict_at, self.gentle.until)

    def _try_later(self, now: float) -> None:
        if self.is_local or not self._has_refused:
            longest = TRY_LONGEST_SEC
        elif self._is_shared and self.waiting_since == math.inf:
            longest = SHARED_LONGEST_SEC
        else:
            longest = REMOTE_LONGEST_SEC
        self._delay = min(self._delay, longest)
        jitter = random.uniform(1, 1 + JITTER) if self._delay >= SPACED_SEC else 1
        self.try_at = now + self._delay * jitter
        self._verdict_at = math.inf

    def _end_step(self, now: float) -> None:
        self.gentle.end_step(now, self._step_sec)
        if not self.gentle.is_on:
            self.was_taken = True
            self._has_refused = False
            if self._is_shared:
                self._doubt_until = now + SHARED_DOUBT_SEC

    @property
    def _step_sec(self) -> float:
        return SHARED_LONGEST_SEC if self._is_shared else GENTLE_SEC

    def _come_up(self) -> bool:
        self.is_down, self._down_at = False, math.inf
        self.try_at = self._verdict_at = math.inf
        self._delay = TRY_FIRST_SEC
        return True
