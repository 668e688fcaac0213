"""Random runs of the server's core, from the socket to the file and back, over a modelled disk.

The real pipeline runs over a storage that fails, ends syncs late, kills the server and cuts the power, while other
programs rename, remove, cut and append. What was sent and acknowledged is known here, and compared with the files after
each step. A run is a list of steps, each with a seed of its own, so that steps can be left out of a run that failed.

    python -m tests.helpers.model --first 0 --runs 1000
"""

import argparse
import contextlib
import ctypes
import errno
import gc
import math
import os
import select
import shutil
import socket
import sys
import traceback
from pathlib import Path
from random import Random
from time import monotonic

from fastlog.config import Settings
from fastlog.server import found_files, held, logfile, repair, writer
from fastlog.server._drain import RETRANSMIT_MS
from fastlog.server.commit import SyncPace
from fastlog.server.listener import Listener
from fastlog.server.logfile import LogFile
from fastlog.server.loop import Loop
from fastlog.server.pipeline import Pipeline
from tests.helpers._hooks import let_pass
from tests.helpers.model_disk import AWAY, NAME, Died, File, ModelDisk, holds

SENDERS = 2
STEPS = 30
ROUNDS = 25  # in which everything is stored and acknowledged at the end, once the disk works
M_MMAP_THRESHOLD = -3  # for mallopt
ACK_PREFIX = len(b'{"ack":true,"sequence":')


class Rig:
    """What runs share, since it is costly: sockets and a directory in memory."""

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
        self.on_writing_again = lambda: None
        self._patched = [(module, module.say) for module in (writer, logfile, repair, found_files)]
        for module, _ in self._patched:
            module.say = self.say
        self._block_bytes, repair.BLOCK_BYTES = repair.BLOCK_BYTES, 4096
        self._limits = held.HELD_MAX_BYTES, held.CHUNK_BYTES, logfile.ROTATED_UNSYNCED_MAX

    def say(self, text: str) -> None:
        self.messages.append(text)
        if "writing again" in text:
            self.on_writing_again()

    def begin(self) -> Path:
        directory = f"{self.base}/logs"
        try:
            for name in os.listdir(directory):
                os.unlink(f"{directory}/{name}")
        except OSError:
            pass
        if not os.path.isdir(directory) or os.listdir(self.base) != ["logs"]:
            shutil.rmtree(self.base, ignore_errors=True)
            (self.base / "logs").mkdir(parents=True)
        self.empty_sockets()
        self.messages.clear()
        return self.base / "logs"

    def empty_sockets(self) -> None:
        for each in (self.listener.socket, *self.senders):
            with contextlib.suppress(BlockingIOError):
                while True:
                    each.recv(1 << 16, socket.MSG_DONTWAIT)

    def close(self) -> None:
        held.HELD_MAX_BYTES, held.CHUNK_BYTES, logfile.ROTATED_UNSYNCED_MAX = self._limits
        repair.BLOCK_BYTES = self._block_bytes
        for module, say in self._patched:
            module.say = say
        gc.unfreeze()
        for each in (self.listener, *self.senders):
            each.close()
        shutil.rmtree(self.base, ignore_errors=True)


class Entry:
    __slots__ = ("acked", "line", "periods", "priority", "sequence", "timed", "unanswered")

    def __init__(self, line: bytes, sequence: int | None, *, priority: bool, timed: bool) -> None:
        self.line = line
        self.sequence = sequence
        self.priority = priority
        self.timed = timed
        self.acked = False
        self.unanswered: set[int] = set()  # the senders that repeat it
        self.periods: set[tuple] = set()  # (sender, start, minute) in which it was sent

    @property
    def waits_for_ack(self) -> bool:
        return self.priority and self.sequence is not None


SETTINGS = {
    (count, sync): Settings(
        log_dir="/nowhere",
        priority_levels=("ERROR",),
        max_errors=3,
        flush_count=count,
        rejects_max_mb=0,
        priority_sync=sync,
    )
    for count in (1, 3)
    for sync in ("durable", "written")
}


class World:
    """One run. `check_…` raise AssertionError."""

    def __init__(self, rig: Rig, seed: int, trace: list[str] | None = None) -> None:
        rng = Random(seed)
        self.rig = rig
        self.rng = rng
        self.trace = trace
        self.steps = [(rng.choices(KINDS, WEIGHTS)[0], rng.getrandbits(32)) for _ in range(rng.randrange(8, STEPS))]
        held.HELD_MAX_BYTES = rng.choice((120, 200, 400, 1000, 1 << 24))
        held.CHUNK_BYTES = rng.choice((1, 100, 64 << 10))
        logfile.ROTATED_UNSYNCED_MAX = rng.choice((1, 2, 32))
        self.limit = rng.choice((60, 150, 250, 600, 10**9))
        self.backups = rng.randrange(4)
        self.in_a_row = rng.choice((0, 0, 0, 1, 2))
        self.settings = SETTINGS[rng.choice((1, 1, 3)), "written" if rng.random() < 0.08 else "durable"]
        directory = rig.begin()
        rig.on_writing_again = self.may_repeat
        self.disk = ModelDisk(directory, rng)
        self.disk.is_blocking = rng.random() < 0.1
        self.disk.trace = trace
        self.disk.before_each = self.read_acks
        self.disk.on_failure = self.may_repeat
        self.disk.on_removed = self.removed
        self.entries: list[Entry] = []
        self.by_sequence: dict[int, Entry] = {}
        self.by_line: dict[bytes, Entry] = {}
        self.gone: set[bytes] = set()  # lines that nobody need find any more
        self.once_gone: set[bytes] = set()  # lines that were gone, and acknowledged later
        self.repeated: set[bytes] = set()  # lines that may be stored more than once
        self.taken: set[File] = set()  # files in directories that were moved away
        self.moved: list[Path] = []  # these directories
        self.touched = False  # another program has written into a file
        self.copied = False  # another program has copied a file, or power cuts undid a removal
        self.damaged = False  # a start could not repair what a crash left
        self.by_others = False
        self.starts = 0
        self.minutes = 0
        self.number = 0
        self.delivered = 0  # to this server
        self.acks_read = 0
        self.death = ""
        self.pipeline: Pipeline | None = None
        self.log: LogFile | None = None
        self.loop: Loop | None = None
        if trace is not None:
            trace.append(
                f"limit={self.limit} backups={self.backups} held={held.HELD_MAX_BYTES} chunk={held.CHUNK_BYTES} "
                f"rotated={logfile.ROTATED_UNSYNCED_MAX} {self.settings.priority_sync} "
                f"flush_count={self.settings.flush_count} in_a_row={self.in_a_row} blocking={self.disk.is_blocking}"
            )

    def run(self, steps: list[tuple[str, int]] | None = None) -> None:
        try:
            self.start()
            for kind, seed in self.steps if steps is None else steps:
                self.rng.seed(seed)
                if self.trace is not None:
                    self.trace.append(f"    {kind}")
                self.attempt(getattr(self, "do_" + kind))
            if self.trace is not None:
                self.trace.append("    the disk works again")
            self.rng.seed(1)
            self.attempt(self.settle)
            self.check_end()
        finally:
            if self.trace is not None:
                self.trace += [f"    message: {message}" for message in self.rig.messages]
            self.close()

    # Lives of the server

    def start(self) -> None:
        self.starts += 1
        self.delivered = self.acks_read = 0
        self.loop = Loop()
        for attempt in range(5):  # a start reports an error of the disk that nobody saw before, and the next one works
            self.disk.trust_all()
            try:
                self.disk.make_directory(self.disk.directory)
                self.log = LogFile(self.disk, self.disk.directory, NAME, self.limit, self.backups)
                pace = SyncPace(3600.0, self.in_a_row) if self.in_a_row else SyncPace(0.0)
                self.pipeline = Pipeline(self.settings, self.log, self.rig.listener, self.loop, pace)
                self.groups = self.pipeline.writer.commit._groups
                break
            except OSError:
                assert attempt < 4, "the server does not start"
                if self.log:
                    self.log.close()
                    self.log = None
                self.disk.heal()
                self.note_lost()
        self.damaged = self.damaged or any("cannot repair" in message for message in self.rig.messages)
        self.check_files()

    def attempt(self, step) -> None:
        """A step in which the server may die, and what the check of it says."""
        try:
            step()
            self.read_acks()
            self.check_account()
        except Died:
            self.died()

    def died(self) -> None:
        while True:
            try:
                self.disk.is_dead = False  # what it reads takes no operation
                self.read_acks()
                self.close()
                self.disk.dies()
                self.rig.empty_sockets()
                if self.death == "cut":
                    self.disk.cut_power()
                    self.copied = self.copied or self.by_others
                    if not self.settings.acks_wait_for_disk:
                        self.gone.update(self.by_line)
                else:
                    self.note_lost()
                if self.trace is not None:
                    self.trace.append(f"    died: {self.death}")
                if self.rng.random() < 0.7:
                    self.disk.heal()
                if self.rng.random() < 0.2:
                    self.disk.dies_at = self.disk.operations + self.rng.randrange(1, 15)
                self.start()
            except Died:
                continue
            return

    def close(self) -> None:
        if self.pipeline:
            self.pipeline.rejects.close()
        if self.log:
            self.log.close()
        if self.loop:
            self.loop._deadlines.clear()  # which hold all of it
            self.loop.close()
        self.pipeline = self.log = self.loop = None

    # Steps

    def do_send(self) -> None:
        rng = self.rng
        for _ in range(rng.choice((1, 1, 1, 2, 3, 5))):
            self.deliver(self.new_entry(), rng.randrange(SENDERS))
        if rng.random() < 0.85:
            self.turn()

    def do_repeat(self) -> None:
        """Senders repeat what is not acknowledged; sometimes what is, or what another one sent."""
        rng = self.rng
        priority = [entry for entry in self.entries if entry.waits_for_ack]
        for entry in rng.sample(priority, min(len(priority), rng.randrange(1, 4))):
            self.deliver(entry, rng.randrange(SENDERS))
        self.turn()

    def do_turn(self) -> None:
        self.turn()

    def do_end_sync(self) -> None:
        self.disk.end_one()

    def do_end_syncs(self) -> None:
        self.disk.finish()

    def do_fail_sync(self) -> None:
        self.disk.sync_fails = self.rng.choice((0.5, 1.0))
        self.disk.end_one()
        self.disk.sync_fails = 0.0

    def do_deadlines(self) -> None:
        for deadline in list(self.loop._deadlines):
            if deadline.at != math.inf and self.rng.random() < 0.7:
                deadline.fire(deadline.at)

    def do_look(self) -> None:
        self.pipeline.writer.look(monotonic())

    def do_retry(self) -> None:
        self.pipeline.writer.retry(monotonic())

    def do_make_room(self) -> None:
        self.pipeline.writer.make_room(monotonic())

    def do_reopen(self) -> None:
        self.pipeline.writer.reopen(monotonic(), "SIGHUP")

    def do_minute(self) -> None:
        let_pass(self.pipeline.intake, RETRANSMIT_MS + 1000)
        self.minutes += 1

    def do_stop(self) -> None:
        """A stop as `server.py` has it, and a start."""
        self.turn()
        with contextlib.suppress(OSError):
            self.pipeline.finish()
        self.pipeline.writer.give_up()
        self.read_acks()
        self.check_account()
        assert not self.pipeline.writer.buffered
        self.close()
        self.note_lost()
        self.disk.dies()
        self.start()

    def do_kill(self) -> None:
        self.die("kill")

    def do_cut(self) -> None:
        self.die("cut")

    def die(self, how: str) -> None:
        self.death = how
        delay = self.rng.choice((0, 0, 1, 2, 3, 5, 9))
        if not delay:
            raise Died
        self.disk.dies_at = self.disk.operations + delay

    def do_fault(self) -> None:
        disk, rng = self.disk, self.rng
        kind = rng.choice(
            ("room", "room", "file_max", "write", "write", "truncate", "create", "open", "rename", "unlink")
        )
        if kind == "room":
            disk.room = rng.choice((0, 0, 20, 50, 100, 200))
            if rng.random() < 0.3:
                disk.faults["create"] = [errno.ENOSPC, 2]
        elif kind == "file_max":
            disk.file_max = rng.choice((0, 30, 100, 200))
        elif kind in ("write", "truncate"):
            disk.faults[kind] = [rng.choice((errno.EIO, errno.EIO, errno.EROFS)), rng.choice((1, 1, 2, 4))]
        else:
            number = rng.choice((errno.EIO, errno.ENOSPC, errno.EACCES, errno.EMFILE))
            disk.faults[kind] = [number, rng.choice((1, 1, 2, 4))]
        if rng.random() < 0.15:
            disk.sync_fails = rng.choice((0.2, 0.7))

    def do_heal(self) -> None:
        self.disk.heal()

    def do_write_back(self) -> None:
        self.disk.write_back(fails=self.rng.random() < 0.3)

    def do_other(self) -> None:
        """Another program does something to the log's files."""
        rng, disk = self.rng, self.disk
        names = [name for name in disk.names if found_files.NAMES.fullmatch(name.removeprefix(NAME))]
        if not names:
            return
        name = NAME if NAME in names and rng.random() < 0.7 else rng.choice(names)
        self.by_others = True
        self.may_repeat()
        action = rng.choice(("rename", "logrotate", "remove", "cut", "append", "replace", "directory"))
        if self.trace is not None:
            self.trace.append(f"        {action} {name}")
        if action == "rename":
            self.number += 1
            disk.other_renames(name, rng.choice((f"{AWAY}{self.number}", f"{NAME}-202601{self.number % 30 + 1:02}")))
        elif action == "logrotate":
            self.logrotate()
        elif action == "remove":
            disk.other_removes(name)
        elif action == "cut":
            size = disk.names[name].size
            self.cut(name, rng.choice((0, 0, rng.randrange(size + 1))))
        elif action == "append":
            self.touched = True
            self.number += 1
            disk.other_appends(name, b"#%d" % self.number + rng.choice((b"", b"\n", b"\n")))
        elif action == "replace":
            self.copied = True
            content = disk.content(name)
            disk.other_makes(".temporary", content)
            disk.other_renames(".temporary", name)
        else:
            self.take_directory()

    def logrotate(self) -> None:
        names = self.disk.names
        if f"{NAME}.2" in names:
            self.disk.other_removes(f"{NAME}.2")
        if f"{NAME}.1" in names:
            self.disk.other_renames(f"{NAME}.1", f"{NAME}.2")
        if NAME in self.disk.names:
            self.disk.other_renames(NAME, f"{NAME}.1")
            if self.rng.random() < 0.5:
                self.disk.other_makes(NAME, b"")
        if self.rng.random() < 0.5:
            self.pipeline.writer.reopen(monotonic(), "SIGHUP")

    def cut(self, name: str, size: int) -> None:
        self.touched = True
        before = self.disk.content(name)
        file = self.disk.names[name]
        durable = self.durable_lines(name, file)
        self.disk.other_cuts(name, size)
        self.once_gone |= lines_of(before)
        lost = lines_of(before) - lines_of(before[: before[:size].rfind(b"\n") + 1])
        self.note_gone(lost, durable)

    def take_directory(self) -> None:
        is_moved = self.rng.random() < 0.5
        names = dict(self.disk.names)
        for name, file in names.items():
            self.removed(name, file, self.disk.content(name), by_other=True)
        self.taken |= set(names.values()) if is_moved else set()
        self.number += 1
        to = self.rig.base / f"moved{self.number}"
        self.moved += [to] if is_moved else []
        self.disk.other_takes_directory(to if is_moved else None)
        if self.rng.random() < 0.3:
            self.disk.make_directory(self.disk.directory)

    # What the steps are made of

    def new_entry(self) -> Entry:
        rng = self.rng
        self.number += 1
        number = self.number
        priority = rng.random() < 0.6
        sequence = number if rng.random() < 0.85 else None
        timed = rng.random() < 0.6
        line = b'{"level":"%s","message":"%d%s"' % (
            b"ERROR" if priority else b"INFO",
            number,
            b"x" * rng.choice((0, 0, 0, 20, 100)),
        )
        if timed:
            line += b',"timestamp":"2026-11-24T07:00:00Z"'
        if sequence is not None:
            line += b',"sequence":%d' % sequence
        entry = Entry(line + b"}", sequence, priority=priority, timed=timed)
        self.entries.append(entry)
        self.by_line[entry.line] = entry
        if sequence is not None:
            self.by_sequence[sequence] = entry
        return entry

    def deliver(self, entry: Entry, sender: int) -> None:
        if self.trace is not None:
            self.trace.append(f"        sender {sender}: {entry.line.decode()}")
        if entry.waits_for_ack:
            entry.unanswered.add(sender)
        entry.periods.add((sender, self.starts, self.minutes))
        self.rig.senders[sender].send(entry.line)
        self.delivered += 1

    def turn(self) -> None:
        """The server receives everything that was sent to it."""
        for _ in range(1000):
            self.pipeline.turn(monotonic())
            if self.pipeline.intake.total_received == self.delivered:
                return
            select.select([self.rig.listener.socket], [], [], 0.05)
        raise AssertionError("the server does not receive what was sent")

    def settle(self) -> None:
        """The disk works again, and senders repeat what is not acknowledged: in the end all of it is."""
        self.disk.dies_at = -1
        self.disk.heal()
        self.turn()
        for attempt in range(ROUNDS):
            writer = self.pipeline.writer
            for deadline in list(self.loop._deadlines):
                if deadline.at != math.inf:
                    deadline.fire(deadline.at)
            self.disk.finish()
            self.read_acks()
            self.check_account()
            waiting = [entry for entry in self.entries if entry.unanswered]
            if not (waiting or writer.failure or self.log.name_failure or self.pipeline.intake.lines.entries):
                break
            if attempt < 3 and not self.pipeline.writer.commit.acks_dropped:
                owed = [
                    entry
                    for entry in waiting
                    if any(start == self.starts and sender in entry.unanswered for sender, start, _ in entry.periods)
                ]
                if owed:
                    assert attempt < 2, f"no ACK without another repetition: {owed[0].line.decode()}"
                    continue
            for entry in waiting:
                for sender in sorted(entry.unanswered):
                    self.deliver(entry, sender)
            self.turn()
        else:
            raise AssertionError("not everything is acknowledged in the end")
        assert not writer.buffered, f"{writer.buffered} entries stay in memory"

    # What is noted

    def may_repeat(self) -> None:
        self.repeated.update(
            entry.line for entry in self.entries if entry.priority and (entry.unanswered or not entry.acked)
        )

    def note_lost(self) -> None:
        """A start takes for stored what the page cache shows, though the disk failed to write it."""
        lost = self.disk.lost_lines()
        self.gone |= lost
        self.repeated |= lost

    def durable_lines(self, name: str, file: File) -> set[bytes]:
        if not all(file in [each for n, each in state.items() if counts(n)] for state in self.disk.states):
            return set()
        return lines_of(file.certain())

    def note_gone(self, lost: set[bytes], durable: set[bytes]) -> None:
        """These lines are gone: those that were durable, and those that owe nobody an ACK."""
        for line in lost:
            entry = self.by_line.get(line)
            if entry and (
                line in durable or entry.acked or not self.settings.acks_wait_for_disk or not entry.waits_for_ack
            ):
                self.gone.add(line)

    def removed(self, name: str, file: File, content: bytes, *, by_other: bool = False) -> None:
        """A file lost this name."""
        if not counts(name):
            return
        lines = lines_of(content)
        self.once_gone |= lines
        number = name.removeprefix(NAME + ".")
        is_archive = number.isdecimal() or (name == NAME and not self.backups)
        if is_archive and not by_other and not self.disk.is_other:
            self.gone |= lines
        else:
            self.note_gone(lines, self.durable_lines(name, file))

    def read_acks(self) -> None:
        if not self.pipeline:
            return
        first, second = self.groups
        new = first.acks.sent + second.acks.sent - self.acks_read
        if new:
            self.acks_read += new
            ready = 0
            deadline = monotonic() + 5
            while ready < new:
                for number, sender in enumerate(self.rig.senders):
                    with contextlib.suppress(BlockingIOError):
                        while True:
                            self.acknowledged(number, sender.recv(100, socket.MSG_DONTWAIT))
                            ready += 1
                assert monotonic() < deadline, "an ACK did not come"

    def acknowledged(self, sender: int, ack: bytes) -> None:
        sequence = int(ack[ACK_PREFIX:-1])
        if self.trace is not None:
            self.trace.append(f"        ACK {sequence} to {sender}")
        entry = self.by_sequence[sequence]
        entry.unanswered.discard(sender)
        line = entry.line
        if self.settings.acks_wait_for_disk:
            if self.disk.is_certain(line, counts, is_new=not entry.acked):
                if line in self.gone:
                    self.gone.discard(line)
                    self.once_gone.add(line)
            elif line not in self.gone:
                in_taken = any(holds(file.certain(), line) for file in self.taken)
                assert in_taken, f"{sequence} was acknowledged and is not durable"
                self.gone.add(line)
        else:
            assert line in self.gone or line in self.all_lines(), f"{sequence} was acknowledged and is not there"
        entry.acked = True

    def all_lines(self) -> list[bytes]:
        found: list[bytes] = []
        for name in self.disk.names:
            if counts(name):
                found += self.disk.content(name).split(b"\n")
        return found + self.moved_lines()

    def moved_lines(self) -> list[bytes]:
        return [
            line for directory in self.moved for path in directory.iterdir() for line in path.read_bytes().split(b"\n")
        ]

    # What is checked

    def check_account(self) -> None:
        intake, writer = self.pipeline.intake, self.pipeline.writer
        received = intake.total_received
        accounted = writer.stored + intake.duplicates + writer.buffered + writer.lost
        assert received == accounted, (
            f"received {received}, stored {writer.stored}, duplicates {intake.duplicates}, buffered {writer.buffered}, "
            f"lost {writer.lost}"
        )
        assert writer.buffered >= 0
        assert intake.duplicates >= 0

    def check_files(self) -> dict[bytes, int]:
        """Each line is whole, and nothing that was acknowledged is missing. Returns how often each line is there."""
        found: dict[bytes, int] = {}
        for name in self.disk.names:
            if not counts(name):
                continue
            content = self.disk.content(name)
            if name.startswith(AWAY) or "distrusted" in name:  # what it holds is not on the disk, or nobody repairs it
                for line in content.replace(b"\0", b"\n").split(b"\n"):
                    found.setdefault(line, 0)
                    self.once_gone.add(line)
                continue
            *lines, rest = content.split(b"\n")
            assert not rest or self.touched or self.damaged or self.disk.half_lines, f"half a line in {name}: {rest!r}"
            for line in lines:
                line = line.lstrip(b" ")  # which may take the place of damage
                if line not in self.by_line:
                    self.check_strange(name, line)
                found[line] = found.get(line, 0) + 1
        missing = [entry.line for entry in self.entries if entry.acked and entry.line not in found]
        if missing and (missing := set(missing) - self.gone - set(self.moved_lines())):
            raise AssertionError(f"acknowledged and lost: {missing}")
        return found

    def check_strange(self, name: str, line: bytes) -> None:
        if b"\0" in line and self.damaged:
            return
        assert not line or ((self.touched or self.damaged or self.disk.half_lines) and not line.endswith(b"}")), (
            f"in {name}: {line!r}"
        )

    def check_end(self) -> None:
        found = self.check_files()
        moved = set(self.moved_lines())
        writer = self.pipeline.writer
        for entry in self.entries:
            count = found.get(entry.line, 0)
            if entry.acked or (not writer.lost and any(start == self.starts for _, start, _ in entry.periods)):
                assert entry.line in found or entry.line in self.gone or entry.line in moved, (
                    f"not stored: {entry.line.decode()}"
                )
            two_events = entry.waits_for_ack and not entry.timed
            if two_events and entry.line not in self.gone | self.once_gone | moved:
                senders = len({sender for sender, _, _ in entry.periods})
                assert count >= senders, f"stored {count} times for {senders} senders: {entry.line.decode()}"
            if entry.line not in self.repeated and not self.copied:
                most = 1 if entry.timed or not entry.priority else len(entry.periods)
                assert count <= most, f"stored {count} times: {entry.line.decode()}"


def lines_of(content: bytes) -> set[bytes]:
    """Spaces before a line may have taken the place of damage."""
    return {line.lstrip(b" \0") for line in content.split(b"\n")}


def counts(name: str) -> bool:
    """Whether somebody who looks for the log's lines finds this file, or another program put it there."""
    return name.startswith(AWAY) or (
        name.startswith(NAME) and found_files.NAMES.fullmatch(name.removeprefix(NAME)) is not None
    )


CHANCES = {
    "send": 30,
    "repeat": 10,
    "turn": 2,
    "end_sync": 18,
    "end_syncs": 3,
    "fail_sync": 3,
    "deadlines": 7,
    "look": 2,
    "retry": 2,
    "make_room": 4,
    "reopen": 2,
    "minute": 1,
    "stop": 1,
    "kill": 2,
    "cut": 3,
    "fault": 6,
    "heal": 5,
    "write_back": 3,
    "other": 6,
}
KINDS, WEIGHTS = list(CHANCES), list(CHANCES.values())


def fails(rig: Rig, seed: int, steps=None, trace: list[str] | None = None) -> str | None:
    """Runs a seed; returns why it failed, or None."""
    world = World(rig, seed, trace)
    try:
        world.run(steps)
    except Exception:
        return traceback.format_exc()
    return None


def shrunk(rig: Rig, seed: int) -> list[tuple[str, int]]:
    """As few of the seed's steps as still fail."""
    steps = World(rig, seed).steps
    size = len(steps) // 2
    while size:
        at = 0
        while at < len(steps):
            fewer = steps[:at] + steps[at + size :]
            if fails(rig, seed, fewer):
                steps = fewer
            else:
                at += size
        size //= 2
    return steps


def report(rig: Rig, seed: int) -> str:
    steps = shrunk(rig, seed)
    trace: list[str] = []
    why = fails(rig, seed, steps, trace)
    return "\n".join([f"seed {seed}:", *trace, why or "it does not fail again"])


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--most", type=int, default=3)
    options = parser.parse_args()
    rig = Rig(Path(f"/dev/shm/fastlog-model-{os.getpid()}"))
    failed = 0
    began = monotonic()
    try:
        for seed in range(options.first, options.first + options.runs):
            if fails(rig, seed):
                failed += 1
                print(report(rig, seed), flush=True)
                if failed >= options.most:
                    break
    finally:
        rig.close()
    print(f"{seed - options.first + 1} runs in {monotonic() - began:.1f} s, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
