"""The usual design of a log collector in Python, for comparison: one datagram a system call, `json.loads`, a list
under a lock, and a thread that writes the list to a file.

usage: usual.py PORT FILE
"""

import json
import signal
import socket
import sys
import threading
from typing import Any

FLUSH_COUNT = 100  # entries; this and the next are fastlog's defaults
FLUSH_SEC = 5.0
RECEIVE_BYTES = 4 << 20
SO_RCVBUFFORCE = 33  # from asm-generic/socket.h; the socket module does not have it
STOP_CHECK_SEC = 0.2
PRIORITY = {"ERROR", "CRITICAL"}


class Collector:
    """Ordinary entries are buffered; those of a priority level are written and acknowledged, without a sync."""

    def __init__(self, port: int, path: str) -> None:
        self.path = path
        self.lock = threading.Lock()
        self.buffer: list[dict[str, Any]] = []
        self.levels: dict[str, int] = {}
        self.stopping = threading.Event()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BYTES)
        except PermissionError:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        self.socket.settimeout(STOP_CHECK_SEC)
        self.socket.bind(("127.0.0.1", port))

    def run(self) -> None:
        flusher = threading.Thread(target=self.flush_now_and_then)
        flusher.start()
        while True:
            try:
                datagram, sender = self.socket.recvfrom(65536)
            except TimeoutError:
                if self.stopping.is_set():
                    break
                continue
            self.take(datagram, sender)
        flusher.join()
        self.flush()

    def take(self, datagram: bytes, sender: tuple[str, int]) -> None:
        for line in datagram.splitlines():
            try:
                entry = json.loads(line)
                level = entry["level"].upper()
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
            with self.lock:
                self.levels[level] = self.levels.get(level, 0) + 1
                self.buffer.append(entry)
                full = len(self.buffer) >= FLUSH_COUNT
            if full or level in PRIORITY:
                self.flush()
            if level in PRIORITY:
                ack = {"ack": True, "sequence": entry.get("sequence")}
                self.socket.sendto(json.dumps(ack).encode(), sender)

    def flush(self) -> None:
        with self.lock:
            entries, self.buffer = self.buffer, []
            if entries:
                with open(self.path, "a") as file:
                    file.writelines(json.dumps(entry) + "\n" for entry in entries)

    def flush_now_and_then(self) -> None:
        while not self.stopping.wait(FLUSH_SEC):
            self.flush()


if __name__ == "__main__":
    collector = Collector(int(sys.argv[1]), sys.argv[2])
    signal.signal(signal.SIGTERM, lambda *_: collector.stopping.set())
    collector.run()
