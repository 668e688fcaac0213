"""`kill -9` at random moments under load: every acknowledged entry is there, and no priority entry is there twice.

FASTLOG_KILL_ROUNDS=200 kills the server 200 times.
"""

import json
import os
import random
import select
import socket
from collections import Counter

from tests.helpers.running import PATIENCE_SEC, Server

ROUNDS = int(os.environ.get("FASTLOG_KILL_ROUNDS", "20"))
WINDOW = 40  # datagrams sent before the server's socket is seen to be empty
RETRANSMIT_SEC = 0.2


class Client:
    """Sends one entry of five as ERROR, and sends those again until they are acknowledged, by whichever server runs."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sent: dict[int, bytes] = {}
        self.pending: dict[int, bytes] = {}
        self.acknowledged: set[int] = set()

    def connect(self, port: int) -> None:
        self._socket.connect(("127.0.0.1", port))

    def send_one(self) -> None:
        sequence = len(self.sent) + 1
        level = "ERROR" if self._rng.random() < 0.2 else "INFO"
        message = "x" * self._rng.randrange(300)
        fields = {"level": level, "message": message, "sequence": sequence, "timestamp": "2026-11-24T07:00:00Z"}
        entry = json.dumps(fields).encode()
        self.sent[sequence] = entry
        if level == "ERROR":
            self.pending[sequence] = entry
        self._put(entry)

    def settle(self) -> None:
        """Sends what is not acknowledged again, until everything is."""
        while self.pending:
            for entry in list(self.pending.values()):
                self._put(entry)
            while self.pending and select.select([self._socket], [], [], RETRANSMIT_SEC)[0]:
                self.receive()

    def receive(self) -> None:
        try:
            sequence = json.loads(self._socket.recv(100, socket.MSG_DONTWAIT))["sequence"]
        except (BlockingIOError, ConnectionRefusedError):
            return
        self.acknowledged.add(sequence)
        self.pending.pop(sequence, None)

    def _put(self, entry: bytes) -> None:
        try:
            self._socket.send(entry)
        except ConnectionRefusedError:
            self._socket.send(entry)

    def close(self) -> None:
        self._socket.close()


def test_killed_at_random_moments_nothing_acknowledged_is_lost(tmp_path, closing, rng):
    client = closing(Client(rng))
    settings = {
        "FLUSH_COUNT": "50",
        "FLUSH_TIMEOUT_SEC": "3600",
        "MAX_LOG_SIZE_MB": "0.05",
        "LOG_BACKUPS": "9999",
    }
    port = "0"
    written: set[int] = set()
    for _ in range(ROUNDS):
        server = closing(Server(tmp_path, SERVER_PORT=port, **settings))
        port = str(server.port)
        client.connect(server.port)
        for entry in client.pending.values():
            client._put(entry)
        first = len(client.sent) + 1
        for number in range(rng.randrange(1, 400)):
            client.send_one()
            client.receive()
            if number % WINDOW == 0:
                while server.queued() > 0:
                    os.sched_yield()
        server.process.kill()
        server.process.wait(PATIENCE_SEC)
        server.close()
        # with an ERROR everything is written that came before it
        written.update(range(first, max(client.acknowledged, default=0)))
    server = closing(Server(tmp_path, SERVER_PORT=port, **settings))
    client.settle()
    server.stop()

    found = Counter(server.whole_log().splitlines())
    assert set(found) <= set(client.sent.values()), "a line that nobody sent"
    assert max(found.values()) == 1, "an entry is stored twice"
    errors = {sequence for sequence, entry in client.sent.items() if b'"ERROR"' in entry}
    assert client.acknowledged == errors
    lost = {sequence for sequence, entry in client.sent.items() if entry not in found}
    assert not lost & errors, "acknowledged and lost"
    assert not lost & written, "lost, and sent before what was acknowledged"
    assert written, "no ACK came before a kill"
