"""Which lines a viewer wants, by its query: entries of the log, or notes of rejected input."""

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Protocol

import msgspec

from fastlog.limits import REJECTS_FILENAME
from fastlog.logs.conditions import EARLIEST, LATEST, Conditions, Window, entry_time
from fastlog.logs.selection import Selection, is_address
from fastlog.times import EPOCH, time_of
from fastlog.view.query import Query, moment

Runs = list[tuple[int, int]]
Block = bytes | bytearray


class Wanted(Protocol):
    """The wanted lines of the file `path` and of its archives. `conditions` is what their summaries can say."""

    @property
    def path(self) -> Path: ...

    @property
    def conditions(self) -> Conditions: ...

    def runs(self, block: Block, start: int, end: int) -> Runs:
        """Where the wanted lines are in block[start:end], which has whole lines; neighbours may come as one run."""

    def time(self, line: bytes) -> datetime | None:
        """When it came, as far as it is known."""


def wanted_by(query: Query, log: Path) -> Wanted:
    """`log`: the live file."""
    return Rejects(query, log) if query.rejected else Entries(query, log)


class Entries:
    """A line that is not an entry is never wanted: so each line is JSON, and UTF-8."""

    def __init__(self, query: Query, log: Path) -> None:
        self.path = log
        text = query.text
        self._selection = Selection(
            levels=None if query.levels is None else frozenset(query.levels),
            app=query.app,
            host=query.host,
            source=query.source,
            window=_window(query),
            pattern=None if text is None else re.compile(re.escape(text), re.IGNORECASE),
            entries_only=True,
        )
        self.conditions = self._selection.conditions
        self.runs: Callable[[Block, int, int], Runs] = self._selection.runs

    def time(self, line: bytes) -> datetime | None:
        time = entry_time(line)
        return time and time[0]


class _Note(msgspec.Struct, gc=False):
    time: str
    source: str
    reason: str


class Rejects:
    """`rejects.jsonl`, which has a few megabytes: each line is decoded."""

    def __init__(self, query: Query, log: Path) -> None:
        self.path = log.parent / REJECTS_FILENAME
        self.conditions = Conditions()
        self._query = query
        self._text = query.text and query.text.casefold()
        self._window = _window(query)
        self._decode = msgspec.json.Decoder(_Note).decode

    def runs(self, block: Block, start: int, end: int) -> Runs:
        found = []
        for line in bytes(block[start : end - 1]).split(b"\n"):
            after = start + len(line) + 1
            if self._is_wanted(line):
                found.append((start, after))
            start = after
        return found

    def time(self, line: bytes) -> datetime | None:
        try:
            return time_of(self._decode(line).time)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    def _is_wanted(self, line: bytes) -> bool:
        query = self._query
        try:
            text = line.decode()  # a damaged line: the decoder passes over what it does not need
            note = self._decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return False
        if query.reason is not None and note.reason != query.reason:
            return False
        if query.source is not None and not is_address(note.source, query.source):
            return False
        if self._text and self._text not in text.casefold():
            return False
        time = time_of(note.time) or EPOCH
        return self._window is None or self._window.has(time, True)


def _window(query: Query) -> Window | None:
    if query.since is None and query.until is None:
        return None
    return Window(
        EARLIEST if query.since is None else moment(query.since), LATEST if query.until is None else moment(query.until)
    )
