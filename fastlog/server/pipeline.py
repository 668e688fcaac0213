"""The path of a datagram, wired once: listeners → intake → writer → log file; rejected input goes to rejects.jsonl.

A turn decides how long to wait for more datagrams, when to flush, and when to return to the loop. Nothing here knows
the dashboard or signals.
"""

import math
from time import monotonic

from fastlog.config import MB, Settings, in_force, networks, rate_and_burst
from fastlog.server._drain import ALL_SOCKETS, DRAINED, FULL, NO_SOCKET, Intake
from fastlog.server._rate_limit import RateLimit
from fastlog.server._socket import Admission
from fastlog.server.commit import Commit, SyncPace
from fastlog.server.compression import Compression
from fastlog.server.drops import Drops
from fastlog.server.listeners import Listeners
from fastlog.server.logfile import LogFile
from fastlog.server.loop import Loop
from fastlog.server.rejects import Rejects
from fastlog.server.socket_filter import SocketFilter
from fastlog.server.throttle import Throttle
from fastlog.server.unix_listener import UnixListener
from fastlog.server.writer import Writer

TURN_SEC = 0.005  # then a turn takes no new burst, so that deadlines hold under a flood
RECEIVE_AGAIN_SEC = 0.1  # the rest after errors in a row: the loop must not spin, and nobody notices so little
CHUNKS_SLACK_SEC = 0.01  # after their time messages in chunks are given up, so that a few that are close go together
END_DRAIN_SEC = 1.0  # longest time to receive at the end: enough to empty any receive buffer, even under a flood
# The newest part of the log, whose priority entries may be sent again after a restart. Reading it takes about 0.1 s.
REMEMBERED_BYTES = 64_000_000


class Pipeline:
    """The loop calls a turn when datagrams wait, and a flush when it is due.

    Every other source that may end a wait for more datagrams must be registered with the loop before.
    """

    def __init__(
        self,
        settings: Settings,
        log: LogFile,
        listeners: Listeners,
        loop: Loop,
        pace: SyncPace | None = None,
    ) -> None:
        self.intake = Intake(
            settings.buffer_size,
            settings.priority_levels,
            Admission(networks(settings)),
            settings.flush_count,
            settings.inputs,
            settings.stamp,
            settings.syslog_zone,
            RateLimit(*rate_and_burst(settings)),
        )
        self.intake.listen(listeners.fds)
        for number, listener in enumerate(listeners.each):
            if isinstance(listener, UnixListener):
                self.intake.is_unix(number, listener.hurries)
        for lines in log.newest(REMEMBERED_BYTES, settings.priority_levels):
            self.intake.remember(lines)
        commit = Commit(self.intake, listeners.fds, settings.acks_wait_for_disk, pace or SyncPace())
        self.drops = Drops(listeners.drops)
        filters = [SocketFilter(listener.socket) for listener in listeners.udp if self.intake.limit.on]
        self.throttle = Throttle(self.intake.limit, filters, self.drops, loop, in_force(settings)["RATE_LIMIT"])
        self.writer = Writer(self.intake.lines, log, commit, loop, settings.max_errors)
        self.log = log
        self.compression = Compression(log, loop) if settings.log_compress == "zstd" else None
        rejects_bytes = int(settings.rejects_max_mb * MB)
        self.rejects = Rejects(self.intake.rejects, log.path.parent, rejects_bytes, loop)
        self._listeners = listeners
        self._loop = loop
        self._receiving = True  # False: a turn takes only what the arena already holds
        self._flush_count = settings.flush_count
        self._flush_timeout_sec = settings.flush_timeout_sec
        self._next_turn = loop.deadline(self.turn)
        self._flush_due = loop.deadline(self.writer.flush)
        self._chunks_due = loop.deadline(self._give_up_chunks)
        self._resting: list[int] = []  # the numbers of the sockets that rest
        self._receive_again = loop.deadline(self._wake_sockets)
        for fd in listeners.fds:
            loop.on_readable(fd, self._on_readable)
        self.intake.wait_for_more(
            settings.coalesce_usec, listeners.granted or settings.rcvbuf_size, loop.sources_but(listeners.fds)
        )

    def turn(self, now: float, until: float = 0.0) -> None:
        """Drains the sockets and hands over the entries, until no datagram waits or the turn is over. The first drain
        waits for more datagrams up to `until`."""
        intake, writer = self.intake, self.writer
        while True:
            status = self._drain(until, writer.commit.next_sync_at)
            until = 0.0
            if intake.rejects.note_count:
                self.rejects.write(now)
            elif status == FULL:
                writer.make_room(monotonic())
            if intake.unawaited_waits or intake.lines.entries >= self._flush_count:
                writer.flush(monotonic())
            elif intake.priority_waits:
                writer.flush_priority(monotonic())
            if intake.limit.has_news:
                self.throttle.look_soon(now)
            if status == DRAINED:
                break
            if monotonic() - now > TURN_SEC:
                self._next_turn.set(now)
                break
        if not intake.lines.entries:
            self._flush_due.clear()
        else:
            self._flush_due.set_if_clear(now + self._flush_timeout_sec)
        if intake.messages.chunks.waiting:
            self._set_chunks_due()

    def receive_rest(self) -> None:
        """At the end of the server: receives what the kernel still holds."""
        began = monotonic()
        while True:
            # What is left of an earlier burst may be all that a turn takes: the sockets are asked in the next one.
            was_over = self._next_turn.at == math.inf
            self._next_turn.clear()
            self.turn(monotonic())
            if was_over and self._next_turn.at == math.inf:
                break
            if monotonic() - began > END_DRAIN_SEC:
                self._receiving = False
        self._give_up_chunks(math.inf)

    def finish(self) -> bool:
        """At the end of the server: makes everything durable and acknowledges it. May be called again if it fails.

        Returns whether the disk took everything; raises OSError if it could not be synced."""
        self.writer.finish(monotonic())
        return not self.writer.failure

    def stop_compressing(self) -> None:
        if self.compression:
            self.compression.stop()

    def close(self) -> None:
        if self.compression:
            self.compression.close()
        self.throttle.close()
        self.log.close()
        self.rejects.close()

    def _drain(self, until: float, priority_from: float) -> int:
        """Drains the sockets. Their errors are counted; most are over with the next call. A socket that has two in a
        row rests, and the others are served."""
        which = ALL_SOCKETS if self._receiving else NO_SOCKET
        failed: set[int] = set()
        for _ in range(2 * len(self._listeners.fds)):
            try:
                return self.intake.drain(which, until, priority_from)
            except OSError as error:
                number = self.intake.failed
                self._listeners.each[number].note_error(error, monotonic())
                if number in failed:
                    self._rest(number)
                failed.add(number)
            if len(self._resting) == len(self._listeners.fds):
                break
        return DRAINED

    def _set_chunks_due(self) -> None:
        due_ms = self.intake.messages.chunks.due_ms
        if due_ms is not None and self._chunks_due.at == math.inf:
            self._chunks_due.set(due_ms / 1000 + CHUNKS_SLACK_SEC)

    def _give_up_chunks(self, now: float) -> None:
        """Gives up messages of which a chunk did not come in time, and those that come behind them then."""
        while self.intake.messages.give_up_overdue(now):
            self.rejects.write(now)
        if self.intake.rejects.note_count:
            self.rejects.write(now)
        self._set_chunks_due()

    def _rest(self, number: int) -> None:
        if number not in self._resting:
            self._resting.append(number)
            self._loop.forget(self._listeners.fds[number])
            self.intake.rest(number, True)
        self._receive_again.set_if_clear(monotonic() + RECEIVE_AGAIN_SEC)

    def _wake_sockets(self, now: float) -> None:
        for number in self._resting:
            self.intake.rest(number, False)
            self._loop.on_readable(self._listeners.fds[number], self._on_readable)
        self._resting.clear()

    def _on_readable(self, now: float) -> None:
        self.turn(now, min(self._loop.next_at, now + self._flush_timeout_sec))
