"""Every command in a terminal of any size, without colours, in the C locale, and before a reader that has gone."""

import os
import re
import subprocess

import pytest

from tests.helpers.running import BASE_ENVIRONMENT, FASTLOG, PATIENCE_SEC, eventually
from tests.helpers.terminal import Terminal, needs_terminal

ENTRIES = (
    '{"level":"ERROR","message":"Grüße, 日本","app":"лавка","host":"h\\u001b[31m","sequence":7}'
    '\n{"level":"INFO","message":"m","n":1}'
).encode()
# What each command is called with, and its exit code. PORT and URL are those of a server that runs.
COMMANDS = {
    "help": (["help"], 0),
    "usage": ([], 2),
    "version": (["--version"], 0),
    "page": (["serve", "--help"], 0),
    "serve": (["serve", "--check"], 0),
    "send": (["send", "Grüße, 日本", "--level", "ERROR", "--port", "PORT"], 0),
    "loadtest": (["loadtest", "--logs", "20", "--rate", "0", "--port", "PORT", "--dashboard", "URL"], 0),
    "tail": (["tail", "--log-dir", "."], 0),
    "tap": (["tap", "--url", "http://127.0.0.1:9"], 1),
    "count": (["count", "--log-dir", ".", "--by", "app"], 0),
    "ship": (["ship", "--log-dir", ".", "--to", "http://127.0.0.1:9/logs", "--check"], 1),
    "top": (["top", "--once", "--url", "URL"], 0),
    "doctor": (["doctor", "--url", "URL"], None),  # what it finds is this machine's
}
C_LOCALE = {"LC_ALL": "C", "LANG": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
COLOUR = re.compile(r"\x1b\[(?:[0-9]+;)*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])[;m]")


@pytest.fixture(params=COMMANDS)
def command(request, start):
    """The words of a command line, and the exit code; a server runs, and has written something."""
    server = start(FLUSH_COUNT="1", MAX_LOG_SIZE_MB="1")
    server.send([ENTRIES])
    eventually(server.log, lambda log: log.count(b"\n") == 2)
    words, code = COMMANDS[request.param]
    places = {"PORT": str(server.port), "URL": f"http://127.0.0.1:{server.dashboard_port}"}
    return [*FASTLOG, *(places.get(word, word) for word in words)], code


def run(command, directory, *, stdout: int = subprocess.PIPE, **environment: str):
    environment = {**BASE_ENVIRONMENT, **environment}
    return subprocess.run(
        command, cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE,
        timeout=PATIENCE_SEC, check=False,
    )  # fmt: skip


def test_in_the_c_locale_what_it_lacks_is_escaped(command, tmp_path):
    words, code = command
    done = run(words, tmp_path, **C_LOCALE)
    assert done.returncode == code or (code is None and done.returncode in (0, 1))
    assert b"Traceback" not in done.stderr + done.stdout
    assert done.stdout.isascii()
    assert b"\x1b" not in done.stdout


def test_a_reader_that_has_gone_is_no_error(command, tmp_path):
    words, code = command
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = run(words, tmp_path, stdout=writing)
    finally:
        os.close(writing)
    assert b"Traceback" not in done.stderr
    assert b"Broken" not in done.stderr
    assert done.returncode in ((0, 1) if code is None else (0, code))


@needs_terminal
@pytest.mark.parametrize(("columns", "lines"), [(20, 5), (200, 60)])
def test_without_colours_in_a_terminal_of_any_size(command, tmp_path, closing, columns, lines):
    words, _ = command
    terminal = closing(Terminal(tmp_path, *words, columns=columns, lines=lines, NO_COLOR="1"))
    terminal.wait()
    screen = terminal.screen()
    assert screen.strip()
    assert "Traceback" not in screen
    assert not COLOUR.search(screen)
