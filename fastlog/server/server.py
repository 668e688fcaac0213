"""`fastlog serve`: the pipeline, the dashboard and the service manager on one loop; the signals and the start."""

import contextlib
import math
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fastlog.config import MB, Settings, missing_program
from fastlog.early import ENDING_SIGNALS
from fastlog.errors import StartError, say
from fastlog.server.budget import DAY_SEC
from fastlog.server.ending import Ending, attempt
from fastlog.server.history import History
from fastlog.server.history_file import SAVE_SEC, HistoryFile
from fastlog.server.linesfile import NotAFileError
from fastlog.server.listeners import Listeners
from fastlog.server.logfile import LogFile
from fastlog.server.loop import Loop
from fastlog.server.pipeline import Pipeline
from fastlog.server.service_manager import ServiceManager
from fastlog.server.snapshot import Reporter
from fastlog.server.storage import AsyncStorage, SyncsUnderWayError
from fastlog.server.unix_listener import QUEUE_ROOMY
from fastlog.stats import Health

if TYPE_CHECKING:
    from fastlog.server.alerts import Alerts
    from fastlog.server.dashboard import Dashboard

BUSY_RATE = 20_000  # entries a second at which the dashboard's thread begins to slow the loop down
TICK_SEC = 1.0  # time between two readings of the counters that rates are computed from
FIGURES_SAID_SEC = 60.0  # time between two messages about figures that cannot be had
BLOCKING_RETRY_SEC = 60.0  # while syncs block: time between two attempts to have the kernel do them meanwhile
SWITCH_SEC = 0.0005  # longest time that the dashboard keeps the interpreter when the loop wants it back


class Server:
    """The server: everything is opened by the constructor, which raises StartError, and closed by `run`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # First of all: what comes while the log is opened and repaired waits in the receive buffer.
        self._listeners = Listeners.open(settings, os.environ)
        self._loop = Loop()
        self._reopen = self._loop.deadline(self._on_reopen)
        # From here on, before the log file is opened: one that is renamed during a long start is opened anew.
        self._loop.on_signal(signal.SIGHUP, lambda: self._reopen.set(0.0))
        directory = _absolute(settings.log_dir)
        self._storage = _open_directory(directory)
        name, limit = settings.log_filename, int(settings.max_log_size_mb * MB)
        with _start_errors(directory / name):
            hold_bytes = int(settings.ship_hold_mb * MB)
            log = LogFile(
                self._storage,
                directory,
                name,
                limit,
                settings.log_backups,
                keep_bytes=None if settings.log_keep_mb is None else int(settings.log_keep_mb * MB),
                keep_sec=None if settings.log_keep_days is None else settings.log_keep_days * DAY_SEC,
                hold_bytes=hold_bytes,
            )
        self._manager = ServiceManager(os.environ, self._status)

        self._figures_said_at = -math.inf
        self._tick_due = self._loop.deadline(self._on_tick_due)
        self._manager_due = self._loop.deadline(self._on_manager_due)
        self._storage_due = self._loop.deadline(self._on_storage_due)
        self._loop.on_readable(self._storage.source, self._storage.on_ready)
        with _start_errors(log.path):
            self._pipeline = Pipeline(settings, log, self._listeners, self._loop)
        now = time.monotonic()
        self._history = History(time.time(), now, time.process_time())
        self._history_file = HistoryFile(log.path, self._history)
        self._history_file.load()
        self._history_due = self._loop.deadline(self._on_history_due)
        self._history_due.set(now + SAVE_SEC)
        self._dashboard = self._make_dashboard()
        self._alerts = self._make_alerts(log.path)
        self._reporter = Reporter(settings, self._listeners, self._pipeline, self._sync_mode(), now, self._alerts)
        now = time.monotonic()
        self._on_tick_due(now)
        self._on_snapshot_asked(now)

    def run(self) -> int:
        """Serves until SIGINT or one of ENDING_SIGNALS. Returns the exit code: 1 if the disk refused what was left at
        the end, or if an error of the program ended it."""
        for number in (signal.SIGINT, *ENDING_SIGNALS):
            self._loop.on_signal(number, self._loop.stop)
        sys.setswitchinterval(SWITCH_SEC)
        is_well = attempt(self._serve)
        ending = Ending(self._loop, self._storage, self._listeners, self._pipeline)
        is_well = ending.run(self._manager.stopping, self._save_history) and is_well
        is_well = attempt(self._close) and is_well
        return 0 if is_well else 1

    def _serve(self) -> None:
        self._introduce()
        if self._dashboard:
            self._dashboard.start()
        self._say_ready()
        self._manager.ready()
        self._on_manager_due(time.monotonic())
        self._loop.run()

    def _on_tick_due(self, now: float) -> None:
        self._tick_due.set(now + TICK_SEC)
        self._listeners.look_at_addresses()
        try:
            losses = self._reporter.tick(now)
            self._reporter.record(now, self._history)
            health, busy = self._reporter.health(now), self._reporter.rate > BUSY_RATE
        except Exception as error:  # whoever looks must not end the server
            losses, health, busy = None, Health("degraded", [self._without_figures(error)]), False
        if self._dashboard:
            self._dashboard.beat(health, busy)
        if self._alerts:
            self._alerts.beat(health, losses)

    def _on_history_due(self, now: float) -> None:
        self._history_due.set(now + SAVE_SEC)
        self._history_file.save()

    def _make_dashboard(self) -> "Dashboard | None":
        port = self._settings.dashboard_port
        if port is None:
            return None
        # Imported here, so that a server without a dashboard does not load a web server.
        from fastlog.server.dashboard import Asks, Dashboard

        from_thread = self._loop.from_thread
        asks = Asks(from_thread(self._on_snapshot_asked), from_thread(self._on_sender_asked))
        return Dashboard(self._settings, port, asks, self._history)

    def _make_alerts(self, log: Path) -> "Alerts | None":
        command = self._settings.alert_command
        if not command:
            return None
        from fastlog.server.alerts import Alerts  # imports what few servers need

        if problem := missing_program(self._settings):
            say(f"{problem}; alerts will fail")
        return Alerts(command, log)

    def _on_snapshot_asked(self, now: float) -> None:
        if self._dashboard:
            try:
                self._dashboard.publish(self._reporter.snapshot(now))
            except Exception as error:  # the last snapshot is shown on
                self._without_figures(error)

    def _on_sender_asked(self, now: float) -> None:
        if self._dashboard and (key := self._dashboard.sender_asked):
            try:
                self._dashboard.publish_sender(key, self._reporter.sender(key, now))
            except Exception as error:
                self._without_figures(error)

    def _without_figures(self, error: Exception) -> str:
        """Returns that there are no figures, and prints it from time to time."""
        text = f"the figures cannot be had: {error!r}"
        if time.monotonic() - self._figures_said_at >= FIGURES_SAID_SEC:
            self._figures_said_at = time.monotonic()
            say(text)
        return text

    def _status(self) -> str:
        warnings = [f"no dashboard: {self._dashboard.problem}"] if self._dashboard and self._dashboard.problem else []
        try:
            return self._reporter.status_line(time.monotonic(), warnings)
        except Exception as error:
            return self._without_figures(error)

    def _on_manager_due(self, now: float) -> None:
        if self._manager.every_sec is not None:
            self._manager.alive()
            self._manager_due.set(now + self._manager.every_sec)

    def _on_storage_due(self, now: float) -> None:
        self._storage.begin(self._pipeline.log.path.parent)
        if self._storage.why_blocking:
            self._storage_due.set(now + BLOCKING_RETRY_SEC)
        else:
            say("syncs no longer block the server")
            self._reporter.sync_mode = self._sync_mode()

    def _on_reopen(self, now: float) -> None:
        self._manager.reloading()
        self._pipeline.writer.reopen(now, "SIGHUP")
        self._manager.reloaded()

    def _sync_mode(self) -> str:
        return self._storage.mode if self._settings.acks_wait_for_disk else "none: acknowledged when written"

    def _introduce(self) -> None:
        settings, listeners = self._settings, self._listeners
        if listeners.is_small:
            say(
                f"receive buffer is {listeners.granted} bytes, not the {listeners.wanted} asked for: the kernel may "
                f"drop bursts. To raise the limit: {listeners.how_to_grant}"
            )
        elif listeners.udp:
            say(f"receive buffer is {listeners.granted} bytes; {listeners.wanted} were asked for")
        self._pipeline.throttle.introduce()
        if settings.priority_levels:
            after = "sync" if settings.acks_wait_for_disk else "write, which a power cut may undo"
            say(f"acknowledging {', '.join(settings.priority_levels)} after the {after}")
            if settings.acks_wait_for_disk and self._storage.why_blocking:
                where = f"{settings.log_dir} ({self._storage.why_blocking})"
                say(
                    f"syncs will block the server: no asynchronous fdatasync in {where}; "
                    f"trying again every {BLOCKING_RETRY_SEC:g} s"
                )
                self._storage_due.set(time.monotonic() + BLOCKING_RETRY_SEC)
            if self._storage.no_name_syncs:
                say(f"the file system of {settings.log_dir} has no sync of directories: a power cut may undo new names")
        if self._storage.no_locks:
            say(f"the file system of {settings.log_dir} has no locks: never start a second server with this log file")

    def _say_ready(self) -> None:
        listeners, log = self._listeners, self._pipeline.log
        if listeners.handed_over:
            drops = "unknown" if listeners.dropped_before is None else listeners.dropped_before
            count = len(listeners.handed_over)
            sockets = "the socket" if count == 1 else f"the {count} sockets"
            ignored = "LISTEN is" if self._settings.listen else "SERVER_HOST and SERVER_PORT are"
            say(f"using {sockets} passed by the service manager ({ignored} ignored); drops so far: {drops}")
        for listener in listeners.unix:
            if listener.hurries:
                say(
                    f"the queue of {listener.name} holds {listener.queue or 'few'} datagrams, so receiving costs more. "
                    f"To have a longer one: sysctl -w net.unix.max_dgram_qlen={QUEUE_ROOMY}, then restart the server"
                )
        path = log.path
        say(f"listening on {listeners.names}, writing to {path}")
        # For programs, which should not have to read the sentences above. The path is last: it may hold spaces.
        http = (self._dashboard.url or "unavailable") if self._dashboard else "off"
        say(f"ready {listeners.addresses} http={http} log={path}")

    def _save_history(self) -> None:
        """With what the end has stored, lost and acknowledged."""
        now = time.monotonic()
        try:
            self._reporter.tick(now)
            self._reporter.record(now, self._history)
        except Exception as error:
            self._without_figures(error)
        self._history_file.finish()

    def _close(self) -> None:
        self._pipeline.close()
        self._listeners.close()
        with contextlib.suppress(SyncsUnderWayError):
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
        if isinstance(error, NotAFileError):
            raise StartError(
                f"{path} is {error.kind}, not a file; remove it, or set LOG_DIR or LOG_FILENAME"
            ) from error
        if isinstance(error, BlockingIOError):
            elsewhere = "LOG_DIR or LOG_FILENAME" if Path(path) == log else "LOG_DIR"
            raise StartError(f"{path} is in use by another fastlog; stop it, or set {elsewhere}") from error
        raise StartError(f"cannot write {path}: {error.strerror}; set LOG_DIR to a directory you may write") from error


def _absolute(directory: str) -> Path:
    """The directory as it is found from anywhere: the working directory may be removed while the server runs."""
    try:
        return Path(os.path.abspath(directory))
    except FileNotFoundError as error:
        if not os.stat(".").st_nlink:
            raise StartError(
                f"the working directory was removed, and LOG_DIR={directory} is relative to it; start fastlog in "
                "another directory, or set LOG_DIR to an absolute path"
            ) from error
        say("the working directory cannot be found from the root; LOG_DIR stays relative to it")
        return Path(directory)


def _open_directory(directory: Path) -> AsyncStorage:
    try:
        storage = AsyncStorage()
        storage.make_directory(directory)
    except OSError as error:
        raise StartError(
            f"cannot make the directory {directory}: {error.strerror}; set LOG_DIR to a directory you may write"
        ) from error
    storage.begin(directory)
    return storage
