"""Measures what viewers cost: the same load without and with viewers of the log, each with a filter of its own.

    .venv/bin/python -m benchmarks.bench_view --viewers 20 --rate 200000 --minutes 1

What counts: the processor time of the loop's thread for an entry, losses, and how memory grows. The viewers read what
comes; an entry of the level ERROR is sent now and then, and the longest time until a viewer has it is printed.
"""

import argparse
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

TICKS = os.sysconf("SC_CLK_TCK")
FILTERS = [
    "", "level=ERROR", "level=WARNING", "level=ERROR,CRITICAL", "level=DEBUG,INFO", "app=checkout", "app=nothing",
    "host=web-1", "text=timeout", "text=refused", "text=user", "source=127.0.0.1", "level=ERROR&text=probe",
    "rejected=1", "level=INFO&text=request", "app=payments&level=ERROR", "rate=1", "rate=5&level=INFO",
    "text=nowhere+to+be+found", "level=OTHER",
]  # fmt: skip
PROBE_SEC = 1.0  # time between two entries whose way to a viewer is timed
SETTLE_SEC = 1.0  # until the server has stored what it received
MB = 1 << 20


class Viewer(threading.Thread):
    """Reads `/tap` until its end, and notes when a probe was seen."""

    def __init__(self, port: int, query: str) -> None:
        super().__init__(daemon=True)
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("GET", f"/tap?{query}")
        self.response = connection.getresponse()
        assert self.response.status == 200, self.response.read()
        self.query = query
        self.shown = self.matching = 0
        self.is_estimated = False
        self.seen: dict[int, float] = {}

    def run(self) -> None:
        for line in iter(self.response.readline, b""):
            if line.startswith(b'data: {"lines"'):
                data = json.loads(line[6:])
                self.shown += data["shown"]
                self.matching += data["matching"]
                self.is_estimated |= data.get("estimated", False)
                for entry in data["lines"]:
                    if "probe" in entry:
                        self.seen.setdefault(entry["probe"], time.monotonic())


class Probes(threading.Thread):
    """Sends an ERROR now and then."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._port = port
        self.sent: dict[int, float] = {}
        self.is_over = threading.Event()

    def run(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            while not self.is_over.wait(PROBE_SEC):
                number = len(self.sent)
                self.sent[number] = time.monotonic()
                entry = {"level": "ERROR", "message": f"probe {number}", "probe": number, "app": "probes"}
                sock.sendto(json.dumps(entry).encode(), ("127.0.0.1", self._port))


def thread_seconds(pid: int, thread: int) -> float:
    fields = Path(f"/proc/{pid}/task/{thread}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MB


def view_process(server: int) -> int | None:
    for task in Path(f"/proc/{server}/task").iterdir():
        for child in (task / "children").read_text().split():
            if b"fastlog.view.process" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    return None


def stats_of(port: int) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/stats")
    stats: dict[str, Any] = json.load(connection.getresponse())
    connection.close()
    return stats


def run(viewers: int, rate: int, seconds: float) -> float:
    """One load; prints what it took, and returns the microseconds of the loop's thread for an entry."""
    with tempfile.TemporaryDirectory() as directory:
        environment = {
            **os.environ, "SERVER_PORT": "0", "DASHBOARD_PORT": "0", "LOG_DIR": directory, "MAX_LOG_SIZE_MB": "500",
            "LOG_BACKUPS": "2",
        }  # fmt: skip
        server = subprocess.Popen(
            [sys.executable, "-m", "fastlog", "serve"], stderr=subprocess.PIPE, text=True, env=environment
        )
        ready = next(line for line in server.stderr or [] if " ready " in line)
        udp, port = map(int, re.search(r"udp=\S+:(\d+) http=http://\S+:(\d+)/", ready).groups())  # type: ignore[union-attr]
        watching = [Viewer(port, FILTERS[number % len(FILTERS)]) for number in range(viewers)]
        for viewer in watching:
            viewer.start()
        probes = Probes(udp)
        probes.start()
        child = view_process(server.pid)
        began, at_first = time.monotonic(), thread_seconds(server.pid, server.pid)
        view_at_first = thread_seconds(child, child) if child else 0.0
        load = subprocess.Popen(
            [sys.executable, "-m", "fastlog", "loadtest", "--port", str(udp), "--rate", str(rate), "--json",
             "--duration", str(seconds), "--error-share", "0.001", "--dashboard", f"http://127.0.0.1:{port}"],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        memory: list[tuple[float, float]] = []
        while load.poll() is None:
            time.sleep(min(seconds / 20, 10))
            memory.append((resident(server.pid), resident(child) if child else 0.0))
        probes.is_over.set()
        time.sleep(SETTLE_SEC)
        took = time.monotonic() - began
        loop_sec = thread_seconds(server.pid, server.pid) - at_first
        view_sec = thread_seconds(child, child) - view_at_first if child else 0.0
        stats = stats_of(port)
        server.send_signal(signal.SIGTERM)
        server.wait()
    losses = {name: stats["losses"][name] for name in ("kernel_drops", "network", "disk")}
    each: float = loop_sec / stats["total_received"] * 1e6
    print(f"{viewers} viewers: {stats['total_received']:,} entries in {took:.0f} s, losses {losses}")
    print(
        f"  the loop's thread: {each:.3f} µs an entry; all of the server: {stats['process']['cpu_seconds']:.2f} s CPU"
    )
    first, last = memory[len(memory) // 4], memory[-1]
    print(f"  memory of the server: {first[0]:.1f} MiB after a quarter, {last[0]:.1f} MiB at the end")
    if child:
        print(
            f"  the view process: {view_sec / took * 100:.0f} % of a processor, {first[1]:.1f} MiB, {last[1]:.1f} MiB"
        )
    for viewer in watching:
        about = " (estimated)" if viewer.is_estimated else ""
        print(f"    {viewer.query or 'everything':28} {viewer.shown:>6,} of {viewer.matching:>12,} shown{about}")
        if viewer.query == "level=ERROR&text=probe":
            waits = [seen - probes.sent[number] for number, seen in viewer.seen.items()]
            missed = len(probes.sent) - len(waits)
            print(f"      probes: {len(waits)} seen after {max(waits, default=0):.2f} s at most, {missed} not seen")
    return each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--viewers", type=int, default=20)
    parser.add_argument("--rate", type=int, default=200_000, help="entries a second; default: 200000")
    parser.add_argument("--minutes", type=float, default=0.25, help="length of each load; default: 0.25")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    for _ in range(options.rounds):
        without = run(0, options.rate, options.minutes * 60)
        with_viewers = run(options.viewers, options.rate, options.minutes * 60)
        print(f"viewers add {(with_viewers / without - 1) * 100:+.1f} % to the loop's time for an entry")


if __name__ == "__main__":
    main()
