"""Files that keep priority entries while the server does not answer, and their replay.

A file holds entries as they are sent, one in each line. To the server, a file is a sender of its own, with a socket and
a sequence without gaps, so that the server counts no loss. When all of its entries are acknowledged, it is removed. A
lock shows that a program uses the file. The next program with the same path takes over the files of one that is gone,
and sends them from the beginning. Since the bytes are the same, the server stores nothing twice.
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
from fastlog.client.retransmit import Unacknowledged
from fastlog.client.send_queue import first_sequence
from fastlog.limits import SEQUENCE_WINDOW

SPILL_MAX_BYTES = 1 << 30  # in one file: a day at 12 kB/s of priority entries; beyond that, entries wait in memory
READ_BYTES = 1 << 18  # a file is read in parts of this size

_SEQUENCE = re.compile(rb'"sequence":([0-9]{1,20}),')  # the first one of a line is that of the client


class SpillFile:
    """One file under a lock. Methods raise OSError when the disk refuses."""

    def __init__(self, path: str, fd: int, size: int) -> None:
        self.path = path
        self.next_sequence = first_sequence()
        self._fd = fd
        self._size = size  # bytes, in whole lines
        self._read = 0
        self._lines: list[bytes] = []  # read and not taken yet, the last one first

    @classmethod
    def create(cls, prefix: str) -> "SpillFile":
        path = f"{prefix}.{os.getpid()}-{os.urandom(4).hex()}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return cls(path, fd, 0)

    @classmethod
    def left_behind(cls, prefix: str) -> "tuple[list[SpillFile], OSError | None]":
        """Takes over the files of programs that are gone, the oldest first. Also returns the error of a file that
        cannot be opened."""
        found = []
        problem = None
        for path in glob.glob(glob.escape(prefix) + ".*"):
            try:
                fd = os.open(path, os.O_RDWR | os.O_APPEND)
            except FileNotFoundError:  # another program has just sent all of it
                continue
            except OSError as error:
                problem = error
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:  # a program uses it
                os.close(fd)
                continue
            status = os.fstat(fd)
            if status.st_nlink == 0:
                os.close(fd)
            else:
                found.append((status.st_mtime_ns, cls(path, fd, status.st_size)))
        return [file for _, file in sorted(found, key=lambda pair: pair[0])], problem

    def has_room(self) -> bool:
        return self._size < SPILL_MAX_BYTES

    def append(self, lines: list[bytes]) -> None:
        """Appends all of the lines or none."""
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
        """The sequence of the next entry, and the entry; None if there are no more at present."""
        while True:
            if not self._lines and not self._read_more():
                return None
            line = self._lines.pop()
            match = _SEQUENCE.search(line)
            if match:
                return int(match[1]), line

    def remove(self) -> None:
        os.unlink(self.path)
        self.close()

    def close(self) -> None:
        """Closes the file and leaves it for the next program. In a child after a fork, the parent keeps the lock."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _read_more(self) -> bool:
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
    """Sends one file until all of it is acknowledged, beside the client's new entries."""

    def __init__(self, file: SpillFile, link: Link) -> None:
        self.file = file
        self.link = link
        self.unacknowledged = Unacknowledged()
        self.is_blocked = False  # the socket takes no more at present
        self._next: tuple[int, bytes] | None = None

    def turn(self, now: float, may_begin: bool, counts: "SpillCounts") -> bool:
        """Does the work that is due. Returns True when all of the file is acknowledged."""
        unacknowledged = self.unacknowledged
        self.is_blocked = False
        acks, refusals = self.link.acks()
        for sequence in acks:
            counts.replayed += unacknowledged.acknowledge(sequence, now) is not None
        if refusals and unacknowledged.pending and not unacknowledged.silent:
            unacknowledged.fall_silent(now, unacknowledged.timeout.seconds)
        due = unacknowledged.due(now)
        for datagram in unacknowledged.retransmit(due, 0, now):
            self._send(datagram)
        counts.retransmitted += len(due)
        # The first entry goes alone until it is acknowledged, so that it is the first one that the server sees.
        window = SEQUENCE_WINDOW if unacknowledged.heard else 1
        while may_begin and not unacknowledged.silent and len(unacknowledged.pending) < window:
            self._next = self._next or self.file.next()
            if self._next is None:
                return not unacknowledged.pending
            sequence, line = self._next
            if unacknowledged.pending and sequence - unacknowledged.oldest().sequence >= SEQUENCE_WINDOW:
                break  # the server would count the oldest one as lost
            if not self._send(line):
                break
            unacknowledged.add(sequence, line, now)
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
        except OSError:  # the network is down, or an earlier datagram was refused: this one is retransmitted anyway
            return True
        return True


class SpillCounts(msgspec.Struct):
    spilled: int = 0  # entries written to files
    replayed: int = 0  # entries of files that the server acknowledged
    retransmitted: int = 0


class Spill:
    """The files of one client: the one that is written, and those that wait for their replay. Raises nothing: `problem`
    has the latest error of the disk. `line(item, sequence)` gives an entry as it is sent; `connect` makes a Link."""

    def __init__(self, prefix: str, line: Callable[[Item, int], bytes], connect: Callable[[Address], Link]) -> None:
        self.counts = SpillCounts()
        self.problem = ""
        self.replay: Replay | None = None
        self._prefix = prefix
        self._line = line
        self._connect = connect
        self._written: SpillFile | None = None
        self._waiting: deque[SpillFile] = deque()

    def take_over(self) -> None:
        """Takes the files that other programs left behind, to replay them."""
        files, error = SpillFile.left_behind(self._prefix)
        self._waiting.extend(files)
        if error:
            self.problem = f"cannot take over {error.filename}: {error.strerror}"

    @property
    def is_empty(self) -> bool:
        return self._written is None and self.replay is None and not self._waiting

    @property
    def next_at(self) -> float:
        """When `turn` has something to do again, if nothing arrives before."""
        return self.replay.unacknowledged.next_at if self.replay else math.inf

    def add(self, items: list[Item]) -> bool:
        """Writes entries that were never sent. Returns False if the disk takes none of them."""
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
        """Writes entries that were sent, for the next program. They get a file of their own, since their sequences have
        gaps. The newest goes first: a server that has not seen this sender counts none before it as lost."""
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

    def turn(self, now: float, address: Address, may_begin: bool) -> None:
        """Replays the files that wait, one after the other, to the server at that address."""
        try:
            if self.replay and self.replay.link.address != address:
                link = self._connect(address)
                self.replay.close()
                self.replay.link = link
                self.replay.unacknowledged.fall_silent(now)
            while self.replay or (self._waiting and may_begin):
                self.replay = self.replay or Replay(self._waiting[0], self._connect(address))
                if not self.replay.turn(now, may_begin, self.counts):
                    break
                self.replay.close()
                self.replay = None
                self._remove(self._waiting.popleft())
        except OSError as error:
            self.problem = f"cannot replay {self._prefix}: {error.strerror}"

    def renew(self, now: float, address: Address) -> None:
        """The client has a new socket to the server, so the replay needs one, too."""
        if self.replay:
            try:
                link = self._connect(address)
            except OSError:  # the present one stays until the client moves again
                return
            self.replay.close()
            self.replay.link = link
            self.replay.unacknowledged.fall_silent(now)

    def _remove(self, file: SpillFile) -> None:
        if file is self._written:
            self._written = None
        try:
            file.remove()
        except OSError as error:
            self.problem = f"cannot remove {file.path}: {error.strerror}"
            file.close()

    def close(self) -> None:
        """Leaves the files for the next program, or, in a child after a fork, for the parent."""
        if self.replay:
            self.replay.close()
        for file in self._waiting:
            file.close()
