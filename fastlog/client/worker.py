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

from fastlog.client.core import IMPLEMENTATION, LINGERING, READ, SLEEPING, WRITE, Outbox
from fastlog.client.delivery import Delivery
from fastlog.client.link import Link
from fastlog.client.options import ClientOptions
from fastlog.client.peer import Event, Peer
from fastlog.client.replay import SpillCounts
from fastlog.client.retransmit import SHORTEST_TIMEOUT_SEC, Sent, Unacknowledged, datagram_of, items_of, packed
from fastlog.client.send_queue import SendQueue
from fastlog.client.spill import Spill
from fastlog.client.stats import ClientStats
from fastlog.client.unheard import PACE_SEC, Unheard

SLEEP_SEC = 1.0  # a thread that does not run for longer was stopped; a busy machine delays it less
DATAGRAMS_PER_TURN = 64  # before the thread looks at ACKs and times again


class Worker:
    """Methods are for the thread that works, but for `stats` and what asks."""

    def __init__(self, options: ClientOptions, outbox: Outbox) -> None:
        self._outbox = outbox
        connect = partial(Link, send_buffer=options.send_buffer)
        self._peer = Peer(options, connect, outbox.wake_thread)
        self._unacknowledged = Unacknowledged()
        self._queue = SendQueue(options, outbox, self._unacknowledged)
        self._unheard = Unheard(options.gives_up_after_sec)
        self._spill = None if options.spill is None else Spill(options.spill, options.pack, outbox.line, connect)
        self._has_begun = False
        self._pack_delay_sec = options.pack_delay_sec
        self._delivery = Delivery(options, outbox, self._unacknowledged, self._queue, self._unheard)
        self.counts = self._delivery.counts
        self._awake_until = math.inf  # if a turn begins later, the thread did not run meanwhile
        self._send_at = math.inf  # when new entries may be sent again

    def begin(self, takes_over: bool = True) -> None:
        """To be called before the first turn, and before the first one after `finish`. Spill files that others left are
        not taken over at the end of the program, when not even modules are whole."""
        if self._has_begun:
            return
        if self._spill:
            self._spill.begin(takes_over)
        self._has_begun = True

    def recover(self) -> None:
        """After an error in the middle of a turn: opens what the client sends through anew. What it holds stays."""
        self._peer.reopen()
        if self._spill:
            self._spill.close()
        waiting = set(map(id, self._queue.items))  # what is sent from there again does not wait for an ACK yet
        pending = self._unacknowledged.pending.values()
        self._unacknowledged.take([sent for sent in pending if id(sent.item) in waiting])
        sent = [*self._unacknowledged.pending.values(), *self._unheard.aside.values()]
        self._outbox.recount(self._queue.items + items_of(sent))

    def finish(self) -> None:
        """Keeps on disk what a spill file may keep, counts the rest as given up or dropped, and closes everything."""
        self._queue.fetch()
        if self._spill and self._has_begun:
            self._spill.end()
            self._delivery.keep(self._spill.keep)
            self._queue.hand_over_priority(self._spill.add)
        self._delivery.end(self._spill.set_aside if self._spill else None)
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
        return self.counts.given_up + sum(self._outbox.dropped.values()) + self._peer.flight.lost_entries

    @property
    def problem(self) -> str:
        spill = self._spill
        problem = (spill and spill.problem) or self._unheard.problem or self._peer.problem(monotonic())
        return problem or (spill.note if spill else "")

    @property
    def unconfirmed(self) -> int:
        """Priority entries that are out without an ACK."""
        spill = self._spill.counts if self._spill else SpillCounts()
        return self.counts.given_up + self._unheard.sent_once + spill.set_aside + spill.abandoned

    def is_confirmed(self, unconfirmed: int) -> bool:
        """Whether no priority entry is out without an ACK, but those that were before."""
        return self.unconfirmed <= unconfirmed and not self._unheard.aside

    def is_sent(self, number: int) -> bool:
        """Whether all entries before that number were sent."""
        return self._queue.is_past(number)

    def is_finished(self, number: int) -> bool:
        """Whether all entries before that number are out: sent, acknowledged, given up, or passed over by the server;
        and none is on disk."""
        return (
            self._queue.is_past(number)
            and self._unacknowledged.is_past(number)
            and self._peer.is_settled
            and (self._spill is None or self._spill.is_empty)
        )

    def stats(self, problem: str) -> ClientStats:
        outbox, peer, unacknowledged, unheard = self._outbox, self._peer, self._unacknowledged, self._unheard
        spill = self._spill.counts if self._spill else SpillCounts()
        round_trip = unacknowledged.timeout.round_trip
        # Entries that are finished are read before the calls: what changes meanwhile still counts as queued.
        counts, once = self.counts, self.counts.acknowledged_once
        acknowledged, sent_once = counts.acknowledged + once, self._queue.sent_once - once
        given_up = counts.given_up
        spilled, replayed = spill.spilled + counts.set_aside, spill.replayed
        calls, dropped = outbox.account
        return ClientStats(
            calls=calls,
            queued=calls - sum(dropped.values()) - sent_once - acknowledged - given_up - spilled,
            queued_bytes=sum(outbox.bytes),
            unacknowledged=len(unacknowledged.pending) + len(unheard.aside),
            sent=self._queue.sent,
            sent_once=sent_once,
            sent_unacknowledged=unheard.sent_once,
            sent_bytes=peer.counts.sent_bytes,
            datagrams=peer.counts.datagrams,
            acknowledged=acknowledged + replayed,
            retransmitted=unacknowledged.retransmitted + unheard.retransmitted + spill.retransmitted,
            given_up=given_up,
            given_up_first=tuple(counts.given_up_first),
            dropped=dropped,
            shortened=outbox.shortened,
            refused=peer.counts.refused,
            lost=peer.flight.lost,
            lost_entries=peer.flight.lost_entries,
            spilled=spilled,
            replayed=replayed,
            set_aside=spill.set_aside,
            abandoned=spill.abandoned,
            round_trip_ms=None if round_trip is None else round_trip * 1000,
            problem=problem or self.problem,
            implementation=IMPLEMENTATION,
        )

    def turn(self, now: float) -> None:
        peer, unacknowledged = self._peer, self._unacknowledged
        self._note_sleep(now)
        peer.is_blocked = False
        self._send_at = math.inf
        if peer.link and not peer.link.is_ours():
            peer.reopen()
        self._queue.fetch()
        self._react(peer.look_up(now, unacknowledged.silent), now)
        self._receive(now)
        self._react(peer.settle(now), now)
        if peer.is_down and now >= peer.reach.try_at:
            self._try(now)
        self._try_aside(now)
        if self._spill is None:  # before entries are due, since one that is tried again has another time-out
            self._delivery.make_room()
            self._retransmit(self._delivery.give_up_overdue(now, peer.link is not None and not peer.is_down), now)
        if peer.link and not peer.is_down:
            if unacknowledged.silent and now >= unacknowledged.next_at:
                if not unacknowledged.heard:
                    self._delivery.is_asked_again(peer.link.has_taken_all(), now)
                self._send(now, 1)  # a new entry asks a silent server as well as an old one
            unacknowledged.put_back(*self._retransmit(unacknowledged.due(now), now))
            self._delivery.pass_over(now, self._spill.set_aside if self._spill else None)
            if self._spill is None:
                self._queue.relieve()
            self._send(now, DATAGRAMS_PER_TURN)
            self._receive(now)
        if self._spill:
            if self.is_away or not self._outbox.has_room:
                self._queue.hand_over_priority(self._spill.add)
            if self._spill.turn(now, peer.link, peer.reach.may_be_up, unacknowledged):
                self._react(peer.heard(-math.inf, now), now)
        peer.reach.waits(*self._waiting())

    def _try(self, now: float) -> None:
        """Tries with one datagram whether the server is up again. Best is one that brings an ACK."""
        peer, unacknowledged = self._peer, self._unacknowledged
        self._react(peer.begin_try(now), now)
        if not peer.reach.is_trying:
            return
        if unacknowledged.pending and not (peer.refused and peer.reach.is_local):
            self._retransmit([unacknowledged.newest()], now)
        elif peer.reach.is_local or peer.reach.waiting_since == math.inf:  # otherwise an entry of a spill file tries
            self._send(now, 1)
        self._receive(now)  # a server on this machine has refused it by now, or never will
        self._react(peer.settle(now), now)

    def _waiting(self) -> tuple[float, bool]:
        """Since when the oldest entry waits for its ACK, and whether it was sent again."""
        since, is_overdue = math.inf, False
        if self._unacknowledged.pending:
            oldest = self._unacknowledged.oldest()
            since, is_overdue = oldest.first_at, oldest.times > 1
        replay = self._spill.replay if self._spill else None
        return (min(since, replay.waits_since), is_overdue or replay.is_overdue) if replay else (since, is_overdue)

    def _note_sleep(self, now: float) -> None:
        """A machine, a container or a process may be stopped for any time. The ACKs that came meanwhile are read
        before anything is given up."""
        late = now - self._awake_until
        if late > SLEEP_SEC:
            self._delivery.slept(late)
        self._awake_until = now

    def _react(self, event: Event | None, now: float) -> None:
        """Lets the unacknowledged entries react to an event of the server."""
        if event is Event.CAME_UP:
            self._unacknowledged.hurry(now)
            self._send_at = now  # unless this turn still sends
        elif event is Event.RECONNECTED and self._unacknowledged.pending:
            self._delivery.is_asked_anew()
            self._unacknowledged.fall_silent(now)
            self._delivery.is_asked_again(is_taken=False, now=now)  # what came to the old socket was not read

    def _receive(self, now: float) -> None:
        heard_at = self._delivery.take_acks(self._peer.receive(now), now)
        if heard_at is not None:
            self._send_at = now  # they may have made room; unless this turn still sends
            self._react(self._peer.heard(heard_at, now), now)

    def _retransmit(self, due: list[Sent], now: float) -> tuple[list[Sent], float]:
        """Sends entries again, as far as the socket and a server on this machine have room for them. Returns the rest,
        and when there may be room."""
        peer = self._peer
        was_down = peer.is_down
        groups = list(packed(due, peer.pack_bytes))
        room_at, sent = now, 0
        for group in groups[:DATAGRAMS_PER_TURN]:
            datagram = datagram_of(group)
            room_at = now if peer.link is None else peer.link.room_at(len(datagram), now)
            if room_at > now:
                break
            peer.retransmit((datagram,), now)
            if peer.link is None or peer.is_blocked or (peer.is_down and not was_down):
                room_at = now + SHORTEST_TIMEOUT_SEC
                break
            self._unacknowledged.sent_again(group, now)
            sent += 1
        return [each for group in groups[sent:] for each in group], room_at

    def _try_aside(self, now: float) -> None:
        """Sends an entry again that the server passes over, and gives up those whose time is over."""
        peer, unheard = self._peer, self._unheard
        sent = unheard.due(now)
        self._delivery.give_up(unheard.overdue())
        if sent is None:
            return
        can_send = peer.link and not peer.is_down
        room_at = peer.link.room_at(len(sent.line), now) if peer.link and can_send else now + PACE_SEC
        if room_at > now:
            unheard.next_at = room_at
            return
        peer.retransmit((sent.line,), now)
        unheard.sent_again(sent, now)

    def _send(self, now: float, datagrams: int) -> None:
        """Sends refused datagrams and then new entries, as far as they may go now."""
        peer = self._peer
        for _ in range(datagrams):
            if peer.link is None:
                return
            gentle_at = peer.reach.gentle.send_at(now)
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
            if datagram.once:
                self._unheard.sent_ordinary(datagram.once)
        self._send_at = now

    def wait(self, until: float) -> None:
        """Until something can be done. While entries come, ordinary ones gather for the next turn and wake nobody."""
        unacknowledged, peer, queue = self._unacknowledged, self._peer, self._queue
        times = [until, self._send_at, peer.next_at(unacknowledged.silent), self._unheard.next_at]
        if peer.link and not peer.is_down:
            times.append(unacknowledged.next_at)
        if self._spill is None:
            times.append(self._delivery.next_at)
        elif peer.link:  # without a socket, files wait for it
            times.append(self._spill.next_at)
        now = monotonic()
        self._note_sleep(now)
        gathering_until = queue.sent_at + self._pack_delay_sec
        if now < gathering_until:
            times.append(gathering_until)
        wait = min(times) - now
        self._awake_until = now + max(0.0, wait)
        state = LINGERING if now < gathering_until or not queue.is_empty else SLEEPING
        if wait > 0 and not self._outbox.rest(state):
            wait = 0.0
        replay = self._spill.replay if self._spill else None
        # Gathered anew each time: the sockets change. That of a replay may be gone when the other one is.
        others = [
            (part.link.socket.fileno(), READ | (WRITE if part.is_blocked else 0))
            for part in ((peer, replay) if peer.link else ())
            if part and part.link
        ]
        self._outbox.wakeup.wait(others, max(0.0, wait))
