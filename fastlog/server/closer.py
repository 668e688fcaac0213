"""Closes files that were deleted, in a thread: their room on the disk becomes free then, which takes the longer the
larger a file is. Before that it counts the lines that were lost with them, which may have to be read from a slow disk.
"""

import contextlib
import os
import threading
from collections import deque
from typing import NamedTuple

from fastlog.archive.index import read_index

WAITING_MAX = 16  # files, each an open descriptor and room on the disk: more are not deleted until these are closed
END_CLOSE_SEC = 2.0  # how long the end waits for files of which nothing is counted
BLOCK_BYTES = 1 << 18  # read at once: counting it takes 20 us, in which the loop cannot run


class Part(NamedTuple):
    """Of a file: its lines from one offset in its text to another."""

    fd: int
    start: int
    end: int
    is_compressed: bool


class Closer:
    """`lines`: those that were counted so far. The thread ends whenever nothing waits."""

    def __init__(self) -> None:
        self.lines = 0
        self._waiting: deque[Part] = deque()
        self._thread: threading.Thread | None = None

    @property
    def has_room(self) -> bool:
        return len(self._waiting) < WAITING_MAX

    @property
    def bytes_left(self) -> int:
        return sum(part.end - part.start for part in self._waiting)

    def close(self, fd: int) -> None:
        """Closes the file at once, and counts nothing."""
        self.add(fd, 0, 0)
        self.resume()

    def add(self, fd: int, start: int, end: int, *, is_compressed: bool = False) -> None:
        """Counts the lines of the file in between soon, and closes it."""
        self._waiting.append(Part(fd, start, end, is_compressed))
        if len(self._waiting) > WAITING_MAX // 2:  # a thread for each file would cost a rotation a millisecond
            self.resume()

    def resume(self) -> None:
        """Has a thread see to what waits. To be called from time to time."""
        if self._waiting and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(target=self._close_all, name="closer", daemon=True)
            with contextlib.suppress(RuntimeError):
                self._thread.start()

    def finish(self, seconds: float = END_CLOSE_SEC) -> None:
        """Waits until all are closed, though no longer than that."""
        self.resume()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join(seconds)

    def _close_all(self) -> None:
        while self._waiting:
            part = self._waiting[0]
            # Of a disk that cannot be read, nobody can count the lines, nor of a damaged archive.
            with contextlib.suppress(OSError, ValueError):
                self.lines += _count_compressed(part) if part.is_compressed else _count(part)
            os.close(part.fd)
            self._waiting.popleft()


def _count(part: Part) -> int:
    lines, at = 0, part.start
    while at < part.end and (block := os.pread(part.fd, min(BLOCK_BYTES, part.end - at), at)):
        lines += block.count(b"\n")
        at += len(block)
    return lines


def _count_compressed(part: Part) -> int:
    """By the summaries. A frame that is counted in part is unpacked, and one without a summary. Raises OSError, and
    DamagedError, which is a ValueError."""
    if part.start >= part.end:
        return 0
    from fastlog.archive.frames import read_frame  # most servers compress nothing, and never load the library

    lines = 0
    index = read_index(part.fd)
    for frame in index.frames if index else ():
        start, end = max(part.start - frame.start, 0), min(part.end - frame.start, frame.size)
        if frame.summary and (start, end) == (0, frame.size):
            lines += frame.summary.lines
        elif start < end:
            lines += read_frame(part.fd, frame).count(b"\n", start, end)
    return lines
