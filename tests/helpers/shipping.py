"""Logs with identities, and an engine that only remembers what it was sent."""

import os
from pathlib import Path

import msgspec

from fastlog.segments import ATTRIBUTE, DURABLE_ATTRIBUTE, Identity, Position, Shipped, identity_of, shipped_path
from fastlog.ship.files import LogFiles
from fastlog.ship.refused import RefusedFile
from fastlog.ship.shipper import Shipper
from fastlog.ship.sink import Batch

LOG = "0123456789ab"


def make_segment(path: Path, segment: int, content: bytes = b"", *, log: str = LOG, durable: int | None = None) -> Path:
    """A file of the log, as the server makes it."""
    path.write_bytes(content)
    set_identity(path, segment, log=log)
    if durable is not None:
        os.setxattr(path, DURABLE_ATTRIBUTE, str(durable).encode())
    return path


def set_identity(path: Path, segment: int, *, log: str = LOG) -> None:
    os.setxattr(path, ATTRIBUTE, str(Identity(log, segment)).encode())


def append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


def rotate(live: Path, segment: int, content: bytes = b"") -> None:
    """The live file becomes the newest archive, as a rotation of the server does."""
    next_file = make_segment(live.with_name("server.log.new"), segment, content)
    for number in range(5, 0, -1):
        if live.with_name(f"server.log.{number}").exists():
            os.rename(f"{live}.{number}", f"{live}.{number + 1}")
    os.rename(live, f"{live}.1")
    os.rename(next_file, live)


def write_note(live: Path, segment: int, offset: int = 0, *, log: str | None = None, problem: str = "") -> None:
    """As `ship` does; `log`: another one than that of the live file."""
    note = Shipped(log or identity_of(live).log, segment, offset, problem)
    next_note = live.with_name("next")
    next_note.write_bytes(msgspec.json.encode(note))
    next_note.rename(shipped_path(live))


class Recorder:
    """A sink. `batches`: those that it acknowledged. `answers`: exceptions that it raises before, one for each call;
    None: it takes the batch."""

    def __init__(self, position: Position | None = None) -> None:
        self.batches: list[Batch] = []
        self.answers: list[Exception | None] = []
        self.refused_next = 0
        self.position = position
        self.is_closed = False
        self.max_bytes = 1_000_000
        self.last_lines = b""
        self.sequence = 0
        self.is_expired = False

    def resume(self) -> Position | None:
        self._answer()
        return self.position

    def has_expired(self, sequence: int) -> bool:
        return self.is_expired

    def send(self, batch: Batch) -> int:
        self._answer()
        self.batches.append(batch)
        self.position = batch.last
        refused, self.refused_next = self.refused_next, 0
        return refused

    def check(self) -> None:
        pass

    def report(self) -> list[tuple[str, str]]:
        return [("engine", "a list")]

    def close(self) -> None:
        self.is_closed = True

    @property
    def text(self) -> bytes:
        return b"".join(batch.lines for batch in self.batches)

    def _answer(self) -> None:
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer


def shipper_of(live: Path, sink: Recorder, **options) -> Shipper:
    return Shipper(LogFiles(live), sink, RefusedFile(live.parent, 1_000_000), **{"batch_bytes": 1 << 18, **options})


def catch_up(made: Shipper) -> None:
    """As many turns as have something to do."""
    turns = 0
    while made.turn():
        turns += 1
        assert turns < 100


def kill(shipper: Shipper) -> None:
    """What the kernel does: it closes the descriptors."""
    if shipper._reader:
        shipper._reader.file.close()
    if shipper._lock:
        shipper._lock.close()


def ship_all(live: Path, sink: Recorder, **options) -> Shipper:
    """Ships what is there, and ends."""
    shipper = shipper_of(live, sink, **options)
    try:
        shipper.run(once=True)
    finally:
        shipper.finish()
    return shipper
