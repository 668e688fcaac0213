"""Gives each file of the log its identity: the log that it belongs to, and its number there, its segment.

Rules: no two files of a log share a number, only the file with the highest one grows, and no number ever stands for
other content than before, so that a position in the log means the same lines for ever. A file keeps its number under
whatever name. One that another program cut has other content from then on, and gets the next number.

A file that has lost its number gets it back if that can be told: files are numbered without gaps, so the number that
is missing between its neighbours is its own. The copy that another program made before it cut the live file
(logrotate's `copytruncate`) gets the number that the live file had, since it has what the live file had. An archive
that the server compresses keeps its number. One that another program compresses loses it: nothing gets that number any
more, so that its neighbours keep theirs.

Nothing here syncs. A number that a power cut takes away has not been used, since `fastlog ship` syncs a file before it
ships any of it, and the number of a file that was shipped and deleted is in its note. Where there are no attributes,
files have no identities, and the server runs all the same.
"""

import contextlib
import heapq
import os
import stat
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple, TypeGuard

from fastlog.archive.text_sizes import text_size_of
from fastlog.errors import say
from fastlog.segments import (
    ATTRIBUTE,
    COMPRESSED_ENDING,
    Identity,
    Shipped,
    identity_if_any,
    is_compressed,
    is_of_log,
    new_log,
    read_shipped,
)
from fastlog.server.found_files import Found, find, opened
from fastlog.server.linesfile import LinesFile
from fastlog.server.storage import Storage

COPY_NS = 60 * 10**9  # from the end of a copy to the cut: a moment


class Identities:
    """Those of one log. Nothing raises; `failure` is why the newest file got none, and is said once."""

    def __init__(self, storage: Storage, live: Path) -> None:
        self.failure: str | None = None
        self._storage = storage
        self._live = live
        self._log = ""  # not known yet
        self._highest = 0  # segment of a file that is or was live
        self._said = False
        self._left_out = False  # the newest file got none, and may get its own when another one does

    def take_stock(self, live: LinesFile) -> bool:
        """At the start: reads the numbers of all files, and gives one to each file without, the live one included.

        Returns whether the live file may grow: it may not if another one has a higher number, or it was cut and has
        its old one.
        """
        live.identity = identity_if_any(live.fd)
        others, note = self._others(live), self._note()
        self._log = self._log_of(live, others, note) or new_log()
        segments = [identity.segment for identity in (live.identity, *others.values()) if self._is_own(identity)]
        if note and note.log == self._log:
            segments.append(note.segment)
        self._highest = max(segments, default=0)
        may_grow = True
        if live.identity is None:
            self._number_newer(others)
            self.give(live)
            self.took(live)
        elif self._was_cut(live, others, note):
            may_grow = self.give_anew(live)
        else:
            may_grow = live.identity.segment == self._highest
            self._confirm(live, live.identity)
        self._number_older(live)
        return may_grow

    def give(self, file: LinesFile) -> None:
        """Gives the file the next number, which counts as used when the file `took` it. Its lines come after this."""
        identity = Identity(self._log, self._highest + 1)
        try:
            self._storage.set_attribute(file.fd, ATTRIBUTE, str(identity))
        except OSError as error:
            file.identity = None
            self.failure = error.strerror or str(error)
            if not self._said:
                say(f"{self._live} gets no identity: {self.failure}; `fastlog ship` cannot ship it")
                self._said = True
        else:
            file.identity = identity
            self.failure = None

    def took(self, file: LinesFile) -> None:
        """The file is the live one from now on."""
        if file.identity is None:
            self._highest += 1  # which stays its own
            self._left_out = True
            return
        self._highest = max(self._highest, file.identity.segment)
        if self._left_out:
            self._left_out = False
            self._number_older(file)

    def give_anew(self, live: LinesFile) -> bool:
        """The live file was cut: the next number is for what comes now. A copy of what it held gets the old one.

        Returns whether it may grow: it may not if it has its old number still.
        """
        had_one = live.identity is not None
        if live.identity:
            self._number_copy(live, live.identity)
        self.give(live)
        self.took(live)
        return live.identity is not None or not had_one

    def recognize(self, file: LinesFile) -> None:
        """Another program put the file in the live one's place: it keeps its number, or gets the next one."""
        file.identity = identity_if_any(file.fd)
        if self._is_own(file.identity):
            self._confirm(file, file.identity)
        else:
            self.give(file)

    def is_next(self, file: LinesFile) -> bool:
        """Whether a file that was not live before may grow: its number is higher than all others, or it has none."""
        return file.identity is None or file.identity.segment > self._highest

    def _confirm(self, file: LinesFile, identity: Identity) -> None:
        """Has the next sync of the file cover its number: a server may have been killed before that."""
        with contextlib.suppress(OSError):
            self._storage.set_attribute(file.fd, ATTRIBUTE, str(identity))

    def _is_own(self, identity: Identity | None) -> TypeGuard[Identity]:
        return identity is not None and identity.log == self._log

    def _note(self) -> Shipped | None:
        try:
            return read_shipped(self._live)
        except (OSError, ValueError):  # `fastlog ship` says so
            return None

    def _log_of(self, live: LinesFile, others: dict[Path, Identity], note: Shipped | None) -> str:
        """The log that the files belong to: that of the live file, or else of the newest one; empty: they have none.
        What other programs gave a name of their own may be another server's."""
        if live.identity:
            return live.identity.log
        found = [others[path] for path in (found.path for found in _archives(self._live)) if path in others]
        if found:
            return found[-1].log
        return note.log if note and any(identity.log == note.log for identity in others.values()) else ""

    def _was_cut(self, live: LinesFile, others: dict[Path, Identity], note: Shipped | None) -> bool:
        """Whether the live file holds less than what was shipped of it, or than a copy of it."""
        size = _status(live.fd).size
        if note and (note.log, note.segment) == live.identity and size < note.offset:
            return True
        return any(identity == live.identity and self._text_size(path) > size for path, identity in others.items())

    def _text_size(self, path: Path) -> int:
        """Of a file of the log in whatever form, in bytes."""
        if is_compressed(self._live.name, path.name):
            return _unpacked_size(path) or 0
        return _status(path).size

    def _others(self, live: LinesFile) -> dict[Path, Identity]:
        """The files besides the live one that have an identity, of this log or another."""
        found = {}
        for name in _names(self._live.parent):
            path = self._live.parent / name
            if is_of_log(self._live.name, name) and _status(path).is_file and not live.is_at(path):
                identity = identity_if_any(path)
                if identity:
                    found[path] = identity
        return found

    def _number_newer(self, others: dict[Path, Identity]) -> None:
        """Archives that are newer than all those with a number get the next ones, before the live file does."""
        waiting: list[Found] = []
        for found in _archives(self._live):
            if found.path not in others:
                if not _is_foreign(found):
                    waiting.append(found)
            elif self._is_own(others[found.path]):
                waiting.clear()
        for found in waiting:
            self._highest += 1
            self._number(found, self._highest)

    def _number_older(self, live: LinesFile) -> None:
        """Archives without a number get those that are missing between their neighbours. Files set aside do not: they
        have no number only if no sync ever covered it, and so nothing that is sure."""
        others = self._others(live)
        used = {identity.segment for identity in others.values() if self._is_own(identity)}
        newer = live.identity.segment if live.identity else self._highest
        for found in reversed(_archives(self._live)):
            identity = others.get(found.path)
            if self._is_own(identity):
                newer = min(newer, identity.segment)
            elif identity is None and newer > 1 and newer - 1 not in used and not found.is_distrusted:
                newer -= 1
                if not _is_foreign(found):
                    self._number(found, newer)

    def _number_copy(self, live: LinesFile, identity: Identity) -> None:
        """The newest archive gets this number, if it has none and was written directly before the live file was cut."""
        archives = _archives(self._live)
        if archives and 0 <= _status(live.fd).modified_ns - archives[-1].modified_ns <= COPY_NS:
            others = self._others(live)
            is_numbered = archives[-1].path in others or identity in others.values()
            if not is_numbered and not _is_foreign(archives[-1]):
                self._number(archives[-1], identity.segment)

    def _number(self, found: Found, segment: int) -> None:
        # What is gone or belongs to somebody else stays as it is.
        with contextlib.suppress(OSError), opened(found.path) as fd:
            self._storage.set_attribute(fd, ATTRIBUTE, str(Identity(self._log, segment)))


class _Status(NamedTuple):
    is_file: bool
    size: int
    modified_ns: int


def _archives(live: Path) -> list[Found]:
    """The archives and the files set aside, the oldest first. Of numbered ones the numbers say which is older."""
    numbered, others = [], []
    for found in find(live):
        number = found.plain_name.removeprefix(f"{live.name}.")
        if number.isdecimal():
            numbered.append((int(number), found))
        elif found.path != live:
            others.append(found)
    older = [found for _, found in sorted(numbered, key=lambda each: each[0], reverse=True)]
    return list(heapq.merge(sorted(others, key=attrgetter("modified_ns")), older, key=attrgetter("modified_ns")))


def _unpacked_size(path: Path) -> int | None:
    try:
        return text_size_of(path)
    except OSError:
        return None


def _is_foreign(found: Found) -> bool:
    """Whether another program has compressed the file. It takes the place of an archive, and has no number."""
    return found.ending not in ("", COMPRESSED_ENDING) or (found.ending != "" and _unpacked_size(found.path) is None)


def _names(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _status(file: int | Path) -> _Status:
    try:
        status = os.stat(file)
    except OSError:
        return _Status(is_file=False, size=0, modified_ns=0)
    return _Status(stat.S_ISREG(status.st_mode), status.st_size, status.st_mtime_ns)
