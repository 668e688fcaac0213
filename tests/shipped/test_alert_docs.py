"""The recipes for ALERT_COMMAND in docs/operations.md: the scripts of contrib/alerts, run as the server runs them."""

import json
import os
import re
import shlex
import shutil
import threading
from email import message_from_string
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import msgspec
import pytest

from fastlog.server.alerts import Alert, run_command

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "contrib" / "alerts"
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
ALERT = Alert(
    summary='fastlog on web-1: degraded; the disk refuses entries: "No space left", 100 % of /var',
    status="degraded",
    previous="ok",
    since="2026-11-27T08:00:00Z",
    reasons=['the disk refuses entries: "No space left", 100 % of /var'],
    warnings=["receive buffer is small"],
    losses={"kernel_drops": None, "disk": 5},
    host="web-1",
    log="/var/log/fastlog/server.log",
    version="0.1.0",
)


def needs(tool: str):
    return pytest.mark.skipif(
        shutil.which(tool) is None and os.environ.get("CI") != "true", reason=f"no {tool}; see .ci/run for its package"
    )


pytestmark = [needs("jq"), needs("curl")]


class Webhook:
    """Takes what is posted to it, and answers with `status`."""

    def __init__(self, status: int = 200) -> None:
        self.posts: list[tuple[dict[str, str], bytes]] = []
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                webhook.posts.append((dict(self.headers), body))
                self.send_response(status)
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                """Nobody reads it."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/services/T0/secret"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def run(*command: str | Path, **changes: str) -> str | None:
    alert = msgspec.structs.replace(ALERT, **changes)
    return run_command([str(word) for word in command], msgspec.json.encode(alert))


@pytest.fixture
def sendmail(tmp_path, monkeypatch):
    """A sendmail that keeps what it gets."""
    program = tmp_path / "sendmail"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\ncat > {tmp_path}/mail\n')
    program.chmod(0o755)
    monkeypatch.setenv("SENDMAIL", str(program))
    return tmp_path / "mail"


def test_mail(sendmail):
    assert run(SCRIPTS / "mail", "ops@example.net") is None
    assert (sendmail.parent / "arguments").read_text() == "-t\n"
    mail = message_from_string(sendmail.read_text())
    assert (mail["To"], mail["Subject"]) == ("ops@example.net", "fastlog on web-1 is degraded")
    assert ALERT.summary in mail.get_payload()
    assert "lost so far: kernel_drops null, disk 5" in mail.get_payload()
    assert "warning: receive buffer is small" in mail.get_payload()


def test_a_mail_that_cannot_be_sent_is_a_failure(sendmail):
    (sendmail.parent / "sendmail").write_text("#!/bin/sh\necho 'cannot connect to the relay' >&2; exit 75\n")
    assert run(SCRIPTS / "mail", "ops@example.net") == "exit code 75: cannot connect to the relay"


def test_chat(closing, tmp_path):
    webhook = closing(Webhook())
    (tmp_path / "chat.curl").write_text(f'url = "{webhook.url}"\n')
    assert run(SCRIPTS / "chat", tmp_path / "chat.curl") is None
    [(headers, body)] = webhook.posts
    assert headers["Content-Type"] == "application/json"
    assert json.loads(body) == {"text": ALERT.summary}


@pytest.mark.parametrize(("changes", "priority"), [({}, "urgent"), ({"status": "ok"}, "default")])
def test_push(closing, changes, priority):
    webhook = closing(Webhook())
    assert run(SCRIPTS / "push", webhook.url, **changes) is None
    [(headers, body)] = webhook.posts
    assert headers["Priority"] == priority
    assert body.decode() == ALERT.summary


def test_a_webhook_that_refuses_is_a_failure(closing, tmp_path):
    webhook = closing(Webhook(status=403))
    (tmp_path / "chat.curl").write_text(f'url = "{webhook.url}"\n')
    for failure in (run(SCRIPTS / "chat", tmp_path / "chat.curl"), run(SCRIPTS / "push", webhook.url)):
        assert failure == "exit code 22: curl: (22) The requested URL returned error: 403"


def test_the_journal(tmp_path, monkeypatch, closing):
    """The line of the document, with a logger that keeps what it gets."""
    logger = tmp_path / "logger"
    logger.write_text(f'#!/bin/sh\n{{ echo "$@"; cat; }} > {tmp_path}/line\n')
    logger.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    [line] = re.findall("^ALERT_COMMAND=\"(sh -c '.*logger.*')\"$", OPERATIONS, re.MULTILINE)
    assert run(*shlex.split(line)) is None
    assert (tmp_path / "line").read_text() == f"-t fastlog -p daemon.err\n{ALERT.summary}\n"


def test_the_document_names_every_script_and_shows_an_alert_as_it_is():
    for script in SCRIPTS.iterdir():
        assert f"contrib/alerts/{script.name}" in OPERATIONS
        assert script.stat().st_mode & 0o111
    shown = next(
        json.loads(block) for block in re.findall(r"```json\n(.*?)```", OPERATIONS, re.DOTALL) if "summary" in block
    )
    assert list(shown) == list(Alert.__struct_fields__)
    msgspec.convert(shown, Alert)
