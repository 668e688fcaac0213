"""The process that runs ALERT_COMMAND once, within limits: `python -I -S alert_process.py SECONDS COMMAND…`.

It is a process of its own, so that neither a command that hangs nor one that starts others reaches the server: the time
that the system takes to start a program is this process's, and so are all children. It gives the command its standard
input. It exits with 0 if the command did; otherwise it prints one line that says why, and exits with 1.

It imports nothing of fastlog, so that no variable of the environment has to lead it there: the command gets them as the
server had them.
"""

import contextlib
import ctypes
import os
import resource
import select
import signal
import subprocess
import sys
from time import monotonic

OUTPUT_MAX_BYTES = 65_536  # of the command: an error takes less, and output without end is an error itself
READ_BYTES = 4096  # at once; the last line is looked for in the last two pieces
LINE_MAX = 300  # characters of the command's last line that are reported
KILL_SEC = 3.0  # until what was killed has ended: far more than it takes, unless the disk does not answer
KILL_LOOK_SEC = 0.01  # between two rounds of killing
TASKS_MAX = 1000  # that this user may have more than now: an alert needs few, and a fork bomb is held up by it
NICE = 5  # the server goes first where both want the processor
OOM_SCORE_ADJ = 500  # of at most 1,000: without memory this process ends before the server
TOO_LATE = "did not end within"
PR_SET_CHILD_SUBREAPER = 36  # prctl(2): orphans below this process become its children


def main(arguments: list[str]) -> int:
    until = monotonic() + float(arguments[0])
    command = arguments[1:]
    prepare()
    try:
        process = subprocess.Popen(  # noqa: S603 - the setting says what it is, and no shell reads it
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, process_group=0
        )
    except OSError as error:
        print(f"cannot start {command[0]}: {error.strerror}")
        return 1
    output, failure = watch(process, until)
    if failure == TOO_LATE:
        failure += f" {arguments[0]} s"
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    if failure is None and process.wait():
        failure = ": ".join(filter(None, (how_ended(process.returncode), last_line(output))))
    kill_children()
    if failure:
        print(failure)
    return 1 if failure else 0


def prepare() -> None:
    """What the system does not allow is left out: a container or a unit of systemd may forbid any of it."""
    for number in set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}:  # the server ignores many
        with contextlib.suppress(OSError):
            signal.signal(number, signal.SIG_DFL)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with contextlib.suppress(OSError):
        os.nice(NICE)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write(str(OOM_SCORE_ADJ))
    with contextlib.suppress(OSError, ValueError):
        soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
        limit = tasks_of_user() + TASKS_MAX
        if soft == resource.RLIM_INFINITY or limit < soft:
            resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit if hard == resource.RLIM_INFINITY else hard))


def tasks_of_user() -> int:
    """Processes and threads of this user that can be seen here. Raises OSError."""
    uid, count = os.getuid(), 0
    for entry in os.scandir("/proc"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if entry.name.isdigit() and entry.stat().st_uid == uid:
                count += len(os.listdir(f"/proc/{entry.name}/task"))
    return count


def watch(process: "subprocess.Popen[bytes]", until: float) -> tuple[bytes, str | None]:
    """Waits for the end of the command, though not of what it has left running, and does not reap it. Returns the end
    of its output, and why it has to be ended."""
    output, size = b"", 0
    out, end = process.stdout.fileno() if process.stdout else -1, os.pidfd_open(process.pid)
    ready = select.poll()
    ready.register(out, select.POLLIN)
    ready.register(end, select.POLLIN)
    while (left_sec := until - monotonic()) > 0:
        fds = [fd for fd, _ in ready.poll(left_sec * 1000)]
        if out in fds:
            piece = os.read(out, READ_BYTES)
            size += len(piece)
            output = (output + piece)[-2 * READ_BYTES :]
            if size > OUTPUT_MAX_BYTES:
                return output, f"printed more than {OUTPUT_MAX_BYTES} bytes"
            if not piece:  # the command has closed it
                ready.unregister(out)
        elif end in fds:  # and everything that it has printed was read
            return output, None
    return output, TOO_LATE


def kill_children() -> None:
    """Kills what the command has left running, as far as this process can find it, and waits for its end."""
    until = monotonic() + KILL_SEC
    with contextlib.suppress(OSError):  # there are no more children; or /proc does not name them
        while monotonic() < until:
            with open(f"/proc/self/task/{os.getpid()}/children") as file:
                for pid in file.read().split():
                    with contextlib.suppress(PermissionError, ProcessLookupError):  # a program of another user
                        os.kill(int(pid), signal.SIGKILL)
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
            select.select([], [], [], KILL_LOOK_SEC)


def how_ended(code: int) -> str:
    return f"exit code {code}" if code > 0 else f"ended by {signal.Signals(-code).name}"


def last_line(output: bytes) -> str:
    """As `side_process.last_line_of`, which cannot be imported here."""
    line = output.decode("utf-8", "replace").strip().rpartition("\n")[2]
    return "".join(filter(str.isprintable, line))[-LINE_MAX:]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
