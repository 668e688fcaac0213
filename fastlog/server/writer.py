"""Moves the line buffer to the log file, and decides what to do when the disk refuses.

Rules: a file whose sync or write failed is not trusted again. The priority entries not yet acknowledged, which are held
in memory until then, go to a new file, and are acknowledged from there. Every entry received is either buffered, stored
or lost to the disk, and counted as such. The loop never waits for a sync.
"""

import errno
from enum import Enum, auto
from time import monotonic

from fastlog.errors import say
from fastlog.server._lines import LineBuffer
from fastlog.server.commit import Commit
from fastlog.server.logfile import LogFile
from fastlog.server.loop import Loop
from fastlog.server.meters import RecentEntries

RETRY_SEC = 1.0  # time between two attempts to write to a disk that refused
UNWRITTEN_MAX_BYTES = 16 << 20  # lines of priority entries in memory while the disk refuses them
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # nothing is wrong with the file: it can be tried again


class State(Enum):
    """What happens to lines."""

    WRITING = auto()  # the live file takes lines
    REFUSED = auto()  # the disk has no room for them; the live file is tried again every RETRY_SEC
    REWRITING = auto()  # the live file failed: what is not acknowledged moves to a new one, tried every RETRY_SEC


class Writer:
    """Between the line buffer and the log file. `recent`: how many of the newest priority entries are shown."""

    def __init__(self, lines: LineBuffer, log: LogFile, commit: Commit, loop: Loop, recent: int) -> None:
        self.commit = commit
        self.stored = 0  # entries in the file
        self.lost = 0  # entries given up because the disk refused them
        self.failure: str | None = None  # why the disk refuses, while it does
        self.recent = RecentEntries(recent)
        self._lines = lines
        self._log = log
        self._state = State.WRITING
        self._retry_due = loop.deadline(self.retry)
        self._sync_due = loop.deadline(self.flush)
        # Lines of priority entries that are in no file, or in none that can be trusted.
        self._unwritten: list[bytes] = []
        self._uncounted = 0  # entries among them that are counted neither as stored nor as lost so far
        self._uncounted_moving = 0  # entries that the new file under way will store

    @property
    def buffered(self) -> int:
        """Entries that are in no file yet."""
        return self._lines.entries + self._uncounted + self._uncounted_moving

    def flush(self, now: float) -> None:
        """Writes everything buffered and begins its sync, unless the disk refuses."""
        if self._state is State.WRITING:
            self._write(now)

    def flush_priority(self, now: float) -> None:
        """Flushes priority entries as soon as a sync may begin."""
        if self._may_sync(now):
            self.flush(now)

    def retry(self, now: float) -> None:
        """Tries once more what the disk refused."""
        if self._state is not State.REWRITING:
            self._write(now)
        elif not self.commit.under_way:
            self._rewrite(now)

    def make_room(self, now: float) -> None:
        """Empties the line buffer: to the disk, or else priority entries to memory, and ordinary ones are lost."""
        if self._state is not State.REWRITING:
            self._write(now)
        if self._lines.entries:
            lines = self._lines.priority_lines(self._lines.size)
            self.lost += self._lines.entries - len(lines)
            self._uncounted += len(lines)
            self._unwritten += lines
            self.recent.extend(lines)
            self._lines.clear()
            self._bound_memory()

    def finish(self, now: float) -> None:
        """At the end of the server: writes, syncs and acknowledges everything, and waits for it. Raises OSError."""
        self.commit.hurry()
        self.flush(now)  # before it waits: a sync under way may take longer than the server is given to end
        self._log.wait()
        self.make_room(monotonic())
        self._log.wait()
        self._log.sync()

    def give_up(self) -> None:
        """At the end of the server: entries that are in no file are lost."""
        self.lost += self.buffered
        self._uncounted = self._uncounted_moving = 0
        self._lines.clear()

    def _write(self, now: float) -> None:
        """Writes the unwritten lines and the line buffer to the live file, and sees to their ACKs."""
        self.commit.note_arrival()
        if self._unwritten:
            self._write_unwritten()
        if not self._unwritten:
            self._write_buffer()
        if self._log.error:
            self._refused(self._log.error, now)
            return
        if self._state is State.REFUSED:
            say(f"{self._log.path} can be written again; {self.lost} entries were lost to the disk so far")
            self._state = State.WRITING
            self.failure = None
        if not self.commit.waits_for_disk:
            self.commit.send_written(monotonic())
        elif not self.commit.gathering.is_empty and self._may_sync(now):
            self.commit.begin(now)
            self._log.begin_sync(self._on_synced)

    def _write_unwritten(self) -> None:
        lines = b"".join(self._unwritten)
        done = self._log.append(memoryview(lines), durable=True)
        counted = min(self._uncounted, lines.count(b"\n", 0, done))
        self.stored += counted
        self._uncounted -= counted
        self._unwritten = [lines[done:]] if done < len(lines) else []
        self.commit.hold(lines[:done].splitlines(keepends=True))

    def _write_buffer(self) -> None:
        entries = self._lines.entries
        with memoryview(self._lines) as lines:
            done = self._log.append(lines, durable=self.commit.waits_for_disk and self._lines.priority_count > 0)
            if done < len(lines):
                entries = bytes(lines[:done]).count(b"\n")
        if self._lines.priority_count:
            priority_lines = self._lines.priority_lines(done)
            self.recent.extend(priority_lines)
            self.commit.hold(priority_lines)
        self._lines.forget(done, entries)
        self.stored += entries

    def _may_sync(self, now: float) -> bool:
        """Whether a sync may begin now; if it is too early for one, a flush is due when it may."""
        if self.commit.next_sync_at <= now:
            return True
        self._sync_due.set_if_clear(self.commit.next_sync_at)
        return False

    def _on_synced(self, error: OSError | None) -> None:
        now = monotonic()
        if error:
            say(f"cannot sync {self._log.path}: {error.strerror}; its priority entries go to a new file")
            self.failure = f"sync: {error.strerror}"
        if error or self._state is State.REWRITING:
            self._take_back(now, error)
            self._rewrite(now)
            return
        self.commit.succeeded(now)
        if self.commit.is_due:
            self.flush_priority(now)

    # What is done when the disk fails

    def _refused(self, error: OSError, now: float) -> None:
        """A write to the live file failed."""
        if not self.failure:
            say(f"cannot write {self._log.path}: {error.strerror}; trying again every {RETRY_SEC:g} s")
        self.failure = error.strerror or str(error)
        self._retry_due.set(now + RETRY_SEC)
        if error.errno in NO_ROOM:
            self._state = State.REFUSED
            return
        self._state = State.REWRITING
        if not self.commit.under_way:  # otherwise this is done when the sync under way ends
            self._take_back(now)
            self._rewrite(now)

    def _take_back(self, now: float, error: OSError | None = None) -> None:
        """Everything not acknowledged is unwritten again. After a failed sync Linux considers the lost pages clean: a
        later sync of the same file would succeed, and prove nothing."""
        self._unwritten = self.commit.take_back(now, error) + self._unwritten
        self._uncounted += self._uncounted_moving
        self._uncounted_moving = 0

    def _rewrite(self, now: float) -> None:
        """Moves the unwritten lines and the line buffer to a new file, which takes the live file's place."""
        self._state = State.REWRITING
        self.recent.extend(self._lines.priority_lines(self._lines.size))
        self.commit.note_arrival()
        group = self.commit.begin(now)
        group.lines = [*self._unwritten, bytes(self._lines)]
        self._unwritten = []
        self._uncounted_moving = self._uncounted + self._lines.entries
        self._uncounted = 0
        self._lines.clear()
        self._log.replace(memoryview(b"".join(group.lines)), self._on_rewritten)

    def _on_rewritten(self, error: OSError | None) -> None:
        now = monotonic()
        if error:
            if not self.failure:
                say(f"cannot begin a new {self._log.path}: {error.strerror}; trying again every {RETRY_SEC:g} s")
            self.failure = error.strerror or str(error)
            self._retry_due.set(now + RETRY_SEC)
            self._take_back(now, error)
            self._bound_memory()
            return
        say(f"continuing in a new {self._log.path}")
        self._state = State.WRITING
        self.failure = None
        self.stored += self._uncounted_moving
        self._uncounted_moving = 0
        self.commit.succeeded(now)
        self._write(now)

    def _bound_memory(self) -> None:
        """If the unwritten lines take too much memory, they are lost after all."""
        if sum(map(len, self._unwritten)) > UNWRITTEN_MAX_BYTES:
            self._unwritten = []
            self.lost += self._uncounted
            self._uncounted = 0
            self.commit.forget()
