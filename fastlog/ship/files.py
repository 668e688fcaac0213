"""The files of the log as the shipper knows them: by their identity, whatever their names are at the moment.

They are opened to be read, and never changed. Names move with every rotation, so a file is looked for by its segment,
and asked for its identity again after it was opened, and after each read.
"""

import contextlib
import errno
import math
import os
import re
import stat
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from fastlog.archive.text_sizes import TextSizes
from fastlog.errors import say
from fastlog.segments import DATE, NUMBER, Identity, Position, identity_of, is_compressed, is_shipped_from, plain_name
from fastlog.ship.compressed_file import CompressedFile
from fastlog.ship.segment_file import CutError, DurableNames, SegmentFile
from fastlog.ship.sink import RefusedError

ARCHIVE = re.compile(rf"\.({NUMBER})|-{DATE}")
LISTINGS_MAX = 20  # until two in a row are the same: files move to other names while the names are read
LOOK_ANYWAY_SEC = 1.0  # the time of a directory does not show a change within the same tick of the kernel's clock
# Until a copy is said: when another program cuts the live file, a copy of it has the same identity for a moment, until
# the live file gets a new one.
COPY_SAID_SEC = 5.0
COPIES_MAX = 100  # names of copies that are remembered, so that each is said once
NO_ATTRIBUTES = {errno.EOPNOTSUPP, errno.ENOSYS}  # what a look at attributes fails with where there are none


class Listing(NamedTuple):
    """The files of one log.

    `log`: None if no file has an identity. `segments`: the path of each file, in order; `sizes`: bytes of its text.
    `unread`: files that cannot be asked for theirs, with the reason. `is_nameless`: the live file has no identity.
    """

    log: str | None
    segments: dict[int, str]
    sizes: dict[int, int]
    unread: dict[Path, str]
    is_nameless: bool

    def after(self, segment: int) -> int | None:
        """The lowest segment above this one."""
        return next((number for number in self.segments if number > segment), None)

    def has_another(self, file: "SegmentFile") -> bool:
        """Whether another file has the identity of this one now."""
        path = self.segments.get(file.identity.segment) if self.log == file.identity.log else None
        return path is not None and not file.is_at(Path(path))

    def end(self) -> Position:
        """Where the newest file ends."""
        return Position(self.log or "", self.newest, self.sizes[self.newest])

    def lag(self, position: Position) -> int:
        """Bytes behind this position."""
        if self.log != position.log:
            return sum(self.sizes.values())
        begun = max(self.sizes.get(position.segment, 0) - position.offset, 0)
        return begun + sum(size for segment, size in self.sizes.items() if segment > position.segment)

    def first_unread(self) -> str:
        """The path of one that cannot be asked, and why."""
        path, why = next(iter(self.unread.items()))
        return f"{path}: {why}"

    @property
    def newest(self) -> int:
        return next(reversed(self.segments))

    @property
    def oldest(self) -> int:
        return next(iter(self.segments))


NOTHING = Listing(None, {}, {}, {}, False)


class _Found(NamedTuple):
    """`size`: bytes of its text, or of a compressed file that is broken."""

    is_live: bool
    modified_ns: int
    identity: Identity
    inode: tuple[int, int]
    size: int
    path: str
    is_compressed: bool
    is_broken: bool


class LogFiles:
    """Finds the files of the log whose live file has this path."""

    def __init__(self, live: Path) -> None:
        self.live = live
        self._names = DurableNames()
        self._copies: dict[str, float] = {}  # when each was first seen; infinite: it was said
        self._text_sizes = TextSizes()

    def now(self) -> Listing:
        """The files that the log has now. Raises OSError if the directory cannot be read, also where files have no
        attributes."""
        before = self.look()
        for _ in range(LISTINGS_MAX):
            listing = self.look()
            if listing.log == before.log and listing.segments == before.segments:
                return listing
            before = _merged(before, listing)
        return before

    def now_or_refuse(self) -> Listing:
        """The same for a start. Raises RefusedError where there will never be a file to ship."""
        try:
            listing = self.now()
        except OSError as error:
            if error.errno in NO_ATTRIBUTES:
                raise RefusedError(
                    f"the file system of {self.live.parent} keeps no extended attributes (user.*), by which `fastlog "
                    f"ship` knows the log's files: ext4, XFS, Btrfs and ZFS do, and tmpfs since Linux 6.6"
                ) from error
            raise RefusedError(f"cannot read {self.live.parent}: {error.strerror}") from error
        if listing.log is None and listing.unread:
            raise RefusedError(f"cannot read {listing.first_unread()}; the log's files are for its group alone")
        return listing

    def has_before(self, position: Position, lines: bytes) -> bool:
        """Whether these lines end at the position. In a copy of the log they do not, once both have been written: their
        positions are the same then, and their lines are not. True as well if the file is gone or was cut."""
        with contextlib.suppress(OSError, CutError):
            file = self.open(Identity(position.log, position.segment))
            if file:
                try:
                    found = file.read(len(lines), max(position.offset - len(lines), 0))
                    is_cut = file.size() < position.offset
                    file.check()
                    return is_cut or found == lines
                finally:
                    file.close()
        return True

    def open(self, identity: Identity, listing: Listing | None = None) -> "SegmentFile | None":
        """The file with this identity; None if the log does not have it now. `listing`: where it is looked for first.
        Raises OSError."""
        for _ in range(LISTINGS_MAX):
            listing = listing or self.now()
            path = listing.segments.get(identity.segment) if listing.log == identity.log else None
            if path is None:
                return None
            try:
                kind = CompressedFile if is_compressed(self.live.name, os.path.basename(path)) else SegmentFile
                file = kind(Path(path), identity)
            except (FileNotFoundError, CutError):  # a rotation has renamed it meanwhile
                listing = None
                continue
            file.names, file.newest = self._names, listing.newest
            return file
        raise OSError(errno.EAGAIN, "its files are renamed all the time")

    def look(self) -> Listing:
        """The same by one walk over the names. A file may be missing that was renamed meanwhile."""
        live, directory = str(self.live), str(self.live.parent)
        found: list[_Found] = []
        unread: dict[Path, str] = {}
        try:
            names = os.listdir(directory)
        except FileNotFoundError:
            names = []
        self._text_sizes.begin_look()
        for name in names:
            if is_shipped_from(self.live.name, name):
                self._look_at(os.path.join(directory, name), name == self.live.name, found, unread)
        is_nameless = self.live.name in names and self.live not in unread and not any(each.is_live for each in found)
        # The live file says which log is written. While a rotation renames it, there is none for a moment.
        log = max(found)[2].log if found else None
        segments: dict[int, _Found] = {}
        for each in found:
            if each.identity.log == log:
                other = segments.setdefault(each.identity.segment, each)
                if other.inode != each.inode:
                    first, copy = sorted((other, each), key=lambda file: _rank(file, live))
                    segments[each.identity.segment] = first
                    self._say_copy(copy, first)
        order = sorted(segments)
        paths, sizes = {n: segments[n].path for n in order}, {n: segments[n].size for n in order}
        return Listing(log, paths, sizes, unread, is_nameless)

    def _look_at(self, path: str, is_live: bool, found: list[_Found], unread: dict[Path, str]) -> None:
        try:
            state = os.stat(path)
            if not stat.S_ISREG(state.st_mode):
                return
            identity = identity_of(path)
            is_packed = is_compressed(self.live.name, os.path.basename(path))
            size = self._text_sizes.of(path, state) if identity and is_packed else state.st_size
        except (FileNotFoundError, NotADirectoryError):  # it has been renamed since
            return
        except OSError as error:
            if error.errno in NO_ATTRIBUTES:
                raise
            unread[Path(path)] = error.strerror or str(error)
            return
        if identity is not None:
            inode = state.st_dev, state.st_ino
            is_broken, size = size is None, state.st_size if size is None else size
            found.append(_Found(is_live, state.st_mtime_ns, identity, inode, size, path, is_packed, is_broken))

    def _say_copy(self, copy: _Found, original: _Found) -> None:
        if copy.is_compressed and not original.is_compressed:
            return  # the server has compressed it, and is about to remove the original
        if copy.path not in self._copies and len(self._copies) >= COPIES_MAX:
            return
        if monotonic() >= self._copies.setdefault(copy.path, monotonic()) + COPY_SAID_SEC:
            self._copies[copy.path] = math.inf
            say(f"{copy.path} has the identity of {original.path}: it is taken for a copy, and not shipped")


def _rank(file: _Found, live: str) -> tuple[bool, int, int, bool, int, str]:
    """Which file is preferred where two have one identity: the lowest. Of archives it is the larger one, since a copy
    was made before the file had all of its lines; then the one that is not compressed, since the server removes the
    other if both are there when it starts."""
    if file.path == live:
        return False, 0, 0, False, 0, file.path
    archive = ARCHIVE.fullmatch(plain_name(live, file.path).removeprefix(live))
    number = int(archive[1] or 0) if archive else 0
    return file.is_broken, 1 if archive else 2, -file.size, file.is_compressed, number, file.path


def _merged(before: Listing, now: Listing) -> Listing:
    """Every file that either listing has, with its newest path."""
    if before.log != now.log:
        return now
    both = before.segments | now.segments
    return now._replace(segments={number: both[number] for number in sorted(both)}, sizes=before.sizes | now.sizes)


class Watch:
    """Sees whether there may be something new, by three looks at the file system. `forget`: the next look says so."""

    def __init__(self, live: Path) -> None:
        self._live = live
        self._seen: tuple[int, ...] | None = None
        self._look_anyway_at = 0.0

    def has_changed(self, file: "SegmentFile") -> bool:
        """Whether anything happened to this file, the live one or its directory since the last call."""
        seen = None
        with contextlib.suppress(OSError):
            live, directory = os.stat(self._live), os.stat(self._live.parent)
            names = directory.st_dev, directory.st_ino, directory.st_mtime_ns
            seen = (file.size(), live.st_dev, live.st_ino, live.st_size, live.st_ctime_ns, *names)
        now = monotonic()
        if seen is not None and seen == self._seen and now < self._look_anyway_at:
            return False
        self._seen, self._look_anyway_at = seen, now + LOOK_ANYWAY_SEC
        return True

    def forget(self) -> None:
        self._seen = None
