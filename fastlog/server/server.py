"""`fastlog serve`: wires the parts to the loop and decides when: how long to wait for more datagrams, when to flush,
how to end."""

import math
import os
import signal
import sys
import time
from pathlib import Path

from fastlog.config import Settings, networks
from fastlog.errors import StartError, say
from fastlog.server._drain import DRAINED, FULL, RECEIVE_NOTHING, Intake
from fastlog.server._socket import Admission
from fastlog.server.commit import Commit, SyncPace
from fastlog.server.dashboard import Dashboard
from fastlog.server.listener import address_text, kernel_drops, listen, receive_buffer, take_coalesced
from fastlog.server.logfile import LogFile
from fastlog.server.loop import Loop
from fastlog.server.rejects import NOTES_PER_SEC, RejectsFile
from fastlog.server.service_manager import ServiceManager, handed_over, status_line
from fastlog.server.snapshot import Reporter
from fastlog.server.storage import AsyncStorage, Storage, best_storage
from fastlog.server.writer import Writer

MB = 1_000_000
TURN_SEC = 0.005  # a turn takes no new burst after it, so that deadlines hold under a flood
REMEMBERED_BYTES = 64_000_000  # of the newest log: its priority entries may be sent again; read in a tenth of a second
BUSY_RATE = 20_000  # entries a second from which on the dashboard's thread would be felt
TICK_SEC = 1.0  # between two looks at the counters that rates are made of
SWITCH_SEC = 0.0005  # for which the dashboard may hold the interpreter when the loop wants it back
END_DRAIN_SEC = 1.0  # at the end: enough to empty any receive buffer, and an end even under a flood


class Server:
    """The server: everything is opened by the constructor, which raises StartError, and closed by `run`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        directory = Path(settings.log_dir)
        self._storage, self._why_blocking = _open_directory(directory)
        self._log = LogFile(
            self._storage, directory, settings.log_filename, int(settings.max_log_size_mb * MB), settings.log_backups
        )
        self._rejects = RejectsFile(directory, int(settings.rejects_max_mb * MB)) if settings.rejects_max_mb else None
        self._manager = ServiceManager(os.environ, self._status)
        inherited = handed_over(os.environ)
        self._socket = inherited or listen(settings.server_host, settings.server_port, settings.rcvbuf_size)
        take_coalesced(self._socket)
        self._inherited = inherited is not None
        self._dropped_before = kernel_drops(self._socket) if inherited else 0
        self._granted = receive_buffer(self._socket)
        self._receiving = True
        where = "ReceiveBuffer=" if inherited else "sysctl -w net.core.rmem_max="
        self._how_to_grant = f"{where}{settings.rcvbuf_size}"
        self._intake = Intake(
            settings.buffer_size, settings.priority_levels, Admission(networks(settings)), settings.flush_count
        )

        self._loop = Loop()
        self._loop.on_readable(self._socket, self._on_readable)
        self._go_on = self._loop.deadline(self._turn)
        self._flush_due = self._loop.deadline(self._on_flush_due)
        self._refill_notes = self._loop.deadline(self._on_refill_notes)
        self._reopen = self._loop.deadline(self._on_reopen)
        self._tick_due = self._loop.deadline(self._on_tick_due)
        self._manager_due = self._loop.deadline(self._on_manager_due)
        self._dashboard = Dashboard(settings, self._loop.from_thread(self._on_snapshot_asked))
        if isinstance(self._storage, AsyncStorage):
            self._loop.on_readable(self._storage.source, self._storage.on_ready)
        self._intake.wait_for_more(settings.coalesce_usec, self._granted, self._loop.sources_but(self._socket))
        for content in self._log.newest(REMEMBERED_BYTES):
            self._intake.remember(content)
        commit = Commit(self._intake, self._socket, settings.priority_sync == "durable", SyncPace())
        self._writer = Writer(self._intake, self._log, commit, self._loop, settings.max_errors)

        now = time.monotonic()
        self._on_refill_notes(now)
        self._reporter = Reporter(
            settings,
            self._intake,
            self._writer,
            self._log,
            self._sync_mode(),
            self._granted,
            self._how_to_grant,
            self._dropped_before,
            now,
        )
        self._on_tick_due(now)
        self._on_snapshot_asked(now)

    def run(self) -> int:
        """Serves until SIGTERM or SIGINT; returns the exit code: 1 if the disk refused what was left at the end."""
        self._loop.on_signal(signal.SIGTERM, self._loop.stop)
        self._loop.on_signal(signal.SIGINT, self._loop.stop)
        self._loop.on_signal(signal.SIGHUP, lambda: self._reopen.set(0.0))
        sys.setswitchinterval(SWITCH_SEC)
        self._dashboard.start()
        self._introduce()
        self._manager.ready()
        self._on_manager_due(time.monotonic())
        self._loop.run()
        return self._end()

    def _on_readable(self, now: float) -> None:
        self._turn(now, min(self._loop.next_at, now + self._settings.flush_timeout_sec))

    def _turn(self, now: float, until: float = 0.0) -> None:
        """Drains the socket and hands on what was taken, until nothing waits or the turn is over. Up to `until`, more
        may be waited for."""
        intake, writer = self._intake, self._writer
        while True:
            fd = self._socket.fileno() if self._receiving else RECEIVE_NOTHING
            status = intake.drain(fd, until, writer.commit.next_sync_at)
            until = 0.0
            if intake.note_count:
                self._write_rejects(now)
            elif status == FULL:
                writer.make_room(time.monotonic())
            if intake.buffered >= self._settings.flush_count:
                writer.flush(time.monotonic())
            elif intake.urgent:
                writer.flush_urgent(time.monotonic())
            if status == DRAINED:
                break
            if time.monotonic() - now > TURN_SEC:
                self._go_on.set(now)
                break
        if not intake.buffered:
            self._flush_due.clear()
        else:
            self._flush_due.set_if_clear(now + self._settings.flush_timeout_sec)

    def _write_rejects(self, now: float) -> None:
        if self._rejects:
            self._rejects.write(self._intake.take_notes())
            self._refill_notes.set_if_clear(now + 1.0)

    def _on_flush_due(self, now: float) -> None:
        self._writer.flush(now)

    def _on_refill_notes(self, now: float) -> None:
        self._intake.notes_allowed = NOTES_PER_SEC if self._rejects else 0

    def _on_tick_due(self, now: float) -> None:
        self._reporter.tick(now, kernel_drops(self._socket))
        self._dashboard.loop_seen_at = now
        self._dashboard.loop_busy = self._reporter.rate > BUSY_RATE
        self._tick_due.set(now + TICK_SEC)

    def _on_snapshot_asked(self, now: float) -> None:
        self._dashboard.publish(self._reporter.snapshot(now, kernel_drops(self._socket)))

    def _status(self) -> str:
        return status_line(self._reporter.snapshot(time.monotonic(), kernel_drops(self._socket)))

    def _on_manager_due(self, now: float) -> None:
        if self._manager.every_sec is not None:
            self._manager.alive()
            self._manager_due.set(now + self._manager.every_sec)

    def _on_reopen(self, now: float) -> None:
        self._manager.reloading()
        self._writer.flush(now)
        try:
            self._log.reopen()
        except OSError as error:
            say(f"SIGHUP: cannot open {self._log.path}: {error.strerror}; going on in the old file")
        else:
            say(f"SIGHUP: going on in {self._log.path}")
        self._manager.ready()

    def _sync_mode(self) -> str:
        return self._storage.mode if self._settings.priority_sync == "durable" else "none: acknowledged when written"

    def _introduce(self) -> None:
        settings = self._settings
        if self._log.torn:
            path = self._log.path
            say(f"{path} ended in an unfinished line; its {self._log.torn} bytes are in {path}.torn now")
        wanted = settings.rcvbuf_size
        if self._granted < wanted:
            say(
                f"receive buffer: wanted {wanted} bytes, granted {self._granted}; bursts may be lost in the kernel. "
                f"To grant it: {self._how_to_grant}"
            )
        else:
            say(f"receive buffer: wanted {wanted} bytes, granted {self._granted}")
        if settings.priority_levels:
            after = "sync" if settings.priority_sync == "durable" else "write, which a power cut may undo"
            say(f"acknowledging {', '.join(settings.priority_levels)} after the {after}")
            if self._why_blocking:
                say(f"syncs block the server: {settings.log_dir} has no asynchronous ones ({self._why_blocking})")
        say(f"dashboard at {self._dashboard.url}")
        if self._inherited:
            drops = "unknown" if self._dropped_before is None else self._dropped_before
            say(f"the service manager handed over the socket, in place of SERVER_HOST and SERVER_PORT; drops: {drops}")
        address, log = address_text(self._socket), self._log.path.absolute()
        say(f"listening on {address}/udp, writing to {log}")
        # For programs, which should not have to read the sentences above. The path is last: it may hold spaces.
        say(f"ready udp={address} http={self._dashboard.url} log={log}")

    def _end(self) -> int:
        """Takes what the kernel still holds, makes all of it durable, acknowledges, and gives the account."""
        self._manager.stopping()
        started = time.monotonic()
        drops = kernel_drops(self._socket)
        while True:
            self._go_on.clear()
            self._turn(time.monotonic())
            if self._go_on.at == math.inf:
                break
            if time.monotonic() - started > END_DRAIN_SEC:
                self._receiving = False  # what was taken from the socket is handed on to its end
        code = 0
        try:
            self._writer.finish(started)
        except OSError as error:
            say(f"cannot sync {self._log.path}: {error.strerror}")
            code = 1
        self._writer.give_up()
        if self._writer.failure:
            code = 1
        acknowledged = self._writer.commit.acks_sent
        rejected = {reason: count for reason, count in self._intake.rejects.items() if count}
        say(
            f"ended: received {sum(self._intake.received.values())} entries in {self._intake.datagrams} datagrams, "
            f"stored {self._writer.stored}, duplicates {self._intake.duplicates}, "
            f"lost to the disk {self._writer.lost}, rejected {sum(rejected.values())} {rejected or ''}".rstrip()
            + f", dropped by the kernel {'unknown' if drops is None else drops}, acknowledged {acknowledged}"
        )
        self._socket.close()
        self._log.close()
        self._storage.shut_down()
        if self._rejects:
            self._rejects.close()
        self._loop.close()
        self._manager.close()
        return code


def _open_directory(directory: Path) -> tuple[Storage, str | None]:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(
            f"cannot make the directory {directory}: {error.strerror}; set LOG_DIR to a directory you may write"
        ) from error
    return best_storage(directory)
