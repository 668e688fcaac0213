"""Measures how long `fastlog serve` takes to start on a large log that a crash left: until its socket is bound,
and until it is ready. What comes in between waits in the receive buffer.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from time import monotonic, sleep

from benchmarks.tables import markdown
from fastlog.archive.writer import compress

LINE = b'{"level":"INFO","message":"%s"}\n' % (b"x" * 150)
TORN = LINE[:90]
PAGE = bytes(4096)
COMPRESSED = "1,000 compressed archives"
LOOK_SEC = 0.002  # between two looks for the socket
MB = 1_000_000


def lines(size: int) -> bytes:
    return LINE * (size // len(LINE))


def with_holes(size: int, apart: int, hole: bytes) -> Iterator[bytes]:
    block = lines(min(apart, 10 * MB))
    for at in range(0, size, len(block)):
        if at and at % apart < len(block):
            yield TORN + hole + LINE[9:]
        yield block


# For each case, the content of each file.
Case = Callable[[int], Iterator[Iterator[bytes]]]
CASES: dict[str, Case] = {
    "whole": lambda size: iter([with_holes(size, size, b"")]),
    "a page of zeros every 100 MB": lambda size: iter([with_holes(size, 100 * MB, PAGE)]),
    "a page of zeros every 100 kB": lambda size: iter([with_holes(size, 100_000, PAGE)]),
    "a page of zeros 8 MB before the end": lambda size: iter([iter([lines(size), TORN, PAGE, LINE, lines(8 * MB)])]),
    "20 MB of zeros in the middle": lambda size: iter([with_holes(size, size // 2, bytes(20 * MB))]),
    "20 MB of zeros at the end": lambda size: iter([iter([lines(size), bytes(20 * MB)])]),
    "1,000 archives": lambda size: (iter([lines(size // 1_000)]) for _ in range(1_001)),
    COMPRESSED: lambda size: (iter([lines(size // 1_000)]) for _ in range(1_001)),
}


def lay_out(directory: Path, case: Case, size: int, *, cold: bool) -> None:
    for number, parts in enumerate(case(size)):
        with open(directory / (f"server.log.{number}" if number else "server.log"), "wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
            if cold:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def compress_archives(directory: Path) -> None:
    for path in directory.glob("server.log.*"):
        with path.open("rb") as source, open(f"{path}.zst", "w+b") as target:
            compress(source.fileno(), target.fileno())
        path.unlink()


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_bound(port: int) -> bool:
    rows = Path("/proc/net/udp").read_text().splitlines()[1:]
    return any(int(row.split()[1].split(":")[1], 16) == port for row in rows)


def start(directory: Path) -> tuple[float, float]:
    """Seconds until the socket is bound, and until the server is ready."""
    port = free_port()
    command = [sys.executable, "-m", "fastlog", "serve", "--host", "127.0.0.1", "--port", str(port)]
    more = ["--log-dir", str(directory), "--dashboard-port", "off", "--max-log-size-mb", "100000"]
    began = monotonic()
    with subprocess.Popen([*command, *more], cwd=directory, stderr=subprocess.PIPE) as server:
        try:
            while not is_bound(port):
                sleep(LOOK_SEC)
            bound = monotonic() - began
            assert server.stderr
            if not any(b" ready " in message for message in server.stderr):
                sys.exit("the server did not start")
            return bound, monotonic() - began
        finally:
            server.send_signal(signal.SIGTERM)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=1_000, help="size of the log")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cold", action="store_true", help="the log is not in the page cache, as after a power cut")
    parser.add_argument("--directory", type=Path, help="where the log is to be; the system's place for temporary files")
    options = parser.parse_args()
    rows = []
    for name, case in CASES.items():
        times = []
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory(dir=options.directory) as directory:
                lay_out(Path(directory), case, options.mb * MB, cold=options.cold)
                if name == COMPRESSED:
                    compress_archives(Path(directory))
                times.append(start(Path(directory)))
        bound, ready = (median(column) for column in zip(*times, strict=True))
        rows.append([name, f"{bound:.2f}", f"{ready:.2f}"])
        print(f"{name}: bound after {bound:.2f} s, ready after {ready:.2f} s", file=sys.stderr)
    print(markdown([f"{options.mb} MB of log", "bound after s", "ready after s"], rows), end="")


if __name__ == "__main__":
    main()
