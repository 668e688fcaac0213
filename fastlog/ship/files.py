"""The files of the log as the shipper knows them: by their identity, whatever their names are at the moment.

They are opened to be read, and never changed. Names move with every rotation, so a file is looked for by its segment,
and asked for its identity again after it was opened, and after each read.
"""

import errno
import os
import re
import stat
from pathlib import Path
from typing import NamedTuple

from fastlog.errors import say
from fastlog.segments import Identity, durable_size_of, identity_of
from fastlog.ship.sink import RefusedError

# What other programs compress, a file that a repair or a rotation has not finished, and the note of `ship`. A copy may
# have taken the identity along.
NOT_OF_THE_LOG = re.compile(r".*\.(new|torn|repaired|shipped|gz|bz2|xz|zst|lz4|Z|zip)", re.DOTALL)
ARCHIVE = re.compile(r"\.([1-9][0-9]{0,4})|-[0-9]{8}(?:[-_T]?[0-9]{1,10})?")
LISTINGS_MAX = 20  # until two in a row are the same: files move to other names while the names are read
COPIES_MAX = 100  # names of copies that are remembered, so that each is said once
# What the sync of a directory fails with where the file system has no such sync.
NO_DIRECTORY_SYNC = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS}

NO_ATTRIBUTES = {errno.EOPNOTSUPP, errno.ENOSYS}  # what a look at attributes fails with where there are none


class CutError(Exception):
    """Another program has cut the file, which has another identity now, or will get one."""


class Listing(NamedTuple):
    """The files of one log. `segments`: the path of each, in order. `log`: None if there is no file with an identity.
    `unread`: files that cannot be asked for theirs, with the reason."""

    log: str | None
    segments: dict[int, Path]
    unread: list[str]

    def after(self, segment: int) -> int | None:
        """The lowest segment above this one."""
        return next((number for number in self.segments if number > segment), None)

    @property
    def newest(self) -> int:
        return next(reversed(self.segments))

    @property
    def oldest(self) -> int:
        return next(iter(self.segments))


class _Found(NamedTuple):
    rank: tuple[int, int, str]  # of its name: the lowest is preferred where two files have one identity
    identity: Identity
    inode: tuple[int, int]
    modified_ns: int
    path: Path


class LogFiles:
    """Finds the files of the log whose live file has this path."""

    def __init__(self, live: Path) -> None:
        self.live = live
        self._copies: set[Path] = set()

    def now(self) -> Listing:
        """The files that the log has now. Raises OSError if the directory cannot be read, also where files have no
        attributes."""
        before = self._walk()
        for _ in range(LISTINGS_MAX):
            listing = self._walk()
            if listing == before:
                return listing
            before = Listing(listing.log, _merged(before, listing), listing.unread)
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
            raise RefusedError(f"cannot read {listing.unread[0]}; the log's files are for its group alone")
        if listing.log is None and os.path.exists(self.live):
            raise RefusedError(
                f"{self.live} has no identity (the attribute user.fastlog): `fastlog serve` of this version gives it "
                f"one when it starts"
            )
        return listing

    def open(self, identity: Identity) -> "SegmentFile | None":
        """The file with this identity; None if the log does not have it now. Raises OSError."""
        for _ in range(LISTINGS_MAX):
            listing = self.now()
            path = listing.segments.get(identity.segment) if listing.log == identity.log else None
            if path is None:
                return None
            try:
                return SegmentFile(path, identity)
            except (FileNotFoundError, CutError):  # a rotation has renamed it meanwhile
                continue
        raise OSError(errno.EAGAIN, "its files are renamed all the time")

    def _walk(self) -> Listing:
        found: list[_Found] = []
        unread: list[str] = []
        try:
            names = os.listdir(self.live.parent)
        except FileNotFoundError:
            names = []
        for name in names:
            rank = self._rank(name)
            if rank is not None:
                self._look_at(self.live.parent / name, rank, found, unread)
        # The live file says which log is written. While a rotation renames it, there is none for a moment.
        newest = max(found, key=lambda each: (each.rank[0] == 0, each.modified_ns), default=None)
        if newest is None:
            return Listing(None, {}, sorted(unread))
        log = newest.identity.log
        segments: dict[int, _Found] = {}
        for each in sorted(found):
            if each.identity.log == log:
                first = segments.setdefault(each.identity.segment, each)
                if first.inode != each.inode:
                    self._say_copy(each, first)
        return Listing(log, {number: segments[number].path for number in sorted(segments)}, sorted(unread))

    def _rank(self, name: str) -> tuple[int, int, str] | None:
        """How well a name fits a file of the log; None if it does not."""
        ending = name.removeprefix(self.live.name)
        if name == self.live.name:
            return 0, 0, name
        if not name.startswith(self.live.name) or ending[0] not in ".-" or NOT_OF_THE_LOG.fullmatch(name):
            return None
        archive = ARCHIVE.fullmatch(ending)
        return (1, int(archive[1] or 0), name) if archive else (2, 0, name)

    def _look_at(self, path: Path, rank: tuple[int, int, str], found: list[_Found], unread: list[str]) -> None:
        try:
            state = os.stat(path)
            if not stat.S_ISREG(state.st_mode):
                return
            identity = identity_of(path)
        except (FileNotFoundError, NotADirectoryError):  # it has been renamed since
            return
        except OSError as error:
            if error.errno in NO_ATTRIBUTES:
                raise
            unread.append(f"{path}: {error.strerror}")
            return
        if identity is not None:
            found.append(_Found(rank, identity, (state.st_dev, state.st_ino), state.st_mtime_ns, path))

    def _say_copy(self, copy: _Found, original: _Found) -> None:
        if copy.path not in self._copies and len(self._copies) < COPIES_MAX:
            self._copies.add(copy.path)
            say(f"{copy.path} has the identity of {original.path}: it is taken for a copy, and not shipped")


def _merged(before: Listing, now: Listing) -> dict[int, Path]:
    """The newest path of each file that either listing has."""
    if before.log != now.log:
        return now.segments
    both = before.segments | now.segments
    return {number: both[number] for number in sorted(both)}


class SegmentFile:
    """An open file of the log. Raises OSError, and CutError if the file of that path has another identity."""

    def __init__(self, path: Path, identity: Identity) -> None:
        self.path = path  # the one that it had when it was opened
        self.identity = identity
        # A FIFO that took the file's place would otherwise wait for a writer.
        self.fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            state = os.fstat(self.fd)
            if not stat.S_ISREG(state.st_mode):
                raise OSError(errno.EINVAL, "it is not a file")  # noqa: TRY301  # closes the descriptor, too
            self.check()
        except BaseException:
            self.close()
            raise
        self.inode = state.st_dev, state.st_ino
        self._directory_is_synced = False

    def check(self) -> None:
        """Raises CutError if this is not the file any more that it was: its content is another one's now."""
        if identity_of(self.fd) != self.identity:
            raise CutError

    def is_at(self, path: Path) -> bool:
        """Whether the file has this name now."""
        try:
            state = os.stat(path)
        except OSError:
            return False
        return self.inode == (state.st_dev, state.st_ino)

    def size(self) -> int:
        return os.fstat(self.fd).st_size

    def sync(self) -> None:
        """Makes durable what the file has now; and its name, once. Raises OSError."""
        os.fsync(self.fd)
        if not self._directory_is_synced:
            sync_directory(self.path.parent)
            self._directory_is_synced = True

    def durable_size(self) -> int | None:
        """How many bytes are durable, by the server's word, of a file that was set aside. None: it was not."""
        return durable_size_of(self.fd)

    def read(self, size: int, offset: int) -> bytes:
        return os.pread(self.fd, size, offset)

    def close(self) -> None:
        os.close(self.fd)


def sync_directory(path: Path) -> None:
    """Makes the names in it durable, where the file system can. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in NO_DIRECTORY_SYNC:
            raise
    finally:
        os.close(fd)
