"""LOG_BACKUPS, LOG_KEEP_MB and LOG_KEEP_DAYS: which archives are kept, which go, and what is counted."""

import contextlib
import errno
import os
import time

import pytest

from fastlog.segments import identity_of
from fastlog.server import budget, moves
from fastlog.server.budget import DAY_SEC
from tests.helpers.disk import CheckedNames
from tests.helpers.kept_log import FILE, LINE, PER_FILE, SIZE, KeptLog
from tests.helpers.running import until
from tests.helpers.shipping import write_note


@pytest.fixture
def log(tmp_path, closing):
    return closing(KeptLog(tmp_path))


def check_figures(log):
    log.tidy()
    archives = [path for path in log.directory.glob("server.log.*") if path.name != "server.log.shipped"]
    assert (log.budget.files, log.budget.bytes) == (len(archives), sum(path.stat().st_size for path in archives))


@pytest.mark.parametrize("keep_files", [2, 3, 3.5, 4, 7.9])
def test_all_files_together_are_never_larger_than_log_keep_mb(log, keep_files):
    log.start(keep_files=keep_files)
    for _ in range(12 * PER_FILE):
        log.write(1)
        log.tidy()
        assert log.total() <= keep_files * FILE
        assert log.total() > (keep_files - 1) * FILE - SIZE or not log.deleted()[0]  # and no more goes than has to
    assert log.lines() == list(range(log.lines()[0], log.written + 1))
    assert log.deleted() == (12 - len(log.numbers()) - 1, log.written * SIZE - log.total())
    check_figures(log)


def test_a_rotation_keeps_log_keep_mb_by_itself(log):
    log.start(keep_files=3)
    log.write_files(20)
    log.write(1)  # rotates
    assert log.numbers() == [1, 2, 3]  # the rest is for the next look, within a second
    assert log.deleted() == (17, 17 * FILE)


@pytest.mark.parametrize("keep_files", [0.5, 1, 1.9])
def test_the_live_file_is_rotated_earlier_where_two_would_be_too_large(log, keep_files):
    """Otherwise each rotation would delete all that there is."""
    log.start(keep_files=keep_files)
    log.write_files(10)
    log.tidy()
    assert 1 in log.numbers()
    assert log.file.limit == int(keep_files * FILE) // 2
    assert keep_files * FILE / 2 - SIZE < log.total() <= keep_files * FILE


def test_a_lower_log_keep_mb_is_applied_at_the_start(log, capfd):
    log.start().write_files(10)
    log.start(keep_files=4)
    assert log.numbers() == [1, 2, 3]
    assert log.deleted() == (6, 6 * FILE)
    said = capfd.readouterr().err
    assert f"removed 6 archives of {log.path} beyond LOG_BACKUPS=100, LOG_KEEP_MB=0.0004\n" in said


def test_a_lower_log_backups_is_counted_at_the_start(log):
    log.start().write_files(10)
    log.start(backups=3)
    assert log.numbers() == [1, 2, 3]
    assert log.deleted() == (6, 6 * FILE)
    check_figures(log)


@pytest.mark.parametrize("backups", [0, 1, 5])
def test_what_a_rotation_overwrites_is_counted(log, backups):
    log.start(backups=backups)
    log.write_files(12)
    assert log.deleted() == (11 - backups, (11 - backups) * FILE)
    check_figures(log)


def test_archives_go_when_they_are_too_old(log, clocks):
    log.start(keep_days=2)
    log.write_files(6)
    log.age(5, 3)
    log.age(4, 1.5)
    log.write(1)  # rotates
    assert log.numbers() == [1, 2, 3, 4, 5]
    assert log.deleted() == (1, FILE)
    log.tidy()
    clocks.run(0.4 * DAY_SEC)
    log.tidy()
    assert log.numbers() == [1, 2, 3, 4, 5]
    clocks.run(0.2 * DAY_SEC)
    log.tidy()  # nothing was written
    assert log.numbers() == [1, 2, 3, 4]
    clocks.run(2.4 * DAY_SEC)
    log.tidy()
    assert log.numbers() == []
    assert log.deleted() == (6, 6 * FILE)
    assert log.path.exists()


def test_log_keep_days_is_applied_at_the_start(log):
    log.start().write_files(6)
    log.age(5, 30)
    log.age(4, 2)
    log.start(keep_days=7)
    assert log.numbers() == [1, 2, 3, 4]


def test_the_directory_is_not_listed_while_nothing_changes(log, monkeypatch):
    log.start(keep_files=4, keep_days=7)
    log.write(3 * PER_FILE + 1)
    log.tidy()
    with monkeypatch.context() as patch:
        patch.setattr(budget.os, "scandir", lambda path: pytest.fail("it was listed"))
        log.write(PER_FILE - 1)
        log.tidy()


def test_what_other_programs_do_is_seen_after_a_minute(log, monkeypatch):
    log.start(keep_files=6)
    log.write_files(5)
    log.tidy()
    (log.directory / "server.log-20261127").write_bytes(bytes(2 * FILE))
    log.tidy()
    assert log.numbers() == [1, 2, 3, 4]
    later = time.monotonic() + budget.LOOK_SEC
    monkeypatch.setattr(budget, "monotonic", lambda: later)
    log.tidy()
    assert log.numbers() == [1, 2, 3]
    assert log.budget.foreign_bytes == 2 * FILE


FOREIGN = ("server.log-20261127", "server.log.1.gz", "server.log.distrusted.1", "server.log.123456", "server.log.old")
NOT_COUNTED = ("server.log.torn", "server.log.repaired", "server.logs", "other.log.1")


def test_files_that_no_rotation_named_count_and_stay(log):
    for name in FOREIGN:
        (log.directory / name).write_bytes(LINE % 0 * PER_FILE)
    for name in NOT_COUNTED:
        (log.directory / name).write_bytes(LINE % 0 * 100 * PER_FILE)
    log.start(keep_files=len(FOREIGN) + 3)
    log.write_files(9)
    log.tidy()
    assert log.numbers()[:2] == [1, 2]
    assert (log.budget.files, log.budget.bytes) == (len(FOREIGN) + 2, (len(FOREIGN) + 2) * FILE)
    assert all((log.directory / name).stat().st_size == FILE for name in FOREIGN)


def test_a_high_number_of_another_program_stays(log):
    """A number above LOG_BACKUPS is one of ours at the start, or by the identity of its file."""
    log.start(backups=5, keep_files=4)
    (log.directory / "server.log.900").write_bytes(LINE % 0 * PER_FILE)
    log.write_files(6)
    os.link(f"{log.path}.2", f"{log.path}.800")  # with the identity
    log.write_files(4)
    log.tidy()
    assert 900 in log.numbers()
    assert 800 not in log.numbers()
    assert log.budget.foreign_bytes == FILE


def test_compressed_archives_count_what_they_take(log):
    log.start(keep_files=5)
    log.write_files(4)
    for number in (1, 2, 3):
        os.rename(f"{log.path}.{number}", f"{log.path}.{number}.zst")
        os.truncate(f"{log.path}.{number}.zst", FILE // 10)
    log.budget.changed()
    log.tidy()
    assert (log.budget.files, log.budget.bytes) == (3, 3 * FILE // 10)
    assert log.budget.compressed_sizes == [FILE // 10] * 3
    log.start(backups=1)
    assert sorted(path.name for path in log.directory.glob("server.log.*")) == ["server.log.1.zst"]
    assert log.deleted() == (2, 2 * FILE // 10)


def test_an_archive_with_both_names_is_one_and_goes_with_both(log):
    log.start().write_files(4)
    for number in (2, 3):
        (log.directory / f"server.log.{number}.zst").write_bytes(b"x")
    log.budget.changed()
    log.tidy()
    assert (log.budget.files, log.budget.bytes) == (3, 3 * FILE)
    log.close()
    log.start(backups=2)
    names = sorted(path.name for path in log.directory.glob("server.log.*"))
    assert names == ["server.log.1", "server.log.2", "server.log.2.zst"]
    assert log.deleted() == (1, FILE)


def test_what_has_an_archives_name_and_is_no_file_stays(log):
    log.start().write_files(3)
    (log.directory / "server.log.7").mkdir()
    os.mkfifo(log.directory / "server.log.8")
    (log.directory / "server.log.9").symlink_to("server.log.1")
    log.start(backups=1, keep_files=2)
    log.write_files(1)
    assert {path.name for path in log.directory.glob("server.log.*")} >= {f"server.log.{n}" for n in (7, 8, 9)}
    assert log.numbers() == [1, 7, 8, 9]


def test_an_unshipped_archive_is_held_up_to_ship_hold_mb(log):
    log.start(keep_files=3, hold_files=5)
    write_note(log.path, 1)
    log.write_files(8)
    log.tidy()
    assert len(log.numbers()) == 7
    assert log.file.hold.held_files == 5
    assert log.lines() == list(range(1, log.written + 1))
    log.write_files(3)
    until(lambda: (log.tidy(), log.file.hold.uncounted_bytes == 0)[1], "the count of lines")
    assert len(log.numbers()) == 7
    assert log.file.hold.unshipped_lines == log.written - len(log.lines()) == 3 * PER_FILE
    assert log.deleted() == (3, 3 * FILE)
    check_figures(log)


def test_a_shipped_archive_goes_by_log_keep_mb(log):
    log.start(keep_files=3)
    write_note(log.path, 1)
    log.write_files(8)
    log.tidy()
    assert len(log.numbers()) == 7
    write_note(log.path, 4)
    log.tidy()
    assert [identity_of(f"{log.path}.{number}").segment for number in log.numbers()] == [7, 6, 5, 4]
    write_note(log.path, 8)
    log.tidy()
    assert [identity_of(f"{log.path}.{number}").segment for number in log.numbers()] == [7, 6]
    assert log.deleted() == (5, 5 * FILE)
    assert log.file.hold.unshipped_lines == 0


def test_an_archive_that_is_too_old_is_held_until_it_is_shipped(log):
    log.start(keep_days=1)
    write_note(log.path, 1)
    log.write_files(4)
    log.age(3, 2)
    log.budget.changed()
    log.tidy()
    assert log.numbers() == [1, 2, 3]
    write_note(log.path, 2)
    log.tidy()
    assert log.numbers() == [1, 2]


@pytest.mark.parametrize("backups", [2, 4, 20])
@pytest.mark.parametrize("hold_files", [0, 1, 3, 8])
def test_hold_and_budget_keep_the_newest_and_count_the_rest(log, backups, hold_files):
    log.start(backups=backups, keep_files=4, hold_files=hold_files)
    write_note(log.path, 1)
    for _ in range(20):
        log.write_files(1)
        until(lambda: (log.tidy(), log.file.hold.uncounted_bytes == 0)[1], "the count of lines")
        kept = min(backups, 3)
        assert len(log.numbers()) == min(log.written // PER_FILE - 1, kept + hold_files)
        lines = log.lines()
        assert lines == sorted(set(lines))
        assert log.file.hold.unshipped_lines == log.written - len(lines)
        assert log.deleted()[1] == (log.written - len(lines)) * SIZE
        check_figures(log)


def test_a_full_disk_takes_no_more_than_before(log):
    log.start(keep_files=5)
    log.write_files(4)
    log.file.make_space()
    assert log.numbers() == [1, 2, 3]
    assert log.deleted() == (0, 0)


def test_a_full_disk_takes_what_is_held_and_it_is_counted(log):
    log.start(backups=1)
    write_note(log.path, 1)
    log.write_files(5)
    log.file.make_space()
    assert len(log.numbers()) == 3
    assert log.deleted() == (1, FILE)


def test_one_that_cannot_be_removed_is_said_once_and_does_not_keep_the_others(log, monkeypatch, capfd):
    log.start(keep_files=6)
    log.write_files(6)
    unlink, stuck = log._storage.unlink, identity_of(f"{log.path}.4")

    def fail(path):
        if path.suffix != ".new" and identity_of(path) == stuck:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        unlink(path)

    monkeypatch.setattr(log._storage, "unlink", fail)
    log.write_files(10)
    log.tidy()
    assert identity_of(f"{log.path}.{log.numbers()[-1]}") == stuck
    assert len(log.numbers()) == 6
    monkeypatch.undo()
    log.write_files(1)
    log.tidy()
    assert len(log.numbers()) == 5
    assert capfd.readouterr().err.count("cannot remove") <= 10


class FailingNames(CheckedNames):
    """Fails with every rename or unlink from a number on, so many times."""

    first = times = count = 0

    def _check(self):
        self.count += 1
        if self.first <= self.count < self.first + self.times:
            raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize("few", [moves.FEW, 1])
@pytest.mark.parametrize("times", [1, 3])
def test_the_limits_hold_where_renames_and_removals_fail(tmp_path, closing, monkeypatch, times, few):
    monkeypatch.setattr(moves, "FEW", few)
    for first in range(1, 40):
        directory = tmp_path / str(first)
        directory.mkdir()
        storage = FailingNames()
        log = closing(KeptLog(directory, storage)).start(backups=6, keep_files=4)
        storage.first, storage.times, storage.count = first, times, 0
        for _ in range(10):
            log.write_files(1)
            if not log.file.has_name():  # as the writer does within a second
                with contextlib.suppress(OSError):
                    log.file.reopen()
            log.tidy()
        storage.times = 0
        log.write_files(2)
        log.tidy()
        lines = log.lines()
        assert lines == list(range(lines[0], log.written + 1)), first
        assert log.total() <= 4 * FILE
        assert log.deleted()[1] == (log.written - len(lines)) * SIZE, first
        check_figures(log)
        log.close()


def test_a_large_file_is_freed_by_a_thread(log, monkeypatch):
    monkeypatch.setattr(budget, "LARGE_BYTES", FILE)
    freed = []
    add = budget.Closer.add
    monkeypatch.setattr(
        budget.Closer, "add", lambda self, *part, **kind: (freed.append(part), add(self, *part, **kind))
    )
    log.start(backups=1, keep_files=3)
    log.write_files(5)
    assert len(freed) == log.deleted()[0] == 3
    log.close()  # the descriptors are closed then, which a fixture checks
