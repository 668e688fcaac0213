"""The names in a log's directory, and how they change: by rotations, by files that are set aside, when a compressed
archive takes the place of a plain one, and when archives are deleted.
"""

import contextlib
import errno
import os
from itertools import pairwise
from pathlib import Path

from fastlog.errors import say
from fastlog.server.budget import Budget
from fastlog.server.hold import Hold
from fastlog.server.moves import Moves
from fastlog.server.numbered import (
    COMPRESSED,
    PLAIN,
    Form,
    Forms,
    forms_of,
    is_leftover,
    newest_plain,
    numbered,
    path_of,
)
from fastlog.server.storage import Storage

DISTRUSTED_MAX = 100  # files set aside after failures: a disk that fails again and again must not fill up with them


class Names:
    """The names in the directory: the live file, the next one (`.new`), archives from `.1`, the newest, to
    `.<backups>`, each with `.zst` behind it when it is compressed, and files set aside (`.distrusted.<n>`). What `hold`
    keeps has higher numbers.

    A compressed archive is written as `compressing`. It is `unsure` from when it has its own name until that is
    durable, and the plain archive is gone.
    """

    def __init__(self, storage: Storage, live: Path, budget: Budget, hold: Hold | None) -> None:
        self.live = live
        self.next = Path(f"{live}.new")
        self.compressing = Path(f"{live}{COMPRESSED}.new")
        self.unsure: Path | None = None
        self.budget = budget
        self._hold = hold
        self._storage = storage
        self._backups = budget.limits.backups
        self._moves = Moves(storage, live, self._backups)
        self._said: set[int] = set()  # inodes of files that were said to be in the way

    @property
    def has_archives(self) -> bool:
        """Whether a rotation keeps the live file."""
        return self._backups > 0

    def clean_up(self) -> None:
        """Removes what a crash has left of a rotation, which is empty or was written elsewhere as well, and what it has
        left of compressing: of each archive the plain file is in force then."""
        for path in (self.next, self.compressing):
            self._remove(path)
        for forms in self._archives().values():
            if is_leftover(forms):
                self._remove(forms[COMPRESSED].path)

    def to_compress(self) -> list[Form]:
        """The archives that are to be compressed, the newest first. Raises OSError."""
        archives = numbered(self.live)
        for forms in archives.values():
            if len(forms) > 1:
                self._see_to(forms)
        return list(newest_plain(archives))

    def create_compressed(self) -> int:
        """A descriptor of an empty file. Raises OSError."""
        return self._storage.create(self.compressing)

    def name_compressed(self, plain: Path) -> None:
        """The new file becomes the compressed form of this archive, whatever it was named before. Raises OSError."""
        self._take_name_back()
        path = Path(f"{plain}{COMPRESSED}")
        if os.path.lexists(path):
            raise OSError(errno.EEXIST, f"{path} is there already")
        self._storage.rename(self.compressing, path)
        self.unsure = path

    def drop_compressed(self) -> None:
        """Removes the new file: the plain archive stays."""
        path, self.unsure = self.unsure or self.compressing, None
        self._remove(path)

    def replace_plain(self, plain: Path) -> None:
        """The compressed form, which is durable, is in force from now on. Raises OSError."""
        self._storage.unlink(plain)
        self.unsure = None
        self.budget.changed()  # it takes less now

    def remove_surplus(self, live_bytes: int) -> None:
        """At the start: removes the archives that the limits have no place for, unless they are held. Those that cannot
        be removed stay."""
        before = self.budget.deleted_files
        self._keep_limits(live_bytes, at_start=True)
        removed = self.budget.deleted_files - before
        if removed:
            say(f"removed {removed} archives of {self.live} beyond {self.budget.limits}")
        self.tidy(live_bytes)

    def tidy(self, live_bytes: int) -> None:
        """Removes what is held no longer, and what there is no place for any more."""
        if self.budget.is_due(live_bytes):
            self._keep_limits(live_bytes)
        elif self._hold:
            self._hold.tidy()
        if self._hold:
            self._hold.count()
        if not self.unsure and self._moves.advance():  # an archive keeps its number until it has one name
            self.budget.known.moved()

    def _keep_limits(self, live_bytes: int, *, at_start: bool = False) -> None:
        surplus = self.budget.look(live_bytes, at_start=at_start)
        taken = self._hold.take(archive.paths[0] for archive in surplus) if self._hold else set()
        for archive in surplus:
            if archive.paths[0] not in taken:
                self.budget.delete(archive)
        if self._hold:
            self._hold.tidy()  # it decides about the others

    def rotate(self) -> None:
        """The live file becomes the newest archive, and the next file the live one. Raises OSError.

        Only the files that have to make room are moved, so a rotation that failed half-way can be tried again, and
        costs no archive.
        """
        self._take_name_back()
        self._moves.forget()
        row = self._row()
        if not row and self._hold:
            self._hold.make_room(self.live)
        elif row:
            self._make_free(row)
        rename = self._rename
        above: dict[str, Path] = {}
        for (_, forms), (higher, _) in reversed(list(pairwise(row))):
            paths = {ending: form.path for ending, form in forms.items()}
            for ending, path in paths.items():
                rename(path, above.get(ending) or path_of(self.live, higher, ending))
            above = paths  # where the next one goes; to make a path takes as long as to ask for a file
            rename = self._storage.rename  # only the first one overwrites what was there
        if row:
            self._rename_live(path_of(self.live, row[0][0], PLAIN))
        self._rename(self.next, self.live)
        self.budget.known.moved()
        self.budget.changed()
        if self.budget.limits.are_many:
            self._keep_limits(0)
        elif self._hold:
            self._hold.rotated()

    def set_aside(self) -> None:
        """The live file becomes `.distrusted.<n>`, and the next file the live one. Raises OSError."""
        for number in range(1, DISTRUSTED_MAX + 1):
            aside = Path(f"{self.live}.distrusted.{number}")
            if not aside.exists():
                break
        else:  # one more is an archive like the others
            self.rotate()
            return
        self._rename_live(aside)
        self._storage.rename(self.next, self.live)
        self.budget.changed()

    def _take_name_back(self) -> None:
        """An archive that has two names would have two numbers between two steps of a rotation. Raises OSError."""
        if self.unsure:
            with contextlib.suppress(FileNotFoundError):
                self._storage.rename(self.unsure, self.compressing)
            self.unsure = None

    def _row(self) -> list[tuple[int, Forms]]:
        """The archives that move up by one number, from the first one to that which is free, or else the last one of
        all. A directory that has such a name stays, and its number is passed over. Raises OSError."""
        row = []
        archives: dict[int, Forms] | None = None
        with contextlib.suppress(PermissionError):  # who may not list a directory may still look for names
            archives = numbered(self.live)
        for number in range(1, self._backups + 1):
            forms = forms_of(self.live, number) if archives is None else archives.get(number, {})
            if any(form.is_directory for form in forms.values()):
                continue
            row.append((number, forms))
            if not forms:
                break
        if self._backups and not row:
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        return row

    def _make_free(self, row: list[tuple[int, Forms]]) -> None:
        """The last archive of the row goes, if there is one. Raises OSError."""
        _, oldest = row[-1]
        for form in oldest.values():
            if self._hold:
                self._hold.make_room(form.path)
        coming = row[-2][1] if len(row) > 1 else {PLAIN}
        for ending in oldest.keys() - coming:  # the others are overwritten
            with contextlib.suppress(FileNotFoundError):
                path = oldest[ending].path
                with self.budget.losing(path):
                    self._storage.unlink(path)

    def _rename_live(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):  # another program took it away
            self._rename(self.live, path)

    def _rename(self, old: Path, new: Path) -> None:
        """An archive that this overwrites is deleted. Raises OSError."""
        with self.budget.losing(new):
            self._storage.rename(old, new)

    def _archives(self) -> dict[int, Forms]:
        try:
            return numbered(self.live)
        except OSError:  # the start says that it cannot be listed
            return {}

    def _see_to(self, forms: Forms) -> None:
        """Of an archive that has both names, and is not being compressed: removes what is left over."""
        other = forms[COMPRESSED]
        if other.path == self.unsure or other.inode in self._said:
            return
        if is_leftover(forms):
            self._remove(other.path)
        else:
            self._said.add(other.inode)
            say(f"{forms[PLAIN].path} is not compressed: {other.path} is there already, and was not made of it")

    def _remove(self, path: Path) -> None:
        try:
            inode = os.lstat(path).st_ino
        except OSError:  # it is not there, or its name is too long for the file system
            return
        try:
            self._storage.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            if inode not in self._said:
                self._said.add(inode)
                say(f"cannot remove {path}, which a crash has left: {error.strerror}")
