"""LOG_KEEP_DAYS and clocks that jump: which archives stay, for how long, and what is said of it."""

import errno
import os

import pytest

from fastlog.server import known_files
from fastlog.server.budget import DAY_SEC, PATIENCE_SHARE
from fastlog.server.clock import MARK_ATTRIBUTE
from fastlog.server.storage import Storage
from tests.helpers.kept_log import KeptLog

YEARS_SEC = 12 * 365 * DAY_SEC  # the year 2038, for a clock without a battery
HOURS_SEC = 3600
KEEP_DAYS = 5
PATIENCE_SEC = KEEP_DAYS * DAY_SEC * PATIENCE_SHARE  # half a day


@pytest.fixture
def log(tmp_path, closing, clocks):
    """Five archives, of which the oldest has a day left."""
    log = closing(KeptLog(tmp_path))
    log.start(keep_days=KEEP_DAYS).write_files(6)
    for number in range(1, 6):
        log.age(number, number - 1)
    restart(log)
    assert log.numbers() == [1, 2, 3, 4, 5]
    return log


def restart(log):
    log.start(keep_days=KEEP_DAYS)


def set_live_time(log, clocks):
    """As a write does. The kernel has the real clock."""
    os.utime(log.path, (clocks.wall, clocks.wall))


def test_a_jump_ahead_deletes_nothing_until_it_has_lasted(log, clocks, capfd):
    clocks.jump(YEARS_SEC)
    log.tidy()
    assert log.numbers() == [1, 2, 3, 4, 5]
    said = (
        f"the clock may be wrong, it is 4,380.0 days ahead: 5 archives of {log.path} that are beyond "
        "LOG_KEEP_DAYS by it stay until it has been so for 12 hours"
    )
    assert log.budget.doubt == said
    log.write(1)  # rotates
    clocks.run(PATIENCE_SEC - 60)
    log.tidy()
    assert log.numbers() == [1, 2, 3, 4, 5, 6]
    assert capfd.readouterr().err.count("the clock may be wrong") == 1
    clocks.run(60)
    log.tidy()
    assert log.numbers() == []
    assert log.budget.doubt == ""
    assert log.deleted()[0] == 6


def test_a_clock_that_is_set_right_again_has_harmed_nothing(log, clocks, capfd):
    for _ in range(2):
        clocks.jump(YEARS_SEC)
        log.tidy()
        clocks.run(PATIENCE_SEC / 2)
        log.tidy()
        clocks.jump(-YEARS_SEC)
        log.tidy()
        assert log.numbers() == [1, 2, 3, 4, 5]
        assert log.budget.doubt == ""
    clocks.run(PATIENCE_SEC + 60)
    log.tidy()
    assert log.numbers() == [1, 2, 3, 4]
    assert capfd.readouterr().err.count("the clock may be wrong") == 2


def test_age_goes_on_while_the_clock_is_not_believed(log, clocks):
    """Otherwise a clock that jumps every day would keep all for ever."""
    for _ in range(11):
        clocks.run(PATIENCE_SEC / 2)
        clocks.jump(YEARS_SEC)
        log.tidy()
        clocks.run(PATIENCE_SEC / 2)
        clocks.jump(-YEARS_SEC)
        log.tidy()
    assert log.numbers() == []


def test_each_jump_must_last_by_itself(log, clocks):
    for _ in range(4):
        clocks.jump(YEARS_SEC)
        clocks.run(PATIENCE_SEC * 0.6)
        log.tidy()
    assert log.numbers() == [1, 2, 3, 4]  # that one was too old by now, whatever the clock says


def test_a_jump_back_and_its_end_change_nothing(log, clocks):
    clocks.jump(-YEARS_SEC)
    log.tidy()
    clocks.jump(YEARS_SEC)
    log.tidy()
    assert log.budget.doubt == ""
    assert log.numbers() == [1, 2, 3, 4, 5]
    clocks.run(DAY_SEC + 60)
    log.tidy()
    assert log.numbers() == [1, 2, 3, 4]


def test_a_short_jump_counts_at_once(log, clocks):
    clocks.run(DAY_SEC - 60)
    log.tidy()
    clocks.jump(PATIENCE_SEC)
    log.tidy()
    assert log.numbers() == [1, 2, 3, 4]


def test_nothing_is_said_where_the_jump_makes_no_archive_too_old(log, clocks, capfd):
    clocks.jump(0.9 * DAY_SEC)
    log.tidy()
    assert log.budget.doubt == ""
    assert capfd.readouterr().err == ""


def test_a_suspended_machine_has_not_jumped(log, clocks):
    clocks.run(2 * DAY_SEC + 60)  # the clock that nobody sets has gone on
    log.tidy()
    assert log.numbers() == [1, 2, 3]


def test_a_start_with_a_wrong_clock_deletes_nothing(log, clocks):
    set_live_time(log, clocks)
    log.close()
    clocks.jump(YEARS_SEC)
    restart(log)
    assert log.numbers() == [1, 2, 3, 4, 5]
    assert "4,380.0 days ahead: 5 archives" in log.budget.doubt
    clocks.run(PATIENCE_SEC - 60)
    log.tidy()
    assert log.numbers() == [1, 2, 3, 4, 5]
    clocks.run(60)
    log.tidy()
    assert log.numbers() == []


def test_an_empty_live_file_is_no_word_of_the_clock(log, clocks):
    log.path.unlink()
    log.close()
    clocks.jump(YEARS_SEC)
    restart(log)
    assert log.numbers() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("jumped", ["before the start", "while it ran"])
def test_another_start_with_the_wrong_clock_deletes_nothing_either(log, clocks, jumped):
    if jumped == "before the start":
        log.close()
        clocks.jump(YEARS_SEC)
        restart(log)
    else:
        clocks.jump(YEARS_SEC)
        log.tidy()
    for _ in range(4):
        log.write(1)
        set_live_time(log, clocks)
        log.close()
        clocks.run(PATIENCE_SEC / 5)
        restart(log)
        assert log.numbers()[-5:] == [n + log.numbers()[-1] - 5 for n in range(1, 6)]
        assert log.budget.doubt
    log.close()
    clocks.run(PATIENCE_SEC / 5)
    restart(log)
    assert log.budget.doubt == ""
    assert len(log.numbers()) <= 1  # the one of this time


def test_what_was_noted_of_a_jump_counts_no_more_when_it_has_ended(log, clocks):
    clocks.jump(YEARS_SEC)
    log.tidy()
    clocks.jump(-YEARS_SEC)
    set_live_time(log, clocks)
    log.close()
    clocks.run(DAY_SEC + 60)
    os.utime(log.path, (clocks.wall, clocks.wall))
    restart(log)
    assert log.numbers() == [1, 2, 3, 4]


class NoAttributes(Storage):
    def set_attribute(self, fd, name, value):
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))


def test_where_nothing_can_be_noted_a_jump_must_last_all_the_same(tmp_path, closing, clocks):
    log = closing(KeptLog(tmp_path, NoAttributes()))
    log.start(keep_days=KEEP_DAYS).write_files(3)
    clocks.jump(YEARS_SEC)
    log.tidy()
    assert log.numbers() == [1, 2]
    assert log.budget.doubt
    assert MARK_ATTRIBUTE not in os.listxattr(tmp_path)


def test_a_long_time_off_is_not_held_against_an_archive_for_long(log, clocks):
    """A machine that is switched on once a week, for an hour."""
    for _ in range(5):
        set_live_time(log, clocks)
        log.close()
        clocks.jump(7 * DAY_SEC)
        restart(log)
        clocks.run(HOURS_SEC)
        log.tidy()
    assert log.numbers() == []


def test_an_archive_from_the_future_goes_with_the_one_after_it(log, clocks):
    log.age(4, -1000)
    log.age(5, -2000)
    restart(log)
    clocks.run(3 * DAY_SEC - 60)
    log.tidy()
    assert log.numbers() == [1, 2, 3, 4, 5]
    clocks.run(120)
    log.tidy()
    assert log.numbers() == [1, 2]


def test_an_archive_that_was_written_anew_stays_also_where_that_is_not_known_yet(log, clocks, monkeypatch):
    monkeypatch.setattr(known_files, "FRESH_MAX", 1)
    restart(log)
    clocks.run(DAY_SEC - 60)
    log.tidy()
    os.utime(f"{log.path}.5", (clocks.wall, clocks.wall))
    clocks.run(120)
    for _ in range(10):
        log.tidy()
        assert log.budget.doubt == ""
    assert log.numbers() == [1, 2, 3, 4, 5]


def test_archives_from_the_future_go_also_where_none_comes_after_them(log, clocks):
    for number in range(1, 6):
        log.age(number, -1000)
    restart(log)
    clocks.run(KEEP_DAYS * DAY_SEC - 60)
    log.tidy()
    assert log.numbers() == [1, 2, 3, 4, 5]
    clocks.run(60)
    log.tidy()
    assert log.numbers() == []


def test_an_archive_of_a_clock_that_was_behind_goes_with_the_one_before_it(log, clocks):
    """A board without a battery begins in 1970 until it is told the time."""
    for number in (1, 2, 3):
        log.age(number, 20_000)
    restart(log)
    assert log.numbers() == [1, 2, 3, 4, 5]
    clocks.run(DAY_SEC + 60)
    log.tidy()
    assert log.numbers() == [1, 2, 3, 4]
    clocks.run(DAY_SEC)
    log.tidy()
    assert log.numbers() == []
