"""The process that compresses an archive: what it leaves, how it fails, how little it takes, and when it ends."""

import ctypes
import errno
import fcntl
import os
import platform
import random
import signal
import struct
import subprocess
import sys
import termios
from itertools import chain
from pathlib import Path

import pytest

from fastlog.archive.background import OOM_SCORE_ADJ
from fastlog.archive.process import LOWEST_PRIORITY
from tests.helpers.archives import unpacked
from tests.helpers.running import BASE_ENVIRONMENT, PATIENCE_SEC, run_python, until

COMMAND = [sys.executable, "-m", "fastlog.archive.process"]
MEMORY_MAX_KB = 32 << 10
NUMBERS = {  # of calls of the system, by machine
    "setpriority": {"x86_64": 141, "aarch64": 140},
    "ioprio_set": {"x86_64": 251, "aarch64": 30},
    "fchown": {"x86_64": 93, "aarch64": 55},
}


@pytest.fixture
def files(tmp_path):
    """Opens an archive of the log with this text, and the file that it is to be compressed into."""
    opened = []

    def make(text: bytes) -> tuple[int, int]:
        path = tmp_path / "server.log.1"
        path.write_bytes(text)
        opened.append(os.open(path, os.O_RDWR))
        opened.append(os.open(f"{path}.zst.new", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600))
        return opened[-2], opened[-1]

    yield make
    for fd in opened:
        os.close(fd)


def start(source: int, target: int, parent: int | None = None, before=None) -> subprocess.Popen:
    """before: is called in the new process."""
    return subprocess.Popen(
        [*COMMAND, str(source), str(target), str(parent or os.getpid())],
        pass_fds=(source, target),
        env=BASE_ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=before,  # noqa: PLW1509  # the tests have no threads
    )


def run(source: int, target: int, parent: int | None = None) -> tuple[int, str]:
    """The exit code, and what it printed."""
    process = start(source, target, parent)
    printed, errors = process.communicate(timeout=PATIENCE_SEC)
    return process.returncode, (printed + errors).decode()


@pytest.fixture
def stuck(files):
    """Starts a process that waits until somebody reads what it has written."""
    started = []

    def make(before=None) -> subprocess.Popen:
        source, _ = files(random.Random(1).randbytes(1 << 20))
        read_end, write_end = os.pipe()
        started.append((start(source, write_end, before=before), read_end, write_end))
        until(lambda: has_bytes(read_end), "that it writes")
        return started[-1][0]

    yield make
    for process, *ends in started:
        process.kill()
        process.communicate()
        for end in ends:
            os.close(end)


def has_bytes(pipe: int) -> bool:
    return any(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))


def status_of(pid: int) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())


def signals_in(text: str) -> set[int]:
    return {number for number in range(1, 65) if int(text, 16) >> (number - 1) & 1}


def test_the_archive_has_the_text_mode_time_and_identity(files):
    text = b'{"level":"INFO","message":"m"}\n' * 1000
    source, target = files(text)
    os.fchmod(source, 0o640)
    os.setxattr(source, "user.fastlog", b"0123456789ab:7")
    os.setxattr(source, "user.fastlog.durable", b"100")
    os.setxattr(source, "user.other", b"x")
    os.utime(source, ns=(1, 1_700_000_000_123_456_789))
    assert run(source, target) == (0, "")
    assert unpacked(target) == text
    status = os.fstat(target)
    assert (status.st_mode & 0o7777, status.st_mtime_ns) == (0o640, 1_700_000_000_123_456_789)
    assert {name: os.getxattr(target, name) for name in os.listxattr(target)} == {
        "user.fastlog": b"0123456789ab:7",
        "user.fastlog.durable": b"100",
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_archive_has_the_owner_and_the_group(files):
    source, target = files(b"x\n")
    os.fchown(source, 1234, 5678)
    assert run(source, target) == (0, "")
    assert (os.fstat(target).st_uid, os.fstat(target).st_gid) == (1234, 5678)


def test_a_failure_is_one_line(files):
    source, _ = files(b"x\n" * 1000)
    full = os.open("/dev/full", os.O_RDWR)
    try:
        assert run(source, full) == (1, "No space left on device\n")
    finally:
        os.close(full)


def test_a_target_that_cannot_be_read_back_is_a_failure(files):
    source, target = files(b"x\n" * 1000)
    write_only = os.open(f"/proc/self/fd/{target}", os.O_WRONLY)
    try:
        assert run(source, write_only) == (1, "Bad file descriptor\n")
    finally:
        os.close(write_only)


def compress_after(program: str, source: int, target: int) -> subprocess.CompletedProcess:
    """`program` becomes the process: its arguments are the command."""
    return subprocess.run(
        [sys.executable, "-c", program, *COMMAND, str(source), str(target), str(os.getpid())],
        pass_fds=(source, target),
        env=BASE_ENVIRONMENT,
        capture_output=True,
        timeout=PATIENCE_SEC,
        check=False,
    )


def test_a_file_that_may_grow_no_larger_is_a_failure_and_no_death(files):
    source, target = files(random.Random(1).randbytes(1 << 20))
    limits = "import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); os.execv(sys.argv[1], sys.argv[1:])"
    done = compress_after(limits, source, target)
    assert (done.returncode, done.stderr) == (1, b"File too large\n")


# seccomp: setpriority and ioprio_set fail with EPERM, as under SystemCallFilter=~@resources
NO_PRIORITIES = """
import ctypes, os, platform, struct, sys
calls = {"x86_64": (141, 251), "aarch64": (140, 30)}[platform.machine()]
steps = [(0x20, 0, 0, 0), (0x15, 1, 0, calls[0]), (0x15, 0, 1, calls[1]), (0x06, 0, 0, 0x00050000 | 1),
         (0x06, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
rules = ctypes.create_string_buffer(struct.pack("HP", len(steps), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(rules), 0, 0) == 0, ctypes.get_errno()
try: os.setpriority(os.PRIO_PROCESS, 0, 1)
except PermissionError: os.execv(sys.argv[1], sys.argv[1:])
"""


def test_it_works_where_priorities_may_not_be_changed(files):
    source, target = files(b"x\n" * 1000)
    done = compress_after(NO_PRIORITIES, source, target)
    assert (done.returncode, done.stderr) == (0, b"")
    assert unpacked(target) == b"x\n" * 1000


def test_it_takes_what_others_leave(stuck):
    process = stuck()
    stat = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    assert int(stat[16]) == LOWEST_PRIORITY
    assert int(Path(f"/proc/{process.pid}/oom_score_adj").read_text()) == OOM_SCORE_ADJ
    shown = subprocess.run(["ionice", "-p", str(process.pid)], capture_output=True, text=True, check=True).stdout
    assert shown.startswith("idle")


def forbid(*calls: str) -> None:
    """These calls of the system fail with EPERM from now on, in this process and in those that it starts."""
    numbers = [NUMBERS[call][platform.machine()] for call in calls]
    tests = [(0x15, 0, 1, number) for number in numbers]  # each is followed by what becomes of the call
    steps = [(0x20, 0, 0, 0), *chain(*zip(tests, [(0x06, 0, 0, 0x00050000 | errno.EPERM)] * len(tests), strict=True))]
    steps.append((0x06, 0, 0, 0x7FFF0000))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    rules = ctypes.create_string_buffer(struct.pack("HP", len(steps), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    assert libc.prctl(22, 2, ctypes.byref(rules), 0, 0) == 0, ctypes.get_errno()  # PR_SET_SECCOMP


def test_it_compresses_where_a_sandbox_forbids_priorities_and_owners(files):
    text = b"x\n" * 1000
    source, target = files(text)
    process = start(source, target, before=lambda: forbid("setpriority", "ioprio_set", "fchown"))
    assert process.communicate(timeout=PATIENCE_SEC) == (b"", b"")
    assert process.returncode == 0
    assert unpacked(target) == text


def test_signals_of_a_terminal_do_not_end_it_and_what_the_server_ignores_does(stuck):
    def as_in_a_server():
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGALRM})

    process = stuck(as_in_a_server)
    status = status_of(process.pid)
    ignored = signals_in(status["SigIgn"]) & signal.valid_signals()  # the C library has some of its own
    assert ignored - {signal.SIGXFSZ, signal.SIGPIPE} == {
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGHUP,
    }
    assert signals_in(status["SigBlk"]) == set()
    process.terminate()
    assert process.wait(PATIENCE_SEC) == -signal.SIGTERM


def test_it_ends_with_its_parent(tmp_path):
    (tmp_path / "server.log.1").write_bytes(random.Random(1).randbytes(1 << 20))
    program = """
import os, subprocess, sys, time
source, target = os.open("server.log.1", os.O_RDONLY), int(sys.argv[1])
child = subprocess.Popen([*sys.argv[2:], str(source), str(target), str(os.getpid())], pass_fds=(source, target))
print(child.pid, flush=True)
time.sleep(1000)
"""
    read_end, write_end = os.pipe()
    command = [sys.executable, "-c", program, str(write_end), *COMMAND]
    parent = subprocess.Popen(command, pass_fds=[write_end], cwd=tmp_path, env=BASE_ENVIRONMENT, stdout=subprocess.PIPE)
    os.close(write_end)
    try:
        pid = int(parent.stdout.readline())
        until(lambda: has_bytes(read_end), "that it writes")
        assert not has_ended(pid)
        parent.kill()
        until(lambda: has_ended(pid), "its end")
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()  # not read to its end: the other process may have it still
        os.close(read_end)


def has_ended(pid: int) -> bool:
    """Perhaps nobody has waited for it yet."""
    try:
        return status_of(pid)["State"].startswith("Z")
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_it_ends_at_once_if_its_parent_was_gone_before(files):
    assert run(*files(b"x\n"), parent=os.getpid() + 1) == (1, "the server has ended\n")


def zeros(file) -> None:
    file.truncate(64 << 20)


def many_names_and_rare_levels(file) -> None:
    rng = random.Random(1)
    for number in range(64_000):
        level = (
            ("ERROR", "WARNING", "CRITICAL")[number % 3] if number % 40 < 3 and number % 3 == number % 40 else "INFO"
        )
        host = f"pod-{number % 4000}-{number % 4000 * 2654435761 % 65536:x}"
        message = f"request {rng.random()} of {rng.random()} took {rng.random()} ms" * 2
        file.write(
            b'{"level":"%b","app":"%d","host":"%b","message":"%b"}\n'
            % (level.encode(), number % 1000, host.encode(), message.encode())
        )


def a_million_lines(file) -> None:
    file.write(b'{"level":"INFO","message":""}\n' * 1_000_000)


@pytest.mark.parametrize("fill", [zeros, many_names_and_rare_levels, a_million_lines])
def test_it_takes_little_memory(tmp_path, fill):
    with open(tmp_path / "server.log.1", "wb") as file:
        fill(file)
    program = """
import os
from fastlog.archive import process
source, target = os.open("server.log.1", os.O_RDONLY), os.open("server.log.1.zst", os.O_RDWR | os.O_CREAT)
assert process.main([str(source), str(target), str(os.getppid())]) == 0
print(open("/proc/self/status").read())
"""
    status = dict(line.split(":\t", 1) for line in run_python(program, cwd=tmp_path).stdout.splitlines() if ":" in line)
    assert int(status["VmHWM"].removesuffix(" kB")) < MEMORY_MAX_KB
    assert unpacked(tmp_path / "server.log.1.zst") == (tmp_path / "server.log.1").read_bytes()
