"""How much of a log is kept, by LOG_BACKUPS, LOG_KEEP_MB and LOG_KEEP_DAYS, and what was deleted of it.

All files of the log count: the live file, archives, files set aside, and those that other programs named. Only archives
that a rotation numbered are deleted, those with the highest numbers first, since they are the oldest. A number above
LOG_BACKUPS says so only at the start, or of a file with the log's identity: another program may have chosen it.

An archive that one of the three limits has no place for is surplus. It goes, unless `Hold` keeps it until it is
shipped; what is held does not count.

Its age goes by `Clock`, and by its neighbours: clocks may have been wrong when it was written. It is not older than the
archive before it. A time in the future says nothing, so that of the archive after it counts, or when it was first seen.

The directory is looked at when something may have changed: after a rotation, and otherwise once a minute. In between
the size of the live file and the time say whether another look is due.
"""

import contextlib
import math
import os
import stat
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from fastlog.config import MB
from fastlog.errors import say
from fastlog.file_systems import open_to_read
from fastlog.segments import attribute_of, identity_if_any
from fastlog.server.clock import MARK_ATTRIBUTE, Clock
from fastlog.server.closer import Closer
from fastlog.server.known_files import KnownFile, KnownFiles
from fastlog.server.storage import Storage

DAY_SEC = 86_400.0
HOUR_SEC = 3_600.0
# How long a jump of the clock must last, as a share of LOG_KEEP_DAYS and at most: somebody has to see and mend it, and
# meanwhile archives stay that are too old.
PATIENCE_SHARE = 0.1
PATIENCE_MAX_SEC = DAY_SEC
LOOK_SEC = 60.0  # between two looks where nothing has changed: other programs may have made or removed files
LARGE_BYTES = 1 << 22  # of a file: to free it takes the kernel 2 ms, which is more than a thread for it takes


class Limits(NamedTuple):
    """`backups`: archives. `total_bytes`: of all files together; `age_sec`: of an archive; None: there is no limit."""

    backups: int
    total_bytes: int | None = None
    age_sec: float | None = None

    @property
    def are_many(self) -> bool:
        """Whether there is another one besides LOG_BACKUPS."""
        return self.total_bytes is not None or self.age_sec is not None

    def __str__(self) -> str:
        total = "" if self.total_bytes is None else f", LOG_KEEP_MB={self.total_bytes / MB:g}"
        age = "" if self.age_sec is None else f", LOG_KEEP_DAYS={self.age_sec / DAY_SEC:g}"
        return f"LOG_BACKUPS={self.backups}{total}{age}"


class Numbered(NamedTuple):
    """An archive. `files`: the one in force, and for a moment the compressed one that is to replace it."""

    number: int
    files: tuple[KnownFile, ...]

    @property
    def size(self) -> int:
        """In bytes."""
        return self.files[0].size

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(file.path for file in self.files)


class Budget:
    """Of one log. Nothing here raises OSError."""

    def __init__(self, storage: Storage, live: Path, limits: Limits) -> None:
        self.limits = limits
        self.known = KnownFiles(live)
        self.files = 0  # of the log but for the live one, by the last look, and without what was deleted since
        self.bytes = 0  # that these have
        self.foreign_bytes = 0  # of these, in files that are not deleted here
        self.compressed_sizes: list[int] = []  # of the archives that are compressed
        self.deleted_files = 0
        self.deleted_bytes = 0
        self.doubt = ""  # why archives stay that are too old by the wall clock; empty: there are none
        self._clock: Clock | None = None  # from the first look on
        self._ahead_sec = 0.0  # of the wall clock, at the last look
        self._storage = storage
        self._live = live
        self._is_old = True  # names or sizes have changed since the last look
        self._look_at = -math.inf  # on the clock of time.monotonic
        self._goes_next = False  # there is an archive that may be deleted when the live file grows
        self._kept_bytes = 0  # of the files that are not surplus
        self._expires_at = math.inf  # seconds, by the clock: when the first archive is too old
        self._closer = Closer()
        self._said: set[Path] = set()  # archives that could not be deleted

    def is_due(self, live_bytes: int) -> bool:
        """Whether it is time for `look`. That costs nothing, so it may be asked each second."""
        if self._is_old or monotonic() >= self._look_at:
            return True
        if self._clock and (self._clock.now() >= self._expires_at or self._clock.ahead_sec != self._ahead_sec):
            return True
        total = self.limits.total_bytes
        return total is not None and self._goes_next and self._kept_bytes + live_bytes > total

    def changed(self) -> None:
        """Names or sizes of archives have changed."""
        self._is_old = True

    def look(self, live_bytes: int, *, at_start: bool = False) -> list[Numbered]:
        """Looks at all files. Returns the archives that are surplus, the oldest first."""
        self._look_at = monotonic() + LOOK_SEC
        self._is_old = False
        try:
            archives = self.find(at_start=at_start)
        except OSError:  # somebody took the directory away: the writer sees to it
            return []
        left = self.bytes + live_bytes
        most = math.inf if self.limits.total_bytes is None else self.limits.total_bytes
        age_sec = math.inf if self.limits.age_sec is None else self.limits.age_sec
        self._clock = self._clock or self._begin_clock(archives)
        now = self._clock.now()
        surplus: list[Numbered] = []
        kept: list[float] = []  # when they will be too old
        for archive, written in zip(archives, _written(archives, now), strict=True):
            is_too_old = written + age_sec <= now and archive.files[0].is_unchanged()
            is_surplus = archive.number > self.limits.backups or left > most or is_too_old
            if is_surplus:
                surplus.append(archive)
                left -= archive.size
            else:
                kept.append(written + age_sec)
        self._goes_next = bool(kept)
        self._kept_bytes = left - live_bytes
        self._expires_at = min(kept, default=math.inf)
        self._look_at_clock(self._clock, sum(expires_at <= now + self._clock.ahead_sec for expires_at in kept))
        return surplus

    def _begin_clock(self, archives: Sequence[Numbered]) -> Clock:
        """Raises nothing: whatever is not known leaves the clock as it is."""
        if self.limits.age_sec is None:
            return Clock()
        written = [archive.files[0].modified for archive in archives]
        live = _state(self._live)
        if live and live.st_size:  # an empty one may have been made by this start
            written.append(live.st_mtime)
        mark = ""
        with contextlib.suppress(OSError):
            mark = attribute_of(self._live.parent, MARK_ATTRIBUTE)
        patience_sec = min(self.limits.age_sec * PATIENCE_SHARE, PATIENCE_MAX_SEC)
        return Clock(patience_sec, written, mark)

    def _look_at_clock(self, clock: Clock, spared: int) -> None:
        """`spared`: archives that stay though they are too old by the wall clock."""
        has_jumped = clock.ahead_sec != self._ahead_sec
        self._ahead_sec = clock.ahead_sec
        if has_jumped and clock.ahead_sec:
            with contextlib.suppress(OSError):  # without attributes, the next start knows only the newest file's time
                self._leave_mark(clock.mark)
        is_new = not self.doubt
        self.doubt = ""
        if spared and clock.ahead_sec:
            self.doubt = (
                f"the clock may be wrong, it is {clock.ahead_sec / DAY_SEC:,.1f} days ahead: {spared} archives of "
                f"{self._live} that are beyond LOG_KEEP_DAYS by it stay until it has been so for "
                f"{clock.patience_sec / HOUR_SEC:.3g} hours"
            )
            if is_new:
                say(self.doubt)

    def _leave_mark(self, mark: str) -> None:
        fd = os.open(self._live.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._storage.set_attribute(fd, MARK_ATTRIBUTE, mark)
        finally:
            self._storage.close(fd)

    def find(self, *, at_start: bool = False) -> list[Numbered]:
        """The numbered archives, the oldest first; and counts all files. Raises OSError."""
        live = identity_if_any(self._live)
        forms: dict[int, list[KnownFile]] = {}
        self.files = self.foreign_bytes = 0
        for file in self.known.find():
            is_near = at_start or file.number <= self.limits.backups
            if file.number and (is_near or (live is not None and file.is_of(live.log))):
                forms.setdefault(file.number, []).append(file)
            else:
                self.files += 1
                self.foreign_bytes += file.size
        # Where there are both forms, the plain file is in force, and comes first.
        archives = [
            Numbered(number, tuple(sorted(forms[number], key=lambda file: file.is_compressed)))
            for number in sorted(forms, reverse=True)
        ]
        self.files += len(archives)
        self.bytes = self.foreign_bytes + sum(archive.size for archive in archives)
        self.compressed_sizes = [archive.size for archive in archives if archive.files[0].is_compressed]
        return archives

    def delete(self, archive: Numbered) -> bool:
        """Returns whether it is gone. If not, that is said once."""
        for path in reversed(archive.paths):  # the one in force last
            try:
                with self.losing(path, counts=path == archive.paths[0]):
                    self._storage.unlink(path)
            except FileNotFoundError:
                pass
            except OSError as error:
                if path not in self._said:
                    say(f"cannot remove {path}, an archive beyond {self.limits}: {error.strerror}")
                self._said.add(path)
                return False
            self._said.discard(path)
        return True

    @contextlib.contextmanager
    def losing(self, path: Path, *, counts: bool = True) -> Iterator[None]:
        """Inside, the file of this path loses its name, if there is one: it counts as deleted if nothing is raised."""
        state = _state(path)
        fd = None
        if state and state.st_size >= LARGE_BYTES and self._closer.has_room:
            with contextlib.suppress(OSError):
                fd = open_to_read(path)
        try:
            yield
        except BaseException:
            if fd is not None:
                os.close(fd)
            raise
        if state and counts:
            self.note_deleted(state.st_size)
        if fd is not None:
            self._closer.close(fd)

    def note_deleted(self, size: int) -> None:
        """An archive of so many bytes was deleted."""
        self.deleted_files += 1
        self.deleted_bytes += size
        self.files = max(self.files - 1, 0)
        self.bytes = max(self.bytes - size, 0)

    def finish(self) -> None:
        """At the end of the server."""
        self._closer.finish()


def _written(archives: Sequence[Numbered], now: float) -> list[float]:
    """When each of the archives, the oldest first, was written last, as far as can be known."""
    times = []
    next_time = now
    for archive in reversed(archives):
        file = archive.files[0]
        file.seen = file.seen or now
        next_time = file.modified if file.modified <= now else min(next_time, file.seen)
        times.append(next_time)
    return list(accumulate(reversed(times), max))


def _state(path: Path) -> os.stat_result | None:
    """Of a file; None: it is none."""
    try:
        state = os.lstat(path)
    except OSError:
        return None
    return state if stat.S_ISREG(state.st_mode) else None
