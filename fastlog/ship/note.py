"""The note beside the log, `<name>.shipped`: how far the log is shipped. The server keeps archives by it.

It is written anew under another name, synced, and renamed, so that it is whole at any moment. A note that cannot be
written is tried again, and ends nothing.
"""

import contextlib
import errno
import fcntl
import math
import os
from pathlib import Path
from time import monotonic

import msgspec

from fastlog.file_systems import NO_LOCKS
from fastlog.segments import Position, Shipped, shipped_path
from fastlog.ship.segment_file import sync_directory
from fastlog.ship.sink import RefusedError, RivalError

NOTE_EVERY_SEC = 1.0  # at most so often: each time costs two syncs
PROBLEM_MAX_CHARACTERS = 500  # the server reads no longer notes than 4096 bytes
NOTE_MODE = 0o644  # the server may run as another user; there is nothing to hide in it
LOCK_MODE = 0o644  # to lock a file, one needs to read it
FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}

WHY = "`fastlog ship` keeps its place beside the log, so its user needs to write in {}, and to own the files it writes"


class Note:
    """Says up to where the log is shipped. `failure` is why it cannot be written at present."""

    def __init__(self, live: Path) -> None:
        self.failure: str | None = None
        self.is_forbidden = False  # it cannot be written, and trying again does not help
        self._live = live
        self._next = live.with_name(f".fastlog-{live.name}.shipped")
        self._written: Shipped | None = None
        self._is_durable = True  # what is written
        self._wanted: Shipped | None = None
        self._next_at = -math.inf

    def tell(self, position: Position, acknowledged: Position | None, sequence: int, problem: str) -> None:
        """All before `position` is done with. Written at once if the problem is new, and when `keep_up` is called; and
        at once if the file is, so that the server never deletes the one that is shipped before others that wait."""
        text = str(acknowledged or "")
        problem = problem[:PROBLEM_MAX_CHARACTERS].encode("ascii", "replace").decode()
        self._wanted = Shipped(*position, problem=problem, acknowledged=text, sequence=sequence)
        if self.failure is None:
            if self._written is None or self._written.problem != problem:
                self._next_at = min(self._next_at, monotonic())
            elif self._written.position[:2] != position[:2]:
                self._write(durable=False)
        self.keep_up()

    def keep_up(self, *, now: bool = False) -> None:
        """Writes what is new, if it is time to."""
        is_new = self._wanted != self._written or not self._is_durable
        if self._wanted is not None and is_new and (now or monotonic() >= self._next_at):
            self._next_at = monotonic() + NOTE_EVERY_SEC
            self._write(durable=True)

    def _write(self, *, durable: bool) -> None:
        try:
            self._replace(msgspec.json.encode(self._wanted) + b"\n", durable)
        except OSError as error:
            self.failure = f"cannot write {shipped_path(self._live)}: {error.strerror}"
            self.is_forbidden = error.errno in FORBIDDEN
        else:
            self.failure = None
            self._written, self._is_durable = self._wanted, durable

    def _replace(self, text: bytes, durable: bool) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._next)  # of a run that was killed, perhaps another user's
        fd = os.open(self._next, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, NOTE_MODE)
        try:
            os.fchmod(fd, NOTE_MODE)  # whatever the umask is
            if os.write(fd, text) < len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(self._next, shipped_path(self._live))
        if durable:
            sync_directory(self._live.parent)


class Lock:
    """Held by the one shipper of a log. Raises RivalError if another one holds it, RefusedError if the directory cannot
    be written."""

    def __init__(self, live: Path) -> None:
        path = lock_path(live)
        try:
            self._fd = _open_or_make(path)
        except OSError as error:
            raise RefusedError(f"cannot write {path}: {error.strerror}; {WHY.format(live.parent)}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise RivalError(f"another `fastlog ship` ships {live}") from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise

    def close(self) -> None:
        os.close(self._fd)


def lock_path(live: Path) -> Path:
    """The file that the shipper of a log locks."""
    return live.with_name(f".fastlog-ship-{live.name}")


def _open_or_make(path: Path) -> int:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:  # without O_CREAT: in a sticky directory that is refused for a file of another user
        return os.open(path, flags)
    except FileNotFoundError:
        pass
    try:
        return os.open(path, flags | os.O_CREAT | os.O_EXCL, LOCK_MODE)
    except FileExistsError:
        return os.open(path, flags)
