"""`fastlog tail` as its own process, on the files of a real server."""

import gzip
import json
import os
import select
import signal
import socket
import subprocess
import threading
from datetime import UTC, datetime, timedelta

import pytest

from fastlog.limits import LINE_MAX_BYTES
from fastlog.logs.log_reader import Follower
from fastlog.logs.open_file import BLOCK_BYTES
from tests.helpers.entries import ERROR_7, INFO, entries, lines
from tests.helpers.running import BASE_ENVIRONMENT, FASTLOG, PATIENCE_SEC, eventually, run_fastlog

FULL = (
    b'{"timestamp":"2026-11-24T07:00:00Z","sequence":7,"level":"warn","app":"shop","host":"node-1","message":"paid\\u0021 late",'
    b'"order":{"id": 17},"note":"two words","empty":"","ratio":1e400}'
)
STAMPED = b'{"level":"DEBUG","message":"m","received":"2026-11-24T07:00:02.000000Z","source":"192.0.2.17:40312"}'


class Tail:
    """`fastlog tail -f` on the log of a directory."""

    def __init__(self, directory, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [*FASTLOG, "tail", "-f", "--log-dir", ".", *arguments],
            cwd=directory, env=BASE_ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def lines(self, count: int) -> list[bytes]:
        """The next lines that it shows."""
        return [self.process.stdout.readline().rstrip(b"\n") for _ in range(count)]

    def said(self) -> str:
        """The next line that it says on standard error."""
        return self.process.stderr.readline().decode()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


@pytest.fixture
def tail(tmp_path, closing):
    return lambda *arguments: closing(Tail(tmp_path, *arguments))


def show(directory, *arguments: str, **environment: str) -> list[str]:
    done = run_fastlog("tail", "--log-dir", ".", *arguments, cwd=directory, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_every_entry_is_shown_once_across_rotations_under_load(start, tail, tmp_path):
    server = start(MAX_LOG_SIZE_MB="0.1", LOG_BACKUPS="1000", FLUSH_COUNT="1")
    before, sent = entries(3_000), entries(40_000)
    server.send(before)
    tailing = tail("--json", "-n", "all")
    assert tailing.lines(len(before)) == before
    archives = len(list(tmp_path.glob("server.log.*")))
    sending = threading.Thread(target=server.send, args=[[*sent, ERROR_7]])
    sending.start()
    assert tailing.lines(len(sent) + 1) == [*sent, ERROR_7]
    sending.join()
    assert len(list(tmp_path.glob("server.log.*"))) - archives > 10
    # nothing more comes, and nothing twice
    server.send([ERROR_7.replace(b"7,", b"8,")])
    assert tailing.lines(1) == [ERROR_7.replace(b"7,", b"8,")]


@pytest.mark.parametrize("archived_as", ["server.log.1", "server.log-2026"])
def test_every_entry_is_shown_once_across_rotations_by_another_program(start, tail, tmp_path, archived_as):
    """As logrotate does it with `create`: the server writes to the old file until SIGHUP."""
    (tmp_path / "server.log.1").write_bytes(lines([ERROR_7]))
    server = start(FLUSH_COUNT="1")
    sent = entries(120)
    server.send(sent[:10])
    tailing = tail("--json", "-n", "all")
    assert tailing.lines(11) == [ERROR_7, *sent[:10]]
    for number in range(10, 120, 10):
        for archive in sorted(tmp_path.glob("server.log.[0-9]*"), key=lambda path: -int(path.suffix[1:])):
            archive.rename(archive.with_suffix(f".{int(archive.suffix[1:]) + 1}"))
        target = tmp_path / archived_as
        (tmp_path / "server.log").rename(target if not target.exists() else tmp_path / f"{archived_as}{number}")
        (tmp_path / "server.log").touch()
        server.send(sent[number : number + 5])
        assert tailing.lines(5) == sent[number : number + 5]
        server.signal(signal.SIGHUP)
        server.wait_for_message("SIGHUP")
        server.send(sent[number + 5 : number + 10])
        assert tailing.lines(5) == sent[number + 5 : number + 10]


def test_what_is_written_just_before_a_rotation_is_shown(tmp_path):
    log = tmp_path / "server.log"
    log.write_bytes(lines([b"1"]))

    class Rotating(Follower):
        """When it has read all and looks for the next file, another line is written, and then a rotation comes."""

        def _successor(self, file):
            if not (tmp_path / "server.log.1").exists():
                with log.open("ab") as old:
                    old.write(lines([b"2"]))
                log.rename(tmp_path / "server.log.1")
                log.write_bytes(lines([b"3"]))
            return super()._successor(file)

    follower = Rotating(log, None)
    assert b"".join(block[start:end] for block, start, end in follower.new()) == lines([b"1", b"2", b"3"])
    follower.close()


def test_the_old_file_is_read_on_until_the_new_one_has_lines(tail, tmp_path):
    log, old = tmp_path / "server.log", tmp_path / "server.log.1"
    log.write_bytes(lines([b"1"]))
    follower = Follower(log, None)

    def new() -> bytes:
        return b"".join(block[start:end] for block, start, end in follower.new())

    assert new() == lines([b"1"])
    log.rename(old)
    log.touch()
    assert new() == b""
    with old.open("ab") as file:
        file.write(lines([INFO]))
    assert new() == lines([INFO])
    tailing = tail("--json")  # begins here as well
    assert tailing.lines(1) == [INFO]
    with old.open("ab") as file:
        file.write(lines([ERROR_7]))
    assert tailing.lines(1) == [ERROR_7]
    assert new() == lines([ERROR_7])
    log.write_bytes(lines([INFO]))
    assert (new(), tailing.lines(1)) == (lines([INFO]), [INFO])
    follower.close()


def test_falling_behind_is_reported(start, tail, tmp_path):
    server = start(MAX_LOG_SIZE_MB="0.001", LOG_BACKUPS="1", FLUSH_COUNT="1")
    server.send([INFO])
    tailing = tail("--json")
    assert tailing.lines(1) == [INFO]
    tailing.process.send_signal(signal.SIGSTOP)
    server.send(entries(1_000))
    server.send([ERROR_7])
    server.stop()
    tailing.process.send_signal(signal.SIGCONT)
    assert "was rotated away before it was read: entries may be missing here" in tailing.said()
    kept = server.whole_log().splitlines()
    while tailing.lines(1) != kept[:1]:  # what it had open, and is gone by now
        pass
    assert tailing.lines(len(kept) - 1) == kept[1:]
    assert kept[-1] == ERROR_7


def test_a_file_that_another_program_cut_is_gone_on_with(tail, tmp_path):
    log = tmp_path / "server.log"
    log.write_bytes(lines([INFO] * 10))
    tailing = tail("--json")
    assert tailing.lines(10) == [INFO] * 10
    log.write_bytes(lines([ERROR_7]))
    assert "was truncated by another program" in tailing.said()
    assert tailing.lines(1) == [ERROR_7]


def test_a_log_that_does_not_exist_yet_is_waited_for(tail, tmp_path):
    tailing = tail("--json")
    assert "waiting for server.log" in tailing.said()
    (tmp_path / "new").write_bytes(lines([INFO]))
    (tmp_path / "new").rename(tmp_path / "server.log")
    assert tailing.lines(1) == [INFO]


def test_an_unfinished_line_is_shown_when_it_is_whole(tail, tmp_path):
    log = tmp_path / "server.log"
    log.write_bytes(INFO + b"\n" + ERROR_7[:30])
    assert show(tmp_path, "--json") == [INFO.decode()]
    tailing = tail("--json", "-n", "1")
    assert tailing.lines(1) == [INFO]
    with log.open("ab") as file:
        file.write(ERROR_7[30:] + b"\n")
    assert tailing.lines(1) == [ERROR_7]


def test_following_ends_with_its_reader(tail, tmp_path):
    (tmp_path / "server.log").write_bytes(lines([INFO] * 20))
    tailing = tail()
    tailing.lines(1)
    tailing.process.stdout.close()
    assert tailing.process.wait(PATIENCE_SEC) == 0
    assert tailing.process.stderr.read() == b""


def test_an_output_that_does_not_block_gets_every_line(tmp_path):
    (tmp_path / "server.log").write_bytes(lines([INFO] * 20_000))
    read, write = os.pipe()
    os.set_blocking(write, False)
    process = subprocess.Popen(
        [*FASTLOG, "tail", "--log-dir", ".", "--json", "-n", "all"], stdout=write, cwd=tmp_path, env=BASE_ENVIRONMENT
    )
    eventually(lambda: select.select([], [write], [], 0)[1], lambda room: not room)
    assert not os.get_blocking(write)
    os.close(write)
    with os.fdopen(read, "rb") as output:
        assert output.read() == lines([INFO] * 20_000)
    assert process.wait(PATIENCE_SEC) == 0


def test_conditions_hold_for_new_entries_too(tail, tmp_path):
    log = tmp_path / "server.log"
    log.write_bytes(lines([INFO, ERROR_7]))
    tailing = tail("--json", "--level", "error")
    assert tailing.lines(1) == [ERROR_7]
    with log.open("ab") as file:
        file.write(lines([INFO, INFO, ERROR_7]))
    assert tailing.lines(1) == [ERROR_7]


def test_what_comes_is_shown_whatever_time_it_has(tail, tmp_path):
    """The window is for what is there: a sender whose clock is wrong is followed as well."""
    log = tmp_path / "server.log"
    log.write_bytes(lines([ERROR_7, STAMPED]))
    tailing = tail("--json", "--since", "2026-11-24T07:00:01Z", "--level", "DEBUG")
    assert tailing.lines(1) == [STAMPED]
    with log.open("ab") as file:
        file.write(lines([ERROR_7, b"no entry", STAMPED]))
    assert tailing.lines(2) == [ERROR_7, STAMPED]


@pytest.fixture
def archived(tmp_path):
    """A log in four files; returns its lines."""
    sent = entries(4_000, size=500)
    for name, at in (("server.log.10", 0), ("server.log.2", 1_000), ("server.log.1", 2_000), ("server.log", 3_000)):
        (tmp_path / name).write_bytes(lines(sent[at : at + 1_000]))
    (tmp_path / "server.log.torn").write_bytes(lines([INFO]))
    (tmp_path / "server.log.distrusted.1").write_bytes(lines([INFO]))
    return [entry.decode() for entry in sent]


def compress(path) -> None:
    """As gzip and logrotate do it: beside the archive, with its time, and only then the archive goes."""
    subprocess.run(["gzip", str(path)], check=True)


@pytest.fixture(params=["numbers", "dates"])
def compressed(request, tmp_path):
    """A log in five files, of which the three oldest are compressed; returns its lines."""
    sent = entries(5_000, size=500)
    names = {
        "numbers": ["server.log.10", "server.log.9", "server.log.2", "server.log.1", "server.log"],
        "dates": [f"server.log-{date}" for date in ("20251231", "20260101", "2026010213", "20260103")] + ["server.log"],
    }[request.param]
    for at, name in enumerate(names):
        (tmp_path / name).write_bytes(lines(sent[1_000 * at : 1_000 * (at + 1)]))
        if at < 3:
            compress(tmp_path / name)
    return [entry.decode() for entry in sent]


@pytest.mark.parametrize("count", [1, 2_000, 2_001, 3_500, 4_000, 5_000, 6_000])
def test_the_last_entries_are_shown_over_compressed_archives(compressed, tmp_path, count):
    assert show(tmp_path, "--json", "-n", str(count)) == compressed[max(5_000 - count, 0) :]


def test_compressed_archives_are_searched(compressed, tmp_path):
    assert show(tmp_path, "--json", "-n", "all") == compressed
    wanted = [line for line in compressed if '"sequence":17' in line]
    assert show(tmp_path, "--json", "--grep", "sequence=17") == wanted
    assert show(tmp_path, "--json", "--grep", "sequence=17", "-n", "600") == wanted[-600:]


def test_archives_of_the_server_and_of_logrotate_are_shown_in_the_order_of_their_times(tmp_path):
    for at, name in enumerate(["server.log-20260101", "server.log.2", "server.log-20260102", "server.log.1"]):
        (tmp_path / name).write_bytes(lines([b'{"level":"INFO","message":"%d"}' % at]))
        os.utime(tmp_path / name, (1_000_000 + at, 1_000_000 + at))
    (tmp_path / "server.log").write_bytes(lines([INFO]))
    assert [json.loads(line)["message"] for line in show(tmp_path, "--json")] == ["0", "1", "2", "3", "m"]


def test_an_archive_that_is_being_compressed_is_shown_once(archived, tmp_path):
    whole = gzip.compress((tmp_path / "server.log.1").read_bytes())
    (tmp_path / "server.log.1.gz").write_bytes(whole[:1_000])
    assert show(tmp_path, "--json", "-n", "all") == archived


def test_a_damaged_archive_is_shown_as_far_as_it_goes_and_reported(archived, tmp_path):
    compress(tmp_path / "server.log.2")
    path = tmp_path / "server.log.2.gz"
    path.write_bytes(path.read_bytes()[:-5_000])
    done = run_fastlog("tail", "--log-dir", ".", "--json", "-n", "all", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "fastlog: server.log.2.gz is damaged: its end is not shown\n"
    shown = done.stdout.splitlines()
    assert shown == archived[: len(shown) - 2_000] + archived[2_000:]
    assert len(shown) > 3_000


def test_more_archives_than_a_shell_allows_descriptors_are_shown(tmp_path):
    for number in range(1, 101):
        (tmp_path / f"server.log.{number}").write_bytes(b'{"level":"INFO","message":"%d"}\n' % number)
    (tmp_path / "server.log").write_bytes(b"")
    command = " ".join([*FASTLOG, "tail", "--log-dir", ".", "--json", "-n", "all"])
    done = subprocess.run(
        ["sh", "-c", f"ulimit -Sn 50; exec {command}"],
        cwd=tmp_path,
        capture_output=True,
        env=BASE_ENVIRONMENT,
        check=True,
    )
    assert len(done.stdout.splitlines()) == 100


def test_archives_that_cannot_be_read_are_named(archived, tmp_path):
    for name in ("server.log.11.lz4", "server.log-20260101.xz", "server.log.2.bak", "server.logs.1.zst"):
        (tmp_path / name).write_bytes(b"whatever")
    done = run_fastlog("tail", "--log-dir", ".", "--json", "-n", "all", cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()) == (0, archived)
    assert done.stderr == (
        "fastlog: cannot read server.log-20260101.xz, server.log.11.lz4, server.log.2.bak: "
        "of compressed archives only .zst and .gz are read\n"
    )


def test_a_rotation_that_compresses_at_once_repeats_and_omits_nothing(tmp_path):
    """As logrotate without `delaycompress`: what was followed is a compressed archive at the next look."""
    log = tmp_path / "server.log"
    follower = Follower(log, None)

    def new() -> bytes:
        return b"".join(bytes(block[start:end]) for block, start, end in follower.new())

    log.write_bytes(lines([b"1", b"2"]))
    assert new() == lines([b"1", b"2"])
    for number in range(3, 30, 3):
        with log.open("ab") as file:
            file.write(lines([b"%d" % number]))
        for content in (b"%d" % (number + 1), b"%d" % (number + 2)):
            for archive in sorted(tmp_path.glob("server.log.*.gz"), key=lambda path: -int(path.name.split(".")[2])):
                archive.rename(tmp_path / f"server.log.{int(archive.name.split('.')[2]) + 1}.gz")
            log.rename(tmp_path / "server.log.1")
            compress(tmp_path / "server.log.1")
            log.write_bytes(lines([content]))
        assert new() == lines([b"%d" % number, b"%d" % (number + 1), b"%d" % (number + 2)])
    follower.close()


@pytest.mark.parametrize("count", [0, 1, 10, 999, 1_000, 1_001, 2_500, 4_000, 5_000])
def test_the_last_entries_are_shown_over_all_files(archived, tmp_path, count):
    assert show(tmp_path, "--json", "-n", str(count)) == archived[max(4_000 - count, 0) :]


def test_ten_entries_are_shown_unless_there_is_a_condition(archived, tmp_path):
    assert show(tmp_path, "--json") == archived[-10:]
    assert show(tmp_path, "--json", "-n", "all") == archived
    with_7 = [line for line in archived if '"sequence":7' in line]
    assert show(tmp_path, "--json", "--grep", "sequence=7") == with_7
    assert show(tmp_path, "--json", "--grep", "sequence=7", "-n", "300") == with_7[-300:]


def test_the_last_entries_are_found_from_the_end(tmp_path):
    """The file has a hole of a terabyte before them: nobody could read over it."""
    with (tmp_path / "server.log").open("wb") as file:
        file.truncate(1 << 40)
        file.seek(0, os.SEEK_END)
        file.write(lines([INFO, INFO, ERROR_7]))
    assert show(tmp_path, "--json", "-n", "2") == [INFO.decode(), ERROR_7.decode()]


@pytest.mark.parametrize("excess", [-1, 0, 1, BLOCK_BYTES])
def test_a_line_longer_than_any_entry_is_left_out(tmp_path, excess):
    (tmp_path / "server.log").write_bytes(lines([INFO, b"x" * (BLOCK_BYTES + excess), ERROR_7]))
    expected = [INFO.decode(), ERROR_7.decode()]
    assert show(tmp_path, "--json", "-n", "all") == expected
    assert show(tmp_path, "--json", "-n", "2") == expected
    assert [line for line in show(tmp_path, "-n", "all") if "xxx" not in line] == [
        "- INFO     - - m",
        expected_text(ERROR_7),
    ]


def test_the_longest_line_that_is_stored_is_shown_wherever_it_is(tmp_path):
    longest = b'{"level":"INFO","message":"%b"}' % (b"x" * (LINE_MAX_BYTES - 29))
    shown = [line.decode() for line in (INFO, longest, ERROR_7, longest, longest)]
    assert len(longest) == LINE_MAX_BYTES
    (tmp_path / "server.log").write_bytes("".join(line + "\n" for line in shown).encode())
    assert show(tmp_path, "--json", "-n", "all") == shown
    for count in range(1, 6):
        assert show(tmp_path, "--json", "-n", str(count)) == shown[-count:]


def expected_text(line: bytes) -> str:
    entry = json.loads(line)
    return f"{entry['timestamp']} {entry['level']:8} {entry['app']} {entry['host']} {entry['message']}"


def test_an_entry_is_shown_for_the_eye(tmp_path):
    (tmp_path / "server.log").write_bytes(
        lines([FULL, b'{"level":"INFO","message":"a\\nb"}', STAMPED, b"no \x1b[31m entry \xff"])
    )
    assert show(tmp_path) == [
        '2026-11-24T07:00:00Z warn     shop node-1 paid! late order={"id": 17} note="two words" empty="" ratio=1e400',
        "- INFO     - - a\\nb",
        "2026-11-24T07:00:02.000000Z DEBUG    - 192.0.2.17:40312 m",
        "no \\x1b[31m entry \\xff",
    ]


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["--level", "ERROR"], [1]),
        (["--level", "notice"], [0, 1, 2]),
        (["--level", "OTHER"], [3]),
        (["--app", "shop"], [2]),
        (["--host", "node-1", "--app", "shop"], [2]),
        (["--host", "node"], []),
        (["--grep", "paid!"], [2]),
        (["--grep", "^disk"], [1]),
        (["--grep", "note=two"], [2]),
        (["--since", "2026-11-24T07:00:00.000001Z"], [0, 3, 4]),
        (["--since", "1m"], [0, 3]),
        (["--since", "2026-11-24T07:00:01Z"], [0, 3, 4]),
        (["--since", "2026-11-24T07:00:03Z"], [0, 3]),
        (["--grep", "source=192.0.2.17:"], [4]),
    ],
)
def test_conditions(tmp_path, arguments, shown):
    log = [INFO, ERROR_7, FULL, b'{"level":"audit","message":"m"}', STAMPED]
    (tmp_path / "server.log").write_bytes(lines([*log, b"no entry", b""]))
    assert show(tmp_path, "--json", *arguments) == [log[number].decode() for number in shown]


def test_files_that_were_not_written_since_are_left_out(archived, tmp_path):
    for name in ("server.log.10", "server.log.2", "server.log"):
        os.utime(tmp_path / name, (1_000_000_000, 1_000_000_000))
    assert show(tmp_path, "--json", "--since", "1h") == archived[2_000:]


def test_an_entry_of_a_sender_whose_clock_is_ahead_is_not_left_out(tmp_path):
    now = datetime.now(UTC)
    ahead = b'{"level":"ERROR","message":"ahead","timestamp":"%s"}' % (now + timedelta(hours=3)).isoformat().encode()
    (tmp_path / "server.log.1").write_bytes(lines([ahead]))
    (tmp_path / "server.log").write_bytes(b"")
    os.utime(tmp_path / "server.log.1", (now.timestamp() - 7200,) * 2)
    assert show(tmp_path, "--json", "--since", "1h") == [ahead.decode()]


def test_what_is_not_a_file_is_left_out(tmp_path):
    (tmp_path / "server.log").write_bytes(lines([INFO]))
    os.mkfifo(tmp_path / "server.log.1")
    (tmp_path / "server.log.2.zst").symlink_to("server.log.2.zst")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unix:
        unix.bind(str(tmp_path / "server.log.3.gz"))
        (tmp_path / "server.log.4").mkdir()
        assert show(tmp_path, "--json") == [INFO.decode()]


def test_the_log_is_where_the_settings_say(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "my.log").write_bytes(lines([INFO]))
    (tmp_path / ".env").write_text("LOG_DIR=a\nLOG_FILENAME=my.log\n")
    done = run_fastlog("tail", "--json", "--env-file", ".env", cwd=tmp_path)
    assert done.stdout == INFO.decode() + "\n"
    done = run_fastlog("tail", "--log-filename", "other.log", cwd=tmp_path, FASTLOG_LOG_DIR="a")
    assert done.returncode == 1
    assert (
        done.stderr
        == "fastlog: a/other.log does not exist: start the server, or use --log-dir if it writes elsewhere\n"
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--level", "loud"], "--level loud: unknown level; it must be one of DEBUG, "),
        (["--since", "soon"], "--since soon: must be a duration"),
        (["--grep", "("], "--grep (: not a regular expression"),
        (["-f", "--until", "1h"], "--until: does not go with --follow, which shows what is to come"),
        (["-n", "-5"], "-n -5: must be a whole number, 0 or more, or `all`"),
        (["--log-filename", "a/b"], "--log-filename='a/b' (flag)"),
    ],
)
def test_wrong_usage_is_reported(tmp_path, arguments, says):
    done = run_fastlog("tail", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
