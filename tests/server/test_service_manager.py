"""The server under a service manager: the socket handed over, and the notifications. The tests are the manager, and the
server is the real one."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from time import monotonic

import pytest

from fastlog.server.listener import UDP_GRO
from fastlog.server.service_manager import SEND_SEC
from tests.helpers.running import BASE_ENVIRONMENT, FASTLOG, PATIENCE_SEC, Server, eventually, get

INFO = b'{"level":"INFO","message":"m"}'
QUEUED_MAX_BYTES = 50_000  # in the kernel at once: less than the smallest receive buffer that a system grants

# Gives the socket to a command as systemd does: as descriptor 3, with variables that name the command's own pid.
HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""
# A server whose time for a turn and for its end is always over: it stops wherever it may stop.
HURRIED = """
import sys
from fastlog import cli
from fastlog.server import pipeline
pipeline.TURN_SEC = pipeline.END_DRAIN_SEC = -1.0
sys.exit(cli.main(["serve"]))
"""
# A server whose disk does not answer a write.
HANGING_WRITE = """
import sys, threading
from pathlib import Path
from fastlog import cli
from fastlog.server.storage import Storage

def hang(*rest):
    Path("hanging").touch()
    threading.Event().wait()

Storage.write = hang
sys.exit(cli.main(["serve"]))
"""


class Manager(socket.socket):
    """The service manager's end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        super().__init__(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.settimeout(PATIENCE_SEC)
        self.bind(address)

    def message(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self.recv(4096).decode().splitlines())

    def next_with(self, variable: str) -> dict[str, str]:
        """The next message that sets `variable`; earlier ones are dropped."""
        while variable not in (message := self.message()):
            pass
        return message

    def waiting(self) -> list[dict[str, str]]:
        """All messages that have arrived and were not read yet."""
        messages = []
        self.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                messages.append(self.message())
        self.settimeout(PATIENCE_SEC)
        return messages


@pytest.fixture
def manager(tmp_path, closing):
    return closing(Manager(str(tmp_path / "notify")))


@pytest.fixture
def udp_socket(closing):
    return closing(bound())


def bound(kind: int = socket.SOCK_DGRAM, host: str = "127.0.0.1") -> socket.socket:
    sock = socket.socket(socket.AF_INET, kind)
    sock.bind((host, 0))
    return sock


@pytest.fixture
def take_over(tmp_path, closing):
    """Starts a server and hands the socket over to it."""

    def start(sock: socket.socket, command: list[str] = [*FASTLOG, "serve"], **settings: str) -> Server:  # noqa: B006
        launch = [sys.executable, "-c", HAND_OVER, str(sock.fileno()), *command]
        return closing(Server(tmp_path, command=launch, pass_fds=[sock.fileno()], **settings))

    return start


def numbered(count: int) -> list[bytes]:
    levels = (b"INFO", b"ERROR", b"DEBUG", b"INFO")
    return [b'{"sequence":%d,"level":"%b","message":"m"}' % (n, levels[n % 4]) for n in range(count)]


def test_no_entry_is_lost_or_repeated_by_restarts_under_load(udp_socket, take_over):
    sent = numbered(40_000)
    port = udp_socket.getsockname()[1]
    server = take_over(udp_socket)
    assert server.port == port
    assert any("using the socket passed by the service manager" in message for message in server.messages)
    assert udp_socket.getsockopt(socket.IPPROTO_UDP, UDP_GRO) == 1

    restarts = 4
    quarter_sent = [threading.Event() for _ in range(restarts)]

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(("127.0.0.1", port))
            for number, datagram in enumerate(sent):
                if number % 100 == 0:
                    while server.queued() > QUEUED_MAX_BYTES:
                        os.sched_yield()
                if number % (len(sent) // (restarts + 1)) == 0 and number:
                    quarter_sent[number // (len(sent) // (restarts + 1)) - 1].set()
                client.send(datagram)

    sender = threading.Thread(target=send)
    sender.start()
    accounts = []
    for stage in quarter_sent:
        assert stage.wait(PATIENCE_SEC)
        assert server.stop() == 0
        accounts.append(server.account)
        server = take_over(udp_socket)
    sender.join()
    server.stop()
    assert server.whole_log() == b"".join(entry + b"\n" for entry in sent)
    received = [int(re.search(r"received (\d+) entries", account)[1]) for account in [*accounts, server.account]]
    assert sum(received) == len(sent)
    assert all(received)


def test_datagrams_already_received_are_stored_when_the_time_for_the_end_is_over(udp_socket, take_over):
    """They have left the kernel's buffer, so the next server could not receive them."""
    server = take_over(udp_socket, [sys.executable, "-c", HURRIED])
    # One burst has many more rejects than are noted before they must be written: drains end in the middle of it.
    datagrams = [b"{bad\n" * 40 + entry for entry in numbered(60)]
    server.signal(signal.SIGSTOP)
    with server.client() as client:
        for datagram in datagrams:
            client.send(datagram)
    server.signal(signal.SIGTERM)
    server.signal(signal.SIGCONT)
    server.wait()
    stored_first = server.log().count(b"\n")
    take_over(udp_socket).stop()
    assert server.log() == b"".join(entry + b"\n" for entry in numbered(60))
    assert stored_first > 0


def test_a_socket_meant_for_another_process_is_left_alone(start):
    server = start(LISTEN_FDS="1", LISTEN_PID="1")
    server.send([INFO])
    server.stop()
    assert server.log() == INFO + b"\n"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: bound(socket.SOCK_STREAM), "is AF_INET SOCK_STREAM, not a bound UDP or unix datagram socket"),
        (lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM), "is AF_UNIX SOCK_DGRAM without an address"),
        (lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM), "AF_INET SOCK_DGRAM without an address"),
        (lambda: Path("/dev/null").open("rb"), "descriptor 3 is not a socket"),  # noqa: SIM115
    ],
)
def test_anything_but_a_bound_udp_socket_is_refused(tmp_path, closing, make, said):
    refused = refused_start(tmp_path, closing(make()).fileno(), HAND_OVER)
    assert said in refused


@pytest.mark.parametrize("count", ["0", "17", "-1", "x", ""])
def test_no_socket_or_too_many_are_refused(tmp_path, udp_socket, count):
    refused = refused_start(tmp_path, udp_socket.fileno(), HAND_OVER.replace('LISTEN_FDS="1"', f'LISTEN_FDS="{count}"'))
    assert refused == (
        f"fastlog: LISTEN_FDS='{count}': fastlog takes over 1 to 16 sockets; leave so many ListenDatagram= in the "
        "socket unit\n"
    )


def refused_start(directory: Path, fd: int, launcher: str) -> str:
    command = [sys.executable, "-c", launcher, str(fd), *FASTLOG, "serve", "--log-dir", ".", "--dashboard-port", "0"]
    done = subprocess.run(
        command,
        cwd=directory,
        pass_fds=[fd],
        env=BASE_ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SEC,
        check=False,
    )
    assert done.returncode == 1
    return done.stderr


def test_the_receive_buffer_of_a_socket_handed_over_is_left_as_it_is(udp_socket, take_over):
    udp_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 100_000)
    server = take_over(udp_socket, RCVBUF_SIZE="50000")
    assert "fastlog: receive buffer is 100000 bytes; 50000 were asked for" in server.messages
    server.stop()
    server = take_over(udp_socket, RCVBUF_SIZE="200000")
    assert any(
        "is 100000 bytes, not the 200000" in m and "To raise the limit: ReceiveBuffer=200000" in m
        for m in server.messages
    )
    server.stop()


def test_drops_before_the_start_are_reported_and_leave_health_ok(udp_socket, take_over):
    udp_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        for _ in range(200):
            client.sendto(INFO, udp_socket.getsockname())
    server = take_over(udp_socket)
    reported = next(message for message in server.messages if "passed by the service manager" in message)
    dropped = int(re.search(r"drops so far: (\d+)$", reported)[1])
    assert 100 < dropped < 200
    assert get(server.dashboard_port, "/health").status == 200
    losses = server.stats()["losses"]
    assert (losses["kernel_drops"], losses["seconds_since"]["kernel_drops"]) == (dropped, None)
    server.stop()
    assert f"received {200 - dropped} entries" in server.account
    assert f"dropped by the kernel {dropped}" in server.account


def test_drops_before_the_start_do_not_hide_what_the_network_lost_since(udp_socket, take_over):
    udp_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        for _ in range(200):
            client.sendto(INFO, udp_socket.getsockname())
        server = take_over(udp_socket)
        eventually(server.stats, lambda stats: stats["total_received"] > 0)
        for sequence in (100, 107):
            client.sendto(b'{"level":"INFO","message":"m","sequence":%d}' % sequence, udp_socket.getsockname())
        losses = eventually(server.stats, lambda stats: stats["losses"]["sequence_gaps"])["losses"]
    assert losses["kernel_drops"] > 100
    assert losses["network"] == 6
    server.stop()


def test_the_status_warns_of_a_dashboard_that_is_missing(start, manager):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        server = start(NOTIFY_SOCKET=manager.getsockname(), DASHBOARD_PORT=str(port), RCVBUF_SIZE="65536")
        assert manager.message()["STATUS"] == (
            "ok: 0 entries/s, 0 received; lost: 0 in the kernel, 0 to the disk; "
            f"warning: no dashboard: cannot listen on 127.0.0.1 port {port}/tcp: Address already in use"
        )
    server.stop()


def test_the_manager_is_notified_by_a_server_without_a_dashboard(start, manager):
    server = start(NOTIFY_SOCKET=manager.getsockname(), DASHBOARD_PORT="off", RCVBUF_SIZE="65536")
    assert manager.message()["STATUS"] == "ok: 0 entries/s, 0 received; lost: 0 in the kernel, 0 to the disk"
    server.stop()
    assert manager.next_with("STOPPING")


def test_the_manager_is_notified_of_start_reload_and_end(start, manager):
    server = start(NOTIFY_SOCKET=manager.getsockname(), RCVBUF_SIZE="65536")
    assert manager.message() == {
        "READY": "1",
        "STATUS": "ok: 0 entries/s, 0 received; lost: 0 in the kernel, 0 to the disk",
    }
    assert manager.message()["WATCHDOG"] == "1"
    with server.client() as client:  # acknowledged: the loop runs
        client.send(b'{"level":"ERROR","message":"m","sequence":1}')
        client.recv(100)
    server.signal(signal.SIGHUP)
    reloading = manager.next_with("RELOADING")
    assert list(reloading) == ["RELOADING", "MONOTONIC_USEC"]
    assert 0 < int(reloading["MONOTONIC_USEC"]) / 1e6 < float(Path("/proc/uptime").read_text().split()[0]) + 1
    assert "READY" in manager.message()
    server.signal(signal.SIGTERM)
    assert manager.next_with("STOPPING") == {"STOPPING": "1", "STATUS": "flushing"}
    assert server.wait() == 0


def test_a_reload_does_not_wait_for_a_manager_that_does_not_read(start, manager):
    """What it did not take reaches it as soon as it reads."""
    server = start(NOTIFY_SOCKET=manager.getsockname(), WATCHDOG_USEC="2000")
    server.wait_for_message("cannot send WATCHDOG=1 to the service manager")  # it has room for no more
    server.signal(signal.SIGHUP)
    server.wait_for_message("log file reopened")
    began = monotonic()
    with server.client() as client:
        client.send(b'{"level":"ERROR","message":"m","sequence":1}')
        client.recv(100)
    assert monotonic() - began < SEND_SEC / 2
    assert "MONOTONIC_USEC" in manager.next_with("RELOADING")
    assert "STATUS" in manager.next_with("READY")
    assert server.stop() == 0


def test_a_manager_that_makes_its_socket_anew_is_notified_there(start, manager, closing):
    address = manager.getsockname()
    server = start(NOTIFY_SOCKET=address, WATCHDOG_USEC="20000")
    manager.close()
    os.unlink(address)
    assert closing(Manager(address)).next_with("WATCHDOG")
    assert server.stop() == 0


STRANGE_STATUS = """
import sys
from fastlog import cli
from fastlog.server.snapshot import Reporter
Reporter.status_line = lambda *_: "cannot open \\udcff.log"
sys.exit(cli.main(["serve"]))
"""


def test_a_status_that_utf8_cannot_encode_ends_nothing(start, manager):
    server = start(command=[sys.executable, "-c", STRANGE_STATUS], NOTIFY_SOCKET=manager.getsockname())
    assert manager.next_with("READY")["STATUS"] == "cannot open ?.log"
    assert server.stop() == 0


def test_a_manager_on_an_abstract_socket_is_notified(start, closing):
    name = f"fastlog-test-{os.getpid()}"
    manager = closing(Manager("\0" + name))
    server = start(NOTIFY_SOCKET="@" + name)
    assert "READY" in manager.message()
    server.stop()


def test_a_manager_that_cannot_be_reached_is_reported_once_and_ends_nothing(start, tmp_path):
    server = start(NOTIFY_SOCKET=str(tmp_path / "nobody"), WATCHDOG_USEC="1000")
    server.send([INFO])
    assert server.stop() == 0
    reported = [message for message in server.messages if "service manager" in message]
    assert reported == ["fastlog: cannot send READY=1 to the service manager: No such file or directory"]
    assert server.log() == INFO + b"\n"

    server = start(NOTIFY_SOCKET="vsock:2:1")
    assert any("NOTIFY_SOCKET='vsock:2:1' is neither a path nor an abstract socket" in m for m in server.messages)
    assert server.stop() == 0


def test_the_watchdog_is_fed_by_the_loop(start, manager, tmp_path):
    """A loop that hangs no longer feeds it, even while the dashboard's thread still answers."""
    command = [sys.executable, "-c", HANGING_WRITE]
    server = start(command=command, NOTIFY_SOCKET=manager.getsockname(), WATCHDOG_USEC="20000", FLUSH_COUNT="1")
    for _ in range(10):
        manager.next_with("WATCHDOG")
    server.send([INFO])
    eventually((tmp_path / "hanging").exists, bool)
    manager.waiting()
    for _ in range(3):
        server.stats()
    assert manager.waiting() == []


def test_a_watchdog_of_another_process_is_not_fed_more_often(start, manager):
    start(NOTIFY_SOCKET=manager.getsockname(), WATCHDOG_USEC="1000", WATCHDOG_PID="1").stop()
    assert sum("WATCHDOG" in message for message in manager.waiting()) == 1
