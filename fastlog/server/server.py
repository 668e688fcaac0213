"""`fastlog serve`: the pipeline, the dashboard and the service manager on one loop; the signals, the start, the end."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fastlog.config import Settings
from fastlog.errors import StartError, say
from fastlog.server.listener import Listener
from fastlog.server.logfile import LogFile
from fastlog.server.loop import Loop
from fastlog.server.pipeline import MB, Pipeline
from fastlog.server.service_manager import ServiceManager
from fastlog.server.snapshot import Reporter
from fastlog.server.storage import AsyncStorage, Storage, best_storage

if TYPE_CHECKING:
    from fastlog.server.dashboard import Dashboard

BUSY_RATE = 20_000  # entries a second at which the dashboard's thread begins to slow the loop down
TICK_SEC = 1.0  # time between two readings of the counters that rates are computed from
SWITCH_SEC = 0.0005  # longest time that the dashboard keeps the interpreter when the loop wants it back


class Server:
    """The server: everything is opened by the constructor, which raises StartError, and closed by `run`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        directory = Path(settings.log_dir)
        self._storage, self._why_blocking = _open_directory(directory)
        name, limit = settings.log_filename, int(settings.max_log_size_mb * MB)
        with _start_errors(directory / name):
            log = LogFile(self._storage, directory, name, limit, settings.log_backups)
        self._listener = Listener.take_over(os.environ, settings.rcvbuf_size) or Listener.bind(
            settings.server_host, settings.server_port, settings.rcvbuf_size
        )
        self._manager = ServiceManager(os.environ, self._status)

        self._loop = Loop()
        self._reopen = self._loop.deadline(self._on_reopen)
        self._tick_due = self._loop.deadline(self._on_tick_due)
        self._manager_due = self._loop.deadline(self._on_manager_due)
        if isinstance(self._storage, AsyncStorage):
            self._loop.on_readable(self._storage.source, self._storage.on_ready)
        with _start_errors(log.path):
            self._pipeline = Pipeline(settings, log, self._listener, self._loop)
        self._dashboard = self._make_dashboard()

        now = time.monotonic()
        self._reporter = Reporter(settings, self._listener, self._pipeline, self._sync_mode(), now)
        self._on_tick_due(now)
        self._on_snapshot_asked(now)

    def run(self) -> int:
        """Serves until SIGTERM or SIGINT; returns the exit code: 1 if the disk refused what was left at the end."""
        self._loop.on_signal(signal.SIGTERM, self._loop.stop)
        self._loop.on_signal(signal.SIGINT, self._loop.stop)
        self._loop.on_signal(signal.SIGHUP, lambda: self._reopen.set(0.0))
        sys.setswitchinterval(SWITCH_SEC)
        self._introduce()
        if self._dashboard:
            self._dashboard.start()
        self._say_ready()
        self._manager.ready()
        self._on_manager_due(time.monotonic())
        self._loop.run()
        return self._end()

    def _on_tick_due(self, now: float) -> None:
        self._reporter.tick(now)
        if self._dashboard:
            self._dashboard.beat(self._reporter.health(now), busy=self._reporter.rate > BUSY_RATE)
        self._tick_due.set(now + TICK_SEC)

    def _make_dashboard(self) -> "Dashboard | None":
        port = self._settings.dashboard_port
        if port is None:
            return None
        # Imported here, so that a server without a dashboard does not load a web server.
        from fastlog.server.dashboard import Dashboard

        return Dashboard(self._settings, port, self._loop.from_thread(self._on_snapshot_asked))

    def _on_snapshot_asked(self, now: float) -> None:
        if self._dashboard:
            self._dashboard.publish(self._reporter.snapshot(now))

    def _status(self) -> str:
        warnings = [f"no dashboard: {self._dashboard.problem}"] if self._dashboard and self._dashboard.problem else []
        return self._reporter.status_line(time.monotonic(), warnings)

    def _on_manager_due(self, now: float) -> None:
        if self._manager.every_sec is not None:
            self._manager.alive()
            self._manager_due.set(now + self._manager.every_sec)

    def _on_reopen(self, now: float) -> None:
        self._manager.reloading()
        self._pipeline.writer.reopen(now)
        self._manager.ready()

    def _sync_mode(self) -> str:
        return self._storage.mode if self._settings.acks_wait_for_disk else "none: acknowledged when written"

    def _introduce(self) -> None:
        settings, listener, log = self._settings, self._listener, self._pipeline.log
        if log.torn:
            say(f"{log.path} ended in an incomplete line; moved {log.torn} bytes to {log.path}.torn")
        if listener.granted < listener.wanted:
            say(
                f"receive buffer is {listener.granted} bytes, not the {listener.wanted} asked for: the kernel may drop "
                f"bursts. To raise the limit: {listener.how_to_grant}"
            )
        else:
            say(f"receive buffer is {listener.granted} bytes; {listener.wanted} were asked for")
        if settings.priority_levels:
            after = "sync" if settings.acks_wait_for_disk else "write, which a power cut may undo"
            say(f"acknowledging {', '.join(settings.priority_levels)} after the {after}")
            if self._why_blocking:
                where = f"{settings.log_dir} ({self._why_blocking})"
                say(f"syncs will block the server: no asynchronous fdatasync in {where}")

    def _say_ready(self) -> None:
        listener, log = self._listener, self._pipeline.log
        if listener.handed_over:
            drops = "unknown" if listener.dropped_before is None else listener.dropped_before
            say(
                "using the socket passed by the service manager (SERVER_HOST and SERVER_PORT are ignored); "
                f"drops so far: {drops}"
            )
        address, path = listener.address, log.path.absolute()
        say(f"listening on {address}/udp, writing to {path}")
        # For programs, which should not have to read the sentences above. The path is last: it may hold spaces.
        http = (self._dashboard.url or "unavailable") if self._dashboard else "off"
        say(f"ready udp={address} http={http} log={path}")

    def _end(self) -> int:
        """Receives and stores what is left, prints the totals, and closes everything."""
        self._manager.stopping()
        drops = self._listener.drops()
        try:
            is_complete = self._pipeline.finish()
        except OSError as error:
            say(f"cannot sync {self._pipeline.log.path}: {error.strerror}")
            is_complete = False
        say(self._closing_line(drops))
        self._close()
        return 0 if is_complete else 1

    def _closing_line(self, drops: int | None) -> str:
        intake, writer = self._pipeline.intake, self._pipeline.writer
        rejected = {reason: count for reason, count in intake.rejects.counts.items() if count}
        return (
            f"stopped: received {sum(intake.received.values())} entries in {intake.datagrams} datagrams, "
            f"stored {writer.stored}, duplicates {intake.duplicates}, "
            f"lost to the disk {writer.lost}, rejected {sum(rejected.values())} {rejected or ''}".rstrip()
            + f", dropped by the kernel {'unknown' if drops is None else drops}, acknowledged {writer.commit.acks_sent}"
        )

    def _close(self) -> None:
        self._listener.close()
        self._pipeline.close()
        self._storage.shut_down()
        self._loop.close()
        self._manager.close()


@contextlib.contextmanager
def _start_errors(log: Path) -> Iterator[None]:
    """Turns an OSError, about the log or the file that the error names, into a StartError that says what to do."""
    try:
        yield
    except OSError as error:
        path = error.filename or log
        if isinstance(error, BlockingIOError):
            elsewhere = "LOG_DIR or LOG_FILENAME" if Path(path) == log else "LOG_DIR"
            raise StartError(f"{path} is in use by another fastlog; stop it, or set {elsewhere}") from error
        raise StartError(f"cannot write {path}: {error.strerror}; set LOG_DIR to a directory you may write") from error


def _open_directory(directory: Path) -> tuple[Storage, str | None]:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(
            f"cannot make the directory {directory}: {error.strerror}; set LOG_DIR to a directory you may write"
        ) from error
    return best_storage(directory)
