"""Finds and removes the damage that a crash of the system left in the log files, before anything is written to them.

After a power cut, writes that no sync covered may be missing. At the end of a file that leaves a line without its line
feed; before the end it leaves zeros. Stored lines hold no zeros, so a zero shows where something is missing. Whole
lines may stand behind it, and may have been acknowledged.

A power cut may end a repair, too. Until the repaired file has replaced the damaged one, or the damaged end is cut off,
the next start finds the same damage and repairs it anew. What is taken away is durable elsewhere before.
"""

import glob
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from fastlog.server.storage import Storage

# The search for zeros ends after so many bytes without one, before the end or a zero found: older writes are on disk.
SOUND_BYTES = 16 << 20
BLOCK_BYTES = 1 << 20  # read or written at once
REPAIRED_NAMES = re.compile(r"(\.distrusted)?(\.\d+)?")  # what follows the live file's name

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


def repair_all(storage: Storage, live: Path, directory_fd: int) -> int:
    """Repairs the live file, its archives and the files set aside: a rotation does not sync, so any may be damaged.

    Afterwards each is empty or ends with a line feed, and no line of them holds a zero, unless the damage is farther
    than SOUND_BYTES before the end. Unfinished lines are appended to `<live>.torn`; returns how many bytes they have.
    The changes of the files themselves are durable after the next sync of the live file and the directory.
    Raises OSError.
    """
    torn_bytes = 0
    for path in live.parent.glob(glob.escape(live.name) + "*"):
        if REPAIRED_NAMES.fullmatch(path.name.removeprefix(live.name)) and path.is_file():
            torn_bytes += _repair(storage, path, live, directory_fd)
    return torn_bytes


def find_damage(fd: int) -> int | None:
    """The offset at which the first line begins that is not whole; None: all lines are whole."""
    size = os.fstat(fd).st_size
    damage = None if not size or os.pread(fd, 1, size - 1) == b"\n" else size
    at = size
    while at and (size if damage is None else damage) - at < SOUND_BYTES:
        until, at = at, max(at - BLOCK_BYTES, 0)
        zero = os.pread(fd, until - at, at).find(0)
        if zero >= 0:
            damage = at + zero
    return None if damage is None else _line_start(fd, damage)


def newest_lines(storage: Storage, files: Sequence[Path], most_bytes: int) -> Iterator[memoryview]:
    """About the newest `most_bytes` of whole lines, from the oldest to the newest; the files are given from the newest
    to the oldest. Each view is good until the next.

    The lines are durable: what a crash of the server left in the page cache alone is synced before. Raises OSError.
    """
    chosen: list[Path] = []
    size = 0
    for path in files:
        if size >= most_bytes or not path.exists():
            break
        chosen.append(path)
        size += path.stat().st_size
    for path in reversed(chosen):
        with open(path, "rb") as file:
            storage.sync_now([file.fileno()])
            skipped = max(os.fstat(file.fileno()).st_size - most_bytes, 0)
            content = bytearray().join(_blocks(file.fileno(), skipped))
            yield memoryview(content)[content.find(b"\n") + 1 if skipped else 0 :]


def _repair(storage: Storage, path: Path, live: Path, directory_fd: int) -> int:
    """Repairs one file; returns how many bytes its unfinished lines have."""
    with open(path, "rb") as file:
        fd = file.fileno()
        damage = find_damage(fd)
        if damage is None:
            return 0
        torn_bytes = sum(len(part) for part, is_whole in _parts(fd, damage) if not is_whole)
        if torn_bytes:
            torn_fd = storage.open(Path(f"{live}.torn"))
            try:
                torn = (part for part, is_whole in _parts(fd, damage) if not is_whole)
                _write(storage, torn_fd, itertools.chain(torn, [b"\n"]))
                storage.sync_now([torn_fd], directory_fd)
            finally:
                storage.close(torn_fd)
        if any(is_whole for _, is_whole in _parts(fd, damage)):
            _rewrite(storage, fd, damage, path, Path(f"{live}.repaired"))
        else:
            _cut_tail(storage, path, damage)
    return torn_bytes


def _cut_tail(storage: Storage, path: Path, size: int) -> None:
    fd = storage.open(path)
    try:
        storage.truncate(fd, size)
    finally:
        storage.close(fd)


def _rewrite(storage: Storage, damaged_fd: int, damage: int, path: Path, repaired: Path) -> None:
    """A new file, with the whole lines behind the damage as well, replaces the damaged one."""
    repaired_fd = storage.create(repaired)
    try:
        whole = (part for part, is_whole in _parts(damaged_fd, damage) if is_whole)
        _write(storage, repaired_fd, itertools.chain(_blocks(damaged_fd, 0, damage), whole))
        storage.sync_now([repaired_fd])
    finally:
        storage.close(repaired_fd)
    storage.rename(repaired, path)


def _parts(fd: int, start: int) -> Iterator[tuple[bytes, bool]]:
    """What the file holds from an offset on, at which a line begins, without the zeros: each part, and whether it is
    whole lines."""
    rest = b""
    for block in _blocks(fd, start):
        data = rest + block
        if b"\0" not in data:
            end = data.rfind(b"\n") + 1
            rest = data[end:]
            if end:
                yield data[:end], True
            continue
        *lines, rest = data.split(b"\n")
        for line in lines:
            *torn, last = re.split(rb"\0+", line)
            yield from ((part, False) for part in torn if part)
            yield last + b"\n", not torn or _is_object(last)
        if b"\0" in rest:
            before, _, last = rest.rpartition(b"\0")
            yield from ((part, False) for part in re.split(rb"\0+", before) if part)
            rest = b"\0" + last
    if rest.strip(b"\0"):
        yield rest.strip(b"\0"), False


def _is_object(line: bytes) -> bool:
    """Whether a line that stands behind zeros is whole. The end of an object, cut anywhere, is not an object."""
    try:
        _object.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return False
    return line.startswith(b"{") and line.endswith(b"}")


def _line_start(fd: int, offset: int) -> int:
    """Where the line begins that reaches to or over the offset."""
    while offset:
        until, offset = offset, max(offset - BLOCK_BYTES, 0)
        feed = os.pread(fd, until - offset, offset).rfind(b"\n")
        if feed >= 0:
            return offset + feed + 1
    return 0


def _blocks(fd: int, start: int, end: int | None = None) -> Iterator[bytes]:
    """The bytes of a file from one offset to another, or to its end."""
    while part := os.pread(fd, BLOCK_BYTES if end is None else min(BLOCK_BYTES, end - start), start):
        start += len(part)
        yield part


def _write(storage: Storage, fd: int, parts: Iterable[bytes]) -> None:
    """Appends all of the parts."""
    waiting = bytearray()
    for part in itertools.chain(parts, [None]):
        waiting += part or b""
        if part is None or len(waiting) >= BLOCK_BYTES:
            with memoryview(waiting) as view:
                done = 0
                while done < len(view):
                    done += storage.write(fd, view[done:])
            waiting = bytearray()
