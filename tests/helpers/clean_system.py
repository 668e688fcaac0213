"""A clean Debian that boots with systemd, in a container: what `make deb` has built is installed there and used.

It has the packages that every Debian has, systemd, dbus, and Python with `venv`; no compiler. Its own files are only
read: what a container writes is in memory, and gone with it. It has a network of its own, with nothing but loopback.
"""

import fcntl
import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from tests.helpers.running import BASE_ENVIRONMENT

ROOT = Path(__file__).parents[2]
SYSTEMS = ROOT / "build" / "systems"  # one for each release, made when it is first used
INCLUDED = "systemd,systemd-sysv,dbus,python3-venv"
BOOT_SEC = 60  # time to boot: it takes a second
COMMAND_SEC = 120  # time for a command there
MAKING_SEC = 250  # time to make a system: a hundred packages are downloaded

needs_systems = pytest.mark.skipif(
    os.geteuid() != 0
    or (not (shutil.which("mmdebstrap") and shutil.which("systemd-nspawn")) and os.environ.get("CI") != "true"),
    reason="only root can boot a container; on Debian: apt install mmdebstrap systemd-container",
)


def clean_system(release: str) -> Path:
    """The root directory of a system of this release, such as `bookworm`."""
    system, unfinished = SYSTEMS / release, SYSTEMS / f"{release}.new"
    SYSTEMS.mkdir(parents=True, exist_ok=True)
    with (SYSTEMS / f"{release}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several workers may want the same one
        if not system.exists():
            shutil.rmtree(unfinished, ignore_errors=True)
            command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={INCLUDED}", release, str(unfinished)]
            subprocess.run(command, check=True, env=BASE_ENVIRONMENT, timeout=MAKING_SEC, stdin=subprocess.DEVNULL)
            unfinished.rename(system)
    return system


class Container:
    """The system, booted. `shared` is a directory of the test that is there as /shared, and can be written to."""

    def __init__(self, release: str, shared: Path) -> None:
        command = ["systemd-nspawn", "--quiet", f"--directory={clean_system(release)}", "--volatile=overlay", "--boot"]
        command += ["--private-network", "--register=no", "--keep-unit", "--notify-ready=yes", "--console=pipe"]
        command += [f"--bind={shared}:/shared"]
        path = shared / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifications, (shared / "console").open("wb") as log:
            notifications.bind(str(path))
            notifications.settimeout(BOOT_SEC)
            environment = {**BASE_ENVIRONMENT, "NOTIFY_SOCKET": str(path)}
            self._process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
            told: list[str] = []
            try:
                while "READY=1" not in told:
                    told += notifications.recv(4096).decode().split("\n")
            except TimeoutError:
                self.close()
                raise
        (self._leader,) = [line.partition("=")[2] for line in told if line.startswith("X_NSPAWN_LEADER_PID=")]

    def start(self, command: str, user: str = "root") -> subprocess.Popen[str]:
        """Starts a command in the shell of the user."""
        enter = ["nsenter", f"--target={self._leader}", "--all", "--wdns=/", "env", "--ignore-environment"]
        login = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive"]
        as_user = [] if user == "root" else ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
        return subprocess.Popen(
            [*enter, *login, *as_user, "sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, command: str, user: str = "root") -> str:
        """What a command prints. Its failure is the test's."""
        process = self.start(command, user)
        printed, _ = process.communicate(timeout=COMMAND_SEC)
        assert process.returncode == 0, f"{command}: {process.returncode}\n{printed}"
        return printed

    def fails(self, command: str, user: str = "root") -> str:
        process = self.start(command, user)
        printed, _ = process.communicate(timeout=COMMAND_SEC)
        assert process.returncode != 0, printed
        return printed

    def close(self) -> None:
        self._process.terminate()  # which nspawn takes as an order to power off
        try:
            self._process.wait(BOOT_SEC)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
