"""A client's own thread: fetches what the applications' threads put, sends it, takes ACKs, repeats, spills, replays.

One turn does all that can be done without waiting; then it waits for the socket, for the next time that matters, or to
be woken. It alone touches the socket, the flow and the files. Others reach it by the outbox, by lists of waiters and by
flags, for which the GIL is enough.

New entries keep their order. They are held back, in memory, while the server refuses; while it is on this machine and
its receive buffer is filling; and for a limited time while an unacknowledged entry is so far behind that the server
could no longer tell its repetition from a stray.
"""

import math
import os
import selectors
import threading
import weakref
from collections.abc import Callable
from time import monotonic

import msgspec

from fastlog.client._outbox import LINGERING, SLEEPING, Item, Outbox
from fastlog.client.peer import Way
from fastlog.client.retransmit import Flow, Sent
from fastlog.client.spill import FIRST_SEQUENCE_BYTES, Spill
from fastlog.limits import SEQUENCE_WINDOW

HOLD_SEC = 10.0  # for which an unacknowledged entry holds back new ones that would be too far ahead of it
HOLD_UNHEARD_SEC = 1.0  # the same while the server has acknowledged nothing yet: it may acknowledge no such level
DATAGRAMS_PER_TURN = 64  # before ACKs and times are looked at again
SHOWN_MAX = 20  # entries given up that are kept for those who ask


class Options(msgspec.Struct, frozen=True):
    """What the client was told; see Client."""

    host: str
    port: int
    send_buffer: int
    window: int
    give_up_sec: float
    spill: str | None
    pack: bool
    pack_delay_sec: float
    datagram_bytes: int | None


class Counts(msgspec.Struct):
    sent: int = 0  # entries, each once
    acknowledged: int = 0
    retransmitted: int = 0
    given_up: int = 0


Waiter = tuple[int, threading.Event]


class Worker:
    def __init__(self, options: Options, outbox: Outbox, wake_fd: int) -> None:
        self.counts = Counts()
        self.problem = ""
        self.given_up: list[bytes] = []
        self.waiters: list[Waiter] = []  # until all entries below a number are finished
        self.room_waiters: list[Waiter] = []  # until the lanes have room
        self.end_waiters: list[Waiter] = []  # until the thread ends
        self.flow = Flow()
        self.way = Way(options.host, options.port, options.send_buffer, options.datagram_bytes, self.flow)
        self.spill = None if options.spill is None else Spill(options.spill, outbox.line)
        self.has_thread = False
        self.has_ended = False
        self.close_wake_fd = weakref.finalize(self, os.close, wake_fd)
        self.close_wake_fd.atexit = False  # only when nobody holds the worker, who could write to what has its number
        self._options = options
        self._outbox = outbox
        self._wake_fd = wake_fd
        self._stopping = False
        self._leave_at = math.inf

        self._ready: list[Item] = []  # fetched and not sent, from `_at` on
        self._at = 0
        self._fetched = 0  # the next item to fetch has this number
        self._overtaken: list[Item] = []  # priority items without room in the window, which ordinary ones have passed
        # A start of its own for each socket: to the server, a sender that reuses a port is then no repetition.
        self._sequence = int.from_bytes(os.urandom(FIRST_SEQUENCE_BYTES)) + 1
        self._send_at = math.inf  # sending may go on then
        self._sent_at = -math.inf

    # For other threads

    def wait(self, waiters: list[Waiter], mark: int, timeout: float | None) -> None:
        """Until the thread releases the waiters of that list, or has ended, or `timeout` seconds are over."""
        waiter = (mark, threading.Event())
        waiters.append(waiter)
        os.eventfd_write(self._wake_fd, 1)
        if self.has_thread:
            waiter[1].wait(timeout)

    def stop(self) -> None:
        self._stopping = True
        os.eventfd_write(self._wake_fd, 1)

    def leave(self, within_sec: float) -> None:
        """Nobody holds the client any more: end when all is sent, or after that time."""
        self._outbox.close()
        if not self.has_thread:
            self.end()
        self._leave_at = monotonic() + within_sec
        os.eventfd_write(self._wake_fd, 1)

    # The thread

    def run(self) -> None:
        try:
            self.begin()
            self.drive(lambda: self._stopping)
            self.end()
        except BaseException as error:
            self._outbox.close()  # what comes from now on is counted as dropped
            self.problem = f"the client's thread has ended: {error!r}"
            self.has_ended = True
            raise
        finally:
            self.has_thread = False  # before the last look: who comes after it does not wait
            for waiters in (self.waiters, self.room_waiters, self.end_waiters):
                while waiters:
                    waiters.pop()[1].set()

    def begin(self) -> None:
        if self.spill:
            self.spill.take_over()

    def drive(self, is_enough: Callable[[], bool], until: float = math.inf) -> None:
        """Works until that is so, or that time has come."""
        while not is_enough():
            now = monotonic()
            if now >= min(until, self._leave_at):
                break
            self._turn(now)
            if is_enough() or (self._leave_at < math.inf and self.finished(self._outbox.accepted)):
                break
            self._wait(until)

    def finished(self, mark: int) -> bool:
        """All entries before that number are sent; those of priority are acknowledged or given up, none is on disk."""
        if mark > self._fetched or not self.way.is_settled or (self.spill and not self.spill.is_empty):
            return False
        first = [items[0].number for items in (self._ready, self._overtaken) if items]
        if self.flow.pending:
            first.append(self.flow.oldest().number)
        return not first or min(first) >= mark

    def end(self) -> None:
        """Keeps on disk what a spill file may keep, counts the rest as given up or dropped, and closes everything."""
        if self.has_ended:
            return
        self._outbox.close()
        self._fetch()
        if self.spill:
            unacknowledged = list(self.flow.pending.values())[::-1]
            if unacknowledged and self.spill.keep([sent.line for sent in unacknowledged]):
                self._forget(unacknowledged)
                self.flow.pending.clear()
            self._spill_ready()
        self._give_up(list(self.flow.pending.values()))
        self._outbox.drop(self._overtaken + self._ready)
        self.way.give_up()
        self.abandon()

    def abandon(self) -> None:
        """Closes what this process has open, and touches nothing else: after a fork, the parent goes on with it."""
        self.has_ended = True
        if self.spill:
            self.spill.close()
        self.way.close()

    def _turn(self, now: float) -> None:
        way = self.way
        way.is_blocked = False
        self._send_at = math.inf
        self._fetch()
        way.look_after(now, self._wake_fd)
        self._receive(now)
        if way.is_down and way.may_try(now):
            if way.again or not self.flow.pending:
                self._send(now, 1)
            else:
                self._repeat([self.flow.newest()], now)
            self._receive(now)  # a server on this machine has refused it by now, or never will
            way.may_try(now)
        if way.link and not way.is_down:
            self._repeat(self.flow.due(now), now)
            self._send(now)
            self._receive(now)
        if not self.spill:
            self._give_up(self.flow.given_up(now - self._options.give_up_sec))
        else:
            if (way.link is None and way.problem) or way.is_down or self.flow.silent or not self._outbox.has_room:
                self._spill_ready()
            if way.link:
                self.spill.turn(now, way.link.address, self._options.send_buffer, not way.is_down)
        self._release_waiters()

    def _fetch(self) -> None:
        fetched = self._outbox.fetch()
        self._fetched += len(fetched)
        self._ready = self._ready + fetched if self._ready else fetched

    def _wait(self, until: float) -> None:
        """Until something can be done. While entries come, ordinary ones gather for the next turn and wake nobody."""
        times = [until, self._leave_at, self._send_at, self.way.next_at]
        if not self.way.is_down:
            times.append(self.flow.next_at)
        if self.spill:
            times.append(self.spill.next_at)
        elif self.flow.pending:
            times.append(self.flow.oldest().first_at + self._options.give_up_sec)
        now = monotonic()
        gathering = self._sent_at + self._options.pack_delay_sec
        if now < gathering:
            times.append(gathering)
        wait = min(times) - now
        if wait > 0 and not self._outbox.rest(
            LINGERING if self._at < len(self._ready) or now < gathering else SLEEPING
        ):
            wait = 0.0
        replay = self.spill.replay if self.spill else None
        # Made anew each time: the sockets change, a closed one's number comes again, and epoll is shared over a fork.
        with selectors.PollSelector() as selector:
            selector.register(self._wake_fd, selectors.EVENT_READ)
            for part, is_blocked in ((self.way, self.way.is_blocked), (replay, replay and replay.is_blocked)):
                if part and part.link:
                    events = selectors.EVENT_READ | (selectors.EVENT_WRITE if is_blocked else 0)
                    selector.register(part.link.socket, events)
            ready = selector.select(None if wait == math.inf else max(0.0, wait))
        self._outbox.awake()
        if any(key.fd == self._wake_fd for key, _ in ready):
            os.eventfd_read(self._wake_fd)

    def _release_waiters(self) -> None:
        for waiter in [waiter for waiter in self.waiters if self.finished(waiter[0])]:
            self.waiters.remove(waiter)
            waiter[1].set()
        while self.room_waiters and (self._outbox.is_closed or self._outbox.has_room):
            self.room_waiters.pop()[1].set()

    def _receive(self, now: float) -> None:
        acknowledged = list(filter(None, [self.flow.acknowledged(sequence, now) for sequence in self.way.acks(now)]))
        self._forget(acknowledged)
        self.counts.acknowledged += len(acknowledged)

    # Entries

    def _send(self, now: float, datagrams: int = DATAGRAMS_PER_TURN) -> None:
        """New entries, in their order, as far as they may go."""
        for _ in range(datagrams):
            if not self._send_next(now):
                break
        else:
            self._send_at = now
        del self._ready[: self._at]
        self._at = 0

    def _send_next(self, now: float) -> bool:
        """The next datagram; False if there is none, or it must wait: until `_send_at`, or until something comes."""
        if self.way.again:
            return self.way.put_again(now)
        room = max(0, self._options.window - len(self.flow.pending))
        if room and self._overtaken:
            self._ready = self._overtaken + self._ready[self._at :]
            self._overtaken, self._at = [], 0
        if self._at == len(self._ready):
            return False
        most, hold_until = SEQUENCE_WINDOW, -math.inf
        if self.flow.pending:
            oldest = self.flow.oldest()
            hold_until = oldest.first_at + (HOLD_SEC if self.flow.heard else HOLD_UNHEARD_SEC)
            if now < hold_until:
                most = oldest.sequence + SEQUENCE_WINDOW - self._sequence
        if most <= 0 or (not room and self._ready[self._at].priority):
            if now < hold_until:
                self._send_at = hold_until
                return False
            rest = self._ready[self._at :]
            self._overtaken += [item for item in rest if item.priority]
            self._ready, self._at = [item for item in rest if not item.priority], 0
            return True
        if not self._options.pack:
            most = 1
        kept: list[tuple[int, Item, bytes]] = []
        datagram, at, ordinary, ordinary_bytes = self._outbox.pack(
            self._ready, self._at, self._sequence, self.way.pack_bytes, most, room, kept
        )
        room_at = self.way.room_at(datagram, now)
        if room_at > now:
            self._send_at = room_at
            return False
        if not self.way.put(datagram, now):
            return False
        for sequence, item, line in kept:
            self.flow.sent(sequence, item.number, len(item.body), line, now)
        self._outbox.left(False, ordinary, ordinary_bytes)
        self.counts.sent += at - self._at
        self._sequence += at - self._at
        self._at = at
        self._sent_at = now
        return True

    def _repeat(self, due: list[Sent], now: float) -> None:
        """The same bytes again, several entries in a datagram."""
        lines: list[bytes] = []
        size = 0
        for sent in due:
            if lines and size + len(sent.line) > self.way.pack_bytes:
                self.way.put_repetition(b"\n".join(lines), now)
                lines, size = [], 0
            lines.append(sent.line)
            size += len(sent.line) + 1
            self.flow.sent_again(sent, now)
            self.counts.retransmitted += 1
        if lines:
            self.way.put_repetition(b"\n".join(lines), now)

    def _forget(self, sent: list[Sent]) -> None:
        """They are out of the priority lane."""
        self._outbox.left(True, len(sent), sum(each.size for each in sent))

    def _give_up(self, sent: list[Sent]) -> None:
        self._forget(sent)
        self.counts.given_up += len(sent)
        self.given_up += [each.line for each in sent[: SHOWN_MAX - len(self.given_up)]]

    def _spill_ready(self) -> None:
        """Priority entries that were not sent yet go to disk; where it refuses, they wait in memory."""
        priority = self._overtaken + [item for item in self._ready if item.priority]
        if self.spill and priority and self.spill.add(priority):
            self._outbox.left(True, len(priority), sum(len(item.body) for item in priority))
            self._overtaken = []
            self._ready = [item for item in self._ready if not item.priority]
