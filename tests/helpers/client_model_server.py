"""A server in a random run of the client: the real core, from the socket to the log file, started and killed at will.

The network of the run (`client_model_network.py`) hands it datagrams, which wait in a receive buffer as the kernel has
one. To the core, each socket of the client is a socket of its own, a wire.
"""

import contextlib
import math
import os
import socket
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

from fastlog.config import Settings
from fastlog.server.listener import Listener
from fastlog.server.listeners import Listeners
from fastlog.server.logfile import LogFile
from fastlog.server.loop import Loop
from fastlog.server.pipeline import Pipeline
from fastlog.server.storage import Storage

NAME = "server.log"
DATAGRAM_OVERHEAD_BYTES = 768  # what the kernel charges for a datagram besides its bytes
ACK_BYTES = 100
SMALL_BUFFER = 3_000  # a BUFFER_SIZE that most entries of a run fit in


# Levels that are acknowledged, and BUFFER_SIZE. The first are the client's own.
KINDS = [(("ERROR", "CRITICAL"), 65_536), (("CRITICAL",), 65_536), (("ERROR", "CRITICAL"), SMALL_BUFFER), ((), 65_536)]
SETTINGS = [
    Settings(
        log_dir="/nowhere",
        priority_levels=levels,
        buffer_size=size,
        flush_count=1,
        rejects_max_mb=0,
        priority_sync="written",
        coalesce_usec=0,
    )
    for levels, size in KINDS
]


class Wire:
    """How one socket of a client looks to the server. `own`: that socket."""

    def __init__(self, to: tuple[str, int]) -> None:
        self.own: Any = None
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(to)

    def send(self, datagram: bytes) -> None:
        self._socket.send(datagram)

    def answers(self) -> list[bytes]:
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self._socket.recv(ACK_BYTES, socket.MSG_DONTWAIT))
        return found

    def close(self) -> None:
        self._socket.close()


class ModelServer:
    """`on_stored` gets each line of the log, and the levels that the server acknowledges. `host` is where it listens;
    None while it is down."""

    def __init__(
        self, directory: Path, listener: Listener, on_stored: Callable[[bytes, tuple[str, ...]], None]
    ) -> None:
        self.host: str | None = None
        self.is_stopped = False  # it is a process that does not run
        self.levels: tuple[str, ...] = ()  # that it acknowledges
        self.longest = 0  # datagram that it takes
        self.capacity = 0  # of the receive buffer, in bytes
        self.waiting: list[tuple[Wire, bytes]] = []
        self.used = 0  # bytes of the receive buffer
        self.wires: list[Wire] = []
        self.losses_of_memory = 0
        self._directory = directory
        self._listener = listener
        self._on_stored = on_stored
        self._pipeline: Pipeline | None = None
        self._loop: Loop | None = None
        self._read = 0  # of the log

    def start(self, host: str, kind: int, *, has_memory: bool) -> None:
        """`has_memory`: its log is still there, and what it stored is known from that."""
        self.kill()
        if not has_memory:
            (self._directory / NAME).unlink(missing_ok=True)
            self._read = 0
            self.losses_of_memory += 1
        self._loop = Loop()
        log = LogFile(Storage(), self._directory, NAME, 10**9, 0)
        self._pipeline = Pipeline(SETTINGS[kind], log, Listeners([self._listener]), self._loop)
        self.host = host
        self.levels, self.longest = KINDS[kind]
        self.is_stopped = False

    def kill(self) -> None:
        self.host = None
        self.waiting.clear()
        self.used = 0
        if self._pipeline:
            self._loop._deadlines.clear()  # which hold all of it
            self._loop.close()
            self._pipeline.close()
            self._pipeline = self._loop = None

    def wire(self) -> Wire:
        wire = Wire(self._listener.socket.getsockname())
        self.wires.append(wire)
        return wire

    def arrives(self, wire: Wire, datagram: bytes) -> bool:
        """Returns False if the receive buffer is full, and the datagram is gone."""
        used = self.used + len(datagram) + DATAGRAM_OVERHEAD_BYTES
        if used > self.capacity and self.waiting:
            return False
        self.waiting.append((wire, datagram))
        self.used = used
        return True

    def run(self) -> list[tuple[Wire, bytes]]:
        """Takes everything that waits. Returns the answers."""
        if self.host is None or self.is_stopped or not self.waiting:
            return []
        pipeline = self._pipeline
        asked = {}
        for wire, datagram in self.waiting:
            wire.send(datagram)
            asked[wire] = True
            pipeline.turn(monotonic())
            while pipeline._next_turn.at != math.inf:  # the turn took too long
                pipeline._next_turn.clear()
                pipeline.turn(monotonic())
        self.waiting.clear()
        self.used = 0
        self._read_log()
        return [(wire, answer) for wire in asked for answer in wire.answers()]

    def close(self) -> None:
        self.kill()
        for wire in self.wires:
            wire.close()

    def _read_log(self) -> None:
        fd = os.open(self._directory / NAME, os.O_RDONLY)
        try:
            data = os.pread(fd, 1 << 24, self._read)
        finally:
            os.close(fd)
        end = data.rfind(b"\n") + 1
        self._read += end
        for line in data[:end].splitlines():
            self._on_stored(line, self.levels)
