"""What the command `fastlog` does before it imports anything that takes time. The package does this as soon as it is
imported, unless a program of somebody else imports it.

It imports nothing but what Python itself has imported by then.
"""

import _signal  # type: ignore[import-not-found]  # `signal` without the enumerations, whose import takes time
import os
import sys
from types import FrameType


def _signals(*names: str) -> tuple[int, ...]:
    """The numbers of those that this system has."""
    return tuple(getattr(_signal, name) for name in names if hasattr(_signal, name))


ENDED_BY_SIGNAL = 128  # plus its number: the exit code that a shell shows for a signal
# The signals that end the server, besides SIGINT. SIGXCPU comes shortly before a limit of processor time is reached,
# and SIGPWR before the power fails, or to the first process of some containers.
ENDING_SIGNALS = _signals("SIGTERM", "SIGQUIT", "SIGXCPU", "SIGPWR")
# Those that would end or stop a program that does not know them. They mean nothing to the server, except SIGHUP: during
# the start it asks for a log file to be opened anew that is not open yet. A terminal may send SIGTTOU to a program in
# the background that prints.
IGNORED_SIGNALS = (
    *_signals("SIGHUP", "SIGTTOU", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGIO", "SIGSTKFLT"),
    *range(getattr(_signal, "SIGRTMIN", 0), getattr(_signal, "SIGRTMAX", -1) + 1),
)

closed_at_start: set[int] = set()  # descriptors that were closed, and are /dev/null now


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
            closed_at_start.add(fd)
            os.set_inheritable(fd, True)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False, encoding="utf-8")
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False, encoding="utf-8")
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False, encoding="utf-8")


def take_signals() -> None:
    """For the start of the server, which `ENDING_SIGNALS` end at once. Without a handler the first process of a
    container would ignore them."""
    for number in IGNORED_SIGNALS:
        _signal.signal(number, _signal.SIG_IGN)
    for number in ENDING_SIGNALS:
        _signal.signal(number, _end_start)


def _end_start(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(ENDED_BY_SIGNAL + number)


def _is_command() -> bool:
    """Whether this process runs the script `fastlog`, or `python -m fastlog`."""
    script: str = (getattr(sys, "argv", None) or [""])[0]
    if script != "-m":  # the name for as long as Python looks for the module
        return os.path.basename(script) == "fastlog"
    word = sys.orig_argv[-len(sys.argv)]  # the last one before the arguments: `fastlog`, `-mfastlog` or `-Imfastlog`
    module = word.partition("m")[2] if word.startswith("-") else word
    return module.partition(".")[0] == "fastlog"
