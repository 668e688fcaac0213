"""The process that shows the log to viewers, as the server sees it: started when the first one comes, ended when there
was none for a while, and started again if it dies. `fastlog.view.process` is what it runs.

A viewer's connection is handed over as soon as the head of its answer is sent. From then on the server has no part in
it: neither its interpreter nor its disk waits for a viewer, and the other way round.
"""

import contextlib
import os
import socket
import threading
from collections import deque
from time import monotonic

import msgspec

from fastlog.config import Settings
from fastlog.errors import say
from fastlog.server.side_process import last_line, spawn, why_failed
from fastlog.view.query import Query

VIEWERS_MAX = 64  # each takes a descriptor, up to a megabyte, and a share of a quarter of a processor
IDLE_SEC = 60.0  # without viewers: then the process and its memory go
# A process that dies at once is not started for each of the viewers that come again: so many times in so many seconds.
STARTS_MAX = 5
STARTS_SEC = 30.0
ENDED_MAX_BYTES = 16  # one byte for each viewer that has ended comes in a message of its own


class NoViewsError(Exception):
    """Nobody can view the log at the moment; the text says why."""


class _Process:
    """One that runs. Raises OSError."""

    def __init__(self, log: str) -> None:
        with contextlib.ExitStack() as opened:
            self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            opened.enter_context(theirs)
            on_failure = opened.enter_context(contextlib.ExitStack())
            on_failure.enter_context(self.control)
            self.control.setblocking(False)
            self.said_fd, said_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            on_failure.callback(os.close, self.said_fd)
            opened.callback(os.close, said_end)
            self.pid = spawn("fastlog.view.process", [log], [theirs.fileno(), said_end, said_end])
            on_failure.pop_all()

    def close(self) -> None:
        """It ends then, if it has not yet."""
        self.control.close()


class Viewing:
    """At most one process at a time. `may_view` is called in the thread that makes answers, everything else in the one
    that alone closes connections."""

    def __init__(self, settings: Settings) -> None:
        self._log = os.path.join(settings.log_dir, settings.log_filename)
        self._lock = threading.Lock()  # between those two threads, for as long as a system call takes
        self._process: _Process | None = None
        self._leaving: list[_Process] = []  # which the server has let go, until they have ended
        self._viewers = 0
        self._asked_at = 0.0
        self._starts: deque[float] = deque(maxlen=STARTS_MAX)
        self._failure = ""

    @property
    def is_running(self) -> bool:
        """Whether `look_after` has something to do."""
        return self._process is not None or bool(self._leaving)

    def may_view(self) -> None:
        """Has the process run. Raises NoViewsError."""
        with self._lock:
            self._asked_at = monotonic()
            self._look()
            if self._viewers >= VIEWERS_MAX:
                raise NoViewsError(f"{VIEWERS_MAX} viewers watch already; close one of them, or try again later")
            if self._process is None:
                self._start()

    def hand_over(self, sock: socket.socket, query: Query) -> None:
        """The caller closes its own copy of the socket. If that fails, the viewer sees the end of its connection, and
        is told why when it asks again."""
        with self._lock:
            self._look()
            if self._viewers >= VIEWERS_MAX:
                return
            try:
                if self._process is None:
                    self._start()
                if self._process:
                    socket.send_fds(self._process.control, [msgspec.json.encode(query)], [sock.fileno()])
                    self._viewers += 1
            except (NoViewsError, OSError):
                return

    def look_after(self) -> None:
        """To be called from time to time: ends the process if nobody needs it."""
        with self._lock:
            self._look()
            if self._process and not self._viewers and monotonic() - self._asked_at > IDLE_SEC:
                self._let_go()

    def _start(self) -> None:
        now = monotonic()
        if len(self._starts) == STARTS_MAX and now - self._starts[0] < STARTS_SEC:
            raise NoViewsError(f"the view process has ended {STARTS_MAX} times: {self._failure}; try again in a minute")
        self._starts.append(now)
        try:
            self._process = _Process(self._log)
        except OSError as error:
            raise NoViewsError(f"the view process cannot be started: {error.strerror}") from error

    def _look(self) -> None:
        """Takes note of viewers that have ended, and of the end of the process."""
        while self._process:
            try:
                ended = self._process.control.recv(ENDED_MAX_BYTES)
            except BlockingIOError:
                break
            except OSError:
                ended = b""
            if ended:
                self._viewers = max(self._viewers - 1, 0)
            else:
                self._let_go()
        self._leaving = [process for process in self._leaving if not self._reap(process)]

    def _let_go(self) -> None:
        if self._process:
            self._process.close()
            self._leaving.append(self._process)
        self._process, self._viewers = None, 0

    def _reap(self, process: _Process) -> bool:
        """Whether it has ended."""
        failure: str | None
        try:
            ended, status = os.waitpid(process.pid, os.WNOHANG)
            if not ended:
                return False
            failure = why_failed(status, last_line(process.said_fd))
        except ChildProcessError:
            failure = "nobody knows how the process ended"
        os.close(process.said_fd)
        if failure:
            self._failure = failure
            say(f"the view process ended: {failure}; it is started again when a viewer comes")
        return True
