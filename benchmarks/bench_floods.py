"""Measures what a sender that floods does to an honest one: the ACK latency of an honest sender of a hundred ERRORs a
second, and the processor time of the server, without a flood and under floods of several kinds, with RATE_LIMIT and
without. Each sender has a loopback address of its own; the flood is as fast as one core can send.

The honest sender sends an entry again that is not acknowledged in time; its latency is counted from the first attempt.
"""

import argparse
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from time import monotonic, sleep

from benchmarks.peers import collectors, kernel
from benchmarks.tables import count, markdown

HONEST, SERVER = "127.0.0.3", "127.0.0.1"  # the flood comes from 127.0.0.1
ENTRY = b'{"level":"ERROR","message":"honest","sequence":%d}'
ACK = b'{"ack":true,"sequence":%d}'
PAUSE_SEC = 0.01
AGAIN_SEC = 0.1  # until an honest entry is sent again
LONGEST_SEC = 10.0  # until it is given up
# For each kind of flood what is sent, of which udpsend changes the sequence.
KINDS = {
    "none": b"",
    "ordinary": b'{"level":"INFO","message":"%s","sequence":1000000000}\n' % (b"x" * 50),
    "garbage": b"garbage %s\n" % (b"x" * 92),
    "ERROR": b'{"level":"ERROR","message":"%s","sequence":1000000000}\n' % (b"x" * 50),
    "64 KiB of {": b"{" * 65_000 + b"\n",
}
READY = re.compile(rb"ready udp=\S+:(\d+) ")


@dataclass(frozen=True)
class Outcome:
    latencies_ms: list[float]
    repeated: int
    sent_per_sec: float
    cores: float

    def at(self, percent: int) -> float:
        return quantiles(self.latencies_ms, n=100, method="inclusive")[percent - 1]


@contextmanager
def running(directory: Path, limit: str) -> Iterator[tuple[int, int]]:
    """A server; its pid and port."""
    command = [sys.executable, "-m", "fastlog", "serve", "--host", "0.0.0.0", "--port", "0"]
    more = ["--log-dir", str(directory), "--dashboard-port", "off", "--rate-limit", limit]
    with subprocess.Popen([*command, *more], cwd=directory, stderr=subprocess.PIPE) as server:
        try:
            assert server.stderr
            ready = next(filter(None, map(READY.search, server.stderr)))
            yield server.pid, int(ready[1])
        finally:
            server.send_signal(signal.SIGTERM)
            server.communicate()


@contextmanager
def flooding(directory: Path, kind: str, port: int) -> Iterator[None]:
    if not KINDS[kind]:
        yield
        return
    source = directory / "flood"
    source.write_bytes(KINDS[kind])
    command = [str(collectors.BUILD / "udpsend"), "-p", str(port), "-f", str(source), "-n", str(10**12)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as sender:
        try:
            yield
        finally:
            sender.kill()


def honest(port: int, seconds: float) -> tuple[list[float], int]:
    """The latencies of the honest sender's entries in milliseconds, and how often it sent one again."""
    latencies, repeated, sequence = [], 0, 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((HONEST, 0))
        sender.connect((SERVER, port))
        sender.settimeout(AGAIN_SEC)
        until = monotonic() + seconds
        while monotonic() < until:
            sequence += 1
            began = monotonic()
            while monotonic() - began < LONGEST_SEC:
                sender.send(ENTRY % sequence)
                try:
                    while sender.recv(100) != ACK % sequence:  # one of an earlier attempt
                        pass
                    break
                except TimeoutError:
                    repeated += 1
            latencies.append((monotonic() - began) * 1000)
            sleep(max(0.0, PAUSE_SEC - (monotonic() - began)))
    return latencies, repeated


def sent_datagrams() -> int:
    """Datagrams that this machine has sent over IPv4 so far: nearly all of them are the flood's."""
    names, values = (
        line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Udp:")
    )
    return int(values[names.index("OutDatagrams")])


def run(kind: str, limit: str, seconds: float) -> Outcome:
    with tempfile.TemporaryDirectory() as name, running(Path(name), limit) as (pid, port):
        used, sent, began = kernel.cpu_ns(pid), sent_datagrams(), monotonic()
        with flooding(Path(name), kind, port):
            latencies, repeated = honest(port, seconds)
            passed = monotonic() - began
            used, sent = kernel.cpu_ns(pid) - used, sent_datagrams() - sent
        return Outcome(latencies, repeated, sent / passed, used / 1e9 / passed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limits", default="off 1000", help="values of RATE_LIMIT, separated by spaces")
    parser.add_argument("--kinds", default=",".join(KINDS), help="kinds of floods, separated by commas")
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    collectors.build()
    rows = []
    for limit in options.limits.split():
        for kind in options.kinds.split(","):
            got = run(kind, limit, options.seconds)
            figures = [f"{got.at(50):.1f}", f"{got.at(99):.1f}", f"{max(got.latencies_ms):.1f}"]
            rows.append([limit, kind, count(got.sent_per_sec), *figures, str(got.repeated), f"{got.cores:.2f}"])
            print(" ".join(rows[-1]), file=sys.stderr)
    names = ["RATE_LIMIT", "flood", "datagrams/s", "ACK p50 ms", "p99 ms", "max ms", "sent again", "server, cores"]
    print(f"Load of the machine: {os.getloadavg()[0]:.1f}\n")
    print(markdown(names, rows), end="")


if __name__ == "__main__":
    main()
