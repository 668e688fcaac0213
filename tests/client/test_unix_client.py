"""The client through a unix socket: ACKs, restarts of the server, a queue that is full."""

import json
import logging
import signal
import threading

import pytest

from fastlog import Client, Handler
from tests.helpers.running import PATIENCE_SEC, Server, eventually, run_fastlog


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log.sock"


@pytest.fixture
def client(closing, path):
    return closing(Client(f"unix:{path}", app="shop"))


def messages(server: Server) -> list[str]:
    return [json.loads(line)["message"] for line in server.log().splitlines()]


def test_entries_are_acknowledged(start, path, client):
    server = start(UNIX_SOCKET=str(path))
    for number in range(3000):
        client.send("ERROR", f"m{number}")
    assert client.flush(PATIENCE_SEC)
    stats = client.stats()
    assert (stats.acknowledged, stats.given_up) == (3000, 0)
    assert messages(server) == [f"m{number}" for number in range(3000)]
    assert server.stats()["losses"]["sequence_gaps"] == 0


def test_nothing_is_lost_while_the_queue_is_full(start, path, client):
    server = start(UNIX_SOCKET=str(path))
    with server.stopped():
        for number in range(2000):
            client.send("INFO", f"m{number}")
        eventually(client.stats, lambda stats: stats.datagrams > 0)
    assert client.flush(PATIENCE_SEC)
    eventually(lambda: server.stats()["stored"], lambda stored: stored == 2000)
    assert messages(server) == [f"m{number}" for number in range(2000)]


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_of_the_server_is_noticed(start, path, client, end):
    server = start(UNIX_SOCKET=str(path))
    client.send("ERROR", "before")
    assert client.flush(PATIENCE_SEC)
    server.signal(end)
    server.process.wait()
    client.send("ERROR", "between")
    client.send("INFO", "ordinary")
    eventually(client.stats, lambda stats: stats.problem)
    server = start(UNIX_SOCKET=str(path))
    assert client.flush(PATIENCE_SEC)
    eventually(lambda: messages(server), lambda found: sorted(found) == ["before", "between", "ordinary"])


def test_it_waits_for_a_server_that_is_not_there_yet(start, path, client):
    client.send("ERROR", "early")
    eventually(client.stats, lambda stats: stats.problem)
    server = start(UNIX_SOCKET=str(path))
    assert client.flush(PATIENCE_SEC)
    assert messages(server) == ["early"]


def test_the_handler_takes_the_same_name(start, path, closing):
    server = start(UNIX_SOCKET=str(path))
    handler = closing(Handler(f"unix:{path}"))
    logger = logging.Logger("shop")
    logger.addHandler(handler)
    logger.error("card refused")
    assert handler.client.flush(PATIENCE_SEC)
    assert messages(server) == ["card refused"]


def test_the_command_sends_through_it(start, tmp_path, path):
    server = start(UNIX_SOCKET=str(path))
    done = run_fastlog("send", "--server", f"unix:{path}", "--level", "ERROR", "hello", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"1 sent to unix:{path}, 1 acknowledged" in done.stderr
    assert (
        run_fastlog("send", "--level", "ERROR", "hello again", cwd=tmp_path, FASTLOG_SERVER=f"unix:{path}").returncode
        == 0
    )
    assert messages(server) == ["hello", "hello again"]
    done = run_fastlog("send", "--server", f"unix:{tmp_path}/none", "hello", cwd=tmp_path)
    assert done.returncode == 1
    assert "No such file" in done.stderr


def test_a_path_that_no_socket_can_have_is_refused(tmp_path):
    done = run_fastlog("send", "--server", "unix:/" + "x" * 107, "hello", cwd=tmp_path)
    assert done.returncode == 1
    assert "the path has more than 107 bytes" in done.stderr


def test_other_programs_of_the_machine_have_addresses_of_their_own(start, path, closing):
    """Two clients of one process are told apart, as by their ports."""
    server = start(UNIX_SOCKET=str(path))
    clients = [closing(Client(f"unix:{path}")) for _ in range(2)]
    threads = [
        threading.Thread(target=lambda client=client: [client.send("ERROR", str(n)) for n in range(200)])
        for client in clients
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(client.flush(PATIENCE_SEC) for client in clients)
    stats = eventually(server.stats, lambda stats: len(stats["top_senders"]) == 2)
    assert stats["losses"]["sequence_gaps"] == 0
