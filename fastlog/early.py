"""What the command `fastlog` does before it imports anything that takes time. The package does this as soon as it is
imported, unless a program of somebody else imports it.

It imports nothing but what Python itself has imported by then.
"""

import _signal  # type: ignore[import-not-found]  # `signal` without the enumerations, whose import takes time
import os
import sys
from types import FrameType

ENDED_BY_SIGTERM = 128 + _signal.SIGTERM  # the exit code that a shell shows for it


def prepare_command() -> None:
    """Does nothing in a program that is not the command."""
    if not _is_command():
        return
    open_standard_descriptors()
    if sys.argv[1:2] == ["serve"]:
        take_signals()


def open_standard_descriptors() -> None:
    """Opens /dev/null for each of the descriptors 0 to 2 that is closed. Otherwise the log file or a socket would be
    opened there, and whatever is printed would go to it."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest descriptor that is free, which is `fd`
            os.set_inheritable(fd, True)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False, encoding="utf-8")
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False, encoding="utf-8")
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False, encoding="utf-8")


def take_signals() -> None:
    """For the start of the server. Neither of these signals may end it: SIGHUP, which asks it to open the log file that
    it has not opened yet, and SIGTTOU, which a terminal may send to a program in the background that prints.

    SIGTERM ends the start at once. Without a handler the first process of a container would ignore it.
    """
    _signal.signal(_signal.SIGHUP, _signal.SIG_IGN)
    _signal.signal(_signal.SIGTTOU, _signal.SIG_IGN)
    _signal.signal(_signal.SIGTERM, _end_start)


def _end_start(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(ENDED_BY_SIGTERM)


def _is_command() -> bool:
    """Whether this process runs the script `fastlog`, or `python -m fastlog`."""
    script: str = (getattr(sys, "argv", None) or [""])[0]
    if script != "-m":  # the name for as long as Python looks for the module
        return os.path.basename(script) == "fastlog"
    words = sys.orig_argv
    return "-m" in words and words[words.index("-m") + 1].partition(".")[0] == "fastlog"
