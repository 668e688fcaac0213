"""The process that compresses an archive: its start, its end, and what it has to say. It knows no names.

It is a process of its own, so that the server's loop, its memory and its scheduling are untouched by it. It reads the
archive from descriptor 0 and writes the new file to descriptor 1. `fastlog.archive.process` is what it runs.
"""

import contextlib
import os
import select
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import fastlog
from fastlog.server.loop import Loop

SAID_MAX_BYTES = 4096  # of what the process prints: it prints one line, and a traceback if the program is wrong
LINE_MAX = 300  # characters of it that are shown
END_WAIT_MS = 500  # for a process that was killed: far more than it takes, unless the disk does not answer
RESET = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD}

# Of the variables of Python, those by which it finds modules. Others change what it does, and some would break this
# process: PYTHONINSPECT would have it take the archive, its standard input, for a program.
FOR_MODULES = {"PYTHONPATH", "PYTHONHOME", "PYTHONPLATLIBDIR", "PYTHONUSERBASE", "PYTHONNOUSERSITE"}

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
            self._pid = _spawn(source, target, its_end)
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
        said = _last_line(self._said_fd)
        os.close(self._said_fd)
        try:
            ended, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return "nobody knows how the process ended"
        if not ended:  # it waits for the disk; init sees to it
            return "the process does not end"
        code = os.waitstatus_to_exitcode(status)
        if code < 0:
            return f"the process was ended by a signal: {signal.strsignal(-code)}"
        return (said or f"the process ended with exit code {code}") if code else None


def _spawn(source: int, target: int, errors: int) -> int:
    """It finds this very fastlog, whatever the working directory is, and has a process group of its own: Ctrl-C in a
    terminal is for the server, which ends it."""
    root = str(Path(fastlog.__file__).parents[1])
    environment = {
        name: value for name, value in os.environ.items() if name in FOR_MODULES or not name.startswith("PYTHON")
    }
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (root, environment.get("PYTHONPATH"))))
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-P", "-m", "fastlog.archive.process", "0", "1", str(os.getpid())],
        environment,
        file_actions=[
            (os.POSIX_SPAWN_DUP2, source, 0),
            (os.POSIX_SPAWN_DUP2, target, 1),
            (os.POSIX_SPAWN_DUP2, errors, 2),
        ],
        setpgroup=0,
        setsigmask=(),
        setsigdef=RESET,
    )


def _last_line(fd: int) -> str:
    """What it printed last, without what a terminal would obey."""
    with contextlib.suppress(OSError):
        text = os.read(fd, SAID_MAX_BYTES).decode("utf-8", "replace").strip()
        return "".join(filter(str.isprintable, text.rpartition("\n")[2]))[:LINE_MAX]
    return ""
