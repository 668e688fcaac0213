"""The replay of one spill file, beside the client's new entries.

To the server, a replay is a sender of its own, with a socket and a sequence without gaps, so that it counts no loss. In
a file, sequences count up by one; those of entries that were sent before go down, with gaps where ordinary entries
were. Where they do neither, or have gone down farther than the server can follow, the replay continues with another
socket, as another sender. The first entry of each goes alone until the server acknowledges something, so that it is the
first one that the server sees.

An entry that the server never acknowledges stops nothing. It is set aside when the server has acknowledged others again
and again meanwhile (retransmit.py). If there is no other, the replay repeats one that was acknowledged: the witness.
"""

import math
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import msgspec

from fastlog.client.link import Link
from fastlog.client.retransmit import HOPELESS_CHANCE, LOSS_MAX, Loss, Sent, Unacknowledged
from fastlog.client.spill_file import Piece, SpillFile
from fastlog.limits import SEQUENCE_WINDOW

PACK_BYTES = 1_400  # several entries share a datagram: every path carries it, and so does a small BUFFER_SIZE
DATAGRAMS_PER_TURN = 64  # as many as new entries may take before the thread looks at other work
CURSOR_ENTRIES = 1_024  # acknowledged before the file says so: far fewer than the server recognises as stored
ASIDE_AGAIN_SEC = 1.0  # after the disk refused what is to be set aside
PROBE_TRIES = 2  # of the first entry without an answer, before the next one is tried as well
SUSPECT_TRIES = 3  # of an entry, before the witness is asked whether the server answers at all
SUSPECT_SEC = 0.25  # at least, between two of its tries from then on: the file waits for the verdict
WITNESS_SEC = 0.1  # from the try of a suspect to the question to the witness, which serves all that are tried meanwhile
ASK_ANOTHER = 3  # a silent server is asked with the highest sequence, and each third time with another as well


class SpillCounts(msgspec.Struct):
    spilled: int = 0  # entries written to files
    replayed: int = 0  # entries of files that the server acknowledged
    retransmitted: int = 0
    set_aside: int = 0  # entries, and lines that are none, in files that nobody sends again
    abandoned: int = 0  # the same, for which these files have no room


class ReplayLoss(Loss):
    """How much the network loses. In a window, the ACKs of entries that were sent once come first, and for a while it
    looks as if nothing were lost. So the whole replay counts as well: what is set aside in error is not sent again."""

    def __init__(self) -> None:
        super().__init__()
        self.new = Loss()  # what is known from the client's new entries
        self._acknowledged = 0
        self._tries_in_all = 0

    def measured(self, tries: int) -> None:
        super().measured(tries)
        self._acknowledged += 1
        self._tries_in_all += tries

    @property
    def hopeless_tries(self) -> int:
        if self._acknowledged == 0:
            return self.new.hopeless_tries
        lost = min(1 - self._acknowledged / self._tries_in_all, LOSS_MAX)
        in_all = math.ceil(math.log(HOPELESS_CHANCE) / math.log(lost)) if lost > 0 else 0
        return max(super().hopeless_tries, in_all)


class Replay:
    """Sends one file until each entry is acknowledged or set aside. `set_aside` returns False if the disk refuses.
    Times are those of time.monotonic. Raises OSError when there is no socket, or the file cannot be read."""

    def __init__(
        self,
        file: SpillFile,
        connect: Callable[[], Link],
        pack: bool,
        counts: SpillCounts,
        set_aside: Callable[[list[bytes]], bool],
    ) -> None:
        self.file = file
        self.link = connect()
        self.is_blocked = False  # the socket takes no more at present
        self.has_heard = False  # the server has acknowledged something in the last turn
        self.waits_since = math.inf  # when the first of what was sent since then was sent
        self.is_overdue = False  # some of it was sent before, and stayed unanswered
        self.next_at = math.inf  # when there is something to do, if nothing comes before
        self._connect = connect
        self._pack_bytes = PACK_BYTES if pack else 0
        self._counts = counts
        self._set_aside = set_aside
        self._unacknowledged = Unacknowledged()
        self._unacknowledged.loss = self._loss = ReplayLoss()
        self._starts: dict[int, int] = {}  # where the entries begin that are neither acknowledged nor set aside
        self._next: Piece | None = None  # read, and to be sent when it may be
        self._batch: list[tuple[int, bytes]] = []  # to be sent next, in one datagram
        self._due: deque[Sent] = deque()  # to be retransmitted when there is room
        self._undeliverable: dict[int, bytes] = {}  # to be set aside
        self._top = 0  # the highest sequence that was sent from this socket
        self._asked = 0  # questions to the server since it is silent
        self._witness: tuple[int, bytes] | None = None  # the entry that was acknowledged last
        self._ask_at = math.inf  # when the witness is asked
        self._saved = counts.replayed  # when that was noted in the file

    def turn(self, now: float, may_begin: bool, new: Unacknowledged) -> bool:
        """Does the work that is due. `new` are the client's new entries, which go to the same server. Returns True when
        all of the file is acknowledged or set aside."""
        self._unacknowledged.learn_from(new)
        self._loss.new = new.loss
        self.is_blocked = False
        self.next_at = math.inf
        self._receive(now)
        self._retransmit(now)
        if now >= self._ask_at:
            self._ask_witness(now)
        if may_begin:
            self._send_new(now)
        self._put_aside(self._unacknowledged.hopeless(), now)
        if not self._unacknowledged.pending:
            self.waits_since, self.is_overdue = math.inf, False
        if self._counts.replayed - self._saved >= CURSOR_ENTRIES:
            self.save()
        if not self._due:  # they wait for room
            self.next_at = min(self.next_at, self._unacknowledged.next_at)
        self.next_at = min(self.next_at, self._ask_at)
        return not self._starts and self._next is None and self.file.is_read

    def save(self) -> None:
        """Notes in the file how far it is acknowledged. If the disk refuses, a later program repeats more."""
        self._saved = self._counts.replayed
        position = self._next.start if self._next else self.file.position
        with suppress(OSError):
            self.file.acknowledged(next(iter(self._starts.values()), position))

    def reconnect(self, now: float) -> None:
        """Continues with another socket, as another sender."""
        link = self._connect()
        self.link.close()
        self.link = link
        self._witness, self._ask_at = None, math.inf
        self._due.clear()
        unacknowledged = self._unacknowledged
        unacknowledged.take([sent for sent in unacknowledged.pending.values() if sent.sequence not in self._starts])
        self._top = max(self._starts, default=0)
        unacknowledged.heard = False
        if unacknowledged.pending:
            unacknowledged.fall_silent(now)

    def close(self) -> None:
        self.link.close()

    def _receive(self, now: float) -> None:
        unacknowledged = self._unacknowledged
        sequences, errors = self.link.acks()
        self.has_heard = False
        for sequence in sequences:
            sent = unacknowledged.acknowledge(sequence, now)
            if sent:
                self.has_heard = True
                self.waits_since, self.is_overdue = math.inf, False
                self._asked = 0
                self._witness = sequence, sent.line
            elif sequence not in self._undeliverable:
                unacknowledged.timeout.was_needless(now)
            if (sent or self._undeliverable.pop(sequence, None)) and self._starts.pop(sequence, None):
                self._counts.replayed += 1
        if errors and unacknowledged.pending and not unacknowledged.silent:
            unacknowledged.fall_silent(now, unacknowledged.timeout.seconds)
            self._due.clear()

    def _retransmit(self, now: float) -> None:
        """Sends entries again, one in a datagram: the server may not take the one beside it."""
        unacknowledged = self._unacknowledged
        if not self._due:
            due = unacknowledged.due(now)
            self._due.extend(self._questions(now) if due and unacknowledged.silent else due)
        for _ in range(min(len(self._due), DATAGRAMS_PER_TURN)):
            sent = self._due[0]
            if unacknowledged.pending.get(sent.sequence) is sent:
                if not self._send(sent.line, now):
                    return
                unacknowledged.sent_again([sent], now)
                self.is_overdue = True
                self._counts.retransmitted += 1
                if sent.times > SUSPECT_TRIES and self._witness:
                    self._ask_at = min(self._ask_at, now + WITNESS_SEC)
                    if not unacknowledged.silent:  # the witness has answered by then
                        wait = max(SUSPECT_SEC, WITNESS_SEC + unacknowledged.timeout.seconds)
                        unacknowledged.put_back([sent], now + wait)
            self._due.popleft()
        if self._due:
            self.next_at = now

    def _ask_witness(self, now: float) -> None:
        """Lets the server acknowledge something that it has acknowledged before, so that it is known whether it answers
        at all."""
        self._ask_at = math.inf
        if self._witness and self._witness[0] not in self._unacknowledged.pending:
            if self._send(self._witness[1], now):
                self._unacknowledged.add(*self._witness, math.nextafter(now, math.inf))  # later than the suspects
            else:
                self._ask_at = now + SUSPECT_SEC

    def _questions(self, now: float) -> list[Sent]:
        """What a silent server is asked with: the highest sequence, since a server without memory counts none before
        the first one as lost. Now and then another goes behind it, since the server may not take that one; and from
        another socket, since the network may have forgotten this one."""
        pending = self._unacknowledged.pending
        self._asked += 1
        number, rest = divmod(self._asked, ASK_ANOTHER)
        if rest == 0:
            self.reconnect(now)
        highest_first = sorted(pending, reverse=True)
        chosen = highest_first[:1]
        if rest == 0 and pending and number % len(pending):
            chosen.append(highest_first[number % len(pending)])
        return [pending[sequence] for sequence in chosen]

    def _put_aside(self, hopeless: list[Sent], now: float) -> None:
        self._undeliverable |= {sent.sequence: sent.line for sent in hopeless if sent.sequence in self._starts}
        if self._undeliverable and self._set_aside(list(self._undeliverable.values())):
            for key in self._undeliverable:
                del self._starts[key]
            self._undeliverable = {}
        if self._undeliverable:
            self.next_at = min(self.next_at, now + ASIDE_AGAIN_SEC)

    def _send_new(self, now: float) -> None:
        for _ in range(DATAGRAMS_PER_TURN):
            self._batch = self._batch or self._gather(now)
            if not self._batch or not self._send(b"\n".join([line for _, line in self._batch]), now):
                return
            for sequence, line in self._batch:
                self._unacknowledged.add(sequence, line, now)
            self._batch = []
        self.next_at = now

    def _gather(self, now: float) -> list[tuple[int, bytes]]:
        """The next entries for one datagram, as far as they may be sent now."""
        batch: list[tuple[int, bytes]] = []
        room = self._pack_bytes
        while len(self._starts) < SEQUENCE_WINDOW:
            piece = self._next = self._next or self.file.next()
            if piece is None:
                break
            start, sequence, line = piece
            if sequence is None or sequence in self._starts:  # the same in another entry: somebody has written that
                self._starts[-start] = start
                self._undeliverable[-start] = line
            else:
                room -= len(line) + 1
                if (batch and room < 0) or not self._may_send(sequence, bool(batch), now):
                    break
                self._starts[sequence] = start
                self._top = max(self._top, sequence)
                batch.append((sequence, line))
            self._next = None
        return batch

    def _may_send(self, sequence: int, has_others: bool, now: float) -> bool:
        """Whether an entry that has not been sent may be sent now, with others in its datagram or as the first one."""
        unacknowledged = self._unacknowledged
        pending = unacknowledged.pending
        if not unacknowledged.heard:
            if has_others or (pending and unacknowledged.newest().times < PROBE_TRIES):
                return False
        elif unacknowledged.silent:
            return False
        if self._top == 0:
            return True
        if sequence == self._top + 1:
            return not pending or sequence - unacknowledged.oldest().sequence < SEQUENCE_WINDOW
        if 0 <= self._top - sequence < SEQUENCE_WINDOW:
            return True
        if pending or has_others:
            return False
        self.reconnect(now)
        self._top = 0
        return True

    def _send(self, datagram: bytes, now: float) -> bool:
        """Returns False if it has to wait for room, here or in the receive buffer of a server on this machine."""
        room_at = self.link.room_at(len(datagram), now)
        if room_at > now:
            self.next_at = min(self.next_at, room_at)
            return False
        self.waits_since = min(self.waits_since, now)
        try:
            self.link.socket.send(datagram)
        except BlockingIOError:
            self.is_blocked = True
            return False
        except OSError:  # the network is down, or an earlier datagram was refused: this one is retransmitted anyway
            pass
        return True
