"""`fastlog tail` and `count` over much: they read no more than they need, on any number of cores, whatever happens
meanwhile, and end at once when nobody wants the rest."""

import array
import fcntl
import json
import os
import random
import signal
import subprocess
import termios
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fastlog.logs.log_files import open_log
from fastlog.logs.open_file import OpenFile
from fastlog.logs.parts import SEARCHED_FROM_BYTES
from fastlog.logs.selected import selected
from fastlog.logs.selection import Selection, parse_window
from fastlog.segments import ATTRIBUTE
from tests.helpers.archives import compress_archive
from tests.helpers.entries import entries, lines
from tests.helpers.running import BASE_ENVIRONMENT, FASTLOG, PATIENCE_SEC, until

BEGIN = datetime(2026, 11, 24, tzinfo=UTC)
MEBIBYTE = 1 << 20
ALL = ["--log-dir", ".", "--json", "-n", "all"]


def start(directory: Path, *command: str, before=(), stdout=subprocess.PIPE) -> subprocess.Popen:
    return subprocess.Popen(
        [*before, *FASTLOG, *command], cwd=directory, env=BASE_ENVIRONMENT, stdout=stdout, stderr=subprocess.PIPE
    )


def ended(process: subprocess.Popen) -> tuple[int, bytes]:
    """The exit code, and what it said."""
    with process:
        return process.wait(PATIENCE_SEC), process.stderr.read()


# In a plain file

LINES = 20_000  # 40 MB: one a second
WRONG_CLOCKS = {"right": 0, "some-wrong": 3, "replayed": 0}  # of ten hosts


def as_text(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")


@pytest.fixture(scope="module", params=WRONG_CLOCKS)
def plain(request, tmp_path_factory) -> tuple[Path, list[tuple[bytes, datetime, bool]]]:
    """A large live file, and of each line its time and whether that is when it was written. One in ten has no time."""
    rng = random.Random(3)
    directory = tmp_path_factory.mktemp(request.param)
    written = []
    for second in range(LINES):
        host = rng.randrange(10)
        time = BEGIN + timedelta(seconds=second)
        is_right = host >= WRONG_CLOCKS[request.param]
        stamp = time if is_right else time + timedelta(hours=rng.choice([-30, -1, 1, 30]))
        entry = {
            "level": "INFO",
            "message": "m",
            "timestamp": as_text(stamp),
            "text": "x" * rng.randrange(1_000, 3_000),
        }
        written.append((json.dumps(entry).encode(), stamp, is_right))
        if second % 10 == 0:
            written.append((b"x" * 100, BEGIN, False))
        if second == LINES // 2 and request.param == "replayed":  # an hour's entries, after that hour
            written += [(written[at][0], written[at][1], False) for at in range(second - 5_000, second - 4_000)]
        elif second == LINES // 2:
            written.append((b"y" * 3 * MEBIBYTE, BEGIN, False))
    (directory / "server.log").write_bytes(lines([line for line, *_ in written]))
    assert (directory / "server.log").stat().st_size > SEARCHED_FROM_BYTES
    return directory, written


@pytest.mark.parametrize(
    ("since", "length"),
    [
        (0, 600),
        (1, 1),
        (100, 60),
        (LINES // 2 - 30, 60),
        (LINES // 2 - 300, 60),
        (5_000, 900),
        (LINES - 60, 900),
        (-99, 50),
    ],
)
def test_what_was_written_in_a_window_is_found_in_a_plain_file_without_reading_all_of_it(
    plain, monkeypatch, since, length
):
    directory, written = plain
    times = [BEGIN + timedelta(seconds=second) for second in (since, since + length)]
    read = []
    own = OpenFile.read

    def counted(file, size, offset):
        found = own(file, size, offset)
        read.append(len(found))
        return found

    monkeypatch.setattr(OpenFile, "read", counted)
    selection = Selection(window=parse_window(*map(as_text, times), None, BEGIN), entries_only=True)
    [file] = open_log(directory / "server.log")
    found = selected([file], selection, lambda block, runs: b"".join(block[at:end] for at, end in runs))
    shown = b"".join(found).splitlines()
    file.close()
    wanted = [(line, is_right) for line, time, is_right in written if line[:1] == b"{" and times[0] <= time < times[1]]
    assert set(shown) <= {line for line, _ in wanted}
    assert {line for line, is_right in wanted if is_right} <= set(shown)
    assert sum(read) < file.size / 2


# On one core


def test_one_core_shows_the_same(tmp_path):
    written = entries(40_000, size=300)
    (tmp_path / "server.log.1").write_bytes(lines(written[:30_000]))
    compress_archive(tmp_path / "server.log.1")
    (tmp_path / "server.log").write_bytes(lines(written[30_000:]))
    one = ["taskset", "-c", str(min(os.sched_getaffinity(0)))]
    process = start(tmp_path, "tail", *ALL, before=one)
    assert process.stdout.read() == lines(written)
    assert ended(process) == (0, b"")
    process = start(tmp_path, "count", "--log-dir", ".", "--grep", "sequence=[0-9]*7$", before=one)
    assert process.stdout.read() == b"4000\n"
    assert ended(process) == (0, b"")


# While archives are rotated and compressed


def bytes_in(pipe) -> int:
    size = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, size)
    return size[0]


@pytest.mark.parametrize("has_identities", [True, False])
def test_a_rotation_and_the_end_of_compression_in_the_middle_of_a_search_change_nothing(tmp_path, has_identities):
    """Both forms of an archive exist at its beginning."""
    written = entries(9_000, size=500)
    for number in range(3):
        path = tmp_path / (f"server.log.{number}" if number else "server.log")
        path.write_bytes(lines(written[6_000 - 3_000 * number :][:3_000]))
        if has_identities:
            os.setxattr(path, ATTRIBUTE, f"0123456789ab:{3 - number}".encode())
    compress_archive(tmp_path / "server.log.1", keep=True)
    process = start(tmp_path, "tail", *ALL)
    until(lambda: bytes_in(process.stdout) >= 1 << 16, "a full pipe")
    (tmp_path / "server.log.1").unlink()
    (tmp_path / "server.log.2").unlink()  # it is one too many
    (tmp_path / "server.log.1.zst").rename(tmp_path / "server.log.2.zst")
    (tmp_path / "server.log").rename(tmp_path / "server.log.1")
    compress_archive(tmp_path / "server.log.1")
    (tmp_path / "server.log").write_bytes(lines(entries(10)))
    assert process.stdout.read() == lines(written)
    assert ended(process) == (0, b"")


@pytest.mark.parametrize("finished", [True, False])
def test_an_archive_is_shown_and_counted_once_while_both_forms_exist(tmp_path, finished):
    written = entries(5_000, size=500)
    (tmp_path / "server.log.1").write_bytes(lines(written))
    (tmp_path / "server.log").touch()
    compressed = compress_archive(tmp_path / "server.log.1", keep=True)
    if not finished:
        os.truncate(compressed, compressed.stat().st_size // 2)
    process = start(tmp_path, "tail", *ALL)
    assert process.stdout.read() == lines(written)
    assert ended(process) == (0, b"")
    process = start(tmp_path, "count", "--log-dir", ".")
    assert process.stdout.read() == b"5000\n"
    assert ended(process) == (0, b"")


# The end

ARCHIVES = 150
needs_cores = pytest.mark.skipif(len(os.sched_getaffinity(0)) == 1, reason="there are no threads on one core")


@pytest.fixture(scope="module")
def much(tmp_path_factory) -> Path:
    """2.4 GB of text, in archives of a few kilobytes: seconds of work."""
    directory = tmp_path_factory.mktemp("much")
    (directory / "server.log").write_bytes(lines(entries(100, size=200) * 840))
    text = (directory / "server.log").read_bytes()
    first = directory / "server.log.1"
    first.write_bytes(text)
    packed = compress_archive(first).read_bytes()
    for number in range(2, ARCHIVES + 1):
        (directory / f"server.log.{number}.zst").write_bytes(packed)
    return directory


def has_threads(process: subprocess.Popen) -> bool:
    return len(os.listdir(f"/proc/{process.pid}/task")) > 1


@needs_cores
@pytest.mark.parametrize("command", ["tail", "count"])
def test_control_c_ends_a_search_at_once(much, command):
    process = start(much, command, "--log-dir", ".", "--grep", "there is no such text")
    until(lambda: has_threads(process), "threads that unpack")
    process.send_signal(signal.SIGINT)
    assert process.stdout.read() == b""
    assert ended(process) == (130, b"")


@needs_cores
def test_a_reader_who_has_seen_enough_ends_a_search(much):
    process = start(much, "tail", *ALL)
    assert process.stdout.read(4 * MEBIBYTE)  # the first parts are unpacked without threads
    until(lambda: has_threads(process), "threads that unpack")
    process.stdout.close()
    assert ended(process) == (0, b"")
