"""Real programs that log through a bad network to real servers, and what becomes of their entries.

`python tests/helpers/life.py` with arguments is such a program: it does what it reads from standard input, and answers
with its figures.
"""

import contextlib
import json
import os
import random
import re
import select
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from fastlog import Client

LEVELS = ("INFO", "WARNING", "ERROR", "CRITICAL")
PRIORITY = ("ERROR", "CRITICAL")
LOOK_SEC = 0.05  # the longest time until the relay does what it is told
CHILD_SEC = 0.5  # a child that closes its client gives it so long
LOST = re.compile(r"fastlog: ([0-9]+) log entr(?:y was|ies were) not delivered")


class Relay:
    """Between the programs and the server, on this machine. What it does may be changed at any time."""

    def __init__(self, rng: Random) -> None:
        self.to = 0  # the server's port
        self.loss = 0.0  # in each direction
        self.repeat = 0.0
        self.is_open = True  # otherwise its port is closed, and datagrams to it are refused
        self.renews = False  # the server sees other ports of the programs from now on
        self._rng = rng
        self._is_ending = False
        self._front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._front.bind(("127.0.0.1", 0))
        self.port = self._front.getsockname()[1]
        self._backs: dict[Any, socket.socket] = {}  # by the program's address
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._is_ending = True
        self._thread.join()

    def _run(self) -> None:
        while not self._is_ending:
            self._open_or_close()
            if self.renews:
                self._renew()
            fronts = [self._front] if self._front.fileno() >= 0 else []
            ready, _, _ = select.select(fronts + list(self._backs.values()), [], [], LOOK_SEC)
            for own in ready:
                with contextlib.suppress(OSError):  # the server is down, or the program
                    self._relay(own)
        self._renew()
        self._front.close()

    def _relay(self, own: socket.socket) -> None:
        if own is self._front:
            datagram, source = own.recvfrom(65_536)
            back = self._backs.get(source)
            if back is None:
                back = self._backs[source] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._pass(lambda: back.sendto(datagram, ("127.0.0.1", self.to)))
        else:
            answer = own.recv(65_536)
            source = next(source for source, back in self._backs.items() if back is own)
            self._pass(lambda: self._front.sendto(answer, source))

    def _pass(self, send: Callable[[], object]) -> None:
        if self._rng.random() >= self.loss:
            for _ in range(2 if self._rng.random() < self.repeat else 1):
                send()

    def _open_or_close(self) -> None:
        if self.is_open == (self._front.fileno() >= 0):
            return
        self._front.close()
        if self.is_open:
            self._front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._front.bind(("127.0.0.1", self.port))

    def _renew(self) -> None:
        self.renews = False
        for back in self._backs.values():
            back.close()
        self._backs.clear()


class Life:
    """One program, from the outside. `figures` are those of its last answer."""

    def __init__(self, name: str, port: int, spill: Path | None) -> None:
        self.name = name
        self.sent: list[str] = []  # priority entries that it was told to log, also by its children
        self.is_killed = False
        self.told = 0  # priority entries, and others where that is not known
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", __file__, name, str(port), str(spill or "")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        self.figures = self._answer()

    def do(self, *command: object) -> dict[str, Any]:
        """Returns the figures that it has then."""
        self._process.stdin.write(" ".join(map(str, command)) + "\n")
        self._process.stdin.flush()
        self.figures = self._answer()
        self.sent += self.figures.pop("sent")
        self.told += self.figures.pop("children_told")
        return self.figures

    def kill(self) -> None:
        self._process.kill()
        self.is_killed = True
        self.end()

    def end(self) -> str:
        """It ends, as programs do, unless it was killed. Returns what it printed on standard error."""
        self._process.stdin.close()
        said = self._process.stderr.read()
        self._process.wait()
        self._process.stdout.close()
        self._process.stderr.close()
        self.told += self.figures["told"] + sum(int(number) for number in LOST.findall(said))
        return said

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(OSError):
                pipe.close()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        assert line, f"{self.name} has ended: {self._process.stderr.read()}"
        return json.loads(line)


def lines_of(log: bytes) -> Counter[bytes]:
    return Counter(log.splitlines())


def messages_of(lines: Counter[bytes]) -> set[str]:
    return {json.loads(line)["message"] for line in lines}


class Program:
    """The inside of `Life`."""

    def __init__(self, name: str, port: int, spill: str) -> None:
        self._name = name
        self._client = Client("127.0.0.1", port, spill=spill or None)
        self._count = 0
        self._children = 0
        self._sent: list[str] = []
        self._children_told = 0

    def run(self) -> None:
        self._say()
        while line := sys.stdin.readline():
            command, *arguments = line.split()
            getattr(self, command)(*arguments)
            self._say()

    def send(self, seed: str, count: str) -> None:
        rng = random.Random(int(seed))
        for _ in range(int(count)):
            level = rng.choice(LEVELS)
            self._count += 1
            message = f"{self._name}-{self._count}"
            if level in PRIORITY:
                self._sent.append(message)
            self._client.send(level, message, more="x" * rng.choice((0, 0, 100, 2_000)))

    def flush(self, seconds: str) -> None:
        self._client.flush(float(seconds))

    def close(self, seconds: str) -> None:
        self._client.close(float(seconds))

    def fork(self, seed: str, count: str) -> None:
        """A child logs, and closes its client. Its figures come through a pipe."""
        self._children += 1
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            self._name, self._sent = f"{self._name}.{self._children}", []
            self.send(seed, count)
            self._client.close(CHILD_SEC)
            os.write(writer, json.dumps([self._sent, self._told()]).encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as answer:
            sent, told = json.load(answer)
        self._sent += sent
        self._children_told += told
        os.waitpid(pid, 0)

    def _told(self) -> int:
        stats = self._client.stats()
        dropped = sum(number for level, number in stats.dropped.items() if level in PRIORITY)
        return stats.given_up + dropped + stats.sent_unacknowledged

    def _say(self) -> None:
        stats = self._client.stats()
        figures = {
            "calls": stats.calls,
            "queued": stats.queued,
            "dropped": sum(stats.dropped.values()),
            "sent_once": stats.sent_once,
            "acknowledged": stats.acknowledged - stats.replayed,
            "given_up": stats.given_up,
            "spilled": stats.spilled,
            "told": self._told(),
            "problem": stats.problem,
            "sent": self._sent,
            "children_told": self._children_told,
        }
        self._sent, self._children_told = [], 0
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    Program(sys.argv[1], int(sys.argv[2]), sys.argv[3]).run()
