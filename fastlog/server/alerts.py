"""Runs ALERT_COMMAND when the server's health has changed, with the alert as JSON on its standard input.

The loop only hands over its health, once a second. A thread looks whether a change has lasted, and waits for the
command; so a loop that hangs is noticed, too. `alert_process.py` runs the command within limits. At the end of the
server nobody waits for the thread.
"""

import contextlib
import math
import os
import re
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from fastlog import __version__
from fastlog.config import printable
from fastlog.errors import say
from fastlog.file_systems import getxattr, setxattr
from fastlog.server.side_process import last_line_of
from fastlog.server.silence import with_silence
from fastlog.stats import AlertStats, Health

if TYPE_CHECKING:
    from fastlog.server.snapshot import LossCounts

LASTED_SEC = 10.0  # so long a change has to last in all before it is reported: what is over by then wakes nobody
CALM_SEC = (
    60.0  # so long health has to stay ok before that is reported, and before a change that was too short counts no more
)
APART_SEC = 60.0  # from one run to the next, so that health that changes all the time does not flood anybody
TRIES_MAX = 5  # runs for one change while the command fails: the network may be away for minutes
LOOK_SEC = 1.0  # between two looks of the thread
RUN_SEC = 30  # the longest run of the command
END_SEC = 10.0  # for the process that has to end the command: far more than it takes
SUMMARY_MAX = 300  # characters of an alert's one line
ATTRIBUTE = "user.fastlog.alert"  # of the log's directory: the status that was reported last
PROCESS = str(Path(__file__).with_name("alert_process.py"))
# What a service manager tells the server alone.
NOT_PASSED_ON = {"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"}

Status = Literal["ok", "degraded"]
Run = Callable[[list[str], bytes], str | None]
_FIGURE = re.compile(r"[0-9][0-9.,]*")


class Alert(msgspec.Struct, frozen=True):
    """What the command gets. `previous`: the status that was reported before. `losses`: by cause, since the
    start; empty: unknown."""

    summary: str
    status: Status
    previous: Status
    since: str
    reasons: list[str]
    warnings: list[str]
    losses: dict[str, int | None]
    host: str
    log: str
    version: str


class Changes:
    """When a change of health is to be reported. Moments are in seconds of any one clock."""

    def __init__(self, status: Status) -> None:
        self.reported: Status = status  # the status that was reported last
        # Why it was degraded then; None: nobody knows, since it was reported before this start.
        self._reported: frozenset[str] | None = frozenset() if status == "ok" else None
        self._present: frozenset[str] | None = None
        self._since = 0.0  # when the present reasons began
        self._apart_sec = 0.0  # for how long in all they were others than those reported
        self._looked_at = math.inf

    def look(self, now: float, health: Health) -> bool:
        """Whether this health is to be reported now. To be called about once a second."""
        kinds = frozenset(_FIGURE.sub("#", reason) for reason in health.reasons)  # a figure that grows is no change
        if kinds != self._present:
            self._present, self._since = kinds, now
        lasted = now - self._since
        if kinds == self._reported:
            if lasted >= CALM_SEC:
                self._apart_sec = 0.0
            due = False
        else:
            self._apart_sec += max(now - self._looked_at, 0.0) if self._looked_at < math.inf else 0.0
            due = self._apart_sec >= LASTED_SEC if kinds else lasted >= CALM_SEC
        self._looked_at = now
        return due

    @property
    def is_over(self) -> bool:
        """Whether health has been for a while as it was reported."""
        return self._present == self._reported and not self._apart_sec

    def lasted(self, now: float) -> float:
        """How long the present reasons have been so."""
        return now - self._since

    def note_reported(self, status: Status) -> None:
        self.reported, self._reported, self._apart_sec = status, self._present, 0.0


def run_command(command: list[str], alert: bytes) -> str | None:
    """Returns why it failed; None: it did not."""
    environment = {name: value for name, value in os.environ.items() if name not in NOT_PASSED_ON}
    try:
        done = subprocess.run(  # noqa: S603 - the setting says what it is, and no shell reads it
            [sys.executable, "-I", "-S", PROCESS, str(RUN_SEC), *command],
            input=alert,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # Ctrl-C in a terminal is for the server
            timeout=RUN_SEC + END_SEC,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it could not be ended within {RUN_SEC + END_SEC:.0f} s"
    except OSError as error:
        return f"cannot start a process: {error.strerror}"
    if done.returncode == 0:
        return None
    return last_line_of(done.stdout) or f"the process that runs it ended with exit code {done.returncode}"


class Alerts:
    """Of the server with this log. `run`: tests have one of their own."""

    def __init__(self, command: str, log: Path, run: Run = run_command) -> None:
        self.stats = AlertStats(runs=0, failures=0, last_run=None, last_status=None, last_failure=None)
        self._command = shlex.split(command)
        self._log = log
        self._run = run
        self._changes = Changes(_reported_before(log.parent))
        self._beat: tuple[Health, LossCounts | None, float] | None = None  # the loop's, and when it came
        self._run_at = -math.inf  # when the last run began
        self._tries = 0  # that failed, for the present change
        self._thread: threading.Thread | None = None

    @property
    def warning(self) -> str | None:
        """That nobody hears of what happens, while that is so."""
        failure = self.stats.last_failure
        return f"the alert command failed: {failure}" if failure else None

    def beat(self, health: Health, losses: "LossCounts | None") -> None:
        """A sign of life, which the loop gives every second, with the losses if they are known. Starts the thread, if
        there is none."""
        self._beat = health, losses, time.monotonic()
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._watch, name="alerts", daemon=True)
            with contextlib.suppress(RuntimeError):  # the system has no thread left; the next sign of life tries again
                self._thread.start()

    def _watch(self) -> None:
        while True:
            self.look(time.monotonic())
            time.sleep(LOOK_SEC)

    def look(self, now: float) -> None:
        """Runs the command, if it is time, and waits for it."""
        if self._beat is None:
            return
        health, losses, at = self._beat
        health = with_silence(health, now - at)
        is_due = self._changes.look(now, health)
        if self._changes.is_over:
            self._tries = 0  # those were for a change that nobody needs to hear of any more
        if not is_due or now < self._run_at + APART_SEC:
            return
        self._run_at = now
        alert = self._alert(health, losses, self._changes.lasted(now))
        failure = self._run(self._command, msgspec.json.encode(alert))
        if failure:
            self._tries += 1
            say(f"the alert command failed: {failure}{self._what_next()}")
        if not failure or self._tries >= TRIES_MAX:
            self._tries = 0
            self._changes.note_reported(health.status)
            _note_reported(self._log.parent, health.status)
        before = self.stats
        self.stats = AlertStats(
            runs=before.runs + 1,
            failures=before.failures + bool(failure),
            last_run=round(time.time(), 3),
            last_status=health.status,
            last_failure=failure,
        )

    def _what_next(self) -> str:
        return f"; trying again in {APART_SEC:.0f} s" if self._tries < TRIES_MAX else "; it is not tried again"

    def _alert(self, health: Health, losses: "LossCounts | None", lasted_sec: float) -> Alert:
        host = socket.gethostname()
        since = datetime.fromtimestamp(time.time() - lasted_sec, UTC)
        summary = f"fastlog on {host}: {'; '.join((health.status, *health.reasons))}"
        return Alert(
            summary="".join(filter(str.isprintable, printable(summary)))[:SUMMARY_MAX],
            status=health.status,
            previous=self._changes.reported,
            since=since.strftime("%Y-%m-%dT%H:%M:%SZ"),
            reasons=[printable(reason) for reason in health.reasons],
            warnings=[printable(warning) for warning in health.warnings],
            losses={name: count for name, count in losses._asdict().items() if name != "sequence_gaps"}
            if losses
            else {},
            host=host,
            log=printable(str(self._log)),
            version=__version__,
        )


def _reported_before(directory: Path) -> Status:
    """The status that the server reported last, before this start: whoever heard that it was degraded waits for the
    word that it is ok."""
    try:
        return "degraded" if getxattr(directory, ATTRIBUTE) == b"degraded" else "ok"
    except OSError:
        return "ok"


def _note_reported(directory: Path, status: Status) -> None:
    """Not through the storage of the log: this thread may wait for a disk that does not answer; the loop may not."""
    with contextlib.suppress(OSError):  # the file system has no attributes
        if status == "degraded" or _reported_before(directory) != status:
            setxattr(directory, ATTRIBUTE, status.encode())
