"""The client: what a program calls to log to a fastlog server. A call puts an entry in memory and returns.

    with Client("logs.example", app="shop") as client:
        client.send("ERROR", "payment provider timed out", order=1093)

One thread of its own does the rest (`worker.py`). It is a daemon thread, started by the first entry; at the end of the
program it is given a little time for what is left. After a fork, the child has a new socket, thread and sequence; what
was queued before is sent by the parent alone. `docs/python-client.md` tells users all of it.
"""

import _thread
import atexit
import os
import socket
import threading
import time
import weakref
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self

import msgspec

from fastlog.addresses import ascii_name
from fastlog.client._outbox import ADDED_MAX_BYTES, Outbox
from fastlog.client.encode import encode, index_of, prepare, text_of
from fastlog.client.worker import Options, Worker
from fastlog.entry import ALIASES, LEVELS
from fastlog.limits import DATAGRAM_MAX_BYTES, SEQUENCE_WINDOW

QUEUE_BYTES = 16 << 20  # of each lane: what an application can spare while its log server is away
PACK_DELAY_SEC = 0.005  # nobody reads a log faster
GIVE_UP_SEC = 300.0  # a restart of the server takes less; memory is bounded anyway
CLOSE_SEC = 5.0  # long enough for a server that was started anew
EXIT_SEC = 2.0  # the same at the end of a program, which somebody waits for
NAME_MAX_BYTES = 1_000  # of `app` and `hostname` each: every entry carries them
BODY_MIN_BYTES = 512  # of a datagram, besides what is added to each entry: a shortened one has to fit
END_SEC = 1.0  # for a thread that was told to end: it never waits for anything but its selector


class ClientStats(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the entries so far."""

    queued: int  # entries in memory, those that wait for their ACK included
    queued_bytes: int
    unacknowledged: int  # priority entries that were sent and wait for their ACK
    sent: int  # entries handed to the network, each once; those replayed from a spill file not included
    sent_bytes: int  # in datagrams, retransmissions included
    datagrams: int
    acknowledged: int  # priority entries that are on the server's disk, replayed ones included
    retransmitted: int
    given_up: int  # priority entries that were sent and not acknowledged in time
    given_up_first: tuple[bytes, ...]  # the first of them, as they were sent
    dropped: dict[str, int]  # never sent, by level: a lane was full, the client was closed, or its time was over
    truncated: int  # entries shortened to fit in a datagram
    refused: int  # times that the network said that nothing listens there
    lost: int  # datagrams among them that were not sent again
    spilled: int  # priority entries written to a spill file
    replayed: int  # of those and of what earlier programs left: acknowledged
    round_trip_ms: float | None  # smoothed, from sending to the ACK
    problem: str  # what was in the way last, or empty


class Client:
    """Sends entries to one server. Makes no connection and looks up no name before the first entry, so it can be made
    while the server or the name service is down. Thread-safe; may be used in signal handlers and from asyncio.

    - `host`, `port`: of the server. The name is looked up in the background, and again from time to time.
    - `app`, `hostname`: fields `app` and `host` of the entries that have none.
    - `priority_levels`: kept and repeated until acknowledged; the server's PRIORITY_LEVELS.
    - `send_buffer`: SO_SNDBUF, bytes.
    - `queue_entries`, `queue_bytes`: what each of the two lanes, ordinary and priority, holds in memory. Beyond that,
      entries are dropped and counted; priority ones only for want of room in their own lane.
    - `window`: priority entries unacknowledged at once.
    - `give_up_sec`: how long a priority entry is repeated. With a spill file it is never given up.
    - `spill`: path of files that keep priority entries while the server does not answer: `<spill>.*`. What is left in
      them is sent again by the next client with the same path.
    - `pack`: several entries may share a datagram, gathered for at most `pack_delay_sec`.
    - `datagram_bytes`: size of a datagram at the most. By default entries are packed up to what the path carries in one
      piece, and a single longer one goes in several pieces, up to 65,507 bytes. Longer entries are shortened.

    Raises ValueError for an argument out of range, and OSError where the process has no file descriptor left."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 5514,
        *,
        app: str | None = None,
        hostname: str | None = None,
        priority_levels: Iterable[str] = ("ERROR", "CRITICAL"),
        send_buffer: int = 1_048_576,
        queue_entries: int = 10_000,
        queue_bytes: int = QUEUE_BYTES,
        window: int = SEQUENCE_WINDOW,
        give_up_sec: float = GIVE_UP_SEC,
        spill: str | os.PathLike[str] | None = None,
        pack: bool = True,
        pack_delay_sec: float = PACK_DELAY_SEC,
        datagram_bytes: int | None = None,
    ) -> None:
        try:
            host_name = ascii_name(host)
        except UnicodeError as error:
            raise ValueError(f"host is {host!r}: must be a host name or an address") from error
        if not 1 <= port <= 65535:
            raise ValueError(f"port is {port}: must be from 1 to 65535")
        for name, value in (
            ("send_buffer", send_buffer),
            ("queue_entries", queue_entries),
            ("queue_bytes", queue_bytes),
        ):
            if value < 1:
                raise ValueError(f"{name} is {value}: must be at least 1")
        if not 1 <= window <= SEQUENCE_WINDOW:
            raise ValueError(f"window is {window}: must be from 1 to {SEQUENCE_WINDOW}")
        if not (give_up_sec >= 0 and 0 <= pack_delay_sec <= 1):
            raise ValueError(
                f"give_up_sec is {give_up_sec}, pack_delay_sec is {pack_delay_sec}: the first must be at least 0, "
                "the second from 0 to 1"
            )
        self._levels = _levels(priority_levels)
        self._limits = (queue_entries, queue_bytes)
        self._host_field = _field("host", socket.gethostname() if hostname is None else hostname)
        self._app_field = _field("app", app) if app else b""
        least = BODY_MIN_BYTES + ADDED_MAX_BYTES + len(self._host_field) + len(self._app_field)
        if datagram_bytes is not None and not least <= datagram_bytes <= DATAGRAM_MAX_BYTES:
            raise ValueError(f"datagram_bytes is {datagram_bytes}: must be from {least} to {DATAGRAM_MAX_BYTES}")
        self._options = Options(
            host=host_name,
            port=port,
            send_buffer=send_buffer,
            window=window,
            give_up_sec=give_up_sec,
            spill=None if spill is None else os.path.abspath(os.fspath(spill)),
            pack=pack,
            pack_delay_sec=pack_delay_sec,
            datagram_bytes=datagram_bytes,
        )
        self._begin()
        _clients.add(self)
        if spill is not None:  # what an earlier program left is sent even if this one logs nothing
            self._start()

    def send(self, level: str, message: str, **fields: object) -> None:
        """Takes one entry. Never blocks and never raises, whatever the network and the values are: what is no JSON is
        sent as its `str`. The values are read before it returns."""
        self._put({"level": level, "message": message, **fields})
        if not self._is_started:
            self._start()

    def send_entry(self, entry: Mapping[str, object]) -> None:
        """The same for a mapping, whose keys may have any names. Without `level` it is INFO, without `message` that is
        empty. A field `sequence` is renamed `sequence_`, since the client numbers the entries."""
        self._put(entry if type(entry) is dict else _as_dict(entry))
        if not self._is_started:
            self._start()

    def send_encoded(self, level: str, present: int, body: bytes) -> bool:
        """The same for an entry that is JSON already: see Outbox.put_encoded."""
        taken = self._outbox.put_encoded(level, present, body)
        if not self._is_started:
            self._start()
        return taken

    def wait_for_room(self, timeout: float | None = None) -> bool:
        """Waits until both lanes are at most half full: for programs that may wait, such as one that reads a pipe.
        False: `timeout` seconds were not enough."""
        if not self._outbox.has_room and not self._outbox.is_closed and self._worker.has_thread:
            self._worker.wait(self._worker.room_waiters, 0, timeout)
        return self._outbox.has_room

    def flush(self, timeout: float = CLOSE_SEC) -> bool:
        """Waits until everything sent before is out: ordinary entries handed to the network, priority entries
        acknowledged, spill files replayed. False: `timeout` seconds were not enough, or an entry was given up."""
        mark = self._outbox.accepted
        worker = self._worker
        before = worker.counts.given_up
        if not mark:
            return True
        if worker.has_thread:
            worker.wait(worker.waiters, mark, timeout)
        elif not worker.has_ended:  # the interpreter ends, and starts no threads any more
            worker.drive(lambda: worker.finished(mark), time.monotonic() + timeout)
        return worker.finished(mark) and worker.counts.given_up == before

    def close(self, timeout: float = CLOSE_SEC) -> bool:
        """Takes no more entries, flushes, and ends the thread. Priority entries that are left then go to the spill
        file, or are given up and counted. Returns what `flush` does. To close again does nothing."""
        self._outbox.close()
        done = self.flush(timeout)
        worker = self._worker
        if worker.has_thread:
            worker.stop()
            worker.wait(worker.end_waiters, 0, END_SEC)
        else:
            worker.end()
        return done

    def stats(self) -> ClientStats:
        worker, outbox = self._worker, self._outbox
        counts, way, spill, round_trip = worker.counts, worker.way, worker.spill, worker.flow.timeout.round_trip
        return ClientStats(
            queued=sum(outbox.entries),
            queued_bytes=sum(outbox.bytes),
            unacknowledged=len(worker.flow.pending),
            sent=counts.sent,
            sent_bytes=way.sent_bytes,
            datagrams=way.datagrams,
            acknowledged=counts.acknowledged + (spill.counts.replayed if spill else 0),
            retransmitted=counts.retransmitted + (spill.counts.retransmitted if spill else 0),
            given_up=counts.given_up,
            given_up_first=tuple(worker.given_up),
            dropped=outbox.dropped,
            truncated=outbox.truncated,
            refused=way.refused,
            lost=way.lost,
            spilled=spill.counts.spilled if spill else 0,
            replayed=spill.counts.replayed if spill else 0,
            round_trip_ms=None if round_trip is None else round_trip * 1000,
            problem=worker.problem or way.problem or (spill.problem if spill else ""),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self) -> None:
        wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        datagram_bytes = self._options.datagram_bytes or DATAGRAM_MAX_BYTES
        self._outbox = Outbox(
            wake_fd, self._levels, *self._limits, datagram_bytes, self._host_field, self._app_field,
            encode, prepare, _shorten, index_of,
        )  # fmt: skip
        self._put = self._outbox.put
        self._worker = Worker(self._options, self._outbox, wake_fd)
        self._is_started = False
        self._starts = iter((True,))  # of it `next` gives one, to one thread
        self._finalizer = weakref.finalize(self, _leave, self._worker)
        self._finalizer.atexit = False

    def _start(self) -> None:
        if next(self._starts, None):
            # Not by `threading`, whose locks the code may hold that a signal handler has interrupted.
            self._worker.has_thread = True
            try:
                _thread.start_new_thread(self._worker.run, ())
            except RuntimeError as error:  # no more threads; flush and close do without
                self._worker.has_thread = False
                self._worker.problem = f"cannot start the client's thread: {error}"
                self._worker.begin()
            self._is_started = True

    def _start_over(self) -> None:
        """In a child after a fork: what is in memory is the parent's to send."""
        was_closed, worker = self._outbox.is_closed, self._worker
        self._finalizer.detach()
        self._begin()
        if was_closed:
            self._outbox.close()
        worker.abandon()
        worker.close_wake_fd()


def _as_dict(entry: Mapping[str, object]) -> dict[str, object]:
    try:
        return dict(entry)
    except Exception:  # no mapping after all; what it says of itself is the message
        return {"message": text_of(entry)}


def _shorten(entry: dict[str, object], limit_bytes: int, encoder: object) -> bytes:
    from fastlog.client.shorten import shorten  # rare, and not needed to start

    return shorten(entry, limit_bytes, encode)


def _levels(names: Iterable[str]) -> frozenset[str]:
    levels = frozenset(ALIASES.get(name.upper(), name.upper()) for name in names)
    if not levels <= set(LEVELS):
        raise ValueError(
            f"priority_levels has {', '.join(sorted(levels - set(LEVELS)))}: must be of {', '.join(LEVELS)}"
        )
    return levels


def _field(name: str, value: str) -> bytes:
    encoded = encode(text_of(value))
    if len(encoded) > NAME_MAX_BYTES:
        raise ValueError(f"{name} has {len(encoded)} bytes as JSON: must be at most {NAME_MAX_BYTES}")
    return b',"%b":%b' % (name.encode(), encoded)


# Forks and the end of the program

_clients: "weakref.WeakSet[Client]" = weakref.WeakSet()
_leaving: "weakref.WeakSet[Worker]" = weakref.WeakSet()  # of clients that nobody holds any more


def _leave(worker: Worker) -> None:
    _leaving.add(worker)
    worker.leave(EXIT_SEC)


def _after_fork_in_child() -> None:
    for client in list(_clients):
        client._start_over()
    for worker in list(_leaving):
        worker.abandon()
    _leaving.clear()


def _is_multiprocessing_child() -> bool:
    import sys

    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None


def _before_threads_end() -> None:
    """At the end of the main thread. Children of multiprocessing run nothing of `atexit`: for them it is the end."""
    if _is_multiprocessing_child():
        _at_exit()


def _at_exit() -> None:
    until = time.monotonic() + EXIT_SEC
    for client in list(_clients):
        client.close(max(0.0, until - time.monotonic()))
    for worker in list(_leaving):
        worker.wait(worker.end_waiters, 0, max(0.0, until - time.monotonic()) + END_SEC)


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_at_exit)
threading._register_atexit(_before_threads_end)  # type: ignore[attr-defined]
