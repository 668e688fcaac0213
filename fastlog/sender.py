"""The sending side: entries go out over one UDP socket; those of priority levels are repeated until acknowledged.

A retransmission is the same bytes again, so that the server can tell it from a new entry.
"""

import math
import random
import select
import socket
from collections.abc import Iterable
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import msgspec

from fastlog.entry import level_of
from fastlog.errors import FastlogError

DATAGRAM_MAX_BYTES = 65507  # of UDP over IPv4
FIRST_TIMEOUT_SEC = 0.5  # before the first retransmission: most disks have synced by then
LONGEST_TIMEOUT_SEC = 5.0  # the time-out doubles up to here
JITTER = 0.2  # share by which a time-out varies, so that many senders do not repeat in step
SHOWN_MAX = 20  # unacknowledged entries that are remembered one by one
WINDOW = 1024  # entries unacknowledged at once: their ACKs fit in any receive buffer


class SendError(FastlogError):
    """An entry cannot be sent at all: the name does not resolve, or the entry does not fit in a datagram."""


class _Ack(msgspec.Struct):
    ack: bool
    sequence: int


class _Pending(msgspec.Struct):
    """A priority entry that waits for its ACK; times on the clock of time.monotonic."""

    sequence: int
    datagram: bytes
    message: str
    give_up_at: float
    timeout: float
    due: float = 0.0


class Sender:
    """Sends to one server. `give_up_sec`: how long an entry is repeated before it counts as not acknowledged."""

    def __init__(
        self, host: str, port: int, send_buffer: int, priority_levels: Iterable[str], give_up_sec: float
    ) -> None:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
            self._socket = socket.socket(family, kind, protocol)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
            self._socket.connect(address)
        except (OSError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no host name"
            raise SendError(f"cannot find the server {host!r}: {reason}") from error
        self.sent = 0
        self.acknowledged = 0
        self.refused = False  # the network said that nothing listens there, or that there is no way
        self.given_up = 0  # priority entries that were not acknowledged in time
        self.unacknowledged: list[tuple[int, str]] = []  # sequence and message of the first of them
        self._priority_levels = frozenset(priority_levels)
        self._give_up_sec = give_up_sec
        self._host_name = socket.gethostname()
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder(_Ack).decode
        self._pending: dict[int, _Pending] = {}

    def send(self, level: str, message: str, **fields: Any) -> None:
        """Sends one entry; waits only while WINDOW priority entries are unacknowledged. Raises SendError."""
        sequence = self.sent + 1
        timestamp = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        entry = {"timestamp": timestamp, "sequence": sequence, "level": level, "message": message}
        datagram = self._encode({**entry, "host": self._host_name, **fields})
        if len(datagram) > DATAGRAM_MAX_BYTES:
            raise SendError(
                f"an entry of {len(datagram)} bytes does not fit in a datagram ({DATAGRAM_MAX_BYTES} bytes)"
            )
        self.sent = sequence
        if level_of(level) not in self._priority_levels:
            self._put(datagram)
            return
        while len(self._pending) >= WINDOW:
            self._pump()
        now = monotonic()
        self._pending[sequence] = _Pending(sequence, datagram, message, now + self._give_up_sec, FIRST_TIMEOUT_SEC)
        self._transmit(self._pending[sequence], now)
        self._receive()

    def idle(self, timeout: float | None, source: int | None = None) -> bool:
        """Looks after ACKs and retransmissions for `timeout` seconds (None: for ever), or until the file descriptor
        `source` can be read (True)."""
        until = math.inf if timeout is None else monotonic() + timeout
        while monotonic() < until:
            if self._pump(source, until):
                return True
        return False

    def wait(self) -> None:
        """Returns when every priority entry is acknowledged or given up."""
        while self._pending:
            self._pump()
        self._receive()  # an ordinary entry to a closed port leaves its refusal here

    def close(self) -> None:
        self._socket.close()

    def _transmit(self, pending: _Pending, now: float) -> None:
        self._put(pending.datagram)
        pending.due = min(now + pending.timeout * random.uniform(1 - JITTER, 1 + JITTER), pending.give_up_at)
        pending.timeout = min(pending.timeout * 2, LONGEST_TIMEOUT_SEC)

    def _pump(self, source: int | None = None, until: float = math.inf) -> bool:
        """One wait for ACKs, the next retransmission, `until` or `source`; True if that one can be read."""
        at = min((pending.due for pending in self._pending.values()), default=math.inf)
        at = min(at, until)
        sources = [self._socket.fileno()] if source is None else [self._socket.fileno(), source]
        ready, _, _ = select.select(sources, [], [], None if at == math.inf else max(0.0, at - monotonic()))
        if self._socket.fileno() in ready:
            self._receive()
        self._repeat(monotonic())
        return source in ready

    def _repeat(self, now: float) -> None:
        for pending in [pending for pending in self._pending.values() if pending.due <= now]:
            if pending.give_up_at <= now:
                del self._pending[pending.sequence]
                self.given_up += 1
                if len(self.unacknowledged) < SHOWN_MAX:
                    self.unacknowledged.append((pending.sequence, pending.message))
            else:
                self._transmit(pending, now)

    def _receive(self) -> None:
        while True:
            try:
                datagram = self._socket.recv(2048, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:  # what the network says of an earlier datagram
                self.refused = True
                continue
            try:
                ack = self._decode(datagram)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
            if ack.ack and ack.sequence in self._pending:
                del self._pending[ack.sequence]
                self.acknowledged += 1

    def _put(self, datagram: bytes) -> None:
        for _ in range(2):
            try:
                self._socket.send(datagram)
            except OSError:  # the answer to an earlier datagram, or no way there now; this one was not sent
                self.refused = True
            else:
                return
