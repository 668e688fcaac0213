"""Moves the line buffer to the log file, and decides what to do when the disk refuses.

Rules: a file whose sync or write failed is not trusted again. The priority entries not yet durable, which are held in
memory until then, go to a new file, and are acknowledged from there. If another program removes or cuts the file, they
are written again. Every entry received is either buffered, stored or lost to the disk, and counted as such.
"""

import errno
import math
from enum import Enum, auto
from time import monotonic

from fastlog.errors import say
from fastlog.server._lines import LineBuffer
from fastlog.server.commit import Commit
from fastlog.server.logfile import LogFile
from fastlog.server.loop import Loop
from fastlog.server.meters import RecentEntries

RETRY_SEC = 1.0  # time between two attempts to write to a disk that refused
LOOK_SEC = 1.0  # time between two looks whether the file is still there: so long may entries go to one that is not
ROTATED_WAIT_MAX = 8  # rotated files that wait for a sync: with so many one begins, before there is no room for more
DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
NO_ROOM = {*DISK_FULL, errno.EFBIG}  # nothing is wrong with the file: it can be tried again


class State(Enum):
    """What happens to lines."""

    WRITING = auto()  # the live file takes lines
    REFUSED = auto()  # there is no room for them, or no live file; both are tried again every RETRY_SEC
    REWRITING = auto()  # the live file failed: what is not acknowledged moves to a new one, tried every RETRY_SEC


class Writer:
    """Between the line buffer and the log file. `recent`: how many of the newest priority entries are shown."""

    def __init__(self, lines: LineBuffer, log: LogFile, commit: Commit, loop: Loop, recent: int) -> None:
        self.commit = commit
        self.stored = 0  # entries in the file
        self.failure: str | None = None  # why the disk refuses, while it does
        self.recent = RecentEntries(recent)
        self._lines = lines
        self._log = log
        self._held = commit.held
        self._state = State.WRITING
        self._is_moving = False  # a new file is under way, which is to take the live file's place
        self._move_bytes = log.limit  # the most that goes to it; less if files must be smaller
        self._moved_at = -math.inf  # when the last one took that place
        self._given_up = 0  # entries in the line buffer when the server ended
        self._retry_due = loop.deadline(self.retry)
        self._sync_due = loop.deadline(self.flush)
        self._look_due = loop.deadline(self.look)
        self._look_due.set(monotonic() + LOOK_SEC)

    @property
    def buffered(self) -> int:
        """Entries that are in no file yet."""
        return self._lines.entries + self._held.buffered

    @property
    def lost(self) -> int:
        """Entries given up because the disk refused them."""
        return self._held.lost + self._lines.discarded + self._given_up

    def flush(self, now: float) -> None:
        """Writes everything buffered and begins its sync, unless the disk refuses."""
        if self._state is State.WRITING:
            self._write(now)

    def flush_priority(self, now: float) -> None:
        """Flushes priority entries as soon as a sync is wanted and may begin."""
        if self._sync_is_due(now):
            self.flush(now)

    def retry(self, now: float) -> None:
        """Tries once more what the disk refused."""
        if self._state is not State.REWRITING:
            self._write(now)
        elif not self.commit.under_way and not self._is_moving:
            self._rewrite(now)

    def make_room(self, now: float) -> None:
        """To be called when the line buffer is full: its lines go to the disk, or else those of priority entries to
        memory. Ordinary entries that find no room are lost then, until the disk takes lines again."""
        if self._state is not State.REWRITING:
            self._write(now)
        if self._lines.entries:
            self.recent.extend(*self._lines.priority_lines(self._lines.size))
            self._held.hold_unwritten(self._lines)
            self._lines.drop_priority_lines()
            self.commit.bound_memory()
            self._lines.discards = True

    def look(self, now: float) -> None:
        """Sees every LOOK_SEC whether the log file has its name and its content. Other programs may take both away.
        And removes what was held for `fastlog ship`, and is shipped by now."""
        self._look_due.set(now + LOOK_SEC)
        self._log.tidy()
        if not (self._log.has_name() and self._log.is_whole()):
            self.reopen(now, "the log file was renamed or removed")
        elif self._log.name_failure:
            self.reopen(now, "the log file has its name again")

    def reopen(self, now: float, why: str) -> None:
        """Continues in the file that has the log's name now; one that was renamed gets what is buffered before. The
        log's `name_failure` says why it could not. `why` is printed."""
        if self._state is not State.REWRITING and not self._log.is_whole():
            if self._restore(now):
                self._write(now)
            return
        self.flush(now)
        if self._state is State.REWRITING:  # which begins a new file
            return
        had_failed = self._log.name_failure is not None
        try:
            self._log.reopen()
        except OSError as error:
            if not had_failed:
                say(f"{why}: cannot open {self._log.path}: {error.strerror}; still writing to the old file")
        else:
            say(f"{why}: log file reopened: {self._log.path}")

    def finish(self, now: float) -> None:
        """At the end of the server: writes, syncs and acknowledges everything, and waits for it. Raises OSError."""
        self.commit.hurry()
        self.retry(now)  # before it waits: a sync under way may take longer than the server is given to end
        self._log.wait()
        self.make_room(monotonic())
        self._log.wait()
        self._log.sync()

    def give_up(self) -> None:
        """At the end of the server: entries that are in no file are lost."""
        self._given_up += self._lines.entries
        self._lines.clear()
        self._held.give_up()

    def _write(self, now: float) -> None:
        """Writes the unwritten lines and the line buffer to the live file, and sees to their ACKs."""
        self.commit.note_arrival()
        self._append()
        if self._log.error and not self._log.is_whole() and self._restore(now):
            self._append()
        if self._log.error:
            self._refused(self._log.error, now)
            return
        self._lines.discards = False
        if self.failure:
            say(f"{self._log.path} can be written again; {self.lost} entries were lost to the disk so far")
        self._state = State.WRITING
        self.failure = None
        if not self.commit.waits_for_disk:
            self.commit.send_written(monotonic())
        elif self._sync_is_due(now):
            self._sync_due.clear()
            self.commit.begin(now)
            self._log.begin_sync(self._on_synced)

    def _append(self) -> None:
        """Appends the unwritten lines, and then the line buffer. The log's `error` says why some are left, if so."""
        self._log.error = None
        for held in self._held.kinds:
            for unwritten in held.unwritten():
                with memoryview(unwritten) as lines:
                    done = self._log.append(lines, durable=self.commit.waits_for_disk)
                self.stored += held.note_written(done)
                if self._log.error:
                    return
        if not self._lines.entries:
            return
        entries = self._lines.entries
        with memoryview(self._lines) as lines:
            done = self._log.append(lines, durable=self.commit.waits_for_disk and self._lines.priority_count > 0)
            if done < len(lines):
                entries = bytes(lines[:done]).count(b"\n")
        if self._lines.priority_count:
            self.recent.extend(*self._lines.priority_lines(done))
            self._held.hold_written(self._lines, done)
            self.commit.bound_memory()
        self._lines.forget(done, entries)
        self.stored += entries

    def _sync_is_due(self, now: float) -> bool:
        """Whether a sync is wanted now and may begin; if it is too early for one, a flush is due when it is not."""
        wanted_at = 0.0 if self._log.rotated_unsynced >= ROTATED_WAIT_MAX else self.commit.wanted_at
        at = max(wanted_at, self.commit.next_sync_at)
        if at <= now:
            return True
        self._sync_due.set(min(self._sync_due.at, at))
        return False

    def _on_synced(self, error: OSError | None) -> None:
        now = monotonic()
        if error:
            say(f"cannot sync {self._log.path}: {error.strerror}; its priority entries go to a new file")
            self.failure = f"sync: {error.strerror}"
        if error or self._state is State.REWRITING:
            self.commit.take_back(now, error)
            self._distrust(now)
        elif not self._log.is_whole():  # what was synced is nowhere
            self._take_back(now)
            if self._restore(now):
                self._write(now)
        elif self._log.lost_lines:  # some of it is nowhere
            say(f"a file rotated from {self._log.path} was removed or cut; writing again what was not acknowledged")
            self._take_back(now)
            self._write(now)
        else:
            self.commit.succeeded(now)
            self.flush_priority(now)

    # What is done when the disk fails, or another program takes the file away

    def _restore(self, now: float) -> bool:
        """The live file was removed or cut: what it held for a sync is unwritten again, and goes to the file that has
        the log's name now. Returns whether there is one. During a sync this waits for its end."""
        if self.commit.under_way:
            return False
        self._take_back(now)
        if self._log.name_failure is None:
            say(f"{self._log.path} was removed or cut by another program; writing again what was not acknowledged")
        try:
            self._log.reopen()
        except OSError as error:
            self._log.error = error
            return False
        return True

    def _take_back(self, now: float) -> None:
        """What waits for a sync is unwritten again, and no file that holds it needs one."""
        self.commit.take_back(now)
        self._log.need_no_sync()

    def _refused(self, error: OSError, now: float) -> None:
        """A write to the live file failed."""
        self._retry_due.set(now + RETRY_SEC)
        is_gone = not self._log.is_whole()
        if is_gone and self.commit.under_way:  # the end of that sync sees to it
            self._state = State.REFUSED
            return
        if not self.failure:
            say(f"cannot write {self._log.path}: {error.strerror}; trying again every {RETRY_SEC:g} s")
        self.failure = error.strerror or str(error)
        if error.errno in DISK_FULL:
            self._log.make_space()
        if is_gone or error.errno in NO_ROOM:
            self._state = State.REFUSED
            return
        self._state = State.REWRITING
        if not self.commit.under_way:  # otherwise this is done when the sync under way ends
            self.commit.take_back(now)
            self._distrust(now)

    def _distrust(self, now: float) -> None:
        """The live file failed: another one is begun at once, unless it is new itself. A disk that takes nothing must
        not be filled with new files."""
        self._state = State.REWRITING
        if now - self._moved_at < RETRY_SEC:
            self._retry_due.set(now + RETRY_SEC)
        else:
            self._rewrite(now)

    def _rewrite(self, now: float) -> None:
        """Moves lines held, which are all unwritten, to a new file, which takes the live file's place. After a failed
        sync Linux considers the lost pages clean: a later sync of the same file would prove nothing."""
        self._is_moving = True
        lines = self._held.move(self._move_bytes)
        self._move_bytes = min(self._move_bytes, sum(map(len, lines)))
        self._log.replace(lines, self._on_rewritten)

    def _on_rewritten(self, error: OSError | None) -> None:
        now = monotonic()
        self._is_moving = False
        if error:
            if not self.failure:
                say(f"cannot begin a new {self._log.path}: {error.strerror}; trying again every {RETRY_SEC:g} s")
            self.failure = error.strerror or str(error)
            self._retry_due.set(now + RETRY_SEC)
            self.commit.take_back(now)
            if error.errno == errno.EFBIG:
                self._move_bytes = max(self._move_bytes // 2, 1)
            return
        say(f"continuing in a new {self._log.path}")
        self.failure = None
        self._moved_at = now
        self._move_bytes = self._log.limit
        self.stored += self._held.moved()
        self._write(now)
