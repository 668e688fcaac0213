"""The archives that rotations number: `<live>.N`, or `<live>.N.zst` when it is compressed.

An archive that has just been compressed has both names for a moment. The plain one is in force then.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fastlog.archive.index import DamagedError, read_index
from fastlog.file_systems import open_to_read
from fastlog.segments import COMPRESSED_ENDING, identity_if_any, number_and_ending

PLAIN, COMPRESSED = "", COMPRESSED_ENDING  # what follows the number


class Form(NamedTuple):
    """One of an archive's two names, `place` is its whole path. `is_file`: it is neither a link to one nor anything
    else."""

    place: str
    inode: int
    is_file: bool
    is_directory: bool

    @property
    def path(self) -> Path:  # made when it is needed: there may be a thousand archives
        return Path(self.place)


Forms = dict[str, Form]  # those of one archive that are there, by PLAIN and COMPRESSED


def numbered(live: Path) -> dict[int, Forms]:
    """All of them by number, by one look at the directory. Raises OSError."""
    found: dict[int, Forms] = {}
    with os.scandir(live.parent) as entries:
        for entry in entries:
            name = number_and_ending(live.name, entry.name)
            if name:
                number, ending = name
                is_file, is_directory = entry.is_file(follow_symlinks=False), entry.is_dir(follow_symlinks=False)
                form = Form(entry.path, entry.inode(), is_file, is_directory)
                found.setdefault(number, {})[ending] = form
    return found


def forms_of(live: Path, number: int) -> Forms:
    """Those of one archive, for directories that may not be listed."""
    found = {}
    for ending in (PLAIN, COMPRESSED):
        path = path_of(live, number, ending)
        try:
            status = os.lstat(path)
        except OSError:
            continue
        found[ending] = Form(str(path), status.st_ino, stat.S_ISREG(status.st_mode), stat.S_ISDIR(status.st_mode))
    return found


def path_of(live: Path, number: int, ending: str) -> Path:
    return Path(f"{live}.{number}{ending}")


def newest_plain(archives: dict[int, Forms]) -> Iterator[Form]:
    """The files that can be compressed, the newest first. One beside which the other name is taken is left out."""
    for number in sorted(archives):
        forms = archives[number]
        if forms.keys() == {PLAIN} and forms[PLAIN].is_file:
            yield forms[PLAIN]


def is_leftover(forms: Forms) -> bool:
    """Whether an archive has both names because a crash came between. Otherwise another program made one of them, and
    has perhaps put an older copy there. What is removed as a leftover must be in the plain file."""
    if forms.keys() != {PLAIN, COMPRESSED} or not all(form.is_file for form in forms.values()):
        return False
    plain, compressed = forms[PLAIN].path, forms[COMPRESSED].path
    if identity_if_any(plain) != identity_if_any(compressed):
        return False
    try:
        with open(open_to_read(plain), "rb") as text, open(open_to_read(compressed), "rb") as archive:
            return _was_made_of(archive.fileno(), text.fileno())
    except (OSError, DamagedError):
        return False


def _was_made_of(archive: int, text: int) -> bool:
    """Whether the server has compressed this text, by its size and its beginning. Raises OSError, and DamagedError."""
    index = read_index(archive)
    if index is None or index.text_size != os.fstat(text).st_size or not all(frame.summary for frame in index.frames):
        return False
    from fastlog.archive.frames import read_frame  # a server that has no such files never loads the library

    return all(read_frame(archive, frame) == os.pread(text, frame.size, 0) for frame in index.frames[:1])
