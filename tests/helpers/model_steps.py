"""The steps of a random run: what senders, the disk, the server's deadlines, its end, and other programs do."""

import contextlib
import errno
import math
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from fastlog.segments import COMPRESSED_ENDING
from fastlog.server._drain import RETRANSMIT_MS
from fastlog.server.compression import RETRY_SEC
from tests.helpers._hooks import let_pass
from tests.helpers.model_disk import Died
from tests.helpers.model_names import AWAY, NAME, is_of_log

if TYPE_CHECKING:
    from tests.helpers.model import Run

KEEP_SEC = 3600.0  # LOG_KEEP_DAYS, where it is set
# Another attempt of an operation may succeed.
TIMES = (1, 1, 2, 4)


def send(run: "Run") -> None:
    rng = run.rng
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5))):
        entry = run.oracle.new_entry(run.next_number(), rng)
        run.deliver(entry, run.any_sender())
    if rng.random() < 0.85:
        run.turn()


def repeat(run: "Run") -> None:
    """Senders repeat some entries, acknowledged or not, and sometimes one that another sent."""
    known = [entry for entry in run.oracle.entries if entry.waits_for_ack]
    for entry in run.rng.sample(known, min(len(known), run.rng.randrange(1, 4))):
        run.deliver(entry, run.any_sender())
    run.turn()


def turn(run: "Run") -> None:
    run.turn()


def end_sync(run: "Run") -> None:
    run.disk.end_one()


def end_syncs(run: "Run") -> None:
    run.disk.finish()


def fail_sync(run: "Run") -> None:
    run.disk.faults.sync_fails = run.rng.choice((0.5, 1.0))
    run.disk.end_one()
    run.disk.faults.sync_fails = 0.0


def deadlines(run: "Run") -> None:
    run.server.call_deadlines(lambda: run.rng.random() < 0.7)


def look(run: "Run") -> None:
    run.server.writer.look(monotonic())


def retry(run: "Run") -> None:
    run.server.writer.retry(monotonic())


def make_room(run: "Run") -> None:
    run.server.writer.make_room(monotonic())


def reopen(run: "Run") -> None:
    run.server.writer.reopen(monotonic(), "SIGHUP")


def look_for_archives(run: "Run") -> None:
    """To compress them: after a second, or after a failure."""
    run.server.look_for_archives(run.rng.choice((0.0, 2 * RETRY_SEC)))


def compress(run: "Run") -> None:
    """The process that compresses comes to its end; it may fail."""
    run.server.end_process(None if run.rng.random() < 0.8 else "it was killed")


def hours(run: "Run") -> None:
    """Archives become older."""
    run.rig.clock_ahead_sec += run.rng.choice((0.3, 0.6, 1.1)) * KEEP_SEC


def minute(run: "Run") -> None:
    let_pass(run.server.pipeline.intake, RETRANSMIT_MS + 1000)
    run.minutes += 1


def end(run: "Run") -> None:
    """The server ends, as `server.py` has it, and starts again."""
    run.turn()
    run.server.pipeline.stop_compressing()
    with contextlib.suppress(OSError):
        run.server.pipeline.finish()
    run.server.writer.give_up()
    run.check()
    assert not run.server.writer.buffered
    run.stop()
    run.oracle.killed()
    run.disk.dies()
    run.start()


def kill(run: "Run") -> None:
    _die(run, "kill")


def cut(run: "Run") -> None:
    _die(run, "cut")


def _die(run: "Run", by: str) -> None:
    """At once, or after some more operations."""
    run.dies_by = by
    operations = run.rng.choice((0, 0, 1, 2, 3, 5, 9))
    if not operations:
        raise Died
    run.disk.dies_at = run.disk.operations + operations


def fault(run: "Run") -> None:
    faults, rng = run.disk.faults, run.rng
    kinds = ("room", "room", "file_max", "write", "write", "truncate", "create", "open", "rename", "unlink")
    kind = rng.choice((*kinds, "set_attribute"))
    if kind == "room":
        faults.room = rng.choice((0, 0, 20, 50, 100, 200))
        if rng.random() < 0.3:
            faults.operations["create"] = [errno.ENOSPC, 2]
    elif kind == "file_max":
        faults.file_max = rng.choice((0, 30, 100, 200))
    elif kind in ("write", "truncate"):
        faults.operations[kind] = [rng.choice((errno.EIO, errno.EIO, errno.EROFS)), rng.choice(TIMES)]
    else:
        run.identities.is_strict = run.identities.is_strict and kind != "set_attribute"
        number = rng.choice((errno.EIO, errno.ENOSPC, errno.EACCES, errno.EMFILE))
        faults.operations[kind] = [number, rng.choice(TIMES)]
    if rng.random() < 0.15:
        faults.sync_fails = rng.choice((0.2, 0.7))


def heal(run: "Run") -> None:
    run.disk.faults.heal()


def write_back(run: "Run") -> None:
    if run.outside.write_back(fails=run.rng.random() < 0.3):
        run.oracle.may_repeat()


def other(run: "Run") -> None:
    """Another program does something to the log's files."""
    names = [name for name in run.disk.names.now if is_of_log(name)]
    if names:
        name = NAME if NAME in names and run.rng.random() < 0.7 else run.rng.choice(names)
        run.oracle.another_program_acts()
        action = run.rng.choice(OTHERS)
        if name.endswith(COMPRESSED_ENDING) and action in (truncate, append):  # then nobody can read it any more
            action = remove
        run.note(f"        {action.__name__} {name}")
        action(run, name)


def rename(run: "Run", name: str) -> None:
    number = run.next_number()
    ending = COMPRESSED_ENDING if name.endswith(COMPRESSED_ENDING) else ""
    run.outside.rename(name, run.rng.choice((f"{AWAY}{number}", f"{NAME}-202601{number % 30 + 1:02}")) + ending)


def logrotate(run: "Run", name: str) -> None:
    outside, names = run.outside, run.disk.names
    if f"{NAME}.2" in names.now:
        outside.remove(f"{NAME}.2")
    if f"{NAME}.1" in names.now:
        outside.rename(f"{NAME}.1", f"{NAME}.2")
    if NAME in names.now:
        outside.rename(NAME, f"{NAME}.1")
        if run.rng.random() < 0.5:
            outside.make(NAME, b"")
    if run.rng.random() < 0.5:
        reopen(run)


def remove(run: "Run", name: str) -> None:
    run.outside.remove(name)


def truncate(run: "Run", name: str) -> None:
    size = run.rng.choice((0, 0, run.rng.randrange(run.disk.names.now[name].size + 1)))
    run.oracle.cut(name, size)
    run.outside.cut(name, size)
    if name != NAME:
        run.identities.tampered(name)


def append(run: "Run", name: str) -> None:
    """With or without a line feed. Not so much that the file seems never to have been cut, since only its size shows
    that."""
    run.oracle.touched = True
    text = b"#%d" % run.next_number() + run.rng.choice((b"", b"\n", b"\n"))
    file = run.disk.names.now[name]
    if file.size + len(text) < run.oracle.cut_from.get(file, math.inf):
        run.outside.append(name, text)
        if file in run.oracle.cut_from:
            run.identities.tampered(name)


def replace(run: "Run", name: str) -> None:
    """As `sed -i` and most editors do."""
    run.oracle.copied = True
    run.outside.make(".temporary", run.outside.stored(name))
    run.outside.rename(".temporary", name)


def take_directory(run: "Run", name: str) -> None:
    is_moved = run.rng.random() < 0.5
    number = run.next_number()
    to = run.rig.base / f"moved{number}" if is_moved else None
    run.oracle.directory_taken(to)
    run.outside.take_directory(to)
    if run.rng.random() < 0.3:
        run.disk.make_directory(run.disk.directory)


OTHERS: tuple[Callable[["Run", str], None], ...] = (
    rename,
    logrotate,
    remove,
    truncate,
    append,
    replace,
    take_directory,
)

# What each step is called, and how often it comes.
CHANCES: dict[Callable[["Run"], None], int] = {
    send: 30,
    repeat: 10,
    turn: 2,
    end_sync: 18,
    end_syncs: 3,
    fail_sync: 3,
    deadlines: 7,
    look: 2,
    retry: 2,
    make_room: 4,
    reopen: 2,
    minute: 1,
    look_for_archives: 4,
    compress: 6,
    hours: 2,
    end: 1,
    kill: 2,
    cut: 3,
    fault: 6,
    heal: 5,
    write_back: 3,
    other: 6,
}
STEPS, WEIGHTS = list(CHANCES), list(CHANCES.values())
