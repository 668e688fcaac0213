"""Moves archives to higher numbers between two rotations, so that a rotation need not move hundreds at once.

A rotation moves the archives below the lowest free number. So here the archives below it move up, one after the other,
until it is a low one. It is as if a rotation had stopped half-way, which may happen anywhere and costs no archive.
"""

import contextlib
from pathlib import Path

from fastlog.server.numbered import forms_of, numbered, path_of
from fastlog.server.storage import Storage

FEW = 64  # archives that are left to the rotation: to move them takes two milliseconds
AT_ONCE_MAX = 128  # archives: to move them takes five milliseconds, in which the loop cannot run


class Moves:
    """Of one log, with at most so many archives. Nothing here raises OSError."""

    def __init__(self, storage: Storage, live: Path, backups: int) -> None:
        self._storage = storage
        self._live = live
        self._backups = backups
        self._free: int | None  # the lowest free number; 0: nothing is to be moved; None: it is not known
        self.forget()

    def forget(self) -> None:
        """A rotation begins: other numbers are free after it."""
        self._free = None if self._backups > FEW else 0

    def advance(self) -> bool:
        """Moves some, by one number. To be called from time to time. Returns whether any may have moved."""
        free, self._free = self._free, 0  # an error is left to the rotation, which reports it
        with contextlib.suppress(OSError):
            if free is None:
                free = self._lowest_free()
            if free > FEW + 1:
                self._free = self._move(free)
        return free != 0

    def _lowest_free(self) -> int:
        """0: there is none to which others can move. Raises OSError."""
        archives = numbered(self._live)
        free = next((number for number in range(1, self._backups + 1) if number not in archives), 0)
        is_barred = any(form.is_directory for number in range(1, free) for form in archives[number].values())
        return 0 if is_barred else free

    def _move(self, free: int) -> int:
        """Returns the number that is free then; 0: another program has taken one. Raises OSError."""
        if forms_of(self._live, free):
            return 0
        least = max(free - AT_ONCE_MAX, FEW + 1)
        for number in range(free - 1, least - 1, -1):
            forms = forms_of(self._live, number)
            if any(form.is_directory for form in forms.values()):
                return 0
            for ending, form in forms.items():
                self._storage.rename(form.path, path_of(self._live, number + 1, ending))
        return least
