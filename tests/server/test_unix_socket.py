"""The unix datagram socket: who may send, who is said to have sent, and that no sender waits for ever."""

import array
import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path
from time import monotonic

import pytest

from tests.helpers.entries import ERROR_7
from tests.helpers.running import BASE_ENVIRONMENT, FASTLOG, PATIENCE_SEC, Server, eventually, run_fastlog
from tests.helpers.small_disk import only_root

INFO = b'{"level":"INFO","message":"m"}'
ACK_7 = b'{"ack":true,"sequence":7}'
NOBODY = 65534
HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log.sock"


@pytest.fixture
def server(start, path):
    return start(UNIX_SOCKET=str(path))


@pytest.fixture
def connect(closing, path):
    """A socket connected to the server's, with an address of its own if it gets one."""

    def make(own: str | None = None, to: Path = path) -> socket.socket:
        client = closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        client.settimeout(PATIENCE_SEC)
        if own:
            client.bind(own)
        client.connect(str(to))
        return client

    return make


def rejects(server: Server) -> list[dict]:
    path = server.directory / "rejects.jsonl"
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


@pytest.mark.parametrize("mode", ["0600", "0666", "620"])
def test_the_path_has_its_mode_whatever_the_umask_is(start, path, mode):
    old = os.umask(0o077)
    try:
        start(UNIX_SOCKET=str(path), UNIX_SOCKET_MODE=mode)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.lstat().st_mode) == int(mode, 8)


def test_entries_are_stored_and_acknowledged_at_any_kind_of_address(server, connect, tmp_path, path):
    for own in ("\0abstract", str(tmp_path / "own.sock"), "\0with\0zeros\0"):
        client = connect(own)
        client.send(ERROR_7)
        assert client.recv(100) == ACK_7
    assert f"listening on 127.0.0.1:{server.port}/udp, unix:{path}, writing" in "".join(server.messages)
    assert f"ready udp=127.0.0.1:{server.port} unix={path} http=" in "".join(server.messages)


def test_who_has_no_address_is_stored_and_cannot_be_acknowledged(server, connect):
    client = connect()
    client.send(ERROR_7)
    client.send(ERROR_7)  # another event: who awaits nothing sends nothing again
    client.send(INFO)
    stats = eventually(server.stats, lambda stats: stats["stored"] == 3 and stats["sync"]["count"] > 0)
    assert (stats["acks"]["sent"], stats["acks"]["dropped"]) == (0, 0)


def test_the_kernel_says_who_sent(server, connect):
    connect().send(b"garbage")
    [reject] = eventually(lambda: rejects(server), bool)
    assert reject["source"] == f"unix:pid={os.getpid()},uid={os.getuid()}"


def test_sockets_of_one_program_are_senders_of_their_own(server, connect):
    for own in ("\0one", "\0two"):
        client = connect(own)
        for sequence in (1, 2, 4):
            client.send(b'{"level":"INFO","message":"m","sequence":%d}' % sequence)
    stats = eventually(server.stats, lambda stats: stats["total_received"] == 6)
    assert stats["losses"]["sequence_gaps"] == 2
    assert len({sender["address"] for sender in stats["top_senders"]}) == 2
    assert all(sender["address"].startswith(f"unix:pid={os.getpid()},") for sender in stats["top_senders"])


def test_networks_that_may_send_do_not_concern_it(start, path, connect):
    server = start(UNIX_SOCKET=str(path), ALLOW_FROM="192.0.2.0/24")
    client = connect("\0own")
    client.send(ERROR_7)
    assert client.recv(100) == ACK_7
    server.stop()


def test_descriptors_that_come_along_are_closed(server, connect):
    client = connect()
    before = len(os.listdir(f"/proc/{server.process.pid}/fd"))
    with Path("/dev/null").open("rb") as null:
        descriptors = array.array("i", [null.fileno()] * 50)
        for _ in range(200):
            client.sendmsg([INFO], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
    eventually(server.stats, lambda stats: stats["stored"] == 200)
    assert len(os.listdir(f"/proc/{server.process.pid}/fd")) <= before + 1  # a connection of the dashboard


def test_a_datagram_longer_than_a_slot_is_truncated(server, connect):
    client = connect()
    client.send(b'{"level":"INFO","message":"%s"}' % (b"x" * 100_000))
    client.send(b'{"level":"INFO","message":"%s"}' % (b"x" * 65_000))
    stats = eventually(server.stats, lambda stats: stats["datagrams"] == 2)
    assert stats["rejected"]["truncated"] == 1
    assert stats["total_received"] == 1


def test_acks_of_many_senders_find_their_way(server, connect):
    clients = [connect(f"\0sender-{number}") for number in range(200)]
    for number, client in enumerate(clients):
        client.send(b'{"level":"ERROR","message":"m","sequence":%d}' % number)
    for number, client in enumerate(clients):
        assert json.loads(client.recv(100)) == {"ack": True, "sequence": number}


def test_a_sender_that_does_not_read_costs_no_other_its_acks(server, connect, closing, path):
    """One that is not connected: the kernel keeps few ACKs for it."""
    deaf, good = closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)), connect("\0good")
    deaf.bind("\0deaf")
    for sequence in range(600):
        deaf.sendto(b'{"level":"ERROR","message":"deaf","sequence":%d}' % sequence, str(path))
    for sequence in range(100):
        good.send(b'{"level":"ERROR","message":"good","sequence":%d}' % sequence)
        assert json.loads(good.recv(100)) == {"ack": True, "sequence": sequence}
    stats = eventually(server.stats, lambda stats: sum(stats["acks"][key] for key in ("sent", "dropped")) == 700)
    assert stats["acks"]["dropped"] > 0


def test_a_sender_that_says_so_gets_several_acks_in_one_datagram(server, connect):
    client = connect("\0fastlog-test")
    sent = 2000
    threading.Thread(
        target=lambda: [client.send(b'{"level":"ERROR","message":"m","sequence":%d}' % n) for n in range(sent)]
    ).start()
    got: list[int] = []
    while len(got) < sent:
        got += [json.loads(line)["sequence"] for line in client.recv(1 << 16).splitlines()]
    assert sorted(got) == list(range(sent))


def test_a_stale_path_is_taken_over(start, path):
    killed = start(UNIX_SOCKET=str(path))
    killed.process.kill()
    killed.process.wait()
    assert path.is_socket()
    start(UNIX_SOCKET=str(path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.connect(str(path))


@pytest.mark.parametrize("kind", ["file", "directory", "dangling link", "dgram", "stream"])
def test_a_path_that_is_something_else_is_left_alone(tmp_path, path, closing, kind):
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    elif kind == "dangling link":
        path.symlink_to(tmp_path / "nothing")
    else:
        holder = closing(socket.socket(socket.AF_UNIX, getattr(socket, f"SOCK_{kind.upper()}")))
        holder.bind(str(path))
        if kind == "stream":
            holder.listen()
    before = path.lstat().st_ino
    done = run_fastlog("serve", "--port", "0", "--unix-socket", str(path), cwd=tmp_path)
    is_socket = kind in ("dgram", "stream")
    said = f"{path} is " + ("in use by another program; stop it" if is_socket else "not a socket; remove it")
    assert (done.returncode, done.stderr) == (1, f"fastlog: {said}, or set UNIX_SOCKET\n")
    assert path.lstat().st_ino == before


def test_a_directory_that_is_missing_is_named(tmp_path):
    done = run_fastlog("serve", "--port", "0", "--unix-socket", "missing/log.sock", cwd=tmp_path)
    assert done.returncode == 1
    said = "cannot listen on the unix socket missing/log.sock: its directory does not exist; set UNIX_SOCKET"
    assert done.stderr == f"fastlog: {said}\n"


@pytest.mark.parametrize(("flag", "value"), [("--unix-socket", "/" + "x" * 107), ("--unix-socket-mode", "888")])
def test_what_no_socket_can_have_is_refused(tmp_path, flag, value):
    assert run_fastlog("serve", "--check", flag, value, cwd=tmp_path).returncode == 2


def test_the_path_is_gone_at_the_end_unless_it_is_anothers(start, path, closing):
    start(UNIX_SOCKET=str(path)).stop()
    assert not path.exists()
    server = start(UNIX_SOCKET=str(path))
    path.unlink()
    another = closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    another.bind(str(path))
    server.stop()
    assert path.is_socket()


def test_what_waits_in_the_queue_at_the_end_is_stored_and_nobody_waits_on(server, connect):
    """More senders than its queue holds wait when the server ends."""
    clients = [connect() for _ in range(30)]
    ended = []

    def send(client: socket.socket) -> None:
        for _ in range(1000):
            try:
                client.send(INFO)
            except OSError:
                break
        ended.append(client)

    with server.stopped():
        threads = [threading.Thread(target=send, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        server.signal(signal.SIGTERM)
    server.wait()
    for thread in threads:
        thread.join(PATIENCE_SEC)
    assert len(ended) == len(clients)


def test_a_socket_handed_over_is_taken_and_left(tmp_path, closing, path, connect):
    sock = closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    sock.bind(str(path))
    for _ in range(2):
        launch = [sys.executable, "-c", HAND_OVER, str(sock.fileno()), *FASTLOG, "serve"]
        server = closing(Server(tmp_path, command=launch, pass_fds=[sock.fileno()], UNIX_SOCKET=str(path)))
        assert f"ready udp=off unix={path} http=" in "".join(server.messages)
        client = connect("\0own")
        client.send(ERROR_7)
        assert client.recv(100) == ACK_7
        client.close()
        assert server.stop() == 0
        assert path.is_socket()


@only_root
def test_a_mode_keeps_others_out(start, tmp_path, path):
    tmp_path.chmod(0o755)
    start(UNIX_SOCKET=str(path), UNIX_SOCKET_MODE="0600")
    program = f"import socket; socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).connect({str(path)!r})"
    done = subprocess.run(
        ["setpriv", f"--reuid={NOBODY}", "--clear-groups", "/usr/bin/python3", "-c", program],
        capture_output=True, text=True, env=BASE_ENVIRONMENT, check=False, timeout=PATIENCE_SEC,
    )  # fmt: skip
    assert "PermissionError" in done.stderr or "Permission denied" in done.stderr


def test_a_full_disk_blocks_nobody(small_disk, closing):
    path = small_disk / "log.sock"
    server = closing(Server(small_disk, UNIX_SOCKET=str(path)))
    longest = 0.0
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as client:
        client.settimeout(PATIENCE_SEC)
        client.connect(str(path))
        for entry in [b'{"level":"INFO","message":"%s"}' % (b"x" * 8000)] * 3000:
            began = monotonic()
            client.send(entry)
            longest = max(longest, monotonic() - began)
    stats = eventually(server.stats, lambda stats: stats["total_received"] == 3000)
    assert stats["losses"]["disk"] > 0
    assert stats["datagrams"] == 3000
    assert longest < PATIENCE_SEC / 3  # a sender that waits for the disk would wait for ever


def test_what_writes_to_a_syslog_socket_gets_through(start, path):
    server = start(UNIX_SOCKET=str(path), FLUSH_TIMEOUT_SEC="0.05")
    program = (
        "import logging, logging.handlers\n"
        f"handler = logging.handlers.SysLogHandler(address={str(path)!r})\n"
        "logging.getLogger().addHandler(handler)\n"
        "logging.error('card 42 refused')\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=PATIENCE_SEC)
    subprocess.run(["logger", "-u", str(path), "-t", "shop", "hello"], check=True, timeout=PATIENCE_SEC)
    eventually(server.stats, lambda stats: stats["stored"] == 2)
    first, second = (json.loads(line) for line in server.log().splitlines())
    assert (first["message"], second["message"], second["app"]) == ("card 42 refused", "hello", "shop")
    assert first["source"].startswith("unix:pid=")
    assert "host" not in first


def test_doctor_and_top_know_the_socket(server, tmp_path, path):
    url = f"http://127.0.0.1:{server.dashboard_port}"
    found = json.loads(run_fastlog("doctor", "--json", "--url", url, cwd=tmp_path).stdout)
    [finding] = [finding for finding in found if finding["subject"] == "unix socket"]
    assert str(path) in finding["text"]
    assert finding["status"] in ("ok", "note")
    shown = run_fastlog("top", "--once", "--url", url, cwd=tmp_path).stdout
    assert "0 datagrams, 0 dropped at" in shown
    assert "unix" in shown
