"""The identities of the log's files: each has one of its own, and the file that grows has the highest number."""

import contextlib
import errno
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from fastlog import segments
from fastlog.archive import zstd
from fastlog.segments import ATTRIBUTE, DURABLE_ATTRIBUTE, Identity, durable_size_of, identity_of
from fastlog.server import identities, logfile, names
from fastlog.server.logfile import LogFile
from fastlog.server.storage import Storage
from tests.helpers.archives import compress_archive
from tests.helpers.disk import EIO, Harness, PatientStorage, error, info
from tests.helpers.identities import numbers

LOG = "0123456789ab"
LINE = b"1234\n"


class Refusing(Storage):
    """No attribute can be set while there is a `number`."""

    def __init__(self, number: int = 0) -> None:
        super().__init__()
        self.number = number

    def set_attribute(self, fd, name, value):
        if self.number:
            raise OSError(self.number, os.strerror(self.number))
        super().set_attribute(fd, name, value)


@pytest.fixture
def start(tmp_path):
    """Opens the log, as a start of the server does; one that is open already ends before."""
    with contextlib.ExitStack() as opened:

        def start(backups: int = 50, limit: int = 1000, storage: Storage | None = None) -> LogFile:
            opened.close()
            log = LogFile(storage or Storage(), tmp_path, "server.log", limit, backups)
            opened.callback(log.close)
            return log

        yield start


@pytest.fixture
def said(monkeypatch):
    messages = []
    for module in (logfile, identities):
        monkeypatch.setattr(module, "say", messages.append)
    return messages


def write(log: LogFile, lines: bytes = LINE) -> None:
    assert log.append(memoryview(lines), durable=False) == len(lines)


def make(path: Path, segment: int | None, content: bytes = LINE, age: int = 0, log: str = LOG) -> Path:
    """A file of so many seconds, with an identity or without."""
    path.write_bytes(content)
    if segment:
        os.setxattr(path, ATTRIBUTE, f"{log}:{segment}".encode())
    os.utime(path, (10**9 - age, 10**9 - age))
    return path


def note(directory: Path, segment: int, offset: int, log: str = LOG) -> None:
    (directory / "server.log.shipped").write_text(
        f'{{"log":"{log}","segment":{segment},"offset":{offset},"problem":""}}'
    )


def test_the_first_file_of_a_log_begins_it(tmp_path, start):
    log = start()
    assert log.identity == identity_of(log.path)
    assert log.identity.segment == 1
    assert segments.position_from(f"{log.identity}:0")


def test_each_rotation_makes_the_next_one(tmp_path, start):
    log = start(limit=5)
    write(log, 4 * LINE)
    assert numbers(tmp_path) == {"": 4, ".1": 3, ".2": 2, ".3": 1}
    assert log.identity == identity_of(log.path)


def test_without_archives_the_numbers_continue(tmp_path, start):
    log = start(limit=5, backups=0)
    write(log, 4 * LINE)
    assert numbers(tmp_path) == {"": 4}


def test_a_file_has_its_identity_before_it_has_the_live_name(tmp_path, start):
    seen = []

    class Looking(Storage):
        def rename(self, old, new):
            if new.name == "server.log":
                seen.append(identity_of(old))
            super().rename(old, new)

    log = start(limit=5, storage=Looking())
    write(log, 2 * LINE)
    log.replace([bytearray(LINE)], lambda failure: None)
    assert [identity.segment for identity in seen] == [2, 3]


def test_a_rotation_that_fails_uses_no_number(tmp_path, start):
    class Failing(Storage):
        fails = True

        def rename(self, old, new):
            if self.fails:
                raise EIO
            super().rename(old, new)

    storage = Failing()
    log = start(storage=storage)
    for _ in range(3):
        with pytest.raises(OSError, match="Input"):
            log.rotate()
    assert numbers(tmp_path) == {"": 1}
    storage.fails = False
    log.rotate()
    assert numbers(tmp_path) == {"": 2, ".1": 1}


def test_a_restart_keeps_every_identity(tmp_path, start):
    log = start(limit=5)
    write(log, 3 * LINE)
    before = {path.name: identity_of(path) for path in tmp_path.iterdir()}
    assert start().identity == before["server.log"]
    assert {path.name: identity_of(path) for path in tmp_path.iterdir()} == before


def test_the_first_start_numbers_what_there_is_from_the_oldest_on(tmp_path, start):
    make(tmp_path / "server.log", None, age=1)
    make(tmp_path / "server.log.1", None, age=2)
    make(tmp_path / "server.log.distrusted.1", None, age=3)
    make(tmp_path / "server.log.2", None, age=4)
    make(tmp_path / "server.log.10", None, age=4)  # a coarse clock
    make(tmp_path / "server.log-20260101", None, age=9)
    make(tmp_path / "server.log-20260102.gz", None, age=7)
    start()
    assert numbers(tmp_path) == {
        "": 6,
        ".1": 5,
        ".distrusted.1": 4,
        ".2": 3,
        ".10": 2,
        "-20260101": 1,
        "-20260102.gz": None,
    }


def test_a_live_file_without_a_number_gets_the_next_one_after_its_archives(tmp_path, start):
    make(tmp_path / "server.log.3", 6, age=9)
    make(tmp_path / "server.log.2", 7, age=8)
    make(tmp_path / "server.log.1", None, age=7)
    make(tmp_path / "server.log", None, age=6)
    assert start().identity == Identity(LOG, 9)
    assert numbers(tmp_path) == {"": 9, ".1": 8, ".2": 7, ".3": 6}


def plain(path: Path) -> Path:
    return path


def by_gzip(path: Path) -> Path:
    """The archive as `gzip` compresses it: the attributes are lost."""
    subprocess.run(["gzip", path], check=True)
    return path.with_name(f"{path.name}.gz")


def by_zstd(path: Path) -> Path:
    """The same for `zstd`."""
    compressed = path.with_name(f"{path.name}.zst")
    compressed.write_bytes(zstd.compress(path.read_bytes()))
    shutil.copystat(path, compressed)
    os.removexattr(compressed, ATTRIBUTE)
    path.unlink()
    return compressed


BY_OTHERS = [by_gzip, by_zstd]
LIVE_AND_OLDER = ["", ".1", ".2", ".3"]


def by_plain_name(directory: Path) -> dict[str, int | None]:
    return {name.removesuffix(".zst").removesuffix(".gz"): number for name, number in numbers(directory).items()}


@pytest.mark.parametrize("form", [plain, compress_archive])
@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([4, None, 6, 7], [4, 5, 6, 7]),
        ([4, None, None, 7], [4, 5, 6, 7]),
        ([None, None, 7], [5, 6, 7]),
        ([4, None, 7], [4, 6, 7]),
        ([None, 1], [None, 1]),
        ([4, None, 5], [4, None, 5]),  # a copy of something, which the log never had
        ([4, None, None, 6], [4, None, 5, 6]),
    ],
)
def test_an_archive_that_lost_its_number_gets_the_one_that_is_missing(tmp_path, start, found, expected, form):
    for age, (name, segment) in enumerate(zip(LIVE_AND_OLDER, reversed(found), strict=False)):
        path = make(tmp_path / f"server.log{name}", segment, age=age)
        if name:
            form(path)
    start()
    assert [by_plain_name(tmp_path)[name] for name in reversed(LIVE_AND_OLDER[: len(found)])] == expected


@pytest.mark.parametrize("by_other", BY_OTHERS)
@pytest.mark.parametrize(
    ("older", "expected"),
    [
        ([4, 5, "other"], [4, 5, None]),
        ([4, "other", 6], [4, None, 6]),
        (["other", 5, 6], [None, 5, 6]),
        ([None, "other", 6], [4, None, 6]),
        ([4, "other", None], [4, None, 6]),
        ([4, None, "other"], [4, 5, None]),
        ([None, "other", "other"], [4, None, None]),
        ([5, "other", 6], [5, None, 6]),  # a copy of something, which the log never had
    ],
)
def test_what_another_program_compressed_keeps_its_place_and_gets_no_number(tmp_path, start, older, expected, by_other):
    """So nothing else gets the number that it had."""
    make(tmp_path / "server.log", 7)
    for number, segment in enumerate(reversed(older), 1):
        path = make(tmp_path / f"server.log.{number}", 99 if segment == "other" else segment, age=number)
        if segment == "other":
            by_other(path)
    for _ in range(2):
        start()
        assert [by_plain_name(tmp_path)[name] for name in (".3", ".2", ".1")] == expected
        assert numbers(tmp_path)[""] == 7


@pytest.mark.parametrize("by_other", BY_OTHERS)
def test_a_live_file_without_a_number_does_not_have_others_compressed_files_numbered(tmp_path, start, by_other):
    """As after logrotate with `compress`, while no server ran."""
    make(tmp_path / "server.log.3", 5, age=3)
    make(tmp_path / "server.log.2", None, age=2)
    by_other(make(tmp_path / "server.log.1", 7, age=1))
    make(tmp_path / "server.log", None)
    start()
    assert by_plain_name(tmp_path) == {"": 7, ".1": None, ".2": 6, ".3": 5}


@pytest.mark.parametrize("with_number", [True, False])
def test_archives_that_the_server_compressed_count_as_plain_ones(tmp_path, start, with_number):
    for number, segment in ((3, 5), (2, 6 if with_number else None), (1, None)):
        compress_archive(make(tmp_path / f"server.log.{number}", segment, age=number))
    make(tmp_path / "server.log", None)
    assert start().identity == Identity(LOG, 8)
    assert numbers(tmp_path) == {"": 8, ".1.zst": 7, ".2.zst": 6, ".3.zst": 5}


def test_an_archive_in_both_forms_is_one(tmp_path, start):
    """As a crash leaves it before the plain one goes."""
    for number, segment in ((3, 5), (2, None), (1, 7)):
        compress_archive(make(tmp_path / f"server.log.{number}", segment, age=number), keep=True)
    make(tmp_path / "server.log", 8)
    start()
    found = numbers(tmp_path)
    assert [found[f".{number}"] for number in (3, 2, 1)] == [5, 6, 7]
    assert found[""] == 8


@pytest.mark.parametrize("by_other", BY_OTHERS)
def test_no_older_archive_is_taken_for_a_copy_that_was_compressed_since(tmp_path, start, by_other):
    log = start()
    make(tmp_path / "server.log.2", None)
    path = make(tmp_path / "server.log.1", 99)
    for archive in (path, tmp_path / "server.log.2"):
        shutil.copystat(log.path, archive)
        os.removexattr(archive, ATTRIBUTE)
    os.setxattr(path, ATTRIBUTE, b"")
    by_other(path)
    write(log)
    os.truncate(log.path, 0)
    log.reopen()
    assert by_plain_name(tmp_path) == {"": 2, ".1": None, ".2": None}


def test_a_live_file_that_has_less_than_a_compressed_copy_of_it_was_cut(tmp_path, start):
    make(tmp_path / "server.log", 7, content=100 * LINE)
    compress_archive(make(tmp_path / "server.log.1", 7, content=200 * LINE, age=1))
    assert os.path.getsize(tmp_path / "server.log.1.zst") < 100 * len(LINE)
    start()
    assert numbers(tmp_path) == {"": 8, ".1.zst": 7}


@pytest.mark.parametrize("backups", [50, 0])
def test_an_older_file_in_the_live_ones_place_gets_no_more_lines(tmp_path, start, said, backups):
    """With its old number, at least. Without archives it gets the next number, since a rotation would remove it."""
    make(tmp_path / "server.log-20260101", 5, age=1)
    make(tmp_path / "server.log", 4, b"old\n", age=9)
    log = start(backups)
    write(log)
    assert log.identity == Identity(LOG, 6)
    if backups:
        assert numbers(tmp_path) == {"": 6, ".1": 4, "-20260101": 5}
        assert log.path.read_bytes() == LINE
        assert (tmp_path / "server.log.1").read_bytes() == b"old\n"
    else:
        assert log.path.read_bytes() == b"old\n" + LINE
    assert any("older file" in message for message in said)


def test_numbers_are_higher_than_that_of_the_note(tmp_path, start):
    make(tmp_path / "server.log.1", 3)
    note(tmp_path, 7, 100)
    assert start().identity == Identity(LOG, 8)


def test_a_live_file_older_than_the_note_gets_no_more_lines(tmp_path, start, said):
    """All of the log was put back to an older copy, except the note."""
    make(tmp_path / "server.log", 3)
    note(tmp_path, 7, 100)
    start()
    assert numbers(tmp_path) == {"": 8, ".1": 3}


def test_the_note_of_another_log_does_not_count(tmp_path, start):
    make(tmp_path / "server.log.1", 3)
    note(tmp_path, 7, 100, log="ffffffffffff")
    assert start().identity == Identity(LOG, 4)


def test_a_log_without_files_begins_anew(tmp_path, start):
    """Its numbers must not meet those of the old one, of which the note need not know all."""
    note(tmp_path, 7, 100)
    log = start()
    assert log.identity.segment == 1
    assert log.identity.log != LOG


@pytest.mark.parametrize("text", ["", "{", '{"log":"x","segment":1,"offset":0}', "\0" * 100])
def test_a_note_that_cannot_be_read_is_left_alone(tmp_path, start, text):
    (tmp_path / "server.log.shipped").write_text(text)
    assert start().identity.segment == 1


def test_a_fifo_in_the_notes_place_does_not_hold_up_the_start(tmp_path, start):
    os.mkfifo(tmp_path / "server.log.shipped")
    assert start().identity.segment == 1


# Files that another program cut, replaced or copied


def test_a_cut_file_has_the_next_number_before_anything_is_appended(tmp_path):
    seen = []

    class Looking(PatientStorage):
        def write(self, fd, data):
            seen.append((identity_of(fd).segment, bytes(data)))
            return super().write(fd, data)

    harness = Harness(tmp_path, Looking())
    harness.send(info(1))
    os.truncate(harness.log.path, 10)
    harness.send(info(2))
    harness.close()
    assert seen == [(1, info(1) + b"\n"), (2, b"\n"), (2, info(2) + b"\n")]


def test_a_copy_made_before_the_cut_gets_the_number_that_the_live_file_had(tmp_path, start):
    """As logrotate's `copytruncate` does, twice."""
    log = start()
    for number in (1, 2):
        write(log)
        with contextlib.suppress(FileNotFoundError):
            os.rename(tmp_path / "server.log.1", tmp_path / "server.log.2")
        shutil.copyfile(log.path, tmp_path / "server.log.1")
        os.truncate(log.path, 0)
        log.reopen()
        assert numbers(tmp_path)[""] == number + 1
    assert numbers(tmp_path) == {"": 3, ".1": 2, ".2": 1}


def test_an_archive_that_is_older_than_the_cut_is_not_taken_for_a_copy(tmp_path, start):
    make(tmp_path / "server.log.1", None, age=100)
    log = start()
    os.removexattr(tmp_path / "server.log.1", ATTRIBUTE)
    write(log)
    os.truncate(log.path, 0)
    log.reopen()
    assert numbers(tmp_path) == {"": 3, ".1": None}


def test_a_cut_file_whose_number_cannot_be_changed_gets_no_more_lines(tmp_path, start):
    storage = Refusing()
    log = start(storage=storage)
    write(log)
    os.truncate(log.path, 0)
    storage.number = errno.EIO
    log.reopen()
    write(log)
    assert numbers(tmp_path) == {"": None, ".1": 1}
    assert (tmp_path / "server.log.1").read_bytes() == b""


@pytest.mark.parametrize("how", ["copied", "cp -a", "only cut"])
def test_a_file_that_was_cut_while_no_server_ran_has_the_next_number(tmp_path, start, how):
    log = start()
    write(log, 3 * LINE)
    note(tmp_path, 1, 2 * len(LINE), log.identity.log)
    if how != "only cut":
        subprocess.run(["cp", *(["-a"] if how == "cp -a" else []), log.path, f"{log.path}.1"], check=True)
    if how == "cp -a":
        (tmp_path / "server.log.shipped").unlink()  # the copy alone shows it
    os.truncate(log.path, len(LINE))
    start()
    assert numbers(tmp_path) == {"": 2, ".1": 1} if how != "only cut" else {"": 2}


def test_an_attribute_copied_with_the_file_is_not_given_to_a_second_one_that_grows(tmp_path, start):
    """`cp -a` of a live file: the copy is older, whatever its name."""
    log = start()
    write(log)
    subprocess.run(["cp", "-a", log.path, f"{log.path}.1"], check=True)
    write(log)
    assert start().identity.segment == 1
    assert numbers(tmp_path) == {"": 1, ".1": 1}


def test_a_new_file_of_another_program_has_the_next_number(tmp_path, start):
    """As logrotate's `create` does."""
    log = start()
    write(log)
    os.rename(log.path, tmp_path / "server.log.1")
    log.path.touch()
    log.reopen()
    assert numbers(tmp_path) == {"": 2, ".1": 1}
    log.path.unlink()
    log.reopen()
    assert numbers(tmp_path) == {"": 3, ".1": 1}


@pytest.mark.parametrize("is_copy", [False, True])
def test_an_archive_or_a_copy_put_in_the_live_ones_place_keeps_its_number_and_gets_no_more_lines(
    tmp_path, start, said, is_copy
):
    log = start()
    write(log)
    log.rotate()
    write(log)
    other = tmp_path / "other"
    if is_copy:
        subprocess.run(["cp", "-a", log.path, other], check=True)
    else:
        os.rename(tmp_path / "server.log.1", other)
    os.rename(other, log.path)
    log.reopen()
    write(log)
    number = 2 if is_copy else 1
    assert numbers(tmp_path)[""] == 3
    assert numbers(tmp_path)[".1"] == number
    assert (tmp_path / "server.log.1").read_bytes() == log.path.read_bytes() == LINE


def test_a_file_of_another_log_in_the_live_ones_place_gets_the_next_number(tmp_path, start):
    log = start()
    make(tmp_path / "other", 77, log="ffffffffffff")
    os.rename(tmp_path / "other", log.path)
    log.reopen()
    assert log.identity.segment == 2
    assert numbers(tmp_path) == {"": 2}


# Files that are not trusted any more


def test_a_file_set_aside_says_how_much_of_it_is_durable(tmp_path):
    harness = Harness(tmp_path, PatientStorage())
    harness.send(error(1))
    harness.storage.finish()
    harness.send(error(2))
    harness.storage.end_one(EIO)
    harness.storage.finish()
    harness.close()
    aside = tmp_path / "server.log.distrusted.1"
    assert durable_size_of(aside) == len(error(1)) + 1
    assert numbers(tmp_path) == {"": 2, ".distrusted.1": 1}
    assert durable_size_of(tmp_path / "server.log") is None


@pytest.mark.parametrize("is_killed", [False, True])
def test_files_that_a_failed_sync_covered_say_at_once_what_is_durable(tmp_path, is_killed):
    """`fastlog ship` may open them before another file has taken the live one's place, or the server is killed."""

    class NoNewFiles(PatientStorage):
        def create(self, path):
            if is_killed and self.is_failing:
                raise EIO
            return super().create(path)

        is_failing = False

    harness = Harness(tmp_path, NoNewFiles(), limit=2 * len(error(1)) + 2)
    size = len(error(1)) + 1
    harness.send(error(1))
    harness.storage.finish()
    harness.send(error(2), error(3))  # over a rotation
    harness.storage.is_failing = True
    harness.storage.end_one(EIO)
    assert numbers(tmp_path) == {"": 2, ".1": 1}
    assert durable_size_of(tmp_path / "server.log.1") == size
    assert durable_size_of(tmp_path / "server.log") == 0
    if is_killed:
        harness.kill()
        harness = Harness(tmp_path, PatientStorage())
    harness.storage.finish()
    harness.close()
    assert numbers(tmp_path) == {"": 3, ".1": 1, ".distrusted.1": 2}
    assert durable_size_of(tmp_path / "server.log.distrusted.1") == 0
    assert durable_size_of(tmp_path / "server.log") is None


def test_a_start_whose_sync_fails_says_nothing_of_what_it_found(tmp_path, start):
    class Failing(Storage):
        def sync(self, files, directory, done):
            done(EIO)

    write(start())
    with pytest.raises(OSError, match="Input"):
        start(storage=Failing())
    assert durable_size_of(tmp_path / "server.log") is None


def test_lines_that_came_during_a_sync_are_not_durable(tmp_path):
    harness = Harness(tmp_path, PatientStorage())
    harness.send(error(1))
    harness.send(info(2))
    harness.storage.end_one()
    harness.storage.write_failure = EIO
    harness.send(info(3))
    harness.storage.finish()
    harness.close()
    assert durable_size_of(tmp_path / "server.log.distrusted.1") == len(error(1)) + 1


def test_what_a_start_has_synced_is_durable(tmp_path):
    make(tmp_path / "server.log", 3)
    harness = Harness(tmp_path, PatientStorage())
    harness.storage.write_failure = EIO
    harness.send(error(1))
    harness.storage.finish()
    harness.close()
    assert durable_size_of(tmp_path / "server.log.distrusted.1") == len(LINE)


def test_a_start_sets_aside_what_a_crash_kept_from_it(tmp_path, start):
    """The power was cut when the attribute was set, and before the file was renamed."""
    path = make(tmp_path / "server.log", 4, 3 * LINE)
    os.setxattr(path, DURABLE_ATTRIBUTE, b"5")
    log = start()
    write(log)
    assert numbers(tmp_path) == {"": 5, ".distrusted.1": 4}
    assert (tmp_path / "server.log.distrusted.1").read_bytes() == 3 * LINE
    assert durable_size_of(tmp_path / "server.log.distrusted.1") == 5
    assert log.path.read_bytes() == LINE


def test_a_start_that_cannot_set_it_aside_continues_in_it(tmp_path, start, said):
    path = make(tmp_path / "server.log", 4)
    os.setxattr(path, DURABLE_ATTRIBUTE, b"5")

    class Failing(Storage):
        def create(self, path):
            raise EIO

    write(start(storage=Failing()))
    assert path.read_bytes() == 2 * LINE
    assert any("cannot set" in message for message in said)


def test_a_disk_that_fails_again_and_again_leaves_files_with_identities(tmp_path, start, monkeypatch):
    monkeypatch.setattr(names, "DISTRUSTED_MAX", 1)
    log = start()
    for number in range(3):
        write(log, b"%d\n" % number)
        log.replace([bytearray(LINE)], lambda failure: None)
    assert numbers(tmp_path) == {"": 4, ".1": 3, ".2": 2, ".distrusted.1": 1}
    assert durable_size_of(tmp_path / "server.log.1") == len(LINE)  # the new file was synced, what came later was not


# Repairs


def test_a_repaired_file_is_the_same_one(tmp_path, start):
    make(tmp_path / "server.log", 3, info(1) + b"\n" + bytes(30) + info(2) + b"\n")
    aside = make(tmp_path / "server.log.distrusted.1", 2, info(3) + b"\n" + bytes(30) + info(4) + b"\n")
    os.setxattr(aside, DURABLE_ATTRIBUTE, b"%d" % (len(info(3)) + 1))
    inodes = {path.stat().st_ino for path in tmp_path.iterdir()}
    start()
    assert inodes.isdisjoint(path.stat().st_ino for path in tmp_path.glob("server.log*"))
    assert numbers(tmp_path) == {"": 3, ".distrusted.1": 2}
    assert durable_size_of(aside) == len(info(3)) + 1


def test_a_repaired_file_that_cannot_get_its_attributes_is_not_replaced(tmp_path, start):
    make(tmp_path / "server.log", 3, info(1) + b"\n" + bytes(30) + info(2) + b"\n")
    inode = (tmp_path / "server.log").stat().st_ino
    start(storage=Refusing(errno.ENOSPC))
    assert (tmp_path / "server.log").stat().st_ino == inode
    assert b"\0" not in (tmp_path / "server.log").read_bytes()
    assert numbers(tmp_path) == {"": 3}


# Where there are no attributes


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EPERM, errno.ENOSPC, errno.ENOSYS])
def test_without_attributes_the_server_runs_as_before_and_says_so_once(tmp_path, start, said, number):
    log = start(limit=5, storage=Refusing(number))
    write(log, 4 * LINE)
    assert log.identity is None
    log.replace([bytearray(LINE)], lambda failure: None)
    os.truncate(log.path, 0)
    log.reopen()
    write(log)
    assert numbers(tmp_path) == dict.fromkeys(["", ".1", ".2", ".3", ".distrusted.1"])
    assert [message for message in said if "identity" in message] == [
        f"{log.path} gets no identity: {os.strerror(number)}; `fastlog ship` cannot ship it"
    ]


def test_attributes_that_work_again_are_set_again(tmp_path, start, said):
    storage = Refusing()
    log = start(limit=5, storage=storage)
    write(log, 2 * LINE)
    storage.number = errno.ENOSPC
    write(log, LINE)
    assert log.identity is None
    storage.number = 0
    write(log, LINE)
    assert numbers(tmp_path) == {"": 4, ".1": 3, ".2": 2, ".3": 1}
