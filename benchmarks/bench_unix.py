"""Measures the unix socket: senders at a steady rate, what is stored, and how long a sender was held up at the most.

    .venv/bin/python -m benchmarks.bench_unix [entries a second] [senders] [seconds]

The length of the queue counts: `net.unix.max_dgram_qlen`, which a network namespace of its own may have otherwise:

    sudo unshare --net sh -c 'ip link set lo up; sysctl -w net.unix.max_dgram_qlen=512; .venv/bin/python -m …'
"""

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

BURST_SEC = 0.001  # a sender sends what is due, and sleeps so long


def send(path: str, rate: int, seconds: float) -> tuple[int, float]:
    """Sends at that rate; returns how many entries it sent, and the longest time that one took."""
    entry = b'{"level":"INFO","message":"card 4711 refused by the gateway, retrying","app":"shop","order":1093}'
    longest, sent = 0.0, 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(path)
        began = time.monotonic()
        while (now := time.monotonic()) - began < seconds:
            while sent < (now - began) * rate:
                before = time.monotonic()
                sock.send(entry)
                longest = max(longest, time.monotonic() - before)
                sent += 1
            time.sleep(BURST_SEC)
    return sent, longest


def main(rate: int = 100_000, senders: int = 4, seconds: float = 10.0) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/log.sock"
        server = subprocess.Popen(
            [sys.executable, "-m", "fastlog", "serve"],
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ, "UNIX_SOCKET": path, "SERVER_PORT": "0", "DASHBOARD_PORT": "0", "LOG_DIR": directory,
                "MAX_LOG_SIZE_MB": "1000",
            },
        )  # fmt: skip
        url = next(
            found[1] for found in (re.search(r" ready .* http=(\S+) ", line) for line in server.stderr or []) if found
        )
        with ProcessPoolExecutor(senders) as pool:
            done = list(pool.map(send, *zip(*[(path, rate // senders, seconds)] * senders, strict=True)))
        time.sleep(1)
        with urllib.request.urlopen(f"{url}stats") as answer:
            stats = json.load(answer)
        server.send_signal(signal.SIGTERM)
        server.wait()
        sent, longest = sum(count for count, _ in done), max(longest for _, longest in done)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        queue = Path("/proc/sys/net/unix/max_dgram_qlen").read_text().strip()
        print(
            f"queue of {queue}: {sent} sent by {senders} senders in {seconds:g} s ({sent / seconds:,.0f}/s), "
            f"{stats['total_received']} received; longest send {longest * 1000:.1f} ms; "
            f"server {stats['process']['cpu_seconds']:.2f} s CPU, all {used.ru_utime + used.ru_stime:.2f} s"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
