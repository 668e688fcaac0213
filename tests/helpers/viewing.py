"""Viewers of a server's log, as a browser is one: a connection that is read event by event."""

import contextlib
import http.client
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

from tests.helpers.running import PATIENCE_SEC, Server, until


class Event(NamedTuple):
    name: str
    data: dict
    id: str


class Viewer:
    """One that has read the head of the answer of `/tap`, and that the log can be read or not."""

    def __init__(self, port: int, headers: dict[str, str] | None = None, **query: object) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SEC)
        self.connection.request("GET", f"/tap?{urlencode(query)}", headers=headers or {})
        self.response = self.connection.getresponse()
        self.last_id = ""
        if self.response.status == 200:
            self.state = self.next("state").data

    def next(self, name: str = "entries") -> Event:
        """The next event of this name."""
        while (event := self._next()).name != name:
            pass
        return event

    def lines(self, count: int) -> list[dict]:
        """The next lines, so many at least."""
        found: list[dict] = []
        while len(found) < count:
            found += self.next().data["lines"]
        return found

    def messages(self, count: int) -> list[str]:
        return [line["message"] for line in self.lines(count)]

    def has_ended(self) -> bool:
        """Reads to the end of the connection."""
        with contextlib.suppress(ConnectionResetError):
            while self.response.readline():
                pass
        return True

    def close(self) -> None:
        self.connection.close()
        self.response.close()

    def _next(self) -> Event:
        name, data = "", ""
        for line in iter(lambda: self.response.readline().decode(), ""):
            assert "\r" not in line  # which would end a line of an event, too
            field, _, value = line.rstrip("\n").partition(": ")
            if field == "id":
                self.last_id = value
            elif field == "event":
                name = value
            elif field == "data":
                data = value
            elif line == "\n" and name:
                return Event(name, json.loads(data), self.last_id)
        raise AssertionError("the connection has ended")


def view_processes(server: Server) -> list[int]:
    """The pids of the processes that show this server's log."""
    return [pid for pid in children(server.process.pid) if b"fastlog.view.process" in command_of(pid)]


def children(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            yield from map(int, (task / "children").read_text().split())


def command_of(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def wait_for_end(pid: int) -> None:
    until(lambda: not os.path.exists(f"/proc/{pid}") or not command_of(pid), f"the end of process {pid}")
