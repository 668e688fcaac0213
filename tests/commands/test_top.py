"""`fastlog top` before a real server, in a real terminal."""

import os
import re
import signal
from pathlib import Path

import pytest
from rich.console import Console

from fastlog.commands.keyboard import names_of
from fastlog.commands.sparkline import sparkline
from fastlog.commands.terminal import ASCII_BLOCKS, BLOCKS
from fastlog.commands.top_page import Page
from fastlog.segments import identity_of
from fastlog.stats_client import StatsClient
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


def of_figures(parts: list[str]) -> list[str]:
    """Without the chart of the losses."""
    return [part for part in parts if set(part) - set(BLOCKS)]


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
    eventually(terminal.screen, lambda screen: of_figures(red_parts(screen)) == ["network (estimate) 3", "3"])
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


def typed(terminal, key: str, *shown: str) -> str:
    """The screen once the key has brought these texts about."""
    terminal.type(key)
    return eventually(terminal.screen, lambda screen: all(text in plain(screen) for text in shown))


@needs_terminal
@pytest.mark.parametrize(
    ("columns", "lines", "encoding"), [(80, 24, "utf-8"), (120, 50, "utf-8"), (60, 16, "latin-1"), (60, 16, "ascii")]
)
def test_keys_open_senders_errors_and_other_ranges(start, tmp_path, closing, columns, lines, encoding):
    server = start()
    with server.client() as client:
        for sequence in (7, 9):
            client.send(
                b'{"level":"ERROR","message":"broken \xe2\x80\xae \xe6\xbc\xa2 %d","sequence":%d}'
                % (sequence, sequence)
            )
            client.recv(100)
        address = f"127.0.0.1:{client.getsockname()[1]}"
    server.send([b"bad"])
    blocks, foreign = (BLOCKS, "漢") if encoding == "utf-8" else (ASCII_BLOCKS, "\\u6f22")
    terminal = closing(watching(tmp_path, server, columns=columns, lines=lines, PYTHONIOENCODING=encoding))
    # the chart of the losses
    screen = eventually(
        terminal.screen, lambda screen: any(blocks[-1] in set(part) <= set(blocks) for part in red_parts(screen))
    )
    assert "last 5m" in screen
    assert "|" in plain(screen)
    for range_ in ("1h", "24h", "7d", "5m"):
        typed(terminal, "r", f"last {range_}")
    typed(terminal, "?", "PageUp, PageDown", "Enter", "quit")
    screen = typed(terminal, "e", "the newest 2 of 2 priority entries", "broken \\u202e")
    assert screen.index(f"broken \\u202e {foreign} 9") < screen.index(f" {foreign} 7")
    typed(terminal, "Escape", "entries/s")
    senders = [row["address"] for row in server.stats()["top_senders"]]
    terminal.type(*["Down"] * (senders.index(address) + 1))
    typed(terminal, "Enter", f"sender {address}", "received 2  gaps 1", "came again 0  restarts 0", "first heard 20")
    screen = eventually(terminal.screen, lambda screen: "+1" in plain(screen))
    assert sorted(red_parts(screen))[1] == "gaps 1"
    typed(terminal, "r", f"sender {address}")
    typed(terminal, "Escape", "entries/s")
    terminal.type("q")
    terminal.wait()


@needs_terminal
def test_recent_errors_are_scrolled(start, tmp_path, closing):
    server = start()
    with server.client() as client:
        for number in range(60):
            client.send(b'{"level":"ERROR","message":"error %d","sequence":%d}' % (number, number))
            client.recv(100)
    terminal = closing(watching(tmp_path, server, columns=80, lines=24))
    assert "error 30" not in typed(terminal, "e", "error 59", "error 40")
    assert "error 59" not in typed(terminal, "NPage", "error 30")
    assert "error 59" in typed(terminal, "PPage", "error 59")
    terminal.type("Down")
    assert "error 59" not in typed(terminal, "Down", "error 58", "error 36")
    typed(terminal, "Home", "the newest 60 of 60")
    terminal.type("q")
    terminal.wait()


@needs_terminal
def test_a_server_without_a_history_is_shown_all_the_same(start, tmp_path, closing, monkeypatch):
    assert StatsClient("http://127.0.0.1:9", "").url
    server = start()
    client = StatsClient(f"http://127.0.0.1:{server.dashboard_port}", "")
    assert client.sender("192.0.2.1:1") is None
    assert client.history("1d") is None  # as an older server answers
    page = Page(client.url, "utf-8")
    console = Console(width=100)
    with console.capture() as shown:
        console.print(page.draw(client.stats(), None, None))
    assert "entries/s" in shown.get()


def test_keys_have_names():
    assert names_of(b"\x1b[A\x1bOBx\x1b[5~\x1b[6~\rQ\x1b") == [
        "up", "down", "x", "pageup", "pagedown", "enter", "q", "escape"
    ]  # fmt: skip
    assert names_of(b"") == []
    assert names_of(b"\xff\x1b[1;5A") == ["\ufffd", "\x1b[1;5a"]


def test_a_chart_shows_every_figure_that_is_not_zero():
    assert sparkline([0, 1, 1_000, None], 4, BLOCKS, max) == (" ▁█ ", 1_000)
    assert sparkline([1, 2, 3, 4], 2, ASCII_BLOCKS, sum).most == 7
    assert sparkline([None] * 4, 2, BLOCKS, sum) == ("  ", 0)
    assert sparkline([], 2, BLOCKS, sum) == ("  ", 0)


def test_only_top_imports_what_draws(tmp_path):
    assert "rich" not in run_fastlog("send", "--help", cwd=tmp_path, PYTHONPROFILEIMPORTTIME="1").stderr
