"""A client that loses no priority entry, by hand: it sends them again until they are acknowledged, by whichever server
runs."""

import json
import os
import random
import select
import socket
from collections.abc import Callable

from tests.helpers.running import Server

WINDOW = 40  # datagrams sent before the server's socket is seen to be empty
RETRANSMIT_SEC = 0.2
ERROR_SHARE = 0.2


class ResendingClient:
    """Sends one entry of five as ERROR, and each ERROR again until it is acknowledged."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sent: dict[int, bytes] = {}
        self.pending: dict[int, bytes] = {}
        self.acknowledged: set[int] = set()
        self.filler = "x"  # of its messages, whose lengths are random

    @property
    def errors(self) -> set[bytes]:
        """All that was sent as ERROR."""
        return {entry for entry in self.sent.values() if b'"ERROR"' in entry}

    def connect(self, port: int) -> None:
        """Continues with the server on this port, which gets first what is not acknowledged."""
        self._socket.connect(("127.0.0.1", port))
        for entry in self.pending.values():
            self._put(entry)

    def send(self, count: int, server: Server, look: Callable[[], None] | None = None) -> None:
        """Sends new entries, no faster than the server takes them. `look` is called after each window, when the server
        has stored those before it."""
        for number in range(count):
            self._send_one()
            self.receive()
            if number % WINDOW == 0:
                while server.queued() > 0:
                    os.sched_yield()
                if look:
                    self._resend_until_acknowledged(len(self.sent) - WINDOW)
                    look()

    def settle(self) -> None:
        """Sends what is not acknowledged again, until everything is."""
        for entry in self.pending.values():
            self._put(entry)
        self._resend_until_acknowledged(len(self.sent))

    def _resend_until_acknowledged(self, last: int) -> None:
        """All entries up to that sequence."""
        while self.pending and next(iter(self.pending)) <= last:
            if select.select([self._socket], [], [], RETRANSMIT_SEC)[0]:
                self.receive()
            else:
                for entry in self.pending.values():
                    self._put(entry)

    def receive(self) -> None:
        try:
            sequence = json.loads(self._socket.recv(100, socket.MSG_DONTWAIT))["sequence"]
        except (BlockingIOError, ConnectionRefusedError):
            return
        self.acknowledged.add(sequence)
        self.pending.pop(sequence, None)

    def close(self) -> None:
        self._socket.close()

    def _send_one(self) -> None:
        sequence = len(self.sent) + 1
        level = "ERROR" if self._rng.random() < ERROR_SHARE else "INFO"
        message = self.filler * self._rng.randrange(300)
        fields = {"level": level, "message": message, "sequence": sequence, "timestamp": "2026-11-24T07:00:00Z"}
        entry = json.dumps(fields).encode()
        self.sent[sequence] = entry
        if level == "ERROR":
            self.pending[sequence] = entry
        self._put(entry)

    def _put(self, entry: bytes) -> None:
        try:
            self._socket.send(entry)
        except ConnectionRefusedError:
            self._socket.send(entry)
