"""The real server and the real commands, each in a process of its own."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from time import monotonic, sleep

from tests.helpers.archives import text_of

# Of the caller's environment, the programs under test get only what finds and measures them, and which twin of the
# client they run on.
BASE_ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if name in ("PATH", "HOME", "LANG", "FASTLOG_PURE") or name.startswith("COVERAGE")
}
PATIENCE_SEC = 30  # until something that must happen counts as not happening; never waited out by a test that passes
LOOK_AGAIN_SEC = 0.003  # between two looks: one after the other would take the processor from what is waited for
WINDOW = 100  # datagrams under way at once: they fit in the smallest receive buffer that a system grants
FASTLOG = [sys.executable, "-m", "fastlog"]
TOKEN = "correct-horse-battery-staple"  # of a dashboard that is not for everybody


def run_fastlog(*arguments: str, cwd: Path, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    done = subprocess.run(
        [*FASTLOG, *arguments],
        input=stdin,
        capture_output=True,
        cwd=cwd,
        env={**BASE_ENVIRONMENT, **environment},
        timeout=PATIENCE_SEC,
        check=False,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def run_python(
    program: str, *arguments: object, cwd: Path | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end. A warning of it is an error."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *map(str, arguments)],
        cwd=cwd,
        env=BASE_ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SEC,
        check=check,
    )


def eventually(read, holds):
    """Reads until the value holds."""
    until = monotonic() + PATIENCE_SEC
    while not holds(value := read()):
        assert monotonic() < until, f"never came to hold; the last was {value}"
        sleep(LOOK_AGAIN_SEC)
    return value


def until(holds, what: str) -> None:
    """Looks until it holds, where nothing reports that another program has come so far; `what` it is, for the error."""
    give_up = monotonic() + PATIENCE_SEC
    while not holds():
        assert monotonic() < give_up, f"never came: {what}"
        sleep(LOOK_AGAIN_SEC)


def get(port: int, path: str, method: str = "GET", **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SEC)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        response.text = response.read().decode()
        return response
    finally:
        connection.close()


class Server:
    """`fastlog serve` in `directory`, on a free port of `host`; ready when the constructor returns."""

    def __init__(
        self, directory: Path, host: str = "127.0.0.1", command: Sequence[str] = (), pass_fds=(), **settings: str
    ) -> None:
        self.directory = directory
        self.host = host
        self.messages: list[str] = []
        self.process = subprocess.Popen(
            command or [*FASTLOG, "serve"],
            pass_fds=pass_fds,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=directory,
            env={
                **BASE_ENVIRONMENT,
                "SERVER_HOST": host,
                "SERVER_PORT": "0",
                "LOG_DIR": ".",
                "DASHBOARD_PORT": "0",
                "STAMP": "never",  # so that what is stored can be compared with what was sent
                **settings,
            },
        )
        ready = self.wait_for_message("fastlog: ready ")
        addresses, dashboard_port = re.search(
            r" udp=(\S+)(?: unix=.*)? http=(?:http://\S+:(\d+)/|off|unavailable) log=", ready
        ).groups()
        self.ports = [int(address.rpartition(":")[2]) for address in addresses.split(",") if ":" in address]
        self.port = self.ports[0] if self.ports else None
        self.dashboard_port = dashboard_port and int(dashboard_port)  # None: there is no dashboard

    def wait_for_message(self, text: str) -> str:
        """Returns the next message that contains `text`, and keeps it and those before it in `messages`."""
        for line in iter(self.process.stderr.readline, b""):
            self.messages.append(line.decode().rstrip("\n"))
            if text in self.messages[-1]:
                return self.messages[-1]
        raise AssertionError(f"the server ended without saying {text!r}: {self.messages}")

    def client(self) -> socket.socket:
        """A socket connected to the server."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        client = socket.socket(family, socket.SOCK_DGRAM)
        client.settimeout(PATIENCE_SEC)
        client.connect((host, self.port))
        return client

    def send(self, datagrams: Iterable[bytes]) -> None:
        """Sends no faster than the server takes: none of them is lost, however small its receive buffer is."""
        with self.client() as client:
            self.send_from((client, datagram) for datagram in datagrams)

    def send_from(self, datagrams: Iterable[tuple[socket.socket, bytes]]) -> None:
        """Sends datagrams, each from the socket given with it, no faster than the server takes them."""
        for number, (client, datagram) in enumerate(datagrams, 1):
            client.send(datagram)
            if number % WINDOW == 0:
                while self.queued() > 0:
                    os.sched_yield()

    def queued(self) -> int:
        """Bytes of the receive buffer in use, by the kernel's account."""
        name = "udp6" if ":" in self.host else "udp"
        try:
            table = Path(f"/proc/{self.process.pid}/net/{name}").read_text()
        except OSError:  # it has ended, and another server takes its socket over
            table = Path(f"/proc/self/net/{name}").read_text()
        rows = [row.split() for row in table.splitlines()[1:]]
        return sum(int(row[4].split(":")[1], 16) for row in rows if int(row[1].split(":")[1], 16) == self.port)

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """The server does nothing meanwhile: datagrams wait in its receive buffer, or are dropped there."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self) -> int:
        """Ends the server as a service manager would; returns its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        code = self.process.wait(PATIENCE_SEC)
        self.messages += self.process.stderr.read().decode().splitlines()
        return code

    @property
    def account(self) -> str:
        """The line of totals that the server printed when it ended."""
        return self.messages[-1]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stderr.close()

    def stats(self) -> dict:
        response = get(self.dashboard_port, "/stats")
        assert response.status == 200
        return json.loads(response.text)

    def log(self) -> bytes:
        return (self.directory / "server.log").read_bytes()

    def whole_log(self) -> bytes:
        """The live file with its archives before it, in whatever form, the oldest first."""
        archives = {
            int(path.name.split(".")[2]): path for path in sorted(self.directory.glob("server.log.[0-9]*"))[::-1]
        }
        return b"".join(text_of(archives[number]) for number in sorted(archives, reverse=True)) + self.log()

    def entries(self) -> list[dict]:
        """Ends the server; returns all entries in its log."""
        assert self.stop() == 0
        return [json.loads(line) for line in self.whole_log().splitlines()]

    def rejects(self) -> list[dict]:
        return [json.loads(line) for line in (self.directory / "rejects.jsonl").read_text().splitlines()]


class Follower:
    """Reads the lines of a file as they are written: the kernel reports each change, so nothing polls."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            ["tail", "--bytes=+0", "--follow=name", str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def line(self) -> bytes:
        return self.process.stdout.readline()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
