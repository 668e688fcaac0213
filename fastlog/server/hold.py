"""Which archives stay although the limits have no place for them: those that `fastlog ship` has not shipped yet.

`ship` leaves a note beside the log, which says how far it is. Where there is none, nobody ships, and nothing is held.
A note that cannot be read, or that is about another log, says of no line that it was shipped.

Archives that are held beyond LOG_BACKUPS have the numbers above it, in the order of their age like all others. A
rotation must not move hundreds of files, so there are free numbers between: they make room for as many files as there
are, whenever there is none left. Beyond the limit the oldest go, and the lines of these that were not shipped are
counted. `ship` may have the first file open that it has not finished, and the engine may have more of it than the note
says; and it may just go to the next one. These two go last: then what is counted is what is missing. On a full disk
held archives go, too, since new entries would be lost instead.
"""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from time import monotonic

from fastlog.config import MB
from fastlog.errors import say
from fastlog.file_systems import open_to_read
from fastlog.segments import Identity, Shipped, forms, identity_of, read_shipped, shipped_path
from fastlog.server.archives import Archive, Archives
from fastlog.server.budget import Budget
from fastlog.server.closer import Closer
from fastlog.server.storage import Storage

HELD_MAX = 1000  # files: to look at them takes half a millisecond, and two where they are compressed
IN_WORK = 2  # archives that `ship` may have open, or open before it says so
END_COUNT_SEC = 2.0  # how long the end waits for the count of lines that were deleted: 1 GB from a disk that works


class Hold:
    """`limit_bytes`: of all archives that the budget's limits have no place for; 0: none is held. Nothing here raises
    OSError but `make_room`."""

    def __init__(self, storage: Storage, live: Path, budget: Budget, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self.note: Shipped | None = None  # None: there is none, or none that can be read
        self.note_failure: str | None = None  # why it cannot be read
        self.archives = Archives(live)
        self._storage = storage
        self._live = live
        self._budget = budget
        self._backups = budget.limits.backups
        self._closer = Closer()
        self._held: list[Archive] = []  # the oldest first
        self._surplus: set[int] = set()  # segments of archives that the limits have no place for
        self._found: list[Archive] = []  # other files of the log, where somebody ships
        self._is_old = False  # there was a rotation since these were found
        self._have_moved = False  # held archives have other names than those known
        self._left_over = False  # archives beyond LOG_BACKUPS are there that could not be deleted yet
        self._give_up_at = 0.0  # on the clock of time.monotonic: when the end stops to wait for the count
        self._said: set[str] = set()  # what was said, and still holds

    @property
    def is_shipped(self) -> bool:
        """Whether somebody ships, by the last look."""
        return self.note is not None or self.note_failure is not None

    @property
    def held_files(self) -> int:
        return len(self._held)

    def files(self) -> list[Archive]:
        """The log's files but for the live one, the oldest first, where somebody ships."""
        if self._is_old:
            self.tidy()
        return sorted([*self._found, *self._held])

    @property
    def problem(self) -> str:
        """Why nothing is shipped at the moment; empty: nothing hinders it, as far as is known."""
        return self.note_failure or (self.note.problem if self.note else "")

    @property
    def alarm(self) -> str | None:
        """What to do, from half of the limit on."""
        if 2 * self.held_bytes < max(self.limit_bytes, 1) and 2 * self.held_files < HELD_MAX:
            return None
        return (
            f"{self.held_files} archives of {self.held_bytes / MB:,.1f} MB are held until they are shipped: "
            f"{self.problem or 'see why `fastlog ship` does not come along'}; beyond {HELD_MAX} archives or "
            f"SHIP_HOLD_MB={self.limit_bytes / MB:g} the oldest are deleted; if nobody ships this log any more, remove "
            f"{shipped_path(self._live)}"
        )

    @property
    def unshipped_lines(self) -> int:
        """Lines that were deleted before they were shipped, as far as they are counted."""
        return self._closer.lines

    @property
    def uncounted_bytes(self) -> int:
        """Bytes that were deleted as well, and are not counted yet."""
        return self._closer.bytes_left

    def make_room(self, path: Path) -> None:
        """Before a rotation overwrites the archive of this path, in whatever form: moves it to a number above
        LOG_BACKUPS, if it is not shipped. Raises OSError."""
        self.look()
        if not self.is_shipped:
            return
        archive = self.archives.at(path)
        if archive is not None and self._is_unshipped(archive):
            number = self._free_number()
            self._move(path, number)
            self._hold(archive._replace(number=number))

    def take(self, surplus: Iterable[Path]) -> set[Path]:
        """Which of these archives, that the limits have no place for, `tidy` decides about: all, if somebody ships."""
        self.look()
        self._surplus.clear()
        taken = set()
        for path in surplus if self.is_shipped else ():
            archive = self.archives.at(path)
            if archive:
                self._surplus.add(archive.identity.segment)
                taken.add(path)
        return taken

    def rotated(self) -> None:
        """After a rotation: deletes of the held archives what is over the limit."""
        self._is_old = True
        if self._have_moved or self._is_over:  # held archives that were compressed take less than is known
            self.tidy()

    def tidy(self) -> None:
        """Deletes of the archives beyond LOG_BACKUPS those that are shipped, and what is over the limit. To be called
        from time to time."""
        self.look()
        if not (self.is_shipped or self._held or self._left_over):
            self._found = []
            return
        try:
            found = self.archives.find()
        except OSError as error:
            self._say_once("look", f"cannot list {self._live.parent}: {error.strerror}; no held archive is deleted")
            return
        self._said.discard("look")
        self._left_over = self._have_moved = False
        self._found, self._held, self.held_bytes = [], [], 0
        for archive in found:
            if archive.number <= self._backups and archive.identity.segment not in self._surplus:
                self._found.append(archive)
            elif self.is_shipped and self._is_unshipped(archive):
                self._hold(archive)
            elif not self._delete(archive, archive.size):
                self._left_over = True
        self._is_old = False
        self._keep_limit()
        if self.limit_bytes and self.alarm is None:
            self._said.discard("lost")

    def give_way(self) -> None:
        """On a full disk: deletes one held archive, since new entries would be lost instead. What an earlier call has
        deleted takes room until it is counted, so that is waited for."""
        self._closer.resume()
        if self._held and not self._closer.bytes_left:
            self._drop(self._next_to_go(), "the disk is full")

    def count(self) -> None:
        """Has the lines of deleted files counted. To be called from time to time."""
        self._closer.resume()

    def finish(self) -> None:
        """At the end of the server: waits for the count, for a while. May be called again."""
        now = monotonic()
        self._give_up_at = self._give_up_at or now + END_COUNT_SEC
        self._closer.finish(max(self._give_up_at - now, 0.0))

    def _hold(self, archive: Archive) -> None:
        self._held.append(archive)
        self.held_bytes += archive.stored

    @property
    def _is_over(self) -> bool:
        return self.held_bytes > self.limit_bytes or self.held_files > HELD_MAX

    def _keep_limit(self) -> None:
        stuck = 0  # archives that cannot be deleted: those behind them are
        while self._is_over and self._closer.has_room:
            self.look()  # `ship` may have come to another file
            place = self._next_to_go() + stuck
            if place >= len(self._held):
                break
            if not self._drop(place, "more than SHIP_HOLD_MB waits to be shipped"):
                stuck += 1

    def _drop(self, place: int, why: str) -> bool:
        """Deletes a held archive that is not shipped. Returns whether it is gone."""
        archive = self._held[place]
        start = self._unshipped_from(archive)
        if not self._delete(archive, start, why):
            return False
        del self._held[place]
        self.held_bytes -= archive.stored
        return True

    def _next_to_go(self) -> int:
        """The place of the held archive that is deleted first."""
        oldest = self._held[0]
        is_in_work = self.note is not None and self.note.log == oldest.identity.log and self._is_unshipped(oldest)
        return min(IN_WORK, len(self._held) - 1) if is_in_work and self.limit_bytes else 0

    def _unshipped_from(self, archive: Archive) -> int:
        return archive.unshipped_from(self.note.position if self.note else None)

    def _is_unshipped(self, archive: Archive) -> bool:
        return self._unshipped_from(archive) < archive.size

    def look(self) -> None:
        """Reads the note: whether somebody ships, and how far that is."""
        path = shipped_path(self._live)
        failure = None
        try:
            self.note = read_shipped(self._live)
        except (OSError, ValueError) as error:
            self.note = None
            failure = f"cannot read {path}: {getattr(error, 'strerror', None) or error}"
        self.note_failure = failure
        if failure:
            self._say_once("note", f"{failure}; archives are held as if nothing were shipped")
        else:
            self._said.discard("note")

    def _free_number(self) -> int:
        """The number below that of the newest held archive. Raises OSError."""
        if self._held and not self._have_moved:
            number = self._held[-1].number - 1
            if number > self._backups and not any(map(os.path.lexists, self._forms(number))):
                return number
        least = self._backups + 1
        numbers = self.archives.numbers(self._backups)
        if not numbers:
            return least
        if numbers[0] > least:
            return numbers[0] - 1
        room = len(numbers)
        self._have_moved = True
        for place in reversed(range(len(numbers))):
            number = max(numbers[place], least + room + place)
            if number != numbers[place]:
                self._move(self._forms(numbers[place])[0], number)
        return least + room - 1

    def _move(self, path: Path, number: int) -> None:
        """Gives the archive of this path another number, in each form that it has. Raises OSError."""
        for old, new in zip(self.archives.forms(path), self._forms(number), strict=False):
            if os.path.lexists(old):
                self._storage.rename(old, new)

    def _delete(self, archive: Archive, start: int, why: str = "") -> bool:
        """Deletes an archive in each form that it has; its lines from `start` on are lost, and `why` is said. Returns
        whether it is gone."""
        if not self._closer.has_room:
            return False
        plain, compressed = self._forms(archive.number)
        path = Path(archive.path)
        with contextlib.ExitStack() as failed:
            try:
                own = [path for path in (plain, compressed) if _is_at(path, archive.identity)]
                if not own:  # another program has put another one there, or it is gone
                    return not (os.path.lexists(plain) or os.path.lexists(compressed))
                fd = open_to_read(own[0])
                failed.callback(os.close, fd)
                for path in own:
                    self._storage.unlink(path)
            except FileNotFoundError:
                return True
            except OSError as error:
                text = f"cannot remove {path}, an archive beyond {self._budget.limits}: {error.strerror}"
                self._say_once("delete", text)
                return False
            failed.pop_all()
        self._budget.note_deleted(os.fstat(fd).st_size)
        self._said.discard("delete")
        if why:
            lost = f"{archive.size - start} bytes that were not shipped"
            self._say_once("lost", f"{why}: deleted {own[0]} with {lost}")
        self._closer.add(fd, start, archive.size, is_compressed=own[0] == compressed)
        return True

    def _forms(self, number: int) -> tuple[Path, Path]:
        return forms(Path(f"{self._live}.{number}"))

    def _say_once(self, what: str, text: str) -> None:
        if what not in self._said:
            self._said.add(what)
            say(text)


def _is_at(path: Path, identity: Identity) -> bool:
    """Whether a file of this identity has this path now. Raises OSError."""
    try:
        return path.is_file() and identity_of(path) == identity
    except FileNotFoundError:
        return False
