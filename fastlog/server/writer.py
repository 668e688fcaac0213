"""The line buffer's way to the disk, and the ACKs' way out: what is stored, what is lost, and when an ACK is true.

Group commit: one sync is under way for one group of entries, while the next group gathers. The loop never waits for it.

Rules: no ACK leaves before its entry is durable. A file whose sync or write failed is not trusted again: the priority
entries not yet acknowledged, which are kept in memory until then, go to a new file, and are acknowledged from there.
Every entry taken is either buffered, stored or lost to the disk, and counted as such.
"""

import errno
import math
import socket
from time import monotonic
from typing import cast

from fastlog.errors import say
from fastlog.server._drain import Intake
from fastlog.server._socket import Acks
from fastlog.server.logfile import LogFile
from fastlog.server.loop import Loop
from fastlog.server.meters import LatencyMeter, RecentErrors

RETRY_SEC = 1.0  # between two tries to write to a disk that refused
SYNCS_APART_SEC = 0.005  # begin so far apart on average: each costs turns of the loop, and ACKs can leave together
SYNCS_IN_A_ROW = 20  # may begin at once after a pause: whoever waits for each ACK does not wait for the pace
KEPT_MAX_BYTES = 16 << 20  # of priority entries kept in memory until they are acknowledged: seconds of nothing else
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # nothing is wrong with the file: it can be tried again


class _Group:
    """Entries that one sync will make durable: the ACKs owed for them, and their lines, in case it fails."""

    def __init__(self, acks: Acks, lines: list[bytes], began: float, uncounted: int = 0) -> None:
        self.acks = acks
        self.lines = lines
        self.began = began  # when the first of them was received
        self.uncounted = uncounted  # entries among them that are not counted as stored yet
        self.sync_began = monotonic()


class Writer:
    """Moves the intake's lines to the log file. `wait_for_disk`: ACKs wait for the sync, not only for the write."""

    def __init__(
        self,
        intake: Intake,
        log: LogFile,
        sock: socket.socket,
        loop: Loop,
        wait_for_disk: bool,
        recent: int,
        syncs_apart_sec: float = SYNCS_APART_SEC,
    ) -> None:
        self.stored = 0  # entries in the file
        self.lost = 0  # entries given up because the disk refused them
        self.failure: str | None = None  # what the disk says, while it refuses
        self.syncs = 0
        self.sync_failures = 0
        self.sync_sec: float | None = None  # that the last one took
        self.next_sync_at = 0.0  # no sync begins before; infinite while one is under way
        self.recent = RecentErrors(recent)
        self.latency = LatencyMeter()
        self._intake = intake
        self._log = log
        self._socket = sock
        self._wait_for_disk = wait_for_disk
        self._retry = loop.deadline(self._on_retry)
        self._sync_due = loop.deadline(self.flush)
        self._apart_sec = syncs_apart_sec
        self._in_pace_at = 0.0  # when the syncs so far will not have been too many
        self._trusted = True  # the live file
        self._under_way: _Group | None = None
        self._spare = Acks()
        # The group that gathers meanwhile; its ACKs are with the intake.
        self._lines: list[bytes] = []
        self._lines_bytes = 0
        self._began: float | None = None
        # Lines that have no file to trust, and how many of them are counted neither as stored nor as lost so far.
        self._homeless: list[bytes] = []
        self._uncounted = 0
        # Entries were taken for stored that are not durable yet, and whose lines could not be kept.
        self._kept_too_few = False

    @property
    def buffered(self) -> int:
        """Entries that are in no file yet."""
        moving = self._under_way.uncounted if self._under_way else 0
        return self._intake.buffered + self._uncounted + moving

    @property
    def acks_pending(self) -> int:
        return self._intake.acks.count + (self._under_way.acks.count if self._under_way else 0)

    @property
    def acks_sent(self) -> int:
        return sum(acks.sent for acks in self._all_acks())

    @property
    def acks_dropped(self) -> int:
        return sum(acks.dropped for acks in self._all_acks())

    def _all_acks(self) -> tuple[Acks, Acks]:
        """There are two: one gathers, the other is under way or waits for its turn."""
        return self._intake.acks, self._under_way.acks if self._under_way else self._spare

    def flush(self, now: float) -> None:
        """Writes everything buffered and sees that it is acknowledged, unless the disk refused a moment ago."""
        if self._trusted and not self.failure:
            self._write(now)

    def flush_urgent(self, now: float) -> None:
        """The same for priority entries, as soon as a sync may begin."""
        if self._may_sync(now):
            self.flush(now)

    def make_room(self, now: float) -> None:
        """Empties the line buffer: to the disk, or else priority entries to memory and ordinary ones to nowhere."""
        if self._trusted:
            self._write(now)
        if self._intake.buffered:
            lines = self._intake.priority_lines(self._intake.lines_bytes)
            self.lost += self._intake.buffered - len(lines)
            self._uncounted += len(lines)
            self._homeless += lines
            self.recent.extend(lines)
            self._intake.forget_lines(self._intake.lines_bytes, self._intake.buffered)
            self._bound_memory()

    def finish(self, now: float) -> None:
        """For the end of the server: writes, syncs and acknowledges all there is, and waits for it. Raises OSError."""
        self._apart_sec = 0.0
        self._log.wait()
        self.next_sync_at = 0.0
        self.make_room(now)
        self._log.wait()
        self._log.sync()

    def give_up(self) -> None:
        """What is in no file now will be in none: it is lost."""
        self.lost += self.buffered
        self._uncounted = 0
        self._intake.forget_lines(self._intake.lines_bytes, self._intake.buffered)

    def _write(self, now: float) -> None:
        """To the live file: first what has no home, then the line buffer."""
        if self._intake.urgent and self._began is None:
            self._began = self._intake.urgent_since
        self._intake.urgent = False
        if self._homeless:
            self._write_homeless()
        if not self._homeless:
            self._write_buffer()
        if self._log.error:
            self._refused(self._log.error, now)
            return
        if self.failure:
            say(f"{self._log.path} can be written again; {self.lost} entries were lost to the disk so far")
            self.failure = None
        self._commit(now)

    def _write_homeless(self) -> None:
        lines = b"".join(self._homeless)
        done = self._log.append(memoryview(lines), durable=True)
        counted = min(self._uncounted, lines.count(b"\n", 0, done))
        self.stored += counted
        self._uncounted -= counted
        self._homeless = [lines[done:]] if done < len(lines) else []
        self._keep(lines[:done].splitlines(keepends=True))

    def _write_buffer(self) -> None:
        entries = self._intake.buffered
        with memoryview(self._intake) as lines:
            done = self._log.append(lines, durable=self._wait_for_disk and self._intake.mark_count > 0)
            if done < len(lines):
                entries = bytes(lines[:done]).count(b"\n")
        if self._intake.mark_count:
            lines_done = self._intake.priority_lines(done)
            self.recent.extend(lines_done)
            self._keep(lines_done)
        self._intake.forget_lines(done, entries)
        self.stored += entries

    def _keep(self, lines: list[bytes]) -> None:
        """These priority entries are in the file; they are kept until a sync has made them durable."""
        if self._wait_for_disk:
            self._lines += lines
            self._lines_bytes += sum(map(len, lines))
            if self._lines_bytes > KEPT_MAX_BYTES:
                # No ACK for what could not be written anew: its senders ask again, when it will be durable.
                self._lines = []
                self._lines_bytes = 0
                self._intake.acks.forget()
                self._kept_too_few = True

    def _commit(self, now: float) -> None:
        """Begins the sync of the group that gathered, unless one is under way: its end begins the next."""
        if not self._wait_for_disk:
            self._send(self._intake.acks, self._began or now)
        elif self._intake.acks.count or self._lines:
            if self._may_sync(now):
                self._begin_group(now)
                self._log.begin_sync(self._on_synced)
            return
        self._began = None

    def _may_sync(self, now: float) -> bool:
        """Where no sync may begin yet, what waits for one is flushed when it may."""
        if self.next_sync_at > now and not self._under_way:  # the end of one under way sees to it
            self._sync_due.set_if_clear(self.next_sync_at)
        return self.next_sync_at <= now

    def _begin_group(self, now: float) -> _Group:
        self._under_way = _Group(self._intake.take_acks(self._spare), self._lines, self._began or now)
        self._lines = []
        self._lines_bytes = 0
        self._began = None
        self.next_sync_at = math.inf
        return self._under_way

    def _end_group(self) -> _Group:
        group, self._under_way = cast("_Group", self._under_way), None
        self._spare = group.acks
        self._in_pace_at = max(self._in_pace_at, group.sync_began) + self._apart_sec
        self.next_sync_at = self._in_pace_at - (SYNCS_IN_A_ROW - 1) * self._apart_sec
        self.sync_sec = monotonic() - group.sync_began
        return group

    def _on_synced(self, error: OSError | None) -> None:
        group = self._end_group()
        if error:
            self.sync_failures += 1
            say(f"cannot sync {self._log.path}: {error.strerror}; its priority entries go to a new file")
            self.failure = f"sync: {error.strerror}"
        if error or not self._trusted:
            self._distrust(group)
            return
        self.syncs += 1
        self._send(group.acks, group.began)
        if self._intake.urgent or self._intake.acks.count or self._lines:
            self.flush_urgent(monotonic())

    def _send(self, acks: Acks, began: float) -> None:
        count = acks.count
        if count:
            acks.send(self._socket.fileno())
            self.latency.add(monotonic() - began, count)

    # Where the disk fails

    def _refused(self, error: OSError, now: float) -> None:
        if not self.failure:
            say(f"cannot write {self._log.path}: {error.strerror}; trying again every {RETRY_SEC:g} s")
        self.failure = error.strerror or str(error)
        self._retry.set(now + RETRY_SEC)
        if error.errno not in NO_ROOM:
            self._trusted = False
            if not self._under_way:  # else its end comes to the same
                self._distrust(None)

    def _distrust(self, group: _Group | None) -> None:
        """The live file failed. After a failed sync Linux takes the lost pages for clean, so that a later success
        would prove nothing: what is not acknowledged has no home until it is durable in a new file."""
        self._trusted = False
        self._homeless = self._lines + self._homeless
        self._lines = []
        if group:
            self._intake.acks.absorb(group.acks)
            self._homeless = group.lines + self._homeless
        if self._kept_too_few:
            # Some of the ACKs owed are for entries that were sent again, and whose lines are nowhere now.
            self._kept_too_few = False
            self._intake.acks.forget()
            self._intake.forget_seen()
        self._move_out(monotonic())

    def _move_out(self, now: float) -> None:
        """Puts all that has no home, and the line buffer, into a new file."""
        self.recent.extend(self._intake.priority_lines(self._intake.lines_bytes))
        self._lines = [*self._homeless, bytes(self._intake)]
        self._homeless = []
        group = self._begin_group(now)
        group.uncounted = self._uncounted + self._intake.buffered
        self._uncounted = 0
        self._intake.forget_lines(self._intake.lines_bytes, self._intake.buffered)
        self._log.replace(memoryview(b"".join(group.lines)), self._on_moved)

    def _on_moved(self, error: OSError | None) -> None:
        group = self._end_group()
        now = monotonic()
        if error:
            self.sync_failures += 1
            if not self.failure:
                say(f"cannot begin a new {self._log.path}: {error.strerror}; trying again every {RETRY_SEC:g} s")
            self.failure = error.strerror or str(error)
            self._retry.set(now + RETRY_SEC)
            self._intake.acks.absorb(group.acks)
            self._homeless = group.lines + self._homeless
            self._uncounted += group.uncounted
            self._bound_memory()
            return
        say(f"went on in a new {self._log.path}")
        self.failure = None
        self._trusted = True
        self.syncs += 1
        self.stored += group.uncounted
        self._send(group.acks, group.began)
        self._write(now)

    def _on_retry(self, now: float) -> None:
        if self._trusted:
            self._write(now)
        elif not self._under_way:
            self._move_out(now)

    def _bound_memory(self) -> None:
        """What has no home for long is lost after all; whoever waits for its ACK asks again, and it is new then."""
        if sum(map(len, self._homeless)) > KEPT_MAX_BYTES:
            self._homeless = []
            self.lost += self._uncounted
            self._uncounted = 0
            self._intake.acks.forget()
            self._intake.forget_seen()
