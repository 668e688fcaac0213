"""`fastlog doctor` where the log is shipped: real servers, shippers and streams."""

import itertools
import json
import os
import signal
import socket
import subprocess

import pytest

from fastlog.commands.ship_checks import sync_in_words
from fastlog.segments import ATTRIBUTE, read_shipped
from fastlog.ship import nats_address as address
from tests.helpers.nats import NatsServer, free_port, needs_nats
from tests.helpers.running import BASE_ENVIRONMENT, FASTLOG, PATIENCE_SEC, run_fastlog, until
from tests.helpers.small_disk import only_root

pytestmark = needs_nats

ENTRY = b'{"level":"ERROR","message":"m","sequence":%d}'
DISK = {"MAX_LOG_SIZE_MB": "1", "LOG_BACKUPS": "1", "REJECTS_MAX_MB": "1"}


class Shipper:
    """`fastlog ship`, which makes the stream."""

    def __init__(self, directory, to: str) -> None:
        self.process = subprocess.Popen(
            [*FASTLOG, "ship", "--to", to, "--log-dir", str(directory), "--create"],
            stderr=subprocess.DEVNULL,
            env=BASE_ENVIRONMENT,
        )

    def close(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_SEC)


@pytest.fixture
def nats_server(tmp_path, closing):
    return closing(NatsServer(tmp_path / "nats"))


@pytest.fixture
def stored():
    """Has the server store an entry durably, each time another one."""
    numbers = itertools.count(100)

    def send(server) -> None:
        with server.client() as client:
            client.send(ENTRY % next(numbers))
            client.recv(100)

    return send


@pytest.fixture
def shipped(tmp_path, nats_server, start, closing, stored):
    """A server with an entry that a shipper has shipped; both of them."""
    server = start(**DISK)
    stored(server)
    shipper = closing(Shipper(tmp_path, f"{nats_server.url}/LOGS"))
    live = tmp_path / "server.log"
    until(lambda: (note := read_shipped(live)) and note.offset == live.stat().st_size, "all is shipped")
    return server, shipper


@pytest.fixture
def examine(tmp_path, nats_server):
    """The findings about shipping, by subject."""

    def run(server, **environment: str) -> dict[str, dict]:
        url = f"http://127.0.0.1:{server.dashboard_port}"
        environment = {"FASTLOG_SHIP_TO": f"{nats_server.url}/LOGS", "FASTLOG_LOG_DIR": str(tmp_path), **environment}
        done = run_fastlog("doctor", "--json", "--url", url, cwd=tmp_path, **environment)
        assert done.stderr == ""
        found = {finding["subject"]: finding for finding in json.loads(done.stdout)}
        problems = [finding["subject"] for finding in found.values() if finding["status"] == "problem"]
        assert done.returncode == bool(problems)
        return {subject: finding for subject, finding in found.items() if subject.startswith("ship")}

    return run


def test_a_shipper_that_keeps_up_is_in_order(shipped, examine, nats_server):
    found = examine(shipped[0])
    assert [(name, found[name]["status"]) for name in found] == [
        ("ship", "ok"), ("ship hold", "ok"), ("ship engine", "note")
    ]  # fmt: skip
    assert found["ship"]["text"].startswith("0 bytes behind, at segment 1 of 1, as of ")
    assert f"at 127.0.0.1:{nats_server.port}; stream LOGS, 1 messages" in found["ship engine"]["text"]
    assert "; one replica: " in found["ship engine"]["text"]


def test_a_shipper_that_has_ended_is_missed(shipped, examine, stored):
    server, shipper = shipped
    shipper.close()
    found = examine(server)["ship"]
    assert found["status"] == "note"
    assert found["text"].startswith("all is shipped, but no shipper can be seen here; ")
    stored(server)
    found = examine(server, FASTLOG_SHIP_TO="")["ship"]  # by the note alone
    assert found["status"] == "problem"
    assert found["text"].startswith(f"no shipper runs, and lines wait; {len(ENTRY % 100) + 1} bytes behind, ")
    assert found["fix"].startswith("sudo systemctl start fastlog-ship, or: ")
    assert found["fix"].endswith("/server.log.shipped")


def test_a_shipper_that_hangs_is_found(shipped, examine, stored):
    server, shipper = shipped
    shipper.process.send_signal(signal.SIGSTOP)
    stored(server)
    found = examine(server)["ship"]
    assert (found["status"], found["fix"]) == ("problem", "sudo systemctl restart fastlog-ship")
    assert found["text"].startswith(f"the shipper (pid {shipper.process.pid}) is silent; ")


def test_what_hinders_the_shipper_is_said(shipped, examine, stored, tmp_path, nats_server):
    server, _ = shipped
    nats_server.kill()
    stored(server)
    until(lambda: read_shipped(tmp_path / "server.log").problem, "the shipper says what hinders it")
    found = examine(server)
    away = f"NATS at 127.0.0.1:{nats_server.port} is not there: "
    assert found["ship"]["status"] == found["ship engine"]["status"] == "problem"
    assert found["ship"]["text"].startswith(away)
    assert found["ship engine"]["text"].startswith(away)


def test_a_log_that_nobody_has_shipped_yet_is_found(start, examine, nats_server):
    found = examine(start(**DISK))
    assert found["ship"]["text"] == "SHIP_TO is set, and nobody has shipped anything of this log yet"
    assert found["ship engine"]["text"] == "there is no stream LOGS; `fastlog ship --create` makes one"
    assert found["ship"]["status"] == found["ship engine"]["status"] == "problem"


def test_a_log_without_an_identity_is_found(shipped, examine, tmp_path):
    os.removexattr(tmp_path / "server.log", ATTRIBUTE)
    found = examine(shipped[0])["ship"]
    assert found["status"] == "problem"
    assert " has no identity (the attribute user.fastlog): " in found["text"]


def test_a_note_that_is_none_is_found(shipped, examine, tmp_path):
    server, shipper = shipped
    shipper.close()
    (tmp_path / "server.log.shipped").write_text("{}")
    found = examine(server)["ship"]
    assert (found["status"], found["fix"]) == ("problem", f"rm {tmp_path}/server.log.shipped")


def test_an_engine_that_never_answers_is_not_waited_for(shipped, examine):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = examine(shipped[0], FASTLOG_SHIP_TO=f"nats://127.0.0.1:{silent.getsockname()[1]}/LOGS")
    assert found["ship engine"]["status"] == "problem"


def test_no_hold_is_worth_knowing(start, examine, tmp_path):
    found = examine(start(**DISK, SHIP_HOLD_MB="0"))["ship hold"]
    assert (found["status"], found["fix"]) == ("note", "fastlog serve --ship-hold-mb 10000")


@only_root
def test_a_disk_that_the_hold_would_fill_is_found(start, examine, small_disk):
    server = start(**DISK, LOG_DIR=str(small_disk), SHIP_HOLD_MB="100")
    found = examine(server, FASTLOG_LOG_DIR=str(small_disk))["ship hold"]
    assert (found["status"], found["fix"]) == ("problem", "fastlog serve --ship-hold-mb 5")
    assert found["text"].startswith("the disk will be full before SHIP_HOLD_MB is: 8 MB free, ")


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        ("sync_interval: always", "it syncs each message (sync_interval: always)"),
        ("sync_interval: 10s", "it syncs every 10 s (sync_interval)"),
        ("max_file: 1G", "it syncs every 120 s (sync_interval)"),
    ],
)
def test_how_often_nats_syncs_is_seen_by_its_monitoring(tmp_path, closing, interval, words):
    port = free_port()
    server = closing(NatsServer(tmp_path / "nats", f'http: "127.0.0.1:{port}"', interval))
    asked = address.NatsServer("127.0.0.1", server.port)
    assert sync_in_words(asked, port) == words
    unseen = "how often it syncs cannot be seen: every two minutes, unless sync_interval is set"
    assert sync_in_words(asked, free_port()) == unseen
    assert sync_in_words(address.NatsServer("127.0.0.1", 4222), port) == unseen  # that is another server
