"""Random runs of the client: the real one, over a modelled network and disk, with the real core of the server.

Programs log, fork, end and are killed, and others with the same spill path follow. Meanwhile the network loses, refuses
and changes, the disk is full, and the server is restarted. Nothing waits: the clock is virtual. After each step the
oracle looks at every entry: it is stored, in a file, in memory, or the client tells that it is lost. In the end
everything is well again, and then the rest arrives.

    python -m tests.helpers.client_model --first 0 --runs 1000
"""

import contextlib
import ctypes
import errno
import gc
import os
import random
import shutil
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import SimpleNamespace

import fastlog.client
from fastlog.addresses import Address
from fastlog.client import lifecycle, link, lookup, sock_diag, spill_file, thread
from fastlog.client.options import ClientOptions
from fastlog.client.waiting import PROBLEM_SEC
from fastlog.server.listener import Listener
from tests.helpers.client_model_disk import Died, Directory, InUse, ModelOs
from tests.helpers.client_model_network import HERE, Clock, ModelNetlink, ModelSocket, Network
from tests.helpers.client_model_oracle import Oracle
from tests.helpers.client_model_program import Broken, ModelOutbox, Program
from tests.helpers.client_model_server import ModelServer
from tests.helpers.client_model_steps import LEVELS, SIZES, STEPS, WEIGHTS
from tests.helpers.model import M_MMAP_THRESHOLD
from tests.helpers.random_runs import Step, main

FEWEST, MOST = 8, 40  # steps of a run
SETTLE_SEC = 1_500.0  # of virtual time: more than two of the longest waits that the client has
ELSEWHERE = ("10.9.0.1", "10.9.0.3")
SPILLS = 0.6  # runs with a spill file
PRIORITY = ("ERROR", "CRITICAL")


class Rig:
    """What runs share. What is patched until `close`: the client's clock, sockets, threads and its module `os`."""

    def __init__(self, directory: Path) -> None:
        # Large blocks of memory come fresh from the kernel, rather than being filled with zeros one by one.
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 32 << 10)
        gc.freeze()  # what there is already need not be looked through again and again
        self.base = directory
        self.listener = Listener.bind("127.0.0.1", 0, 1 << 20)
        self.disk = ModelOs()
        self.run: Run | None = None
        self._undo: list[tuple[object, str, object]] = []
        sockets = SimpleNamespace(**{**vars(link.socket), "socket": self._socket})
        for module in [each for name, each in sys.modules.items() if name.startswith("fastlog.client.")]:
            names = vars(module)
            if names.get("monotonic") is time.monotonic:
                self.patch(module, "monotonic", lambda: self.run.clock.now)
            if names.get("os") is os and module is not fastlog.client.options:
                self.patch(module, "os", self.disk)
        for module in (link, sock_diag):
            self.patch(module, "socket", sockets)
        self.patch(lookup, "resolve", self._addresses)
        self.patch(lookup, "is_numeric", lambda host: True)  # no thread is needed
        self.patch(thread, "pause", self._pause)
        self.patch(lifecycle, "_say", lambda text: None)  # on standard error
        self.patch(spill_file, "_in_use", InUse(self.disk))
        self.patch(thread, "Outbox", lambda options, owner: ModelOutbox(self.run.network, options, owner))

    def patch(self, module: object, name: str, value: object) -> None:
        self._undo.append((module, name, getattr(module, name)))
        setattr(module, name, value)

    def make_run(self, seed: int, trace: list[str] | None = None) -> "Run":
        return Run(self, seed, trace)

    def begin(self) -> None:
        shutil.rmtree(self.base, ignore_errors=True)
        (self.base / "server").mkdir(parents=True)

    def close(self) -> None:
        for module, name, value in reversed(self._undo):
            setattr(module, name, value)
        self.listener.close()
        shutil.rmtree(self.base, ignore_errors=True)
        gc.unfreeze()

    def _addresses(self, host: str, port: int) -> list[Address]:
        return self.run.network.addresses(host, port)

    def _pause(self, seconds: float) -> None:
        self.run.clock.sleep(seconds)

    def _socket(self, family: int, *_: object) -> ModelSocket:
        run = self.run
        if not run.network.has_sockets:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        made = ModelNetlink(run.network) if family == socket.AF_NETLINK else ModelSocket(run.network)
        made.program = self.disk.owner
        return made


class Run:
    """One run."""

    def __init__(self, rig: Rig, seed: int, trace: list[str] | None = None) -> None:
        rng = self.rng = Random(seed)
        self.rig = rig
        self.steps: list[Step] = [
            (rng.choices(STEPS, WEIGHTS)[0], rng.getrandbits(32)) for _ in range(rng.randrange(FEWEST, MOST))
        ]
        self.hosts = (HERE,) if rng.random() < 0.4 else ELSEWHERE if rng.random() < 0.7 else (HERE, ELSEWHERE[0])
        self.spills = Directory(rig.base / "spill")
        self.options = ClientOptions(
            host="logs.example",
            app="model",
            hostname="here",
            priority_levels=PRIORITY,
            queue_entries=rng.choice((10_000, 10_000, 20)),
            queue_bytes=rng.choice((16 << 20, 16 << 20, 4_000)),
            window=rng.choice((1023, 1023, 4)),
            give_up_sec=rng.choice((300.0, 300.0, 5.0, 0.0)),
            spill=f"{self.spills.path}/s" if rng.random() < SPILLS else None,
            pack=rng.random() < 0.8,
            datagram_bytes=rng.choice((None, None, 1_000)),
        )
        self._server_kind = (rng.choice(self.hosts), rng.random() < 0.8)
        self._trace = trace

    def note(self, text: str) -> None:
        if self._trace is not None:
            self._trace.append(text)

    def run(self, steps: list[Step] | None = None) -> None:
        """Raises whatever went wrong."""
        try:
            self._begin()
            for step, seed in self.steps if steps is None else steps:
                self.rng.seed(seed)
                self.note(f"    {step.__name__} ({self.clock.now:.3f} s)")
                self._attempt(step)
            self.note("    everything is well again")
            self.rng.seed(1)
            self._settle()
        except Broken as error:
            raise AssertionError(str(error)) from error
        finally:
            self._end()

    def _begin(self) -> None:
        rig, rng = self.rig, self.rng
        rig.run = self
        rig.begin()
        self.spills.make()
        random.seed(1)
        self.clock = Clock()
        self.oracle = Oracle(self.spills)
        self.server = ModelServer(rig.base / "server", rig.listener, self.oracle.stored)
        self.server.capacity = 30_000
        self.network = Network(self.clock, rng, self.server, self.oracle.sent, self.oracle.lost)
        self.disk = rig.disk
        self.disk.__init__()
        self.disk.rng, self.disk.note = rng, self.note
        host, is_up = self._server_kind
        self.network.names = [host]
        if is_up:
            self.server.start(host, 0, has_memory=True)
        self.program = self.start()
        self.note(f"{self.options}; the name has {self.network.names}; the server is at {self.server.host}")

    def _end(self) -> None:
        for program in self.oracle.programs:
            program.kernel_closes()
            for fd in program.victims:
                with contextlib.suppress(OSError):  # the client has closed it, which was reported
                    os.close(fd)
        self.server.close()
        self.rig.run = None

    def start(self) -> Program:
        program = Program(len(self.oracle.programs), self.options, self.network)
        self.oracle.programs.append(program)
        return program

    def put(self, program: Program, level: str = "", size: int = -1) -> None:
        rng = self.rng
        level = level or rng.choice(LEVELS)
        size = rng.choice(SIZES) if size < 0 else size
        entry = self.oracle.new_entry(level, is_priority=level in PRIORITY)
        fields: dict[str, object] = {"level": level, "message": f"e{entry.number}"}
        if size:
            fields["more"] = "x" * size
        if rng.random() < 0.1:
            fields["timestamp"] = "2026-01-01T00:00:00Z"
        self.disk.owner = program
        program.put(entry, fields)
        self.oracle.called(entry)
        self.note(f"        {program.pid}: e{entry.number} {level} {size} {'taken' if entry.is_taken else 'dropped'}")

    def work(self, seconds: float, is_enough: Callable[[], bool] = lambda: False) -> None:
        self.disk.owner = self.program
        self.program.work(seconds, is_enough)

    def _attempt(self, step: Callable[["Run"], None]) -> None:
        """A step, in which the program may be killed."""
        self.disk.owner = self.program
        try:
            step(self)
        except Died:
            self.disk.dies_at = -1
            self.oracle.killed(self.program)
            self.program.ends()
            self.program.kernel_closes()
            self.note("        killed")
            self.program = self._another()
        self.oracle.check()

    def _another(self) -> Program:
        alive = [program for program in self.oracle.programs if program.is_alive]
        return self.rng.choice(alive) if alive else self.start()

    def ended(self) -> None:
        """The program has ended by itself."""
        self.check_closed(self.program)
        self.program = self._another()

    def check_closed(self, program: Program) -> None:
        """It has left nothing open. After an error, the garbage collector closes the rest."""
        open_now = [*program.sockets(), *program.fds]
        assert program.has_failed or not open_now, f"left open: {open_now}"
        program.kernel_closes()
        program.check_victims()

    def start_another(self) -> None:
        if sum(program.is_alive for program in self.oracle.programs) < 2:
            self.program = self.start()
            self.note(f"        {self.program.pid}")

    def lose_waiting(self) -> None:
        """What the server has not taken from its socket is lost with it."""
        for _, datagram in self.server.waiting:
            self.oracle.lost(datagram)

    def _settle(self) -> None:
        """Everything works again, and in the end everything has arrived."""
        self.network.heal()
        self.disk.dies_at = -1
        self.disk.faults.heal()
        self.spills.bring()
        host = self.hosts[0]
        self.network.names = [host]
        self.lose_waiting()
        self.server.start(host, 0, has_memory=True)
        for program in [program for program in self.oracle.programs if program.is_alive]:
            self._delivers(program)
        if any(self.oracle.files()):
            self._delivers(self.start())
        self.oracle.check_end(self.server.losses_of_memory)

    def _delivers(self, program: Program) -> None:
        self.program = program
        self.note(f"        {program.pid} delivers")
        self.put(program, "ERROR", 0)
        self.work(SETTLE_SEC, lambda: program.is_done)
        self.oracle.check()
        assert program.is_done, f"not everything is delivered: {program.stats}"
        for _ in range(2):
            for level in PRIORITY:
                self.put(program, level, 0)
            self.work(PROBLEM_SEC + 1)
        problem = program.stats.problem
        assert not problem or (self.oracle.has_aside and "kept in" in problem), f"a problem remains: {problem}"
        assert program.thread.close(5.0), f"not everything is delivered at the end: {program.stats}"
        program.ends()
        self.check_closed(program)


def make_rig() -> Rig:
    return Rig(Path(f"/dev/shm/fastlog-client-model-{os.getpid()}"))


if __name__ == "__main__":
    sys.exit(main(make_rig))
