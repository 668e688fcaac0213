"""How many bytes of text compressed archives have, by their seek tables alone."""

import errno
import os
from pathlib import Path

from fastlog.archive.index import DamagedError, read_text_size
from fastlog.file_systems import open_to_read


def text_size_of(path: str | Path) -> int | None:
    """Of the archive of this path, in bytes; None if nobody can know. Raises OSError."""
    return _text_size(path, None)


class TextSizes:
    """Of the archives that a look finds. They do not change, so each is opened once, whatever its name."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], int | None] = {}
        self._before: dict[tuple[int, ...], int | None] = {}

    def begin_look(self) -> None:
        """What is not asked for until the next look is forgotten."""
        self._before, self._known = self._known, {}

    def of(self, path: str | Path, state: os.stat_result) -> int | None:
        """In bytes; None if it cannot be read from the archive. `state`: what the path was. Raises PermissionError, and
        FileNotFoundError if the path is another file now."""
        key = _key(state)
        if key in self._known:
            return self._known[key]
        if key not in self._before:
            try:
                self._before[key] = _text_size(path, key)
            except (PermissionError, FileNotFoundError):
                raise
            except OSError:  # the next look tries again
                return None
        self._known[key] = self._before[key]
        return self._known[key]


def _key(state: os.stat_result) -> tuple[int, ...]:
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


def _text_size(path: str | Path, key: tuple[int, ...] | None) -> int | None:
    fd = open_to_read(path)
    try:
        if key is not None and _key(os.fstat(fd)) != key:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return read_text_size(fd)
    except DamagedError:
        return None
    finally:
        os.close(fd)
