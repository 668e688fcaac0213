"""Two hosts that are connected by a cable: network namespaces, which only root can make.

Where the program `ip` is missing the tests that need it are skipped, except in CI, where they fail.
"""

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.helpers.running import BASE_ENVIRONMENT, PATIENCE_SEC

needs_two_hosts = pytest.mark.skipif(
    os.geteuid() != 0 or (shutil.which("ip") is None and os.environ.get("CI") != "true"),
    reason="only root can make network namespaces, and needs ip for it; on Debian: apt install iproute2",
)

SERVER_ADDRESSES = ("10.9.0.1/24", "10.9.0.2/24", "fd09::1/64", "fd09::2/64", "fe80::1/64", "fe80::2/64")
CLIENT_ADDRESSES = ("10.9.0.9/24", "fd09::9/64", "fe80::9/64")
CABLE = "cable0"  # the interface's name on both hosts

# Sends a datagram to each address, and prints from where the answer to it came.
ASK = """
import json, socket, sys
port, connected, datagram, answers = int(sys.argv[1]), sys.argv[2] == "connected", sys.argv[3].encode(), []
for address in sys.argv[4:]:
    family, kind, _, _, target = socket.getaddrinfo(address, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        client.settimeout(%d)
        if connected:
            client.connect(target)
            client.send(datagram)
        else:
            client.sendto(datagram, target)
        answers.append(client.recvfrom(100)[1][0])
print(json.dumps(answers))
"""

# What a program on one of the hosts begins with. `step` waits until the test lets it go on.
PROGRAM = """
import json, os, socket, subprocess, sys, time
from fastlog import Client
def ip(*arguments): subprocess.run(["ip", *arguments], check=True)
def step():
    print("step", flush=True)
    assert sys.stdin.readline()
def eventually(holds):
    until = time.monotonic() + %d
    while not holds():
        assert time.monotonic() < until, "never came to hold"
        time.sleep(0.01)
"""


class Program:
    """A program on a host, which the test runs step by step."""

    def __init__(self, inside: list[str], text: str, *arguments: object) -> None:
        self._process = subprocess.Popen(
            [*inside, sys.executable, "-W", "error", "-c", PROGRAM % PATIENCE_SEC + text, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=BASE_ENVIRONMENT,
        )

    def reaches_step(self) -> None:
        assert self._process.stdout.readline() == "step\n"

    def goes_on(self) -> None:
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def ends(self):
        """What it printed at its end, as JSON."""
        printed, _ = self._process.communicate(timeout=PATIENCE_SEC * 2)
        assert self._process.returncode == 0
        return json.loads(printed)

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()


class TwoHosts:
    """`inside` goes before a command that the server's host is to run."""

    def __init__(self) -> None:
        self._server, self._client = f"fastlog-server-{os.getpid()}", f"fastlog-client-{os.getpid()}"
        self.inside = ["ip", "netns", "exec", self._server]
        self.inside_client = ["ip", "netns", "exec", self._client]
        for host in (self._server, self._client):
            ip("netns", "add", host)
        try:
            ip(
                "link",
                "add",
                CABLE,
                "netns",
                self._server,
                "type",
                "veth",
                "peer",
                "name",
                CABLE,
                "netns",
                self._client,
            )
            for host, addresses in ((self._server, SERVER_ADDRESSES), (self._client, CLIENT_ADDRESSES)):
                ip("-n", host, "link", "set", CABLE, "addrgenmode", "none")
                for address in addresses:  # usable at once: nobody is asked whether it is in use
                    ip("-n", host, "addr", "add", address, "dev", CABLE, *(["nodad"] if ":" in address else []))
                for link in ("lo", CABLE):
                    ip("-n", host, "link", "set", link, "up")
                ip("-n", host, "route", "add", "multicast", "ff00::/8", "dev", CABLE, "table", "local")
        except BaseException:
            self.close()
            raise

    def asking(self, port: int, datagram: bytes, *addresses: str, connected: bool = True) -> subprocess.Popen[str]:
        """Asks these addresses of the server from the other host, one after the other."""
        how = "connected" if connected else "unconnected"
        command = [sys.executable, "-c", ASK % PATIENCE_SEC, str(port), how, datagram.decode(), *addresses]
        return subprocess.Popen(
            ["ip", "netns", "exec", self._client, *command], stdout=subprocess.PIPE, text=True, env=BASE_ENVIRONMENT
        )

    def ask(self, port: int, datagram: bytes, *addresses: str, connected: bool = True) -> list[str]:
        """From where the answers came. A client that is connected takes them from the address that it asked only."""
        return answers_of(self.asking(port, datagram, *addresses, connected=connected))

    def add_address(self, address: str) -> None:
        ip("-n", self._server, "addr", "add", address, "dev", CABLE)

    def remove_address(self, address: str) -> None:
        ip("-n", self._server, "addr", "del", address, "dev", CABLE)

    def close(self) -> None:
        for host in (self._server, self._client):
            ip("netns", "del", host)


class BehindARouter(TwoHosts):
    """The host that `inside` is on is a router, and a third one is behind it, at BEYOND. The way there is narrower."""

    BEYOND = "10.10.0.2"
    MTU = 1300

    def __init__(self) -> None:
        super().__init__()
        self._beyond = f"fastlog-beyond-{os.getpid()}"
        try:
            ip("netns", "add", self._beyond)
            self.inside_beyond = ["ip", "netns", "exec", self._beyond]
            ends = ["narrow0", "netns", self._server, "type", "veth", "peer", "name", "narrow0", "netns", self._beyond]
            ip("link", "add", *ends)
            for host, address in ((self._server, "10.10.0.1/24"), (self._beyond, f"{self.BEYOND}/24")):
                ip("-n", host, "addr", "add", address, "dev", "narrow0")
                ip("-n", host, "link", "set", "narrow0", "mtu", str(self.MTU), "up")
                ip("-n", host, "link", "set", "lo", "up")
            ip("-n", self._beyond, "route", "add", "default", "via", "10.10.0.1")
            ip("-n", self._client, "route", "add", "default", "via", SERVER_ADDRESSES[0].partition("/")[0])
            forward = ["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]
            subprocess.run([*self.inside, *forward], check=True, timeout=PATIENCE_SEC)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        ip("netns", "del", self._beyond)
        super().close()


def answers_of(asking: subprocess.Popen[str]) -> list[str]:
    answers, _ = asking.communicate(timeout=PATIENCE_SEC)
    assert asking.returncode == 0, "an address did not answer"
    return json.loads(answers)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, timeout=PATIENCE_SEC)
