"""The start on what a crash, a full disk or another program left in the log's directory."""

import contextlib
import json
import os
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.helpers.running import FASTLOG, PATIENCE_SEC, Server, run_fastlog
from tests.helpers.small_disk import only_root

ERROR_7 = b'{"level":"ERROR","message":"seven","timestamp":"2026-11-26T12:00:00.123Z","sequence":7}'
ERROR_8 = b'{"level":"ERROR","message":"eight","sequence":8}'
INFO = b'{"level":"INFO","message":"%s"}\n' % (b"x" * 160)
NOBODY = 65534


def ask(server: Server, entry: bytes) -> int:
    """Sends a priority entry; returns the sequence that is acknowledged."""
    with server.client() as client:
        client.send(entry)
        return json.loads(client.recv(100))["sequence"]


def entries(content: bytes) -> list[dict]:
    return [json.loads(line) for line in content.splitlines()]


@pytest.mark.parametrize(
    "damaged",
    [
        pytest.param(INFO * 10 + bytes(20 << 20), id="zeros at the end"),
        pytest.param(INFO * 10 + bytes(4096) + INFO * ((20 << 20) // len(INFO)), id="a hole far from the end"),
        pytest.param(INFO * 10 + INFO[:30] + bytes(18 << 20) + INFO[9:] + INFO * 10, id="zeros before the end"),
    ],
)
def test_more_damage_than_a_few_megabytes_is_repaired_and_what_is_acknowledged_is_a_line(start, tmp_path, damaged):
    (tmp_path / "server.log").write_bytes(damaged)
    server = start(MAX_LOG_SIZE_MB="1000")
    assert ask(server, ERROR_7) == 7
    server.stop()
    left = server.log()
    assert b"\0" not in left
    assert entries(left)[-1]["sequence"] == 7
    assert len(left.splitlines()) >= 11


def test_a_port_in_use_ends_the_start_before_anything_is_touched(start, tmp_path):
    server = start()
    other = tmp_path / "other"
    other.mkdir()
    (other / "server.log").write_bytes(INFO[:9])
    for log_dir in (other, other / "new"):
        done = run_fastlog(
            "serve", "--host", "127.0.0.1", "--port", str(server.port), "--log-dir", str(log_dir), cwd=other
        )
        assert done.returncode == 1
        assert f"cannot listen on 127.0.0.1 port {server.port}/udp" in done.stderr
    assert [path.name for path in other.iterdir()] == ["server.log"]
    assert (other / "server.log").read_bytes() == INFO[:9]


def test_what_comes_while_the_log_is_repaired_waits_in_the_socket(tmp_path, closing):
    """The first message of a repair shows that the socket is bound by then."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "server.log.3").mkdir()

    class Early(Server):
        def wait_for_message(self, text):
            if "ready" in text:
                super().wait_for_message("server.log.3 is not a file")
                self.early = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                self.early.settimeout(PATIENCE_SEC)
                self.early.connect(("127.0.0.1", port))
                self.early.send(ERROR_7)
            return super().wait_for_message(text)

    server = closing(Early(tmp_path, SERVER_PORT=str(port)))
    with server.early:
        assert json.loads(server.early.recv(100))["sequence"] == 7


@pytest.mark.parametrize(
    "name", ["server.log-20261124", "server.log.1", "server.log.distrusted.4", "server.log.9", "server.log"]
)
def test_a_retransmission_is_known_whichever_file_its_original_is_in(start, tmp_path, name):
    (tmp_path / name).write_bytes(INFO + ERROR_7 + b"\n")
    server = start()
    assert ask(server, ERROR_7) == 7
    assert ask(server, ERROR_8) == 8
    server.stop()
    assert "stored 1, duplicates 1," in server.account


@only_root
@pytest.mark.parametrize("owner", [NOBODY, 0])
def test_an_archive_of_somebody_else_does_not_end_the_start(closing, owner):
    logs = Path(
        closing(contextlib.ExitStack()).enter_context(tempfile.TemporaryDirectory())
    )  # nobody else may look into pytest's own
    os.chown(logs, NOBODY, NOBODY)
    (logs / "server.log").write_bytes(INFO)
    os.chown(logs / "server.log", NOBODY, NOBODY)
    (logs / "server.log.3").write_bytes(ERROR_7 + b"\n")
    (logs / "server.log.3").chmod(0 if owner else 0o600)
    os.chown(logs / "server.log.3", owner, owner)
    command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all", *FASTLOG]
    if subprocess.run([*command, "--version"], capture_output=True, check=False).returncode:
        pytest.skip("nobody else may run the Python of these tests")
    server = closing(Server(logs, command=[*command, "serve"], DASHBOARD_PORT="off"))
    assert f"cannot repair {logs}/server.log.3: Permission denied" in "\n".join(server.messages)
    assert ask(server, ERROR_8) == 8


@only_root
@pytest.mark.parametrize("behind", [b"", INFO * 3], ids=["unfinished", "a hole"])
def test_a_full_disk_does_not_keep_a_server_from_starting_after_a_crash(small_disk, closing, behind):
    torn = INFO[:30] + bytes(4096) + INFO[99:] if behind else INFO[:30]
    (small_disk / "server.log").write_bytes(INFO * 5 + torn + behind)
    subprocess.run(["dd", "if=/dev/zero", f"of={small_disk}/fill", "bs=4k"], stderr=subprocess.DEVNULL, check=False)
    server = closing(Server(small_disk, REJECTS_MAX_MB="0"))
    assert (
        f"bytes are lost, since {small_disk}/server.log.torn cannot be written: No space left on device"
        in server.messages[0]
    )
    assert [{"level", "message"}] * len((behind or INFO * 0).splitlines() + [1] * 5) == [
        set(entry) for entry in entries(server.log())
    ]
    (small_disk / "fill").unlink()
    assert ask(server, ERROR_7) == 7
    assert entries(server.log())[-1]["sequence"] == 7
