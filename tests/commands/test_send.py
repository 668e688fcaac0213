"""`fastlog send` against the real server, a lossy way to it, and no server at all."""

import json
import os
import re
import select
import signal
import socket
import subprocess

import pytest

from tests.helpers.lossy_relay import LossyRelay
from tests.helpers.running import BASE_ENVIRONMENT, FASTLOG, PATIENCE_SEC, run_fastlog


def test_one_message(start, tmp_path):
    server = start()
    done = run_fastlog(
        "send", "disk full", "--level", "ERROR", "--app", "shop", "--port", str(server.port), cwd=tmp_path
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"fastlog: 1 sent to 127.0.0.1 port {server.port}/udp, 1 acknowledged, 0 unacknowledged\n"
    [entry] = server.entries()
    assert entry["timestamp"].endswith("Z")
    assert len(entry["timestamp"]) == len("2026-11-24T07:00:00.000000Z")
    del entry["timestamp"], entry["sequence"]
    assert entry == {
        "level": "ERROR", "message": "disk full", "host": socket.gethostname(), "app": "shop"
    }  # fmt: skip


def test_the_port_is_the_servers_setting(start, tmp_path):
    server = start()
    assert run_fastlog("send", "hello", cwd=tmp_path, FASTLOG_SERVER_PORT=str(server.port)).returncode == 0
    assert [entry["message"] for entry in server.entries()] == ["hello"]


def test_samples(start, tmp_path):
    server = start()
    done = run_fastlog("send", "--samples", "300", "--port", str(server.port), cwd=tmp_path)
    assert done.returncode == 0
    entries = server.entries()
    first = entries[0]["sequence"]
    assert [entry["sequence"] for entry in entries] == list(range(first, first + 300))
    assert {entry["level"] for entry in entries} >= {"DEBUG", "INFO", "WARNING", "ERROR"}
    assert {entry["app"] for entry in entries} == {"sample"}


def test_lines_of_standard_input(start, tmp_path):
    server = start()
    lines = b"first\r\n\n  second, indented\n\xff no utf-8 \xe2\x82\xac\nlast without an end"
    done = run_fastlog("send", "--level", "warn", "--port", str(server.port), cwd=tmp_path, stdin=lines)
    assert done.returncode == 0
    assert [(entry["level"], entry["message"]) for entry in server.entries()] == [
        ("WARNING", message) for message in ("first", "  second, indented", "\ufffd no utf-8 €", "last without an end")
    ]


def test_a_line_too_long_for_a_datagram_is_shortened_and_reported(start, tmp_path):
    server = start()
    lines = b"first\n" + b"x" * 70_000 + b"\nlast\n"
    done = run_fastlog("send", "--stdin", "--port", str(server.port), cwd=tmp_path, stdin=lines)
    assert done.returncode == 0
    assert "line 2 of standard input was shortened to fit in a datagram: it had 70000 bytes\n" in done.stderr
    first, long, last = server.entries()
    assert (first["message"], long["message"][:9], last["message"]) == ("first", "x" * 9, "last")
    assert long["truncated"] is True


def test_json_lines_are_entries(start, tmp_path):
    server = start()
    lines = b'{"level":"ERROR", "message":"as it is", "n":1e400}\nplain\n{"msg":"named otherwise"}\n{"message":"cut'
    done = run_fastlog("send", "--json", "--app", "web", "--port", str(server.port), cwd=tmp_path, stdin=lines)
    assert done.returncode == 0
    assert "2 lines were not JSON objects with a message; sent as plain text" in done.stderr
    assert "4 sent" in done.stderr
    assert "1 acknowledged, 0 unacknowledged" in done.stderr
    assert b',"level":"ERROR", "message":"as it is", "n":1e400,"host":"' in server.log()
    entries = server.entries()
    assert [entry["message"] for entry in entries] == ["as it is", "plain", "named otherwise", '{"message":"cut']
    assert {entry["app"] for entry in entries} == {"web"}


def test_a_json_line_too_long_for_a_datagram_is_shortened_and_reported(start, tmp_path):
    server = start()
    line = json.dumps({"level": "ERROR", "message": "m" * 70_000}).encode()
    done = run_fastlog("send", "--json", "--port", str(server.port), cwd=tmp_path, stdin=line)
    assert done.returncode == 0
    assert "line 1 of standard input was shortened" in done.stderr
    [entry] = server.entries()
    assert (entry["level"], entry["truncated"]) == ("ERROR", True)


@pytest.mark.parametrize("number", ["1e400", "1" * 5000])
def test_a_long_json_line_with_a_number_that_python_does_not_hold(start, tmp_path, number):
    server = start()
    long = f'{{"level":"INFO","message":"long","number":{number},"blob":"{"x" * 70_000}"}}'
    lines = f'{long}\n{{"level":"INFO","message":"next"}}\n'.encode()
    done = run_fastlog("send", "--json", "--port", str(server.port), cwd=tmp_path, stdin=lines)
    assert done.returncode == 0, done.stderr
    first, second = server.entries()
    assert (first["message"], first["number"][:5], first["truncated"]) == ("long", number[:5], True)
    assert second["message"] == "next"


def test_levels_are_guessed_when_asked(start, tmp_path):
    server = start()
    lines = b"12:00 ERROR failed\n12:01 fine\n"
    port = str(server.port)
    assert run_fastlog("send", "--guess-level", "--port", port, cwd=tmp_path, stdin=lines).returncode == 0
    assert run_fastlog("send", "--guess-level", "[warn] slow", "--port", port, cwd=tmp_path).returncode == 0
    assert [entry["level"] for entry in server.entries()] == ["ERROR", "INFO", "WARNING"]


def test_a_pipe_waits_for_a_server_that_takes_its_time(start, tmp_path):
    """More lines than the queue and the receive buffer hold, and a server that is stopped at first."""
    server = start(RCVBUF_SIZE="60000")
    server.signal(signal.SIGSTOP)
    program = subprocess.Popen(
        [*FASTLOG, "send", "--port", str(server.port)], cwd=tmp_path, env=BASE_ENVIRONMENT,
        stdin=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    os.set_blocking(program.stdin.fileno(), False)
    lines = b"".join(b"%d\n" % number for number in range(200_000))
    taken, waits = 0, 0
    while waits < 3:  # the pipe stays full: nothing is read any more
        try:
            taken += os.write(program.stdin.fileno(), lines[taken:])
            waits = 0
        except BlockingIOError:
            waits += not select.select([], [program.stdin], [], 0.1)[1]
    assert taken < len(lines)
    server.signal(signal.SIGCONT)
    os.set_blocking(program.stdin.fileno(), True)
    _, reported = program.communicate(lines[taken:], PATIENCE_SEC)
    assert b"200000 sent" in reported
    assert program.returncode == 0
    assert [entry["message"] for entry in server.entries()] == [str(number) for number in range(200_000)]


def test_a_message_that_is_not_utf8_is_made_valid(start, tmp_path):
    server = start()
    assert run_fastlog("send", b"caf\xe9", "--port", str(server.port), cwd=tmp_path).returncode == 0
    assert [entry["message"] for entry in server.entries()] == ["caf\ufffd"]


def test_errors_are_retransmitted_until_they_are_acknowledged(start, tmp_path, closing):
    """The first three datagrams are lost on their way there, and the first ACK on its way back."""
    server = start()
    way = closing(LossyRelay(server.port, lambda way, number: number < (3 if way == "there" else 1)))
    done = run_fastlog("send", "--level", "ERROR", "--port", str(way.port), cwd=tmp_path, stdin=b"a\nb\nc\nd\n")
    assert done.returncode == 0
    assert "4 sent" in done.stderr
    assert "4 acknowledged, 0 unacknowledged" in done.stderr
    assert {entry["message"] for entry in server.entries()} == set("abcd")
    assert (
        len({line for datagram in way.forwarded for line in datagram.split(b"\n")}) == 4
    )  # a retransmission is the same bytes again


def test_entries_without_an_ack_are_reported(start, tmp_path, closing):
    server = start()
    way = closing(LossyRelay(server.port, lambda way, number: way == "back"))
    done = run_fastlog(
        "send", "lost ack", "--level", "ERROR", "--timeout", "0.3", "--port", str(way.port), cwd=tmp_path
    )  # fmt: skip
    assert done.returncode == 1
    assert re.match(r"fastlog: not acknowledged: sequence \d+, 'lost ack'\n", done.stderr)
    assert "0 acknowledged, 1 unacknowledged" in done.stderr


@pytest.mark.parametrize("level", ["INFO", "ERROR"])
def test_a_missing_server_is_reported(tmp_path, level):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    done = run_fastlog("send", "hello", "--level", level, "--timeout", "0.3", "--port", port, cwd=tmp_path)
    assert done.returncode == 1
    assert f"nothing listened on 127.0.0.1 port {port}/udp" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["hello", "--samples", "3"], ["hello", "--stdin"], ["--port", "0", "x"], ["--port", "99999", "x"],
        ["--json", "hello"], ["--json", "--samples", "1"], ["--samples", "-1"], ["--samples", "many"], ["--timeout", "never", "x"], ["--nonsense"],
    ],
)  # fmt: skip
def test_wrong_usage_rejected(tmp_path, arguments):
    done = run_fastlog("send", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "error: " in done.stderr


def test_words_are_joined_to_one_message(start, tmp_path):
    server = start()
    port = str(server.port)
    assert run_fastlog("send", "hi", "there,  you", "--port", port, cwd=tmp_path).returncode == 0
    assert run_fastlog("send", "--port", port, "--", "-5", "degrees", cwd=tmp_path).returncode == 0
    assert run_fastlog("send", "--port", port, "", cwd=tmp_path, stdin=b"not read").returncode == 0
    assert [entry["message"] for entry in server.entries()] == ["hi there,  you", "-5 degrees", ""]


def test_an_unknown_level_is_refused_with_the_nearest_name(start, tmp_path):
    server = start()
    done = run_fastlog("send", "--level", "EROR", "--port", str(server.port), "hello", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("fastlog: --level EROR: unknown level; did you mean ERROR? It must be one of DEBUG, ")
    assert "CRITICAL" in done.stderr
    assert server.entries() == []


@pytest.mark.parametrize(("given", "sent"), [("Error", "ERROR"), ("warn", "WARNING"), ("panic", "CRITICAL")])
def test_a_level_is_sent_under_its_own_name(start, tmp_path, given, sent):
    server = start()
    done = run_fastlog("send", "--level", given, "--port", str(server.port), "m", cwd=tmp_path)
    assert done.returncode == 0
    assert [entry["level"] for entry in server.entries()] == [sent]


@pytest.mark.parametrize("server", ["a..b", "255.255.255.255"])
def test_an_impossible_server_is_reported(tmp_path, server):
    done = run_fastlog("send", "hello", "--server", server, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"fastlog: cannot find the server {server!r}: ")
    assert done.stderr.count("\n") == 1


def test_a_name_that_does_not_resolve_is_reported(tmp_path):
    done = run_fastlog("send", "hello", "--server", "no.such.host.invalid", cwd=tmp_path)
    assert done.returncode == 1
    assert "cannot find the server 'no.such.host.invalid': " in done.stderr


def test_version_and_help(tmp_path):
    assert run_fastlog("--version", cwd=tmp_path).stdout.startswith("fastlog 0.")
    for arguments in (["--help"], ["serve", "--help"], ["send", "--help"]):
        assert run_fastlog(*arguments, cwd=tmp_path).returncode == 0
    assert run_fastlog(cwd=tmp_path).returncode == 2
