"""ALERT_COMMAND, as the server runs it: what it gets, and that nothing it does reaches the server."""

import json
import re
import signal
import sys

import pytest

from tests.helpers.entries import ERROR_7, INFO
from tests.helpers.running import Server, eventually, run_fastlog, until

# The server with other times than real ones: a test would wait for minutes.
QUICK = """
import sys
from fastlog.server import alerts, snapshot

alerts.LASTED_SEC, alerts.CALM_SEC, alerts.APART_SEC, alerts.LOOK_SEC, alerts.RUN_SEC = 0.05, 0.1, 0.2, 0.02, {run_sec}
snapshot.DROPS_ALARM_SEC = {alarm_sec}
from fastlog.cli import main

sys.exit(main(["serve"]))
"""


@pytest.fixture
def alerting(tmp_path, closing):
    """Starts a server that drops datagrams easily, and reports it at once."""

    def start(command: str, alarm_sec: float = 3600, run_sec: float = 30, **settings: str) -> Server:
        program = [sys.executable, "-c", QUICK.format(alarm_sec=alarm_sec, run_sec=run_sec)]
        return closing(Server(tmp_path, command=program, ALERT_COMMAND=command, RCVBUF_SIZE="1", **settings))

    return start


def lose_some(server: Server) -> None:
    with server.stopped(), server.client() as client:
        for _ in range(100):
            client.send(INFO)
    until(lambda: server.queued() == 0, "the end of the queue")  # from here on there is room in the receive buffer


def acknowledges(server: Server) -> bool:
    with server.client() as client:
        client.send(ERROR_7)
        return b'"ack":true' in client.recv(100)


def test_a_change_and_its_end_are_reported_as_json(alerting, tmp_path):
    server = alerting(f"sh -c 'cat >> {tmp_path}/alerts; echo >> {tmp_path}/alerts'", alarm_sec=1.5)
    lose_some(server)
    text = eventually(
        lambda: (tmp_path / "alerts").read_text() if (tmp_path / "alerts").exists() else "",
        lambda text: text.count("\n") == 2,
    )
    first, second = map(json.loads, text.splitlines())
    assert (first["status"], first["previous"], second["status"], second["previous"]) == (
        "degraded",
        "ok",
        "ok",
        "degraded",
    )
    assert "the receive buffer was full" in first["reasons"][0]
    assert "the receive buffer was full" in first["summary"]
    assert first["losses"]["kernel_drops"] > 0
    assert first["losses"].keys() == {"kernel_drops", "filtered", "network", "disk", "unshipped", "rejected"}
    assert first["log"] == str(tmp_path / "server.log")
    assert first["since"].endswith("Z")
    alerts = eventually(lambda: server.stats()["alerts"], lambda alerts: alerts["runs"] == 2)
    assert (alerts["failures"], alerts["last_status"], alerts["last_failure"]) == (0, "ok", None)
    assert server.stats()["settings"]["ALERT_COMMAND"] == "(hidden)"


def test_it_needs_no_dashboard(alerting, tmp_path):
    server = alerting(f"cp /dev/stdin {tmp_path}/alert", DASHBOARD_PORT="off")
    lose_some(server)
    until(lambda: (tmp_path / "alert").exists() and (tmp_path / "alert").read_text().endswith("}"), "the alert")
    assert json.loads((tmp_path / "alert").read_text())["status"] == "degraded"


def test_a_failure_is_said_in_one_line_and_shown(alerting, tmp_path):
    server = alerting("sh -c 'echo one; echo no route to host >&2; exit 7'")
    lose_some(server)
    message = server.wait_for_message("the alert command failed")
    assert message == "fastlog: the alert command failed: exit code 7: no route to host; trying again in 0 s"
    stats = eventually(server.stats, lambda stats: stats["alerts"]["failures"] == 5)
    assert "the alert command failed: exit code 7: no route to host" in stats["health"]["warnings"]
    url = f"http://127.0.0.1:{server.dashboard_port}"
    doctor = run_fastlog("doctor", "--url", url, cwd=tmp_path)
    assert "PROBLEM alert command   run 5 times, last at " in doctor.stdout
    assert "for the status degraded, which failed: exit code 7: no route to host" in doctor.stdout


@pytest.mark.parametrize(
    "command", ["sleep 600", "yes", "sh -c 'while :; do sleep 600 & setsid sleep 600; done'", "no-such-program"]
)
def test_no_command_holds_the_server_up(alerting, command):
    server = alerting(command, run_sec=0.3)
    lose_some(server)
    assert acknowledges(server)
    server.wait_for_message("the alert command failed")
    assert acknowledges(server)
    assert server.stop() == 0


def test_the_end_waits_for_no_alert(alerting, tmp_path):
    server = alerting(f"sh -c 'touch {tmp_path}/began; exec sleep 3'")
    lose_some(server)
    until((tmp_path / "began").exists, "the run")
    server.signal(signal.SIGTERM)
    assert server.process.wait(2) == 0


def test_the_check_and_the_start_name_a_program_that_is_missing(start, tmp_path):
    check = run_fastlog("serve", "--check", cwd=tmp_path, ALERT_COMMAND="no-such-program --x")
    assert check.returncode == 2
    assert check.stderr == "fastlog: ALERT_COMMAND: there is no program 'no-such-program' that this user may execute\n"
    server = start(ALERT_COMMAND="no-such-program --x")
    assert any(message.endswith("; alerts will fail") for message in server.messages)
    doctor = run_fastlog(
        "doctor",
        cwd=tmp_path,
        FASTLOG_DASHBOARD_PORT=str(server.dashboard_port),
        FASTLOG_ALERT_COMMAND="no-such-program",
    )
    assert "PROBLEM alert command   ALERT_COMMAND: there is no program" in doctor.stdout


def test_a_command_with_an_open_quote_is_refused_and_not_shown(tmp_path):
    check = run_fastlog("serve", "--check", cwd=tmp_path, ALERT_COMMAND="curl 'https://secret")
    assert check.returncode == 2
    assert check.stderr == (
        "fastlog: ALERT_COMMAND=(hidden) (environment): must be a program and its arguments, with quotes as in a shell\n"
    )


def test_doctor_says_when_the_command_ran_last(alerting, tmp_path):
    server = alerting("true")
    url = f"http://127.0.0.1:{server.dashboard_port}"
    before = run_fastlog("doctor", "--url", url, cwd=tmp_path).stdout
    assert "ok      alert command   not run yet: the health has not changed" in before
    lose_some(server)
    eventually(server.stats, lambda stats: stats["alerts"]["runs"] == 1)
    after = run_fastlog("doctor", "--url", url, cwd=tmp_path).stdout
    assert re.search(r"ok      alert command   run 1 times, last at \S+Z for the status degraded\n", after)
    without = run_fastlog("doctor", cwd=tmp_path, FASTLOG_DASHBOARD_PORT="off", FASTLOG_SERVER_PORT="0").stdout
    assert "alert command" not in without
