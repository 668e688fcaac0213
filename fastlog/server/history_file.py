"""`.fastlog-history-<log>`: the rows of the history, so that they survive the server, even one that is killed.

Each row has a slot of its own in the file, with a checksum, and is overwritten there. Nothing is synced: a power cut
may cost the rows of some seconds, and a slot that it damaged is left out. A thread writes, since a disk that hangs
must hold up neither the loop nor the dashboard. It opens the file anew each time, so whatever becomes of the name
meanwhile is noticed. Whatever is wrong with the file, the history is in memory all the same.

The name is a hidden one, which does not begin like those of archives: `grep error server.log*` shall not find it.
"""

import contextlib
import os
import struct
import threading
import zlib
from array import array
from collections.abc import Iterator
from pathlib import Path

from fastlog.errors import say
from fastlog.file_systems import is_file
from fastlog.server.history import NO_STEP, RANGES, STEP, WIDTH, History, Ring
from fastlog.server.storage import FILE_MODE

NAME = ".fastlog-history-"
MAGIC = b"fastlog history "
# What the rows mean: a file with another one is of another version, and is begun anew.
HEADER = MAGIC + f"1 {WIDTH} {','.join(f'{step}x{steps}' for step, steps in RANGES.values())}\n".encode()
HEADER_BYTES = 512  # so that no slot lies in the sector of the header
SLOT = struct.Struct(f"={WIDTH}dQ")  # a row and its checksum
FILE_BYTES = HEADER_BYTES + SLOT.size * sum(steps for _, steps in RANGES.values())
SAVE_SEC = 10.0  # time between two writes: as much is lost if the server is killed
END_SEC = 0.5  # how long the end waits for the last write: a disk that works needs a millisecond
NOT_A_FILE = "it is not a file; remove it"


class HistoryFile:
    """Saves `history`, and restores it. No call raises an error; one that persists is printed once."""

    def __init__(self, log: Path, history: History) -> None:
        self.path = log.with_name(f"{NAME}{log.name}")
        self._rings = list(history.rings.values())
        self._thread: threading.Thread | None = None
        self._inode: int | None = None  # of the file that holds what was saved so far; None: there is none
        self._problem = ""

    def load(self) -> None:
        """At the start, before anything is counted."""
        try:
            with _opened(self.path, os.O_RDONLY) as fd:
                content = os.pread(fd, FILE_BYTES + 1, 0)
                if not content.strip(b"\0"):
                    return
                _check_ours(content)
                if not content.startswith(HEADER):
                    say(f"{self.path} is of another version of fastlog; the history begins anew")
                    return
                self._inode = os.fstat(fd).st_ino
        except FileNotFoundError:
            return
        except (OSError, _NotOursError) as error:
            self._say_problem(error)
            return
        damaged = sum(_restore(ring, content[at : at + size]) for ring, at, size in self._places())
        if damaged:
            say(f"{self.path} is damaged: {damaged} points of the history are left out")

    def save(self) -> None:
        """Has a thread write what has changed, unless the one before has not ended."""
        if self._thread is not None and self._thread.is_alive():
            return
        self._thread = threading.Thread(target=self._save, name="history", daemon=True)
        with contextlib.suppress(RuntimeError):  # the system has no thread left: the next one writes it
            self._thread.start()

    def finish(self) -> None:
        """Writes what is left, though it waits for the disk no longer than END_SEC."""
        for _ in range(2):  # the one that is under way, and the last one
            self.save()
            if self._thread is not None and self._thread.is_alive():
                self._thread.join(END_SEC / 2)

    def _save(self) -> None:
        inode, self._inode = self._inode, None  # if this fails, the next one writes everything
        try:
            with _opened(self.path, os.O_RDWR | os.O_CREAT) as fd:
                found = os.fstat(fd).st_ino
                is_same = inode == found and os.pread(fd, len(HEADER), 0) == HEADER
                if not is_same:
                    self._begin(fd)
                for ring, at, _ in self._places():
                    if not is_same:
                        ring.changed.update(range(ring.steps))
                    _write_changed(fd, ring, at)
                self._inode = found
        except (OSError, _NotOursError) as error:
            self._say_problem(error)
        else:
            if self._problem:
                self._problem = ""
                say(f"the history is kept in {self.path} again")

    def _begin(self, fd: int) -> None:
        """Makes it the file of this history. Raises OSError or _NotOursError."""
        _check_ours(os.pread(fd, HEADER_BYTES, 0))
        os.ftruncate(fd, 0)
        _write(fd, HEADER, 0)

    def _places(self) -> Iterator[tuple[Ring, int, int]]:
        """Each ring, and where its slots are in the file."""
        at = HEADER_BYTES
        for ring in self._rings:
            size = ring.steps * SLOT.size
            yield ring, at, size
            at += size

    def _say_problem(self, error: Exception) -> None:
        text = (error.strerror if isinstance(error, OSError) else None) or str(error)
        if text != self._problem:
            self._problem = text
            say(f"the history is kept in memory alone: {self.path}: {text}")


class _NotOursError(Exception):
    """Something else has the name; the text says what to do."""


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    """Raises OSError or _NotOursError. A link is not followed, and nothing waits for the other end of a FIFO."""
    try:
        fd = os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC, FILE_MODE)
    except IsADirectoryError:
        raise _NotOursError(NOT_A_FILE) from None
    try:
        if not is_file(fd):
            raise _NotOursError(NOT_A_FILE)
        yield fd
    finally:
        os.close(fd)


def _check_ours(content: bytes) -> None:
    """Raises _NotOursError if somebody else has written the file, which must not be overwritten."""
    if content.strip(b"\0") and not content.startswith(MAGIC):
        raise _NotOursError("it is not a history of fastlog; remove it")


def _write_changed(fd: int, ring: Ring, at: int) -> None:
    """Raises OSError."""
    while ring.changed:
        place = ring.changed.pop()
        row = ring.row(place)
        if row[STEP] != NO_STEP:
            _write(fd, _packed(row), at + place * SLOT.size)


def _packed(row: "array[float]") -> bytes:
    content = row.tobytes()
    return content + zlib.crc32(content).to_bytes(8, "little")


def _write(fd: int, content: bytes, at: int) -> None:
    """Raises OSError, also if the disk has room for a part of it only."""
    while content:
        written = os.pwrite(fd, content, at)
        content, at = content[written:], at + written


def _restore(ring: Ring, content: bytes) -> int:
    """How many slots were damaged."""
    damaged = 0
    for place in range(ring.steps):
        slot = content[place * SLOT.size : (place + 1) * SLOT.size]
        if slot.strip(b"\0"):  # a slot that nothing was written to is a hole
            row = array("d", slot[:-8]) if len(slot) == SLOT.size else array("d")
            damaged += not row or _packed(row) != slot or not ring.restore(place, row)
    return damaged
