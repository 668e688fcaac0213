"""Entries in the order in which they came, as the server would store them, and what a test asks of them.

Another thread may add entries at any moment. The log is bounded: it forgets the oldest entries, and says so.
"""

import json
import re
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from fastlog.entry import level_of

Entry = dict[str, Any]
Message = str | re.Pattern[str]

WAIT_SEC = 5.0  # a client sends within milliseconds, and an entry lost once within a second; slow machines need more
ENTRIES_MAX = 100_000  # in one log: a test that needs more of them had better read the file of a real server
BYTES_MAX = 64 << 20  # of JSON in one log: some hundred megabytes of memory
SHOWN_MAX = 10  # entries in the message of a failed assertion, so that it can be read
SHOWN_CHARS = 500  # of each of them

_MISSING = object()
_ADDED = ("timestamp", "sequence", "host")  # by the client, to every entry: of no use to people who read a failure


class _Wanted(NamedTuple):
    """What an entry must have to match. A level or a message that is None may be anything."""

    level: str | None
    message: Message | None
    fields: dict[str, object]

    def matches(self, entry: Entry) -> bool:
        message = entry["message"]
        return (
            (self.level is None or level_of(self.level) == level_of(entry["level"]))
            and (
                self.message is None
                or (message == self.message if isinstance(self.message, str) else bool(self.message.search(message)))
            )
            and all(entry.get(name, _MISSING) == value for name, value in self.fields.items())
        )

    def __str__(self) -> str:
        given = {"level": self.level, "message": self.message}
        named = {name: value for name, value in given.items() if value is not None} | self.fields
        return " with " + ", ".join(f"{name}={value!r}" for name, value in named.items()) if named else ""


class EntryLog:
    """Entries in the order in which they came.

    `level`, `message` and the fields that the methods below take are those of `Client.send`. `level` is compared as the
    server does it, so "warn" is "WARNING". `message` is the whole text, or a compiled pattern that is searched in it.
    Every other value is compared with `==`. So `unittest.mock.ANY` stands for any value.

        with capture_entries() as logged:
            Client().send("ERROR", "disk full", disk="sda")
        logged.assert_logged("ERROR", "disk full", disk="sda")
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()  # its lock guards everything here
        self._entries: deque[Entry] = deque()
        self._sizes: deque[int] = deque()
        self._size_bytes = 0
        self._forgotten = 0

    @property
    def entries(self) -> list[Entry]:
        """All entries so far, as a new list.

        assert collector.entries[0]["order"] == 1093
        """
        with self._changed:
            return list(self._entries)

    @property
    def messages(self) -> list[str]:
        """Their messages.

        assert collector.messages == ["order placed", "order paid"]
        """
        return [entry["message"] for entry in self.entries]

    def find(self, level: str | None = None, message: Message | None = None, **fields: object) -> list[Entry]:
        """The entries so far that match.

        assert len(collector.find("ERROR", order=1093)) == 2
        """
        wanted = _Wanted(level, message, fields)
        return [entry for entry in self.entries if wanted.matches(entry)]

    def assert_logged(self, level: str | None = None, message: Message | None = None, **fields: object) -> Entry:
        """Returns the first entry so far that matches. Raises AssertionError, which shows what came instead.

        assert collector.assert_logged("ERROR", re.compile("timed out"))["order"] == 1093
        """
        found = self.find(level, message, **fields)
        if not found:
            raise AssertionError(self._complaint(f"no entry{_Wanted(level, message, fields)}"))
        return found[0]

    def assert_not_logged(self, level: str | None = None, message: Message | None = None, **fields: object) -> None:
        """Raises AssertionError if an entry so far matches.

        collector.assert_not_logged("ERROR")
        """
        found = self.find(level, message, **fields)
        if found:
            text = f"{len(found)} unwanted entries{_Wanted(level, message, fields)}, the first: {_shown(found[0])}"
            raise AssertionError(self._complaint(text))

    def wait_for(
        self,
        level: str | None = None,
        message: Message | None = None,
        *,
        count: int = 1,
        timeout: float = WAIT_SEC,
        **fields: object,
    ) -> list[Entry]:
        """Waits until at least `count` entries match, and returns those that do. Raises AssertionError if `timeout`
        seconds were not enough.

        collector.wait_for("ERROR", count=2, order=1093)
        """
        wanted = _Wanted(level, message, fields)
        entries = self._wait(lambda entries: sum(map(wanted.matches, entries)) >= count, timeout)
        found = [entry for entry in entries if wanted.matches(entry)]
        if len(found) < count:
            text = f"{len(found)} instead of {count} entries{wanted} within {timeout} seconds"
            raise AssertionError(self._complaint(text))
        return found

    def wait_until(self, holds: Callable[[list[Entry]], object], timeout: float = WAIT_SEC) -> list[Entry]:
        """Waits until `holds(entries)` is true, and returns all entries. Raises AssertionError if `timeout` seconds
        were not enough.

        collector.wait_until(lambda entries: sum(entry["amount"] for entry in entries) == 100)
        """
        entries = self._wait(holds, timeout)
        if not holds(entries):
            name = getattr(holds, "__qualname__", repr(holds))
            raise AssertionError(self._complaint(f"{name} did not hold within {timeout} seconds"))
        return entries

    def clear(self) -> None:
        """Forgets the entries so far.

        collector.clear()
        """
        with self._changed:
            self._entries.clear()
            self._sizes.clear()
            self._size_bytes = self._forgotten = 0

    def _add(self, line: bytes) -> None:
        """Adds an entry, as its JSON."""
        entry = _decoded(line)
        with self._changed:
            self._entries.append(entry)
            self._sizes.append(len(line))
            self._size_bytes += len(line)
            while len(self._entries) > ENTRIES_MAX or self._size_bytes > BYTES_MAX:
                self._entries.popleft()
                self._size_bytes -= self._sizes.popleft()
                self._forgotten += 1
            self._changed.notify_all()

    def _wait(self, holds: Callable[[list[Entry]], object], timeout: float) -> list[Entry]:
        with self._changed:
            self._changed.wait_for(lambda: holds(list(self._entries)), timeout)
            return list(self._entries)

    def _complaint(self, text: str) -> str:
        """The message of a failed assertion: `text`, and what came."""
        with self._changed:
            entries, forgotten = list(self._entries), self._forgotten
        came = f"{len(entries)} entries are here" if entries else "no entries are here"
        lines = [f"{text}; {came}", *(f"  {_shown(entry)}" for entry in entries[-SHOWN_MAX:])]
        if len(entries) > SHOWN_MAX:
            lines.insert(1, f"  ({len(entries) - SHOWN_MAX} earlier ones)")
        if forgotten:
            lines.append(f"{forgotten} older entries were forgotten: the log holds {ENTRIES_MAX}, or {BYTES_MAX} bytes")
        return "\n".join([*lines, *self._remarks()])

    def _remarks(self) -> list[str]:
        """Lines that may explain why entries are missing."""
        return []


def _decoded(line: bytes) -> Entry:
    try:
        entry: Entry = json.loads(line)
    except ValueError:  # a number with more digits than Python turns into an int
        entry = json.loads(line, parse_int=str)
    return entry


def _shown(entry: Entry) -> str:
    text = json.dumps({name: value for name, value in entry.items() if name not in _ADDED}, ensure_ascii=False)
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"
