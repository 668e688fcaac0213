"""One measurement: a collector is started in an empty directory and gets a load; then its file and its CPU time are
read.

The CPU time is counted from just before the first datagram until the collector has nothing left to do, so neither its
start nor its end counts. The stored entries are counted in its file after it has ended.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers import kernel
from benchmarks.peers.collectors import BUILD, COLLECTORS, Launch

PATIENCE_SEC = 30.0  # to wait for a start, for the work left after the last datagram, and for an end
LOOK_SEC = 0.05  # between two looks at a process
IDLE_NS = 1_000_000  # of CPU time between two looks: a collector that uses less has nothing to do
IDLE_LOOKS = 3  # in a row without work, after which a collector counts as idle


@dataclass(frozen=True)
class Load:
    """The datagrams to send. `rate`: datagrams a second; 0: as fast as one sender can."""

    entries: Path
    count: int
    rate: float = 0
    burst: int = 64  # datagrams of one system call of the sender
    senders: int = 1  # distinct addresses
    per_datagram: int = 1  # entries
    segment_bytes: int = 0  # size to which entries are padded and sent coalesced (UDP_SEGMENT); 0: they are not

    def command(self, port: int) -> list[str]:
        options = {
            "-p": port,
            "-f": self.entries,
            "-n": self.count,
            "-r": self.rate,
            "-b": self.burst,
            "-s": self.senders,
            "-k": self.per_datagram,
            "-g": self.segment_bytes,
        }
        return [str(BUILD / "udpsend"), *(str(part) for pair in options.items() for part in pair)]


@dataclass(frozen=True)
class Outcome:
    sent: int  # entries
    stored: int  # entries: lines of the file
    kernel_drops: int  # datagrams for which the collector's socket had no room
    datagrams: int
    sent_bytes: int
    sent_rate: float  # datagrams a second that the sender reached
    cpu_ns: int
    user_share: float | None  # of the CPU time; None: too little was used to know it
    receive_buffer: int  # bytes granted
    peak_memory_bytes: int

    @property
    def share(self) -> float:
        return self.stored / self.sent

    @property
    def ns_each(self) -> float:
        """CPU time for each stored entry."""
        return self.cpu_ns / self.stored if self.stored else float("inf")

    def as_row(self) -> dict[str, Any]:
        return {**asdict(self), "ns_each": self.ns_each if self.stored else None}


class Collector:
    """A running collector, ready when the constructor returns. Raises SystemExit with its messages if it ended."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.port = _free_port()
        self.launch: Launch = COLLECTORS[name](self.port, directory)
        self._messages = directory / "messages"
        with open(self._messages, "wb") as messages:
            self.process = subprocess.Popen(
                self.launch.command,
                cwd=directory,
                env={"PATH": os.environ.get("PATH", ""), **self.launch.environment},
                stdin=subprocess.DEVNULL,
                stdout=messages,
                stderr=messages,
            )
        try:
            self._wait_until_bound()
            self.wait_until_idle()
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def socket(self) -> kernel.SocketState:
        state = kernel.udp_socket(self.port)
        if state is None:
            raise SystemExit(f"{self.name} ended: {self._messages.read_text()}")
        return state

    def _wait_until_bound(self) -> None:
        give_up = time.monotonic() + PATIENCE_SEC
        while kernel.udp_socket(self.port) is None:
            if self.process.poll() is not None or time.monotonic() > give_up:
                raise SystemExit(f"{self.name} does not listen: {self._messages.read_text()}")
            time.sleep(LOOK_SEC / 10)

    def wait_until_idle(self) -> None:
        """Waits until its socket is empty and it uses hardly any CPU time."""
        give_up = time.monotonic() + PATIENCE_SEC
        idle = 0
        used = kernel.cpu_ns(self.pid)
        while idle < IDLE_LOOKS:
            if time.monotonic() > give_up:
                raise SystemExit(f"{self.name} is still busy: {self._messages.read_text()}")
            time.sleep(LOOK_SEC)
            before, used = used, kernel.cpu_ns(self.pid)
            idle = idle + 1 if used - before < IDLE_NS and self.socket.queued_bytes == 0 else 0

    def stop(self) -> None:
        """Ends it as a service manager would, so that it writes what it has buffered."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE_SEC)
        except subprocess.TimeoutExpired:
            self.kill()
            raise SystemExit(f"{self.name} did not end on SIGTERM: {self._messages.read_text()}") from None

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stored(self) -> int:
        """The number of lines in its file."""
        count = 0
        with contextlib.suppress(FileNotFoundError), open(self.launch.output, "rb") as file:
            while part := file.read(1 << 20):
                count += part.count(b"\n")
        return count


@contextlib.contextmanager
def running(name: str, folder: Path | None) -> Iterator[Collector]:
    """A collector in a directory of its own, which is removed afterwards. `folder`: where; None: the system's directory
    for temporary files."""
    with tempfile.TemporaryDirectory(prefix="collector-", dir=folder) as directory:
        collector = Collector(name, Path(directory))
        try:
            yield collector
        finally:
            collector.kill()


def run(name: str, load: Load, folder: Path | None = None) -> Outcome:
    """Measures one collector under one load."""
    with running(name, folder) as collector:
        user, system = kernel.user_and_system_ticks(collector.pid)
        used = kernel.cpu_ns(collector.pid)
        sender = subprocess.run(load.command(collector.port), capture_output=True, text=True, check=False)
        if sender.returncode:
            raise SystemExit(f"udpsend: {sender.stderr}")
        collector.wait_until_idle()
        used = kernel.cpu_ns(collector.pid) - used
        user_after, system_after = kernel.user_and_system_ticks(collector.pid)
        state = collector.socket
        memory = kernel.peak_memory_bytes(collector.pid)
        collector.stop()
        sent = json.loads(sender.stdout)
        ticks = user_after - user + system_after - system
        return Outcome(
            sent=sent["entries"],
            stored=collector.stored(),
            kernel_drops=state.drops,
            datagrams=sent["datagrams"],
            sent_bytes=sent["bytes"],
            sent_rate=sent["datagrams"] / sent["seconds"],
            cpu_ns=used,
            user_share=(user_after - user) / ticks if ticks else None,
            receive_buffer=state.receive_buffer,
            peak_memory_bytes=memory,
        )


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
