"""The files of the log besides the live one, by their identity: what `fastlog ship` still has to read, or has read.

They are looked at once a second, and at each rotation where somebody ships. So what is known of a file that will not
change any more is kept, as long as its name and its inode stay together.
"""

import contextlib
import os
import stat
from pathlib import Path
from typing import NamedTuple

from fastlog.archive.text_sizes import TextSizes
from fastlog.segments import (
    Identity,
    Position,
    durable_size_of,
    forms,
    identity_of,
    is_compressed,
    is_shipped_from,
    number_and_ending,
    plain_name,
)


class Archive(NamedTuple):
    """`number`: of a name that a rotation gives; 0: the name is another. `size`: bytes of lines that can be shipped, of
    the text where the file is compressed. `stored`: bytes that it has on the disk."""

    identity: Identity
    number: int
    path: str
    inode: int
    size: int
    modified: float  # seconds, by time.time
    stored: int = 0
    is_compressed: bool = False

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
        self._text_sizes = TextSizes()

    def find(self) -> list[Archive]:
        """Those of the live file's log, the oldest first, and of each only one. Raises OSError."""
        self._look_at_live()
        if self.live is None:
            return []
        known, self._known = self._known, {}
        self._text_sizes.begin_look()
        found: dict[int, Archive] = {}
        begin = self._path.name
        with os.scandir(self._path.parent) as entries:
            for entry in entries:
                name = entry.name
                if name == begin or not is_shipped_from(begin, name):
                    continue
                archive = known.get(name)
                if archive is None or not _is_still(archive, entry):
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
        numbers = {self._number(name) for name in os.listdir(self._path.parent)}
        return sorted(number for number in numbers if number > above)

    def at(self, path: Path) -> Archive | None:
        """The file of this path, in either form, if it is one of the log."""
        self._look_at_live()
        for form in self.forms(path):
            archive = self._archive(str(form), 0)
            if archive and self.live and archive.identity.log == self.live.log:
                return archive
        return None

    def forms(self, path: Path) -> tuple[Path, ...]:
        """The paths that the file of this path may have; the live one has one."""
        return (path,) if path == self._path else forms(path.with_name(plain_name(self._path.name, path.name)))

    def _look_at_live(self) -> None:
        with contextlib.suppress(OSError):  # it has no name at the moment, or files have no attributes
            self.live = identity_of(self._path) or self.live

    def _look_at(self, entry: os.DirEntry[str]) -> Archive | None:
        return self._archive(entry.path, self._number(entry.name))

    def _archive(self, path: str, number: int) -> Archive | None:
        is_packed = is_compressed(self._path.name, os.path.basename(path))
        try:
            state = os.stat(path)
            if not stat.S_ISREG(state.st_mode):
                return None
            identity = identity_of(path)
            if identity is None:
                return None
            durable = durable_size_of(path)
            size = self._text_sizes.of(path, state) if is_packed else state.st_size
        except OSError:  # it has vanished; or nobody can read its identity, `ship` included
            return None
        if size is None:  # it is damaged, and waits for `ship` all the same
            size = state.st_size
        if durable is not None:
            size = min(size, durable)
        return Archive(identity, number, path, state.st_ino, size, state.st_mtime, state.st_size, is_packed)

    def _number(self, name: str) -> int:
        """That a rotation gave; 0: the name is another."""
        number, _ = number_and_ending(self._path.name, name) or (0, "")
        return number


def _is_still(archive: Archive, entry: os.DirEntry[str]) -> bool:
    """Whether this is the file that had the name before."""
    if archive.inode != entry.inode():
        return False
    try:  # one that was compressed since may have got the inode of one that was deleted, and its name
        return not archive.is_compressed or entry.stat().st_mtime == archive.modified
    except OSError:
        return False


def _rank(archive: Archive) -> tuple[bool, int, bool, int]:
    """Which file counts where two have one identity: the lowest. A copy was made before the file had all its lines."""
    return archive.number == 0, -archive.size, archive.is_compressed, archive.number
