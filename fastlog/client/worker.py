"""What is done for a client: fetches what the applications' threads put, sends it, takes ACKs, retransmits, and spills.

One turn does all that can be done without waiting. Then whoever works waits for the socket, for the next time that
matters, or for a wake-up. It is one thread at a time (`thread.py`), and it alone touches the socket, the unacknowledged
entries and the files.

New entries are held back, in memory, while the server refuses, while it is on this machine and its receive buffer is
filling, and by the rules of `send_queue.py`.
"""

import math
from functools import partial
from time import monotonic

import msgspec

from fastlog.client._native import READ, WRITE
from fastlog.client._outbox import LINGERING, SLEEPING, Outbox
from fastlog.client.link import Link
from fastlog.client.options import ClientOptions
from fastlog.client.peer import Event, Peer
from fastlog.client.replay import SpillCounts
from fastlog.client.retransmit import Sent, Unacknowledged, items_of
from fastlog.client.send_queue import SendQueue
from fastlog.client.spill import Spill
from fastlog.client.stats import ClientStats

DATAGRAMS_PER_TURN = 64  # before the thread looks at ACKs and times again
SHOWN_MAX = 20  # entries given up that are kept for ClientStats


class Counts(msgspec.Struct):
    acknowledged: int = 0
    given_up: int = 0
    given_up_first: list[bytes] = []


class Worker:
    """Methods are for the thread that works, but for `stats` and what asks."""

    def __init__(self, options: ClientOptions, outbox: Outbox) -> None:
        self._outbox = outbox
        connect = partial(Link, send_buffer=options.send_buffer)
        self._peer = Peer(options, connect, outbox.wake_thread)
        self._unacknowledged = Unacknowledged()
        self._queue = SendQueue(options, outbox, self._unacknowledged)
        self._spill = None if options.spill is None else Spill(options.spill, outbox.line, connect)
        self._has_begun = False
        self._pack_delay_sec = options.pack_delay_sec
        self._give_up_sec = options.give_up_sec
        self.counts = Counts()
        self._send_at = math.inf  # when new entries may be sent again

    def begin(self) -> None:
        """To be called before the first turn, and before the first one after `finish`."""
        self._has_begun = True

    def recover(self) -> None:
        """After an error in the middle of a turn: opens what the client sends through anew. What it holds stays."""
        self._peer.reopen()
        if self._spill:
            self._spill.close()
        self._outbox.recount(self._queue.items + items_of(self._unacknowledged.pending.values()))

    def finish(self) -> None:
        """Keeps on disk what a spill file may keep, counts the rest as given up or dropped, and closes everything."""
        self._queue.fetch()
        if self._spill and self._has_begun:
            self._spill.end()
            unacknowledged = list(self._unacknowledged.pending.values())[::-1]
            if unacknowledged and self._spill.keep([sent.line for sent in unacknowledged]):
                self._outbox.release(items_of(unacknowledged))
                self._unacknowledged.pending.clear()
            self._queue.hand_over_priority(self._spill.add)
        self._give_up(list(self._unacknowledged.pending.values()))
        self._unacknowledged.pending.clear()
        self._queue.drop()
        self._peer.give_up()
        self.abandon()
        self._outbox.wakeup.close()

    def abandon(self) -> None:
        """Closes what this process has open, and touches nothing else: after a fork, the parent continues with it."""
        if self._spill:
            self._spill.close()
        self._peer.reopen()
        self._has_begun = False

    @property
    def is_away(self) -> bool:
        """The server is known not to take anything at present."""
        peer = self._peer
        return (peer.link is None and bool(peer.problem(monotonic()))) or peer.is_down or self._unacknowledged.silent

    @property
    def progress(self) -> int:
        """Grows whenever entries leave."""
        spilled = self._spill.counts.spilled + self._spill.counts.replayed if self._spill else 0
        return self._queue.sent + self.counts.acknowledged + self.counts.given_up + spilled

    @property
    def nothing_listens(self) -> bool:
        """In the client's whole life nothing but refusals has come."""
        return self._peer.only_refusals

    @property
    def losses(self) -> int:
        """Entries that were not delivered."""
        return self.counts.given_up + sum(self._outbox.dropped.values())

    @property
    def problem(self) -> str:
        return (self._spill.problem if self._spill else "") or self._peer.problem(monotonic())

    def is_finished(self, number: int) -> bool:
        """Whether all entries before that number are out: sent, acknowledged or given up, and none is on disk."""
        return (
            self._queue.is_past(number)
            and self._unacknowledged.is_past(number)
            and self._peer.is_settled
            and (self._spill is None or self._spill.is_empty)
        )

    def stats(self, problem: str) -> ClientStats:
        outbox, peer, unacknowledged = self._outbox, self._peer, self._unacknowledged
        spill = self._spill.counts if self._spill else SpillCounts()
        round_trip = unacknowledged.timeout.round_trip
        return ClientStats(
            queued=sum(outbox.entries),
            queued_bytes=sum(outbox.bytes),
            unacknowledged=len(unacknowledged.pending),
            sent=self._queue.sent,
            sent_bytes=peer.counts.sent_bytes,
            datagrams=peer.counts.datagrams,
            acknowledged=self.counts.acknowledged + spill.replayed,
            retransmitted=unacknowledged.retransmitted + spill.retransmitted,
            given_up=self.counts.given_up + spill.given_up,
            given_up_first=tuple(self.counts.given_up_first),
            dropped=outbox.dropped,
            shortened=outbox.shortened,
            refused=peer.counts.refused,
            lost=peer.flight.lost,
            spilled=spill.spilled,
            replayed=spill.replayed,
            set_aside=spill.set_aside,
            round_trip_ms=None if round_trip is None else round_trip * 1000,
            problem=problem or self.problem,
        )

    def turn(self, now: float) -> None:
        peer, unacknowledged = self._peer, self._unacknowledged
        peer.is_blocked = False
        self._send_at = math.inf
        if peer.link and not peer.link.is_ours():
            peer.reopen()
        self._queue.fetch()
        peer.reach.waits(*self._waiting())
        self._react(peer.look_up(now, unacknowledged.silent), now)
        self._receive(now)
        self._react(peer.settle(now), now)
        if peer.is_down and now >= peer.reach.try_at:
            self._try(now)
        if peer.link and not peer.is_down:
            peer.retransmit(unacknowledged.retransmit(unacknowledged.due(now), peer.pack_bytes, now), now)
            self._send(now, DATAGRAMS_PER_TURN)
            self._receive(now)
        if self._spill is None:
            self._give_up(unacknowledged.give_up(now - self._give_up_sec))
        else:
            if self.is_away or not self._outbox.has_room:
                self._queue.hand_over_priority(self._spill.add)
            replayed = self._spill.counts.replayed
            self._spill.turn(now, peer.link.address if peer.link else None, not peer.is_down)
            if self._spill.counts.replayed > replayed:
                self._react(peer.heard(-math.inf, now), now)

    def _try(self, now: float) -> None:
        """Tries with one datagram whether the server is up again. Best is one that brings an ACK."""
        peer, unacknowledged = self._peer, self._unacknowledged
        self._react(peer.begin_try(now), now)
        if not peer.reach.is_trying:
            return
        if unacknowledged.pending and not (peer.refused and peer.reach.is_local):
            peer.retransmit(unacknowledged.retransmit([unacknowledged.newest()], peer.pack_bytes, now), now)
        else:
            self._send(now, 1)
        self._receive(now)  # a server on this machine has refused it by now, or never will
        self._react(peer.settle(now), now)

    def _waiting(self) -> tuple[float, bool]:
        """Since when the oldest entry waits for its ACK, and whether it was sent again."""
        parts = [self._unacknowledged]
        if self._spill and self._spill.replay:
            parts.append(self._spill.replay.unacknowledged)
        oldest = [part.oldest() for part in parts if part.pending]
        return min((sent.first_at for sent in oldest), default=math.inf), any(sent.times > 1 for sent in oldest)

    def _react(self, event: Event | None, now: float) -> None:
        """Lets the unacknowledged entries react to an event of the server."""
        if event is Event.CAME_UP:
            self._unacknowledged.hurry(now)
        elif event is Event.RECONNECTED and self._unacknowledged.pending:
            self._unacknowledged.fall_silent(now)

    def _receive(self, now: float) -> None:
        found = [self._unacknowledged.acknowledge(sequence, now) for sequence in self._peer.receive(now)]
        acknowledged = [sent for sent in found if sent]
        if acknowledged:
            self._react(self._peer.heard(max(sent.first_at for sent in acknowledged), now), now)
        self._outbox.release(items_of(acknowledged))
        self.counts.acknowledged += len(acknowledged)

    def _send(self, now: float, datagrams: int) -> None:
        """Sends refused datagrams and then new entries, as far as they may go now."""
        peer = self._peer
        for _ in range(datagrams):
            if peer.link is None:
                return
            gentle_at = peer.reach.send_at(now)
            if gentle_at > now:
                self._send_at = gentle_at
                return
            if peer.refused:
                if not peer.send(peer.refused[0].data, peer.refused[0].entries, now):
                    return
                del peer.refused[0]
                continue
            datagram = self._queue.next(now, peer.pack_bytes)
            if isinstance(datagram, float):
                self._send_at = datagram
                return
            room_at = peer.link.room_at(len(datagram.data), now)
            if room_at > now:
                self._send_at = room_at
                return
            if not peer.send(datagram.data, len(datagram.ordinary), now):
                return
            self._queue.sent_now(datagram, now)
        self._send_at = now

    def _give_up(self, sent: list[Sent]) -> None:
        counts = self.counts
        self._outbox.release(items_of(sent))
        counts.given_up += len(sent)
        counts.given_up_first += [each.line for each in sent[: SHOWN_MAX - len(counts.given_up_first)]]

    def wait(self, until: float) -> None:
        """Until something can be done. While entries come, ordinary ones gather for the next turn and wake nobody."""
        unacknowledged, peer, queue = self._unacknowledged, self._peer, self._queue
        times = [until, self._send_at, peer.next_at(unacknowledged.silent)]
        if not peer.is_down:
            times.append(unacknowledged.next_at)
        if self._spill:
            times.append(self._spill.next_at)
        elif unacknowledged.pending:
            times.append(unacknowledged.oldest().first_at + self._give_up_sec)
        now = monotonic()
        gathering_until = queue.sent_at + self._pack_delay_sec
        if now < gathering_until:
            times.append(gathering_until)
        wait = min(times) - now
        state = LINGERING if now < gathering_until or not queue.is_empty else SLEEPING
        if wait > 0 and not self._outbox.rest(state):
            wait = 0.0
        replay = self._spill.replay if self._spill else None
        # Gathered anew each time: the sockets change.
        others = [
            (part.link.socket.fileno(), READ | (WRITE if part.is_blocked else 0))
            for part in (peer, replay)
            if part and part.link
        ]
        self._outbox.wakeup.wait(others, max(0.0, wait))
