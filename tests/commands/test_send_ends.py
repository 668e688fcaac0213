"""`fastlog send` ends within its time-out, and says what was not delivered, whatever the server, the input and the user
do."""

import contextlib
import fcntl
import os
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import termios
import tty

import pytest
from msgspec import structs

from fastlog import Client
from fastlog.commands import delivery
from fastlog.commands.signals import EndingSignals
from tests.helpers.running import BASE_ENVIRONMENT, FASTLOG, PATIENCE_SEC, Server, eventually, run_fastlog

NEVER_SEC = "600"  # a time-out that no test waits for
LINES = [b"line %d" % number for number in range(100)]


@pytest.fixture
def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def silent_port(closing):
    """Somebody listens there and never answers."""
    silent = closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    silent.bind(("127.0.0.1", 0))
    return silent.getsockname()[1]


class Sending:
    """`fastlog send`, reading from a pipe."""

    def __init__(self, directory, port, *arguments, **options):
        self.pipe, self.written = os.pipe()
        self.process = subprocess.Popen(
            [*FASTLOG, "send", "--port", str(port), *arguments],
            cwd=directory, env=BASE_ENVIRONMENT, stdin=self.pipe, stderr=subprocess.PIPE, bufsize=0, **options,
        )  # fmt: skip

    def write(self, lines):
        """Returns when the program has read them."""
        for start in range(0, len(lines), 1000):
            os.write(self.written, b"".join(line + b"\n" for line in lines[start : start + 1000]))
        eventually(self.unread, lambda unread: unread == 0)

    def unread(self):
        return struct.unpack("i", fcntl.ioctl(self.pipe, termios.FIONREAD, bytes(4)))[0]

    def end_of_input(self):
        os.close(self.written)
        self.written = -1

    def wait_for_message(self, text):
        said = self.process.stderr
        while select.select([said], [], [], PATIENCE_SEC)[0] and (line := said.readline()):
            if text in line:
                return
        raise AssertionError(f"it did not say {text!r}")

    def wait(self):
        """The exit code, and the rest of what it said."""
        _, said = self.process.communicate(timeout=PATIENCE_SEC)
        return self.process.returncode, said.decode()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        self.process.stderr.close()
        os.close(self.pipe)
        if self.written >= 0:
            os.close(self.written)


@pytest.fixture
def sending(tmp_path, closing):
    return lambda *arguments, **options: closing(Sending(tmp_path, *arguments, **options))


def counts(said):
    """Of the last line: read, sent, acknowledged, unacknowledged, not sent."""
    last = said.splitlines()[-1]
    found = re.search(r"(\d+) read, (\d+) sent .* (\d+) acknowledged, (\d+) unacknowledged(?:, (\d+) not sent)?$", last)
    return tuple(int(number or 0) for number in found.groups())


# Nobody takes the entries


@pytest.mark.parametrize("level", ["INFO", "ERROR"])
@pytest.mark.parametrize("where", ["free_port", "silent_port"])
def test_input_that_nobody_takes_is_read_to_its_end_and_accounted_for(request, tmp_path, where, level):
    port = str(request.getfixturevalue(where))
    lines = b"x" * 200 + b"\n"
    done = run_fastlog("send", "--port", port, "--level", level, "--timeout", "0.3", cwd=tmp_path, stdin=lines * 60_000)
    assert done.returncode == 1
    read, sent, acknowledged, unacknowledged, not_sent = counts(done.stderr)
    assert (read, acknowledged) == (60_000, 0)
    assert sent + not_sent == read
    assert not_sent > 0
    assert unacknowledged == (sent if level == "ERROR" else 0)


@pytest.mark.parametrize("where", ["free_port", "silent_port"])
def test_of_a_file_that_nobody_takes_the_rest_is_not_read(request, tmp_path, where):
    port = str(request.getfixturevalue(where))
    file = tmp_path / "input"
    file.write_bytes((b"x" * 200 + b"\n") * 200_000)
    with file.open("rb") as source:
        done = subprocess.run(
            [*FASTLOG, "send", "--port", port, "--timeout", "0.3"], stdin=source, capture_output=True, cwd=tmp_path,
            env=BASE_ENVIRONMENT, timeout=PATIENCE_SEC, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert b"the rest of standard input was not read" in done.stderr
    assert counts(done.stderr.decode())[0] < 200_000


def test_an_ordinary_entry_that_gets_through_does_not_prolong_the_wait_for_those_that_do_not(start, tmp_path):
    """A server that acknowledges no ERROR takes the others at any time."""
    server = start(PRIORITY_LEVELS="CRITICAL")
    lines = b"ERROR: failed\nfine\n" * 40_000
    done = run_fastlog(
        "send", "--guess-level", "--port", str(server.port), "--timeout", "0.5", cwd=tmp_path, stdin=lines
    )  # fmt: skip
    assert done.returncode == 1
    read, sent, acknowledged, unacknowledged, not_sent = counts(done.stderr)
    assert (read, sent + not_sent, acknowledged) == (80_000, 80_000, 0)
    assert unacknowledged > 0


@pytest.mark.parametrize("where", ["free_port", "silent_port"])
@pytest.mark.parametrize("what", [["a message", "--level", "ERROR"], ["--samples", "200000"]])
def test_a_message_and_samples_that_nobody_takes_end(request, tmp_path, where, what):
    port = str(request.getfixturevalue(where))
    assert run_fastlog("send", *what, "--port", port, "--timeout", "0.3", cwd=tmp_path).returncode == 1


def test_a_pipe_outlives_an_outage_and_says_what_was_lost_in_it(free_port, sending, tmp_path, closing):
    program = sending(free_port, "--timeout", "0.3")
    program.write([b"early %d" % number for number in range(30_000)])
    program.wait_for_message(b"waiting for 127.0.0.1 port ")
    program.wait_for_message(b"were not sent")
    server = closing(Server(tmp_path, SERVER_PORT=str(free_port)))
    eventually(lambda: server.stats()["total_received"], lambda received: received > 0)
    program.write([b"late"])
    program.end_of_input()
    code, said = program.wait()
    read, sent, _, _, not_sent = counts(said)
    messages = [entry["message"] for entry in server.entries()]
    assert (code, read, sent + not_sent) == (1, 30_001, 30_001)
    assert len(messages) == sent
    assert messages[-1] == "late"


def test_an_outage_that_the_lanes_outlast_costs_nothing(free_port, sending, tmp_path, closing):
    program = sending(free_port, "--timeout", NEVER_SEC)
    program.write(LINES)
    program.wait_for_message(b"waiting for 127.0.0.1 port ")
    server = closing(Server(tmp_path, SERVER_PORT=str(free_port)))
    program.end_of_input()
    assert program.wait()[0] == 0
    assert [entry["message"].encode() for entry in server.entries()] == LINES


def test_an_entry_given_up_is_reported_while_the_input_continues(silent_port, sending):
    program = sending(silent_port, "--level", "ERROR", "--timeout", "0.3")
    program.write([b"lost"])
    program.wait_for_message(b"'lost'")
    program.end_of_input()
    code, said = program.wait()
    assert code == 1
    assert said.count("'lost'") == 0
    assert counts(said) == (1, 1, 0, 1, 0)


# Signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("level", ["INFO", "ERROR"])
def test_what_was_read_before_a_signal_is_delivered(free_port, sending, tmp_path, closing, number, level):
    program = sending(free_port, "--level", level, "--timeout", NEVER_SEC)
    program.write(LINES)
    program.process.send_signal(number)
    server = closing(Server(tmp_path, SERVER_PORT=str(free_port)))
    code, said = program.wait()
    assert code == (130 if number == signal.SIGINT else 0), said
    assert counts(said) == (100, 100, 100 if level == "ERROR" else 0, 0, 0)
    assert [entry["message"].encode() for entry in server.entries()] == LINES


def test_a_line_without_its_end_that_was_read_before_a_signal_is_delivered(start, sending):
    server = start()
    program = sending(server.port)
    os.write(program.written, b"whole\nbegun")
    eventually(program.unread, lambda unread: unread == 0)
    program.process.send_signal(signal.SIGTERM)
    assert program.wait()[0] == 0
    assert [entry["message"] for entry in server.entries()] == ["whole", "begun"]


def test_what_was_not_read_before_a_signal_is_left(free_port, sending):
    program = sending(free_port, "--timeout", "1.5")
    program.write(LINES)
    program.process.send_signal(signal.SIGTERM)
    program.wait_for_message(b"waiting for 127.0.0.1 port ")
    os.write(program.written, b"left\n")
    code, said = program.wait()
    assert code == 1
    assert counts(said)[0] == 100
    assert os.read(program.pipe, 100) == b"left\n"


def test_after_a_signal_it_waits_no_longer_than_its_timeout(silent_port, sending):
    program = sending(silent_port, "--level", "ERROR", "--timeout", "0.3")
    program.write([b"x" * 200] * 5_000)
    program.process.send_signal(signal.SIGTERM)
    code, said = program.wait()
    assert code == 1
    read, sent, acknowledged, unacknowledged, not_sent = counts(said)
    assert (read, acknowledged, sent, not_sent) == (5_000, 0, unacknowledged, 5_000 - sent)


def test_a_second_signal_ends_the_wait_and_the_account_is_given(free_port, sending):
    program = sending(free_port, "--level", "ERROR", "--timeout", NEVER_SEC)
    program.write(LINES)
    program.process.send_signal(signal.SIGTERM)
    program.wait_for_message(b"SIGTERM: delivering what was read, for up to 600 s; a second signal ends that")
    program.wait_for_message(b"waiting for 127.0.0.1 port ")
    program.process.send_signal(signal.SIGTERM)
    code, said = program.wait()
    read, sent, acknowledged, unacknowledged, not_sent = counts(said)
    assert (code, read, acknowledged, sent) == (1, 100, 0, unacknowledged)
    assert sent + not_sent == read


def test_two_signals_at_once_are_one_wish(start, sending):
    """As timeout(1) sends them, or a service manager with SendSIGHUP."""
    server = start()
    program = sending(server.port, "--level", "ERROR", "--timeout", NEVER_SEC)
    with server.stopped():
        program.write(LINES)
        program.process.send_signal(signal.SIGTERM)
        program.process.send_signal(signal.SIGHUP)
    assert program.wait()[0] == 0
    assert len(server.entries()) == 100


def test_a_signal_that_the_caller_ignores_stays_ignored(start, sending):
    server = start()
    program = sending(server.port, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    program.write([b"before"])
    program.process.send_signal(signal.SIGHUP)
    program.write([b"after"])
    program.end_of_input()
    assert program.wait()[0] == 0
    assert [entry["message"] for entry in server.entries()] == ["before", "after"]


def test_of_a_file_that_was_not_read_to_its_end_a_signal_leaves_the_rest(start, tmp_path, closing):
    """So that `fastlog send < FILE && rm FILE` does not remove what was not sent."""
    server = start()
    file = tmp_path / "input"
    file.write_bytes((b"x" * 200 + b"\n") * 200_000)
    with file.open("rb") as source, server.stopped():
        process = subprocess.Popen(
            [*FASTLOG, "send", "--port", str(server.port), "--timeout", NEVER_SEC],
            stdin=source, stderr=subprocess.PIPE, cwd=tmp_path, env=BASE_ENVIRONMENT,
        )  # fmt: skip
        said = process.stderr.readline()
        assert b"waiting for 127.0.0.1 port " in said
        process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=PATIENCE_SEC)
    assert process.returncode == 1
    assert b"the rest of standard input was not read" in said
    read, sent, *_ = counts(said.decode())
    assert read == sent == len(server.entries()) < 200_000


def test_a_terminal_that_goes_away_ends_it(start, tmp_path):
    server = start()
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*FASTLOG, "send", "--port", str(server.port)],
        stdin=theirs, stderr=subprocess.PIPE, cwd=tmp_path, env=BASE_ENVIRONMENT, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
    )  # fmt: skip
    os.close(theirs)
    os.write(ours, b"typed\n")
    eventually(lambda: server.stats()["total_received"], lambda received: received == 1)
    os.close(ours)
    _, said = process.communicate(timeout=PATIENCE_SEC)
    assert (process.returncode, counts(said.decode())) == (0, (1, 1, 0, 0, 0))


class Clock:
    """In place of the module `time`; each look takes as long as it is told, and after the last one all is done."""

    def __init__(self, looks):
        self.now = 0.0
        self._looks = iter(looks)

    def monotonic(self):
        return self.now

    def sleep(self, _seconds):
        pass

    def look(self, _seconds):
        took = next(self._looks, None)
        self.now += took or 0
        return took is None


class MovingClient:
    """One of its entries is acknowledged whenever somebody looks."""

    def __init__(self):
        with Client() as client:
            self._stats = client.stats()

    def stats(self):
        self._stats = structs.replace(self._stats, queued=1, acknowledged=self._stats.acknowledged + 1)
        return self._stats


def test_the_time_for_which_the_program_was_stopped_does_not_count(monkeypatch, closing):
    """As by Ctrl-Z. Otherwise it would give up before the client could do anything."""
    clock = Clock([0.1, 100.0, 0.1])
    monkeypatch.setattr(delivery, "time", clock)
    waiting = delivery.Delivery(closing(Client()), "a server", timeout_sec=1, signals=EndingSignals())
    assert waiting._wait(clock.look, since=0)


@pytest.mark.parametrize("number", [None, signal.SIGTERM])
def test_progress_prolongs_the_wait_but_for_one_after_a_signal(monkeypatch, number):
    clock = Clock([0.1] * 100)
    monkeypatch.setattr(delivery, "time", clock)
    signals = EndingSignals()
    signals.came = number
    waiting = delivery.Delivery(MovingClient(), "a server", timeout_sec=1, signals=signals)
    assert waiting._wait(clock.look, since=0) is (number is None)
    assert clock.now < 1.5 or number is None


def test_a_signal_ends_samples_that_wait_for_their_interval(start, sending):
    server = start()
    program = sending(server.port, "--samples", "5", "--interval", NEVER_SEC)
    eventually(lambda: server.stats()["total_received"], lambda received: received == 1)
    program.process.send_signal(signal.SIGTERM)
    assert program.wait()[0] == 0
    assert len(server.entries()) == 1


# The input


@pytest.mark.parametrize("kind", ["pipe", "socket", "terminal"])
def test_an_input_that_does_not_block_is_waited_for_and_stays_so(start, tmp_path, kind):
    server = start()
    with contextlib.ExitStack() as closing:
        if kind == "socket":
            read, write = (end.detach() for end in socket.socketpair())
        else:
            read, write = reversed(pty.openpty()) if kind == "terminal" else os.pipe()
        closing.callback(os.close, read)
        if kind == "terminal":
            tty.setraw(read)
        os.set_blocking(read, False)
        process = subprocess.Popen(
            [*FASTLOG, "send", "--port", str(server.port)], stdin=read, stderr=subprocess.PIPE, cwd=tmp_path,
            env=BASE_ENVIRONMENT,
        )  # fmt: skip
        try:
            os.write(write, b"first\n")
            eventually(lambda: server.stats()["total_received"], lambda received: received == 1)
            os.write(write, b"second\n")
            eventually(lambda: server.stats()["total_received"], lambda received: received == 2)
            assert not os.get_blocking(read)
        finally:
            os.close(write)
            _, said = process.communicate(timeout=PATIENCE_SEC)
    assert "2 read, 2 sent" in said.decode()
    assert [entry["message"] for entry in server.entries()] == ["first", "second"]


def test_what_came_before_the_input_fails_is_sent_and_the_failure_is_reported(start, tmp_path):
    """The terminal goes away: for its other side, that is an error."""
    server = start()
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    os.write(theirs, b"whole\nbegun")
    os.close(theirs)
    done = subprocess.run(
        [*FASTLOG, "send", "--port", str(server.port)], stdin=ours, capture_output=True, cwd=tmp_path,
        env=BASE_ENVIRONMENT, timeout=PATIENCE_SEC, check=False,
    )  # fmt: skip
    os.close(ours)
    assert done.returncode == 1
    said = done.stderr.decode().splitlines()
    assert said[-2] == "fastlog: cannot read standard input: Input/output error"
    assert counts(said[-1]) == (2, 2, 0, 0, 0)
    assert [entry["message"] for entry in server.entries()] == ["whole", "begun"]


@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_an_input_open_for_writing_only_is_reported(free_port, tmp_path, kind):
    read, write = os.pipe()
    if kind == "file":
        os.close(write)
        write = os.open(tmp_path / "output", os.O_WRONLY | os.O_CREAT)
    done = subprocess.run(
        [*FASTLOG, "send", "--port", str(free_port)], stdin=write, capture_output=True, cwd=tmp_path,
        env=BASE_ENVIRONMENT, timeout=PATIENCE_SEC, check=False,
    )  # fmt: skip
    os.close(read)
    os.close(write)
    assert done.returncode == 1
    assert done.stderr == b"fastlog: cannot read standard input: it is open for writing only\n"


def test_an_input_that_is_closed_is_reported(free_port, tmp_path):
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *FASTLOG, "send", "--port", str(free_port)], capture_output=True,
        cwd=tmp_path, env=BASE_ENVIRONMENT, timeout=PATIENCE_SEC, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == b"fastlog: standard input is closed, and there is no MESSAGE\n"


# Names


@pytest.fixture
def silent_name_service(tmp_path, closing):
    """What a command begins with whose name service never answers."""
    name_service = closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    address = f"127.53.{os.getpid() // 256 % 256}.{os.getpid() % 256}"  # others may run these tests at the same time
    name_service.bind((address, 53))
    settings = tmp_path / "resolv.conf"
    settings.write_text(f"nameserver {address}\noptions timeout:30 attempts:5\n")
    return ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"', str(settings)]


@pytest.mark.skipif(
    os.geteuid() != 0 or (shutil.which("unshare") is None and os.environ.get("CI") != "true"),
    reason="only root can replace the name service, and needs unshare for it; on Debian: apt install util-linux",
)
@pytest.mark.parametrize(
    ("command", "reports"),
    [
        (["send", "a message", "--timeout", "1.5"], "fastlog: cannot find the server 'logs.example': the name service"),
        (["loadtest", "--timeout", "1.5", "--dashboard", "http://127.0.0.1:9"], "fastlog: cannot find the server"),
        (["doctor"], "cannot find the server 'logs.example': the name service did not answer within"),
    ],
)
def test_a_name_service_that_never_answers_is_not_waited_for(silent_name_service, tmp_path, command, reports):
    done = subprocess.run(
        [*silent_name_service, *FASTLOG, *command, "--server", "logs.example"], stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, cwd=tmp_path, env=BASE_ENVIRONMENT, timeout=PATIENCE_SEC, check=False,
    )  # fmt: skip
    said = done.stdout.decode()
    assert done.returncode == 1, said
    assert "fastlog: waiting for the address of 'logs.example'\n" in said
    assert reports in said


# Messages that nobody reads


@pytest.mark.parametrize("end", ["closed", "full"])
def test_a_standard_error_that_nobody_reads_does_not_keep_it(free_port, tmp_path, end):
    read, write = os.pipe()
    if end == "closed":
        os.close(read)
    else:
        os.set_blocking(write, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(write, bytes(1000))
        os.set_blocking(write, True)
    done = subprocess.run(
        [*FASTLOG, "send", "--port", str(free_port), "--timeout", "0.3", "--level", "ERROR"], input=b"a\nb\n",
        stderr=write, cwd=tmp_path, env=BASE_ENVIRONMENT, timeout=PATIENCE_SEC, check=False,
    )  # fmt: skip
    if end == "full":
        os.close(read)
    os.close(write)
    assert done.returncode == 1
