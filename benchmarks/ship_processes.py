"""What the measurements of `fastlog ship` run: engines, a server, a shipper, and a load for it; all on this machine."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import entries
from benchmarks.peers import kernel
from benchmarks.peers.trial import Load
from fastlog.segments import ATTRIBUTE, Identity
from tests.helpers.nats import NatsServer

LINE_BYTES = 261  # with its line feed: as the lines of which `docs/ship.md` tells
FILES = 4  # of a log that is there: three archives and the live file
LOG, NODE, STREAM = "0123456789ab", "bench", "LOGS"
SETTLED_SEC = 0.5  # between two looks at a server that is to have nothing to do
READY = re.compile(rb"ready udp=\S+:(\d+) http=\S+?:(\d+)/ ")
SUMMARY = re.compile(r"shipped ([\d,]+) lines")


def environment() -> dict[str, str]:
    """No setting of the caller's is in it."""
    return {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}


@contextlib.contextmanager
def nats_server(directory: Path, **stream: object) -> Iterator[NatsServer]:
    """With the stream. `stream`: more of its configuration."""
    server = NatsServer(directory, jetstream="max_file: 100G")
    try:
        server.make_stream(**stream)
        yield server
    finally:
        server.close()


def nats_pid(server: NatsServer) -> int:
    return int(server.process.pid)


@contextlib.contextmanager
def bulk_server() -> Iterator[tuple[int, str]]:
    """Its pid and URL."""
    command = [sys.executable, "-m", "benchmarks.bulk_stand_in"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            yield server.pid, f"http://127.0.0.1:{int(server.stdout.readline())}/logs"
        finally:
            server.kill()


def write_entries(path: Path, error_share: float = 0.0) -> None:
    """Entries whose lines have LINE_BYTES in the mean."""
    mean = entries.write(path, error_share, 100)["mean_bytes"]
    entries.write(path, error_share, 100 + LINE_BYTES - 1 - round(mean))


def lay_out(directory: Path, lines: int) -> list[Path]:
    """A log of so many lines, as the server leaves it. Returns its files, the oldest first."""
    source = directory / "entries"
    write_entries(source)
    block = source.read_bytes()
    source.unlink()
    per_block = block.count(b"\n")
    paths = [directory / f"server.log.{number}" for number in range(FILES - 1, 0, -1)] + [directory / "server.log"]
    left = lines
    for segment, path in enumerate(paths, 1):
        here = left // (FILES - segment + 1)
        left -= here
        with open(path, "wb") as file:
            file.writelines(block for _ in range(here // per_block))
            file.writelines(block.splitlines(keepends=True)[: here % per_block])
            os.setxattr(file.fileno(), ATTRIBUTE, str(Identity(LOG, segment)).encode())
            file.flush()
            os.fsync(file.fileno())
    return paths


class Collector:
    """`fastlog serve` in a directory."""

    def __init__(self, directory: Path, *more: str) -> None:
        command = [sys.executable, "-m", "fastlog", "serve", "--host", "127.0.0.1", "--port", "0", "--no-env-file"]
        self.process = subprocess.Popen(
            [*command, "--log-dir", str(directory), "--dashboard-port", "0", *more],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment(),
        )
        assert self.process.stderr
        ready = next(filter(None, map(READY.search, self.process.stderr)), None)
        if ready is None:
            raise SystemExit("the server did not start")
        self.port, self._dashboard = int(ready[1]), int(ready[2])
        self._messages = threading.Thread(target=self.process.stderr.read)
        self._messages.start()

    @property
    def cpu_ns(self) -> int:
        """Of the server alone, not of the processes that it starts."""
        return kernel.own_cpu_ns(self.process.pid)

    def stats(self) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._dashboard}/stats") as answer:
            return json.load(answer)

    def settled(self) -> Any:
        """Its figures when nothing comes any more and nothing waits to be written."""
        before = None
        while True:
            stats = self.stats()
            if (now := (stats["total_received"], stats["stored"])) == before and not stats["buffered"]:
                return stats
            before = now
            time.sleep(SETTLED_SEC)

    def compressed(self) -> None:
        """Waits until no archive is to be compressed any more."""
        while self.stats()["archives"]["waiting_files"]:
            time.sleep(SETTLED_SEC)

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        self._messages.join()


class Shipper:
    """`fastlog ship`, until it is stopped, or with `--once` until it has ended by itself."""

    def __init__(self, directory: Path, to: str, *more: str) -> None:
        command = [sys.executable, "-m", "fastlog", "ship", "--to", to, "--log-dir", str(directory), "--node", NODE]
        self._messages = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed when the process has ended
        self.process = subprocess.Popen(
            [*command, "--env-file", os.devnull, *more],
            stdin=subprocess.DEVNULL,
            stderr=self._messages,
            env=environment(),
        )
        self.cpu_sec = self.peak_mb = 0.0  # when it has ended

    def wait(self) -> str:
        """Returns what it has printed. Raises SystemExit with that if it has failed."""
        _, status, used = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self.cpu_sec, self.peak_mb = used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6
        self._messages.seek(0)
        text = self._messages.read()
        self._messages.close()
        if self.process.returncode:
            raise SystemExit(f"the shipper has failed: {text}")
        return text

    def stop(self) -> str:
        if self.process.poll() is not None:
            raise SystemExit(f"the shipper has ended with {self.process.returncode}")
        self.process.send_signal(signal.SIGTERM)
        return self.wait()


@contextlib.contextmanager
def loaded(directory: Path, port: int, rate: int, seconds: float, error_share: float) -> Iterator[None]:
    """Sends at that rate meanwhile, and waits until all is sent."""
    source = directory / "entries"
    write_entries(source, error_share)
    load = Load(source, int(rate * seconds), rate)
    with subprocess.Popen(load.command(port), stdout=subprocess.DEVNULL) as sender:
        try:
            yield
            sender.wait()
        finally:
            sender.kill()
