"""A client's own thread: fetches what the applications' threads put, sends it, takes ACKs, retransmits, and spills.

One turn does all that can be done without waiting. Then the thread waits for the socket, for the next time that
matters, or for a wake-up. It alone touches the socket, the unacknowledged entries and the files. Other threads reach it
by the outbox, by waiters and by flags, for which the GIL is enough.

New entries are held back, in memory, while the server refuses, while it is on this machine and its receive buffer is
filling, and by the rules of `send_queue.py`.
"""

import _thread
import math
import selectors
import threading
from collections.abc import Callable
from functools import partial
from time import monotonic

import msgspec

from fastlog.client._outbox import LINGERING, SLEEPING, Outbox
from fastlog.client.link import Link
from fastlog.client.options import ClientOptions
from fastlog.client.peer import Event, Peer
from fastlog.client.replay import SpillCounts
from fastlog.client.retransmit import Sent, Unacknowledged, items_of
from fastlog.client.send_queue import SendQueue
from fastlog.client.spill import Spill
from fastlog.client.stats import ClientStats
from fastlog.client.wakeup import Wakeup

DATAGRAMS_PER_TURN = 64  # before the thread looks at ACKs and times again
SHOWN_MAX = 20  # entries given up that are kept for ClientStats
END_SEC = 1.0  # the longest wait for the end of the thread, which waits for nothing but its selector


class Counts(msgspec.Struct):
    acknowledged: int = 0
    given_up: int = 0
    given_up_first: list[bytes] = []


def never() -> bool:
    """For wait_until: until the thread has ended."""
    return False


class Worker:
    def __init__(self, options: ClientOptions, outbox: Outbox, wakeup: Wakeup) -> None:
        self._outbox = outbox
        self._wakeup = wakeup
        connect = partial(Link, send_buffer=options.send_buffer)
        self._peer = Peer(options, connect, wakeup.wake)
        self._unacknowledged = Unacknowledged()
        self._queue = SendQueue(options, outbox, self._unacknowledged)
        self._spill = None if options.spill is None else Spill(options.spill, outbox.line, connect)
        self._pack_delay_sec = options.pack_delay_sec
        self._give_up_sec = options.give_up_sec
        self._counts = Counts()
        self._problem = ""
        self._waiters: dict[threading.Event, Callable[[], bool]] = {}  # each is set when its condition holds
        self._has_thread = False
        self._has_ended = False
        self._is_stopping = False
        self._leave_at = math.inf
        self._send_at = math.inf  # when new entries may be sent again

    # For other threads

    def start(self) -> None:
        # Not by `threading`: the code that a signal handler has interrupted may hold its locks.
        self._has_thread = True
        try:
            _thread.start_new_thread(self._run, ())
        except RuntimeError as error:  # no more threads: flush and close do the work themselves
            self._has_thread = False
            self._problem = f"cannot start the client's thread: {error}"

    def wait_until(self, holds: Callable[[], bool], timeout: float | None) -> None:
        """Waits until `holds()`, the thread has ended, or `timeout` seconds are over. `holds` is called by the
        thread. Where there is no thread, the caller does its work meanwhile."""
        if self._has_thread:
            released = threading.Event()
            self._waiters[released] = holds
            try:
                self._wakeup.wake()
                if self._has_thread:
                    released.wait(timeout)
            finally:  # a signal handler may raise an error meanwhile
                self._waiters.pop(released, None)
        elif not self._has_ended:  # the interpreter ends, and starts no threads any more
            self._drive(holds, math.inf if timeout is None else monotonic() + timeout)

    def flush(self, timeout: float) -> bool:
        """Waits until all entries taken so far are finished. Returns False if they are not, or one was given up."""
        number, given_up = self._outbox.accepted, self._counts.given_up
        if not number:
            return True
        self.wait_until(lambda: self._is_finished(number), timeout)
        return self._is_finished(number) and self._counts.given_up == given_up

    def close(self) -> None:
        """Ends the thread now; `_end` says what becomes of the entries that are left."""
        self._is_stopping = True
        if self._has_thread:
            self.wait_until(never, END_SEC)
        else:
            self._end()

    def leave(self, within_sec: float) -> None:
        """Nobody holds the client any more: the thread ends when all is sent, or after that time."""
        self._outbox.close()
        if not self._has_thread:
            self._end()
        self._leave_at = monotonic() + within_sec
        self._wakeup.wake()

    def abandon(self) -> None:
        """Closes what this process has open, and touches nothing else: the parent continues with it after a fork, the
        next program after a failure of the thread."""
        self._has_ended = True
        if self._spill:
            self._spill.close()
        self._peer.close()

    def stats(self) -> ClientStats:
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
            acknowledged=self._counts.acknowledged + spill.replayed,
            retransmitted=unacknowledged.retransmitted + spill.retransmitted,
            given_up=self._counts.given_up + spill.given_up,
            given_up_first=tuple(self._counts.given_up_first),
            dropped=outbox.dropped,
            shortened=outbox.shortened,
            refused=peer.counts.refused,
            lost=peer.counts.lost,
            spilled=spill.spilled,
            replayed=spill.replayed,
            set_aside=spill.set_aside,
            round_trip_ms=None if round_trip is None else round_trip * 1000,
            problem=self._problem or peer.problem or (self._spill.problem if self._spill else ""),
        )

    # The thread

    def _run(self) -> None:
        try:
            self._drive(lambda: self._is_stopping, math.inf)
            self._end()
        except BaseException as error:
            self._outbox.close()  # entries of later calls are counted as dropped
            self._problem = f"the client's thread has ended: {error!r}"
            self.abandon()
            raise
        finally:
            self._has_thread = False  # before the last look at the waiters: one that comes after it does not wait
            for released in list(self._waiters):
                released.set()

    def _drive(self, is_enough: Callable[[], bool], until: float) -> None:
        """Works until `is_enough()`, or until that time."""
        while not is_enough():
            now = monotonic()
            if now >= min(until, self._leave_at):
                break
            self._turn(now)
            if is_enough() or (self._leave_at < math.inf and self._is_finished(self._outbox.accepted)):
                break
            self._wait(until)

    def _is_finished(self, number: int) -> bool:
        """Whether all entries before that number are out: sent, acknowledged or given up, and none is on disk."""
        return (
            self._queue.is_past(number)
            and self._unacknowledged.is_past(number)
            and self._peer.is_settled
            and (self._spill is None or self._spill.is_empty)
        )

    def _end(self) -> None:
        """Keeps on disk what a spill file may keep, counts the rest as given up or dropped, and closes everything."""
        if self._has_ended:
            return
        self._outbox.close()
        self._queue.fetch()
        if self._spill:
            self._spill.end()
            unacknowledged = list(self._unacknowledged.pending.values())[::-1]
            if unacknowledged and self._spill.keep([sent.line for sent in unacknowledged]):
                self._outbox.release(items_of(unacknowledged))
                self._unacknowledged.pending.clear()
            self._queue.hand_over_priority(self._spill.add)
        self._give_up(list(self._unacknowledged.pending.values()))
        self._queue.drop()
        self._peer.give_up()
        self.abandon()

    def _turn(self, now: float) -> None:
        peer, unacknowledged = self._peer, self._unacknowledged
        peer.is_blocked = False
        self._send_at = math.inf
        self._queue.fetch()
        self._react(peer.look_up(now, unacknowledged.silent), now)
        self._receive(now)
        self._react(peer.settle(now), now)
        if peer.may_try(now):
            self._react(peer.begin_try(now), now)
            if peer.refused or not unacknowledged.pending:
                self._send(now, 1)
            else:
                peer.retransmit(unacknowledged.retransmit([unacknowledged.newest()], peer.pack_bytes, now), now)
            self._receive(now)  # a server on this machine has refused it by now, or never will
            self._react(peer.settle(now), now)
        if peer.link and not peer.is_down:
            peer.retransmit(unacknowledged.retransmit(unacknowledged.due(now), peer.pack_bytes, now), now)
            self._send(now, DATAGRAMS_PER_TURN)
            self._receive(now)
        if self._spill is None:
            self._give_up(unacknowledged.give_up(now - self._give_up_sec))
        else:
            cannot_send = (peer.link is None and peer.problem) or peer.is_down or unacknowledged.silent
            if cannot_send or not self._outbox.has_room:
                self._queue.hand_over_priority(self._spill.add)
            self._spill.turn(now, peer.link.address if peer.link else None, not peer.is_down)
        for released, holds in self._waiters.copy().items():  # other threads change it meanwhile
            if holds():
                released.set()

    def _react(self, event: Event | None, now: float) -> None:
        """Lets the unacknowledged entries react to an event of the server."""
        if event is Event.CAME_UP:
            self._unacknowledged.hurry(now)
        elif event is Event.RECONNECTED and self._unacknowledged.pending:
            self._unacknowledged.fall_silent(now)

    def _receive(self, now: float) -> None:
        sequences, event = self._peer.receive(now)
        self._react(event, now)
        found = [self._unacknowledged.acknowledge(sequence, now) for sequence in sequences]
        acknowledged = [sent for sent in found if sent]
        self._outbox.release(items_of(acknowledged))
        self._counts.acknowledged += len(acknowledged)

    def _send(self, now: float, datagrams: int) -> None:
        """Sends refused datagrams and then new entries, as far as they may go now."""
        peer = self._peer
        for _ in range(datagrams):
            if peer.link is None:
                return
            if peer.refused:
                if not peer.send_refused(now):
                    return
                continue
            datagram = self._queue.next(now, peer.pack_bytes)
            if isinstance(datagram, float):
                self._send_at = datagram
                return
            room_at = peer.link.room_at(len(datagram.data), now)
            if room_at > now:
                self._send_at = room_at
                return
            if not peer.send(datagram.data, now):
                return
            self._queue.sent_now(datagram, now)
        self._send_at = now

    def _give_up(self, sent: list[Sent]) -> None:
        counts = self._counts
        self._outbox.release(items_of(sent))
        counts.given_up += len(sent)
        counts.given_up_first += [each.line for each in sent[: SHOWN_MAX - len(counts.given_up_first)]]

    def _wait(self, until: float) -> None:
        """Until something can be done. While entries come, ordinary ones gather for the next turn and wake nobody."""
        unacknowledged, peer, queue = self._unacknowledged, self._peer, self._queue
        times = [until, self._leave_at, self._send_at, peer.next_at(unacknowledged.silent)]
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
        # Made anew each time: the sockets change, a closed one's number comes again, and epoll is shared over a fork.
        with selectors.PollSelector() as selector:
            selector.register(self._wakeup.fd, selectors.EVENT_READ)
            for part in (peer, replay):
                if part and part.link:
                    events = selectors.EVENT_READ | (selectors.EVENT_WRITE if part.is_blocked else 0)
                    selector.register(part.link.socket, events)
            ready = selector.select(None if wait == math.inf else max(0.0, wait))
        self._outbox.awake()
        if any(key.fd == self._wakeup.fd for key, _ in ready):
            self._wakeup.clear()
