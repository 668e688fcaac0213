"""Archives that the server compresses while they are shipped: the same lines, at the same positions, each once; and
those that are damaged."""

import os
import shutil
import subprocess
import sys

import pytest

from fastlog.archive import text_sizes, writer
from fastlog.archive.index import read_index
from fastlog.segments import Identity, Position
from fastlog.ship import files as ship_files
from fastlog.ship import shipper
from fastlog.ship.compressed_file import CompressedFile
from fastlog.ship.files import LogFiles
from tests.helpers.archives import compress_archive
from tests.helpers.shipping import LOG, Recorder, append, catch_up, make_segment, rotate, ship_all

LINE_BYTES = 20
FRAME_LINES = 10
FRAME_BYTES = FRAME_LINES * LINE_BYTES


@pytest.fixture(autouse=True)
def small_frames(monkeypatch):
    monkeypatch.setattr(writer, "FRAME_BYTES", FRAME_BYTES)


@pytest.fixture
def impatient(monkeypatch):
    """What cannot be read is given up at once."""
    monkeypatch.setattr(shipper, "READ_PATIENCE_SEC", 0.0)


@pytest.fixture
def says_copies(monkeypatch, capfd):
    """What the shipper prints; that a file is a copy it would say at once."""
    monkeypatch.setattr(ship_files, "COPY_SAID_SEC", 0.0)
    return lambda: capfd.readouterr().err


def lines(first, last):
    return b"".join(b"%0*d\n" % (LINE_BYTES - 1, number) for number in range(first, last))


def archive_of(live, number, segment, text):
    return compress_archive(make_segment(live.with_name(f"server.log.{number}"), segment, text))


def frames_of(path):
    with open(path, "rb") as file:
        return read_index(file.fileno()).frames


def damage(path, *numbers):
    """Of these frames, a byte in the middle is another one."""
    content = bytearray(path.read_bytes())
    for frame in (frames_of(path)[number] for number in numbers):
        content[frame.at + frame.stored // 2] ^= 0xFF
    state = path.stat()
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def test_compressed_archives_are_files_of_the_log_with_the_sizes_of_their_texts(live):
    archive_of(live, 3, 1, lines(0, 25))
    make_segment(live.with_name("server.log.2"), 2, lines(25, 30))
    archive_of(live, 1, 3, b"")
    make_segment(live, 4, b"live\n")
    listing = LogFiles(live).now()
    assert list(listing.sizes.items()) == [(1, 500), (2, 100), (3, 0), (4, 5)]
    assert [os.path.basename(path) for path in listing.segments.values()] == [
        "server.log.3.zst", "server.log.2", "server.log.1.zst", "server.log",
    ]  # fmt: skip
    assert listing.lag(Position(LOG, 1, 480)) == 20 + 100 + 5


def test_logs_of_both_forms_are_shipped_whole(live):
    archive_of(live, 4, 1, lines(0, 95))
    make_segment(live.with_name("server.log.3"), 2, lines(95, 100))
    archive_of(live, 2, 3, b"")
    archive_of(live, 1, 4, lines(100, 110))
    make_segment(live, 5, lines(110, 120))
    sink = Recorder()
    made = ship_all(live, sink, batch_bytes=3 * LINE_BYTES)
    assert sink.text == lines(0, 120)
    assert made.account.lines == 120
    assert sink.position == Position(LOG, 5, 10 * LINE_BYTES)


def test_any_part_of_the_text_is_read(live, closing):
    text = b"".join(b"%d\n" % 10**number for number in range(40))
    archive_of(live, 1, 1, text)
    make_segment(live, 2)
    file = closing(LogFiles(live).open(Identity(LOG, 1)))
    assert isinstance(file, CompressedFile)
    assert len(frames_of(file.path)) > 3
    for offset in range(len(text) + 2):
        for size in (0, 1, 7, 150, FRAME_BYTES, 3 * FRAME_BYTES, len(text) + 1):
            assert file.read(size, offset) == text[offset : offset + size]
    assert file.size() == len(text)


def test_only_two_frames_are_kept_and_each_is_unpacked_once(live, closing, monkeypatch):
    archive_of(live, 1, 1, lines(0, 200))
    make_segment(live, 2)
    file = closing(LogFiles(live).open(Identity(LOG, 1)))
    reads = []
    pread = os.pread
    file.size()
    monkeypatch.setattr(os, "pread", lambda fd, size, offset: (reads.append(offset), pread(fd, size, offset))[1])
    for offset in range(0, 200 * LINE_BYTES, 30):
        file.read(50, offset)
        assert len(file._texts) <= 2
    assert len(reads) == 20


@pytest.mark.parametrize("shipped", [0, 1, 10, 11, 40, 41])
def test_shipping_continues_in_the_compressed_archive(live, begin, shipped, says_copies):
    """The server has removed the original, which the shipper had open."""
    make_segment(live, 1, lines(0, shipped))
    sink = Recorder()
    made = begin(live, sink)
    catch_up(made)
    append(live, lines(shipped, 41))
    rotate(live, 2, lines(41, 50))
    compress_archive(live.with_name("server.log.1"))
    rotate(live, 3, lines(50, 60))
    os.rename(live.with_name("server.log.1.zst"), live.with_name("server.log.2.zst"))
    catch_up(made)
    assert sink.text == lines(0, 60)
    assert not says_copies()
    assert not made.problem


def test_of_an_archive_and_its_compressed_form_the_plain_one_counts_and_nothing_is_said(live, begin, says_copies):
    make_segment(live, 1, lines(0, 25))
    sink = Recorder()
    made = begin(live, sink)
    rotate(live, 2, lines(25, 30))
    plain = live.with_name("server.log.1")
    compressed = compress_archive(plain, keep=True)
    assert LogFiles(live).now().segments[1] == str(plain)
    os.rename(compressed, live.with_name("server.log.2.zst"))  # in the midst of a rotation
    for _ in range(2):
        assert LogFiles(live).now().segments[1] == str(plain)
    catch_up(made)
    plain.unlink()
    made._files.now()
    assert sink.text == lines(0, 30)
    assert not says_copies()


def test_the_copy_of_a_compressed_archive_is_not_shipped_again(live, says_copies):
    archive = archive_of(live, 1, 1, lines(0, 25))
    shutil.copy2(archive, live.with_name("server.log.old.zst"))  # which copies attributes as well
    make_segment(live, 2, lines(25, 30))
    sink = Recorder()
    ship_all(live, sink)
    assert sink.text == lines(0, 30)
    assert "server.log.old.zst has the identity of" in says_copies()


def test_compressed_archives_of_others_are_not_of_the_log(live):
    os.removexattr(archive_of(live, 1, 1, lines(0, 25)), "user.fastlog")
    make_segment(live, 2, lines(25, 30))
    sink = Recorder()
    ship_all(live, sink)
    assert sink.text == lines(25, 30)


def test_each_archive_is_opened_once_whatever_it_is_called_then(live, monkeypatch):
    for segment in range(1, 50):
        archive_of(live, 100 - segment, segment, lines(0, segment))
    make_segment(live, 50)
    files = LogFiles(live)
    before = files.now()
    monkeypatch.setattr(text_sizes, "open_to_read", pytest.fail)
    for segment in range(1, 50):
        os.rename(live.with_name(f"server.log.{100 - segment}.zst"), live.with_name(f"server.log.{200 - segment}.zst"))
    after = files.now()
    assert after.sizes == before.sizes == {segment: segment * LINE_BYTES for segment in range(1, 50)} | {50: 0}
    assert after.segments[1].endswith(".199.zst")


def test_a_size_is_not_taken_for_that_of_another_file(live, monkeypatch):
    """A rotation gives the name to another archive between two looks at it."""
    archive_of(live, 2, 1, lines(0, 10))
    archive_of(live, 1, 2, lines(0, 20))
    make_segment(live, 3)
    one, two, three = (live.with_name(f"server.log.{number}.zst") for number in (1, 2, 3))
    opens, done = text_sizes.open_to_read, []

    def rotate_before(path):
        if not done:
            done.append(os.rename(two, three))
            os.rename(one, two)
        return opens(path)

    monkeypatch.setattr(text_sizes, "open_to_read", rotate_before)
    assert LogFiles(live).now().sizes == {1: 10 * LINE_BYTES, 2: 20 * LINE_BYTES, 3: 0}


def test_what_is_damaged_is_waited_for_and_said_in_the_note(live, begin, capfd):
    archive = archive_of(live, 1, 1, lines(0, 50))
    backup = shutil.copy2(archive, live.parent / "backup")
    damage(archive, 2)
    make_segment(live, 2, lines(50, 60))
    sink = Recorder()
    made = begin(live, sink)
    catch_up(made)
    assert sink.text == lines(0, 20)
    assert "server.log.1.zst: it cannot be unpacked: bytes 400 to 600 of its text: " in made.problem
    os.replace(backup, archive)
    catch_up(made)
    assert sink.text == lines(0, 60)
    assert not made.problem
    assert "left out" not in capfd.readouterr().err


@pytest.mark.parametrize("numbers", [(0,), (2,), (1, 2, 3), (1, 3), (4,), (0, 1, 2, 3, 4)])
def test_of_a_damaged_archive_all_is_shipped_that_can_be_unpacked(live, impatient, capfd, numbers):
    damage(archive_of(live, 1, 1, lines(0, 50)), *numbers)
    make_segment(live, 2, lines(50, 60))
    sink = Recorder()
    made = ship_all(live, sink, batch_bytes=7 * LINE_BYTES)
    good = [number for number in range(5) if number not in numbers]
    assert sink.text == b"".join(lines(10 * number, 10 * number + 10) for number in good) + lines(50, 60)
    assert made.account.left_out_lines == 10 * len(numbers)
    said = capfd.readouterr().err
    begin = numbers[0] * FRAME_BYTES
    assert f"segment 1 (server.log.1.zst) cannot be unpacked from byte {begin} of its text on: " in said
    assert f"left out {10 * len(numbers)} lines" in said


def test_shipping_continues_behind_what_was_left_out(live, impatient, capfd):
    """Also where the shipper was ended right there."""
    damage(archive_of(live, 1, 1, lines(0, 50)), 1, 2)
    make_segment(live, 2, lines(50, 60))
    sink = Recorder(Position(LOG, 1, 3 * FRAME_BYTES))
    ship_all(live, sink)
    assert sink.text == lines(30, 60)
    assert "left out" not in capfd.readouterr().err


@pytest.mark.parametrize("offset", [0, 5 * LINE_BYTES])
@pytest.mark.parametrize("kept", [0, 4, 100])
def test_an_archive_without_its_end_is_left_out_and_said(live, impatient, capfd, kept, offset):
    os.truncate(archive_of(live, 1, 1, lines(0, 50)), kept)
    make_segment(live, 2, lines(50, 60))
    assert LogFiles(live).now().sizes[1] == kept  # of the lag, at least that is known
    sink = Recorder(Position(LOG, 1, offset) if offset else None)
    ship_all(live, sink)
    assert sink.text == lines(50, 60)
    said = capfd.readouterr().err
    assert "segment 1 (server.log.1.zst) cannot be synced or read: it cannot be unpacked: " in said
    assert f"{kept} bytes are left out, nobody knows how many lines" in said or not kept


def test_a_whole_file_is_preferred_to_a_broken_one(live, impatient):
    broken = archive_of(live, 1, 1, lines(0, 50))
    os.truncate(broken, os.path.getsize(broken) - 1)
    make_segment(live.with_name("server.log.kept"), 1, lines(0, 50))
    make_segment(live, 2)
    sink = Recorder()
    ship_all(live, sink)
    assert sink.text == lines(0, 50)


def test_a_disk_that_fails_to_read_a_frame_costs_that_one(live, impatient, monkeypatch):
    archive = archive_of(live, 1, 1, lines(0, 50))
    bad = frames_of(archive)[3].at
    make_segment(live, 2, lines(50, 60))
    pread = os.pread

    def fails(fd, size, offset):
        if offset == bad and os.path.samestat(os.fstat(fd), archive.stat()):
            raise OSError(5, "Input/output error")
        return pread(fd, size, offset)

    monkeypatch.setattr(os, "pread", fails)
    sink = Recorder()
    made = ship_all(live, sink)
    assert sink.text == lines(0, 30) + lines(40, 60)
    assert made.account.left_out_lines == 10


def test_garbage_without_line_feeds_is_passed_over_as_in_a_plain_archive(live, monkeypatch):
    """It is longer than a frame, and than any line."""
    garbage = b"x" * (LINE_BYTES * 100)
    monkeypatch.setattr("fastlog.ship.reader.LONGEST_BYTES", 10 * LINE_BYTES)
    archive_of(live, 1, 1, lines(0, 15) + garbage + b"\n" + lines(15, 30))
    make_segment(live, 2)
    sink = Recorder()
    made = ship_all(live, sink, batch_bytes=3 * LINE_BYTES)
    assert sink.text == lines(0, 30)
    assert made.account.refused == 1


def test_zeros_in_a_compressed_archive_hold_nothing_up(live):
    """Nobody repairs them any more."""
    text = lines(0, 5) + bytes(30) + b"\n" + lines(5, 10)
    archive_of(live, 1, 1, text)
    make_segment(live, 2, lines(10, 12))
    sink = Recorder()
    ship_all(live, sink)
    assert sink.text == text + lines(10, 12)


def test_a_log_without_compressed_archives_does_not_load_the_library(live):
    make_segment(live.with_name("server.log.1"), 1, b"one\n")
    make_segment(live, 2, b"two\n")
    program = """
import sys
from pathlib import Path
from tests.helpers.shipping import Recorder, ship_all
sink = Recorder()
ship_all(Path(sys.argv[1]), sink)
assert sink.text == b"one\\ntwo\\n"
assert not [name for name in sys.modules if "zstd" in name]
"""
    subprocess.run([sys.executable, "-c", program, live], check=True)
