"""What a process beside the server does first: it ends with the server, and lets everything else go before itself."""

import _signal  # type: ignore[import-not-found]  # `signal` without the enumerations, which take memory
import contextlib
import os

from fastlog.archive._background import end_with_parent

OOM_SCORE_ADJ = 500  # of at most 1,000: without memory such a process ends before the server, and is started again
# Signals that a terminal sends to all of its programs: the server decides what becomes of this process.
IGNORED = (_signal.SIGINT, _signal.SIGQUIT, _signal.SIGHUP)


class ParentEndedError(Exception):
    """Nobody waits for what this process does."""


def stay_in_background(parent: int, nice: int) -> None:
    """`parent`: the pid of the process that has started this one. Raises ParentEndedError, and OSError."""
    for number in range(1, _signal.NSIG):  # the server ignores many, and what is ignored stays so in its children
        with contextlib.suppress(OSError, ValueError):
            _signal.signal(number, _signal.SIG_IGN if number in IGNORED else _signal.SIG_DFL)
    _signal.signal(_signal.SIGXFSZ, _signal.SIG_IGN)  # a file that grows too large is an error of `write`
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
    end_with_parent(_signal.SIGKILL)
    if os.getppid() != parent:
        raise ParentEndedError("the server has ended")
    with contextlib.suppress(OSError):  # a container, or a unit of systemd, may forbid this and the next one
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write(str(OOM_SCORE_ADJ))
