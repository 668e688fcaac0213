"""A process beside the server: how it is started, and what it says when it has failed.

It runs a module of this very fastlog, whatever the working directory is.
"""

import contextlib
import os
import signal
import sys
from pathlib import Path

import fastlog

SAID_MAX_BYTES = 4096  # of the end of what the process has printed: room for its last line
LINE_MAX = 300  # characters of it that are shown
RESET = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD}

# Of the variables of Python, those by which it finds modules. Others change what it does, and some would break such a
# process: PYTHONINSPECT would have the compressor take the archive, its standard input, for a program.
FOR_MODULES = {"PYTHONPATH", "PYTHONHOME", "PYTHONPLATLIBDIR", "PYTHONUSERBASE", "PYTHONNOUSERSITE"}


def spawn(module: str, arguments: list[str], descriptors: list[int]) -> int:
    """Starts the module with these arguments and, behind them, this process's pid; returns the pid of the new process,
    which has these descriptors as 0, 1 and so on. It has a process group of its own: Ctrl-C in a terminal is for the
    server, which ends it. Raises OSError."""
    root = str(Path(fastlog.__file__).parents[1])
    environment = {
        name: value for name, value in os.environ.items() if name in FOR_MODULES or not name.startswith("PYTHON")
    }
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (root, environment.get("PYTHONPATH"))))
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-P", "-m", module, *arguments, str(os.getpid())],
        environment,
        file_actions=[(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(descriptors)],
        setpgroup=0,
        setsigmask=(),
        setsigdef=RESET,
    )


def last_line(fd: int) -> str:
    """What it printed last, without what a terminal would obey. `fd`: a non-blocking pipe from its standard error."""
    said = b""
    with contextlib.suppress(OSError):  # there is no more
        while piece := os.read(fd, SAID_MAX_BYTES):
            said = (said + piece)[-SAID_MAX_BYTES:]
    return last_line_of(said)[:LINE_MAX]


def last_line_of(said: bytes) -> str:
    """The last line of what a process printed, without what a terminal would obey."""
    return "".join(filter(str.isprintable, said.decode("utf-8", "replace").strip().rpartition("\n")[2]))


def why_failed(status: int, said: str) -> str | None:
    """Why the process failed, given its status as `waitpid` returns it and the line that it printed last; None: it did
    not."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return f"the process was ended by a signal: {signal.strsignal(-code)}"
    return (said or f"the process ended with exit code {code}") if code else None
