"""Whether the file system has room for all that the log may grow to, and how much of it is free."""

import contextlib
import math
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from fastlog.config import MB
from fastlog.server.budget import Limits
from fastlog.server.logfile import LogFile

SPACE_WAIT_SEC = 0.02  # how long the loop waits for the free space of the disk: any file system that answers needs less
SPACE_FRESH_SEC = 10.0  # how long the last answer is shown while the file system gives no other
LOOK_SEC = 60.0  # between two looks: what others write on the disk changes the forecast slowly
CLEAR_SHARE = 0.05  # of what is needed: so much more room there must be before a warning ends, so that it does not flap


def most_bytes(limits: Limits, file_bytes: int, foreign_bytes: int, compressed_sizes: Sequence[int] | None) -> int:
    """What a log may grow to, the live file included, and the files that are there and not deleted by the server.
    `compressed_sizes`: see `grows_by_backups`."""
    by_backups = grows_by_backups(limits.backups, file_bytes, compressed_sizes) + foreign_bytes
    return by_backups if limits.total_bytes is None else min(by_backups, limits.total_bytes)


def grows_by_backups(backups: int, file_bytes: int, compressed_sizes: Sequence[int] | None) -> int:
    """What a log grows to that nothing but LOG_BACKUPS limits. `compressed_sizes`: of the archives that are compressed;
    None: archives stay as they are. While there are none, nobody knows how small they become."""
    if not compressed_sizes or not backups:
        return file_bytes * (backups + 1)
    archive_bytes = min(sum(compressed_sizes) // len(compressed_sizes), file_bytes)
    return 2 * file_bytes + (backups - 1) * archive_bytes  # the newest archive is compressed later


class Room:
    """`warnings`: what will be too large for the file system, or for LOG_KEEP_MB. Moments are in seconds of
    time.monotonic."""

    def __init__(self, log: LogFile, space: "Space", *, is_compressed: bool) -> None:
        self.warnings: list[str] = []
        self._log = log
        self._space = space
        self._is_compressed = is_compressed
        self._is_scarce = False
        self._look_at = -math.inf

    def tick(self, now: float) -> None:
        """Looks, if it is time. To be called each second."""
        if now >= self._look_at:
            self._look_at = now + LOOK_SEC
            self.warnings = [text for text in (self._scarce(), self._foreign()) if text]

    def _scarce(self) -> str:
        free, _ = self._space.ask()
        if free is None:
            return ""
        budget, limit = self._log.budget, self._log.limit
        limits, used = budget.limits, budget.bytes + self._log.size
        sizes = budget.compressed_sizes if self._is_compressed else None
        need = most_bytes(limits, limit, budget.foreign_bytes, sizes)
        self._is_scarce = used + free < need * (1 + CLEAR_SHARE * self._is_scarce)
        if not self._is_scarce:
            return ""
        if need != limits.total_bytes:
            what = f"LOG_BACKUPS={limits.backups} archives of up to {limit / MB:,.1f} MB are there"
        else:
            what = f"LOG_KEEP_MB={limits.total_bytes / MB:g} is reached"
        return (
            f"the file system will be full before {what}: the log takes {used / MB:,.1f} MB and may grow to "
            f"{need / MB:,.1f} MB, and {free / MB:,.1f} MB are free; set LOG_KEEP_MB to {rounded(used + free)} or less"
        )

    def _foreign(self) -> str:
        """What the server does not delete must not leave its own archives without a place."""
        budget, total = self._log.budget, self._log.budget.limits.total_bytes
        if total is None or 2 * budget.foreign_bytes < total:
            return ""
        return (
            f"files beside {self._log.path} that the server does not delete take {budget.foreign_bytes / MB:,.1f} MB "
            f"of LOG_KEEP_MB={total / MB:g}: remove them, or raise it"
        )


def rounded(room_bytes: int) -> str:
    """In MB, with some room left for what else is written on the file system."""
    room_mb = max(room_bytes * (1 - CLEAR_SHARE) / MB, 0.001)
    return f"{room_mb:.0f}" if room_mb >= 100 else f"{room_mb:.3g}"


class Space:
    """The free bytes and the size of a directory's file system, each None if it is unknown.

    A file system that hangs must not hold up the loop because somebody looks: a thread of its own asks each time.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._answer: tuple[int | None, int | None] = None, None
        self._answered_at = -math.inf
        self._asking: threading.Thread | None = None

    def ask(self) -> tuple[int | None, int | None]:
        """The present answer, or the last one if it is not old and no other has come in time."""
        if self._asking is None or not self._asking.is_alive():
            self._asking = threading.Thread(target=self._ask, name="space", daemon=True)
            with contextlib.suppress(RuntimeError):  # the system has no thread left
                self._asking.start()
                self._asking.join(SPACE_WAIT_SEC)
        return self._answer if time.monotonic() - self._answered_at <= SPACE_FRESH_SEC else (None, None)

    def _ask(self) -> None:
        try:
            system = os.statvfs(self._directory)
        except OSError:
            self._answer = None, None
        else:
            self._answer = system.f_bavail * system.f_frsize, system.f_blocks * system.f_frsize
        self._answered_at = time.monotonic()
