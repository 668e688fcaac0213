"""Archives beyond LOG_BACKUPS that wait to be shipped: which are kept, which go, and what is counted."""

import contextlib
import errno
import os
import random
import re
from pathlib import Path

import pytest

from fastlog.archive import frames, writer
from fastlog.archive.frames import read_frame
from fastlog.segments import identity_of, shipped_path
from fastlog.server import closer, hold
from fastlog.server.closer import Closer
from fastlog.server.logfile import LogFile
from fastlog.server.storage import Storage
from tests.helpers.archives import compress_archive, compressed_size, text_of
from tests.helpers.disk import CheckedNames
from tests.helpers.running import until
from tests.helpers.shipping import make_segment, set_identity, write_note

OTHER_LOG = "f" * 12
LINE = b"line %04d\n"
SIZE = len(LINE % 0)
PER_FILE = 3  # lines
COMPRESSED_SIZE = 1 + compressed_size(b"".join(LINE % number for number in range(1, PER_FILE + 1)))  # at the most


class Log:
    """A log whose lines are numbered, and a note beside it. `compresses`: its archives get compressed at once."""

    def __init__(self, directory, storage=None, *, compresses=False):
        self.compresses = compresses
        self.directory = directory
        self.path = directory / "server.log"
        self.written = 0
        self._storage = storage or Storage()
        self.file = None

    def start(self, *, backups=1, hold_files=100.0):
        self.close()
        self.backups = backups
        file_bytes = PER_FILE * SIZE
        hold_bytes = int(hold_files * (COMPRESSED_SIZE if self.compresses else file_bytes))
        self.file = LogFile(self._storage, self.directory, "server.log", file_bytes, backups, hold_bytes=hold_bytes)
        self.hold = self.file.hold
        return self

    def close(self):
        if self.file:
            self.file.close()
            self.file = None

    def write_files(self, count):
        """So many full files."""
        for _ in range(count * PER_FILE):
            self.written += 1
            assert self.file.append(memoryview(LINE % self.written), durable=False) == SIZE
            if self.compresses:
                self.compress()
        self.settle()

    def compress(self):
        for path in self.archives():
            is_archive = identity_of(path) not in (None, self.file.identity)
            if is_archive and path.suffix != ".zst":
                compress_archive(path)

    def settle(self):
        """Waits until nothing more is to be deleted."""
        counter = self.hold._closer

        def is_settled():
            counter.finish(30.0)
            self.file.tidy()
            return not counter.bytes_left

        until(is_settled, "an end of deleting")

    def ship(self, segment, line=0, log=None):
        """Writes the note as `ship` does: that many lines of the segment, and all before it, are shipped."""
        write_note(self.path, segment, line * SIZE, log=log)

    def archives(self):
        """The archives' paths, the newest first."""
        return sorted((path for path in self.directory.iterdir() if number_of(path)), key=number_of)

    def segments(self):
        """Those of the archives, the newest first, which must be the order of their names."""
        segments = [identity_of(path).segment for path in self.archives()]
        assert segments == sorted(segments, reverse=True)
        return segments

    def lines(self):
        """The numbers of the lines that are there, the oldest first."""
        files = [*reversed(self.archives()), self.path]
        return [int(line.split()[1]) for path in files for line in text_of(path).splitlines()]

    def lost(self):
        """How many lines were counted as deleted before they were shipped."""
        self.settle()
        return self.hold.unshipped_lines


def number_of(path):
    match = re.fullmatch(r"server\.log\.(\d+)(\.zst)?", path.name)
    return int(match[1]) if match else 0


@pytest.fixture(params=[False, True], ids=["plain", "compressed"])
def compresses(request):
    return request.param


@pytest.fixture
def log(tmp_path, closing, compresses):
    return closing(Log(tmp_path, compresses=compresses))


def test_without_a_note_nothing_is_held(log):
    log.start(backups=2).write_files(6)
    assert log.segments() == [5, 4]
    assert log.lost() == 0


@pytest.mark.parametrize("backups", [0, 1, 2, 5])
def test_what_is_not_shipped_is_held(log, backups):
    log.start(backups=backups)
    log.ship(1)
    log.write_files(12)
    assert log.lines() == list(range(1, 12 * PER_FILE + 1))
    assert log.segments() == list(range(11, 0, -1))
    assert log.lost() == 0


@pytest.mark.parametrize("backups", [0, 1, 3])
def test_what_is_shipped_goes_by_log_backups(log, backups):
    log.start(backups=backups)
    log.ship(1)
    log.write_files(8)
    log.ship(5, line=1)  # of segment 5 something is left
    log.file.tidy()
    assert log.segments() == [7, 6, 5]
    log.ship(8)
    log.file.tidy()
    assert log.segments() == [7, 6, 5][:backups]
    log.write_files(3)
    assert log.segments() == [10, 9, 8][: max(backups, 3)]
    assert log.lost() == 0


def test_a_file_that_is_shipped_to_its_end_is_not_held(log):
    log.start(backups=0)
    log.ship(1, line=PER_FILE)
    log.write_files(2)
    assert log.segments() == []


@pytest.mark.parametrize(("hold_files", "left"), [(0.0, 0), (0.5, 0), (1.0, 1), (3.0, 3), (3.9, 3), (7.0, 7)])
def test_beyond_the_hold_what_is_missing_is_counted_to_the_line(log, hold_files, left):
    log.start(backups=1, hold_files=hold_files)
    log.ship(1, line=2)
    log.write_files(20)
    assert len(log.archives()) == 1 + left
    missing = set(range(3, log.written + 1)) - set(log.lines())  # two are shipped
    assert log.lost() == len(missing) > 0
    assert log.hold.held_files == left


def test_the_file_that_is_being_shipped_goes_last(log):
    """The shipper may have it open, with lines of it under way to the engine."""
    log.start(backups=1, hold_files=3)
    log.ship(4, line=1)
    log.write_files(20)
    assert log.segments() == [19, 18, 5, 4]
    log.ship(17)
    log.write_files(1)
    assert log.segments() == [20, 19, 18]


@pytest.mark.parametrize(
    ("note", "problem"),
    [
        ("{", "Input data was truncated"),
        ('{"log":"x","segment":1,"offset":0}', "x:1:0 is not a position"),
        ('{"log":"0123456789ab","segment":-1,"offset":0}', "0123456789ab:-1:0 is not a position"),
        ('["log"]', "Expected `object`, got `array`"),
    ],
)
def test_a_note_that_cannot_be_read_says_of_nothing_that_it_was_shipped(log, note, problem, capfd):
    log.start(hold_files=4)
    shipped_path(log.path).write_text(note)
    log.write_files(4)
    assert log.segments() == [3, 2, 1]
    log.write_files(20)
    assert log.segments() == [23, 22, 21, 20, 19]  # nobody knows where the shipper is: the oldest go
    assert problem in log.hold.problem
    assert log.lost() == 18 * PER_FILE
    said = [line for line in capfd.readouterr().err.splitlines() if "cannot read" in line]
    assert len(said) == 1
    assert "archives are held as if nothing were shipped" in said[0]


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to(path)])
def test_what_is_no_note_holds_up_nothing(log, make):
    log.start()
    make(shipped_path(log.path))
    log.write_files(4)
    assert log.segments() == [3, 2, 1]
    assert log.hold.problem


def test_a_note_about_another_log_says_nothing_of_this_one(log):
    log.start(hold_files=4)
    log.ship(1000, log=OTHER_LOG)
    log.write_files(6)
    assert log.segments() == [5, 4, 3, 2, 1]
    log.write_files(1)
    assert log.segments() == [6, 5, 4, 3, 2]
    assert log.lost() == PER_FILE


def test_when_the_note_is_removed_the_hold_ends(log):
    log.start(backups=2)
    log.ship(1)
    log.write_files(9)
    assert len(log.archives()) == 8
    shipped_path(log.path).unlink()
    log.file.tidy()
    assert log.segments() == [8, 7]
    assert log.lost() == 0  # nobody wants them any more
    assert not log.hold.is_shipped


def test_archives_without_an_identity_are_not_held(log):
    log.start()
    log.ship(1)
    log.write_files(2)
    for path in [*log.archives(), log.path]:
        os.removexattr(path, "user.fastlog")
    log.write_files(2)
    assert [number_of(path) for path in log.archives()] == [1]


def test_archives_of_another_log_are_neither_held_nor_touched(log):
    log.start()
    log.ship(1)
    log.write_files(3)
    other = log.directory / "server.log.40"
    other.write_bytes(LINE % 0)
    os.setxattr(other, "user.fastlog", f"{OTHER_LOG}:7".encode())
    log.ship(100)
    log.file.tidy()
    assert [number_of(path) for path in log.archives()] == [1, 40]


def test_the_start_holds_and_removes_as_a_rotation_does(log):
    log.start(hold_files=20)
    log.ship(1)
    log.write_files(12)
    log.ship(4)
    log.start(hold_files=5)
    assert log.segments() == [11, 10, 9, 8, 5, 4]
    assert log.lost() == 2 * PER_FILE
    log.close()
    shipped_path(log.path).unlink()
    log.start()
    assert log.segments() == [11]


def test_a_rotation_moves_few_files_however_many_are_held(log, monkeypatch):
    renames = []
    rename = Storage.rename
    monkeypatch.setattr(Storage, "rename", lambda self, *paths: (renames.append(paths), rename(self, *paths)))
    log.start(hold_files=1000)
    log.ship(1)
    log.write_files(201)
    assert log.segments() == list(range(200, 0, -1))
    assert len(renames) < 200 * 5
    assert max(map(number_of, log.archives())) < 2 * 201


def test_more_files_than_a_rotation_can_look_at_are_not_held(log, monkeypatch):
    monkeypatch.setattr(hold, "HELD_MAX", 6)
    log.start(hold_files=1000)
    log.ship(1)
    log.write_files(20)
    assert len(log.archives()) == 7
    assert log.lost() == log.written - len(log.lines())


def test_files_that_a_user_removed_are_neither_missed_nor_counted(log):
    log.start(hold_files=3)
    log.ship(1)
    log.write_files(5)
    for path in log.archives()[1:3]:
        path.unlink()
    log.write_files(2)
    assert log.segments() == [6, 5, 4, 1]
    assert log.lost() == 0


def test_lines_of_a_file_that_was_set_aside_count_as_far_as_they_are_durable(log):
    log.start(backups=0, hold_files=0.0)
    os.setxattr(log.path, "user.fastlog.durable", b"%d" % (2 * SIZE))
    log.ship(1, line=1)
    log.write_files(2)
    assert log.lost() == 1


def test_files_set_aside_stay_however_full_the_hold_is(log):
    log.start(hold_files=1)
    log.ship(1)
    log.write_files(1)
    log.file.replace([bytearray(LINE % 0)], lambda error: None)
    log.write_files(8)
    assert (log.directory / "server.log.distrusted.1").exists()


def test_no_more_are_deleted_than_can_be_counted_in_time(log, monkeypatch):
    log.start(hold_files=1)
    log.ship(1)
    with monkeypatch.context() as patch:
        patch.setattr(Closer, "resume", lambda self: None)  # the disk hangs
        patch.setattr(log, "settle", lambda: None)
        log.write_files(40)
        assert len(log.archives()) == 39 - closer.WAITING_MAX
        assert log.hold.unshipped_lines == 0
    log.settle()
    assert len(log.archives()) == 2
    assert log.lost() == log.written - len(log.lines())


def test_the_end_waits_for_the_count(log):
    log.start(hold_files=1)
    log.ship(1)
    log.write_files(9)
    log.close()
    assert log.hold.uncounted_bytes == 0
    assert log.hold.unshipped_lines == log.written - len(log.lines())


class FailingNames(CheckedNames):
    """Fails with every rename or unlink from a number on, so many times."""

    def __init__(self):
        super().__init__()
        self.first = self.times = self.count = 0

    def _check(self):
        self.count += 1
        if self.first <= self.count < self.first + self.times:
            raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize("times", [1, 2, 5])
@pytest.mark.parametrize("backups", [0, 1, 3])
def test_renames_and_removals_may_fail_anywhere(tmp_path, closing, compresses, backups, times):
    for first in range(1, 40, 3 if compresses else 1):
        directory = tmp_path / str(first)
        directory.mkdir()
        storage = FailingNames()
        log = closing(Log(directory, storage, compresses=compresses)).start(backups=backups, hold_files=3)
        log.ship(1)
        storage.first, storage.times, storage.count = first, times, 0
        for _ in range(12):
            log.write_files(1)
            if not log.file.has_name():  # as the writer does within a second
                with contextlib.suppress(OSError):
                    log.file.reopen()
        storage.times = 0
        log.write_files(2)
        log.file.tidy()
        log.segments()  # in order
        lines = log.lines()
        assert len(lines) == len(set(lines))
        assert log.lost() == log.written - len(lines), first
        log.close()


def test_a_removal_that_fails_is_said_once_and_tried_again(log, monkeypatch, capfd):
    log.start(hold_files=1)
    log.ship(1)
    unlink = log._storage.unlink

    def fail(path):
        if path.suffix != ".new" and path.exists():
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        unlink(path)

    monkeypatch.setattr(log._storage, "unlink", fail)
    log.write_files(8)
    assert log.segments() == list(range(7, 0, -1))
    said = capfd.readouterr().err
    assert said.count("cannot remove") == 1
    monkeypatch.undo()
    log.file.tidy()
    assert log.segments() == [7, 1]
    assert log.lost() == 5 * PER_FILE


def test_one_that_cannot_be_removed_does_not_keep_the_others(log, monkeypatch):
    log.start(hold_files=4)
    log.ship(1)
    log.write_files(6)
    unlink, stuck = log._storage.unlink, identity_of(log.archives()[-3])

    def fail(path):
        if path.suffix != ".new" and identity_of(path) == stuck:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        unlink(path)

    monkeypatch.setattr(log._storage, "unlink", fail)
    log.write_files(10)
    assert log.segments() == [15, 14, 3, 2, 1]
    assert log.lost() == log.written - len(log.lines())


def test_a_name_that_another_program_has_taken_is_not_overwritten(log):
    log.start()
    log.ship(1)
    log.write_files(4)
    taken = log.directory / f"server.log.{number_of(log.archives()[1]) - 1}"
    if taken.exists():  # the newest archive has it
        log.write_files(1)
        taken = log.directory / f"server.log.{number_of(log.archives()[1]) - 1}"
    taken.write_bytes(b"a stranger's\n")
    log.write_files(20)
    assert len([path for path in log.archives() if path.read_bytes() == b"a stranger's\n"]) == 1
    assert len(log.archives()) == len(set(log.archives()))
    content = b"".join(text_of(path) for path in [*log.archives(), log.path])
    assert all(LINE % number in content for number in range(1, log.written + 1))


# Compressed archives.


def paths(log):
    """Those of the archives that the hold knows."""
    return [archive.path for archive in log.hold.files()]


def keep_both_forms(log):
    """As they are for a moment after an archive was compressed."""
    for path in log.archives():
        if number_of(path) > log.backups and path.suffix != ".zst":
            compress_archive(path, keep=True)


@pytest.mark.parametrize("compresses", [True])
def test_the_hold_counts_what_compressed_archives_take_on_the_disk(log):
    log.start()
    log.ship(1)
    log.write_files(6)
    assert log.hold.held_bytes == sum(path.stat().st_size for path in log.archives()[1:])
    assert [archive.size for archive in log.hold.files()] == [PER_FILE * SIZE] * 5


@pytest.mark.parametrize("compresses", [False])
def test_both_forms_of_an_archive_are_one(log):
    log.start()
    log.ship(1)
    log.write_files(5)
    before = paths(log)
    keep_both_forms(log)
    log.file.tidy()
    assert log.hold.held_files == 3
    assert paths(log) == before
    for path in log.archives()[1:]:
        if path.suffix != ".zst":
            path.unlink()
    log.file.tidy()
    assert paths(log) == [f"{path}.zst" for path in before[:3]] + before[3:]
    assert log.hold.held_files == 3


@pytest.mark.parametrize("compresses", [False])
def test_both_forms_move_together(log):
    log.start()
    log.ship(1)
    for _ in range(20):
        log.write_files(1)
        keep_both_forms(log)
    found = {path: identity_of(path) for path in log.archives()}
    assert len(found) == 1 + 2 * 18
    plain = [path for path in found if path.suffix != ".zst"]
    assert all(found[path] == found[Path(f"{path}.zst")] for path in plain[1:])


@pytest.mark.parametrize("compresses", [False])
def test_both_forms_go_together_and_their_lines_are_counted_once(log):
    log.start()
    log.ship(1, line=1)
    log.write_files(9)
    keep_both_forms(log)
    log.hold.limit_bytes = 2 * PER_FILE * SIZE
    log.settle()
    assert len(log.archives()) == 1 + 2 * 2
    plain = [path for path in log.archives() if path.suffix != ".zst"]
    left = sum(len(text_of(path).splitlines()) for path in [*plain, log.path])
    assert log.lost() == log.written - left


@pytest.mark.parametrize("compresses", [False])
def test_an_archive_that_was_compressed_since_the_last_look_is_deleted_and_counted(log, monkeypatch):
    log.start()
    log.ship(1)
    log.write_files(5)
    for path in log.archives()[1:]:
        compress_archive(path)
    log.file.make_space()
    assert len(log.archives()) == 3
    assert log.lost() == PER_FILE


@pytest.mark.parametrize("compresses", [False])
def test_compressing_makes_room_in_the_hold(log, monkeypatch):
    """What is known of the last look is larger, and would have one deleted."""
    monkeypatch.setattr(Log, "settle", lambda self: None)
    log.start()
    log.ship(1)
    log.write_files(5)
    log.file.tidy()
    log.hold.limit_bytes = log.hold.held_bytes
    for path in log.archives()[1:]:
        os.truncate(path, SIZE)  # in place of compressing, which makes files of so few lines larger
        os.rename(path, f"{path}.zst")
    log.write_files(1)
    assert len(log.archives()) == 5


@pytest.mark.parametrize("compresses", [True])
def test_a_damaged_archive_is_held_until_it_was_passed(log):
    log.start()
    log.ship(1)
    log.write_files(5)
    os.truncate(log.archives()[-1], 50)
    log.file.tidy()
    assert log.hold.held_files == 3
    log.ship(2)
    log.file.tidy()
    assert log.segments() == [4, 3, 2]
    assert log.lost() == 0


@pytest.mark.parametrize("seed", range(5))
def test_the_lines_of_a_compressed_archive_are_counted_from_any_place(tmp_path, monkeypatch, seed):
    """By the summaries, but for the frame in which the place is."""
    rng = random.Random(seed)
    lines = [b"%0*d\n" % (rng.randrange(1, 60), number) for number in range(1000)]
    text = b"".join(lines)
    monkeypatch.setattr(writer, "FRAME_BYTES", 1000)
    path = make_segment(tmp_path / "server.log.1", 1, text)
    compressed = compress_archive(path)
    unpacked = []
    monkeypatch.setattr(frames, "read_frame", lambda fd, frame: unpacked.append(frame) or read_frame(fd, frame))
    for place in [0, 1, len(lines) // 2, len(lines) - 1, *rng.sample(range(1000), 5)]:
        start = sum(map(len, lines[:place]))
        counter = Closer()
        unpacked.clear()
        counter.add(os.open(compressed, os.O_RDONLY), start, len(text), is_compressed=True)
        counter.finish(30.0)
        assert (counter.lines, counter.bytes_left) == (len(lines) - place, 0)
        assert len(unpacked) <= 1


@pytest.mark.parametrize("content", [b"", b"no zstd\n" * 100])
def test_a_file_that_cannot_be_unpacked_counts_no_lines(tmp_path, content):
    path = make_segment(tmp_path / "server.log.1.zst", 1, content)
    counter = Closer()
    counter.add(os.open(path, os.O_RDONLY), 0, 10**6, is_compressed=True)
    counter.finish(30.0)
    assert (counter.lines, counter.bytes_left) == (0, 0)


@pytest.mark.parametrize("compresses", [True])
def test_a_compressed_archive_with_the_inode_and_name_of_one_before_is_not_taken_for_it(log):
    """Inodes are used again at once."""
    log.start()
    log.ship(1)
    log.write_files(5)
    first = log.archives()[0]
    assert [archive.identity.segment for archive in log.hold.files()] == [1, 2, 3, 4]
    set_identity(first, 9, log=log.file.identity.log)  # in the same file, which has another time
    set_identity(log.path, 10, log=log.file.identity.log)
    os.utime(first, (10**9, 10**9))
    log.file.tidy()
    assert [archive.identity.segment for archive in log.hold.files()] == [1, 2, 3, 9]
