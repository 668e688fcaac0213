"""The process that compresses an archive: its start, its end, and what it has to say. It knows no names.

It is a process of its own, so that the server's loop, its memory and its scheduling are untouched by it. It reads the
archive from descriptor 0 and writes the new file to descriptor 1. `fastlog.archive.process` is what it runs.
"""

import contextlib
import os
import select
import signal
from collections.abc import Callable

from fastlog.server.loop import Loop
from fastlog.server.side_process import last_line, spawn, why_failed

END_WAIT_MS = 500  # for a process that was killed: far more than it takes, unless the disk does not answer

Ended = Callable[[float, str | None], None]


class Compressor:
    """At most one process at a time. `ended` gets the time, and why it failed; None: it did not."""

    def __init__(self, loop: Loop, ended: Ended) -> None:
        self._loop = loop
        self._ended = ended
        self._pid = 0  # 0: there is none
        self._pidfd = -1
        self._said_fd = -1  # its standard error
        self._is_killed = False

    @property
    def is_running(self) -> bool:
        return self._pid != 0

    def start(self, source: int, target: int) -> None:
        """Has the process compress one open file into the other. Raises OSError."""
        said_fd, its_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)  # so it never waits for a reader
        try:
            self._pid = spawn("fastlog.archive.process", ["0", "1"], [source, target, its_end])
            self._pidfd = os.pidfd_open(self._pid)
        except OSError:
            os.close(said_fd)
            if self._pid:  # a process that cannot be watched must not run
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
                self._pid = 0
            raise
        finally:
            os.close(its_end)
        self._said_fd = said_fd
        self._is_killed = False
        self._loop.on_readable(self._pidfd, self._on_end)

    def kill(self) -> None:
        """Ends it. `ended` is not called."""
        if self._pid and not self._is_killed:
            self._is_killed = True
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def close(self) -> None:
        """Kills it, and waits a moment for its end."""
        self.kill()
        if self._pid:
            end = select.poll()
            end.register(self._pidfd, select.POLLIN)
            end.poll(END_WAIT_MS)
            self._reap()

    def _on_end(self, now: float) -> None:
        failure = self._reap()
        if not self._is_killed:
            self._ended(now, failure)

    def _reap(self) -> str | None:
        """Returns why it failed, if it did."""
        pid, self._pid = self._pid, 0
        self._loop.forget(self._pidfd)
        os.close(self._pidfd)
        said = last_line(self._said_fd)
        os.close(self._said_fd)
        try:
            ended, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return "nobody knows how the process ended"
        if not ended:  # it waits for the disk; init sees to it
            return "the process does not end"
        return why_failed(status, said)
