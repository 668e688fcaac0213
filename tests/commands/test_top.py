"""`fastlog top` before a real server, in a real terminal."""

import os
import re
import signal
from pathlib import Path

import pytest

from fastlog.segments import identity_of
from tests.helpers.entries import ERROR_7, INFO, entries
from tests.helpers.running import FASTLOG, TOKEN, eventually, run_fastlog
from tests.helpers.shipping import write_note
from tests.helpers.terminal import Terminal, needs_terminal, plain

RED = re.compile(r"\x1b\[(?:[0-9]+;)*(?:31|91|41)[;m]")


def once(directory, server, **environment: str):
    return run_fastlog(
        "top", "--once", "--url", f"http://127.0.0.1:{server.dashboard_port}", cwd=directory, **environment
    )


def test_the_figures_are_shown_once(start, tmp_path):
    server = start()
    with server.client() as client:
        client.send(ERROR_7)
        client.recv(100)
        client.send(ERROR_7.replace(b'"sequence":7', b'"sequence":10'))
        client.recv(100)
    server.send([*entries(1_000), b"bad"])
    done = eventually(lambda: once(tmp_path, server), lambda done: "total 1,002" in done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    shown = " ".join(done.stdout.split())
    for figure in (
        "ERROR 2 █", "INFO 1,000 █", "lost: kernel (receive buffer full) 0 network (estimate) 2 disk 0 rejected 1 (syntax 1)", "ACKs 2 sent, 0 pending, 0 dropped",
        "4.19 MB granted of 4.19 MB", "senders (2)", "127.0.0.1",
    ):  # fmt: skip
        assert figure in shown, done.stdout
    assert "\x1b" not in done.stdout


def test_shipping_is_shown_where_somebody_ships(start, tmp_path):
    server = start(MAX_LOG_SIZE_MB="0.001", LOG_BACKUPS="1", SHIP_HOLD_MB="0.003", FLUSH_COUNT="1")
    server.send([INFO] * 10)
    assert "shipp" not in once(tmp_path, server).stdout
    write_note(tmp_path / "server.log", 1, problem="the engine\x1b[2J is away")
    eventually(
        lambda: " ".join(once(tmp_path, server).stdout.split()),
        lambda shown: re.search(r"shipping 310 B to ship, the oldest \d+ s old; the engine\S+ is away", shown),
    )
    server.send([INFO] * 1_000)
    done = eventually(lambda: once(tmp_path, server), lambda done: "deleted before they were shipped" in done.stdout)
    assert "\x1b" not in done.stdout
    segment = identity_of(tmp_path / "server.log").segment
    write_note(tmp_path / "server.log", segment + 1)
    eventually(
        lambda: " ".join(once(tmp_path, server).stdout.split()), lambda shown: "shipping all is shipped" in shown
    )


def test_a_missing_server_is_reported(tmp_path):
    done = run_fastlog("top", "--once", "--url", "http://127.0.0.1:9", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "fastlog: cannot ask http://127.0.0.1:9/stats: Connection refused\n"
    done = run_fastlog("top", "--url", "ftp://x", cwd=tmp_path)
    assert done.returncode == 2
    assert "'ftp://x' is not a URL of a dashboard" in done.stderr


def test_the_token_is_shown_to_the_server(start, tmp_path):
    server = start(DASHBOARD_TOKEN=TOKEN)
    done = once(tmp_path, server)
    assert done.returncode == 1
    assert "401: token required (DASHBOARD_TOKEN)" in done.stderr
    assert once(tmp_path, server, FASTLOG_DASHBOARD_TOKEN=TOKEN).returncode == 0


def red_parts(screen: str) -> list[str]:
    return [plain(part).strip() for part in re.findall(RED.pattern + r"([^\x1b]*)", screen) if part.strip()]


@needs_terminal
def test_it_continues_when_the_server_goes_and_comes_back_and_only_loss_and_silence_are_red(start, tmp_path, closing):
    server = start()
    server.send([INFO] * 3)
    port = str(server.dashboard_port)
    terminal = closing(Terminal(tmp_path, *FASTLOG, "top", "--url", f"http://127.0.0.1:{port}"))
    screen = eventually(terminal.screen, lambda screen: "total 3" in screen)
    assert not RED.search(screen)
    server.stop()
    screen = eventually(terminal.screen, lambda screen: "no answer for" in screen)
    assert "total 3" in screen
    assert "Connection refused; no answer for " in plain(screen)
    assert len(red_parts(screen)) == 1
    assert "no answer for" in red_parts(screen)[0]

    again = start(DASHBOARD_PORT=port)
    with again.client() as client:
        client.send(b'{"level":"INFO","message":"m","sequence":1}')
        client.send(b'{"level":"INFO","message":"m","sequence":5}')
    # the whole of the screen, which is drawn from top to bottom: the figure, and the same one in its sender's line
    eventually(terminal.screen, lambda screen: red_parts(screen) == ["network (estimate) 3", "3"])
    terminal.type("C-c")
    terminal.wait()
    assert "fastlog" not in terminal.screen()  # the screen is as it was


def watching(directory, server, *command: str, **options):
    url = f"http://127.0.0.1:{server.dashboard_port}"
    terminal = Terminal(directory, *command, *FASTLOG, "top", "--url", url, **options)
    eventually(terminal.screen, lambda screen: "entries/s" in screen)
    return terminal


@needs_terminal
@pytest.mark.parametrize("how", ["q", "C-c", "SIGTERM"])
def test_it_ends_and_leaves_the_terminal_as_it_was(start, tmp_path, closing, how):
    server = start()
    script = 'trap : INT; stty -a > before; "$@"; stty -a > after; true'
    terminal = closing(watching(tmp_path, server, "sh", "-c", script, "sh"))
    assert "q: quit" in terminal.screen()
    # the server does not answer, so that nobody reads the keys until the end
    with server.stopped():
        terminal.type("xyz")
        if how == "SIGTERM":
            shell = terminal.command_pid()
            top = int(Path(f"/proc/{shell}/task/{shell}/children").read_text().split()[0])
            os.kill(top, signal.SIGTERM)
        else:
            terminal.type(how)
        terminal.wait()
    assert (tmp_path / "after").read_text() == (tmp_path / "before").read_text()
    terminal.type("shown")
    screen = eventually(terminal.screen, lambda screen: "shown" in screen)
    assert "xyz" not in screen
    assert "entries/s" not in screen


@needs_terminal
@pytest.mark.parametrize(("columns", "lines", "senders"), [(80, 24, 8), (80, 12, 0), (60, 16, 0)])
def test_losses_are_seen_in_a_small_terminal(start, tmp_path, closing, columns, lines, senders):
    server = start()
    for _ in range(10):
        server.send([INFO])
    server.send([b"bad"])
    terminal = closing(watching(tmp_path, server, columns=columns, lines=lines))
    screen = eventually(terminal.screen, lambda screen: "rejected 1 (syntax 1)" in " ".join(plain(screen).split()))
    assert "rejected 1" in " ".join(red_parts(screen))
    text = " ".join(plain(screen).split())
    for cause in ("kernel (receive buffer full) 0", "network (estimate) 0", "disk 0"):
        assert cause in text
    assert len(re.findall(r"127\.0\.0\.1:\d+ +\d", plain(screen))) >= senders


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_an_encoding_that_lacks_characters_does_no_harm(start, tmp_path, encoding):
    server = start()
    server.send([INFO])
    eventually(server.stats, lambda stats: stats["total_received"] == 1)
    done = once(tmp_path, server, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"INFO +1 +#{30}\n", done.stdout)
    assert done.stdout.isascii()
    for command in ("top", "tail", "doctor", "send"):
        assert run_fastlog(command, "--help", cwd=tmp_path, PYTHONIOENCODING=encoding).stderr == ""
    done = run_fastlog(
        "doctor",
        cwd=tmp_path,
        PYTHONIOENCODING=encoding,
        FASTLOG_DASHBOARD_PORT="9",
        FASTLOG_SERVER_PORT="0",
        FASTLOG_LOG_DIR="漢",
    )
    assert "/\\u6f22 (does not exist yet)" in done.stdout
    assert done.stderr == ""


def test_only_top_imports_what_draws(tmp_path):
    assert "rich" not in run_fastlog("send", "--help", cwd=tmp_path, PYTHONPROFILEIMPORTTIME="1").stderr
