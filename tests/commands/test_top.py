"""`fastlog top` before a real server, in a real terminal."""

import re

from tests.helpers.entries import ERROR_7, INFO, entries
from tests.helpers.running import FASTLOG, TOKEN, eventually, run_fastlog
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
        "ERROR 2 █", "INFO 1,000 █", "in the kernel 0 in the network 2 to the disk 0", "rejected syntax 1", "ACKs 2 sent, 0 pending",
        "4.19 MB granted of 4.19 MB", "senders (2)", "127.0.0.1",
    ):  # fmt: skip
        assert figure in shown, done.stdout
    assert "\x1b" not in done.stdout


def test_no_server_is_told(tmp_path):
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


@needs_terminal
def red_parts(screen: str) -> list[str]:
    return [plain(part).strip() for part in re.findall(RED.pattern + r"([^\x1b]*)", screen) if part.strip()]


def test_it_goes_on_when_the_server_goes_and_comes_back_and_only_loss_is_red(start, tmp_path, closing):
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
    assert not RED.search(screen)

    again = start(DASHBOARD_PORT=port)
    with again.client() as client:
        client.send(b'{"level":"INFO","message":"m","sequence":1}')
        client.send(b'{"level":"INFO","message":"m","sequence":5}')
    # the whole of the screen, which is drawn from top to bottom: the figure, and the same one in its sender's line
    eventually(terminal.screen, lambda screen: red_parts(screen) == ["in the network 3", "3"])
    terminal.type("C-c")
    terminal.wait()
    assert "fastlog" not in terminal.screen()  # the screen is as it was


def test_only_top_imports_what_draws(tmp_path):
    assert "rich" not in run_fastlog("send", "--help", cwd=tmp_path, PYTHONPROFILEIMPORTTIME="1").stderr
