"""Programs that fork, daemonize, replace threads, or are hosted by other programs, with the real ones: each logs 500
errors. All of them are stored, and the program ends in time."""

import itertools
import json
import os
import sys
from pathlib import Path

import pytest

from tests.helpers.programs import WebServer, run_to_its_end
from tests.helpers.running import eventually

PROGRAMS = Path(__file__).parent / "programs"


@pytest.fixture
def server(start):
    return start()


def stored(server) -> list[str]:
    """The messages in the log, in order. Nothing else came."""
    assert server.stop() == 0
    assert "rejected 0, " in server.account
    return sorted(json.loads(line)["message"] for line in server.whole_log().splitlines())


# Hosts of applications

UWSGI_READY = r"bound to TCP address 127\.0\.0\.1:(\d+)"
GUNICORN_READY = r"Listening at: http://127\.0\.0\.1:(\d+)"


WORKERS = 3


@pytest.fixture
def host(server, tmp_path, closing):
    """Runs a host with the application, asks it at least a hundred times, ends it, and compares what was logged."""

    def run(command: list[object], ready: str, *, loaded: int = 1, loads: int | None = None) -> None:
        """`loaded`: the errors that the application logs whenever it is loaded. `loads`: how often it is loaded; None
        if that depends on the host, which then ends its workers gracefully."""
        variables = {"LOG_PORT": str(server.port), "LOADED": str(loaded), "PYTHONPATH": str(PROGRAMS)}
        host = closing(WebServer(command, ready, tmp_path, **variables))
        paths = host.ask_until_all_have_answered(100, WORKERS)
        if loads:
            logged = len(paths) * 5 + loaded * loads
            eventually(server.stats, lambda stats: stats["level_distribution"]["ERROR"] >= logged)
        assert host.end() == 0, host.printed
        messages = stored(server)
        at_load = [message for message in messages if message.startswith("loaded")]
        assert len(at_load) == loaded * loads if loads else at_load
        expected = sorted(f"{path} {number}" for path in paths for number in range(5))
        assert [message for message in messages if not message.startswith("loaded")] == expected, host.printed

    return run


@pytest.mark.parametrize(
    "options",
    [[], ["--py-call-uwsgi-fork-hooks"], ["--lazy-apps"], ["--max-requests", 20]],
    ids=["without-hooks", "with-hooks", "lazy-apps", "recycled"],
)
@pytest.mark.parametrize("loaded", [1, 500])  # with so many, the client works while the master forks
def test_uwsgi(host, options, loaded):
    uwsgi = Path(sys.executable).with_name("uwsgi")
    usual = ["--http-socket", "127.0.0.1:0", "--master", "--processes", WORKERS, "--enable-threads", "--die-on-term"]
    # A worker that is busy when it is told to end does so at once, without the end of a Python program.
    loads = WORKERS if "--lazy-apps" in options else 1
    command = [uwsgi, *usual, "--disable-logging", "--module", "web", *options]
    host(command, UWSGI_READY, loaded=loaded, loads=loads)


@pytest.mark.parametrize(
    "options",
    [
        ["--preload", "--max-requests", 20],
        ["--max-requests", 20],
        ["--preload", "--worker-class", "gthread", "--threads", 2],
        ["--worker-class", "gevent"],
        ["--preload", "--worker-class", "gevent"],
    ],
    ids=["preloaded-and-recycled", "recycled", "threads", "gevent", "preloaded-gevent"],
)
def test_gunicorn(host, options):
    # A worker that is told to end while it begins may not hear it; then gunicorn kills it after the grace.
    usual = ["--workers", WORKERS, "--bind", "127.0.0.1:0", "--no-control-socket", "--graceful-timeout", 5]
    host([sys.executable, "-m", "gunicorn", *usual, *options, "web:application"], GUNICORN_READY)


# Greenlets


@pytest.mark.parametrize("when", ["before", "after", "late", "never"])
@pytest.mark.parametrize("library", ["eventlet", "gevent"])
def test_greenlets(server, tmp_path, library, when):
    program = [sys.executable, PROGRAMS / "greenlets.py", library, when, server.port]
    assert "another thread" not in run_to_its_end(program, tmp_path)
    expected = sorted(f"worker {worker} {number}" for worker in range(10) for number in range(50))
    assert stored(server) == ["first", "last", *expected]


# Daemons


def test_a_daemon_whose_library_closes_all_files(server, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    run_to_its_end([sys.executable, PROGRAMS / "becomes_daemon.py", server.port, tmp_path / "fifo"], tmp_path)
    assert (tmp_path / "fifo").read_text() == ""  # comes to its end when the daemon does
    assert (tmp_path / "stderr").read_text() == ""
    assert (tmp_path / "orders").read_bytes() == b"order 1\norder 2\n"
    expected = sorted(["the parent", "the daemon's last", *(f"the daemon {number}" for number in range(500))])
    assert stored(server) == expected


# Children


@pytest.mark.parametrize(
    ("library", "method", "what"),
    [
        *itertools.product(
            ["multiprocessing"],
            ["fork", "spawn", "forkserver"],
            ["function", "threads", "executor", "pool", "futures", "daemon"],
        ),
        ("billiard", "fork", "function"),  # it waits for no thread of a child
        ("billiard", "fork", "pool"),
    ],
)
def test_children(server, tmp_path, library, method, what):
    program = [sys.executable, PROGRAMS / "children.py", library, method, what, server.port]
    assert run_to_its_end(program, tmp_path) == ""
    expected = [f"child {child} {number}" for child in range(5) for number in range(100)]
    assert stored(server) == sorted([*expected, "the parent begins", "the parent ends"])
