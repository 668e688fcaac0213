"""The Debian package, installed in clean systems that boot with systemd.

`make deb-check` runs these with the packages of `make deb`: FASTLOG_DEBS names them. Without it they are skipped.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastlog import __version__
from tests.helpers.clean_system import ROOT, Container, needs_systems
from tests.helpers.running import BASE_ENVIRONMENT, eventually

RELEASES = {"debian12": "bookworm", "debian13": "trixie"}
DEBS = {re.search(r"~(\w+)_", path)[1]: Path(path) for path in os.environ.get("FASTLOG_DEBS", "").split()}
LINTIAN_SEC = 200

# Sends 1,000 numbered entries a second, and says when it has begun. Once the file /shared/enough is there, it prints how
# many it has sent. The receive buffer holds what it sends in ten seconds.
SENDER = """
import os, socket, time
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.connect(("127.0.0.1", 5514))
began, sent = time.monotonic(), 0
while not os.path.exists("/shared/enough"):
    for _ in range(10):
        client.send(b'{"level":"INFO","message":"n","number":%d}' % sent)
        sent += 1
    if sent == 100:
        print("begun", flush=True)
    time.sleep(max(0, began + sent / 1000 - time.monotonic()))
print(sent)
"""
# Sends an ERROR with a sequence, and prints the answer.
ASK = """
import socket
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.connect(("127.0.0.1", 5514))
client.settimeout(20)
client.send(b'{"level":"ERROR","message":"card refused","sequence":7}')
print(client.recv(100).decode())
"""

pytestmark = [
    pytest.mark.skipif(not DEBS, reason="make deb-check runs these with the packages of make deb"),
    needs_systems,
]


@pytest.fixture(params=DEBS or ["none"])
def package(request) -> Path:
    return DEBS[request.param]


@pytest.fixture
def shared(package, tmp_path) -> Path:
    """What the container and the test share: the package, another one of a higher version, and programs."""
    shutil.copy(package, tmp_path / "fastlog.deb")
    (tmp_path / "send.py").write_text(SENDER)
    (tmp_path / "ask.py").write_text(ASK)
    tmp_path.chmod(0o755)
    return tmp_path


@pytest.fixture
def system(package, shared, closing) -> Container:
    """A clean system."""
    release = RELEASES[re.search(r"~(\w+)_", package.name)[1]]
    return closing(Container(release, shared))


@pytest.fixture
def installed(system) -> Container:
    """The same with the package."""
    system.run("apt-get install --yes /shared/fastlog.deb")
    return system


def asked(*command: object) -> str:
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=True).stdout


def newer(package: Path, target: Path) -> None:
    """The same package with a higher version."""
    tree = target / "newer"
    subprocess.run(["dpkg-deb", "--raw-extract", str(package), str(tree)], check=True)
    control = tree / "DEBIAN" / "control"
    control.write_text(re.sub(r"^Version: .*", r"\g<0>+1", control.read_text(), flags=re.MULTILINE))
    command = ["dpkg-deb", "-Zgzip", "-z1", "--build", str(tree), str(target / "newer.deb")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(tree)


def numbers(system: Container) -> list[int]:
    """Of the entries that the sender sent, those in the log, in its order."""
    lines = system.run("cat /var/log/fastlog/renamed /var/log/fastlog/server.log").splitlines()
    entries = [json.loads(line) for line in lines]
    return [entry["number"] for entry in entries if entry["message"] == "n"]


@contextlib.contextmanager
def load(system: Container, shared: Path) -> Iterator[None]:
    """Entries come in meanwhile; afterwards, each of them is in the log once."""
    with system.start("python3 /shared/send.py") as sender:
        assert sender.stdout.readline() == "begun\n"
        try:
            yield
        finally:
            (shared / "enough").touch()
        sent = int(sender.stdout.read())
    assert eventually(lambda: numbers(system), lambda found: len(found) >= sent) == [*range(sent)]


def test_it_receives_at_once_and_acknowledges(installed):
    assert installed.fails("command -v cc gcc") == ""
    assert json.loads(installed.run("python3 /shared/ask.py")) == {"ack": True, "sequence": 7}
    assert "card refused" in installed.run("fastlog tail")
    assert installed.run("systemctl is-enabled fastlog.socket fastlog.service") == "enabled\nenabled\n"
    assert installed.fails("systemctl is-enabled fastlog-ship.service") == "disabled\n"
    assert installed.fails("systemctl --failed --quiet --no-legend | grep .") == ""


def test_the_logs_directory_is_made_anew_where_it_was_removed(installed):
    installed.run("rm -r /var/log/fastlog && systemctl restart fastlog && python3 /shared/ask.py")
    installed.run("useradd --groups adm alice")
    assert "card refused" in installed.run("fastlog tail", "alice")


def test_the_shipper_needs_only_an_engine(installed):
    """There is none at that address; the note beside the log says so."""
    installed.run("echo FASTLOG_SHIP_TO=http://127.0.0.1:9/logs >> /etc/default/fastlog-ship")
    installed.run("systemctl enable --now fastlog-ship && python3 /shared/ask.py")
    installed.run("until grep refused /var/log/fastlog/server.log.shipped; do sleep 0.05; done")
    assert "Connection refused" in installed.fails("fastlog doctor")


def test_a_reload_a_restart_and_an_upgrade_under_load_lose_nothing(package, shared, installed):
    newer(package, shared)
    installed.run("echo '#changed by the admin' >> /etc/default/fastlog")
    socket = installed.run("systemctl show --property=ActiveEnterTimestampMonotonic fastlog.socket")
    pids = []
    with load(installed, shared):
        for command in (
            "mv /var/log/fastlog/server.log /var/log/fastlog/renamed && systemctl reload fastlog",
            "systemctl restart fastlog",
            "apt-get install --yes /shared/newer.deb",
        ):
            pids.append(installed.run("systemctl show --property=MainPID fastlog.service"))
            installed.run(command)
        pids.append(installed.run("systemctl show --property=MainPID fastlog.service"))
    assert len(set(pids)) == 3, "a reload must keep the process, a restart and an upgrade must not"
    assert installed.run("systemctl show --property=ActiveEnterTimestampMonotonic fastlog.socket") == socket
    assert "#changed by the admin" in installed.run("cat /etc/default/fastlog")
    assert installed.run("stat --format='%a %U %G' /etc/default/fastlog") == "640 root adm\n"


def test_members_of_adm_read_the_log_and_nobody_else_does(installed):
    installed.run("useradd --groups adm alice && useradd stranger")
    installed.run("python3 /shared/ask.py")
    assert "card refused" in installed.run("fastlog tail", "alice")
    assert installed.run("fastlog count --json 2> /dev/null", "alice") == '{"total":1}\n'
    for command in (
        "touch /var/log/fastlog/x",
        "rm /var/log/fastlog/server.log",
        "echo >> /var/log/fastlog/server.log",
    ):
        installed.fails(command, "alice")
    for command in ("cat /var/log/fastlog/server.log", "ls /var/log/fastlog", "cat /etc/default/fastlog"):
        installed.fails(command, "stranger")
    assert re.search(r"ermission denied .* groups .*\badm\b", installed.fails("fastlog tail", "stranger"))
    # New files get the same rights: the server makes one in place of the log that was renamed.
    installed.run("mv /var/log/fastlog/server.log /var/log/fastlog/old && systemctl reload fastlog")
    installed.run("until test -e /var/log/fastlog/server.log; do sleep 0.05; done")
    installed.run("cat /var/log/fastlog/server.log /var/log/fastlog/old", "alice")
    # The shipper keeps its own files there, and changes none of the server's.
    ship = "setpriv --reuid=fastlog-ship --regid=fastlog --groups=fastlog-ship sh -c"
    installed.run(f"{ship} 'cat /var/log/fastlog/server.log && touch /var/log/fastlog/server.log.shipped'")
    installed.fails(f"{ship} 'rm -f /var/log/fastlog/server.log'")
    installed.fails(f"{ship} 'echo >> /var/log/fastlog/server.log'")


def test_the_commands_find_the_service_wherever_it_is(installed):
    """Its settings are in /etc/default/fastlog, which root and the members of adm can read."""
    token = "correct-horse-battery-staple"
    moved = f"DASHBOARD_PORT=9080\\nDASHBOARD_TOKEN={token}\\nLOG_FILENAME=here.log\\n"
    installed.run(f"printf '{moved}' >> /etc/default/fastlog && systemctl restart fastlog")
    installed.run("useradd --groups adm alice && useradd stranger")
    installed.run("python3 /shared/ask.py")
    for user in ("root", "alice"):
        assert "card refused" in installed.run("fastlog tail", user)
        assert "9080" in installed.run("fastlog top --once", user)
        found = {finding["subject"]: finding for finding in json.loads(installed.run("fastlog doctor --json", user))}
        assert found["server"]["status"] == "ok"
    assert "cannot read /etc/default/fastlog: Permission denied" in installed.fails("fastlog top --once", "stranger")


def files_named_fastlog(system: Container) -> set[str]:
    return set(system.run("find / -xdev -path /shared -prune -o -iname '*fastlog*' -prune -print").split())


def test_a_purge_leaves_only_logs(installed):
    """The users stay as well, since they own the logs."""
    installed.run("python3 /shared/ask.py")
    installed.run("apt-get remove --yes fastlog")
    assert installed.fails("systemctl cat fastlog.service")
    left = files_named_fastlog(installed)
    assert {"/etc/default/fastlog", "/var/log/fastlog"} <= left
    assert not {"/opt/fastlog", "/usr/bin/fastlog"} & left
    installed.run("apt-get purge --yes fastlog")
    assert files_named_fastlog(installed) == {"/var/log/fastlog"}
    assert "card refused" in installed.run("cat /var/log/fastlog/server.log")
    assert installed.run("stat --format='%U' /var/log/fastlog/server.log") == "fastlog\n"
    # It can be installed again, and continues with that log.
    installed.run("apt-get install --yes /shared/fastlog.deb")
    installed.run("python3 /shared/ask.py")
    assert "card refused" in installed.run("fastlog tail")


def minor_of(package: Path) -> str:
    """The Python that the package is for: 3.11, for example."""
    return re.search(r"python3 \(>= ([\d.]+)\)", asked("dpkg-deb", "--field", package, "Depends"))[1]


def test_the_wheel_needs_no_compiler(package, shared, system):
    """It is the one that was packed. What it needs is downloaded here, since the container has no network."""
    minor = minor_of(package)
    (wheel,) = package.parent.glob(f"fastlog_udp-*-cp{minor.replace('.', '')}-*.whl")
    platforms = (f"--platform={kind}_x86_64" for kind in ("linux", "manylinux2014", "manylinux_2_28"))
    command = ["-m", "pip", "download", "--quiet", "--only-binary=:all:", f"--python-version={minor}", *platforms]
    asked(sys.executable, *command, f"--dest={shared}/wheels", wheel)
    system.fails("command -v cc gcc")
    system.run("python3 -m venv /own && /own/bin/pip install --no-index --find-links=/shared/wheels fastlog-udp")
    serve = "/own/bin/fastlog serve --log-dir /own/log"
    system.run(f"systemd-run --unit=own --service-type=notify {serve}")
    assert json.loads(system.run("python3 /shared/ask.py")) == {"ack": True, "sequence": 7}
    assert "card refused" in system.run("/own/bin/fastlog tail")  # the running server says where its log is
    assert json.loads(system.run("/own/bin/fastlog doctor --json"))[0]["status"] == "ok"


@pytest.mark.skipif(
    shutil.which("lintian") is None and os.environ.get("CI") != "true",
    reason="no lintian; on Debian: apt install lintian",
)
def test_lintian_finds_nothing(package):
    command = ["lintian", "--fail-on=error,warning", "--allow-root", str(package)]
    checked = subprocess.run(
        command, env=BASE_ENVIRONMENT, capture_output=True, text=True, timeout=LINTIAN_SEC, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert re.findall("^[EW]: .*", checked.stdout, re.MULTILINE) == []


def test_the_package_has_what_a_command_of_debian_has(package):
    paths = {line.split()[5].removeprefix(".") for line in asked("dpkg-deb", "--contents", package).splitlines()}
    assert {
        "/usr/bin/fastlog",
        "/usr/share/man/man1/fastlog.1.gz",
        "/usr/share/man/man1/fastlog-tail.1.gz",
        "/usr/share/bash-completion/completions/fastlog",
        "/usr/share/zsh/vendor-completions/_fastlog",
        "/usr/share/fish/vendor_completions.d/fastlog.fish",
        "/etc/default/fastlog",
        "/usr/share/doc/fastlog/examples/logrotate/fastlog",
    } <= paths
    assert not any("__pycache__" in path for path in paths)


def test_the_package_wants_the_python_that_its_modules_were_compiled_for(package):
    major, minor = minor_of(package).split(".")
    assert f"python3 (<< {major}.{int(minor) + 1})" in asked("dpkg-deb", "--field", package, "Depends")
    assert f"/_parse.cpython-{major}{minor}-" in asked("dpkg-deb", "--contents", package)


def test_the_packages_version_is_that_of_the_code():
    newest = re.search(r"^fastlog \((\S+)-\d+\)", (ROOT / "debian/changelog").read_text())[1]
    assert newest == __version__
