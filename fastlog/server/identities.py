"""Gives each file of the log its identity: the log that it belongs to, and its number there, its segment.

Rules: no two files of a log share a number, only the file with the highest one grows, and no number ever stands for
other content than before, so that a position in the log means the same lines for ever. A file keeps its number under
whatever name. One that another program cut has other content from then on, and gets the next number.

A file that has lost its number gets it back if that can be told: archives are numbered without gaps, so the number
that is missing between its neighbours is its own. Copies that another program made before it cut the live file
(logrotate's `copytruncate`) get the number that the live file had, and hold the lines that it had.

Nothing here syncs. A number that a power cut takes away has not been used, since `fastlog ship` syncs a file before it
ships any of it. Where there are no attributes, files have no identities, and the server runs all the same.
"""

import heapq
import os
import stat
from operator import attrgetter
from pathlib import Path

from fastlog.errors import say
from fastlog.segments import ATTRIBUTE, Identity, Shipped, identity_of, is_of_log, new_log, read_shipped
from fastlog.server.found_files import Found, find, opened
from fastlog.server.linesfile import LinesFile
from fastlog.server.storage import Storage


class Identities:
    """Those of one log. Nothing raises: what cannot be read or set is said once, and `failure` is why the last file
    got none."""

    def __init__(self, storage: Storage, live: Path) -> None:
        self.failure: str | None = None
        self._storage = storage
        self._live = live
        self._log = ""  # none known yet
        self._highest = 0  # segment of a file that is or was part of the log
        self._said = False

    def take_stock(self, live: LinesFile) -> bool:
        """At the start: reads the numbers of all files, and gives one to each file without, the live one included.

        Returns whether the live file may grow: it may not if another one has a higher number.
        """
        live.identity = _identity_of(live.fd)
        others = self._numbered(live)
        note = self._note()
        self._log = _log_of(live.identity, others)
        for identity in others.values():
            self._see(identity)
        if note and note.log == self._log:
            self._highest = max(self._highest, note.segment)
        if live.identity and self._was_cut(live, others, note):
            self._see(live.identity)
            self.give_anew(live)
            return True
        if live.identity is None:
            self._number_newer(others)
            self.give(live)
        if live.identity is None:
            return True
        is_newest = live.identity.segment >= self._highest
        self.took(live)
        self._number_older(live, live.identity.segment)
        return is_newest

    def give(self, file: LinesFile) -> None:
        """Gives the file the next number, which counts as used when the file `took` it. Its lines come after this."""
        identity = Identity(self._log or new_log(), self._highest + 1)
        file.identity = identity if self._set(file.fd, identity) else None

    def took(self, file: LinesFile) -> None:
        """The file is the live one from now on."""
        if file.identity:
            self._log = file.identity.log
            self._see(file.identity)

    def give_anew(self, live: LinesFile) -> None:
        """The live file was cut: the next number is for what comes now. A copy of what it held gets the old one."""
        if self._log:
            self._number_older(live, self._highest + 1)
        self.give(live)
        self.took(live)

    def recognize(self, file: LinesFile) -> None:
        """A file that has the log's name now, and another program made: it keeps its number, or gets the next one."""
        file.identity = _identity_of(file.fd)
        if file.identity is None or file.identity.log != self._log:
            self.give(file)

    def is_next(self, file: LinesFile) -> bool:
        """Whether a file that was not live before may grow: its number is higher than all others, or there are none."""
        return file.identity is None or file.identity.segment > self._highest

    def _see(self, identity: Identity) -> None:
        if identity.log == self._log:
            self._highest = max(self._highest, identity.segment)

    def _set(self, fd: int, identity: Identity) -> bool:
        try:
            self._storage.set_attribute(fd, ATTRIBUTE, str(identity))
        except OSError as error:
            self.failure = error.strerror or str(error)
            if not self._said:
                say(f"{self._live} gets no identity: {self.failure}; `fastlog ship` cannot ship it")
                self._said = True
            return False
        self.failure = None
        return True

    def _note(self) -> Shipped | None:
        try:
            return read_shipped(self._live)
        except (OSError, ValueError):  # `fastlog ship` says so
            return None

    def _was_cut(self, live: LinesFile, others: dict[Path, Identity], note: Shipped | None) -> bool:
        """Whether the live file holds less than what was shipped of it, or than a copy of it."""
        size = os.fstat(live.fd).st_size
        if note and (note.log, note.segment) == live.identity and size < note.offset:
            return True
        return any(identity == live.identity and _size(path) > size for path, identity in others.items())

    def _numbered(self, live: LinesFile) -> dict[Path, Identity]:
        """The files besides the live one that have an identity, of this log or another."""
        found = {}
        for name in _names(self._live):
            path = self._live.parent / name
            if name != self._live.name and is_of_log(self._live.name, name) and _is_file(path):
                identity = _identity_of(path)
                if identity and not live.is_at(path):
                    found[path] = identity
        return found

    def _number_newer(self, others: dict[Path, Identity]) -> None:
        """Archives that are newer than all those with a number get the next ones, before the live file does."""
        waiting: list[Found] = []
        for found in _archives(self._live):
            if found.path not in others:
                waiting.append(found)
            elif others[found.path].log == self._log:
                waiting.clear()
        self._log = self._log or new_log()
        for found in waiting:
            identity = Identity(self._log, self._highest + 1)
            if self._number(found, identity):
                self._see(identity)

    def _number_older(self, live: LinesFile, newer: int) -> None:
        """Archives without a number get those that are missing between their neighbours. `newer`: the number of the
        live file, the newest one."""
        others = self._numbered(live)
        used = {identity.segment for identity in others.values() if identity.log == self._log}
        for found in reversed(_archives(self._live)):
            identity = others.get(found.path)
            if identity and identity.log == self._log:
                newer = min(newer, identity.segment)
            elif identity is None and newer > 1 and newer - 1 not in used:
                newer -= 1
                self._number(found, Identity(self._log, newer))

    def _number(self, found: Found, identity: Identity) -> bool:
        try:
            with opened(found.path) as fd:
                return self._set(fd, identity)
        except OSError:  # it is gone, or belongs to somebody else
            return False


def _log_of(live: Identity | None, others: dict[Path, Identity]) -> str:
    """The log that the files belong to: that of the live file, or else of the newest one; empty: they have none."""
    if live:
        return live.log
    return max(((_modified_ns(path), identity.log) for path, identity in others.items()), default=(0, ""))[1]


def _archives(live: Path) -> list[Found]:
    """The archives and the files set aside, the oldest first. Of numbered ones the numbers say which is older."""
    numbered, others = [], []
    for found in find(live):
        number = found.path.name.removeprefix(f"{live.name}.")
        if number.isdecimal():
            numbered.append((int(number), found))
        elif found.path != live:
            others.append(found)
    older = [found for _, found in sorted(numbered, key=lambda each: each[0], reverse=True)]
    return list(heapq.merge(sorted(others, key=attrgetter("modified_ns")), older, key=attrgetter("modified_ns")))


def _identity_of(file: int | Path) -> Identity | None:
    try:
        return identity_of(file)
    except OSError:
        return None


def _names(live: Path) -> list[str]:
    try:
        return os.listdir(live.parent)
    except OSError:
        return []


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _modified_ns(path: Path) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0
