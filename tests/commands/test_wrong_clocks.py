"""What `fastlog tail` and `fastlog count` say of entries that a window hides since their senders' clocks are wrong."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.helpers.archives import compressed
from tests.helpers.running import run_fastlog

BEGIN = datetime(2026, 11, 24, 14, tzinfo=UTC)
WINDOW = ["--log-dir", ".", "--since", "2026-11-24T14:00", "--until", "2026-11-24T14:10"]
SLOW = timedelta(hours=1)


def line(second: float, *, level="INFO", off: timedelta = timedelta(), received=False, **fields: str) -> bytes:
    """Written so many seconds after the beginning of the window, by a sender whose clock is off by so much."""
    time = BEGIN + timedelta(seconds=second)
    entry = {"timestamp": (time + off).isoformat().replace("+00:00", "Z"), "level": level, "message": "m", **fields}
    if received:
        entry["received"] = time.isoformat().replace("+00:00", "Z")
    return json.dumps(entry).encode() + b"\n"


def searched(directory, *conditions: str) -> tuple[int, str, str]:
    """How many entries are shown, and what `tail` and `count` say, which are the same but for a word."""
    tail = run_fastlog("tail", *WINDOW, "--json", *conditions, cwd=directory)
    count = run_fastlog("count", *WINDOW, "--json", *conditions, cwd=directory)
    assert (tail.returncode, count.returncode) == (0, 0)
    shown = len(tail.stdout.splitlines())
    assert json.loads(count.stdout)["total"] == shown
    assert count.stderr == tail.stderr.replace("not shown", "not counted").replace("shows", "counts")
    return shown, tail.stderr.removeprefix("fastlog: "), count.stderr


@pytest.fixture(params=["plain", "ours", "live"])
def form(request):
    return request.param


@pytest.fixture
def write(form, tmp_path):
    def write(*lines: bytes) -> None:
        path = tmp_path / ("server.log" if form == "live" else "server.log.1")
        path.write_bytes(b"".join(lines))
        (tmp_path / "server.log").touch()
        if form == "ours":
            compressed(path)
            path.unlink()

    return write


def test_a_burst_of_a_sender_whose_clock_is_slow_is_told_however_long_it_is(form, write, tmp_path):
    """In an archive it fills frames of its own, which the summary rules out. A plain file of more than 8 MiB would be
    searched, and a search follows the clock that most entries have."""
    count = 12_000 if form == "ours" else 3_000
    burst = [line(5 + number / 1000, off=-SLOW, app="slow", text="x" * 2_000) for number in range(count)]
    write(line(-700), *map(line, range(5)), *burst, *map(line, range(20, 25)), line(700))
    shown, said, _ = searched(tmp_path)
    assert shown == 10
    assert said == (
        f"not shown: {count:,} entries between those in the window, whose `timestamp` is outside of it by up to 3595s; "
        "--clock-slack 3595s shows them\n"
    )
    assert searched(tmp_path, "--clock-slack", "3595s")[:2] == (count + 12, "")
    assert searched(tmp_path, "--app", "slow")[1].startswith(f"not shown: {count:,} entries")
    assert searched(tmp_path, "--app", "none")[:2] == (0, "")


def test_where_nothing_is_found_what_is_hidden_is_told(write, tmp_path):
    write(
        *map(line, range(5)), line(6, level="ERROR", off=-SLOW), line(7, level="ERROR", off=SLOW), *map(line, range(5))
    )
    shown, said, _ = searched(tmp_path, "--level", "ERROR")
    assert (shown, said.partition(" between")[0]) == (0, "not shown: 2 entries")
    assert said.endswith("; --clock-slack 3594s shows them\n")
    assert searched(tmp_path, "--level", "ERROR", "--grep", "message=x")[:2] == (0, "")


def test_clocks_that_differ_a_little_are_not_told(write, tmp_path):
    write(*(line(second, off=timedelta(seconds=-9 * (second % 2))) for second in range(-30, 630)))
    assert searched(tmp_path)[:2] == (600, "")


def test_what_was_received_outside_of_the_window_is_not_hidden(write, tmp_path):
    stamped = [line(second, off=SLOW * (second % 3 - 1), received=True) for second in range(-60, 660)]
    write(line(30), *stamped, line(40))
    assert searched(tmp_path)[:2] == (602, "")
