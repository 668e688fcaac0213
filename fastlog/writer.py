"""The line buffer's way to the disk, and the ACKs' way out: what is stored, what is lost, and when an ACK is true.

Rules: no ACK leaves before its entry is durable; every entry taken is either buffered, stored or lost to the disk, and
counted as such; a disk that refuses is asked again, and what then does not fit in the line buffer is lost.
"""

import socket
from time import monotonic

from fastlog._intake import Intake
from fastlog.logfile import LogFile
from fastlog.loop import Loop
from fastlog.messages import say
from fastlog.meters import LatencyMeter, RecentErrors

RETRY_SEC = 1.0  # between two tries to write to a disk that refused


class Writer:
    """Moves the intake's lines to the log file. `wait_for_disk`: ACKs wait for the sync, not only for the write."""

    def __init__(
        self, intake: Intake, log: LogFile, sock: socket.socket, loop: Loop, wait_for_disk: bool, recent: int
    ) -> None:
        self.recent = RecentErrors(recent)
        self.latency = LatencyMeter()
        self.syncs = 0
        self.sync_failures = 0
        self.sync_failure: str | None = None  # of the last sync, if it failed
        self.sync_sec: float | None = None  # that the last one took
        self.stored = 0  # entries in the file
        self.lost = 0  # entries given up because the disk refused them
        self.failure: str | None = None  # what the disk says, while it refuses
        self._intake = intake
        self._log = log
        self._socket = sock
        self._wait_for_disk = wait_for_disk
        self._recent_max = recent
        self._owing_since: float | None = None  # when the first entry came that an ACK is owed for
        self._retry = loop.deadline(lambda now: self._write(now))

    def flush(self, now: float) -> None:
        """Writes everything buffered and acknowledges it. While the disk refuses, that is left to the next try."""
        if not self.failure:
            self._write(now)

    def make_room(self, now: float) -> None:
        """Empties the line buffer: to the disk, or else for nothing."""
        self._write(now)
        if self.failure and self._intake.buffered:
            self.lost += self._intake.buffered
            self._intake.forget_lines(self._intake.lines_bytes, self._intake.buffered)
            self._intake.acks.forget()

    def sync(self) -> None:
        """Makes everything stored durable; for the end of the server."""
        self._log.sync()

    def _write(self, now: float) -> None:
        entries = self._intake.buffered
        if self._owing_since is None:
            self._owing_since = now
        with memoryview(self._intake) as lines:
            done = self._log.append(lines, durable=self._intake.urgent)
            if done < len(lines):
                entries = bytes(lines[:done]).count(b"\n")
        if self._intake.urgent and self._recent_max:
            self.recent.extend(self._intake.priority_lines(done, self._recent_max))
        self._intake.forget_lines(done, entries)
        self.stored += entries
        if self._log.error:
            self._refused(self._log.error, now)
            return
        if self.failure:
            say(f"{self._log.path} can be written again; {self.lost} entries were lost to the disk so far")
            self.failure = None
        if self._intake.acks.count:
            self._acknowledge(now)
        self._owing_since = None

    def _acknowledge(self, now: float) -> None:
        if self._wait_for_disk:
            began = monotonic()
            try:
                self._log.sync()
            except OSError as error:
                self._not_durable(error, now)
                return
            self.syncs += 1
            self.sync_failure = None
            self.sync_sec = monotonic() - began
        acks = self._intake.acks.count
        self._intake.acks.send(self._socket.fileno())
        self.latency.add(monotonic() - (self._owing_since or now), acks)

    def _not_durable(self, error: OSError, now: float) -> None:
        """After a failed sync Linux takes the lost pages for clean, so a later success would prove nothing: another
        file is begun, and the senders, who get no ACK, send their entries again."""
        say(f"cannot sync {self._log.path}: {error.strerror}; its last priority entries are not acknowledged")
        self.sync_failures += 1
        self.sync_failure = error.strerror or str(error)
        self._intake.acks.forget()
        try:
            self._log.abandon()
        except OSError as again:
            self._refused(again, now)

    def _refused(self, error: OSError, now: float) -> None:
        if not self.failure:
            say(f"cannot write {self._log.path}: {error.strerror}; trying again every {RETRY_SEC:g} s")
        self.failure = error.strerror or str(error)
        self._retry.set(now + RETRY_SEC)
