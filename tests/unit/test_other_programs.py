"""What other programs do to the log file and its directory while the server runs: rename, remove, replace, cut, append."""

import errno
import os
import shutil
from time import monotonic

import pytest

from tests.helpers.disk import EIO, Harness, PatientStorage, RecordingStorage, SmallFilesStorage, error, info
from tests.helpers.entries import lines


@pytest.fixture
def harness(tmp_path):
    (tmp_path / "logs").mkdir()
    harness = Harness(tmp_path / "logs", PatientStorage())
    yield harness
    harness.close()


def look(harness: Harness) -> None:
    """What the loop does every second."""
    harness.writer.look(monotonic())
    harness.storage.finish()
    harness.read_acks()


def acknowledge(harness: Harness, *entries: bytes) -> None:
    harness.send(*entries)
    harness.storage.finish()
    harness.read_acks()


def rm(log, directory):
    log.unlink()


def replace(log, directory):
    """As `sed -i` and most editors do."""
    (directory / "temporary").write_bytes(log.read_bytes())
    os.replace(directory / "temporary", log)


def cut(log, directory):
    os.truncate(log, 0)


def rm_directory(log, directory):
    shutil.rmtree(directory)


def move_directory(log, directory):
    directory.rename(directory.parent / "away")
    directory.mkdir()


@pytest.mark.parametrize("how", [rm, replace, cut, rm_directory])
def test_what_is_not_acknowledged_yet_is_written_again(harness, how):
    """The sync of the old file succeeds, and proves nothing."""
    harness.send(error(1))
    how(harness.log.path, harness.directory)
    harness.storage.end_one()
    assert harness.read_acks() == []
    harness.storage.finish()
    assert harness.read_acks() == [1]
    assert error(1) in harness.log.path.read_bytes().splitlines()
    assert harness.writer.stored == 1


@pytest.mark.parametrize("how", [rm, replace, rm_directory, cut])
@pytest.mark.parametrize("during_a_sync", [False, True])
def test_the_next_entry_is_in_the_file_that_has_the_name(harness, how, during_a_sync):
    acknowledge(harness, error(1))
    if during_a_sync:
        harness.send(error(2))
    how(harness.log.path, harness.directory)
    acknowledge(harness, error(3), info(4))
    assert sorted(harness.acked) == ([1, 2, 3] if during_a_sync else [1, 3])
    assert {error(3), info(4)} <= set(harness.log.path.read_bytes().splitlines())
    assert harness.writer.failure is None
    assert harness.writer.lost == harness.writer.buffered == 0
    assert harness.writer.stored == len(harness.sent)


@pytest.mark.parametrize("how", [rm, replace, rm_directory, move_directory])
def test_a_look_finds_the_name_again_before_anything_comes(harness, how):
    acknowledge(harness, error(1))
    how(harness.log.path, harness.directory)
    look(harness)
    assert harness.log.has_name()
    acknowledge(harness, error(2))
    assert harness.acked == [1, 2]
    assert error(2) in harness.log.path.read_bytes().splitlines()


def test_a_renamed_file_gets_what_is_buffered_and_is_synced_for_what_is_owed(harness, tmp_path):
    acknowledge(harness, error(1))
    harness.send(error(2))
    harness.deliver(info(3))
    harness.intake.drain(harness.listener.fileno())
    harness.log.path.rename(tmp_path / "renamed")
    look(harness)
    assert harness.acked == [1, 2]
    assert (tmp_path / "renamed").read_bytes().splitlines() == [error(1), error(2), info(3)]
    acknowledge(harness, error(4))
    assert harness.log.path.read_bytes() == error(4) + b"\n"


@pytest.mark.parametrize("with_the_file", [False, True])
def test_after_a_move_of_the_directory_the_new_one_is_synced(tmp_path, with_the_file):
    (tmp_path / "logs").mkdir()
    storage = RecordingStorage()
    harness = Harness(tmp_path / "logs", storage)
    acknowledge(harness, error(1))
    move_directory(harness.log.path, harness.directory)
    if with_the_file:
        (tmp_path / "away" / "server.log").rename(harness.log.path)
    look(harness)
    storage.operations.clear()
    acknowledge(harness, error(2))
    assert [operation[3] for operation in storage.operations if operation[0] == "synced"] == [True]
    assert os.path.samestat(os.fstat(harness.log._directory_fd), os.stat(tmp_path / "logs"))
    harness.close()


def test_without_a_file_that_can_be_opened_nothing_is_acknowledged(harness):
    """The file is removed, and something that is not a file has its name."""
    acknowledge(harness, error(1))
    harness.log.path.unlink()
    harness.log.path.mkdir()
    acknowledge(harness, error(2), info(3))
    look(harness)
    harness.retry()
    assert harness.acked == [1]
    assert harness.log.name_failure == harness.writer.failure == "Is a directory"
    assert harness.writer.buffered == 2
    harness.log.path.rmdir()
    harness.retry()
    harness.storage.finish()
    harness.read_acks()
    assert harness.acked == [1, 2]
    assert harness.log.name_failure is harness.writer.failure is None
    assert harness.log.path.read_bytes().splitlines() == [error(2), info(3)]


def test_a_fifo_in_the_files_place_is_not_opened(harness):
    harness.log.path.unlink()
    os.mkfifo(harness.log.path)
    with pytest.raises(OSError, match="Not a regular file"):
        harness.log.reopen()


def test_a_renamed_file_takes_entries_while_no_other_can_be_opened(harness, tmp_path):
    acknowledge(harness, error(1))
    harness.log.path.rename(tmp_path / "renamed")
    os.mkfifo(harness.log.path)
    look(harness)
    assert harness.log.name_failure == "Not a regular file"
    acknowledge(harness, error(2))
    assert harness.acked == [1, 2]
    assert (tmp_path / "renamed").read_bytes().splitlines() == [error(1), error(2)]
    harness.log.path.unlink()
    look(harness)
    assert harness.log.name_failure is None
    acknowledge(harness, error(3))
    assert harness.log.path.read_bytes() == error(3) + b"\n"


@pytest.mark.parametrize("size", [1, 30, len(error(1)) + 4])
def test_an_entry_behind_a_cut_line_has_a_line_of_its_own(harness, size):
    acknowledge(harness, error(1), error(2))
    os.truncate(harness.log.path, size)
    acknowledge(harness, error(3))
    whole = lines([error(1), error(2)])[:size]
    assert harness.log.path.read_bytes() == whole + b"\n" + lines([error(3)])
    assert harness.log.size == harness.log.path.stat().st_size


def test_an_entry_that_is_cut_off_at_once_is_written_again(tmp_path):
    class Cutting(PatientStorage):
        def write(self, fd, data):
            taken = super().write(fd, data)
            if cuts:
                os.truncate(fd, cuts.pop())
            return taken

    cuts: list[int] = []
    harness = Harness(tmp_path, Cutting())
    cuts.append(0)
    harness.send(info(1))
    assert harness.lines() == [info(1)]
    assert harness.writer.stored == 1
    harness.close()


def test_an_entry_behind_another_programs_text_has_a_line_of_its_own(harness):
    acknowledge(harness, error(1))
    with open(harness.log.path, "ab") as file:
        file.write(b"marked by hand")
    acknowledge(harness, info(2))
    with open(harness.log.path, "ab") as file:
        file.write(b"and again\n")
    acknowledge(harness, error(3))
    assert harness.log.path.read_bytes() == lines([error(1), b"marked by hand", info(2), b"and again", error(3)])


def test_a_file_taken_over_ends_with_a_whole_line(harness):
    acknowledge(harness, error(1))
    harness.log.path.unlink()
    harness.log.path.write_bytes(b"half")
    acknowledge(harness, error(2))
    assert harness.log.path.read_bytes() == lines([b"half", error(2)])


def test_a_rotation_leaves_alone_what_has_taken_the_name(tmp_path):
    harness = Harness(tmp_path, PatientStorage(), limit=120)
    harness.send(info(1), info(2))
    harness.log.path.rename(tmp_path / "renamed")
    harness.log.path.write_bytes(b"of another program\n")
    harness.send(info(3), info(4))
    assert harness.log.path.read_bytes() == b"of another program\n"
    assert harness.log.rotations == 0
    harness.close()


def test_a_file_at_its_largest_is_rotated(tmp_path):
    harness = Harness(tmp_path, SmallFilesStorage(100))
    acknowledge(harness, *[error(n) for n in range(10)])
    assert harness.acked == list(range(10))
    assert harness.writer.failure is None
    assert sorted(harness.lines()) == [error(n) for n in range(10)]
    harness.send(b'{"level":"INFO","message":"%s"}' % (b"x" * 200))  # has no file
    assert harness.writer.failure == "File too large"
    assert harness.writer.buffered == 1
    harness.close()


@pytest.mark.parametrize("how", [rm, cut])
@pytest.mark.parametrize("begun", [False, True])
def test_a_rotated_file_that_is_gone_before_it_is_durable_is_written_again(tmp_path, how, begun):
    """`begun`: its sync is under way when another program takes it away; otherwise it waits for the next one."""
    harness = Harness(tmp_path, PatientStorage(), limit=60)  # an entry in each file
    if not begun:
        harness.send(error(1))
    harness.send(error(2), error(3))
    assert (tmp_path / "server.log.1").read_bytes() == lines([error(2)])
    how(tmp_path / "server.log.1", tmp_path)
    if not begun:
        harness.storage.end_one()
        assert harness.read_acks() == [1]
    harness.storage.end_one()
    assert harness.read_acks() == []
    harness.storage.finish()
    assert harness.read_acks() == [2, 3]
    assert {error(2), error(3)} <= set(harness.lines())
    assert harness.writer.stored == len(harness.sent)
    harness.close()


def test_a_file_cut_during_its_sync_and_then_rotated_is_written_again(tmp_path):
    harness = Harness(tmp_path, PatientStorage(), limit=100)
    harness.send(error(1), error(2))
    cut(harness.log.path, tmp_path)
    harness.send(info(3))
    assert harness.log.rotations == 1
    harness.storage.end_one()
    assert harness.read_acks() == []
    harness.storage.finish()
    assert harness.read_acks() == [1, 2]
    assert {error(1), error(2)} <= set(harness.lines())
    harness.close()


def test_a_new_file_that_is_cut_before_its_name_is_durable_is_written_again(tmp_path):
    harness = Harness(tmp_path, PatientStorage(), limit=100)
    harness.send(error(1), error(2))
    harness.storage.end_one(EIO)
    harness.deliver(info(3))
    harness.intake.drain(harness.listener.fileno())
    harness.storage.end_one()  # the sync of the new file; that of its name is under way
    cut(harness.log.path, tmp_path)
    harness.storage.finish()
    assert harness.log.rotations == 2
    assert harness.read_acks() == [1, 2]
    assert {error(1), error(2)} <= {
        line
        for path in tmp_path.glob("server.log*")
        if "distrusted" not in path.name
        for line in path.read_bytes().splitlines()
    }
    harness.close()


@pytest.mark.parametrize("backups", [0, 1])
def test_what_a_rotation_removed_before_it_was_durable_is_not_written_again(tmp_path, backups):
    """LOG_BACKUPS asks for that."""
    harness = Harness(tmp_path, PatientStorage(), limit=100, backups=backups)
    harness.send(error(1))
    for n in range(2, 10):
        harness.send(error(n))
    harness.storage.finish()
    harness.read_acks()
    assert harness.acked == list(range(1, 10))
    lines = harness.lines()
    assert len(lines) == len(set(lines)) < 9
    harness.close()


def test_a_name_that_came_back_is_no_failure_any_more(harness, tmp_path):
    """The log has its name again because a new file took it, or another program gave it back."""
    acknowledge(harness, error(1))
    for gives_back in (True, False):
        harness.log.path.rename(tmp_path / "renamed")
        harness.log.path.mkdir()
        look(harness)
        assert harness.log.name_failure == "Is a directory"
        harness.log.path.rmdir()
        if gives_back:
            (tmp_path / "renamed").rename(harness.log.path)
        else:
            harness.send(error(2))
            harness.storage.end_one(EIO)
            harness.storage.finish()
        assert harness.log.has_name()
        look(harness)
        assert harness.log.name_failure is None


def test_an_entry_before_another_programs_text_is_known_as_stored_after_a_restart(tmp_path):
    entry = b'{"level":"ERROR","message":"m","sequence":1,"timestamp":"2026-11-24T07:00:00.5Z"}'
    (tmp_path / "server.log").write_bytes(lines([error(7), entry, b"marked by hand", entry.replace(b"1", b"3", 1)]))
    harness = Harness(tmp_path, PatientStorage())
    acknowledge(harness, entry)
    assert harness.acked == [1]
    assert harness.intake.duplicates == 1
    harness.close()


def test_archives_that_a_lower_limit_leaves_over_are_removed(tmp_path):
    kept = ["server.log.1", "server.log.2", "server.log.01", "server.log.torn", "server.log.2.gz", "other.log.7"]
    for name in [*kept, "server.log.3", "server.log.17"]:
        (tmp_path / name).write_bytes(lines([info(1)]))
    (tmp_path / "server.log.5").mkdir()
    harness = Harness(tmp_path, PatientStorage(), backups=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, "server.log", "server.log.5"])
    harness.close()


def test_a_failed_sync_of_a_removed_file_costs_nothing(harness):
    harness.send(error(1))
    harness.log.path.unlink()
    harness.storage.end_one(EIO)
    harness.storage.finish()
    harness.read_acks()
    assert harness.acked == [1]
    assert harness.log.path.read_bytes() == lines([error(1)])


def test_an_ack_owed_for_a_duplicate_leaves_though_the_file_is_removed_meanwhile(harness):
    acknowledge(harness, error(1))
    harness.send(error(1))  # nothing is to be written
    harness.log.path.unlink()
    look(harness)
    for _ in range(3):
        harness.storage.finish()
        look(harness)
    assert harness.acked == [1, 1]
    assert harness.log.has_name()


def test_a_file_that_cannot_be_looked_at_is_taken_for_gone(harness, monkeypatch):
    """Its file system is on another machine, which does not answer."""
    acknowledge(harness, error(1))
    real, fd = os.fstat, harness.log._live.fd

    def fstat(number):
        if number == fd:
            raise OSError(errno.ESTALE, "Stale file handle")
        return real(number)

    monkeypatch.setattr(os, "fstat", fstat)
    assert not harness.log.is_whole()
    acknowledge(harness, error(2))
    look(harness)
    monkeypatch.setattr(os, "fstat", real)
    harness.retry()
    harness.storage.finish()
    harness.read_acks()
    assert harness.acked == [1, 2]


def test_what_a_rotation_could_not_do_is_forgotten_with_the_file(tmp_path):
    harness = Harness(tmp_path, PatientStorage(), limit=120)
    harness.send(info(1), info(2))
    harness.log.path.rename(tmp_path / "renamed")
    harness.send(info(3), info(4))
    assert harness.log.rotation_failure is not None
    look(harness)
    assert harness.log.rotation_failure is None
    harness.send(*[info(n) for n in range(5, 9)])
    assert harness.log.rotations > 0
    harness.close()


@pytest.mark.parametrize("name", ["server.log.20261124", "server.log.123456"])
def test_an_archive_with_a_date_is_not_taken_for_one_of_ours(tmp_path, name):
    (tmp_path / name).write_bytes(lines([info(1)]))
    harness = Harness(tmp_path, PatientStorage(), backups=2)
    assert (tmp_path / name).exists()
    harness.close()
