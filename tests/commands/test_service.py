"""`tail`, `count`, `top` and `doctor` find the service of this machine. What `systemctl` prints was taken from a real
one; tests/packages has the commands meet real systemd."""

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.helpers.entries import INFO
from tests.helpers.running import BASE_ENVIRONMENT, FASTLOG, PATIENCE_SEC, TOKEN, eventually, run_fastlog
from tests.helpers.small_disk import only_root

ENTRY = b'{"level":"INFO","message":"of the service"}\n'
SHOWN = """\
Environment=LOG_DIR={log_dir} "WORDS=two words"
EnvironmentFiles={first} (ignore_errors=yes)
EnvironmentFiles={second} (ignore_errors=yes)
LoadState=loaded
"""


class Service:
    """What systemd says of the service: `log_dir` is from its unit, and `first` and `second` are files that it reads.
    Commands run in `here`."""

    def __init__(self, directory: Path) -> None:
        self.here, self.log_dir, programs = (directory / name for name in ("here", "log", "programs"))
        for made in (self.here, self.log_dir, programs):
            made.mkdir()
        (self.log_dir / "server.log").write_bytes(ENTRY)
        self.first, self.second = directory / "first.env", directory / "second.env"
        self._path = f"{programs}:{os.environ['PATH']}"
        self._systemctl = programs / "systemctl"
        self.says(SHOWN.format(log_dir=self.log_dir, first=self.first, second=self.second))

    def says(self, text: str, exit_code: int = 0) -> None:
        self._systemctl.write_text(f"#!/bin/sh\nprintf %s {shlex.quote(text)}\nexit {exit_code}\n")
        self._systemctl.chmod(0o755)

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return run_fastlog(*words, cwd=self.here, **{"PATH": self._path, **environment})


@pytest.fixture
def service(tmp_path):
    return Service(tmp_path)


@pytest.mark.parametrize("command", ["tail", "count"])
def test_the_log_is_where_the_unit_says(service, command):
    done = service.run(command)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == ("- INFO     - - of the service\n" if command == "tail" else "1\n")


def test_the_last_file_of_the_unit_counts_and_each_before_what_the_unit_sets(service, tmp_path):
    service.first.write_text(f"FASTLOG_LOG_DIR={tmp_path}\nLOG_FILENAME=nothing.log\n")
    assert f"{tmp_path}/nothing.log does not exist" in service.run("tail").stderr
    service.second.write_text(f"LOG_DIR={service.log_dir}\nLOG_FILENAME=server.log\n")
    assert "of the service" in service.run("tail").stdout


def test_flags_variables_an_env_file_and_a_log_nearby_come_first(service, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "server.log").write_bytes(ENTRY.replace(b"service", b"user"))
    mine = tmp_path / "mine.env"
    mine.write_text(f"LOG_DIR={own}\n")
    assert "of the user" in service.run("tail", "--log-dir", str(own)).stdout
    assert "of the user" in service.run("tail", FASTLOG_LOG_DIR=str(own)).stdout
    assert "of the user" in service.run("tail", "--env-file", str(mine)).stdout
    own.rename(service.here / "logs")
    assert "of the user" in service.run("tail").stdout


def test_top_and_doctor_ask_the_dashboard_of_the_service_with_its_token(service, start):
    server = start(DASHBOARD_TOKEN=TOKEN)
    service.second.write_text(f"DASHBOARD_PORT={server.dashboard_port}\nDASHBOARD_TOKEN={TOKEN}\n")
    done = service.run("top", "--once")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"http://127.0.0.1:{server.dashboard_port}" in done.stdout
    (found,) = [
        finding for finding in json.loads(service.run("doctor", "--json").stdout) if finding["subject"] == "server"
    ]
    assert found["status"] == "ok"
    # The token is only for the service itself.
    other = service.run("top", "--once", "--url", f"http://127.0.0.1:{server.dashboard_port}")
    assert "token required" in other.stderr


@only_root
def test_a_file_that_may_not_be_read_is_named(service, tmp_path):
    service.first.write_text(f"LOG_DIR={service.log_dir}\n")
    service.first.chmod(0)
    command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *FASTLOG, "tail"]
    done = subprocess.run(
        command,
        cwd=service.here,
        env={**BASE_ENVIRONMENT, "PATH": service._path},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SEC,
        check=False,
    )
    assert done.stderr == f"fastlog: cannot read {service.first}: Permission denied; it has settings of the service\n"
    assert "of the service" in done.stdout  # the unit's own variable has the directory


@only_root
@pytest.mark.parametrize("answer", ["LoadState=not-found\n", "", None])
def test_without_systemd_the_files_of_the_units_are_read(service, tmp_path, answer):
    """As in a container, where /etc/default/fastlog is all there is. It is mounted for this command alone."""
    etc = tmp_path / "default"
    etc.mkdir()
    (etc / "fastlog").write_text(f"LOG_DIR={service.log_dir}\n")
    service.says(answer or "", 0 if answer else 1)
    script = f"mount --bind {shlex.quote(str(etc))} /etc/default && exec {shlex.join([*FASTLOG, 'tail'])}"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        cwd=service.here,
        env={**BASE_ENVIRONMENT, "PATH": service._path if answer is not None else os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SEC,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "of the service" in done.stdout


def test_the_log_of_a_server_that_is_no_service_is_found_by_its_dashboard(service, start, tmp_path):
    service.says("LoadState=not-found\n")
    log_dir = tmp_path / "elsewhere"
    server = start(LOG_DIR=str(log_dir), LOG_FILENAME="app.log", FLUSH_COUNT="1")
    server.send([INFO])
    eventually((log_dir / "app.log").read_bytes, len)
    done = service.run("count", FASTLOG_DASHBOARD_PORT=str(server.dashboard_port))
    assert (done.returncode, done.stdout) == (0, "1\n")
    assert done.stderr == f"fastlog: there is no logs/server.log; using {log_dir}/app.log\n"
    assert "does not exist" in service.run("count", FASTLOG_DASHBOARD_PORT="9").stderr


@pytest.mark.parametrize("command", ["tail", "count", "top", "doctor"])
def test_the_help_says_where_settings_come_from(command, tmp_path):
    shown = run_fastlog(command, "--help", cwd=tmp_path).stdout
    for place in ("fastlog.service", "/etc/default/fastlog", "--env-file", "FASTLOG_"):
        assert place in shown
