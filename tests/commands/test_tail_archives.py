"""`fastlog tail` over archives in zstd, ours and those of others: the same lines as plain files have."""

import json
import os
import random
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from fastlog.archive.index import FRAME_BYTES, read_index
from fastlog.archive.writer import compress
from fastlog.commands.conditions import selection_from
from fastlog.flags import make_parser
from fastlog.logs.log_files import open_log
from fastlog.logs.log_reader import Follower
from fastlog.logs.selected import beginning_of_last, selected
from fastlog.segments import ATTRIBUTE
from tests.helpers.running import run_fastlog

BEGIN = datetime(2026, 11, 24, 7, 0, tzinfo=UTC)
FILES = 3
ENTRIES = 12_000  # of a file: three frames or so, with one a second


def entry_of(number: int, rng: random.Random) -> dict:
    """One a second. A host in ten has a clock that is 20 minutes slow."""
    host = rng.randrange(10)
    time = BEGIN + timedelta(seconds=number) - (timedelta(minutes=20) if host == 0 else timedelta())
    entry = {"level": "INFO", "message": f"request {rng.getrandbits(900):x}", "host": f"web-{host}", "n": number}
    entry["app"] = "shop" if number % 3 else "bank"
    if number % 997 == 5:
        entry["level"] = "ERROR"
    elif number % 501 == 5:
        entry["level"] = "FATAL"
    elif number % 10 == 5:
        entry["level"] = "WARNING"
    entry["timestamp"] = time.isoformat().replace("+00:00", "Z")
    return entry


@pytest.fixture(scope="module")
def texts() -> list[list[bytes]]:
    """The lines of each file, the oldest first."""
    rng = random.Random(1)
    entries = [json.dumps(entry_of(number, rng)).encode() for number in range(FILES * ENTRIES)]
    files = [entries[at : at + ENTRIES] for at in range(0, len(entries), ENTRIES)]
    files[0].insert(5_000, b"x" * (2 * FRAME_BYTES))  # a line of several frames, which is not an entry
    files[0].insert(100, b"no entry")
    return files


def write_ours(path, lines: list[bytes]) -> None:
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    with open(path, "rb") as source, open(f"{path}.zst", "w+b") as target:
        compress(source.fileno(), target.fileno())
    os.utime(f"{path}.zst", ns=(path.stat().st_mtime_ns,) * 2)
    path.unlink()


def write_plain(path, lines: list[bytes]) -> None:
    path.write_bytes(b"".join(line + b"\n" for line in lines))


def write_foreign(path, lines: list[bytes]) -> None:
    """As logrotate with `compresscmd zstd`."""
    write_plain(path, lines)
    subprocess.run(["zstd", "-q", "--rm", str(path)], check=True)


def write_in_frames(path, lines: list[bytes]) -> None:
    """As `zstd` of files that were written one behind the other: frames end anywhere, and some are to be skipped."""
    from fastlog.archive.zstd import compress as packed

    text = b"".join(line + b"\n" for line in lines)
    skippable = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"
    frames = [packed(text[at : at + 700_001]) + skippable for at in range(0, len(text), 700_001)]
    path.with_name(path.name + ".zst").write_bytes(b"".join(frames))


def write_gzip(path, lines: list[bytes]) -> None:
    write_plain(path, lines)
    subprocess.run(["gzip", "-1", str(path)], check=True)


WRITERS = {
    "plain": write_plain,
    "ours": write_ours,
    "foreign": write_foreign,
    "frames": write_in_frames,
    "gzip": write_gzip,
}


@pytest.fixture(scope="module", params=WRITERS)
def log(request, tmp_path_factory, texts):
    """A log whose archives have one form; the live file is a plain one."""
    directory = tmp_path_factory.mktemp(request.param)
    for number, lines in enumerate(texts[:-1]):
        path = directory / f"server.log.{FILES - 1 - number}"
        WRITERS[request.param](path, lines)
    write_plain(directory / "server.log", texts[-1])
    return directory


_decoded: list[tuple[str, dict]] = []
_wanted: dict[tuple[str, ...], list[str]] = {}  # lines, by the conditions: all forms of archives have the same


def decoded(texts) -> list[tuple[str, dict]]:
    """The entries with their lines."""
    if not _decoded:
        entries = [line for lines in texts for line in lines if line[:1] == b"{"]
        _decoded.extend((line.decode(), json.loads(line)) for line in entries)
    return _decoded


def level_of(entry: dict) -> int:
    return ["INFO", "WARNING", "ERROR", "FATAL"].index(entry["level"])


def is_in(entry: dict, since: timedelta, until: timedelta, slack: timedelta = timedelta()) -> bool:
    times = [(BEGIN + time).isoformat().replace("+00:00", "Z") for time in (since - slack, until + slack)]
    return times[0] <= entry["timestamp"] < times[1]


HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
WINDOW = ["--since", "2026-11-24T09:00:00Z", "--until", "2026-11-24T09:10:00Z"]


@pytest.mark.parametrize(
    ("arguments", "is_wanted"),
    [
        ([], lambda entry: True),
        (["--level", "ERROR"], lambda entry: level_of(entry) >= 2),
        (["--level", "FATAL"], lambda entry: level_of(entry) == 3),
        (["--level", "WARNING"], lambda entry: level_of(entry) >= 1),
        (["--grep", "n=1234$"], lambda entry: entry["n"] == 1234),
        (["--grep", "n=12345$", "--app", "bank"], lambda entry: entry["n"] == 12345),
        (["--host", "web-3", "--level", "ERROR"], lambda entry: entry["host"] == "web-3" and level_of(entry) >= 2),
        (["--host", "nobody"], lambda entry: False),
        (WINDOW, lambda entry: is_in(entry, 2 * HOUR, 2 * HOUR + 10 * MINUTE)),
        (
            [*WINDOW, "--level", "FATAL"],
            lambda entry: level_of(entry) == 3 and is_in(entry, 2 * HOUR, 2 * HOUR + 10 * MINUTE),
        ),
        ([*WINDOW, "--clock-slack", "20m"], lambda entry: is_in(entry, 2 * HOUR, 2 * HOUR + 10 * MINUTE, 20 * MINUTE)),
        (["--since", "2026-11-24T16:00:00Z"], lambda entry: is_in(entry, 9 * HOUR, 100 * HOUR)),
    ],
)
@pytest.mark.parametrize("count", ["all", "1", "300"])
def test_all_forms_of_archives_are_searched_alike(log, texts, arguments, is_wanted, count):
    expected = _wanted.get(tuple(arguments))
    if expected is None:
        expected = _wanted[tuple(arguments)] = [line for line, entry in decoded(texts) if is_wanted(entry)]
    if count != "all":
        expected = expected[-int(count) :]
    assert searched(log, count, arguments) == expected


def as_stored(block: bytes | bytearray, runs: list[tuple[int, int]]) -> bytes:
    return b"".join([bytes(block[start:end]) for start, end in runs])


def searched(log, count: str, arguments: list[str]) -> list[str]:
    """What the command shows, without the time that its start takes."""
    options = make_parser().parse_args(["tail", "--json", "-n", count, *arguments])
    selection = selection_from(options, entries_only=True)
    files = open_log(log / "server.log")
    beginning = (0, 0) if count == "all" else beginning_of_last(files, selection, int(count))
    shown = list(selected(files, selection, as_stored, *beginning))
    for file in files:
        file.close()
    return b"".join(shown).decode().splitlines()


def test_lines_that_are_not_entries_are_shown_unless_something_is_asked_for(log, texts):
    lines = [line.decode() for lines in texts for line in lines if b"xxx" not in line]
    done = run_fastlog("tail", "--log-dir", ".", "-n", "all", cwd=log)
    shown = done.stdout.splitlines()
    assert shown[100] == "no entry"
    assert len(shown) == len(lines)


def test_entries_that_a_wrong_clock_hides_are_reported(log):
    done = run_fastlog("tail", "--log-dir", ".", "--json", *WINDOW, cwd=log)
    [said] = done.stderr.splitlines()
    assert said.startswith("fastlog: not shown: ")
    assert "--clock-slack 1" in said
    slack = said.split("--clock-slack ")[1].split()[0]
    more = run_fastlog("tail", "--log-dir", ".", "--json", *WINDOW, "--clock-slack", slack, cwd=log)
    hidden = int(said.split(": ")[2].split()[0].replace(",", ""))
    assert len(more.stdout.splitlines()) >= len(done.stdout.splitlines()) + hidden


def test_the_whole_frames_of_a_damaged_archive_are_shown(tmp_path, texts):
    write_ours(tmp_path / "server.log.1", texts[1])
    write_plain(tmp_path / "server.log", texts[2])
    path = tmp_path / "server.log.1.zst"
    with open(path, "rb") as file:
        frames = read_index(file.fileno()).frames
    damaged = bytearray(path.read_bytes())
    damaged[frames[1].at + 1_000 : frames[1].at + 2_000] = b"?" * 1_000
    path.write_bytes(damaged)
    text = b"".join(line + b"\n" for line in texts[1])
    whole = text[: frames[1].start] + text[frames[1].end :] + b"".join(line + b"\n" for line in texts[2])
    done = run_fastlog("tail", "--log-dir", ".", "--json", "-n", "all", cwd=tmp_path)
    assert done.stderr == "fastlog: server.log.1.zst is damaged: what is damaged is not shown\n"
    assert done.stdout.encode() == whole


def test_lines_of_a_rare_level_are_found_where_their_copies_are_damaged(tmp_path, texts):
    write_ours(tmp_path / "server.log.1", texts[1])
    write_plain(tmp_path / "server.log", [])
    path = tmp_path / "server.log.1.zst"
    with open(path, "rb") as file:
        part = read_index(file.fileno()).rare["ERROR"][0]
    damaged = bytearray(path.read_bytes())
    damaged[part.at + 20 : part.at + 60] = b"?" * 40
    path.write_bytes(damaged)
    errors = [line.decode() for line in texts[1] if b'"ERROR"' in line or b'"FATAL"' in line]
    done = run_fastlog("tail", "--log-dir", ".", "--json", "--level", "ERROR", cwd=tmp_path)
    assert (done.stdout.splitlines(), done.stderr) == (errors, "")


class Log:
    """A log that is written, rotated and compressed step by step, and what follows it."""

    def __init__(self, directory, has_identities: bool) -> None:
        self.path = directory / "server.log"
        self.segment = 0
        self.written: list[bytes] = []
        self.has_identities = has_identities
        self.begin()
        self.follower = Follower(self.path, None)
        self.seen = b""

    def begin(self) -> None:
        self.segment += 1
        self.path.write_bytes(b"")
        if self.has_identities:
            os.setxattr(self.path, ATTRIBUTE, f"0123456789ab:{self.segment}".encode())

    def write(self) -> None:
        line = b"%d\n" % len(self.written)
        self.written.append(line)
        with self.path.open("ab") as file:
            file.write(line)

    def rotate(self) -> None:
        for number in range(self.segment, 0, -1):
            for suffix in ("", ".zst", ".gz"):
                old = self.path.with_name(f"server.log.{number}{suffix}")
                if old.exists():
                    old.rename(self.path.with_name(f"server.log.{number + 1}{suffix}"))
        self.path.rename(self.path.with_name("server.log.1"))
        self.begin()

    def begin_to_compress(self, number: int, how: str) -> None:
        """Both forms exist then."""
        path = self.path.with_name(f"server.log.{number}")
        if how == "gzip":
            subprocess.run(["gzip", "-k", str(path)], check=True)
        elif how == "zstd":
            subprocess.run(["zstd", "-q", str(path)], check=True)
        else:
            with path.open("rb") as source, open(f"{path}.zst", "w+b") as target:
                compress(source.fileno(), target.fileno())
            status = path.stat()
            os.utime(f"{path}.zst", ns=(status.st_atime_ns, status.st_mtime_ns))
            if self.has_identities:
                os.setxattr(f"{path}.zst", ATTRIBUTE, os.getxattr(path, ATTRIBUTE))

    def end_to_compress(self, number: int) -> None:
        self.path.with_name(f"server.log.{number}").unlink()

    def follow(self) -> None:
        self.seen += b"".join(bytes(block[start:end]) for block, start, end in self.follower.new())


@pytest.mark.parametrize("how", ["ours", "zstd", "gzip"])
@pytest.mark.parametrize("has_identities", [True, False])
def test_no_line_is_followed_twice_or_missed_while_archives_are_compressed(tmp_path, how, has_identities):
    """Looks come between any two steps, or many steps after the last one."""
    rng = random.Random(2)
    log = Log(tmp_path, has_identities)

    def look() -> None:
        if rng.random() < 0.4:
            log.follow()

    for _ in range(30):
        for _ in range(rng.randrange(1, 4)):
            log.write()
            look()
        log.rotate()
        look()
        log.write()  # logrotate and the server compress while the new file grows
        look()
        log.begin_to_compress(1, how)
        look()
        log.end_to_compress(1)
        look()
    log.follow()
    log.follower.close()
    assert log.seen == b"".join(log.written)
    files = open_log(log.path)
    assert b"".join(piece for file in files for piece in file.pieces()) == log.seen
    for file in files:
        file.close()
