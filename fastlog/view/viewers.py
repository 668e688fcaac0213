"""The connections that the server has handed over, and what is sent to each. Nothing here waits for a viewer."""

import contextlib
import socket
from collections import deque
from time import monotonic
from typing import Any

import msgspec

from fastlog.view.feed import NEWEST_MAX_BYTES, Group
from fastlog.view.query import Query
from fastlog.view.search import Search

KEEP_ALIVE_SEC = 10.0  # without a word: then a comment shows a viewer that the server is there
STALLED_SEC = 30.0  # a viewer that takes nothing for so long is closed
RETRY_MS = 1000  # a browser connects again after so long
READ_MAX_BYTES = 4096  # that a viewer sends: it has nothing to say, and one that sends more is closed


class Viewer:
    """A connection. Its body is written whenever there is room. `is_gone`: it is closed, or has to be."""

    def __init__(self, sock: socket.socket, query: Query) -> None:
        self.socket = sock
        self.query = query
        self.is_gone = False
        self.unsent = bytearray()
        self._received_bytes = 0
        self.moved_at = monotonic()  # when the viewer last took something, or had taken everything
        sock.setblocking(False)
        with contextlib.suppress(OSError):  # not a TCP connection
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(STALLED_SEC * 1000))

    def write(self, data: bytes) -> None:
        if not self.unsent:
            self.moved_at = monotonic()
        self.unsent += data
        self.flush()

    def flush(self) -> None:
        """Sends what there is room for."""
        try:
            while self.unsent:
                del self.unsent[: self.socket.send(self.unsent)]
                self.moved_at = monotonic()
        except BlockingIOError:
            pass
        except OSError:
            self.is_gone = True

    def look(self) -> None:
        """To be called when there is something to read: nothing is expected but the end."""
        try:
            received = len(self.socket.recv(READ_MAX_BYTES))
            self._received_bytes += received
            self.is_gone |= not received or self._received_bytes > READ_MAX_BYTES
        except BlockingIOError:
            pass
        except OSError:
            self.is_gone = True

    def is_stalled(self, now: float) -> bool:
        return bool(self.unsent) and now - self.moved_at > STALLED_SEC

    def close(self) -> None:
        self.is_gone = True
        self.socket.close()


class Answer(Viewer):
    """Lines that are there, as one answer."""

    def __init__(self, sock: socket.socket, query: Query, search: Search) -> None:
        super().__init__(sock, query)
        self.search: Search | None = search

    def finish(self) -> None:
        """To be called when the search is done."""
        search, self.search = self.search, None
        if search is None:
            return
        lines = [_on_one_line(line) for line in search.lines]
        if self.query.download:
            self.write(b"".join(line + b"\n" for line in lines))
            return
        fields: dict[str, Any] = {
            "lines": [msgspec.Raw(line) for line in lines],
            "complete": search.is_complete,
            "searched_bytes": search.searched_bytes,
            "oldest": search.oldest,
        }
        if search.problem:
            fields["problem"] = search.problem
        self.write(msgspec.json.encode(fields))

    def close(self) -> None:
        if self.search:
            self.search.close()
        super().close()


class Tap(Viewer):
    """Lines as they come, as server-sent events. `search` finds those that it begins with, which are sent first; what
    comes meanwhile waits. It gets at most `rate` lines a second, the newest ones, and `matching` counts all."""

    def __init__(self, sock: socket.socket, query: Query, search: Search | None) -> None:
        super().__init__(sock, query)
        self.search = search
        self._allowed = float(query.rate)
        self._allowed_at = monotonic()
        self._said_at = monotonic()
        self._waiting: deque[bytes] = deque(maxlen=query.rate)
        self._matching = 0
        self._is_estimated = False
        self._state: dict[str, Any] | None = None
        self.write(b"retry: %d\n\n" % RETRY_MS)

    def say_state(self, problem: str, position: str) -> None:
        """Says whether the log can be read, if it has not said so before."""
        state: dict[str, Any] = {"waiting": bool(problem)}
        if problem:
            state["reason"] = problem
        if state != self._state and not self.unsent:
            self._state = state
            # Who comes again with a position has seen what is before it: the lines that are sought, too.
            self._send(b"state", msgspec.json.encode(state), "" if self.search else position)

    def take(self, group: Group["Tap"]) -> None:
        """What a turn found for its filter."""
        self._matching += group.matching
        self._is_estimated |= group.is_estimated and group.matching > 0
        # A viewer that has not taken the last event gets no more lines: they are counted.
        if not self.unsent:
            self._waiting += group.newest.lines

    def show(self, position: str) -> None:
        """Sends what has come, unless older lines are sought, or the last event is unsent."""
        now = monotonic()
        if self.search:
            if not self.search.is_done:
                return
            found, self.search = self.search.lines, None
            if found:
                self._send_lines(found, len(found), False, position)
        self._allowed = min(self.query.rate, self._allowed + self.query.rate * (now - self._allowed_at))
        self._allowed_at = now
        if self.unsent:
            return
        if self._matching:
            lines: deque[bytes] = deque()
            size = 0
            while self._waiting and len(lines) < int(self._allowed) and size < NEWEST_MAX_BYTES:
                lines.appendleft(self._waiting.pop())
                size += len(lines[0])
            self._allowed -= len(lines)
            self._send_lines(list(lines), self._matching, self._is_estimated, position)
            self._waiting.clear()
            self._matching, self._is_estimated = 0, False
        elif now - self._said_at > KEEP_ALIVE_SEC:
            self._said_at = now
            self.write(b":\n\n")

    def close(self) -> None:
        if self.search:
            self.search.close()
        super().close()

    def _send_lines(self, lines: list[bytes], matching: int, is_estimated: bool, position: str) -> None:
        fields: dict[str, Any] = {
            "lines": [msgspec.Raw(_on_one_line(line)) for line in lines],
            "shown": len(lines),
            "matching": max(matching, len(lines)),
        }
        if is_estimated:
            fields["estimated"] = True
        self._send(b"entries", msgspec.json.encode(fields), position)

    def _send(self, event: bytes, data: bytes, position: str) -> None:
        self._said_at = monotonic()
        number = f"id: {position}\n".encode() if position else b""
        self.write(b"%sevent: %s\ndata: %s\n\n" % (number, event, data))


def _on_one_line(line: bytes) -> bytes:
    """A carriage return between tokens is a space to JSON, but would end a line of an event."""
    return line.replace(b"\r", b" ")
