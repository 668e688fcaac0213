"""`fastlog.Handler`: the standard library's `logging` through a fastlog client.

The handler turns a record into an entry and hands it to the client, which never waits. Nothing here takes a lock: a
signal handler may log while another record is handled, and a program may fork at any moment.
"""

import inspect
import logging
import operator
import os
from collections.abc import Iterable, Mapping
from functools import partial
from time import monotonic
from typing import Any

from fastlog.client.client import Client
from fastlog.client.core import entry_of
from fastlog.client.level_names import known_spelling
from fastlog.client.options import DEFAULT_HOST, GIVE_UP_SEC, PACK_DELAY_SEC, QUEUE_BYTES, QUEUE_ENTRIES
from fastlog.client.record_fields import least_entry, select_fields
from fastlog.client.thread import ClientThread
from fastlog.client.waiting import is_true
from fastlog.limits import DEFAULT_PORT, DEFAULT_PRIORITY_LEVELS, DEFAULT_SEND_BUFFER_BYTES, SEQUENCE_WINDOW

# The fields that a handler can take from a record, and the record's attributes.
RECORD_FIELDS = {
    "logger": "name",
    "file": "pathname",
    "line": "lineno",
    "function": "funcName",
    "module": "module",
    "process": "process",
    "process_name": "processName",
    "thread": "threadName",
    "thread_id": "thread",
    "task": "taskName",
}
STALL_SEC = 0.3  # without an ACK, a handler is not waited for any longer: it may be one of several, under a lock
FLUSH_SEC = 5.0  # the longest wait for entries under way; service managers allow more


class Handler(logging.Handler):
    """Sends each record as an entry. `emit` returns at once and raises nothing.

    - `level`: as in `logging`, or any name of a level that fastlog knows, in any case.
    - `fields`: the names in RECORD_FIELDS to take from every record.
    - `extra`: constant fields, such as `{"env": "prod"}`, of the entries that have no field of that name.
    - `client`: an existing client, which the handler does not close, instead of `host`, `port` and the other options.

    All other options are those of `fastlog.Client`. Raises ConfigError for an unknown name in `fields` or a wrong
    option, and TypeError for options beside a client."""

    def __init__(
        self,
        host: str = DEFAULT_HOST,
        port: int | str = DEFAULT_PORT,
        *,
        level: int | str = logging.NOTSET,
        fields: Iterable[str] = ("logger", "file", "line"),
        extra: Mapping[str, object] | None = None,
        client: Client | None = None,
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
        enable: bool | str = True,
    ) -> None:
        given = locals()
        options = {name: given[name] for name in _CLIENT_OPTIONS}
        self._fields = select_fields(fields, RECORD_FIELDS)
        if client is not None:
            beside = [name for name, default in _CLIENT_OPTIONS.items() if options[name] != default]
            beside += ["extra"] if extra else []
            if beside:
                raise TypeError(f"pass these to the client itself: {', '.join(beside)}")
        self._owns_client = client is None
        self.client = Client(host, port, fields=extra, **options) if client is None else client
        super().__init__(_threshold(level))  # from here on, logging knows the handler, and closes it at exit

    def setLevel(self, level: int | str) -> None:  # noqa: N802 (its name in logging)
        super().setLevel(_threshold(level))

    def createLock(self) -> None:  # noqa: N802 (its name in logging)
        """Makes no lock: there is nothing to lock."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> Any:
        """Emits the record if the filters let it pass; they may return another record in its place."""
        passed: Any = self.filter(record) if self.filters else True
        if passed:
            self.emit(passed if isinstance(passed, logging.LogRecord) else record)
        return passed

    def emit(self, record: logging.LogRecord) -> None:
        """Hands the record to the client. Formatters are not used: an entry has fields."""
        try:
            try:
                entry = entry_of(record, self._fields)
            except Exception as error:
                entry = least_entry(record, error)
            self.client._put(entry)
        except Exception:
            try:  # noqa: SIM105 (suppress is a call, for which there may be no room left)
                self.handleError(record)
            except Exception:  # noqa: S110 - standard error is closed, or the program's stack is full
                pass

    def flush(self) -> None:
        """Waits until everything is sent and the priority entries are acknowledged, FLUSH_SEC seconds at the most. A
        server that is away or does not answer is not waited for: logging calls this under its lock."""
        _flush_while_it_advances(self.client._thread, FLUSH_SEC)

    def close(self) -> None:
        """Lets the client go if the handler made it, and does not wait: what the client has is delivered in the
        background, until the end of the program at the latest. A record that comes after that is delivered, too."""
        if self._owns_client:
            self.client._thread.leave()
        super().close()


def _flush_while_it_advances(thread: ClientThread, timeout: float) -> None:
    """Waits until all entries taken so far are finished, but not for a server that is away or does not answer."""
    thread.outbox.begin_anew()
    number = thread.outbox.accepted
    if not number:
        return
    worker = thread.worker()

    def is_enough(before: int) -> bool:
        return worker.is_away or worker.progress != before or worker.is_finished(number)

    until = monotonic() + timeout
    before = -1
    while worker.progress != before and monotonic() < until:
        before = worker.progress
        thread.wait_until(partial(is_enough, before), min(STALL_SEC, until - monotonic()))
        if worker.is_away or is_true(lambda: worker.is_finished(number)):
            break


# The options that a handler passes on to its client, and their defaults.
_CLIENT_OPTIONS = {
    name: parameter.default
    for name, parameter in inspect.signature(Client).parameters.items()
    if name not in ("host", "port", "fields")
}


def _threshold(level: object) -> Any:
    """A level as `logging` takes it. What is not a level is left to `logging`, which raises."""
    if isinstance(level, str):
        name = str.__str__(level).strip()
        numbers = logging.getLevelNamesMapping()
        if name.isdecimal():  # as from the environment; a number of logging here, not one of the protocol
            return int(name)
        known = next((known for known in (name, name.upper(), known_spelling(level)) if known in numbers), None)
        return level if known is None else numbers[known]
    try:
        return operator.index(level)  # type: ignore[arg-type] # an int, a member of an IntEnum, one of numpy's
    except TypeError:
        return known_spelling(level) or level


class Logger(logging.Logger):
    """A logger whose `extra` may have any key, for `logging.setLoggerClass`. For the name of an attribute that the
    record has (`message`, `name`, `args`, …), the standard library raises KeyError; this logger puts `extra_` before
    the name."""

    def makeRecord(  # noqa: N802 (its name in logging)
        self,
        name: str,
        level: int,
        fn: str,
        lno: int,
        msg: object,
        args: Any,
        exc_info: Any,
        func: str | None = None,
        extra: Mapping[str, object] | None = None,
        sinfo: str | None = None,
    ) -> logging.LogRecord:
        record = super().makeRecord(name, level, fn, lno, msg, args, exc_info, func, None, sinfo)
        for key, value in (extra or {}).items():
            free = key
            while free in record.__dict__ or free in ("message", "asctime"):
                free = f"extra_{free}"
            record.__dict__[free] = value
        return record
