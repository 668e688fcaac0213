"""How a compressed archive takes the place of a plain one, whatever fails or happens meanwhile."""

import errno
import os
from pathlib import Path
from time import monotonic

import pytest

from fastlog.archive.writer import compress
from fastlog.segments import ATTRIBUTE, identity_of
from fastlog.server.compression import RETRY_SEC
from fastlog.server.logfile import LogFile
from fastlog.server.storage import Storage
from tests.helpers.archives import text_of
from tests.helpers.compressing import compressing
from tests.helpers.disk import EIO, Harness, NoNameSyncsStorage, PatientStorage, UnwritableStorage, error, info
from tests.helpers.shipping import LOG, make_segment

LIVE = "server.log"
LIMIT = 10_000
SOON = 2.0  # seconds: until the first look


@pytest.fixture
def begin(tmp_path, closing):
    """A server with so many archives, of which the newest one is being compressed."""

    def begin(archives=1, storage=None, **options):
        harness = closing(Harness(tmp_path, storage or PatientStorage(), limit=LIMIT, **options))
        harness.number = 0
        rotate(harness, archives)
        compression, process = compressing(harness)
        harness.later(SOON)
        return harness, compression, process

    return begin


def rotate(harness, times=1):
    for _ in range(times):
        harness.number += 1
        harness.send(info(harness.number))
        harness.log.rotate()


def look(harness, seconds=0.0):
    """As the loop has the server look, so many seconds from now."""
    harness.pipeline.compression._on_due(monotonic() + seconds)


def names(directory):
    return sorted(path.name.removeprefix(LIVE) for path in directory.iterdir())


def said(capfd):
    return capfd.readouterr().err


def test_the_original_goes_when_the_new_name_is_durable(begin, tmp_path):
    harness, compression, process = begin()
    identity = identity_of(tmp_path / "server.log.1")
    assert (compression.waiting_files, process.is_running) == (1, True)
    process.run()
    assert names(tmp_path) == ["", ".1", ".1.zst"]
    harness.storage.finish()
    assert names(tmp_path) == ["", ".1.zst"]
    assert identity_of(tmp_path / "server.log.1.zst") == identity
    look(harness)
    assert (compression.compressed_files, compression.waiting_files, compression.failure) == (1, 0, None)
    assert compression.failing_files == 0


def test_the_newest_one_comes_first_and_one_after_the_other(begin, tmp_path):
    harness, _, process = begin(3)
    process.run()
    harness.storage.finish()
    assert names(tmp_path) == ["", ".1.zst", ".2", ".3"]
    look(harness)
    process.run()
    harness.storage.finish()
    assert names(tmp_path) == ["", ".1.zst", ".2.zst", ".3"]


def test_lines_that_a_sync_has_to_make_durable_are_not_compressed(begin, tmp_path):
    harness, _, process = begin(0)
    harness.send(error(1), info(2))
    harness.log.rotate()
    look(harness)
    assert names(tmp_path) == ["", ".1"]
    assert not process.is_running
    harness.storage.finish()
    look(harness)
    assert process.is_running


def test_an_archive_of_which_a_sync_has_failed_is_not_compressed(begin, tmp_path):
    """The disk may not have what is read of it."""
    harness, compression, process = begin(0)
    harness.send(error(1), info(2))
    harness.log.rotate()
    harness.storage.end_one(EIO)
    harness.storage.finish()
    rotate(harness)
    look(harness, RETRY_SEC)
    process.run()
    harness.storage.finish()
    look(harness, 2 * RETRY_SEC)
    assert ".1.zst" in names(tmp_path)
    assert {".2", ".2.zst"} & set(names(tmp_path)) == {".2"}
    assert (compression.waiting_files, compression.failure) == (0, None)


@pytest.mark.parametrize("moment", ["compressing", "naming"])
def test_a_rotation_meanwhile_moves_the_archive(begin, tmp_path, moment):
    harness, compression, process = begin()
    if moment == "naming":
        process.run()
    rotate(harness)
    if moment == "naming":
        assert names(tmp_path) == ["", ".1", ".2", ".zst.new"]
    else:
        process.run()
    harness.storage.finish()
    assert names(tmp_path) == ["", ".1", ".2.zst"]
    assert compression.compressed_files == 1


@pytest.mark.parametrize("moment", ["compressing", "naming"])
def test_another_program_moves_the_archive_meanwhile(begin, tmp_path, moment):
    harness, _, process = begin()
    original = (tmp_path / "server.log.1").read_bytes()
    if moment == "naming":
        process.run()
    os.rename(tmp_path / "server.log.1", tmp_path / "server.log.2")
    (tmp_path / "server.log.1").write_bytes(b"later\n")
    if moment == "compressing":
        process.run()
    harness.storage.finish()
    assert names(tmp_path) == ["", ".1", ".2.zst"]
    assert text_of(tmp_path / "server.log.2.zst") == original


@pytest.mark.parametrize("moment", ["compressing", "naming"])
def test_an_archive_that_is_deleted_meanwhile_does_not_come_back(begin, tmp_path, moment):
    harness, compression, process = begin()
    if moment == "naming":
        process.run()
    (tmp_path / "server.log.1").unlink()
    if moment == "compressing":
        process.run()
    harness.storage.finish()
    assert names(tmp_path) == [""]
    assert compression.failure is None


def test_an_archive_that_is_deleted_takes_no_room_any_more(begin, tmp_path):
    harness, _, process = begin()
    (tmp_path / "server.log.1").unlink()
    look(harness)
    assert names(tmp_path) == [""]
    assert not process.is_running


def fails(harness, compression, tmp_path, capfd, reason):
    """It is said once, the original stays, and after a while there is another attempt."""
    assert names(tmp_path) == ["", ".1"]
    assert (compression.failure, compression.failing_files) == (reason, 1)
    assert compression.compressed_files == 0
    assert said(capfd).count(f"cannot compress {tmp_path}/server.log.1: {reason}; it stays as it is") == 1
    process = compression._compressor
    look(harness, RETRY_SEC / 2)
    assert not process.is_running
    look(harness, RETRY_SEC + SOON)
    assert process.is_running


def succeeds(harness, compression, tmp_path, capfd):
    compression._compressor.run()
    harness.storage.finish()
    assert names(tmp_path) == ["", ".1.zst"]
    assert compression.failure is None
    assert "are compressed again" in said(capfd)


def test_a_process_that_fails_is_tried_again(begin, tmp_path, capfd):
    harness, compression, process = begin()
    process.run("No space left on device")
    fails(harness, compression, tmp_path, capfd, "No space left on device")
    process.run("No space left on device")
    assert "cannot" not in said(capfd)
    look(harness, 2 * RETRY_SEC)
    succeeds(harness, compression, tmp_path, capfd)


def test_the_sync_of_the_directory_fails(begin, tmp_path, capfd):
    harness, compression, process = begin(storage=NoNameSyncsStorage())
    harness.storage.fails = True
    process.run()
    harness.storage.finish()
    harness.storage.fails = False
    fails(harness, compression, tmp_path, capfd, f"cannot sync {tmp_path}: Input/output error")
    succeeds(harness, compression, tmp_path, capfd)


@pytest.mark.parametrize("call", ["rename", "unlink", "create"])
def test_a_change_of_names_fails(begin, tmp_path, capfd, monkeypatch, call):
    real = getattr(Storage, call)

    def refuse(storage, path, *rest):
        if path.name in (("server.log.1",) if call == "unlink" else ("server.log.zst.new",)):
            raise OSError(errno.EACCES, "Permission denied")
        return real(storage, path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Storage, call, refuse)
        harness, compression, process = begin()
        if process.is_running:
            process.run()
        harness.storage.finish()
    fails(harness, compression, tmp_path, capfd, "Permission denied")
    succeeds(harness, compression, tmp_path, capfd)


def test_a_change_by_another_program_counts(begin, tmp_path, capfd):
    harness, compression, process = begin()
    with (tmp_path / "server.log.1").open("ab") as file:
        file.write(b"late\n")
    process.run()
    fails(harness, compression, tmp_path, capfd, "another program has changed it meanwhile")


def test_a_name_that_is_taken_is_left_alone(begin, tmp_path, capfd):
    harness, _, process = begin()
    (tmp_path / "server.log.1.zst").write_bytes(b"another program's")
    process.run()
    look(harness, RETRY_SEC + SOON)
    look(harness, RETRY_SEC + SOON)
    rotate(harness)
    look(harness, RETRY_SEC + SOON)
    assert (tmp_path / "server.log.2.zst").read_bytes() == b"another program's"
    text = said(capfd)
    assert text.count("is there already, and was not made of it") == 1
    process.run()
    harness.storage.finish()
    assert names(tmp_path) == ["", ".1.zst", ".2", ".2.zst"]


def test_on_a_full_disk_the_new_file_gives_way(begin, tmp_path, capfd):
    storage = UnwritableStorage()
    harness, compression, process = begin(storage=storage)
    storage.failure = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    harness.send(info(9))
    storage.failure = None
    harness.retry()
    assert not process.is_running
    fails(harness, compression, tmp_path, capfd, "No space left on device")


def test_one_that_cannot_be_compressed_does_not_keep_the_others(begin, tmp_path):
    harness, compression, process = begin(3)
    process.run("it cannot be read")
    for _ in range(2):
        look(harness, RETRY_SEC + SOON)
        process.run()
        harness.storage.finish()
    assert names(tmp_path) == ["", ".1", ".2.zst", ".3.zst"]
    assert compression.failure == "it cannot be read"
    look(harness, RETRY_SEC + SOON)
    process.run()
    harness.storage.finish()
    assert names(tmp_path) == ["", ".1.zst", ".2.zst", ".3.zst"]
    assert compression.failure is None


def test_the_end_leaves_nothing(begin, tmp_path):
    harness, _, _ = begin()
    assert ".zst.new" in names(tmp_path)
    harness.pipeline.stop_compressing()
    assert names(tmp_path) == ["", ".1"]


# Archives in either form


def test_a_rotation_moves_both_forms_and_the_oldest_goes(tmp_path):
    for number, ending in ((1, ".zst"), (2, ""), (3, ".zst")):
        (tmp_path / f"server.log.{number}{ending}").write_bytes(b"%d\n" % number)
    log = LogFile(Storage(), tmp_path, LIVE, LIMIT, 3)
    seen = []
    for _ in range(3):
        log.rotate()
        seen.append(names(tmp_path))
    log.close()
    assert seen == [["", ".1", ".2.zst", ".3"], ["", ".1", ".2", ".3.zst"], ["", ".1", ".2", ".3"]]


def test_archives_beyond_the_limit_go_in_either_form(tmp_path):
    for number in range(1, 5):
        (tmp_path / f"server.log.{number}.zst").write_bytes(b"")
    LogFile(Storage(), tmp_path, LIVE, LIMIT, 2).close()
    assert names(tmp_path) == ["", ".1.zst", ".2.zst"]


def test_a_directory_is_passed_over(tmp_path):
    (tmp_path / "server.log.2.zst").mkdir()
    log = LogFile(Storage(), tmp_path, LIVE, LIMIT, 3)
    for _ in range(4):
        log.rotate()
    log.close()
    assert names(tmp_path) == ["", ".1", ".2.zst", ".3"]


def make_pair(directory: Path, *, plain: int | None, compressed: int | None, text: bytes = b"{}\n") -> None:
    """An archive in both forms, with these segments."""
    (directory / "server.log.1").write_bytes(b'{"level":"INFO"}\n')
    (directory / "text").write_bytes(text)
    source = os.open(directory / "text", os.O_RDONLY)
    target = os.open(directory / "server.log.1.zst", os.O_RDWR | os.O_CREAT)
    compress(source, target)
    os.close(source)
    os.close(target)
    (directory / "text").unlink()
    for ending, segment in (("", plain), (".zst", compressed)):
        if segment:
            os.setxattr(directory / f"server.log.1{ending}", ATTRIBUTE, f"{LOG}:{segment}".encode())


SAME = b'{"level":"INFO"}\n'


@pytest.mark.parametrize(
    ("pair", "is_ours"),
    [
        ({"plain": 1, "compressed": 1, "text": SAME}, True),
        ({"plain": 1, "compressed": 1, "text": SAME * 2}, False),
        ({"plain": None, "compressed": None, "text": SAME[::-1]}, False),
        ({"plain": None, "compressed": None, "text": SAME}, True),
        ({"plain": 2, "compressed": 1, "text": SAME}, False),
        ({"plain": None, "compressed": 1, "text": SAME}, False),
        ({"plain": None, "compressed": None}, False),
    ],
)
@pytest.mark.parametrize("moment", ["start", "look"])
def test_of_two_forms_only_ours_is_removed(tmp_path, closing, pair, is_ours, moment):
    make_segment(tmp_path / LIVE, 3)
    if moment == "start":
        make_pair(tmp_path, **pair)
    harness = closing(Harness(tmp_path, PatientStorage()))
    if moment == "look":
        make_pair(tmp_path, **pair)
        compressing(harness)
        look(harness)
    assert (tmp_path / "server.log.1").read_bytes() == SAME
    assert (tmp_path / "server.log.1.zst").exists() != is_ours


def test_a_name_that_is_too_long_with_an_ending_does_not_keep_the_server_from_starting(tmp_path):
    live = "x" * (os.pathconf(tmp_path, "PC_NAME_MAX") - len(".new"))
    LogFile(Storage(), tmp_path, live, LIMIT, 3).close()
    assert os.listdir(tmp_path) == [live]


def test_a_start_removes_what_was_not_finished(tmp_path):
    (tmp_path / "server.log.zst.new").write_bytes(b"half of an archive")
    LogFile(Storage(), tmp_path, LIVE, LIMIT, 3).close()
    assert names(tmp_path) == [""]
