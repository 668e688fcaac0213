"""`fastlog doctor` finds what is wrong with real servers, sockets and disks."""

import contextlib
import grp
import json
import os
import pwd
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fastlog.commands.directories import how_to_look_into
from fastlog.server.logfile import LogFile
from fastlog.server.storage import Storage
from tests.helpers.archives import names_in
from tests.helpers.entries import ERROR_7, entries
from tests.helpers.running import BASE_ENVIRONMENT, FASTLOG, TOKEN, eventually, get, run_fastlog
from tests.helpers.small_disk import only_root

RMEM_MAX = int(Path("/proc/sys/net/core/rmem_max").read_text())
USER = pwd.getpwuid(os.geteuid()).pw_name
NOBODY = {"FASTLOG_SERVER_PORT": "0", "FASTLOG_DASHBOARD_PORT": "9"}  # nobody answers at the discard port

HOLDER = """
import socket, sys
holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
holder.bind(("127.0.0.1", 0))
print(holder.getsockname()[1], flush=True)
sys.stdin.read()
"""
STRANGER = """
import http.server
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(404)
        self.end_headers()
        self.wfile.write(b"<!DOCTYPE HTML>\\n<html><body>a page of a stranger</body></html>")
    def log_message(self, *arguments):
        pass
server = http.server.HTTPServer(("127.0.0.1", 0), Page)
print(server.server_port, flush=True)
server.serve_forever()
"""
CHECKER = """
import sys
from pathlib import Path
from fastlog.commands.checks import Examined, check_directory
from fastlog.config import Settings
finding = check_directory(Examined(Settings(log_dir=sys.argv[1]), None, None, []))
print(finding.status, finding.text, finding.fix, sep="\\n")
"""


def examine(directory, *arguments: str, **environment: str) -> tuple[int, dict[str, dict]]:
    """The exit code, and the findings by subject."""
    done = run_fastlog("doctor", "--json", *arguments, cwd=directory, **environment)
    assert done.stderr == ""
    return done.returncode, {finding["subject"]: finding for finding in json.loads(done.stdout)}


def at(server) -> list[str]:
    return ["--url", f"http://127.0.0.1:{server.dashboard_port}"]


@pytest.fixture
def stranger():
    """A program that is not fastlog and serves HTTP; its process, and its port."""
    process = subprocess.Popen([sys.executable, "-c", STRANGER], stdout=subprocess.PIPE)
    yield process, process.stdout.readline().decode().strip()
    process.kill()
    process.communicate()


@contextlib.contextmanager
def closed(directory):
    """A directory that its owner may not look into."""
    directory.chmod(0)
    try:
        yield
    finally:
        directory.chmod(0o755)


@pytest.fixture
def free_port():
    """A UDP port that was free a moment ago."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trial:
        trial.bind(("127.0.0.1", 0))
        return str(trial.getsockname()[1])


def test_nothing_is_wrong_with_a_good_server(start, tmp_path, free_port):
    server = start(SERVER_PORT=free_port, RCVBUF_SIZE="100000", MAX_LOG_SIZE_MB="1")
    code, found = examine(tmp_path, *at(server))
    assert (code, {subject for subject in found if found[subject]["status"] == "problem"}) == (0, set())
    assert list(found) == [
        "server", "port", "receive buffer", "kernel drops", "losses", "log directory", "sync", "disk space", "clock"
    ]  # fmt: skip
    assert found["port"]["text"] == f"{free_port}/udp: fastlog, pid {server.process.pid}"
    assert found["receive buffer"]["text"] == "wanted 100000 bytes, granted 100000"
    assert "fdatasync, asynchronous" in found["sync"]["text"]
    assert str(tmp_path) in found["log directory"]["text"]
    assert names_in(tmp_path) == {"rejects.jsonl", "server.log"}  # it left nothing


def test_no_server_is_found(tmp_path):
    code, found = examine(tmp_path, **NOBODY)
    assert code == 1
    assert found["server"] == {
        "subject": "server", "status": "problem", "text": "not running: cannot ask http://127.0.0.1:9/stats: Connection refused", "fix": "fastlog serve"
    }  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_a_server_without_a_dashboard_is_examined_all_the_same(tmp_path):
    code, found = examine(tmp_path, FASTLOG_SERVER_PORT="0", FASTLOG_DASHBOARD_PORT="off")
    assert code == 1
    assert "the server has no dashboard: DASHBOARD_PORT is off" in found["server"]["text"]
    assert "disk space" in found


def test_a_server_that_wants_a_token_is_not_taken_for_none(start, tmp_path, free_port):
    server = start(SERVER_PORT=free_port, DASHBOARD_TOKEN=TOKEN, MAX_LOG_SIZE_MB="1")
    code, found = examine(
        tmp_path, *at(server), FASTLOG_SERVER_PORT=free_port, FASTLOG_RCVBUF_SIZE="1000", FASTLOG_MAX_LOG_SIZE_MB="1"
    )
    assert (code, found["server"]["status"], found["port"]["status"]) == (0, "unknown", "ok")
    assert "401: token required (DASHBOARD_TOKEN)" in found["server"]["text"]
    code, found = examine(tmp_path, *at(server), FASTLOG_DASHBOARD_TOKEN=TOKEN)
    assert found["server"]["status"] == "ok"


def test_another_program_at_the_dashboards_url_is_named_and_the_rest_is_still_checked(tmp_path, stranger):
    process, port = stranger
    code, found = examine(tmp_path, FASTLOG_SERVER_PORT="0", FASTLOG_DASHBOARD_PORT=port)
    assert code == 1
    assert found["server"]["status"] == "problem"
    assert found["server"]["text"] == (
        f"not running: another program answers at http://127.0.0.1:{port}/stats: "
        f"pid {process.pid}, {shlex.join([sys.executable, '-c', STRANGER])[:200]}"
    )
    assert found["server"]["fix"] == f"fastlog serve --dashboard-port {int(port) + 1}"
    assert "page of a stranger" not in json.dumps(found)
    assert list(found)[1:] == [
        "port", "receive buffer", "kernel drops", "log directory", "sync", "disk space", "clock"
    ]  # fmt: skip


def test_a_server_whose_dashboard_is_not_found_is_not_taken_for_none(start, tmp_path, free_port, stranger):
    process, port = stranger
    server = start(SERVER_PORT=free_port, DASHBOARD_PORT=port)
    _, found = examine(tmp_path, FASTLOG_SERVER_PORT=free_port, FASTLOG_DASHBOARD_PORT=port)
    assert found["server"]["status"] == "unknown"
    assert found["server"]["text"].startswith(
        f"running (pid {server.process.pid}), but another program answers at http://127.0.0.1:{port}/stats: "
        f"pid {process.pid}, "
    )
    assert found["port"]["status"] == "ok"


def test_a_server_without_a_dashboard_is_a_state_of_its_own(start, tmp_path, free_port):
    off = {"FASTLOG_SERVER_PORT": free_port, "FASTLOG_DASHBOARD_PORT": "off", "FASTLOG_MAX_LOG_SIZE_MB": "1"}
    found = examine(tmp_path, **off)[1]["server"]
    assert (found["status"], found["text"]) == ("problem", f"not running: no fastlog server has port {free_port}/udp")
    server = start(SERVER_PORT=free_port, DASHBOARD_PORT="off")
    found = examine(tmp_path, **off)[1]["server"]
    assert found["status"] == "note"
    assert found["text"].startswith(f"running (pid {server.process.pid}) without a dashboard")


@pytest.mark.parametrize("runs", [True, False])
def test_a_log_directory_that_may_not_be_looked_into_is_a_finding(start, tmp_path, runs):
    """As for any user but root under the shipped unit: systemd keeps the log below /var/log/private."""
    private = tmp_path / "private"
    log_dir = private / "fastlog"
    log_dir.mkdir(parents=True)
    server = start(LOG_DIR=str(log_dir)) if runs else None
    # root may look everywhere, unless it is without these capabilities
    powerless = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    with closed(private):
        done = subprocess.run(
            [*powerless, *FASTLOG, "doctor", "--json", *(at(server) if server else [])],
            cwd="/",
            env={**BASE_ENVIRONMENT, **NOBODY, "FASTLOG_LOG_DIR": str(log_dir)},
            capture_output=True,
            check=False,
        )
    assert done.stderr == b""
    found = {finding["subject"]: finding for finding in json.loads(done.stdout)}
    for subject in ("log directory", "disk space"):
        assert found[subject]["status"] == "unknown"
        assert f"user {USER} may not look into {private}" in found[subject]["text"]
        assert found[subject]["fix"].startswith("sudo ")
    assert found["sync"]["status"] == ("ok" if runs else "unknown")
    assert found["clock"]


@only_root
def test_the_group_that_may_look_into_a_directory_is_named(tmp_path):
    tmp_path.chmod(0o750)
    os.chown(tmp_path, 0, grp.getgrnam("adm").gr_gid)
    assert how_to_look_into(tmp_path) == "sudo fastlog doctor, or for good: sudo usermod -aG adm root"
    tmp_path.chmod(0o700)
    assert how_to_look_into(tmp_path) == "sudo fastlog doctor"


def test_a_port_in_use_is_found_with_its_user(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        port = holder.stdout.readline().decode().strip()
        code, found = examine(tmp_path, **{**NOBODY, "FASTLOG_SERVER_PORT": port})
        assert code == 1
        assert found["port"]["status"] == "problem"
        assert found["port"]["text"] == (
            f"{port}/udp is in use by pid {holder.pid}, {shlex.join([sys.executable, '-c', HOLDER])[:200]}"
        )
        assert (
            found["port"]["fix"]
            == f"kill {holder.pid}, or use another port: fastlog serve --port {int(port) % 65535 + 1}"
        )
    finally:
        holder.communicate()


def test_a_small_limit_of_receive_buffers_is_found_before_the_start(tmp_path):
    code, found = examine(tmp_path, **NOBODY, FASTLOG_RCVBUF_SIZE=str(RMEM_MAX + 1))
    assert code == 1
    assert found["receive buffer"]["status"] == "problem"
    assert found["receive buffer"]["text"] == (
        f"wanted {RMEM_MAX + 1} bytes, a server without CAP_NET_ADMIN would be granted {RMEM_MAX}; "
        f"net.core.rmem_max is {RMEM_MAX}"
    )
    assert found["receive buffer"]["fix"] == (
        f"sudo sysctl -w net.core.rmem_max={RMEM_MAX + 1}, then restart the server"
    )
    assert examine(tmp_path, **NOBODY, FASTLOG_RCVBUF_SIZE=str(RMEM_MAX))[1]["receive buffer"]["status"] == "ok"


def test_a_receive_buffer_that_a_server_was_not_granted_is_found(start, tmp_path):
    """No system grants this one whole: the kernel keeps twice of it in an int."""
    code, found = examine(tmp_path, *at(start(RCVBUF_SIZE="1073741824")))
    assert code == 1
    assert found["receive buffer"]["status"] == "problem"
    assert found["receive buffer"]["text"].startswith("wanted 1073741824 bytes, granted ")
    assert found["receive buffer"]["fix"] == "fastlog serve --rcvbuf-size 1073741823"


def test_kernel_drops_are_found(start, tmp_path):
    server = start(RCVBUF_SIZE="10000")
    with server.client() as client, server.stopped():
        for entry in entries(1_000):
            client.send(entry)
    drops = eventually(lambda: server.stats()["losses"]["kernel_drops"], bool)
    code, found = examine(tmp_path, *at(server))
    assert code == 1
    assert found["kernel drops"]["status"] == "problem"
    assert found["kernel drops"]["text"] == f"{drops} datagrams were dropped because the receive buffer was full"
    assert found["kernel drops"]["fix"] == "sudo sysctl -w net.core.rmem_max=20000 && fastlog serve --rcvbuf-size 20000"
    assert found["server"]["status"] == "problem"  # its health says so, too


def test_losses_are_reported_by_cause(start, tmp_path):
    server = start()
    server.send([ERROR_7, ERROR_7.replace(b'"sequence":7', b'"sequence":10'), b"bad"])
    eventually(server.stats, lambda stats: stats["rejected"]["syntax"])
    found = examine(tmp_path, *at(server))[1]["losses"]
    assert found == {"subject": "losses", "status": "note", "text": "network (estimate) 2, disk 0, rejected 1"}


def test_kernel_drops_of_a_server_that_does_not_answer_are_found(tmp_path):
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as full,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        full.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        full.bind(("127.0.0.1", 0))
        client.connect(full.getsockname())
        for _ in range(100):
            client.send(bytes(1_000))
        code, found = examine(tmp_path, **{**NOBODY, "FASTLOG_SERVER_PORT": str(full.getsockname()[1])})
    assert code == 1
    assert found["kernel drops"]["status"] == "problem"
    assert 0 < int(found["kernel drops"]["text"].split()[0]) < 100


@only_root
def test_a_full_disk_is_found(small_disk, closing, tmp_path):
    roomy = {
        **NOBODY,
        "FASTLOG_LOG_DIR": str(small_disk),
        "FASTLOG_MAX_LOG_SIZE_MB": "1",
        "FASTLOG_LOG_BACKUPS": "2",
        "FASTLOG_REJECTS_MAX_MB": "0.1",
    }
    code, found = examine(tmp_path, **roomy)
    assert (found["disk space"]["status"], found["log directory"]["status"]) == ("ok", "note")
    assert "tmpfs" in found["log directory"]["text"]
    ballast = small_disk / "ballast"
    with ballast.open("wb") as file:
        system = os.statvfs(small_disk)
        os.posix_fallocate(file.fileno(), 0, system.f_bavail * system.f_frsize)
    code, found = examine(tmp_path, **roomy)
    assert code == 1
    assert found["disk space"]["status"] == "problem"
    assert found["disk space"]["text"].startswith("the disk is full; 0 MB free, ")
    assert found["disk space"]["fix"] == f"sudo du -xh {small_disk} | sort -h | tail"
    assert found["sync"]["text"].endswith("No space left on device")


@only_root
def test_a_disk_that_rotation_will_fill_is_found(small_disk, tmp_path):
    code, found = examine(
        tmp_path,
        **NOBODY,
        FASTLOG_LOG_DIR=str(small_disk),
        FASTLOG_MAX_LOG_SIZE_MB="1",
        FASTLOG_LOG_BACKUPS="20",
        FASTLOG_REJECTS_MAX_MB="1",
    )
    assert code == 1
    assert found["disk space"]["status"] == "problem"
    assert "8 MB free, 0 MB used of the 22 MB that rotation keeps" in found["disk space"]["text"]
    assert found["disk space"]["fix"] == "fastlog serve --log-backups 6"


@only_root
def test_a_server_whose_disk_refuses_is_found(small_disk, closing, tmp_path, start):
    (small_disk / "ballast").write_bytes(bytes((8 << 20) - 8192))
    server = start(LOG_DIR=str(small_disk), FLUSH_COUNT="10", REJECTS_MAX_MB="0", MAX_LOG_SIZE_MB="1", LOG_BACKUPS="1")
    server.send(entries(1_000))
    eventually(lambda: get(server.dashboard_port, "/health"), lambda response: response.status == 503)
    code, found = examine(tmp_path, *at(server))
    assert code == 1
    assert found["disk space"]["text"].startswith("the disk refuses entries: ")
    assert "No space left on device" in found["disk space"]["text"]


def test_what_rotation_keeps_is_counted_with_what_is_there(tmp_path):
    log = LogFile(Storage(), tmp_path, "server.log", 1_000_000, 3)
    for _ in range(3):
        log.append(memoryview(b"x" * 999_999 + b"\n"), durable=False)
    log.close()
    _, found = examine(
        tmp_path,
        **NOBODY,
        FASTLOG_LOG_DIR=".",
        FASTLOG_MAX_LOG_SIZE_MB="1",
        FASTLOG_LOG_BACKUPS="3",
        FASTLOG_REJECTS_MAX_MB="0",
    )
    assert found["disk space"]["text"].endswith(" 3 MB used of the 4 MB that rotation keeps")


KEPT = {**NOBODY, "FASTLOG_LOG_DIR": ".", "FASTLOG_MAX_LOG_SIZE_MB": "1", "FASTLOG_REJECTS_MAX_MB": "0"}


def space(directory, **settings):
    return examine(directory, **KEPT, **{f"FASTLOG_{name}": value for name, value in settings.items()})[1]["disk space"]


def test_log_keep_mb_and_all_files_of_the_log_count(tmp_path):
    for name in ("server.log", "server.log.1", "server.log.2.zst", "server.log-20261127.gz"):
        (tmp_path / name).write_bytes(bytes(1_000_000))
    for name in ("server.log.torn", "server.logs", "other"):
        (tmp_path / name).write_bytes(bytes(9_000_000))
    found = space(tmp_path, LOG_BACKUPS="100", LOG_KEEP_MB="7")
    assert found["text"].endswith(" 4 MB used of the 7 MB that LOG_KEEP_MB and the rejects may take")
    assert found["status"] == "ok"


def test_log_backups_that_end_a_log_before_log_keep_mb_are_worth_knowing(tmp_path):
    found = space(tmp_path, LOG_BACKUPS="10", LOG_KEEP_MB="50")
    assert found["status"] == "note"
    assert found["text"].startswith("LOG_BACKUPS=10 archives of 1.0 MB end before LOG_KEEP_MB=50 is reached; ")
    assert found["fix"] == "fastlog serve --log-backups 49"
    assert space(tmp_path, LOG_BACKUPS="49", LOG_KEEP_MB="50")["status"] == "ok"
    for number in (1, 2, 3):
        (tmp_path / f"server.log.{number}.zst").write_bytes(bytes(200_000))
    found = space(tmp_path, LOG_BACKUPS="49", LOG_KEEP_MB="50", LOG_COMPRESS="zstd")
    assert found["text"].startswith("LOG_BACKUPS=49 archives of 0.2 MB end before LOG_KEEP_MB=50")
    assert int(found["fix"].split()[-1]) > 200


def test_compressed_archives_need_what_they_take(tmp_path):
    for number in (1, 2):
        (tmp_path / f"server.log.{number}.zst").write_bytes(bytes(100_000))
    found = space(tmp_path, LOG_BACKUPS="31", LOG_COMPRESS="zstd")
    assert found["text"].endswith(" 0 MB used of the 5 MB that rotation keeps")
    assert space(tmp_path, LOG_BACKUPS="31")["text"].endswith(" of the 32 MB that rotation keeps")


@only_root
def test_a_disk_that_is_full_before_log_keep_mb_is_found(small_disk, tmp_path):
    found = space(tmp_path, LOG_BACKUPS="100", LOG_KEEP_MB="20")
    assert found["status"] == "ok"
    _, found = examine(
        tmp_path, **{**KEPT, "FASTLOG_LOG_DIR": str(small_disk)}, FASTLOG_LOG_KEEP_MB="20", FASTLOG_LOG_BACKUPS="100"
    )
    assert found["disk space"]["status"] == "problem"
    assert found["disk space"]["fix"] == "fastlog serve --log-keep-mb 7.97"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_a_directory_that_may_not_be_written_is_found():
    nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    if subprocess.run([*nobody, sys.executable, "-c", ""], capture_output=True, check=False).returncode:
        pytest.skip("another user cannot run this Python: it is in a directory that only root may enter")
    done = subprocess.run([*nobody, sys.executable, "-c", CHECKER, "/etc/fastlog"], capture_output=True, check=True)
    assert done.stdout.decode().splitlines() == [
        "problem", "user nobody may not write to /etc", "sudo install -d -o nobody /etc/fastlog"
    ]  # fmt: skip


def test_a_client_sees_the_answer_of_its_server(start, tmp_path):
    server = start()
    code, found = examine(tmp_path, "--server", "127.0.0.1", "--port", str(server.port))
    assert code == 0
    assert found["answer"]["status"] == "ok"
    assert f"127.0.0.1 port {server.port}/udp stored and acknowledged an entry in " in found["answer"]["text"]
    entry = json.loads(server.log())
    assert (entry["app"], entry["level"]) == ("fastlog-doctor", "ERROR")


def test_a_client_learns_that_no_server_is_there(tmp_path, free_port):
    code, found = examine(tmp_path, "--server", "127.0.0.1", "--port", free_port)
    assert code == 1
    assert found["answer"]["text"] == f"nothing listens on 127.0.0.1 port {free_port}/udp"
    code, found = examine(tmp_path, "--server", "no-such-host.invalid")
    assert code == 1
    assert "cannot find the server 'no-such-host.invalid'" in found["answer"]["text"]


def test_a_client_learns_that_a_server_stays_silent(start, tmp_path):
    server = start(PRIORITY_LEVELS="CRITICAL")
    code, found = examine(tmp_path, "--server", "127.0.0.1", "--port", str(server.port))
    assert code == 1
    assert "a firewall, ALLOW_FROM, or PRIORITY_LEVELS without ERROR" in found["answer"]["text"]


def test_findings_are_written_for_people_too(tmp_path):
    done = run_fastlog("doctor", cwd=tmp_path, **NOBODY)
    assert done.returncode == 1
    assert (
        "PROBLEM server          not running: cannot ask http://127.0.0.1:9/stats: Connection refused\n" in done.stdout
    )
    assert "                        fix: fastlog serve\n" in done.stdout
    assert "\nok      kernel drops    none\n" in done.stdout
    assert "\x1b" not in done.stdout
