"""Files that keep priority entries while the server does not answer, and their replay.

A file holds entries as they are sent, a line each. It is a sender of its own, with its own socket and a sequence
without gaps, so that the server's account of what is lost stays true. It is removed when all of it is acknowledged. A
lock shows that somebody has it; what a program left behind is taken over by the next one that uses the same path, and
sent again from the beginning, the same bytes: the server stores nothing twice.
"""

import fcntl
import glob
import math
import os
import re
from collections import deque
from collections.abc import Callable

import msgspec

from fastlog.addresses import Address
from fastlog.client._outbox import Item
from fastlog.client.link import Link
from fastlog.client.retransmit import Flow
from fastlog.limits import SEQUENCE_WINDOW

SPILL_MAX_BYTES = 1 << 30  # of one file: an outage of a day at 12 kB/s of errors; beyond, entries wait in memory
READ_BYTES = 1 << 18  # of a file at once
FIRST_SEQUENCE_BYTES = 6  # of randomness where a file's sequence starts: 48 bits, which every JSON reader keeps

_SEQUENCE = re.compile(rb'"sequence":([0-9]{1,20}),')  # the first one of a line is the client's own


class SpillFile:
    """One file under a lock. Raises OSError when the disk refuses."""

    def __init__(self, path: str, fd: int, size: int) -> None:
        self.path = path
        self.next_sequence = int.from_bytes(os.urandom(FIRST_SEQUENCE_BYTES)) + 1
        self._fd = fd
        self._size = size  # of whole lines
        self._read = 0
        self._lines: list[bytes] = []  # read and not yet taken, the last one first

    @classmethod
    def create(cls, prefix: str) -> "SpillFile":
        path = f"{prefix}.{os.getpid()}-{os.urandom(4).hex()}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return cls(path, fd, 0)

    @classmethod
    def left_behind(cls, prefix: str) -> "list[SpillFile]":
        """The files of programs that are gone, the oldest first; now this program has them."""
        found = []
        for path in glob.glob(glob.escape(prefix) + ".*"):
            fd = os.open(path, os.O_RDWR | os.O_APPEND)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:  # somebody has it
                os.close(fd)
                continue
            status = os.fstat(fd)
            if status.st_nlink == 0:
                os.close(fd)
            else:
                found.append((status.st_mtime_ns, cls(path, fd, status.st_size)))
        return [file for _, file in sorted(found, key=lambda pair: pair[0])]

    def has_room(self) -> bool:
        return self._size < SPILL_MAX_BYTES

    def append(self, lines: list[bytes]) -> None:
        """All of them or none."""
        data = b"\n".join(lines) + b"\n"
        written = 0
        try:
            while written < len(data):
                written += os.write(self._fd, data[written:])
        except OSError:
            os.ftruncate(self._fd, self._size)
            raise
        self._size += len(data)

    def next(self) -> tuple[int, bytes] | None:
        """The next entry and its sequence; None: no more at present."""
        while True:
            if not self._lines and not self._read_on():
                return None
            line = self._lines.pop()
            match = _SEQUENCE.search(line)
            if match:
                return int(match[1]), line

    def remove(self) -> None:
        os.unlink(self.path)
        self.close()

    def close(self) -> None:
        """Keeps the file for the next program. In a child after a fork, the lock stays with the parent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _read_on(self) -> bool:
        size = READ_BYTES
        while self._read < self._size:
            data = os.pread(self._fd, size, self._read)
            end = data.rfind(b"\n") + 1
            if end:
                self._read += end
                self._lines = data[: end - 1].split(b"\n")[::-1]
                return True
            if len(data) < size:  # a program ended in the middle of a line
                break
            size *= 2
        return False


class Replay:
    """Sends one file until all of it is acknowledged, beside the client's own traffic. Raises OSError at the start."""

    def __init__(self, file: SpillFile, address: Address, send_buffer: int) -> None:
        self.file = file
        self.link = Link(address, send_buffer)
        self.flow = Flow()
        self.is_blocked = False  # the socket takes no more at present
        self._next: tuple[int, bytes] | None = None

    def turn(self, now: float, may_begin: bool, counts: "SpillCounts") -> bool:
        """Does what is due; True when all of the file is acknowledged."""
        flow = self.flow
        self.is_blocked = False
        acks, refusals = self.link.acks()
        for sequence in acks:
            counts.replayed += flow.acknowledged(sequence, now) is not None
        if refusals and flow.pending and not flow.silent:
            flow.fall_silent(now, flow.timeout.seconds)
        for sent in flow.due(now):
            self._send(sent.line)
            flow.sent_again(sent, now)
            counts.retransmitted += 1
        # The first entry goes alone until it is acknowledged, so that it is the first one that the server sees.
        while may_begin and not flow.silent and len(flow.pending) < (SEQUENCE_WINDOW if flow.heard else 1):
            self._next = self._next or self.file.next()
            if self._next is None:
                return not flow.pending
            sequence, line = self._next
            if not self._send(line):
                break
            flow.sent(sequence, 0, 0, line, now)
            self._next = None
        return False

    def close(self) -> None:
        self.link.close()

    def _send(self, line: bytes) -> bool:
        try:
            self.link.socket.send(line)
        except BlockingIOError:
            self.is_blocked = True
            return False
        except OSError:  # there is no way now, or an earlier one was refused: it is repeated until it is acknowledged
            return True
        return True


class SpillCounts(msgspec.Struct):
    spilled: int = 0  # entries written to files
    replayed: int = 0  # entries of files that were acknowledged
    retransmitted: int = 0


class Spill:
    """The files of one client: the one that is written, and those that wait for their replay. Raises nothing; what a
    disk refuses is in `problem`. `line(item, sequence)` is an entry as it is sent."""

    def __init__(self, prefix: str, line: Callable[[Item, int], bytes]) -> None:
        self.counts = SpillCounts()
        self.problem = ""
        self.replay: Replay | None = None
        self._prefix = prefix
        self._line = line
        self._written: SpillFile | None = None
        self._waiting: deque[SpillFile] = deque()

    def take_over(self) -> None:
        """What other programs left behind is replayed, too."""
        try:
            self._waiting.extend(SpillFile.left_behind(self._prefix))
        except OSError as error:
            self.problem = f"cannot take over {error.filename}: {error.strerror}"

    @property
    def is_empty(self) -> bool:
        return self._written is None and self.replay is None and not self._waiting

    @property
    def next_at(self) -> float:
        """When `turn` has something to do again, if nothing comes before."""
        return self.replay.flow.next_at if self.replay else math.inf

    def add(self, items: list[Item]) -> bool:
        """Writes entries that were never sent; False if the disk takes none of them."""
        file = self._written
        try:
            if file is None:
                file = SpillFile.create(self._prefix)
                self._waiting.append(file)
                self._written = file
            if not file.has_room():
                self.problem = f"{file.path} has reached its limit of {SPILL_MAX_BYTES} bytes"
                return False
            file.append([self._line(item, file.next_sequence + i) for i, item in enumerate(items)])
        except OSError as error:
            self.problem = f"cannot write to {self._prefix}: {error.strerror}"
            return False
        file.next_sequence += len(items)
        self.counts.spilled += len(items)
        return True

    def keep(self, lines: list[bytes]) -> bool:
        """Writes entries that were sent, for the next program, to a file of their own, since their sequences have gaps.
        The newest is the first one: a server that has not seen this sender takes none before it for lost."""
        try:
            file = SpillFile.create(self._prefix)
            try:
                file.append(lines)
            finally:
                file.close()
        except OSError as error:
            self.problem = f"cannot write to {self._prefix}: {error.strerror}"
            return False
        self.counts.spilled += len(lines)
        return True

    def turn(self, now: float, address: Address, send_buffer: int, may_begin: bool) -> None:
        """Replays what waits, one file after the other, to the server at that address."""
        try:
            if self.replay and self.replay.link.address != address:
                link = Link(address, send_buffer)
                self.replay.close()
                self.replay.link = link
                self.replay.flow.fall_silent(now)
            while self.replay or (self._waiting and may_begin):
                self.replay = self.replay or Replay(self._waiting[0], address, send_buffer)
                if not self.replay.turn(now, may_begin, self.counts):
                    break
                self.replay.close()
                self.replay = None
                self._remove(self._waiting.popleft())
        except OSError as error:
            self.problem = f"cannot replay {self._prefix}: {error.strerror}"

    def _remove(self, file: SpillFile) -> None:
        if file is self._written:
            self._written = None
        try:
            file.remove()
        except OSError as error:
            self.problem = f"cannot remove {file.path}: {error.strerror}"
            file.close()

    def close(self) -> None:
        """Files stay for the next program. In a child after a fork, they stay the parent's."""
        if self.replay:
            self.replay.close()
        for file in self._waiting:
            file.close()
