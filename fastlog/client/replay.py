"""The replay of one spill file, beside the client's new entries.

To the server, a replay is a sender of its own, with a socket and a sequence without gaps, so that it counts no loss.
"""

from collections.abc import Callable

import msgspec

from fastlog.addresses import Address
from fastlog.client.link import Link
from fastlog.client.retransmit import Unacknowledged
from fastlog.client.spill_file import Piece, SpillFile
from fastlog.limits import SEQUENCE_WINDOW

CURSOR_ENTRIES = 1_024  # acknowledged before the file says so: far fewer than the server recognises as stored


class SpillCounts(msgspec.Struct):
    spilled: int = 0  # entries written to files
    replayed: int = 0  # entries of files that the server acknowledged
    retransmitted: int = 0
    set_aside: int = 0  # entries, and lines that are none, in files that nobody sends again
    given_up: int = 0  # the same, for which these files have no room


class Replay:
    """Sends one file until all of it is acknowledged. `set_aside` takes what cannot be sent. Raises OSError when the
    file cannot be read."""

    def __init__(
        self, file: SpillFile, link: Link, counts: SpillCounts, set_aside: Callable[[list[bytes]], bool]
    ) -> None:
        self.file = file
        self.link = link
        self.unacknowledged = Unacknowledged()
        self.is_blocked = False  # the socket takes no more at present
        self._counts = counts
        self._set_aside = set_aside
        self._next: Piece | None = None
        self._starts: dict[int, int] = {}  # where the entries begin that are not acknowledged
        self._saved = counts.replayed  # when the file was told how far it is acknowledged

    def turn(self, now: float, may_begin: bool) -> bool:
        """Does the work that is due. Returns True when all of the file is acknowledged."""
        unacknowledged = self.unacknowledged
        self.is_blocked = False
        acks, refusals = self.link.acks()
        for sequence in acks:
            if unacknowledged.acknowledge(sequence, now):
                del self._starts[sequence]
                self._counts.replayed += 1
        if refusals and unacknowledged.pending and not unacknowledged.silent:
            unacknowledged.fall_silent(now, unacknowledged.timeout.seconds)
        due = unacknowledged.due(now)
        for datagram in unacknowledged.retransmit(due, 0, now):
            self._send(datagram)
        self._counts.retransmitted += len(due)
        if self._counts.replayed - self._saved >= CURSOR_ENTRIES:
            self.save()
        return self._send_new(now) if may_begin and not unacknowledged.silent else False

    def save(self) -> None:
        """Tells the file how far it is acknowledged."""
        self._saved = self._counts.replayed
        next_at = self._next.start if self._next else self.file.position
        self.file.acknowledged(next(iter(self._starts.values()), next_at))

    def reconnect(self, address: Address, connect: Callable[[Address], Link], now: float) -> None:
        link = connect(address)
        self.link.close()
        self.link = link
        self.unacknowledged.fall_silent(now)

    def close(self) -> None:
        self.link.close()

    def _send_new(self, now: float) -> bool:
        unacknowledged = self.unacknowledged
        # The first entry goes alone until it is acknowledged, so that it is the first one that the server sees.
        window = SEQUENCE_WINDOW if unacknowledged.heard else 1
        while len(unacknowledged.pending) < window:
            self._next = self._next or self.file.next()
            if self._next is None:
                return not unacknowledged.pending
            start, sequence, line = self._next
            if sequence is None or sequence in unacknowledged.pending:
                if not self._set_aside([line]):
                    break
            else:
                if unacknowledged.pending and sequence - unacknowledged.oldest().sequence >= SEQUENCE_WINDOW:
                    break  # the server would count the oldest one as lost
                if not self._send(line):
                    break
                unacknowledged.add(sequence, line, now)
                self._starts[sequence] = start
            self._next = None
        return False

    def _send(self, line: bytes) -> bool:
        try:
            self.link.socket.send(line)
        except BlockingIOError:
            self.is_blocked = True
            return False
        except OSError:  # the network is down, or an earlier datagram was refused: this one is retransmitted anyway
            return True
        return True
