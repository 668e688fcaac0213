"""Random runs: the server's log file is written, rotated by everybody, and opened anew, and its archives are compressed;
the shipper is killed and its engine loses answers. At the end the engine has each line once, in order."""

import os
import shutil

import pytest

from fastlog.segments import shipped_path
from fastlog.server.logfile import LogFile
from fastlog.server.storage import Storage
from fastlog.ship import delivery, shipper
from fastlog.ship import note as ship_note
from fastlog.ship.sink import RivalError, UnavailableError, WentBackError
from tests.helpers.archives import compress_archive
from tests.helpers.shipping import Recorder, kill, shipper_of

RUNS = 24
STEPS = 60
LIMIT_BYTES = 300
ALL = 10**9  # archives, or bytes of the hold: none is deleted before it is shipped


class KilledError(Exception):
    """The shipper is gone."""


class Engine:
    """What it has stored, and what goes wrong with the next requests."""

    def __init__(self, rng) -> None:
        self.rng = rng
        self.batches = []
        self.faults = True

    def fault(self):
        if self.faults and self.rng.random() < 0.2:
            return self.rng.choice(["not stored", "answer lost", "killed before", "killed after"])
        return ""


class CompareAndSet(Recorder):
    """A connection to it: a batch is stored only after the one that this connection knows to be the last."""

    def __init__(self, engine) -> None:
        super().__init__()
        self.engine = engine
        self.known = 0

    def resume(self):
        self.known = len(self.engine.batches)
        return self.engine.batches[-1].last if self.known else None

    def send(self, batch):
        fault = self.engine.fault()
        if fault == "killed before":
            raise KilledError
        if fault == "not stored":
            raise UnavailableError("it is away")
        if len(self.engine.batches) == self.known:
            self.engine.batches.append(batch)
        elif self.engine.batches[-1:] != [batch]:
            self.known = len(self.engine.batches)
            raise WentBackError(self.engine.batches[-1].last if self.known else None)
        if fault == "killed after":
            raise KilledError
        if fault == "answer lost":
            raise UnavailableError("no answer")
        self.known = len(self.engine.batches)
        return 0


class World:
    def __init__(self, directory, rng) -> None:
        self.live = directory / "server.log"
        self.rng = rng
        self.backups = rng.choice([0, 1, 2, ALL])
        self.engine = Engine(rng)
        self.written = []
        self.dates = 0
        self.log = self.shipper = None
        self.start_server()

    def start_server(self):
        backups = 10_000 if self.backups == ALL else self.backups
        self.log = LogFile(Storage(), self.live.parent, self.live.name, LIMIT_BYTES, backups, hold_bytes=ALL)

    def write(self):
        lines = [b'{"n":%d,"x":"%s"}\n' % (len(self.written) + n, b"x" * self.rng.randrange(40)) for n in range(3)]
        done = self.log.append(memoryview(b"".join(lines)), durable=False)
        assert done == sum(map(len, lines)), self.log.error
        self.written += lines

    def rotate(self):
        if self.log.size:  # the server rotates no empty file
            self.log.rotate()

    def restart_server(self):
        """It is killed in the midst of a line, perhaps."""
        self.log.close()
        if self.rng.random() < 0.5:
            with self.live.open("ab") as file:
                file.write(b'{"torn":')
        self.start_server()

    def logrotate(self):
        os.rename(self.live, self._dated())
        if self.rng.random() < 0.5:
            self.ship()
        if self.rng.random() < 0.5:
            self.live.write_bytes(b"")
            if self.rng.random() < 0.5:
                self.ship()
        if self.rng.random() < 0.5:
            self.restart_server()
        else:
            self.write()
            self.log.reopen()

    def logrotate_by_copy(self):
        for path in self.live.parent.glob("server.log.copy*"):  # it would be taken for the one that is made now
            path.unlink()
        copy = self._dated()
        shutil.copyfile(self.live, copy)
        if self.rng.random() < 0.5:
            self.ship()
        os.truncate(self.live, 0)
        if self.rng.random() < 0.5:
            try:
                self.ship()
            except RivalError:  # a start: the engine has more than the file, and the server has not seen yet why
                self.kill_shipper()
        self.log.reopen()

    def compress(self):
        """As the server does it; it is killed before the original is gone, perhaps."""
        archives = [path for path in self.live.parent.glob("server.log.[0-9]*") if path.suffix != ".zst"]
        if not archives:
            return
        plain = self.rng.choice(archives)
        compress_archive(plain, keep=True)
        if self.rng.random() < 0.5:
            self.ship()
        if self.rng.random() < 0.2:
            self.restart_server()
        else:
            plain.unlink()

    def copy_with_attributes(self):
        """Somebody's `cp -a`."""
        self.dates += 1
        shutil.copy2(self.live, f"{self.live}.copy{self.dates}")

    def ship(self):
        try:
            if self.shipper is None:
                self.shipper = shipper_of(
                    self.live, CompareAndSet(self.engine), batch_bytes=self.rng.choice([1, 50, 1000])
                )
                self.shipper.begin()
            for _ in range(self.rng.randrange(8)):
                self.shipper.turn()
        except KilledError:
            self.kill_shipper()

    def kill_shipper(self):
        if self.shipper:
            kill(self.shipper)
            self.shipper = None

    def end_shipper(self):
        if self.shipper:
            self.shipper.finish()
            self.shipper = None

    def restore_engine(self):
        """From a backup: only where no file is deleted."""
        if self.backups == ALL:
            del self.engine.batches[self.rng.randrange(len(self.engine.batches) + 1) or 1 :]

    def lose_note(self):
        if self.backups == ALL:
            self.kill_shipper()
            shipped_path(self.live).unlink(missing_ok=True)

    def catch_up(self):
        self.engine.faults = False
        self.kill_shipper()
        self.shipper = shipper_of(self.live, CompareAndSet(self.engine))
        self.shipper.run(once=True)

    def close(self):
        self.kill_shipper()
        self.log.close()

    def _dated(self):
        self.dates += 1
        return self.live.with_name(f"server.log-20261126{self.dates:04}")


STEPS_BY_WEIGHT = {
    World.write: 10,
    World.ship: 8,
    World.rotate: 3,
    World.restart_server: 1,
    World.logrotate: 1,
    World.logrotate_by_copy: 1,
    World.compress: 3,
    World.copy_with_attributes: 1,
    World.kill_shipper: 1,
    World.end_shipper: 1,
    World.restore_engine: 1,
    World.lose_note: 1,
}


@pytest.mark.parametrize("note_every_sec", [0.0, 1.0])
def test_each_line_is_shipped_once_in_order(tmp_path, monkeypatch, rng, note_every_sec):
    monkeypatch.setattr(ship_note, "NOTE_EVERY_SEC", note_every_sec)
    monkeypatch.setattr(delivery, "sleep", lambda seconds: None)
    monkeypatch.setattr(shipper, "CUT_SEEN_SEC", 0)
    for name in ("fsync", "fdatasync"):  # the disk does not fail here, and is slow
        monkeypatch.setattr(os, name, lambda fd: None)
    steps, weights = zip(*STEPS_BY_WEIGHT.items(), strict=True)
    for run in range(RUNS // 2):
        directory = tmp_path / str(run)
        directory.mkdir()
        world = World(directory, rng)
        taken = []
        world.ship()
        try:
            for step in rng.choices(steps, weights, k=STEPS):
                taken.append(step.__name__)
                step(world)
            world.catch_up()
            text = b"".join(batch.lines for batch in world.engine.batches)
            assert text == b"".join(world.written), (run, world.backups, taken)
            assert not world.shipper.account.missing_segments
            assert not world.shipper.problem
        finally:
            world.close()
        shutil.rmtree(directory)
