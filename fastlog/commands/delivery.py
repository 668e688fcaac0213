"""Waits for what a command has given to a client, for as long as it moves, and reports meanwhile what happens.

Nothing here waits for longer than the time-out while nothing moves, nor, after a signal, for longer than that in all.
"""

import math
import time
from collections.abc import Callable

import msgspec

from fastlog.client.client import Client
from fastlog.client.stats import ClientStats
from fastlog.commands.signals import EndingSignals
from fastlog.errors import say

LOOK_SEC = 0.1  # between two looks whether the client makes progress
PATIENCE_SEC = 0.2  # waited beyond the time-out: entries given up by then no longer hold back those behind them
STOPPED_SEC = 1.0  # a look that took longer: the process was stopped, as by Ctrl-Z, and nothing could move meanwhile
WAIT_SHOWN_SEC = 1.0  # until the user is told that nothing moves
WAIT_SHOWN_AGAIN_SEC = 60.0  # so that a server that often hesitates does not fill a log
LOSSES_SHOWN_SEC = 1.0  # between two lines about losses
SHOWN_BYTES = 200  # of the message of an entry that was not acknowledged


class _GivenUp(msgspec.Struct):
    sequence: int
    message: str


class Delivery:
    """`server` names the server for the user. `entries` is what the client was given, for the command to count."""

    def __init__(self, client: Client, server: str, timeout_sec: float, signals: EndingSignals) -> None:
        self.entries = 0
        self.is_stalled = False  # the lanes have no room, and nothing has moved for the time-out
        self._client, self._server, self._signals = client, server, signals
        self._patience_sec = timeout_sec + PATIENCE_SEC
        self._stats = client.stats()
        self._moved_at = time.monotonic()
        self._full_since = math.inf  # there was no room, and nothing has moved since
        self._is_out = True  # at the last look there was nothing that could move
        self._wait_shown_at = self._losses_shown_at = -math.inf
        self._signal_shown = False
        self._shown = 0  # entries not acknowledged that were shown one by one
        self._losses = 0

    def make_room(self) -> bool:
        """Waits until the client has room. Returns False if nothing moves for the time-out: from then on it does not
        wait, and what finds no room is dropped and counted, until something moves again."""
        if self._look():
            self.is_stalled, self._full_since = False, math.inf
        if not self.is_stalled and not self._client.wait_for_room(0):
            # Room for entries because others were given up is no reason to begin the time-out anew.
            self._full_since = min(self._full_since, time.monotonic())
            self.is_stalled = not self._wait(self._client.wait_for_room, self._full_since)
        return not self.is_stalled

    def wait_for_input(self, source: int) -> bool:
        """Waits until there is something to read from that descriptor. Returns False if a signal came before."""
        self._look()
        while not self._signals.came:
            if self._signals.wait(None if self._is_out else LOSSES_SHOWN_SEC, source):
                return not self._signals.came
            self._look()
        return False

    @property
    def is_ending(self) -> bool:
        """A signal has asked for the end."""
        return self._signals.came is not None

    def pause(self, seconds: float) -> None:
        """Waits for that time, or until a signal comes."""
        until = time.monotonic() + seconds
        while not self._signals.came and (left := until - time.monotonic()) > 0:
            self._signals.wait(min(left, LOSSES_SHOWN_SEC))
            self._look()

    def finish(self) -> None:
        """Waits until everything is out, or nothing has moved for the time-out. A server that has had that time while
        there was no room gets no more of it."""
        now = time.monotonic()
        had_its_time = self.is_stalled and not self._signals.came
        self._wait(self._client.flush, now + PATIENCE_SEC - self._patience_sec if had_its_time else now)

    def show_given_up(self, stats: ClientStats) -> None:
        """Shows the entries that were not acknowledged and not shown yet, as far as the client has kept them."""
        for line in stats.given_up_first[self._shown :]:
            entry = msgspec.json.decode(line, type=_GivenUp)
            say(f"not acknowledged: sequence {entry.sequence}, {entry.message[:SHOWN_BYTES]!r}")
        self._shown = len(stats.given_up_first)

    def _wait(self, is_done: Callable[[float], bool], since: float) -> bool:
        """Waits until `is_done(seconds)`, which waits itself. Returns False if nothing has moved for the time-out,
        which begins at that time and anew whenever something moves; or if that time is over since a signal."""
        now = time.monotonic()
        until = since + self._patience_sec
        while not is_done(LOOK_SEC):
            if self._look():
                until = self._moved_at + self._patience_sec
            if self._signals.came:
                until = min(until, self._signals.came_at + self._patience_sec)
                self._show_signal(self._signals.came.name, until - now)
            before, now = now, time.monotonic()
            if now > before + STOPPED_SEC:
                until += now - before
            if now >= until:
                return False
            if now < before + LOOK_SEC:  # the client's thread has ended, and nobody waits any more
                time.sleep(LOOK_SEC)
        return True

    def _look(self) -> bool:
        """Whether something has moved since the last look: as long as entries wait for their ACK, only ACKs count,
        since a server that is away does not keep anybody from sending. Reports losses and waits to the user."""
        before, stats, now = self._stats, self._client.stats(), time.monotonic()
        waits = stats.unacknowledged or stats.given_up > before.given_up
        moved = stats.acknowledged > before.acknowledged or (not waits and stats.sent > before.sent)
        self._stats = stats
        was_out, self._is_out = self._is_out, not stats.queued and self._client.flush(0)
        if moved or was_out or self._is_out:
            self._moved_at = now
        elif now >= max(self._moved_at + WAIT_SHOWN_SEC, self._wait_shown_at + WAIT_SHOWN_AGAIN_SEC):
            self._wait_shown_at = now
            say(f"waiting for {self._server}" + (f": {stats.problem}" if stats.problem else ""))
        self._show_losses(stats, now)
        return moved

    def _show_signal(self, name: str, left_sec: float) -> None:
        if not self._signal_shown:
            self._signal_shown = True
            say(f"{name}: delivering what was read, for up to {max(left_sec, 0):.0f} s; a second signal ends that")

    def _show_losses(self, stats: ClientStats, now: float) -> None:
        dropped = sum(stats.dropped.values())
        if now < self._losses_shown_at + LOSSES_SHOWN_SEC or stats.given_up + dropped == self._losses:
            return
        self._losses_shown_at, self._losses = now, stats.given_up + dropped
        self.show_given_up(stats)
        say(f"so far {stats.given_up} entries were not acknowledged, and {dropped} were not sent")
