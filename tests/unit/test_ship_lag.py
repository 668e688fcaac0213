"""How far the shipper is behind, in bytes and in seconds."""

import time
from types import SimpleNamespace

import pytest

from fastlog.segments import Identity, Shipped
from fastlog.server import ship_lag
from fastlog.server.archives import Archive
from fastlog.server.ship_lag import ShipLag

LOG = "0123456789ab"


class Log:
    """A log whose files are given, at a time that the test moves. Segments count from 1, the live one has the last."""

    def __init__(self, sizes, modified=(), now=1_000.0):
        self.path = "server.log"
        self.size = sizes[-1]
        self.now = now
        archives = [
            Archive(Identity(LOG, number), number, "", number, size, time.time() - age)
            for number, (size, age) in enumerate(zip(sizes[:-1], modified, strict=True), 1)
        ]
        self.hold = SimpleNamespace(
            is_shipped=True,
            files=lambda: archives,
            note=None,
            problem="",
        )
        self.identity = Identity(LOG, len(sizes))
        self.lag = ShipLag(self)

    def rotate(self):
        self.hold.files().append(Archive(self.identity, 1, "", 0, self.size, time.time()))
        self.identity = Identity(LOG, self.identity.segment + 1)
        self.size = 0

    def ship(self, segment, offset, log=LOG):
        self.hold.note = Shipped(log, segment, offset)

    def later(self, seconds, written=0):
        self.now += seconds
        self.size += written
        self.lag.tick(self.now)

    def stats(self):
        return self.lag.stats(self.now)

    def figures(self):
        stats = self.stats()
        return stats.lag_bytes, pytest.approx(stats.lag_seconds, abs=0.2), stats.segment


def test_nobody_ships():
    log = Log([100])
    log.hold.is_shipped = False
    log.later(1)
    assert log.stats() is None


def test_files_without_an_identity_are_not_shipped():
    log = Log([100])
    log.identity = None
    log.later(1)
    assert log.stats() is None


@pytest.mark.parametrize(
    ("segment", "offset", "lag"),
    [(1, 0, 600), (1, 30, 570), (1, 100, 500), (2, 0, 500), (2, 199, 301), (3, 0, 300), (3, 250, 50), (3, 300, 0), (3, 9_999, 0), (9, 0, 0), (1, 9_999, 500)],
)  # fmt: skip
def test_the_bytes_are_those_behind_the_note(segment, offset, lag):
    log = Log([100, 200, 300], modified=[60, 30])
    log.ship(segment, offset)
    log.later(1)
    assert (log.stats().lag_bytes, log.stats().segment) == (lag, segment)
    assert (log.stats().lag_seconds == 0) == (lag == 0)


def test_a_note_that_is_not_about_this_log_says_that_nothing_is_shipped():
    log = Log([100, 200, 300], modified=[60, 30])
    log.ship(7, 0, log="f" * 12)
    log.later(1)
    assert (log.stats().lag_bytes, log.stats().segment) == (600, 1)
    log.hold.note = None  # it cannot be read
    assert (log.stats().lag_bytes, log.stats().segment) == (600, 1)


def test_the_age_is_that_of_the_oldest_line_to_about_a_second():
    log = Log([0])
    log.ship(1, 0)
    log.later(0)
    for _ in range(10):
        log.later(1, written=10)
    for shipped in range(0, 100, 5):
        log.ship(1, shipped)
        written = 1_001 + shipped // 10  # the line that follows
        assert log.stats().lag_seconds == 1_010 - written
    log.ship(1, 100)
    assert log.stats().lag_seconds == 0
    for _ in range(60):
        log.later(1)  # nothing is written
    log.later(1, written=10)
    log.later(1, written=10)
    assert log.stats().lag_seconds == 1


def test_the_age_is_known_across_rotations():
    log = Log([0])
    log.ship(1, 0)
    log.later(0)
    for _ in range(5):
        log.later(1, written=10)
        log.later(1, written=10)
        log.rotate()
    assert [(log.ship(segment, 10), log.stats().lag_seconds)[1] for segment in range(1, 6)] == [8, 6, 4, 2, 0]
    assert log.stats().lag_bytes == 10


def test_what_is_older_than_the_server_has_its_age_by_the_files():
    log = Log([100, 100, 50], modified=[3_000, 1_000])
    log.later(0)
    for segment, offset, age in [(1, 0, 3_000), (2, 0, 3_000), (2, 50, 2_000), (2, 99, 1_020), (3, 0, 1_000)]:
        log.ship(segment, offset)
        assert log.stats().lag_seconds == pytest.approx(age, abs=1)
    log.later(10, written=10)
    log.ship(3, 50)
    assert log.stats().lag_seconds == 0


def test_the_engine_goes_back():
    log = Log([0])
    log.ship(1, 0)
    log.later(0)
    for _ in range(100):
        log.later(1, written=10)
    log.ship(1, 990)
    assert log.stats().lag_seconds == 0
    log.ship(1, 0)
    assert log.stats().lag_bytes == 1_000
    assert log.stats().lag_seconds >= 0


def test_the_memory_is_bounded_and_fades(monkeypatch):
    monkeypatch.setattr(ship_lag, "SAMPLES_MAX", 256)
    log = Log([0])
    log.ship(1, 0)
    log.later(0)
    for _ in range(1_000):
        log.later(1, written=10)
        assert len(log.lag._samples) <= 256
        assert log.stats().lag_seconds == pytest.approx(log.now - 1_001, rel=0.1, abs=1)
    log.ship(1, 9_900)  # ten seconds of it are left
    assert log.stats().lag_seconds == 9


def test_an_idle_log_needs_no_memory():
    log = Log([100])
    log.ship(1, 50)
    for _ in range(1_000):
        log.later(1)
    assert len(log.lag._samples) == 1
