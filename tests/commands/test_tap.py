"""`fastlog tap` before a real server."""

import json
import os
import signal
import socket
import subprocess

import pytest

from fastlog.commands.rendering import Form
from fastlog.commands.tap import render_note
from tests.helpers.entries import entries
from tests.helpers.running import BASE_ENVIRONMENT, FASTLOG, PATIENCE_SEC, TOKEN, Server, run_fastlog, until
from tests.helpers.viewing import view_processes


class Tap:
    """`fastlog tap` of a server, which watches already: the newest line that was there before is read."""

    def __init__(self, server: Server | None, *flags: str, port: int | None = None, **environment: str) -> None:
        url = f"http://127.0.0.1:{port or server.dashboard_port}"
        self.process = subprocess.Popen(
            [*FASTLOG, "tap", "--url", url, *flags],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**BASE_ENVIRONMENT, **environment},
        )

    def line(self) -> str:
        return self.process.stdout.readline().decode().rstrip("\n")

    def message(self) -> str:
        return self.process.stderr.readline().decode().rstrip("\n")

    def end(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SEC)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


@pytest.fixture
def tap(closing):
    """Starts `fastlog tap` behind an entry that it shows first, so that it has begun when this returns."""

    def begin(server, *flags, port=None, **environment):
        server.send([b'{"level":"CRITICAL","message":"begins","app":"shop","host":"h"}'])
        tap = closing(Tap(server, "-n", "1", *flags, port=port, **environment))
        assert "begins" in tap.line()
        return tap

    return begin


def test_entries_are_shown_as_they_come_and_as_tail_shows_them(start, tap):
    server = start()
    tapped = tap(server)
    server.send([b'{"level":"ERROR","message":"no \\u001b[31m room","app":"shop","timestamp":"T","order":7}'])
    assert tapped.line() == r"T ERROR    shop - no \x1b[31m room order=7"
    assert tapped.end() == 0
    assert tapped.process.stderr.read() == b""


def test_entries_are_filtered(start, tap):
    server = start()
    tapped = tap(server, "--level", "error", "--app", "shop", "--host", "h", "--json")
    wanted = b'{"level":"ERROR","message":"wanted","app":"shop","host":"h"}'
    for part in (b'"ERROR"', b'"shop"', b'"h"'):
        server.send([wanted.replace(part, b'"INFO"').replace(b"wanted", b"unwanted")])
    server.send([wanted])
    assert tapped.line().encode() == wanted
    assert tapped.end(signal.SIGTERM) == 0


def test_a_text_is_found_in_any_case(start, tap):
    server = start()
    tapped = tap(server, "--grep", "BEGINS")
    server.send([b'{"level":"ERROR","message":"no"}', b'{"level":"ERROR","message":"it begins again"}'])
    assert tapped.line().endswith("it begins again")


def test_what_is_not_shown_is_counted(start, tap):
    server = start()
    tapped = tap(server, "--app", "shop")
    server.send([entry[:-1] + b',"app":"shop"}' for entry in entries(3_000)])
    server.send([b'{"level":"ERROR","message":"the end","app":"shop"}'])
    shown, _, matching, word = tapped.message().removeprefix("fastlog: ").replace(",", "").split()[:4]
    assert word == "shown"
    assert int(shown) < int(matching) <= 3_002


def test_rejected_input_is_shown_with_its_sender_its_size_and_its_bytes(start, closing):
    server = start()
    with server.client() as client:
        client.send(b"\xff\x1b[2J not json")
        until(lambda: (server.directory / "rejects.jsonl").stat().st_size, "the note")
        address = "{}:{}".format(*client.getsockname())
    tapped = closing(Tap(server, "--rejected", "-n", "5", "--sender", address))
    time, reason, source, rest = tapped.line().split(maxsplit=3)
    assert (reason, source) == ("syntax", address)
    assert rest == r"14 bytes: \xff\x1b[2J not json"
    as_json = closing(Tap(server, "--rejected", "-n", "5", "--json", "--reason", "syntax"))
    assert json.loads(as_json.line())["time"] == time


def test_a_note_is_harmless_on_a_terminal():
    note = {"time": "T\x1b[2J", "source": "u\u202e", "reason": "utf8", "datagram_bytes": 9, "offset": 4, "text": "\x9b"}
    shown = render_note(json.dumps({**note, "piece_bytes": 5}), Form())
    assert shown == r"T\x1b[2J utf8       u\u202e 9 bytes at byte 4: \x9b…"
    assert render_note("no \x1b note", Form(colours=True)) == r"no \x1b note"


def test_it_continues_when_the_server_restarts(start, closing, tap, tmp_path):
    server = start()
    port = server.dashboard_port
    tapped = tap(server)
    server.stop()
    assert "trying again every 1 s" in tapped.message()
    again = closing(Server(tmp_path, DASHBOARD_PORT=str(port)))
    again.send([b'{"level":"ERROR","message":"after the restart"}'])
    assert tapped.message() == f"fastlog: connected to http://127.0.0.1:{port} again"
    assert tapped.line().endswith("after the restart")
    assert tapped.end() == 0


def test_it_continues_when_the_view_process_is_killed(start, tap):
    server = start()
    tapped = tap(server)
    os.kill(view_processes(server)[0], signal.SIGKILL)
    server.send([b'{"level":"ERROR","message":"meanwhile"}'])
    assert tapped.line().endswith("meanwhile")


def test_events_that_a_proxy_sends_together_are_shown_at_once(closing):
    """A proxy may send the answer in chunks, some of which arrive at once."""
    listener = closing(socket.create_server(("127.0.0.1", 0)))
    tapped = closing(Tap(None, port=listener.getsockname()[1]))
    proxy = closing(listener.accept()[0])
    assert proxy.recv(65_536).startswith(b"GET /tap?")
    events = [
        b'event: entries\ndata: {"lines":[{"level":"ERROR","message":"%s"}],"shown":1,"matching":1}\n\n' % word
        for word in (b"first", b"second")
    ]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(event), event) for event in events)
    proxy.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
    assert [tapped.line().split()[-1] for _ in events] == ["first", "second"]
    tapped.process.stdout.close()
    proxy.sendall(b"3\r\n:\n\n\r\n")
    assert tapped.process.wait(PATIENCE_SEC) == 0


def test_a_position_that_is_none_is_not_sent_back(closing):
    listener = closing(socket.create_server(("127.0.0.1", 0)))
    listener.settimeout(PATIENCE_SEC)
    tapped = closing(Tap(None, port=listener.getsockname()[1]))
    proxy = closing(listener.accept()[0])
    assert proxy.recv(65_536).startswith(b"GET /tap?")
    proxy.sendall(b"HTTP/1.0 200 OK\r\n\r\nid: 1\r2\n\nid: \xff\n\n")
    proxy.close()
    assert "trying again every 1 s" in tapped.message()
    again = closing(listener.accept()[0])
    assert b"Last-Event-ID" not in again.recv(65_536)


def test_a_reader_that_has_seen_enough_ends_it(start, tap):
    server = start()
    tapped = tap(server)
    tapped.process.stdout.close()
    assert tapped.process.wait(PATIENCE_SEC) == 0
    assert tapped.process.stderr.read() == b""


def test_a_token_is_needed_where_the_dashboard_has_one(start, tap, tmp_path):
    server = start(DASHBOARD_TOKEN=TOKEN)
    url = f"http://127.0.0.1:{server.dashboard_port}"
    refused = run_fastlog("tap", "--url", url, cwd=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr == f"fastlog: {url} answers 401: token required (DASHBOARD_TOKEN)\n"
    tap(server, FASTLOG_DASHBOARD_TOKEN=TOKEN)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--level", "erorr"], "did you mean ERROR?"),
        (["--reason", "utf8"], "--reason needs --rejected"),
        (["--rejected", "--app", "x"], "--level, --app and --host are for entries"),
        (["-n", "201"], "'201' is not a whole number from 0 to 200"),
        (["--url", "nonsense"], "is not a URL of a dashboard"),
    ],
)
def test_wrong_usage_is_refused(tmp_path, words, reason):
    done = run_fastlog("tap", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert reason in done.stderr


def test_no_server_is_an_error(tmp_path):
    done = run_fastlog("tap", "--url", "http://127.0.0.1:9", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        1, "fastlog: cannot ask http://127.0.0.1:9/tap: Connection refused\n"
    )  # fmt: skip


def test_entries_are_shown_in_the_form_that_is_asked_for(start, tap):
    server = start()
    shown = tap(server, "--utc", "--fields", "message,time,order", "--color", "always")
    server.send([b'{"level":"ERROR","message":"late","timestamp":"2026-07-01T09:00:00+02:00","order":17,"sequence":5}'])
    assert shown.line() == "late \x1b[2m2026-07-01T07:00:00.000Z\x1b[0m order=17"
