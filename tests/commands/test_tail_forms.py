"""How `fastlog tail` and `fastlog count` show entries, and which files they are told to read."""

import gzip
import json
import subprocess

import pytest

from tests.helpers.archives import compress_archive
from tests.helpers.entries import ERROR_7, INFO, entries, lines
from tests.helpers.running import BASE_ENVIRONMENT, FASTLOG, PATIENCE_SEC, run_fastlog

BERLIN = "CET-1CEST,M3.5.0,M10.5.0/3"  # as POSIX writes its rules, which need no file
ENTRY = (
    b'{"timestamp":"2026-07-01T07:00:00.5Z","sequence":7,"level":"warn","app":"shop","host":"web-1","message":"late",'
    b'"order":17,"note":"two words"}'
)
RECEIVED = b'{"level":"INFO","message":"m","received":"2026-01-01T12:00:00.123456Z","source":"192.0.2.17:40312"}'
ODD = b'{"timestamp":"soon","level":"INFO","message":"x\\u001b[31m"}'


def run(directory, *arguments: str, stdin: bytes = b"", **environment: str) -> list[str]:
    done = run_fastlog(*arguments, cwd=directory, stdin=stdin, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def refused(directory, *arguments: str) -> str:
    done = run_fastlog(*arguments, cwd=directory)
    assert done.returncode in (1, 2)
    return done.stderr


@pytest.fixture
def log(tmp_path):
    (tmp_path / "server.log").write_bytes(lines([ENTRY, RECEIVED, ODD]))
    return tmp_path


def test_times_are_shown_in_the_zone_that_is_asked_for(log):
    def times(*flags: str) -> list[str]:
        return [line.split()[0] for line in run(log, "tail", "--log-dir", ".", *flags, TZ=BERLIN)]

    assert times() == ["2026-07-01T07:00:00.5Z", "2026-01-01T12:00:00.123456Z", "soon"]
    assert times("--local") == ["2026-07-01T09:00:00.500+02:00", "2026-01-01T13:00:00.123+01:00", "soon"]
    assert times("--utc") == ["2026-07-01T07:00:00.500Z", "2026-01-01T12:00:00.123Z", "soon"]
    assert "not allowed with argument" in refused(log, "tail", "--utc", "--local")


def test_a_window_is_local_where_times_are(log):
    assert run(log, "tail", "--log-dir", ".", "--since", "2026-07-01 09:00", "--fields", "message", TZ=BERLIN) == [
        "x\\x1b[31m"
    ]
    local = run(
        log, "tail", "--log-dir", ".", "--since", "2026-07-01 09:00", "--local", "--fields", "message", TZ=BERLIN
    )
    assert local == ["late", "x\\x1b[31m"]  # an entry without a time is in every window


def test_only_the_fields_that_are_asked_for_are_shown_in_their_order(log):
    def shown(fields: str) -> list[str]:
        return run(log, "tail", "--log-dir", ".", "--fields", fields)

    assert shown("message,note,sequence,nothing")[0] == 'late note="two words" sequence=7'
    assert shown("level, app,host,time") == [
        "warn     shop web-1 2026-07-01T07:00:00.5Z",
        "INFO     - 192.0.2.17:40312 2026-01-01T12:00:00.123456Z",
        "INFO     - - soon",
    ]
    assert shown("order") == ["order=17", "", ""]
    assert "--fields a,,b: must be names of fields" in refused(log, "tail", "--fields", "a,,b")
    assert "--fields: does not go with --json" in refused(log, "tail", "--fields", "a", "--json")


def test_the_sequence_is_shown_only_where_it_is_asked_for(log):
    [first, *_] = run(log, "tail", "--log-dir", ".")
    assert first == '2026-07-01T07:00:00.5Z warn     shop web-1 late order=17 note="two words"'
    assert json.loads(run(log, "tail", "--log-dir", ".", "--json")[0])["sequence"] == 7


@pytest.mark.parametrize(
    ("flags", "environment", "has_colours"),
    [
        ([], {}, False),
        (["--color", "always"], {"NO_COLOR": "1"}, True),
        (["--color=never"], {"FORCE_COLOR": "1"}, False),
        ([], {"FORCE_COLOR": "1"}, True),
        ([], {"CLICOLOR_FORCE": "1"}, True),
        ([], {"CLICOLOR_FORCE": "0"}, False),
        ([], {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_colours_outside_of_a_terminal_are_for_those_who_ask(log, flags, environment, has_colours):
    for more in ([], ["--local"], ["--fields", "level"]):
        shown = "".join(run(log, "tail", "--log-dir", ".", *flags, *more, **environment))
        assert ("\x1b[33m" in shown) is has_colours


def test_files_are_read_in_their_order_in_whatever_form(tmp_path):
    one, two, three, four = (lines(entries(20)[start : start + 5]) for start in range(0, 20, 5))
    (tmp_path / "a.log").write_bytes(one)
    (tmp_path / "b.gz").write_bytes(gzip.compress(two))
    (tmp_path / "c").write_bytes(three)
    compress_archive(tmp_path / "c")
    names = ["c.zst", "a.log", "-", "b.gz"]
    assert (
        run(tmp_path, "tail", "--json", "-n", "all", *names, stdin=four)
        == (three + one + four + two).decode().splitlines()
    )
    assert run(tmp_path, "tail", "--json", "-n", "7", *names, stdin=four) == (four + two).decode().splitlines()[-7:]
    assert run(tmp_path, "tail", "--json", "--grep", "sequence=12", *names, stdin=four) == [
        three.decode().splitlines()[2]
    ]
    assert run(tmp_path, "count", *names, stdin=four) == ["20"]


def test_a_pipe_is_read_as_a_file(tmp_path):
    done = subprocess.run(
        ["bash", "-c", f"{' '.join(FASTLOG)} tail --json <(printf '%s\\n' '{INFO.decode()}') /dev/stdin"],
        cwd=tmp_path, env=BASE_ENVIRONMENT, input=ERROR_7 + b"\n", capture_output=True, timeout=PATIENCE_SEC, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == [INFO, ERROR_7]


def test_files_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "there").write_bytes(lines([INFO]))
    assert refused(tmp_path, "tail", "there", "missing") == "fastlog: cannot read missing: No such file or directory\n"
    assert refused(tmp_path, "count", ".") == "fastlog: cannot read .: Is a directory\n"
    assert "--follow: does not go with FILE" in refused(tmp_path, "tail", "-f", "there")


def test_minutes_are_counted_in_the_zone_that_is_asked_for(log):
    assert run(log, "count", "--log-dir", ".", "--by", "minute", TZ=BERLIN) == [
        "2026-01-01T12:00Z 1",
        "2026-07-01T07:00Z 1",
        "-                 1",
    ]
    assert run(log, "count", "--log-dir", ".", "--by", "minute", "--local", TZ=BERLIN) == [
        "2026-01-01T13:00+01:00 1",
        "2026-07-01T09:00+02:00 1",
        "-                      1",
    ]
    [counted] = run(log, "count", "--log-dir", ".", "--by", "minute", "--local", "--json", TZ=BERLIN)
    assert json.loads(counted)["counts"][0] == {"minute": "2026-01-01T13:00:00+01:00", "count": 1}
