"""The client: what a program calls to log to a fastlog server. A call puts an entry in memory and returns.

    with Client("logs.example", app="shop") as client:
        client.send("ERROR", "payment provider timed out", order=1093)

A thread of the client does the rest (`thread.py`). It is started by the first entry, and ends with the program. What
happens at the end of the program and at a fork is in `lifecycle.py`. `docs/python-client.md` is the
documentation for users.
"""

import os
from collections.abc import Iterable, Mapping
from itertools import islice
from types import TracebackType
from typing import Any, Self
from weakref import WeakSet, finalize

from msgspec import structs

from fastlog.client.encode import text_of
from fastlog.client.level_methods import LevelMethods
from fastlog.client.lifecycle import leave, look_after
from fastlog.client.options import (
    DEFAULT_HOST,
    GIVE_UP_SEC,
    PACK_DELAY_SEC,
    QUEUE_BYTES,
    QUEUE_ENTRIES,
    checked_options,
)
from fastlog.client.stats import ClientStats
from fastlog.client.thread import ClientThread
from fastlog.limits import DEFAULT_PORT, DEFAULT_PRIORITY_LEVELS, DEFAULT_SEND_BUFFER_BYTES, SEQUENCE_WINDOW

CLOSE_SEC = 5.0  # long enough for a server that was just restarted

FIELDS_READ_MAX = 100_000  # of a mapping that may have no end; no datagram holds as many


class Client(LevelMethods):
    """Sends entries to one server. A client makes no connection and looks up no name before the first entry, so it can
    be made while the server or the name service is down. Clients may be used by several threads, in signal handlers and
    from asyncio. Numbers may be given as text, such as a variable of the environment.

    - `host`, `port`: where the server listens; the host `unix:PATH` is its unix socket. The name is looked up in the
      background, and again from time to time.
    - `app`, `hostname`: fields `app` and `host` of the entries that have none.
    - `priority_levels`: entries of these levels are kept and retransmitted until acknowledged; use the server's
      PRIORITY_LEVELS.
    - `send_buffer`: SO_SNDBUF, bytes.
    - `queue_entries`, `queue_bytes`: what each of the two lanes, ordinary and priority, holds in memory. Beyond that,
      entries are dropped and counted; priority entries are dropped only if their own lane is full.
    - `window`: priority entries that may be unacknowledged at once.
    - `give_up_sec`: how long a priority entry is retransmitted. With a spill file it is never given up.
    - `spill`: path of files that keep priority entries while the server does not answer, or a directory for them. The
      next client with that path sends the entries that are left in them.
    - `pack`: several entries may share a datagram; they are gathered for at most `pack_delay_sec`.
    - `datagram_bytes`: the largest datagram. By default, entries are packed up to the size that the path carries in one
      piece, and a single longer one goes in several pieces, up to 65,507 bytes. Longer entries are shortened.
    - `fields`: constant fields, such as `{"env": "prod"}`, of the entries that have no field of that name. They are
      encoded once.
    - `enable`: False for a client that ignores what it is given: it has no thread and no socket, and counts nothing.

    Raises ConfigError, which is a ValueError, for a wrong argument. A copy is the client itself."""

    def __init__(
        self,
        host: str = DEFAULT_HOST,
        port: int | str = DEFAULT_PORT,
        *,
        app: str | None = None,
        hostname: str | None = None,
        priority_levels: Iterable[str | int] = DEFAULT_PRIORITY_LEVELS,
        send_buffer: int = DEFAULT_SEND_BUFFER_BYTES,
        queue_entries: int = QUEUE_ENTRIES,
        queue_bytes: int = QUEUE_BYTES,
        window: int = SEQUENCE_WINDOW,
        give_up_sec: float = GIVE_UP_SEC,
        spill: str | os.PathLike[str] | None = None,
        pack: bool = True,
        pack_delay_sec: float = PACK_DELAY_SEC,
        datagram_bytes: int | None = None,
        fields: Mapping[str, object] | None = None,
        enable: bool | str = True,
    ) -> None:
        self._options = checked_options(
            host=host,
            port=port,
            app=app,
            hostname=hostname,
            priority_levels=priority_levels,
            send_buffer=send_buffer,
            queue_entries=queue_entries,
            queue_bytes=queue_bytes,
            window=window,
            give_up_sec=give_up_sec,
            spill=spill,
            pack=pack,
            pack_delay_sec=pack_delay_sec,
            datagram_bytes=datagram_bytes,
            fields=fields,
            enable=enable,
        )
        self._thread = ClientThread(self._options)
        self._outbox = self._thread.outbox
        self._put = self._outbox.put if self._options.enable else _ignore  # type: ignore[method-assign] # one call less
        look_after(self._thread)
        clients.add(self)
        self._finalizer = finalize(self, leave, self._thread)
        self._finalizer.atexit = False
        if self._options.enable and self._options.spill is not None:
            self._thread.attend()  # what an earlier program left is sent even if this one logs nothing

    def send(self, /, level: str | int, message: object, **fields: object) -> None:
        """Takes one entry. `level` is a name in any case, or a number of `logging`. Never blocks and never raises,
        whatever the network and the values are: a value that JSON cannot express is sent as its `str`. The values are
        read before `send` returns."""
        self._put({"level": level, "message": message, **fields})

    def send_entry(self, entry: Mapping[str, object]) -> None:
        """Takes one entry as a mapping, whose keys may have any names. Without `level` it is INFO, without `message`
        the message is empty. A field `sequence` is renamed `sequence_`, since the client numbers the entries."""
        self._put(entry if type(entry) is dict else _as_dict(entry))

    def send_encoded(self, level: str, present: int, body: bytes) -> bool:
        """Takes one entry that is JSON already: see Outbox.put_encoded."""
        return not self._options.enable or self._outbox.put_encoded(level, present, body)

    def wait_for_room(self, timeout: float | None = None) -> bool:
        """Waits until both lanes are at most half full: for programs that may wait, such as one that reads a pipe.
        Returns False if `timeout` seconds were not enough, or the client is closed."""
        outbox = self._outbox
        outbox.begin_anew()
        if not outbox.has_room:
            self._thread.wait_until(lambda: outbox.has_room or outbox.is_closed, timeout)
        return outbox.has_room

    def flush(self, timeout: float = CLOSE_SEC) -> bool:
        """Waits until everything sent before is out: ordinary entries handed to the network, priority entries
        acknowledged, spill files replayed. Returns False if `timeout` seconds were not enough, or an entry was given
        up."""
        return self._thread.flush(timeout)

    def close(self, timeout: float = CLOSE_SEC) -> bool:
        """Takes no more entries, flushes, and ends the thread. Priority entries that are left then go to the spill
        file, or are given up and counted. Returns what `flush` returns. A second call does nothing."""
        return self._thread.close(timeout)

    def stats(self) -> ClientStats:
        return self._thread.worker().stats(self._thread.trouble.text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[object, ...]:
        """Another process makes a client of its own, with the same options."""
        return _remade, (structs.asdict(self._options),)


clients: WeakSet[Client] = WeakSet()  # those that somebody holds: `fastlog.testing` catches what they take


def _remade(options: dict[str, Any]) -> Client:
    return Client(**options)


def _ignore(entry: dict[str, object]) -> None:
    """What a client that is not enabled does with an entry."""


def _as_dict(entry: Mapping[str, object]) -> dict[str, object]:
    try:
        if isinstance(entry, dict):
            return dict(entry)
        if isinstance(entry, Mapping):
            return {name: entry[name] for name in islice(entry, FIELDS_READ_MAX)}
        return dict(islice(entry, FIELDS_READ_MAX))  # of pairs
    except Exception:  # not a mapping after all; its text is the message
        return {"message": text_of(entry)}
