"""What the server and `fastlog ship` agree on about a log's files: which is which, and how far they were shipped.

Names change with every rotation, and inodes are used again. So each file has an identity of its own, in an extended
attribute: the log that it belongs to, and its number there, its segment. The server gives it; `ship` reads it.
"""

import errno
import os
import re
from pathlib import Path
from typing import NamedTuple

import msgspec

from fastlog.file_systems import getxattr, is_file, open_to_read

ATTRIBUTE = "user.fastlog"  # <log>:<segment>
DURABLE_ATTRIBUTE = "user.fastlog.durable"  # of a file set aside: the bytes that the last good sync covered
# What follows the live file's name in that of an archive: `.` and a number; or `-` and a date, as logrotate's `dateext`
# has it. A longer number is a date as well.
NUMBER = "[1-9][0-9]{0,4}"
DATE = "[0-9]{8}(?:[-_T]?[0-9]{1,10})?"
COMPRESSED_ENDING = ".zst"  # what the name of an archive ends in that the server has compressed
GZIP_ENDING = ".gz"  # the same of logrotate
# What names of copies end in that other programs have compressed. Some end in `.zst`, and have no identity.
FOREIGN_ENDINGS = (GZIP_ENDING, ".bz2", ".xz", ".lz4", ".Z", ".zip")
SHIPPED_ENDING = ".shipped"  # what follows the live file's name in that of the note of `ship`
SHIPPED_MAX_BYTES = 4096  # of that note: far more than it needs
# Files beside the log that are not part of it, by what their names end in. A `.new` file may never become live.
NOT_OF_LOG = (".new", ".torn", ".repaired", SHIPPED_ENDING)

_NUMBERED = re.compile(f"({NUMBER})({re.escape(COMPRESSED_ENDING)})?")
_IDENTITY = re.compile("([0-9a-f]{12}):([1-9][0-9]{0,17})")
_POSITION = re.compile("([0-9a-f]{12}):([1-9][0-9]{0,17}):(0|[1-9][0-9]{0,17})")
_SIZE = re.compile("0|[1-9][0-9]{0,17}")


class Identity(NamedTuple):
    """Of a file. `log`: 12 hex digits. `segment`: 1 in a log's first file, and one more in each that follows."""

    log: str
    segment: int

    def __str__(self) -> str:
        return f"{self.log}:{self.segment}"


class Position(NamedTuple):
    """Where a line begins or the newest one ends. `offset`: bytes from the beginning of the file, and of its text where
    it is compressed."""

    log: str
    segment: int
    offset: int

    def __str__(self) -> str:
        return f"{self.log}:{self.segment}:{self.offset}"


class Shipped(msgspec.Struct, frozen=True):
    """The note of `ship` beside the log: all before this position is in the engine, and not needed here any more."""

    log: str
    segment: int
    offset: int  # bytes
    problem: str = ""  # why nothing is shipped at the moment; empty: nothing hinders it
    # The position where the engine's newest line ends. What is between it and the position above is not to be shipped:
    # the rest of a file that is done with. Empty: the engine has acknowledged nothing yet.
    acknowledged: str = ""
    sequence: int = 0  # of the engine's message that ends there; 0: it has no such numbers

    @property
    def position(self) -> Position:
        return Position(self.log, self.segment, self.offset)


def new_log() -> str:
    """The name of a log that begins now, unlike that of any other."""
    return os.urandom(6).hex()


def identity_of(file: int | str | os.PathLike[str]) -> Identity | None:
    """A file's identity, None if it has none. Raises OSError, also where the file system knows no attributes."""
    match = _IDENTITY.fullmatch(attribute_of(file, ATTRIBUTE))
    return Identity(match[1], int(match[2])) if match else None


def identity_if_any(file: int | str | os.PathLike[str]) -> Identity | None:
    """The same; None as well where the file is gone, or the file system knows no attributes."""
    try:
        return identity_of(file)
    except OSError:
        return None


def durable_size_of(file: int | str | os.PathLike[str]) -> int | None:
    """How many bytes of a file that was set aside are durable; None if it was not set aside. Raises OSError."""
    match = _SIZE.fullmatch(attribute_of(file, DURABLE_ATTRIBUTE))
    return int(match[0]) if match else None


def position_from(text: str) -> Position | None:
    """The position that this text stands for, if it is one."""
    match = _POSITION.fullmatch(text)
    return Position(match[1], int(match[2]), int(match[3])) if match else None


def is_of_log(live: str, name: str) -> bool:
    """Whether a file of this name may belong to the log, by the name of its live file. Its identity says if it does:
    other programs call archives as they like, and copies as well."""
    return name == live or (name.startswith((f"{live}.", f"{live}-")) and not name.endswith(NOT_OF_LOG))


def is_shipped_from(live: str, name: str) -> bool:
    """The same, but for the names of copies that other programs have compressed: nobody ships them, and they may have
    kept the identity."""
    return is_of_log(live, name) and (name == live or not name.endswith(FOREIGN_ENDINGS))


def is_compressed(live: str, name: str) -> bool:
    """Whether a file of this name is compressed, if it is one of the log. Positions in it are those in its text."""
    return name != live and name.endswith(COMPRESSED_ENDING)


def plain_name(live: str, name: str) -> str:
    """The name that an archive has or had before it was compressed. For a moment there are both, with one identity."""
    return name.removesuffix(COMPRESSED_ENDING) if is_compressed(live, name) else name


def number_and_ending(live: str, name: str) -> tuple[int, str] | None:
    """The number of an archive that a rotation named, and what follows it: `.zst` or nothing. None: the name is
    another."""
    match = _NUMBERED.fullmatch(name, len(live) + 1) if name.startswith(f"{live}.") else None
    return (int(match[1]), match[2] or "") if match else None


def forms(plain: Path) -> tuple[Path, Path]:
    """The paths that an archive may have: as it was written, and compressed. The plain one is in force where there are
    both."""
    return plain, Path(f"{plain}{COMPRESSED_ENDING}")


def shipped_path(live: Path) -> Path:
    """Where the note of `ship` is, beside the live file."""
    return live.with_name(live.name + SHIPPED_ENDING)


def read_shipped(live: Path) -> Shipped | None:
    """The note of `ship` about a log; None if there is none. Raises OSError, and ValueError if it is not a note."""
    try:
        fd = open_to_read(shipped_path(live))
    except FileNotFoundError:
        return None
    try:
        if not is_file(fd):
            raise ValueError("it is not a file")
        text = os.read(fd, SHIPPED_MAX_BYTES)
    finally:
        os.close(fd)
    shipped = msgspec.json.decode(text, type=Shipped)
    if position_from(str(shipped.position)) is None:
        raise ValueError(f"{shipped.position} is not a position")
    return shipped


def attribute_of(file: int | str | os.PathLike[str], name: str) -> str:
    """The value of an extended attribute, empty if the file has none of that name. Raises OSError."""
    try:
        return getxattr(file, name).decode("ascii", "replace")
    except OSError as error:
        if error.errno == errno.ENODATA:
            return ""
        raise
