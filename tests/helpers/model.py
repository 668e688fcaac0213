"""Random runs of the server's core, from the socket to the file and back, over a modelled disk.

The real pipeline runs over a disk that fails, ends syncs late, and loses power, while other programs rename, remove, cut
and append. The oracle knows what was sent and acknowledged, and looks at the files after each step. A run is a list of
steps, each with a seed of its own, so steps can be left out of a run that failed.

    python -m tests.helpers.model --first 0 --runs 1000
"""

import contextlib
import ctypes
import gc
import math
import os
import select
import shutil
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from time import monotonic
from types import SimpleNamespace
from typing import NamedTuple

from fastlog.config import Settings
from fastlog.server import budget, clock, compression, found_files, held, identities, logfile, names, repair, writer
from fastlog.server.budget import Limits
from fastlog.server.commit import SyncPace
from fastlog.server.compression import RETRY_SEC, Compression
from fastlog.server.listener import Listener
from fastlog.server.listeners import Listeners
from fastlog.server.logfile import LogFile
from fastlog.server.loop import Loop
from fastlog.server.pipeline import Pipeline
from tests.helpers.compressing import InProcess, compress_with
from tests.helpers.model_disk import Died, ModelDisk
from tests.helpers.model_identities import Identities
from tests.helpers.model_names import NAME
from tests.helpers.model_oracle import Entry, Oracle, check_account
from tests.helpers.model_outside import Outside
from tests.helpers.model_steps import KEEP_SEC, STEPS, WEIGHTS
from tests.helpers.random_runs import Step, main

SENDERS = 2
FEWEST, MOST = 8, 30  # steps of a run
STARTS = 5  # one reports an error of the disk that nobody saw before, and the next one works
HELD_MOST_BYTES = 16 << 20  # far more than any run sends
CLOSE_SEC = 5.0  # for a thread that closes small files
ARCHIVES_MAX = 100  # many more than any run has
ROUNDS = 25  # in which everything is stored and acknowledged at the end
ROUNDS_ALONE = 2  # of these, in which it is without another repetition
M_MMAP_THRESHOLD = -3  # for mallopt
ACK_PREFIX = len(b'{"ack":true,"sequence":')


class Rig:
    """What runs share, since it is costly: sockets and a directory in memory. What is patched until `close`: the
    server's messages are collected."""

    def __init__(self, directory: Path) -> None:
        # Large blocks of memory come fresh from the kernel, rather than being filled with zeros one by one.
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 32 << 10)
        gc.freeze()  # what there is already need not be looked through again and again
        self.base = directory
        self.listener = Listener.bind("127.0.0.1", 0, 1 << 20)
        self.senders = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(SENDERS)]
        for sender in self.senders:
            sender.connect(self.listener.socket.getsockname())
            sender.setblocking(False)
        self.messages: list[str] = []
        self.on_writing_again: Callable[[], None] = lambda: None
        self._undo: list[tuple[object, str, object]] = []
        self.clock_ahead_sec = 0.0  # of a run
        clocks = {"time": self.clock, "clock_gettime": self.run_time, "CLOCK_BOOTTIME": time.CLOCK_BOOTTIME}
        self.patch(clock, "time", SimpleNamespace(**clocks))
        for module in (writer, logfile, repair, found_files, identities, names, budget, compression):
            self.patch(module, "say", self._say)
        self.patch(repair, "BLOCK_BYTES", 4096)
        limits = (held, "HELD_MAX_BYTES"), (held, "CHUNK_BYTES"), (logfile, "ROTATED_UNSYNCED_MAX")
        for module, name in (*limits, (identities, "new_log")):
            self.patch(module, name, getattr(module, name))  # each run sets them

    def patch(self, module: object, name: str, value: object) -> None:
        self._undo.append((module, name, getattr(module, name)))
        setattr(module, name, value)

    def begin(self) -> Path:
        """An empty directory, and nothing in the sockets."""
        directory = f"{self.base}/logs"
        with contextlib.suppress(OSError):
            for name in os.listdir(directory):
                os.unlink(f"{directory}/{name}")
        if not os.path.isdir(directory) or os.listdir(self.base) != ["logs"]:
            shutil.rmtree(self.base, ignore_errors=True)
            os.makedirs(directory)
        with contextlib.suppress(OSError):
            os.removexattr(directory, clock.MARK_ATTRIBUTE)
        self.empty_sockets()
        self.messages.clear()
        self.clock_ahead_sec = 0.0
        return Path(directory)

    def clock(self) -> float:
        return time.time() + self.clock_ahead_sec

    def run_time(self, number: int) -> float:
        return time.clock_gettime(number) + self.clock_ahead_sec

    def empty_sockets(self) -> None:
        for each in (self.listener.socket, *self.senders):
            with contextlib.suppress(BlockingIOError):
                while True:
                    each.recv(1 << 16, socket.MSG_DONTWAIT)

    def make_run(self, seed: int, trace: list[str] | None = None) -> "Run":
        return Run(self, seed, trace)

    def close(self) -> None:
        for module, name, value in reversed(self._undo):
            setattr(module, name, value)
        for each in (self.listener, *self.senders):
            each.close()
        shutil.rmtree(self.base, ignore_errors=True)
        gc.unfreeze()

    def _say(self, text: str) -> None:
        self.messages.append(text)
        if "writing again" in text:
            self.on_writing_again()


class Sizes(NamedTuple):
    """What a run is made with; the smaller, the sooner something happens."""

    held_bytes: int
    chunk_bytes: int
    rotated_unsynced: int
    limit: int
    backups: int
    in_a_row: int  # syncs without a pause; 0: all of them
    flush_count: int
    sync: str
    compresses: bool
    keep_bytes: int | None
    keep_sec: float | None

    @property
    def holds_all(self) -> bool:
        """Whether memory has room for whatever may have to be written again."""
        return self.held_bytes == HELD_MOST_BYTES

    @classmethod
    def chosen(cls, rng: Random) -> "Sizes":
        return cls(
            held_bytes=rng.choice((120, 200, 400, 1000, HELD_MOST_BYTES, HELD_MOST_BYTES)),
            chunk_bytes=rng.choice((1, 100, 64 << 10)),
            rotated_unsynced=rng.choice((1, 2, 32)),
            limit=rng.choice((60, 150, 250, 600, 10**9)),
            backups=rng.randrange(4),
            in_a_row=rng.choice((0, 0, 0, 1, 2)),
            flush_count=rng.choice((1, 1, 3)),
            sync="written" if rng.random() < 0.08 else "durable",
            compresses=rng.random() < 0.6,
            keep_bytes=rng.choice((None, None, None, 300, 800, 2000)),
            keep_sec=rng.choice((None, None, KEEP_SEC)),
        )

    @property
    def limits(self) -> Limits:
        return Limits(self.backups, self.keep_bytes, self.keep_sec)

    def settings(self) -> Settings:
        return SETTINGS[self.flush_count, self.sync]

    def pace(self) -> SyncPace:
        return SyncPace(3600.0, self.in_a_row) if self.in_a_row else SyncPace(0.0)


SETTINGS = {
    (count, sync): Settings(
        log_dir="/nowhere",
        priority_levels=("ERROR",),
        max_errors=3,
        flush_count=count,
        rejects_max_mb=0,
        priority_sync=sync,
        stamp="never",
    )
    for count in (1, 3)
    for sync in ("durable", "written")
}


class Process(InProcess):
    """That compresses: it has descriptors of its own. What the disk refuses is its failure."""

    def start(self, source, target):
        self.asked = self.storage.dup(source), self.storage.dup(target)

    def run(self, failure=None):
        try:
            super().run(failure)
        except OSError as error:
            self.end(error.strerror)

    def kill(self):
        for fd in self.asked or ():
            self.storage.close(fd)
        self.asked = None

    close = kill


class Server:
    """One life of the server. Raises OSError if it does not start."""

    def __init__(self, disk: ModelDisk, sizes: Sizes, listener: Listener) -> None:
        limits = sizes.limits
        self.log = LogFile(
            disk,
            disk.directory,
            NAME,
            sizes.limit,
            limits.backups,
            keep_bytes=limits.total_bytes,
            keep_sec=limits.age_sec,
        )
        self.loop = Loop()
        self.compression: Compression | None = None
        self._process = Process(disk)
        self._looked_at = 0.0
        try:
            self.pipeline = Pipeline(sizes.settings(), self.log, Listeners([listener]), self.loop, sizes.pace())
        except (OSError, Died):
            self.close()
            raise
        if sizes.compresses:
            self.compression = compress_with(self._process, self.pipeline, self.loop)
        self.writer = self.pipeline.writer
        self.delivered = 0  # datagrams sent to it
        self.acks_read = 0
        self._groups = self.writer.commit._groups

    @property
    def new_acks(self) -> int:
        first, second = self._groups
        return first.acks.sent + second.acks.sent - self.acks_read

    def call_deadlines(self, chosen: Callable[[], bool] = lambda: True) -> None:
        for deadline in list(self.loop._deadlines):
            if deadline.at != math.inf and chosen():
                deadline.fire(deadline.at)

    def look_for_archives(self, seconds: float) -> None:
        """To compress them, so many seconds after the last look."""
        if self.compression:
            due = self.compression._due.at
            self._looked_at = seconds + max(self._looked_at, monotonic(), 0.0 if due == math.inf else due)
            self.compression._on_due(self._looked_at)

    def end_process(self, failure: str | None = None) -> None:
        """The process that compresses ends, if there is one."""
        if self._process.asked:
            self._process.run(failure)

    def close(self) -> None:
        """It is gone: nothing is put in order."""
        self._process.close()
        if self.compression:
            job, self.compression._job = self.compression._job, None
            for fd in (job.source, job.target) if job else ():
                os.close(fd)
            self.compression._closer.finish(CLOSE_SEC)
        self.loop._deadlines.clear()  # which hold all of it
        self.loop.close()
        self.log.close()


class Run:
    """One run."""

    def __init__(self, rig: Rig, seed: int, trace: list[str] | None = None) -> None:
        rng = Random(seed)
        self.rig = rig
        self.rng = rng
        self.steps: list[Step] = [
            (rng.choices(STEPS, WEIGHTS)[0], rng.getrandbits(32)) for _ in range(rng.randrange(FEWEST, MOST))
        ]
        self.sizes = Sizes.chosen(rng)
        held.HELD_MAX_BYTES = self.sizes.held_bytes
        held.CHUNK_BYTES = self.sizes.chunk_bytes
        logfile.ROTATED_UNSYNCED_MAX = self.sizes.rotated_unsynced
        logs = Random(seed)
        identities.new_log = lambda: f"{logs.getrandbits(48):012x}"
        self.disk = ModelDisk(rig.begin(), rng, self.note)
        self.disk.is_blocking = rng.random() < 0.1
        self.outside = Outside(self.disk, rng)
        waits = self.sizes.settings().acks_wait_for_disk
        self.oracle = Oracle(
            self.outside, self.disk.names, waits_for_disk=waits, limits=self.sizes.limits, clock=rig.clock
        )
        self.identities = Identities(self.disk.directory, self.disk.names)
        self.disk.before_each = self.read_acks
        self.disk.on_failure = rig.on_writing_again = self.oracle.may_repeat
        self.disk.names.on_lost = self.oracle.lost_name
        self.server: Server | None = None
        self.starts = 0
        self.minutes = 0  # that have passed
        self.dies_by = ""
        self._number = 0
        self._trace = trace
        self.note(f"{self.sizes} blocking={self.disk.is_blocking}")

    def next_number(self) -> int:
        """For an entry, or something else with a number in its name."""
        self._number += 1
        return self._number

    def any_sender(self) -> int:
        return self.rng.randrange(SENDERS)

    def note(self, text: str) -> None:
        if self._trace is not None:
            self._trace.append(text)

    def run(self, steps: list[Step] | None = None) -> None:
        """Raises whatever went wrong."""
        try:
            self.start()
            for step, seed in self.steps if steps is None else steps:
                self.rng.seed(seed)
                self.note(f"    {step.__name__}")
                self._attempt(step)
            self.note("    the disk works again")
            self.rng.seed(1)
            self._attempt(Run._settle)
            self._attempt(Run._compress_all)
            is_complete = not self.server.writer.lost
            self.oracle.check_end(self.starts, is_complete=is_complete)
            if is_complete and self.sizes.holds_all and self.sizes.settings().acks_wait_for_disk:
                self.oracle.check_durable(self.starts)
        finally:
            for message in self.rig.messages:
                self.note(f"    message: {message}")
            self.stop()

    def start(self) -> None:
        self.starts += 1
        for attempt in range(STARTS):
            for file in self.disk.names.now.values():
                file.trusted = None  # a start does not know which files have failed
            self.oracle.deleted = 0
            try:
                self.disk.make_directory(self.disk.directory)
                self.server = Server(self.disk, self.sizes, self.rig.listener)
                break
            except OSError:
                assert attempt < STARTS - 1, "the server does not start"
                self.disk.faults.heal()
                self.oracle.killed()
        if any("cannot repair" in message for message in self.rig.messages):
            self.oracle.damaged = True
            self.identities.is_strict = False
        if any("cannot read" in message for message in self.rig.messages):
            self.oracle.forget_stored()
        self.oracle.check_files()
        if not any("cannot remove" in message for message in self.rig.messages):
            self.oracle.check_one_form()
        self.identities.check(self.server.log)

    def stop(self) -> None:
        if self.server:
            self.server.close()
            self.server = None

    def deliver(self, entry: Entry, sender: int) -> None:
        """Sends an entry, which waits in the server's socket."""
        self.note(f"        sender {sender}: {entry.line.decode()}")
        if entry.waits_for_ack:
            entry.unanswered.add(sender)
        entry.periods.add((sender, self.starts, self.minutes))
        self.rig.senders[sender].send(entry.line)
        self.server.delivered += 1

    def turn(self) -> None:
        """The server receives everything that was sent to it."""
        for _ in range(1000):
            self.server.pipeline.turn(monotonic())
            if self.server.pipeline.intake.total_received == self.server.delivered:
                return
            select.select([self.rig.listener.socket], [], [], 0.05)
        raise AssertionError("the server does not receive what was sent")

    def read_acks(self) -> None:
        if not self.server or not (new := self.server.new_acks):
            return
        self.server.acks_read += new
        until = monotonic() + 5
        while new > 0:
            for number, sender in enumerate(self.rig.senders):
                with contextlib.suppress(BlockingIOError):
                    while True:
                        sequence = int(sender.recv(100)[ACK_PREFIX:-1])
                        self.note(f"        ACK {sequence} to {number}")
                        self.oracle.acknowledged(number, sequence)
                        new -= 1
            assert monotonic() < until, "an ACK did not come"

    def check(self) -> None:
        self.read_acks()
        check_account(self.server.pipeline)
        self.oracle.check_deletions(self.server.log.budget.deleted_files)
        self.identities.check(self.server.log)

    def _attempt(self, step: Callable[["Run"], None]) -> None:
        """A step, in which the server may die."""
        try:
            step(self)
            self.check()
        except Died:
            while not self._starts_anew():
                pass

    def _starts_anew(self) -> bool:
        """Whether it started, after it died; it may die again then."""
        try:
            self._die()
            self.start()
        except Died:
            return False
        return True

    def _die(self) -> None:
        self.disk.is_dead = False  # what was sent before it died still comes
        self.read_acks()
        self.stop()
        self.disk.dies()
        self.rig.empty_sockets()
        if self.dies_by == "cut":
            self.identities.power_is_cut()
            self.outside.cut_power()
            self.oracle.power_was_cut()
        else:
            self.oracle.killed()
        self.note(f"    died: {self.dies_by}")
        if self.rng.random() < 0.7:
            self.disk.faults.heal()
        if self.rng.random() < 0.2:
            self.disk.dies_at = self.disk.operations + self.rng.randrange(1, 15)

    def _settle(self) -> None:
        """The disk works again, and senders repeat what is not acknowledged: in the end all of it is."""
        self.disk.dies_at = -1
        self.disk.faults.heal()
        self.turn()
        server = self.server
        for round_ in range(ROUNDS):
            server.call_deadlines()
            self.disk.finish()
            self.check()
            waiting = [entry for entry in self.oracle.entries if entry.unanswered]
            is_quiet = not (server.writer.failure or server.log.name_failure or server.pipeline.intake.lines.entries)
            if is_quiet and not waiting and server.writer.commit.wanted_at == math.inf:
                assert not server.writer.buffered, f"{server.writer.buffered} entries stay in memory"
                return
            if round_ <= ROUNDS_ALONE and not server.writer.commit.acks_dropped:
                owed = next((entry for entry in waiting if entry.is_owed_since(self.starts)), None)
                if owed:
                    assert round_ < ROUNDS_ALONE, f"no ACK without another repetition: {owed.line.decode()}"
                    continue
            for entry in waiting:
                for sender in sorted(entry.unanswered):
                    self.deliver(entry, sender)
            self.turn()
        raise AssertionError("not everything is acknowledged in the end")

    def _compress_all(self) -> None:
        """In the end all archives are compressed, unless other programs have taken their names."""
        compression = self.server.compression
        for _ in range(ARCHIVES_MAX if compression else 0):
            self.server.look_for_archives(2 * RETRY_SEC)
            if not compression.waiting_files:
                break
            self.server.end_process()
            self.disk.finish()
            self.check()
        if compression and self.sizes.sync == "durable":  # otherwise a file may wait for a sync for ever
            self.oracle.check_one_form(compressed=True)


def make_rig() -> Rig:
    return Rig(Path(f"/dev/shm/fastlog-model-{os.getpid()}"))


if __name__ == "__main__":
    sys.exit(main(make_rig))
