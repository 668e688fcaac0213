"""The files of the log besides the live one, by their identity: what `fastlog ship` still has to read, or has read.

They are looked at once a second, and at each rotation where somebody ships. So what is known of a file that will not
change any more is kept, as long as its name and its inode stay together.
"""

import contextlib
import os
import re
import stat
from pathlib import Path
from typing import NamedTuple

from fastlog.segments import Identity, Position, durable_size_of, identity_of, is_shipped_from

ARCHIVE_NUMBER = re.compile("[1-9][0-9]{0,4}")  # longer numbers are dates: other programs name archives so


class Archive(NamedTuple):
    """`number`: of a name that a rotation gives; 0: the name is another. `size`: bytes of lines that can be shipped."""

    identity: Identity
    number: int
    path: str
    inode: int
    size: int
    modified: float  # seconds, by time.time

    def unshipped_from(self, position: Position | None) -> int:
        """Where what is not shipped begins, `size` if all is; `position`: all before it is."""
        if position is None or position.log != self.identity.log or position.segment < self.identity.segment:
            return 0
        return self.size if position.segment > self.identity.segment else min(position.offset, self.size)


class Archives:
    """Finds them next to the live file."""

    def __init__(self, live: Path) -> None:
        self.live: Identity | None = None  # of the live file; the last one known while it has no name
        self._path = live
        self._known: dict[str, Archive] = {}  # those that do not change, by name

    def find(self) -> list[Archive]:
        """Those of the live file's log, the oldest first, and of each only one. Raises OSError."""
        self._look_at_live()
        if self.live is None:
            return []
        known, self._known = self._known, {}
        found: dict[int, Archive] = {}
        begin = self._path.name
        with os.scandir(self._path.parent) as entries:
            for entry in entries:
                name = entry.name
                if name == begin or not is_shipped_from(begin, name):
                    continue
                archive = known.get(name)
                if archive is None or archive.inode != entry.inode():
                    archive = self._look_at(entry)
                if archive is None or archive.identity.log != self.live.log:
                    continue
                if archive.identity.segment < self.live.segment:  # the server does not write to it any more
                    self._known[name] = archive
                other = found.get(archive.identity.segment)
                if other is None or _rank(archive) < _rank(other):  # a copy may have kept the identity
                    found[archive.identity.segment] = archive
        return [found[segment] for segment in sorted(found)]

    def numbers(self, above: int) -> list[int]:
        """The numbers above this one that names have, of whatever files, in order. Raises OSError."""
        begin = f"{self._path.name}."
        names = (name.removeprefix(begin) for name in os.listdir(self._path.parent) if name.startswith(begin))
        return sorted(number for name in names if ARCHIVE_NUMBER.fullmatch(name) and (number := int(name)) > above)

    def at(self, path: Path) -> Archive | None:
        """The file of this path, if it is one of the log."""
        self._look_at_live()
        archive = _archive(str(path), 0)
        return archive if archive and self.live and archive.identity.log == self.live.log else None

    def _look_at_live(self) -> None:
        with contextlib.suppress(OSError):  # it has no name at the moment, or files have no attributes
            self.live = identity_of(self._path) or self.live

    def _look_at(self, entry: os.DirEntry[str]) -> Archive | None:
        ending = entry.name[len(self._path.name) + 1 :]
        return _archive(entry.path, int(ending) if ARCHIVE_NUMBER.fullmatch(ending) else 0)


def _archive(path: str, number: int) -> Archive | None:
    try:
        state = os.stat(path)
        if not stat.S_ISREG(state.st_mode):
            return None
        identity = identity_of(path)
        durable = durable_size_of(path)
    except OSError:  # it has vanished; or nobody can read its identity, `ship` included
        return None
    if identity is None:
        return None
    size = state.st_size if durable is None else min(state.st_size, durable)
    return Archive(identity, number, path, state.st_ino, size, state.st_mtime)


def _rank(archive: Archive) -> tuple[bool, int, int]:
    """Which file counts where two have one identity: the lowest. A copy was made before the file had all its lines."""
    return archive.number == 0, -archive.size, archive.number
