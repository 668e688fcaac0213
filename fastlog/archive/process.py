"""The process that compresses one archive: `python -m fastlog.archive.process SOURCE TARGET PARENT`.

Its arguments are two descriptors, TARGET's open for reading as well, and the pid of its parent. It takes what the
machine has left over: processor, disk and memory, where the system lets it say so. It reads SOURCE, writes TARGET, and
knows no names; those are the server's. It exits with 0 when TARGET is durable and has all that SOURCE has. Otherwise it
prints one line that says why, and exits with 1. It ends with its parent.
"""

import _signal  # type: ignore[import-not-found]  # `signal` without the enumerations, which take memory
import contextlib
import errno
import os
import sys

from fastlog.archive._background import end_with_parent, use_idle_disk
from fastlog.archive.writer import compress

LOWEST_PRIORITY = 19  # a nice value: the processor goes to all others first
OOM_SCORE_ADJ = 500  # of at most 1,000: without memory this process ends before the server, and is started again later
ATTRIBUTES = "user.fastlog"  # what the names of extended attributes begin with that go along
# Signals that a terminal sends to all of its programs: the server decides what becomes of this process.
IGNORED = (_signal.SIGINT, _signal.SIGQUIT, _signal.SIGHUP)


class ParentEndedError(Exception):
    """Nobody waits for what this process does."""


def main(arguments: list[str]) -> int:
    source, target, parent = map(int, arguments)
    try:
        stay_in_background(parent)
        # While both have a name, the original is in force, after a power cut as well. So all of it is durable before.
        os.fsync(source)
        compress(source, target)
        carry_over(source, target)
        os.fsync(target)
    except Exception as error:  # the server prints the line, and tries again
        reason = error.strerror if isinstance(error, OSError) else str(error)
        print(reason or f"{type(error).__name__} {error}", file=sys.stderr)
        return 1
    return 0


def stay_in_background(parent: int) -> None:
    """Raises ParentEndedError, and OSError."""
    for number in range(1, _signal.NSIG):  # the server ignores many, and what is ignored stays so in its children
        with contextlib.suppress(OSError, ValueError):
            _signal.signal(number, _signal.SIG_IGN if number in IGNORED else _signal.SIG_DFL)
    _signal.signal(_signal.SIGXFSZ, _signal.SIG_IGN)  # a file that grows too large is an error of `write`
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
    end_with_parent(_signal.SIGKILL)
    if os.getppid() != parent:
        raise ParentEndedError("the server has ended")
    with contextlib.suppress(OSError):  # a sandbox may forbid it, like the next two
        os.setpriority(os.PRIO_PROCESS, 0, LOWEST_PRIORITY)
    with contextlib.suppress(OSError):
        use_idle_disk()
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write(str(OOM_SCORE_ADJ))


def carry_over(source: int, target: int) -> None:
    """What the archive has besides its text: mode, owner, time, and the attributes of fastlog. Raises OSError if the
    mode, the time or an attribute cannot be set."""
    status = os.fstat(source)
    for owner in (-1, status.st_uid):  # the group alone may be allowed
        with contextlib.suppress(PermissionError):
            os.fchown(target, owner, status.st_gid)
    os.fchmod(target, status.st_mode & 0o777)
    for name in attributes_of(source):
        if name.startswith(ATTRIBUTES):
            os.setxattr(target, name, os.getxattr(source, name))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def attributes_of(fd: int) -> list[str]:
    try:
        return os.listxattr(fd)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return []
        raise


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
