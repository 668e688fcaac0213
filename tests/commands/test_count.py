"""`fastlog count` as its own process, on the files of a log."""

import gzip
import json
import re
import subprocess

import pytest

from tests.helpers.running import BASE_ENVIRONMENT, FASTLOG, run_fastlog
from tests.helpers.terminal import Terminal, needs_terminal, plain

ODD = "a\x1b[2J\tb"


def line(level="INFO", **fields: str) -> bytes:
    return json.dumps({"level": level, "message": "m", **fields}).encode() + b"\n"


LOG = b"".join(
    [
        *[line(app="shop", host="web-1", timestamp="2026-11-24T07:00:10Z")] * 3,
        *[line("warn", app=ODD, timestamp="2026-11-24T07:00:50Z", received="2026-11-24T07:01:00.000000Z")] * 2,
        line("ERROR", app="shop", host="web-2", timestamp="2026-11-24T08:03:59+01:00"),
        line("audit", app=""),
    ]
)


@pytest.fixture
def log(tmp_path):
    (tmp_path / "server.log.2.gz").write_bytes(gzip.compress(LOG[: LOG.index(b"\n") + 1]))
    (tmp_path / "server.log").write_bytes(LOG[LOG.index(b"\n") + 1 :])
    return tmp_path


def count(directory, *arguments: str, said: str = "", **environment: str) -> list[str]:
    done = run_fastlog("count", "--log-dir", ".", *arguments, cwd=directory, **environment)
    assert (done.returncode, done.stderr) == (0, said)
    return done.stdout.splitlines()


def counted(directory, *arguments: str):
    [text] = count(directory, *arguments, "--json")
    return json.loads(text)


def test_entries_are_counted_by_what_is_asked_for(log):
    assert count(log) == ["7"]
    assert count(log, "--by", "level") == ["INFO    3", "WARNING 2", "ERROR   1", "OTHER   1"]
    assert count(log, "--by", "app") == ["shop        4", r"a\x1b[2J\tb 2", '""          1']
    assert count(log, "--by", "host") == ["web-1 3", "-     3", "web-2 1"]
    assert count(log, "--by", "minute") == [
        "2026-11-24T07:00Z 3",
        "2026-11-24T07:01Z 2",
        "2026-11-24T07:03Z 1",
        "-                 1",
    ]


def test_conditions_are_those_of_tail(log):
    for conditions in (
        ["--level", "WARNING"],
        ["--app", "shop"],
        ["--app", ODD],
        ["--host", "web-1"],
        ["--since", "2026-11-24T07:01:00Z"],
        ["--grep", "host=web"],
        ["--level", "INFO", "--app", "shop", "--host", "web-2"],
        ["--app", "none"],
    ):
        tail = run_fastlog("tail", "--log-dir", ".", *conditions, "--json", cwd=log)
        assert count(log, *conditions) == [str(len(tail.stdout.splitlines()))]
    assert count(log, "--by", "app", "--app", "none") == []


def test_the_largest_are_shown_and_the_rest_together(log):
    assert count(log, "--by", "app", "--top", "1") == ["shop     4", "2 others 3"]
    assert count(log, "--by", "minute", "--top", "3") == [
        "2026-11-24T07:00Z 3",
        "2026-11-24T07:01Z 2",
        "2026-11-24T07:03Z 1",
        "1 other           1",
    ]


def test_json_is_one_object(log):
    assert counted(log) == {"total": 7}
    assert counted(log, "--by", "app", "--top", "2") == {
        "total": 7,
        "by": "app",
        "counts": [{"app": "shop", "count": 4}, {"app": ODD, "count": 2}],
        "others": {"values": 1, "count": 1},
    }
    assert counted(log, "--by", "minute", "--level", "OTHER")["counts"] == [{"minute": None, "count": 1}]
    assert counted(log, "--by", "minute", "--level", "ERROR")["counts"] == [
        {"minute": "2026-11-24T07:03:00Z", "count": 1}
    ]


def test_lines_that_are_not_entries_are_not_counted_and_told(log):
    with (log / "server.log").open("ab") as file:
        file.write(b"\nwhat\n" + line().strip() * 2 + b"\n" + b'{"level":"INFO"')  # the last one is not whole
    said = "fastlog: 3 lines are not entries, and are not counted\n"
    assert count(log, said=said) == ["7"]
    assert count(log, "--level", "DEBUG") == ["6"]


def test_what_cannot_be_asked_is_explained(log, tmp_path):
    for arguments, message in (
        (["--top", "3"], "--top needs --by"),
        (["--by", "app", "--top", "0"], "not a whole number from 1"),
        (["--by", "sender"], "invalid choice: 'sender'"),
        (["--level", "EROR"], "did you mean ERROR"),
    ):
        done = run_fastlog("count", "--log-dir", ".", *arguments, cwd=log)
        assert (done.returncode, done.stdout) == (2, "")
        assert message in done.stderr
    (tmp_path / "none").mkdir()
    done = run_fastlog("count", "--log-dir", ".", cwd=tmp_path / "none")
    assert (done.returncode, done.stdout) == (1, "")
    assert "server.log does not exist" in done.stderr


def test_an_empty_log_has_none(tmp_path):
    (tmp_path / "server.log").touch()
    assert count(tmp_path) == ["0"]
    assert count(tmp_path, "--by", "minute") == []
    assert counted(tmp_path, "--by", "level")["counts"] == []


def test_nothing_that_takes_long_is_imported_for_a_script(log):
    """A terminal's histogram needs rich. zstd is not needed where no archive is compressed with it."""
    done = subprocess.run(
        [*FASTLOG[:1], "-X", "importtime", *FASTLOG[1:], "count", "--by", "app", "--log-dir", "."],
        cwd=log, env=BASE_ENVIRONMENT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    imported = set(re.findall(r"\| +(\w+)[\w.]*$", done.stderr, re.MULTILINE))
    assert "fastlog" in imported
    assert not imported & {"rich", "asyncio", "bottle", "waitress", "prometheus_client", "logging"}


@needs_terminal
@pytest.mark.parametrize("columns", [80, 24, 10])
def test_a_terminal_gets_a_histogram(log, closing, columns):
    terminal = closing(Terminal(log, *FASTLOG, "count", "--by", "level", "--log-dir", ".", columns=columns))
    terminal.wait()
    shown = plain(terminal.screen())
    bars = {80: 40, 24: 12, 10: 0}[columns]
    names = ["INFO     3", "WARNING  2", "ERROR    1", "OTHER    1"]
    sizes = [bars, -(-bars * 2 // 3), bars // 3 + (bars % 3 > 0), bars // 3 + (bars % 3 > 0)]
    assert shown.split("\n")[0] == "7 entries"
    assert [row.rstrip() for row in shown.split("\n")[1:5]] == [
        f"{name}  {'█' * size}".rstrip() for name, size in zip(names, sizes, strict=True)
    ]


@needs_terminal
def test_a_terminal_shows_the_minutes_between_in_which_nothing_came(log, closing):
    terminal = closing(Terminal(log, *FASTLOG, "count", "--by", "minute", "--log-dir", "."))
    terminal.wait()
    rows = [row.split() for row in plain(terminal.screen()).splitlines()[1:6]]
    assert [row[:2] for row in rows] == [
        ["2026-11-24T07:00Z", "3"],
        ["2026-11-24T07:01Z", "2"],
        ["2026-11-24T07:02Z", "0"],
        ["2026-11-24T07:03Z", "1"],
        ["-", "1"],
    ]


@needs_terminal
@pytest.mark.parametrize(("environment", "has_colours"), [("A=1", True), ("NO_COLOR=1", False), ("TERM=dumb", False)])
def test_colours_are_not_forced_on_anybody(log, closing, environment, has_colours):
    terminal = closing(Terminal(log, "env", environment, *FASTLOG, "count", "--by", "app", "--log-dir", "."))
    terminal.wait()
    assert ("\x1b[36m" in terminal.screen()) is has_colours


@needs_terminal
def test_a_terminal_without_unicode_gets_other_bars(log, closing):
    terminal = closing(Terminal(log, *FASTLOG, "count", "--by", "level", "--log-dir", ".", PYTHONIOENCODING="ascii"))
    terminal.wait()
    assert "INFO     3  ####" in plain(terminal.screen())


def test_what_is_damaged_is_told_and_not_counted(log):
    packed = (log / "server.log.2.gz").read_bytes()
    (log / "server.log.2.gz").write_bytes(packed[:-4])
    done = run_fastlog("count", "--log-dir", ".", cwd=log)
    assert done.returncode == 2
    assert int(done.stdout) >= 6
    assert "server.log.2.gz is damaged" in done.stderr
