"""The dashboard's connections, and what they may cost: time, memory and file descriptors. It knows nothing of figures,
and nothing of who may ask.

waitress makes the answers one after the other, in a thread of its own: `service` and `write_soon` of a channel run
there. Everything else runs in the thread that calls `HttpServer.turn`, which alone closes connections.
"""

import contextlib
import io
import logging
import resource
import socket
import struct
from collections import Counter
from collections.abc import Callable
from time import monotonic, thread_time
from typing import Any, cast

import msgspec
import waitress.channel
import waitress.parser
import waitress.server
import waitress.task
from waitress import wasyncore
from waitress.buffers import ReadOnlyFileBasedBuffer
from waitress.utilities import BadRequest

from fastlog.server.http_guard import HEADERS, Application
from fastlog.server.viewing import Viewing
from fastlog.view.query import Query

CONNECTIONS_MAX = 256  # enough for many open pages; each takes a few kilobytes and a file descriptor
ACCEPTED_MAX = 32  # connections in one turn: while the loop is busy, turns are far apart
DESCRIPTORS_KEPT = 128  # for the log, whose files in rotation take 32, and for all else that the server opens
REQUEST_SEC = 10.0  # time for a request to arrive: a browser needs milliseconds, and a stalled one must not stay
SENDING_SEC = 30.0  # time for an answer to be taken: 2 MB, a large one, at 0.6 Mbit/s
IDLE_SEC = 20  # longest time that a connection has no request; an open page asks every 2 s
CLEANUP_SEC = 5  # time between two looks for idle connections: IDLE_SEC is kept to a quarter
LOOK_AFTER_SEC = 1.0  # time between two looks for connections that are past another time limit
REQUEST_MAX_BYTES = 16 * 1024  # largest header, and largest body, which no request needs
UNSENT_MAX_BYTES = 32 * 1024 * 1024  # of different answers that are being sent: sixteen snapshots of 2 MB
SEND_BUFFER_BYTES = 128 * 1024  # of each connection, in the kernel, which grants twice as much: 64 MB for all of them
RESET = struct.pack("ii", 1, 0)  # SO_LINGER for a connection whose unsent bytes the kernel shall forget


VIEW = "fastlog.view"  # the key of a request's environment that has the Query of one whose body is not made here


class Answer(io.BytesIO):
    """The body of an answer, to be read by one connection. All connections share its bytes, which are `whole`."""

    def __init__(self, whole: bytes) -> None:
        super().__init__(whole)  # makes no copy, unless something is written
        self.whole = whole


class HttpServer:
    """A waitress server that listens on `sock`, takes it over, and has at most `connections_max` connections.

    A new connection is always accepted. If there is one too many, the one that was quiet for longest is closed, of the
    address with the most. So nobody can shut others out by holding connections, and no address has a fixed quota, which
    would be too small for a proxy. After each answer `rest` is called with the seconds of processor time that it took.
    """

    def __init__(
        self,
        application: Application,
        sock: socket.socket,
        connections_max: int,
        rest: Callable[[float], None],
        viewing: Viewing,
    ) -> None:
        logging.getLogger("waitress").setLevel(logging.ERROR)
        self._connections_max = connections_max
        self._viewing = viewing
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)  # connections inherit it
        self._server: Any = waitress.server.create_server(
            application,
            sockets=[sock],
            threads=1,
            connection_limit=connections_max + ACCEPTED_MAX + 4,  # never reached: the listening socket and a pipe count
            channel_timeout=IDLE_SEC,
            cleanup_interval=CLEANUP_SEC,
            max_request_header_size=REQUEST_MAX_BYTES,
            max_request_body_size=REQUEST_MAX_BYTES,
            asyncore_use_poll=True,
            log_socket_errors=False,
            ident="",
        )
        self._server.channel_class = _Channel
        self._server.rest = rest
        self._server.viewing = viewing
        self._server.handle_accept = self._accept

    def turn(self) -> None:
        """Waits until there is something to do, and does it."""
        self._look_after()
        # Connections have time limits to look after; without any, there is nothing to wake up for.
        has_more = self._channels() or self._viewing.is_running
        wasyncore.poll2(LOOK_AFTER_SEC if has_more else None, self._server._map)

    def _accept(self) -> None:
        for _ in range(ACCEPTED_MAX):
            before = len(self._server.active_channels)
            waitress.server.TcpWSGIServer.handle_accept(self._server)
            if len(self._server.active_channels) == before:
                break

    def _channels(self) -> list["_Channel"]:
        return list(self._server.active_channels.values())

    def _look_after(self) -> None:
        now = monotonic()
        for channel in self._channels():
            if channel.is_overdue(now):
                channel.abort()
            else:
                channel.read_ahead()
        if self._viewing.is_running:
            self._viewing.look_after()
        while len(self._channels()) > self._connections_max:
            self._make_room()
        self._bound_memory()

    def _make_room(self) -> None:
        channels = self._channels()
        having = Counter(channel.addr[0] for channel in channels)
        most = max(having.values())
        dispensable = [channel for channel in channels if having[channel.addr[0]] == most]
        min(dispensable, key=lambda channel: (bool(channel.requests), channel.last_activity)).abort()

    def _bound_memory(self) -> None:
        """Slow readers may not keep any number of old snapshots in memory: those of the oldest ones are closed."""
        sending = [channel for channel in self._channels() if channel.total_outbufs_len]
        kept: dict[int, int] = {}
        for channel in sorted(sending, key=lambda channel: channel.sending_since, reverse=True):
            body = channel.unsent_body()
            if kept and id(body) not in kept and sum(kept.values()) + len(body) > UNSENT_MAX_BYTES:
                channel.abort()
            else:
                kept[id(body)] = len(body)


class _Request(waitress.parser.HTTPRequestParser):
    """A request. What was received behind it is `ahead`: it waits until this request is answered."""

    empty: bool

    def __init__(self, adjustments: Any) -> None:
        super().__init__(adjustments)
        self.began = monotonic()
        self.ahead = b""

    def received(self, data: bytes) -> int:
        used = cast(int, super().received(data))
        if not self.completed:
            return used
        if self.empty:  # blank lines: waitress would forget how long it has waited for a request
            self.empty = False
            self.error = BadRequest("a blank line is not a request")
        self.ahead = data[used:]
        return len(data)


class _ErrorTask(waitress.task.ErrorTask):
    """The answer to a request that waitress refuses, in the form of all others."""

    def execute(self) -> None:
        error = self.request.error
        body = msgspec.json.encode({"error": f"{error.reason}: {error.body}"})
        self.status = f"{error.code} {error.reason}"
        self.response_headers += [("Content-Type", "application/json"), *HEADERS]
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _Task(waitress.task.WSGITask):
    """The answer to a request. One with a Query in its environment is a head alone, without a length: another process
    writes the body, and closes the connection behind it."""

    @property
    def has_body(self) -> bool:
        return VIEW not in self.get_environment() and cast(bool, super().has_body)

    def finish(self) -> None:
        self.channel.query = self.get_environment().get(VIEW)  # before the head can be sent
        super().finish()


class _Channel(waitress.channel.HTTPChannel):
    """A connection. Its requests are answered one after the other: the next one is read when the answer to the last one
    is sent, so that no answers pile up."""

    task_class = _Task
    error_task_class = _ErrorTask
    query: Query | None = None  # of a viewer, to whom the connection is handed over when the head of the answer is sent
    sending_since = 0.0  # when the first byte of the answer under way was written
    _newest: _Request | None = None
    _ahead = b""

    def parser_class(self, adjustments: Any) -> _Request:
        self._newest = _Request(adjustments)
        return self._newest

    def received(self, data: bytes) -> bool:
        any_left = cast(bool, super().received(data))
        self._ahead = self._newest.ahead if self._newest else b""
        return any_left

    def readable(self) -> bool:
        return not self._ahead and cast(bool, super().readable())

    def read_ahead(self) -> None:
        """Reads the next request of those that were sent ahead, if it is its turn."""
        if self._ahead and not (self.requests or self.total_outbufs_len or self.will_close or self.close_when_flushed):
            self.received(self._ahead)

    def service(self) -> None:
        began = thread_time()
        super().service()
        self.server.rest(thread_time() - began)  # the answer is on its way, so nobody waits for it meanwhile

    def write_soon(self, data: Any) -> int:
        if not self.total_outbufs_len:
            self.sending_since = monotonic()
        return cast(int, super().write_soon(data))

    def handle_write(self) -> None:
        if self.query and self.connected and not self.will_close:
            if not self.close_when_flushed:  # the thread that makes the answer sets it soon, as its last word
                return
            self._flush_exception(self._flush_some)
            if not (self.total_outbufs_len or self.will_close):
                self.server.viewing.hand_over(self.socket, self.query)
                self.query = None
        super().handle_write()  # which closes it once all is sent: the process has a copy

    def is_overdue(self, now: float) -> bool:
        """Whether its request takes too long to arrive, or its answer to be taken, even if bytes trickle."""
        if self.request is not None and now - self.request.began > REQUEST_SEC:
            return True
        return bool(self.total_outbufs_len) and now - self.sending_since > SENDING_SEC

    def unsent_body(self) -> bytes:
        """The body under way, if it is an Answer; other bodies are a few hundred bytes."""
        for buffer in list(self.outbufs):
            if isinstance(buffer, ReadOnlyFileBasedBuffer):
                return cast(Answer, buffer.file).whole
        return b""

    def abort(self) -> None:
        """Closes it, whatever is unsent."""
        if self.total_outbufs_len:
            with contextlib.suppress(OSError):
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.handle_close()


def connections_allowed() -> int:
    """How many connections leave enough descriptors for the log. Raises the process's limit as far as it needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS_KEPT + CONNECTIONS_MAX
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return CONNECTIONS_MAX
    raised = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    except (OSError, ValueError):
        raised = soft
    return max(0, raised - DESCRIPTORS_KEPT)
