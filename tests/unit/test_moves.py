"""Archives that move up between two rotations, so that no rotation moves hundreds."""

import errno
import os

import pytest

from fastlog.server import moves
from fastlog.server.storage import Storage
from tests.helpers.disk import CheckedNames
from tests.helpers.kept_log import KeptLog

FEW = 3
AT_ONCE = 4


class CountedNames(CheckedNames):
    """Fails with each rename while `fails`, if a test says so."""

    renames = 0
    fails = False

    def _check(self):
        if self.fails:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def rename(self, old, new):
        super().rename(old, new)
        self.renames += 1

    def taken(self):
        renames, self.renames = self.renames, 0
        return renames


@pytest.fixture
def storage():
    return CountedNames()


@pytest.fixture
def log(tmp_path, closing, monkeypatch, storage):
    monkeypatch.setattr(moves, "FEW", FEW)
    monkeypatch.setattr(moves, "AT_ONCE_MAX", AT_ONCE)
    log = closing(KeptLog(tmp_path, storage)).start(backups=40)
    log.write_files(21)
    assert log.numbers() == list(range(1, 21))
    return log


def tidy(log):
    for _ in range(10):
        log.file.tidy()


def whole(log):
    return log.lines() == list(range(1, log.written + 1))


def test_a_rotation_finds_a_low_number_free(log, storage):
    for _ in range(5):
        tidy(log)
        highest = log.numbers()[-1]
        assert log.numbers() == [*range(1, FEW + 1), *range(FEW + 2, highest + 1)]
        assert whole(log)
        storage.taken()
        log.write_files(1)
        assert log.numbers() == list(range(1, highest + 1))
        assert storage.taken() == FEW + 2  # and the live file, and the new one
        assert whole(log)


def test_few_move_at_once(log, storage):
    storage.taken()
    moved = []
    while not moved or moved[-1]:
        log.file.tidy()
        moved.append(storage.taken())
        assert whole(log)
    assert moved == [4, 4, 4, 4, 1, 0]


def test_a_rotation_in_between_moves_what_is_left(log):
    for count in range(5):
        for _ in range(count):
            log.file.tidy()
        log.write_files(1)
        assert log.numbers() == list(range(1, 22 + count))
        assert whole(log)


def test_they_do_not_move_beyond_log_backups(log, storage):
    log.start(backups=20)
    storage.taken()
    tidy(log)
    assert storage.taken() == 0
    assert log.numbers() == list(range(1, 21))


def test_a_number_that_another_program_has_made_free_is_used(log):
    os.unlink(f"{log.path}.12")
    log.start(backups=40)
    tidy(log)
    assert log.numbers() == [1, 2, 3, *range(5, 21)]


def test_both_forms_of_an_archive_move(log):
    for number in (18, 19):
        (log.directory / f"server.log.{number}.zst").write_bytes(b"x")
    os.rename(f"{log.path}.17", f"{log.path}.17.zst")
    tidy(log)
    names = {path.name for path in log.directory.iterdir()}
    assert {"server.log.19", "server.log.19.zst", "server.log.20", "server.log.20.zst", "server.log.18.zst"} <= names
    assert "server.log.18" not in names


def test_a_file_of_another_program_is_not_overwritten(log):
    log.file.tidy()
    free = 17
    assert free not in log.numbers()
    (log.directory / f"server.log.{free}").write_bytes(b"line 0000\n")
    tidy(log)
    assert (log.directory / f"server.log.{free}").read_bytes() == b"line 0000\n"
    assert log.numbers() == list(range(1, 22))


def test_directories_in_their_way_stay(log):
    log.file.tidy()
    os.rename(f"{log.path}.15", log.directory / "elsewhere")
    (log.directory / "server.log.15").mkdir()
    tidy(log)
    assert log.numbers() == [*range(1, 16), *range(17, 22)]
    log.write_files(1)
    tidy(log)
    assert (log.directory / "server.log.15").is_dir()


def test_an_archive_that_gets_its_compressed_name_does_not_move(log, storage):
    log.file.names.unsure = log.directory / "server.log.1.zst"
    storage.taken()
    tidy(log)
    assert storage.taken() == 0


def test_what_fails_is_left_to_the_rotation(log, storage):
    storage.fails = True
    tidy(log)
    assert log.numbers() == list(range(1, 21))
    storage.fails = False
    log.write_files(1)
    assert whole(log)
    tidy(log)
    assert FEW + 1 not in log.numbers()


def test_a_start_prepares_its_first_rotation(log, storage):
    log.start(backups=40)
    tidy(log)
    storage.taken()
    log.write_files(1)
    assert storage.taken() == FEW + 2


def test_where_there_are_few_none_moves(tmp_path, closing):
    log = closing(KeptLog(tmp_path, Storage())).start(backups=moves.FEW)
    log.write_files(20)
    tidy(log)
    assert log.numbers() == list(range(1, 20))
