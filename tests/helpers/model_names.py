"""The names in the directory of a modelled disk. Their changes are kept in order, and those after the last sync of the
directory may be missing after a power cut."""

import os
from collections.abc import Callable
from pathlib import Path

from fastlog.segments import COMPRESSED_ENDING
from fastlog.server import found_files
from tests.helpers.model_file import File

NAME = "server.log"
AWAY = "away"  # what begins so is a file that another program renamed


def is_of_log(name: str) -> bool:
    """Whether it is the name of the live file, an archive, or a file set aside."""
    return name.startswith(NAME) and found_files.NAMES.fullmatch(name.removeprefix(NAME)) is not None


def counts(name: str) -> bool:
    """Whether somebody who looks for the log's lines finds this file, or another program put it there."""
    return name.startswith(AWAY) or is_of_log(name)


def other_form(name: str) -> str:
    """The other name that an archive may have."""
    return name.removesuffix(COMPRESSED_ENDING) if name.endswith(COMPRESSED_ENDING) else name + COMPRESSED_ENDING


class Names:
    """`on_lost` is called with a name that a file has lost, the file, and what it held. `lost_modified`: seconds, of that
    file."""

    def __init__(self) -> None:
        self.states: list[dict[str, File]] = [{}]  # the names that are sure, and then those after each change
        self.on_lost: Callable[[str, File, bytes], None] = lambda name, file, content: None
        self._before = 0  # changes before those
        self._lost = b""  # what the file held that is about to lose its name
        self.lost_modified = 0.0

    @property
    def now(self) -> dict[str, File]:
        return self.states[-1]

    @property
    def count(self) -> int:
        """How many changes there were."""
        return self._before + len(self.states) - 1

    def add(self, name: str, file: File) -> None:
        self.states.append({**self.now, name: file})

    def about_to_lose(self, path: Path) -> None:
        """To be called before the file, if there is one, loses its name: reads what it holds."""
        self._lost = b""
        if path.name in self.now:
            self._lost, self.lost_modified = path.read_bytes(), os.stat(path).st_mtime

    def rename(self, old: str, new: str) -> None:
        names = dict(self.now)
        lost = names.get(new)
        names[new] = names.pop(old)
        if lost and not old.endswith(".repaired"):  # which holds the same lines
            self.on_lost(new, lost, self._lost)
        self.states.append(names)

    def remove(self, name: str) -> None:
        names = dict(self.now)
        self.on_lost(name, names.pop(name), self._lost)
        self.states.append(names)

    def renew(self, names: dict[str, File] | None = None) -> None:
        """These are all names, and they are sure; none: it is another directory."""
        self._before += len(self.states)
        self.states = [names or {}]

    def make_sure(self, to: int) -> None:
        if to > self._before:
            del self.states[: to - self._before]
            self._before = to

    def certain(self) -> set[File]:
        """The files that have a name which counts, whatever happens."""
        files = {file for name, file in self.now.items() if counts(name)}
        for state in self.states[:-1]:
            files &= {file for name, file in state.items() if counts(name)}
        return files
