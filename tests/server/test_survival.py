"""What must not end the server, nor hold it up: nobody who reads its messages, figures that cannot be had, errors of
its socket, signals at the wrong moment, a disk that does not answer, and a strange start."""

import errno
import fcntl
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.helpers.entries import ERROR_7, INFO, lines
from tests.helpers.running import BASE_ENVIRONMENT, FASTLOG, PATIENCE_SEC, TOKEN, Server, eventually, get, run_fastlog

ACK_7 = b'{"ack":true,"sequence":7}'
NEVER_FLUSHED = {"FLUSH_COUNT": "1000000", "FLUSH_TIMEOUT_SEC": "3600"}
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do this")


def acknowledged(server: Server, datagram: bytes = ERROR_7) -> bytes:
    with server.client() as client:
        client.send(datagram)
        return client.recv(100)


class Output:
    """What a server has as its standard error: the test reads it or does not. It is a pipe, a socket or a terminal."""

    def __init__(self, kind: str) -> None:
        if kind == "pipe":
            self.read, self.write = os.pipe()
        elif kind == "socket":
            self.read, self.write = (end.detach() for end in socket.socketpair())
        else:
            self.read, self.write = pty.openpty()
        self.kind = kind

    def stop(self) -> None:
        """From now on nothing more can be printed."""
        if self.kind == "terminal stopped by Ctrl-S":
            os.write(self.read, b"\x13")
            has_room = select.poll()
            has_room.register(self.write, select.POLLOUT)
            while has_room.poll(0):
                os.sched_yield()
            return
        with suppress(BlockingIOError):
            while self._put(b"x" * 1000) or self._put(b"x"):
                pass

    def _put(self, data: bytes) -> int:
        if self.kind == "socket":
            with socket.socket(fileno=os.dup(self.write)) as sock:
                return sock.send(data, socket.MSG_DONTWAIT)
        fd = os.open(f"/proc/self/fd/{self.write}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            return os.write(fd, data)
        finally:
            os.close(fd)

    def go_on(self) -> None:
        """From now on it can be printed again."""
        if self.kind == "terminal stopped by Ctrl-S":
            os.write(self.read, b"\x11")
        fcntl.fcntl(self.read, fcntl.F_SETFL, os.O_NONBLOCK)
        with suppress(BlockingIOError):
            while os.read(self.read, 65536):
                pass
        fcntl.fcntl(self.read, fcntl.F_SETFL, 0)

    def until(self, text: bytes) -> bytes:
        got = b""
        while text not in got or not got.endswith(b"\n"):
            assert select.select([self.read], [], [], PATIENCE_SEC)[0], got
            got += os.read(self.read, 65536)
        return got.replace(b"\r\n", b"\n")

    def close(self) -> None:
        os.close(self.read)
        os.close(self.write)


class Unread(Server):
    """A server whose standard error is an Output."""

    def __init__(self, directory: Path, output: Output) -> None:
        self._output = output
        super().__init__(directory, command=[sys.executable, "-c", OUTPUT, str(output.write)], pass_fds=[output.write])

    def wait_for_message(self, text: str) -> str:
        return next(line for line in self._output.until(text.encode()).decode().splitlines() if text in line)


OUTPUT = """
import os, sys
os.dup2(int(sys.argv[1]), 2)
os.close(int(sys.argv[1]))
os.execv(sys.executable, [sys.executable, "-m", "fastlog", "serve"])
"""


@pytest.mark.parametrize("kind", ["pipe", "socket", "terminal that nobody reads", "terminal stopped by Ctrl-S"])
def test_messages_that_nobody_reads_hold_up_nothing_and_are_counted(tmp_path, closing, kind):
    output = closing(Output(kind))
    server = closing(Unread(tmp_path, output))

    def not_printed() -> int:
        output.stop()  # again, since the kernel empties a part of a terminal's buffer a little later
        server.signal(signal.SIGHUP)  # which it answers with a message
        return server.stats()["process"]["messages_not_printed"]

    eventually(not_printed, bool)
    assert acknowledged(server) == ACK_7
    output.go_on()
    server.signal(signal.SIGHUP)
    printed = output.until(b"log file reopened").decode()
    assert re.search(
        r"^fastlog: messages that could not be printed: \d+\nfastlog: SIGHUP: log file", printed, re.MULTILINE
    )
    server.signal(signal.SIGTERM)
    assert server.process.wait(PATIENCE_SEC) == 0


def test_the_end_is_reached_though_nobody_reads_the_messages(tmp_path, closing):
    output = closing(Output("pipe"))
    server = closing(Unread(tmp_path, output))
    output.stop()
    server.signal(signal.SIGTERM)
    assert server.process.wait(PATIENCE_SEC) == 0


def test_a_message_longer_than_a_pipe_takes_at_once_is_cut(tmp_path):
    name = "é" * 99
    done = run_fastlog("serve", "--log-dir", "/".join([name] * 30), "--port", "0", cwd=tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.encode()) <= 4096
    assert done.stderr.startswith(f"fastlog: cannot make the directory {tmp_path}/{name}")
    assert done.stderr.endswith("\n")


def test_what_python_prints_of_a_thread_that_failed_is_a_message(start_changed):
    fail = "import threading\nfrom fastlog.server.server import Server\nServer._on_reopen = lambda *_: threading.Thread(target=lambda: 1 / 0).start()"
    server = start_changed(fail)
    server.signal(signal.SIGHUP)
    server.wait_for_message("ZeroDivisionError")
    assert all(message.startswith("fastlog: ") for message in server.messages)


# Whatever is raised


def test_figures_that_cannot_be_had_end_nothing(start_changed):
    fail = "from fastlog.server.snapshot import Reporter\nfrom fastlog.server import server\n"
    fail += "def fail(*_): raise RuntimeError('no figures')\n"
    fail += "server.Server._make_dashboard = (lambda make: lambda self: (make(self), setattr(Reporter, 'tick', fail))[0])(server.Server._make_dashboard)"
    server = start_changed(fail)
    answer = eventually(lambda: get(server.dashboard_port, "/health"), lambda answer: "no figures" in answer.text)
    assert answer.status == 503
    assert "the figures cannot be had: RuntimeError" in answer.text
    assert get(server.dashboard_port, "/stats").status == 503
    assert acknowledged(server) == ACK_7
    assert server.stop() == 0
    assert sum("no figures" in message for message in server.messages) == 1


def test_a_status_that_cannot_be_had_ends_nothing(start_changed, tmp_path, closing):
    fail = "from fastlog.server.snapshot import Reporter\ndef fail(*_): raise RuntimeError('no figures')\nReporter.status_line = fail"
    manager = closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    manager.bind(str(tmp_path / "notify"))
    manager.settimeout(PATIENCE_SEC)
    server = start_changed(fail, NOTIFY_SOCKET=str(tmp_path / "notify"))
    assert manager.recv(1000).startswith(b"READY=1\nSTATUS=the figures cannot be had: ")
    assert acknowledged(server) == ACK_7
    assert server.stop() == 0


def test_an_error_of_the_program_ends_the_server_with_everything_stored_and_the_account(start_changed):
    fail = "from fastlog.server.server import Server\ndef fail(*_): raise RuntimeError('unforeseen')\nServer._on_reopen = fail"
    server = start_changed(fail, **NEVER_FLUSHED)
    server.send([INFO] * 10)
    eventually(server.stats, lambda stats: stats["buffered"] == 10)
    with server.client() as client:
        with server.stopped():
            server.signal(signal.SIGHUP)
            client.send(INFO)
            client.send(ERROR_7)
        assert client.recv(100) == ACK_7
    assert server.wait() == 1
    assert server.log() == lines([*[INFO] * 11, ERROR_7])
    assert "stopped: received 12 entries in 12 datagrams, stored 12," in server.account
    assert "fastlog: an error of the program ends the server: RuntimeError('unforeseen')" in server.messages
    assert any("Traceback" in message for message in server.messages)


def test_an_error_that_cannot_be_printed_skips_no_step_of_the_end(start_changed):
    fail = (
        "from fastlog.server.server import Server\nclass Unprintable(Exception):\n    def __repr__(self): raise self\n"
    )
    fail += "def fail(*_): raise Unprintable\nServer._on_reopen = fail"
    server = start_changed(fail, **NEVER_FLUSHED)
    server.send([INFO] * 10)
    eventually(server.stats, lambda stats: stats["buffered"] == 10)
    server.signal(signal.SIGHUP)
    assert server.wait() == 1
    assert server.log() == lines([INFO] * 10)
    assert "stopped: received 10 entries in 10 datagrams, stored 10," in server.account


def test_what_is_buffered_is_stored_even_if_receiving_fails_for_good(start_changed):
    fail = "import os\nfrom fastlog.server.pipeline import Pipeline\nturn = Pipeline.turn\n"
    fail += "def fail(self, *rest):\n    if os.path.exists('broken'): raise RuntimeError('unforeseen')\n    turn(self, *rest)\n"
    fail += "Pipeline.turn = fail"
    server = start_changed(fail, **NEVER_FLUSHED)
    server.send([INFO] * 10)
    eventually(server.stats, lambda stats: stats["buffered"] == 10)
    (server.directory / "broken").touch()
    server.send([INFO])
    assert server.wait() == 1
    assert server.log() == lines([INFO] * 10)
    assert "stored 10, duplicates 0, lost to the disk 0" in server.account


# The working directory


def test_a_server_whose_working_directory_is_removed_goes_on(tmp_path, closing):
    release = tmp_path / "release"
    release.mkdir()
    server = closing(Server(release, LOG_DIR="../logs", MAX_LOG_SIZE_MB="0.001", **NEVER_FLUSHED))
    release.rmdir()
    server.send([INFO] * 100)
    assert acknowledged(server) == ACK_7
    assert server.stats()["disk"]["log_file"] == str(tmp_path / "logs" / "server.log")
    assert get(server.dashboard_port, "/health").status == 200
    server.signal(signal.SIGHUP)
    assert server.wait_for_message("reopened") == f"fastlog: SIGHUP: log file reopened: {tmp_path}/logs/server.log"
    assert server.stop() == 0
    assert "stored 101," in server.account
    assert len(list((tmp_path / "logs").glob("server.log*"))) > 3  # rotations went on, too


def test_a_working_directory_that_is_gone_at_the_start_is_reported(tmp_path):
    command = 'mkdir gone && cd gone && rmdir ../gone && exec "$@"'
    done = subprocess.run(
        ["sh", "-c", command, "sh", *FASTLOG, "serve", "--log-dir", "logs", "--port", "0"],
        capture_output=True, text=True, cwd=tmp_path, env=BASE_ENVIRONMENT, timeout=PATIENCE_SEC, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == (
        "fastlog: the working directory was removed, and LOG_DIR=logs is relative to it; start fastlog in another "
        "directory, or set LOG_DIR to an absolute path\n"
    )


# Errors of the socket

IP_RECVERR = 11
SO_TIMESTAMPING = 37
TIMESTAMPING_SEND = 0x2 | 0x10  # of what is sent, by software (linux/net_tstamp.h)

HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.executable, [sys.executable, "-m", "fastlog", "serve"])
"""


@pytest.fixture
def udp_socket(closing):
    sock = closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.bind(("127.0.0.1", 0))
    return sock


@pytest.fixture
def take_over(tmp_path, closing):
    def start(sock: socket.socket, **settings: str) -> Server:
        launch = [sys.executable, "-c", HAND_OVER, str(sock.fileno())]
        return closing(Server(tmp_path, command=launch, pass_fds=[sock.fileno()], **settings))

    return start


def leave_before_the_ack(server: Server) -> None:
    """A client that is gone when its ACK comes: the kernel answers the ACK with an error."""
    with server.stopped(), server.client() as client:
        client.send(ERROR_7)
    eventually(server.stats, lambda stats: stats["acks"]["sent"] + stats["acks"]["dropped"] > 0)


def test_a_socket_taken_over_reports_no_errors_of_clients_that_are_gone(udp_socket, take_over):
    udp_socket.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    udp_socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, TIMESTAMPING_SEND)
    server = take_over(udp_socket)
    assert udp_socket.getsockopt(socket.IPPROTO_IP, IP_RECVERR) == 0
    leave_before_the_ack(server)
    assert acknowledged(server) == ACK_7
    errors = select.poll()
    errors.register(udp_socket, 0)
    assert errors.poll(0) == []
    assert server.stats()["receive_errors"] == 0
    assert server.stop() == 0


def test_an_error_of_the_socket_is_counted_and_survived(udp_socket, take_over):
    """Another program that has the socket turns the reports on again. Their queue must be emptied, or poll would
    return at once for ever."""
    server = take_over(udp_socket)
    udp_socket.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    leave_before_the_ack(server)
    stats = eventually(server.stats, lambda stats: stats["receive_errors"])
    assert stats["receive_errors"] == 1
    assert server.wait_for_message("cannot receive") == (
        f"fastlog: cannot receive from 127.0.0.1:{server.port}/udp: Connection refused; still trying (1 errors so far)"
    )
    errors = select.poll()
    errors.register(udp_socket, 0)
    assert errors.poll(0) == []
    assert acknowledged(server) == ACK_7
    assert server.stop() == 0


BROKEN_SOCKET = """
import errno, os
from fastlog.server import pipeline
Intake = pipeline.Intake

class Failing:
    def __init__(self, *rest):
        self._intake = Intake(*rest)

    def __getattr__(self, name):
        return getattr(self._intake, name)

    def drain(self, *rest):
        if os.path.exists("broken"):
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        return self._intake.drain(*rest)

pipeline.Intake = Failing
"""


def test_errors_that_go_on_are_tried_again_at_intervals_and_said_once(start_changed):
    server = start_changed(BROKEN_SOCKET)
    (server.directory / "broken").touch()
    with server.client() as client:
        client.send(ERROR_7)
        before = eventually(server.stats, lambda stats: stats["receive_errors"])
        after = eventually(server.stats, lambda stats: stats["receive_errors"] > 6)
        elapsed = after["elapsed_seconds"] - before["elapsed_seconds"]
        assert after["receive_errors"] - before["receive_errors"] <= 2 * (elapsed / 0.1 + 1)
        (server.directory / "broken").unlink()
        assert client.recv(100) == ACK_7
    assert server.stop() == 0
    assert sum("cannot receive" in message for message in server.messages) == 1


def test_a_socket_that_is_connected_is_refused(udp_socket, tmp_path):
    udp_socket.connect(("127.0.0.1", 9))
    done = subprocess.run(
        [sys.executable, "-c", HAND_OVER, str(udp_socket.fileno())],
        capture_output=True, text=True, cwd=tmp_path, env={**BASE_ENVIRONMENT, "DASHBOARD_PORT": "off"},
        pass_fds=[udp_socket.fileno()], timeout=PATIENCE_SEC, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == (
        "fastlog: the socket handed over (LISTEN_FDS) is connected to 127.0.0.1:9, and takes datagrams from nobody "
        "else; use ListenDatagram=PORT in the socket unit\n"
    )


# Signals during the start

SIGNAL_EARLY = """
import os, sys

class Signal:
    def find_spec(self, name, *rest):
        if name.startswith("fastlog.") and name != "fastlog.early":
            os.kill(os.getpid(), int(os.environ["EARLY_SIGNAL"]))

sys.meta_path.insert(0, Signal())
"""
FASTLOG_SCRIPT = [str(Path(sys.executable).with_name("fastlog"))]


def early(tmp_path: Path, number: signal.Signals) -> dict[str, str]:
    """The environment in which Python sends itself a signal before it imports anything of fastlog."""
    (tmp_path / "early").mkdir()
    (tmp_path / "early" / "sitecustomize.py").write_text(SIGNAL_EARLY)
    return {"PYTHONPATH": str(tmp_path / "early"), "EARLY_SIGNAL": str(int(number))}


@pytest.mark.parametrize("command", [FASTLOG, FASTLOG_SCRIPT], ids=["module", "script"])
def test_sighup_at_the_first_moment_of_the_start_is_harmless(tmp_path, closing, command):
    server = closing(Server(tmp_path, command=[*command, "serve"], **early(tmp_path, signal.SIGHUP)))
    assert acknowledged(server) == ACK_7
    assert server.stop() == 0


@pytest.mark.parametrize("command", [FASTLOG, FASTLOG_SCRIPT], ids=["module", "script"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGQUIT, 131)])
def test_a_signal_during_the_start_ends_it_at_once(tmp_path, command, number, code):
    done = subprocess.run(
        [*command, "serve"], capture_output=True, text=True, cwd=tmp_path, timeout=PATIENCE_SEC, check=False,
        env={**BASE_ENVIRONMENT, **early(tmp_path, number)},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGXCPU, signal.SIGPWR])
def test_a_signal_that_ends_the_server_leaves_an_account(start, number):
    server = start(**NEVER_FLUSHED)
    server.send([INFO] * 10)
    server.signal(number)
    assert server.wait() == 0
    assert server.log() == lines([INFO] * 10)
    assert "stopped: received 10 entries in 10 datagrams, stored 10," in server.account


FAULTS = {signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV, signal.SIGSYS}
STOPS = {signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN}
ENDS = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGXCPU, signal.SIGPWR}


@pytest.mark.parametrize(
    "command",
    [FASTLOG, FASTLOG_SCRIPT, [sys.executable, "-I", "-m", "fastlog"], [sys.executable, "-Im", "fastlog"],
     [sys.executable, "-mfastlog"]],
    ids=["module", "script", "-I -m", "-Im", "-mNAME"],
)  # fmt: skip
def test_every_other_signal_is_harmless(tmp_path, closing, command):
    server = closing(Server(tmp_path, command=[*command, "serve"]))
    for number in range(1, signal.NSIG):
        if number not in FAULTS | STOPS | ENDS and number not in (32, 33):  # the C library keeps these to itself
            server.signal(number)
    assert acknowledged(server) == ACK_7
    assert server.stop() == 0


def test_a_program_that_uses_the_package_keeps_its_signals(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import fastlog, signal\nprint(signal.getsignal(signal.SIGHUP), signal.getsignal(signal.SIGTERM))"
    )
    for command in ([str(program), "serve"], ["-m", "program", "serve"]):
        done = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, cwd=tmp_path, check=True, timeout=PATIENCE_SEC
        )
        assert done.stdout == "0 0\n"


DURING_THE_START = """
import os
from fastlog.server import server
Pipeline = server.Pipeline

def rotated(*rest):
    os.rename("server.log", "server.log-moved")
    os.kill(os.getpid(), {number})
    return Pipeline(*rest)

server.Pipeline = rotated
"""


def test_a_log_renamed_during_the_start_is_opened_anew(start_changed, tmp_path):
    server = start_changed(DURING_THE_START.format(number=int(signal.SIGHUP)))
    server.wait_for_message("log file reopened")
    assert acknowledged(server) == ACK_7
    assert server.stop() == 0
    assert server.log() == lines([ERROR_7])


def test_sigterm_after_the_log_was_opened_ends_the_start_too(tmp_path):
    change = DURING_THE_START.format(number=int(signal.SIGTERM))
    program = f"import sys\n{change}\nfrom fastlog.cli import main\nsys.exit(main(['serve', '--log-dir', '.', '--port', '0']))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, env=BASE_ENVIRONMENT,
        timeout=PATIENCE_SEC, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (143, "")


# A disk that does not answer

HANGING = """
import os
from fastlog.server import ending, snapshot, storage

class Hanging(storage.Aio):
    def submit(self, *rest):
        if not os.path.exists("hang"):
            super().submit(*rest)

storage.Aio = Hanging
snapshot.SYNC_ALARM_SEC = 0.5
ending.END_QUIET_SEC = 0.1
ending.END_SYNC_SEC = {end_sec}
"""


@pytest.fixture
def start_hanging(start_changed, tmp_path):
    """A server whose disk takes what is written, and ends no sync any more. It has received an ERROR."""

    def start(end_sec: float) -> Server:
        server = start_changed(HANGING.format(end_sec=end_sec), **NEVER_FLUSHED)
        (tmp_path / "hang").touch()
        with server.client() as client:
            client.send(ERROR_7)
            eventually(server.stats, lambda stats: stats["acks"]["pending"])
            client.send(INFO)
        return server

    return start


def test_a_sync_that_does_not_end_degrades_health(start_hanging):
    server = start_hanging(0.2)
    answer = eventually(lambda: get(server.dashboard_port, "/health"), lambda answer: answer.status == 503)
    assert re.search(r"the disk does not answer: a sync has been under way for \d+ s", answer.text)
    eventually(server.stats, lambda stats: stats["sync"]["under_way_ms"] > 500)
    metrics = get(server.dashboard_port, "/metrics").text
    assert float(re.search(r"^fastlog_sync_under_way_seconds (\S+)$", metrics, re.MULTILINE)[1]) > 0.5
    top = run_fastlog("top", "--once", "--url", f"http://127.0.0.1:{server.dashboard_port}", cwd=server.directory)
    assert "degraded: the disk does not answer" in top.stdout
    assert "under way" in top.stdout
    doctor = run_fastlog("doctor", "--url", f"http://127.0.0.1:{server.dashboard_port}", cwd=server.directory)
    assert "the disk does not answer" in doctor.stdout


def test_no_sync_under_way_has_no_age(start):
    server = start()
    assert acknowledged(server) == ACK_7
    assert server.stats()["sync"]["under_way_ms"] is None


def test_a_sync_that_does_not_end_swallows_neither_the_account_nor_the_end(start_hanging):
    server = start_hanging(0.2)
    assert server.stop() == 1
    assert server.log() == lines([ERROR_7, INFO])
    messages = server.messages[-3:]
    assert re.match(
        r"fastlog: stopping: received [12] entries in [12] datagrams, stored 1, .*; 1 acknowledgements wait for a "
        r"sync that has not ended: waiting for it up to 0.2 s, or until another signal comes",
        messages[0],
    )
    assert messages[1] == "fastlog: the disk does not answer: 1 acknowledgements were not sent"
    assert messages[2].startswith("fastlog: stopped: received 2 entries in 2 datagrams, stored 2, ")
    assert messages[2].endswith("acknowledged 0")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_another_signal_ends_the_wait_for_the_disk(start_hanging, number):
    server = start_hanging(3600.0)
    server.signal(signal.SIGTERM)
    server.wait_for_message("stopping: ")
    server.signal(number)
    assert server.wait() == 1
    assert server.account.endswith("acknowledged 0")


def test_a_file_system_that_hangs_when_it_is_asked_for_its_space_holds_up_nothing(start_changed, tmp_path):
    hang = "import os, threading\nfrom fastlog.server import snapshot\nstatvfs = os.statvfs\n"
    hang += "def hang(path):\n    if os.path.exists('hang'): threading.Event().wait()\n    return statvfs(path)\n"
    hang += "os.statvfs = hang\nsnapshot.SPACE_FRESH_SEC = 0.6"
    server = start_changed(hang)
    free = server.stats()["disk"]["free_bytes"]
    assert free > 0
    (tmp_path / "hang").touch()
    stats = eventually(server.stats, lambda stats: stats["disk"]["free_bytes"] is None)
    assert stats["disk"]["total_bytes"] is None
    assert acknowledged(server) == ACK_7
    assert get(server.dashboard_port, "/health").status == 200
    assert server.stop() == 0


# A strange start

CLOSED = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.closerange(0, 3)
os.execv(sys.executable, [sys.executable, "-m", "fastlog", "serve"])
"""


def test_a_server_without_standard_descriptors_prints_into_none_of_its_files(udp_socket, tmp_path):
    environment = {**BASE_ENVIRONMENT, "LOG_DIR": ".", "DASHBOARD_PORT": "off"}
    with subprocess.Popen(
        [sys.executable, "-c", CLOSED, str(udp_socket.fileno())],
        cwd=tmp_path, env=environment, pass_fds=[udp_socket.fileno()],
    ) as process:  # fmt: skip
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(PATIENCE_SEC)
            client.sendto(ERROR_7, udp_socket.getsockname())
            assert client.recv(100) == ACK_7
        opened = [os.readlink(f"/proc/{process.pid}/fd/{fd}") for fd in range(3)]
        process.terminate()
        assert process.wait(PATIENCE_SEC) == 0
    assert opened == ["/dev/null"] * 3
    assert (tmp_path / "server.log").read_bytes() == lines([ERROR_7])


@pytest.mark.parametrize(
    "words",
    [["serve", "--check"], ["help"], ["tail", "--log-dir", "."]],
)
def test_commands_without_standard_descriptors_end_as_usual(tmp_path, words):
    (tmp_path / "server.log").write_bytes(lines([INFO]))
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *FASTLOG, *words],
        cwd=tmp_path, env=BASE_ENVIRONMENT, timeout=PATIENCE_SEC, check=False,
    )  # fmt: skip
    assert done.returncode == 0


@only_root
def test_without_proc_the_server_works(tmp_path, closing):
    command = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh", *FASTLOG, "serve"]
    server = closing(Server(tmp_path, command=command))
    assert acknowledged(server) == ACK_7
    assert server.stats()["process"]["resident_bytes"] is None
    assert server.stop() == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_without_ipv6_the_server_works(start_changed, host):
    none = "import errno, os, socket\nclass Socket(socket.socket):\n    def __init__(self, family=-1, *rest, **more):\n"
    none += "        if family == socket.AF_INET6: raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))\n"
    none += "        super().__init__(family, *rest, **more)\nsocket.socket = Socket"
    server = start_changed(none, SERVER_HOST=host, DASHBOARD_HOST=host, DASHBOARD_TOKEN=TOKEN)
    assert acknowledged(server) == ACK_7
    assert get(server.dashboard_port, "/health").status == 200
    assert server.stop() == 0


def test_a_directory_whose_name_is_not_utf8_is_shown_with_escapes(start, tmp_path):
    server = start(LOG_DIR=os.fsdecode(b"\xff\xfe"), LOG_FILENAME=os.fsdecode(b"\xe4.log"))
    assert acknowledged(server) == ACK_7
    stats = server.stats()
    assert stats["disk"]["log_file"] == rf"{tmp_path}/\udcff\udcfe/\udce4.log"
    assert stats["settings"]["LOG_DIR"] == r"\udcff\udcfe"
    assert get(server.dashboard_port, "/metrics").status == 200
    assert server.stop() == 0
    assert os.listdir(os.fsencode(tmp_path) + b"/\xff\xfe").count(b"\xe4.log") == 1
    checked = run_fastlog("serve", "--check", "--log-dir", os.fsdecode(b"\xff"), cwd=tmp_path)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert r"LOG_DIR=\udcff  # flag" in checked.stdout


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (Path.mkdir, "a directory"),
        (make_fifo, "a FIFO"),
        (lambda path: path.symlink_to("/dev/null"), "a device"),
    ],
)
def test_something_else_of_the_logs_name_is_reported_for_what_it_is(tmp_path, make, kind):
    make(tmp_path / "server.log")
    done = run_fastlog("serve", "--port", "0", "--log-dir", ".", "--dashboard-port", "0", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        1, f"fastlog: {tmp_path}/server.log is {kind}, not a file; remove it, or set LOG_DIR or LOG_FILENAME\n",
    )  # fmt: skip


@only_root
def test_a_directory_that_the_user_may_not_search_is_named(tmp_path):
    closed = tmp_path / "closed"
    (closed / "logs").mkdir(parents=True)
    closed.chmod(0o700)
    program = "import os, sys\nfrom fastlog import cli\nimport fastlog.server.server, fastlog.server.dashboard\nos.setgroups([])\nos.setgid(65534)\nos.setuid(65534)\n"
    program += "sys.exit(cli.main(['serve', '--port', '0', '--log-dir', sys.argv[1]]))"
    done = subprocess.run(
        [sys.executable, "-c", program, str(closed / "logs")], capture_output=True, text=True, cwd="/",
        env=BASE_ENVIRONMENT, timeout=PATIENCE_SEC, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"{closed}/logs" in done.stderr
    assert os.strerror(errno.EACCES) in done.stderr
