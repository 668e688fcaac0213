"""What a start remembers of archives that are compressed, by the server or by other programs."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastlog.archive import frames, index, writer, zstd
from fastlog.server import found_compressed
from fastlog.server.found_files import newest_lines
from fastlog.server.repair import repair_all
from fastlog.server.storage import Storage
from tests.helpers.archives import compress_archive
from tests.helpers.disk import Harness, PatientStorage
from tests.helpers.randomness import Random

FRAME_BYTES = 1000
TIMED = b'{"level":"ERROR","message":"m","sequence":1,"timestamp":"2026-11-24T07:00:00.5Z"}'
ROOT = Path(__file__).parents[2]


def plain(path):
    return path


def gzipped(path):
    return replaced(path, ".gz", gzip.compress(path.read_bytes()))


def zipped_by_zstd(path):
    return replaced(path, ".zst", zstd.compress(path.read_bytes()))


def zipped_in_two(path):
    """As a program does that appends to what it has compressed."""
    text = path.read_bytes()
    return replaced(path, ".gz", gzip.compress(text[:7]) + gzip.compress(text[7:]))


def replaced(path, ending, content):
    compressed = path.with_name(path.name + ending)
    compressed.write_bytes(content)
    os.utime(compressed, ns=(0, path.stat().st_mtime_ns))
    path.unlink()
    return compressed


FORMS = [plain, compress_archive, gzipped, zipped_by_zstd, zipped_in_two]


def lines(first, count, level="INFO"):
    return b"".join(b'{"level":"%s","message":"%d"}\n' % (level.encode(), first + number) for number in range(count))


def put(directory, name, content, age_sec):
    path = directory / name
    path.write_bytes(content)
    os.utime(path, (10**9 - age_sec, 10**9 - age_sec))
    return path


def remembered(directory, most_bytes=1 << 20, levels=None, storage=None):
    return b"".join(map(bytes, newest_lines(storage or Storage(), directory / "server.log", most_bytes, levels)))


@pytest.fixture
def small_frames(monkeypatch):
    monkeypatch.setattr(writer, "FRAME_BYTES", FRAME_BYTES)
    monkeypatch.setattr(found_compressed, "BLOCK_BYTES", FRAME_BYTES)


@pytest.fixture
def unpacked(monkeypatch):
    """The frames that were unpacked."""
    found = []
    read_frame = frames.read_frame
    monkeypatch.setattr(found_compressed, "read_frame", lambda fd, frame: found.append(frame) or read_frame(fd, frame))
    return found


def test_archives_are_remembered_in_whatever_form(tmp_path):
    """Each form beside each, and in the order of their age."""
    expected = []
    names = [".1", ".2", ".3", "-20261124", "-20261123", ".4", ".5", "-20261122_1", ".6", ".7"]
    for age, (name, form) in enumerate(zip(names, FORMS * 2, strict=True)):
        expected.append(lines(age, 5))
        form(put(tmp_path, f"server.log{name}", expected[-1], age + 1))
    put(tmp_path, "server.log", b"live\n", 99)
    assert remembered(tmp_path) == b"".join(reversed(expected)) + b"live\n"


@pytest.mark.parametrize("form", FORMS)
def test_the_newest_bytes_are_remembered_and_only_whole_lines(tmp_path, small_frames, form):
    rng = Random()
    text = b"".join(b'{"level":"INFO","message":"%0*d"}\n' % (rng.randrange(1, 99), number) for number in range(500))
    form(put(tmp_path, "server.log.1", text, 1))
    form(put(tmp_path, "server.log.2", b"older\n", 2))
    live = lines(0, 10)
    put(tmp_path, "server.log", live, 0)
    for most_bytes in (1, len(live), len(live) + 1, len(live) + 5000, len(live) + len(text)):
        found = remembered(tmp_path, most_bytes)
        assert (text + live).endswith(found)
        missing = (text + live)[: -len(found)]
        assert missing == b"" or missing.endswith(b"\n")
        assert len(found) >= min(most_bytes, len(text + live)) - 200  # the line in which they begin
        assert len(found) <= most_bytes + FRAME_BYTES
    assert remembered(tmp_path, len(live) + len(text) + 6) == b"older\n" + text + live


def test_of_an_archive_only_the_newest_frames_are_unpacked(tmp_path, small_frames, unpacked):
    text = lines(0, 1000)
    compress_archive(put(tmp_path, "server.log.1", text, 1))
    assert text.endswith(remembered(tmp_path, 4500))
    assert sum(frame.size for frame in unpacked) <= 4500 + FRAME_BYTES


def test_frames_without_a_wanted_level_are_not_unpacked(tmp_path, small_frames, unpacked):
    """No entry of a wanted level is missed, whatever stands between."""
    rng = Random()
    text = b"".join(
        lines(number, 1, rng.choices(["INFO", "ERROR", "CRITICAL"], [500, 1, 1])[0]) for number in range(5000)
    )
    compress_archive(put(tmp_path, "server.log.1", text + b"not an entry\n", 1))
    for levels in ({"ERROR"}, {"ERROR", "CRITICAL"}, set()):
        unpacked.clear()
        found = remembered(tmp_path, levels=levels)
        wanted = [line for line in text.splitlines() if any(level.encode() in line for level in levels)]
        assert [line for line in found.splitlines() if line in set(wanted)] == wanted
        assert len(unpacked) <= len(wanted) < 100


def test_a_plain_archive_is_in_force_beside_its_compressed_form(tmp_path):
    for name, form in ((".1", compress_archive), (".2", gzipped)):
        path = put(tmp_path, f"server.log{name}", b"old\n", 1)
        form(path)
        put(tmp_path, f"server.log{name}", b"new\n", 1)
    assert remembered(tmp_path) == b"new\nnew\n"


def damage_a_frame(path):
    with open(path, "r+b") as file:
        frame = index.read_index(file.fileno()).frames[2]
        file.seek(frame.at + 8)
        file.write(bytes(frame.stored - 8))


def test_a_damaged_frame_is_said_and_the_others_are_remembered(tmp_path, small_frames, capfd):
    text = lines(0, 200)
    path = compress_archive(put(tmp_path, "server.log.1", text, 1))
    damage_a_frame(path)
    put(tmp_path, "server.log", b"live\n", 0)
    found = remembered(tmp_path)
    assert len(text) - FRAME_BYTES <= len(found) - len(b"live\n") < len(text)
    assert set(found.splitlines()) < {*text.splitlines(), b"live"}
    said = capfd.readouterr().err
    assert said.count(f"cannot read {path}: ") == 1
    assert "what it holds is stored again if it is sent again" in said


@pytest.mark.parametrize("form", FORMS[1:])
@pytest.mark.parametrize("damage", ["cut", "empty", "zeros", "text", "end"])
def test_a_damaged_archive_is_said_and_left_out(tmp_path, capfd, form, damage):
    """It never ends the start."""
    path = form(put(tmp_path, "server.log.1", lines(0, 200), 1))
    content = path.read_bytes()
    path.write_bytes(
        {
            "cut": content[: len(content) // 2],
            "empty": b"",
            "zeros": bytes(len(content)),
            "text": lines(0, 3),
            "end": content[:-9] + bytes(9),
        }[damage]
    )
    put(tmp_path, "server.log", b"live\n", 0)
    found = remembered(tmp_path)
    assert found.endswith(b"live\n")
    if damage != "empty" and found == b"live\n":
        assert f"cannot read {path}: " in capfd.readouterr().err


def test_bytes_changed_anywhere_in_an_archive_never_end_the_start(tmp_path, small_frames):
    rng = Random()
    path = compress_archive(put(tmp_path, "server.log.1", lines(0, 100) + lines(100, 1, "ERROR"), 1))
    content = path.read_bytes()
    put(tmp_path, "server.log", b"live\n", 0)
    for _ in range(300):
        changed = bytearray(content)
        for _ in range(rng.randrange(1, 4)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        path.write_bytes(changed)
        assert remembered(tmp_path, levels={"ERROR"}).endswith(b"live\n")


@pytest.mark.parametrize("form", [gzipped, zipped_by_zstd])
@pytest.mark.parametrize("limit", ["STREAM_MAX_BYTES", "UNPACKED_MAX_BYTES"])
def test_a_large_file_of_another_program_is_said_and_left_out(tmp_path, monkeypatch, capfd, form, limit):
    path = form(put(tmp_path, "server.log.1", lines(0, 500), 1))
    monkeypatch.setattr(found_compressed, limit, 50)
    put(tmp_path, "server.log", b"live\n", 0)
    assert remembered(tmp_path) == b"live\n"
    assert f"cannot read {path}: its text is too large" in capfd.readouterr().err.replace("it is", "its text is")


def test_what_cannot_be_synced_or_opened_is_said_and_left_out(tmp_path, capfd):
    class Failing(Storage):
        def sync_now(self, files, directory=None):
            raise OSError(5, "Input/output error")

    paths = [form(put(tmp_path, f"server.log.{age}", lines(0, 5), age)) for age, form in enumerate(FORMS[1:], 1)]
    assert remembered(tmp_path, storage=Failing()) == b""
    said = capfd.readouterr().err
    assert all(f"cannot read {path}: Input/output error" in said for path in paths)


def test_a_compressed_archive_is_not_repaired(tmp_path):
    path = put(tmp_path, "server.log.1.zst", b"one\n" + bytes(4096) + b"no end", 1)
    live = put(tmp_path, "server.log", b"live\n", 0)
    fd = os.open(live, os.O_RDWR)
    directory_fd = os.open(tmp_path, os.O_RDONLY)
    try:
        assert repair_all(Storage(), live, fd, directory_fd) == 0
    finally:
        os.close(fd)
        os.close(directory_fd)
    assert path.read_bytes() == b"one\n" + bytes(4096) + b"no end"


@pytest.mark.parametrize("form", FORMS)
def test_a_retransmission_is_known_after_the_original_was_compressed(tmp_path, closing, form):
    form(put(tmp_path, "server.log.1", lines(0, 1000) + TIMED + b"\n" + lines(0, 1000), 1))
    harness = closing(Harness(tmp_path, PatientStorage()))
    harness.send(TIMED, TIMED.replace(b"1", b"2"))
    assert harness.intake.duplicates == 1


def test_without_compressed_archives_nothing_is_loaded_that_unpacks(tmp_path):
    put(tmp_path, "server.log", lines(0, 3), 0)
    put(tmp_path, "server.log.1", lines(0, 3), 1)
    program = (
        "import sys; from pathlib import Path; from fastlog.server.logfile import LogFile; "
        "from fastlog.server.storage import Storage; import fastlog.server.server; "
        "log = LogFile(Storage(), Path(sys.argv[1]), 'server.log', 1000, 3, hold_bytes=0); "
        "list(log.newest(1000, ['ERROR'])); log.close(); "
        "print([name for name in sys.modules if 'zstd' in name])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, tmp_path], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert ran.stdout == "[]\n"
