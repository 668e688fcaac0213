"""The command line itself: its help, and what it says about wrong usage."""

import re
import subprocess
import sys

import pytest

from fastlog.flags import make_parser
from tests.helpers.running import BASE_ENVIRONMENT, FASTLOG, run_fastlog

COMMANDS = ["serve", "send", "loadtest", "tail", "count", "ship", "top", "doctor"]


def test_without_a_command_the_help_is_shown_as_an_error(tmp_path):
    done = run_fastlog(cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    for command in COMMANDS:
        assert re.search(rf"^    {command} +\w", done.stderr, re.MULTILINE)
    assert "`fastlog COMMAND --help`" in done.stderr


def test_help_is_a_command_too(tmp_path):
    assert run_fastlog("help", cwd=tmp_path).stdout == run_fastlog("--help", cwd=tmp_path).stdout
    done = run_fastlog("help", "tail", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == run_fastlog("tail", "--help", cwd=tmp_path).stdout
    assert run_fastlog("help", "tial", cwd=tmp_path).returncode == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_examples_that_it_takes(command, tmp_path):
    parser = make_parser()
    text = run_fastlog(command, "--help", cwd=tmp_path).stdout
    examples = re.findall(rf"^    .*fastlog ({command}\b[^|\n]*)", text.partition("Examples:")[2], re.MULTILINE)
    assert examples
    for example in examples:
        words = [word.strip("'\"") for word in re.findall(r"'[^']*'|\"[^\"]*\"|\S+", example)]
        assert parser.parse_args(words).module


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["send", "--port", "0"], "argument --port: invalid port '0': expected a number from 1 to 65535"),
        (["send", "--samples", "x"], "argument --samples: 'x' is not a whole number (0 or more)"),
        (["loadtest", "--clients", "0"], "argument --clients: '0' is not a whole number from 1 to 256"),
        (["loadtest", "--error-share", "2"], "argument --error-share: '2' is not a number from 0 to 1"),
        (["send", "--timeout", "-1"], "argument --timeout: '-1' is not a number of seconds from 0 to 86400"),
        (["loadtest", "--corpus", "x", "--message-bytes", "1"], "--message-bytes cannot be used with --corpus"),
        (["send", "--json", "hello"], "--json is for lines of standard input"),
        (["serve", "--env-file", "x", "--no-env-file"], "not allowed with argument"),
    ],
)
def test_wrong_usage_is_explained(arguments, message, tmp_path):
    done = run_fastlog(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]


def test_tail_finds_the_log_of_the_system_and_ship_sends_none_away_that_it_was_not_told(tmp_path):
    system = tmp_path / "system"
    system.mkdir()
    (system / "server.log").write_bytes(b'{"level":"INFO","message":"of the system"}\n')
    program = f"import sys; from fastlog import cli, service; service.SYSTEM_LOG_DIR = {str(system)!r}; sys.exit(cli.main(sys.argv[1:]))"

    def run(*words):
        return subprocess.run(
            [sys.executable, "-c", program, *words],
            cwd=tmp_path,
            env=BASE_ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )

    assert "of the system" in run("tail").stdout
    done = run("ship", "--once", "--to", "http://127.0.0.1:9/logs", "--node", "n")
    assert (done.returncode, done.stderr.partition("\n")[0]) == (
        0,
        "fastlog: there is no logs/server.log: nothing to ship",
    )


def test_ship_takes_the_variables_of_the_server(tmp_path):
    environment = BASE_ENVIRONMENT | {"SHIP_TO": "http://127.0.0.1:9/logs", "SHIP_NODE": "n", "LOG_DIR": "mine"}
    done = subprocess.run(
        [*FASTLOG, "ship", "--once"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.partition("\n")[0]) == (
        0,
        "fastlog: there is no mine/server.log: nothing to ship",
    )
