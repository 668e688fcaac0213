"""A fastlog server for tests, in a thread of the test's own process.

It takes entries from a real UDP socket, judges them with the server's own scanner, stores a retransmitted entry once,
and acknowledges priority entries. What it lacks is all that a disk is for. It can be made to fail as servers and
networks do.
"""

import random
import selectors
import socket
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NamedTuple, Self

from fastlog.client.core import scan
from fastlog.entry import known_level
from fastlog.errors import ConfigError
from fastlog.limits import DEFAULT_PRIORITY_LEVELS
from fastlog.testing.entry_log import EntryLog

RECEIVE_BUFFER_BYTES = 4 << 20  # as much as the server asks for; a system may grant less
DATAGRAM_READ_BYTES = 65_536  # more than any datagram has
DATAGRAMS_AT_END = 10_000  # that are still taken when the collector ends: no flood keeps it from ending
STORED_HASHES_MAX = 262_144  # priority entries that are known again: as many as the server knows
REJECTED_MAX = 1_000  # rejected pieces that are kept
REJECTED_CHARS = 1_000  # of each of them, so that all of them take a few megabytes
SHOWN_REJECTED = 3  # in the message of a failed assertion


class Rejected(NamedTuple):
    """Input that the collector did not store: why, in the server's terms, and its first characters."""

    reason: str
    text: str


class Collector(EntryLog):
    """A fastlog server in this process. It listens when the constructor returns, on a free port unless one is given.

        with Collector() as collector, Client(collector.host, collector.port) as client:
            client.send("ERROR", "payment provider timed out", order=1093)
            collector.wait_for("ERROR", order=1093)

    `priority_levels` are those that it acknowledges. Raises ConfigError for an unknown one, and OSError if it cannot
    listen.
    """

    def __init__(
        self, host: str = "127.0.0.1", port: int = 0, *, priority_levels: Iterable[str] = DEFAULT_PRIORITY_LEVELS
    ) -> None:
        super().__init__()
        self.host = host
        self._priority_levels = {_known(level) for level in priority_levels}
        self._stored: OrderedDict[int, None] = OrderedDict()  # hashes of priority entries, the newest last
        self._rejected: deque[Rejected] = deque(maxlen=REJECTED_MAX)
        self._answers = True
        self._rejects = False
        self._loss: tuple[float, random.Random] | None = None
        self._receiver: _Receiver | None = None
        self._place = _Place(host, port)
        self.port = self._place.address[1]
        self._listen()

    @property
    def rejected(self) -> list[Rejected]:
        """The newest of the pieces that were rejected.

        assert collector.rejected == []
        """
        with self._changed:
            return list(self._rejected)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Nothing listens on the port meanwhile, so this machine refuses datagrams. The port stays reserved.

        with collector.away():
            client.send("ERROR", "kept until the server is back")
        collector.wait_for("ERROR", "kept until the server is back")
        """
        self._leave()
        try:
            yield
        finally:
            self._listen()

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Entries are stored meanwhile, and none is acknowledged: the ACKs are lost on their way.

        with collector.silent():
            client.send("ERROR", "m")
            assert not client.flush(timeout=0.1)
        """
        with self._replaced("_answers", False):
            yield

    @contextmanager
    def lossy(self, share: float, *, seed: int = 0) -> Iterator[None]:
        """That share of the datagrams is lost meanwhile, and the same share of the ACKs. `seed` makes it repeatable.

        with collector.lossy(0.3):
            client.send("ERROR", "is sent again until it arrives")
        """
        if not 0 <= share <= 1:
            raise ConfigError(f"share is {share}: must be from 0 to 1")
        with self._replaced("_loss", (share, random.Random(seed))):
            yield

    @contextmanager
    def rejecting(self) -> Iterator[None]:
        """Everything is rejected meanwhile, as `denied`: so does a server that does not admit the sender's network.

        with collector.rejecting():
            client.send("ERROR", "m")
        """
        with self._replaced("_rejects", True):
            yield

    def clear(self) -> None:
        """Forgets the entries and the rejected pieces so far. Entries that are sent again are still known."""
        with self._changed:
            super().clear()
            self._rejected.clear()

    def close(self) -> None:
        """Ends the thread and gives the port back. A second call does nothing."""
        self._leave()
        self._place.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _listen(self) -> None:
        self._receiver = _Receiver(self._place.take(), self._take)

    def _leave(self) -> None:
        if self._receiver:
            self._receiver.close()
        self._receiver = None

    @contextmanager
    def _replaced(self, name: str, value: object) -> Iterator[None]:
        with self._changed:
            before = getattr(self, name)
            setattr(self, name, value)
        try:
            yield
        finally:
            if self._receiver:
                self._receiver.take_waiting()
            with self._changed:
                setattr(self, name, before)

    def _take(self, datagram: bytes, sender: object) -> list[bytes]:
        """Takes a datagram. Returns the ACKs that are to be sent."""
        with self._changed:
            if self._is_lost():
                return []
            if self._rejects:
                self._reject("denied", datagram)
                return []
            acks = []
            for reason, level, sequence, start, end, line, has_timestamp, _ in scan(datagram):
                if line is None:
                    self._reject(reason or "", datagram[start:end])
                    continue
                is_owed = sequence is not None and level in self._priority_levels
                if not is_owed or self._is_new(hash(line if has_timestamp else (line, sender))):
                    self._add(line)
                if is_owed and self._answers and not self._is_lost():
                    acks.append(b'{"ack":true,"sequence":%d}' % (sequence or 0))
            return acks

    def _is_lost(self) -> bool:
        return self._loss is not None and self._loss[1].random() < self._loss[0]

    def _is_new(self, stored_hash: int) -> bool:
        if stored_hash in self._stored:
            return False
        self._stored[stored_hash] = None
        if len(self._stored) > STORED_HASHES_MAX:
            self._stored.popitem(last=False)
        return True

    def _reject(self, reason: str, piece: bytes) -> None:
        self._rejected.append(Rejected(reason, piece[:REJECTED_CHARS].decode(errors="replace")))

    def _remarks(self) -> list[str]:
        remarks = []
        if self._receiver is None:
            remarks.append("the collector is away")
        if not self._answers:
            remarks.append("the collector is silent: it acknowledges nothing")
        if self._loss:
            remarks.append(f"the collector loses {self._loss[0]:.0%} of what it receives")
        rejected = self.rejected
        if rejected:
            remarks.append(f"{len(rejected)} pieces were rejected, the newest last")
            remarks += [f"  {each.reason}: {each.text!r}" for each in rejected[-SHOWN_REJECTED:]]
        return remarks


class _Place:
    """An address with a free port, or the given one. It stays reserved while nothing listens there: a socket that is
    connected to itself is bound to it, and the kernel hands that socket no datagram of anybody else."""

    def __init__(self, host: str, port: int) -> None:
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(self._family, socket.SOCK_DGRAM)
        try:
            self._socket.bind((host, port))
            # Only now: with this option, `bind` might choose a port that another such socket has.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.address = self._socket.getsockname()
            self._socket.connect(self.address)
        except BaseException:
            self._socket.close()
            raise

    def take(self) -> socket.socket:
        """A socket that receives what is sent to the address."""
        listener = socket.socket(self._family, socket.SOCK_DGRAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            listener.setblocking(False)
            listener.bind(self.address)
        except BaseException:
            listener.close()
            raise
        return listener

    def close(self) -> None:
        self._socket.close()


class _Receiver:
    """A thread that hands what a socket receives to `take`, and sends the ACKs that it returns."""

    def __init__(self, listener: socket.socket, take: Callable[[bytes, Any], list[bytes]]) -> None:
        self._socket = listener
        self._take = take
        self._end, self._ended = socket.socketpair()
        self._taking = threading.Lock()  # from the receipt of a datagram until it is taken
        self._thread = threading.Thread(target=self._run, name="fastlog.testing.Collector", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Refuses datagrams from now on, takes those that are here, and ends the thread."""
        # Not only closed: a child of this process may hold the socket, too.
        self._socket.connect(self._socket.getsockname())
        self._end.send(b"e")
        self._thread.join()
        self._end.close()
        self._ended.close()
        self._socket.close()

    def take_waiting(self) -> None:
        """Takes the datagrams that are here."""
        for _ in range(DATAGRAMS_AT_END):
            if not self._receive():
                break

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            selector.register(self._ended, selectors.EVENT_READ)
            while not any(key.fileobj is self._ended for key, _ in selector.select()):
                self._receive()
        self.take_waiting()

    def _receive(self) -> bool:
        """Takes a datagram, if there is one."""
        with self._taking:
            try:
                datagram, sender = self._socket.recvfrom(DATAGRAM_READ_BYTES)
            except OSError:
                return False
            acks = self._take(datagram, sender)
        for ack in acks:
            try:
                self._socket.sendto(ack, sender)
            except OSError:  # the sender is gone, or sends again
                continue
        return True


def _known(name: str) -> str:
    level = known_level(name)
    if level is None:
        raise ConfigError(f"priority_levels has {name!r}")
    return level
