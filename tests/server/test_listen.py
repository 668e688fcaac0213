"""Several UDP sockets: LISTEN, and the sockets that a service manager hands over."""

import socket
import subprocess
import sys
from contextlib import closing as closed_in_the_end

import pytest

from tests.helpers.entries import ERROR_7
from tests.helpers.running import BASE_ENVIRONMENT, FASTLOG, PATIENCE_SEC, Server, eventually, get, run_fastlog
from tests.helpers.small_disk import only_root

ACK_7 = b'{"ack":true,"sequence":7}'
NOBODY = 65534
MANY = ",".join(map(str, range(17)))
HAND_OVER = """
import os, sys
count = len(sys.argv[1].split(","))
for number, fd in enumerate(map(int, sys.argv[1].split(","))):
    os.dup2(fd, 3 + number)
os.environ.update(LISTEN_FDS=str(count), LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


def free_port() -> int:
    """A port that was free a moment ago, of IPv4 and of IPv6."""
    with closed_in_the_end(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("::", 0))
        return sock.getsockname()[1]


def acknowledged(host: str, port: int) -> bytes:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE_SEC)
        client.connect((host, port))  # nothing reaches it from another address or port
        client.send(ERROR_7)
        return client.recv(100)


def counts_of(server: Server, datagrams: int) -> dict[str, int]:
    """Datagrams of each socket, as soon as so many came in all."""
    stats = eventually(server.stats, lambda stats: stats["datagrams"] == datagrams)
    return {listener["address"]: listener["datagrams"] for listener in stats["listeners"]}


def test_each_socket_takes_entries_and_acknowledges_them_itself(start):
    server = start(LISTEN="127.0.0.1:0,[::1]:0,127.0.0.2:0")
    hosts = ["127.0.0.1", "::1", "127.0.0.2"]
    for host, port in zip(hosts, server.ports, strict=True):
        assert acknowledged(host, port) == ACK_7
    one, six, two = server.ports
    assert counts_of(server, 3) == {f"127.0.0.1:{one}": 1, f"[::1]:{six}": 1, f"127.0.0.2:{two}": 1}
    assert server.stats()["datagrams"] == 3
    assert (
        f'fastlog_listener_datagrams_total{{address="[::1]:{six}"}} 1.0' in get(server.dashboard_port, "/metrics").text
    )
    assert f"listening on 127.0.0.1:{one}/udp, [::1]:{six}/udp, 127.0.0.2:{two}/udp, writing" in "".join(
        server.messages
    )
    assert server.stop() == 0
    assert "received 3 entries in 3 datagrams" in server.account


def test_ipv4_and_ipv6_have_a_port_side_by_side(start):
    port = free_port()
    server = start(LISTEN=f"0.0.0.0:{port},[::]:{port}")
    for host in ("127.0.0.1", "::1"):
        assert acknowledged(host, port) == ACK_7
    assert counts_of(server, 2) == {f"0.0.0.0:{port}": 1, f"[::]:{port}": 1}


@pytest.mark.parametrize("text", [":0", "0", "*:0", "[::]:0"])
def test_a_port_alone_stands_for_all_addresses(start, text):
    server = start(LISTEN=text)
    for host in ("127.0.0.1", "::1"):
        assert acknowledged(host, server.port) == ACK_7


def test_listen_replaces_host_and_port_which_is_said_only_where_they_were_given(tmp_path):
    done = run_fastlog("serve", "--check", "--listen", "[::1]:514, :5514", cwd=tmp_path)
    assert "LISTEN=[::1]:514,:5514  # flag" in done.stdout
    assert done.stderr == ""
    done = run_fastlog("serve", "--check", "--port", "5514", cwd=tmp_path, LISTEN=":6000")
    assert done.stderr == "fastlog: --port is ignored, since LISTEN is set\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("127.0.0.1:514,127.0.0.1:514", "127.0.0.1:514 is there twice"),
        ("[::1]:514,[0:0::1]:514", "[::1]:514 is there twice"),
        (":514,514", ":514 is there twice"),
        (":514,127.0.0.1:514", ":514 covers the other address of port 514"),
        ("127.0.0.1:514,0.0.0.0:514", "0.0.0.0:514 covers the other address of port 514"),
        ("[::1]:514,[::]:514", "[::]:514 covers the other address of port 514"),
    ],
)
def test_addresses_that_exclude_each_other_are_refused(tmp_path, text, said):
    done = run_fastlog("serve", "--check", "--listen", text, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.endswith(f": {said}\n")


@pytest.mark.parametrize(
    "text",
    ["127.0.0.1", "127.0.0.1:", "::1:514", "[::1]", "[::1:514", "[127.0.0.1]:514", ":65536", "x:-1", ",", "1,,2", MANY],
)
def test_what_is_no_address_is_refused(tmp_path, text):
    done = run_fastlog("serve", "--check", "--listen", text, cwd=tmp_path)
    assert done.returncode == 2
    assert "must be a comma-separated list of at most 16 of HOST:PORT, [IPv6]:PORT, :PORT or PORT" in done.stderr


def test_an_address_in_use_ends_the_start_and_names_the_setting(tmp_path, closing):
    holder = closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    holder.bind(("127.0.0.1", 0))
    port = holder.getsockname()[1]
    done = run_fastlog("serve", "--listen", f"127.0.0.2:0,127.0.0.1:{port}", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"fastlog: cannot listen on 127.0.0.1 port {port}/udp: Address already in use; set LISTEN\n"


@only_root
def test_a_port_that_needs_a_right_says_which(tmp_path):
    tmp_path.chmod(0o777)
    done = subprocess.run(
        ["unshare", "--net", "setpriv", f"--reuid={NOBODY}", "--clear-groups", *FASTLOG, "serve", "--listen", ":514"],
        cwd="/", env=BASE_ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE_SEC, check=False,
    )  # fmt: skip
    assert "cannot listen on port 514/udp: Permission denied; ports below 1024 need CAP_NET_BIND_SERVICE" in done.stderr
    assert "sysctl -w net.ipv4.ip_unprivileged_port_start=514" in done.stderr


def test_every_socket_that_is_handed_over_is_taken(tmp_path, closing):
    sockets = []
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        sockets.append(closing(socket.socket(family, socket.SOCK_DGRAM)))
        sockets[-1].bind((host, 0))
    fds = [sock.fileno() for sock in sockets]
    launch = [sys.executable, "-c", HAND_OVER, ",".join(map(str, fds)), *FASTLOG, "serve"]
    server = closing(Server(tmp_path, command=launch, pass_fds=fds))
    assert server.ports == [sock.getsockname()[1] for sock in sockets]
    assert any("using the 2 sockets passed by the service manager" in message for message in server.messages)
    for host, port in zip(("127.0.0.1", "::1"), server.ports, strict=True):
        assert acknowledged(host, port) == ACK_7


def test_a_socket_that_fails_rests_and_the_others_are_served(start):
    """The first socket's descriptor becomes one that is readable, and not a socket."""
    program = (
        "import os, sys\n"
        "from fastlog import cli\n"
        "from fastlog.server import pipeline\n"
        "class Breaking(pipeline.Pipeline):\n"
        "    def __init__(self, settings, log, listeners, *rest):\n"
        "        reading, writing = os.pipe()\n"
        "        os.write(writing, b'x')\n"
        "        os.dup2(reading, listeners.fds[0])\n"
        "        super().__init__(settings, log, listeners, *rest)\n"
        "pipeline.Pipeline = Breaking\n"
        "from fastlog.server import server\n"
        "server.Pipeline = Breaking\n"
        "sys.exit(cli.main(['serve']))\n"
    )
    server = start(command=[sys.executable, "-c", program], LISTEN="127.0.0.1:0,127.0.0.2:0")
    for _ in range(3):
        assert acknowledged("127.0.0.2", server.ports[1]) == ACK_7
    assert sum("cannot receive" in message for message in server.messages) <= 1


def test_doctor_looks_at_each_port(start, tmp_path):
    server = start(LISTEN="127.0.0.1:0,127.0.0.2:0")
    done = run_fastlog("doctor", "--url", f"http://127.0.0.1:{server.dashboard_port}", cwd=tmp_path)
    for port in server.ports:
        assert f"{port}/udp: fastlog, pid {server.process.pid}" in done.stdout


def test_top_shows_each_socket(start, tmp_path):
    server = start(LISTEN="127.0.0.1:0,[::1]:0")
    assert acknowledged("::1", server.ports[1]) == ACK_7
    shown = eventually(
        lambda: run_fastlog("top", "--once", "--url", f"http://127.0.0.1:{server.dashboard_port}", cwd=tmp_path).stdout,
        lambda text: f"1 datagrams, 0 dropped at [::1]:{server.ports[1]}" in text,
    )
    assert f"0 datagrams, 0 dropped at 127.0.0.1:{server.ports[0]}" in shown
