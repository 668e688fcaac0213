"""The files of the log but for the live one, with their sizes and times.

A file of the log moves to a higher number and does not change. To ask for a thousand states takes some milliseconds, in
which the loop cannot run, so what is known of a file is kept as long as its inode shows that it is the same. Other
programs may change it all the same: some files are asked for anew at each look, all of them where there are few.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from fastlog.segments import COMPRESSED_ENDING, identity_if_any, is_of_log, number_and_ending

FRESH_MAX = 256  # files that are asked for anew at each look, about: that takes a millisecond


@dataclass(slots=True)
class KnownFile:
    """`number`: of a name that a rotation gives; 0: the name is another. `ending`: what follows the number, or the
    whole name where there is none. `size`: bytes. `modified`: seconds, by time.time."""

    place: str  # the whole path; a Path is made when it is needed
    number: int
    ending: str
    size: int = 0
    modified: float = 0.0
    seen: float | None = None  # when it was first looked at, by the clock of who looks
    _log: str | None = None  # by its identity, "" if it has none; None: nobody has asked

    @property
    def path(self) -> Path:
        return Path(self.place)

    @property
    def is_compressed(self) -> bool:
        return self.ending == COMPRESSED_ENDING

    def is_of(self, log: str) -> bool:
        """Whether its identity is of this log."""
        if self._log is None:
            identity = identity_if_any(self.place)
            self._log = identity.log if identity else ""
        return self._log == log

    def is_unchanged(self) -> bool:
        """Whether its time is still the one that is known, which it is asked for."""
        modified = self.modified
        return self.look() and self.modified == modified

    def look(self) -> bool:
        """Asks for its size and time. Returns whether it is a file."""
        try:
            state = os.lstat(self.place)
        except OSError:
            return False
        self.size, self.modified = state.st_size, state.st_mtime
        return stat.S_ISREG(state.st_mode)


class KnownFiles:
    """Of one log."""

    def __init__(self, live: Path) -> None:
        self._live = live
        self._known: dict[int, KnownFile] = {}  # by inode
        self._looks = 0
        self._moves = 0  # since the last one

    def moved(self) -> None:
        """Some may have moved up by one number."""
        self._moves += 1

    def find(self) -> list[KnownFile]:
        """All of them, in no order. Raises OSError."""
        live, found = self._live.name, []
        known, self._known = self._known, {}
        turns = len(known) // FRESH_MAX + 1
        self._looks += 1
        moves, self._moves = self._moves, 0
        with os.scandir(self._live.parent) as entries:
            for entry in entries:
                name = entry.name
                if name == live or not is_of_log(live, name):
                    continue
                number, ending = number_and_ending(live, name) or (0, name)
                inode = entry.inode()
                file = known.pop(inode, None)  # a second name of the same file is another one here
                # Where a file is deleted, the next new one may get its inode.
                if file is None or file.ending != ending or not 0 <= number - file.number <= moves:
                    file = KnownFile(entry.path, number, ending)
                    is_file = file.look()
                else:
                    file.place, file.number = entry.path, number
                    is_file = (inode + self._looks) % turns != 0 or file.look()
                if is_file:
                    self._known[inode] = file
                    found.append(file)
        return found
