"""When the server warns that the file system, or LOG_KEEP_MB, has no room for the log."""

from itertools import count
from types import SimpleNamespace

import pytest

from fastlog.config import MB
from fastlog.server.budget import Limits
from fastlog.server.room import CLEAR_SHARE, LOOK_SEC, Room, most_bytes


class Fixture:
    """`budget` and `free` are what a test sets; sizes in MB."""

    def __init__(self, *, backups=9, keep=None, is_compressed=False):
        limits = Limits(backups, None if keep is None else keep * MB)
        self.budget = SimpleNamespace(limits=limits, bytes=0, foreign_bytes=0, compressed_sizes=[])
        self.free = 100
        log = SimpleNamespace(budget=self.budget, limit=MB, size=0, path="server.log")
        space = SimpleNamespace(ask=lambda: (None if self.free is None else int(self.free * MB), None))
        self._room = Room(log, space, is_compressed=is_compressed)
        self._now = count(0, LOOK_SEC)

    def warnings(self):
        self._room.tick(next(self._now))
        return self._room.warnings


def test_a_warning_does_not_flap():
    room = Fixture()
    need = 10
    for free, warns in (
        (need, False),
        (need - 0.01, True),
        (need + 0.01, True),  # it is not enough yet
        (need * (1 + CLEAR_SHARE) - 0.01, True),
        (need * (1 + CLEAR_SHARE), False),
        (need + 0.01, False),
        (need - 0.01, True),
    ):
        room.free = free
        assert bool(room.warnings()) == warns, free


def test_nothing_is_said_while_the_file_system_does_not_answer():
    room = Fixture()
    room.free = None
    assert room.warnings() == []


def test_what_the_log_takes_is_room_for_it():
    room = Fixture()
    room.free, room.budget.bytes = 4, 7 * MB
    assert room.warnings() == []


def test_it_looks_once_a_minute():
    room = Fixture()
    assert room.warnings() == []
    room.free = 0
    room._room.tick(LOOK_SEC - 1)
    assert room._room.warnings == []
    assert room.warnings()


def test_the_forecast_takes_archives_as_small_as_those_that_are_compressed():
    room = Fixture(backups=99, is_compressed=True)
    room.free = 20
    [warning] = room.warnings()  # nobody knows how small they become
    assert "before LOG_BACKUPS=99 archives of up to 1.0 MB are there" in warning
    assert "may grow to 100.0 MB" in warning
    room.budget.compressed_sizes = [MB // 10, MB // 5, MB // 10]
    assert room.warnings() == []
    room.budget.compressed_sizes = [MB // 4] * 3
    [warning] = room.warnings()
    assert "may grow to 26.5 MB" in warning


def test_sizes_of_compressed_archives_say_nothing_where_nothing_is_compressed_any_more():
    room = Fixture(backups=99)
    room.free, room.budget.compressed_sizes = 20, [MB // 10]
    assert room.warnings()


@pytest.mark.parametrize("backups", [2, 5])
def test_the_limit_that_is_met_first_counts(backups):
    room = Fixture(backups=backups, keep=4)
    room.free = 3.5
    warnings = room.warnings()
    assert bool(warnings) == (backups == 5)
    assert all("before LOG_KEEP_MB=4 is reached" in warning for warning in warnings)


def test_files_that_are_not_deleted_come_on_top():
    limits = Limits(2, 10 * MB)
    assert most_bytes(limits, MB, 0, None) == 3 * MB
    assert most_bytes(limits, MB, 2 * MB, None) == 5 * MB
    assert most_bytes(limits, MB, 9 * MB, None) == 10 * MB


def test_files_of_other_programs_that_take_half_are_a_warning():
    room = Fixture(backups=100, keep=10)
    room.budget.foreign_bytes = 5 * MB - 1
    assert room.warnings() == []
    room.budget.foreign_bytes = 5 * MB
    [warning] = room.warnings()
    assert warning == (
        "files beside server.log that the server does not delete take 5.0 MB of LOG_KEEP_MB=10: remove them, or raise it"
    )
    room = Fixture()
    room.budget.foreign_bytes = 50 * MB  # without LOG_KEEP_MB nothing is deleted for them
    room.budget.bytes = 50 * MB
    assert room.warnings() == []
