"""The real `make` with the repository's Makefile, in a directory of the test's own."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.running import BASE_ENVIRONMENT, PATIENCE_SEC, get

MAKEFILE = Path(__file__).parents[2] / "Makefile"
ANY_PORTS = {"SERVER_HOST": "127.0.0.1", "SERVER_PORT": "0", "DASHBOARD_PORT": "0"}


class Make:
    """Runs targets in `directory`, with the programs of the environment that runs the tests."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.messages = directory / ".run" / "messages"
        for sources in ("fastlog", "tests/helpers"):
            (directory / sources).mkdir(parents=True)

    def command(self, *arguments: str, built: bool = True) -> list[str]:
        given = [f"BIN={Path(sys.executable).parent}", "--old-file=build"] if built else [f"PYTHON={sys.executable}"]
        return ["make", "--no-print-directory", f"--file={MAKEFILE}", *given, *arguments]

    def __call__(self, *arguments: str, built: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments, built=built),
            cwd=self.directory,
            env={**BASE_ENVIRONMENT, **ANY_PORTS, **environment},
            capture_output=True,
            text=True,
            timeout=PATIENCE_SEC,
            check=False,
        )

    def close(self) -> None:
        self("stop")


@pytest.fixture
def make(tmp_path, closing):
    return closing(Make(tmp_path))


def dashboard_port(run: subprocess.CompletedProcess[str]) -> int:
    return int(re.search(r"http://127\.0\.0\.1:(\d+)/", run.stdout)[1])


def serves(port: int) -> bool:
    try:
        return get(port, "/health").status == 200
    except ConnectionRefusedError:
        return False


def test_run_and_stop(make):
    started = make("run")
    assert (started.returncode, started.stderr) == (0, "")
    assert str(make.directory / "logs" / "server.log") in started.stdout
    assert "ready udp=" not in started.stdout
    port = dashboard_port(started)
    assert serves(port)
    again = make("run")
    assert again.returncode == 0
    assert again.stdout == "fastlog is already running:\n" + started.stdout
    stopped = make("stop")
    assert (stopped.returncode, stopped.stderr) == (0, "")
    assert re.fullmatch(r"fastlog: \w+: received 0 entries .*\n", stopped.stdout)
    assert not serves(port)
    assert make("stop").stdout == "fastlog is not running\n"


def test_run_does_not_take_messages_of_an_earlier_run_for_its_own(make):
    make.messages.parent.mkdir()
    make.messages.write_text("fastlog: of the run before\nfastlog: ready udp=x http=x log=x\n")
    with make.messages.open() as earlier:
        started = make("run")
        assert os.fstat(earlier.fileno()).st_nlink == 0
    assert started.returncode == 0
    assert "of the run before" not in started.stdout
    assert serves(dashboard_port(started))


def test_run_with_a_port_in_use_prints_one_line_about_it(make):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        refused = make("run", SERVER_PORT=str(port))
    assert refused.returncode != 0
    assert [line for line in refused.stdout.splitlines() if "Address already in use" in line and str(port) in line]
    assert re.fullmatch(r"make: \*\*\* .*\n", refused.stderr)
    assert make("stop").stdout == "fastlog is not running\n"
    assert make("run").returncode == 0


def test_stop_leaves_a_process_alone_that_has_got_the_pid_of_the_server(make):
    make.messages.parent.mkdir()
    (make.messages.parent / "pid").write_text(f"{os.getpid()}\n")
    assert make("stop").stdout == "fastlog is not running\n"


def test_clean_stops_the_server_first(make):
    port = dashboard_port(make("run"))
    cleaned = make("clean")
    assert cleaned.returncode == 0
    assert "received 0 entries" in cleaned.stdout
    assert not serves(port)
    assert not make.messages.parent.exists()
    assert (make.directory / "logs" / "server.log").exists()


def test_client_sends_to_the_server_of_run_whatever_its_port_is(make):
    make("run")
    sent = make("client")
    assert sent.returncode == 0, sent.stderr
    stopped = make("stop")
    assert "received 20 entries" in stopped.stdout


def test_logs_shows_the_log_and_ends_quietly_on_ctrl_c(make, closing):
    make("run")
    (make.directory / "logs" / "server.log").write_text('{"level":"INFO","message":"to be shown"}\n')
    following = subprocess.Popen(
        make.command("logs"),
        cwd=make.directory,
        env=BASE_ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert "to be shown" in following.stdout.readline()
    os.killpg(following.pid, signal.SIGINT)  # as a terminal does
    assert following.communicate(timeout=PATIENCE_SEC) == ("", "")


def test_logs_before_any_run_says_how_to_start_one(make):
    refused = make("logs")
    assert refused.returncode != 0
    assert refused.stderr.startswith("no server was started here; `make run` starts one\nmake: ***")


# The build


def test_the_build_says_what_it_does_and_how_long_it_takes(make, tmp_path):
    for source in ("pyproject.toml", "setup.py"):
        (tmp_path / source).touch()
    planned = make("--dry-run", "build", built=False)
    assert re.search(r"^echo .*compiling.*about a minute", planned.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("import sys; sys.version_info = (3, 10, 1)", r"fastlog needs Python 3\.11 or newer, and \S+ is older; .*"),
        ("import sysconfig; sysconfig.get_path = lambda name: '/nowhere'", r".*\bapt install python3-dev\b.*"),
        ("import sys; sys.modules['ensurepip'] = None", r".*\bapt install python3-venv\b.*"),
        (
            "import sysconfig; sysconfig.get_config_var = lambda name: 'no-gcc -pthread'",
            r".* no no-gcc; .*\bapt install gcc\b.*",
        ),
    ],
)
def test_what_is_missing_for_a_build_is_said_in_one_line(make, tmp_path, missing, said):
    for source in ("pyproject.toml", "setup.py"):
        (tmp_path / source).touch()
    (tmp_path / "sitecustomize.py").write_text(missing)
    refused = make("build", built=False, PYTHONPATH=str(tmp_path))
    line, made = refused.stderr.splitlines()
    assert re.fullmatch(said, line)
    assert made.startswith("make: ***")
    assert not (tmp_path / ".venv").exists()


def test_a_missing_interpreter_and_a_compiler_named_in_cc_are_said_in_one_line(make, tmp_path):
    for source in ("pyproject.toml", "setup.py"):
        (tmp_path / source).touch()
    refused = make("build", "PYTHON=no-python", built=False)
    assert re.match(r"fastlog needs Python 3\.11 or newer, and there is no no-python; .*\nmake: \*\*\*", refused.stderr)
    refused = make("build", built=False, CC="no-compiler -pipe")
    assert "there is no no-compiler;" in refused.stderr.splitlines()[0]


def test_what_has_gone_since_the_environment_was_made_is_said_in_one_line(make, tmp_path):
    pip = tmp_path / ".venv" / "bin" / "pip"
    pip.parent.mkdir(parents=True)
    pip.symlink_to("/bin/false")
    for source in ("pyproject.toml", "setup.py"):
        (tmp_path / source).touch()
    refused = make("build", built=False, CC="no-compiler")
    assert "there is no no-compiler;" in refused.stderr.splitlines()[0]


def test_every_target_is_in_the_list_and_phony():
    text = MAKEFILE.read_text()
    phony = set(re.search(r"\.PHONY:((?:.*\\\n)*.*)", text)[1].replace("\\\n", " ").split())
    listed = set(re.findall(r"^([a-z-]+):.*##", text, re.MULTILINE))
    assert listed == phony == set(re.findall(r"^([a-z][a-z-]*):(?!=)", text, re.MULTILINE))
    shown = subprocess.run(
        ["make", "-C", MAKEFILE.parent], env=BASE_ENVIRONMENT, capture_output=True, text=True, check=True
    ).stdout
    assert set(re.findall(r"^  make ([a-z-]+) ", shown, re.MULTILINE)) == listed
