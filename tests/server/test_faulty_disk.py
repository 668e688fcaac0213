"""The server as a process on a file system whose syncs fail, hang or are missing."""

import errno
import json
import select
import signal
import socket
import sys
from time import monotonic

import pytest

from tests.helpers.running import Server, eventually, get

ACK_FOR_1 = b'{"ack":true,"sequence":1}'


def error(sequence: int, message: str = "x") -> bytes:
    return b'{"level":"ERROR","message":"%s","sequence":%d}' % (message.encode(), sequence)


@pytest.fixture
def start(faulty_disk, closing):
    return lambda **settings: closing(Server(faulty_disk.directory, REJECTS_MAX_MB="0", **settings))


def acks(client: socket.socket, count: int) -> list[int]:
    return [json.loads(client.recv(100))["sequence"] for _ in range(count)]


def no_ack(client: socket.socket) -> bool:
    return select.select([client], [], [], 0) == ([], [], [])


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_no_ack_is_sent_for_a_file_whose_sync_failed(faulty_disk, start, number):
    server = start()
    faulty_disk.fail("fsync", number, once=True)
    with server.client() as client:
        client.send(error(1))
        assert client.recv(100) == ACK_FOR_1
        # it is acknowledged from another file
        assert (faulty_disk.directory / "server.log.distrusted.1").read_bytes() == error(1) + b"\n"
        assert server.log() == error(1) + b"\n"
        client.send(error(2))
        assert acks(client, 1) == [2]
    eventually(lambda: server.stats()["sync"]["failures"], lambda failures: failures == 1)
    assert server.log() == error(1) + b"\n" + error(2) + b"\n"
    assert server.stop() == 0
    assert not (faulty_disk.directory / "server.log.distrusted.2").exists()


@pytest.mark.parametrize("failing", ["server.log.1", "server.log.2", "server.log"])
def test_no_ack_is_sent_if_one_of_several_files_cannot_be_synced(faulty_disk, start, failing):
    server = start(MAX_LOG_SIZE_MB="0.001")
    faulty_disk.fail("fsync", errno.EIO, failing, once=True)
    with server.client() as client:
        client.send(b"\n".join(error(sequence, "x" * 300) for sequence in range(1, 9)))  # fills three files
        assert sorted(acks(client, 8)) == list(range(1, 9))
        assert (faulty_disk.directory / "server.log.distrusted.1").exists()
        found = server.whole_log()
        assert all(error(sequence, "x" * 300) in found for sequence in range(1, 9))
    eventually(lambda: server.stats()["sync"]["failures"], lambda failures: failures == 1)
    assert server.stop() == 0


def test_no_ack_is_sent_for_a_new_file_whose_name_cannot_be_synced(faulty_disk, start):
    server = start(MAX_LOG_SIZE_MB="0.001")
    faulty_disk.fail("fsyncdir", errno.EIO)
    with server.client() as client:
        client.send(b"\n".join(error(sequence, "x" * 300) for sequence in range(1, 5)))
        server.wait_for_message("cannot sync")
        health = eventually(lambda: get(server.dashboard_port, "/health"), lambda response: response.status == 503)
        assert "Input/output error" in health.text
        assert no_ack(client)
        faulty_disk.mend("fsyncdir")
        assert sorted(acks(client, 4)) == [1, 2, 3, 4]
    assert server.stop() == 0


@pytest.fixture
def hanging(faulty_disk, start):
    """A server whose sync hangs, and its client. It is the sync of the directory, after a rotation: on this kind of
    file system a sync of a file that hangs would hold up writes to it as well."""
    server = start(MAX_LOG_SIZE_MB="0.01", FLUSH_TIMEOUT_SEC="60", FLUSH_COUNT="1000000")
    with server.client() as client, faulty_disk.hanging("fsyncdir"):
        client.send(b"\n".join(error(sequence, "x" * 4000) for sequence in (1, 2, 3)))
        eventually(faulty_disk.hung, lambda count: count == 1)
        yield server, client
        server.signal(signal.SIGKILL)
        assert no_ack(client)
    server.process.wait()


def test_what_was_received_is_in_the_file_though_a_sync_hangs_and_the_server_is_killed(faulty_disk, hanging):
    server, _ = hanging
    ordinary = [b'{"level":"INFO","message":"i","sequence":%d}' % sequence for sequence in range(4, 54)]
    server.send([*ordinary, error(54)])
    server.signal(signal.SIGTERM)
    stored = b"".join(line + b"\n" for line in [error(3, "x" * 4000), *ordinary, error(54)])
    eventually(lambda: faulty_disk.content("server.log"), lambda content: content == stored)


def test_a_sync_that_hangs_degrades_health_within_five_seconds(hanging):
    server, _ = hanging
    began = monotonic()
    health = eventually(lambda: get(server.dashboard_port, "/health"), lambda response: response.status == 503)
    assert "a sync has been under way" in health.text
    assert monotonic() - began < 5.5


def test_where_directories_know_no_sync_the_server_says_so_and_acknowledges(faulty_disk, start):
    faulty_disk.fail("fsyncdir", errno.EINVAL)
    server = start(MAX_LOG_SIZE_MB="0.001")
    assert sum("no sync of directories" in message for message in server.messages) == 1
    with server.client() as client:
        client.send(b"\n".join(error(sequence, "x" * 300) for sequence in range(1, 5)))
        assert sorted(acks(client, 4)) == [1, 2, 3, 4]
    sync = eventually(lambda: server.stats()["sync"], lambda sync: sync["count"] == 1)
    assert (sync["mode"], sync["failures"]) == ("fdatasync, asynchronous", 0)
    assert server.stop() == 0


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_where_files_cannot_be_locked_the_server_says_so_and_acknowledges(faulty_disk, start, number):
    faulty_disk.fail("flock", number)
    server = start()
    assert sum("has no locks" in message for message in server.messages) == 1
    with server.client() as client:
        client.send(error(1))
        assert client.recv(100) == ACK_FOR_1
    assert server.stop() == 0


def test_the_names_of_new_log_directories_are_durable_before_the_log_is_opened(faulty_disk, start):
    server = start(LOG_DIR="logs/of/today")
    calls = [call for call in faulty_disk.calls() if call[0] in ("mkdir", "fsyncdir", "create")]
    assert calls[:7] == [
        *(["mkdir", "/"], ["fsyncdir", "/"]),
        *(["mkdir", "logs"], ["fsyncdir", "logs"]),
        *(["mkdir", "of"], ["fsyncdir", "of"]),
        ["fsyncdir", "today"],
    ]
    assert server.stop() == 0


USED_UP = """
import errno
from fastlog import cli
from fastlog.server import server, storage

class UsedUp(storage.Aio):
    attempts = 0

    def set_up(self):
        UsedUp.attempts += 1
        if UsedUp.attempts < 3:
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        super().set_up()

storage.Aio = UsedUp
server.BLOCKING_RETRY_SEC = 0.01
cli.main(["serve"])
"""


def test_a_server_that_waits_for_no_sync_does_not_mind_if_they_block(tmp_path, closing):
    server = closing(Server(tmp_path, command=[sys.executable, "-c", USED_UP], PRIORITY_SYNC="written"))
    assert server.stop() == 0
    assert not any("block the server" in message for message in server.messages)


def test_syncs_stop_blocking_when_the_system_has_asynchronous_ones_again(tmp_path, closing):
    server = closing(Server(tmp_path, command=[sys.executable, "-c", USED_UP]))
    assert any("syncs will block the server" in message for message in server.messages)
    server.wait_for_message("syncs no longer block")
    eventually(lambda: server.stats()["sync"]["mode"], lambda mode: mode == "fdatasync, asynchronous")
    with server.client() as client:
        client.send(error(1))
        assert client.recv(100) == ACK_FOR_1
    assert server.stop() == 0


def test_on_a_file_system_without_attributes_the_server_runs_and_says_so_once(faulty_disk, start):
    server = start(MAX_LOG_SIZE_MB="0.001")
    with server.client() as client:
        client.send(b"\n".join(error(sequence, "x" * 300) for sequence in range(1, 9)))  # fills three files
        assert sorted(acks(client, 8)) == list(range(1, 9))
    health = json.loads(get(server.dashboard_port, "/health").text)
    assert (health["status"], health.get("warnings", [])) == ("ok", [])
    assert server.stop() == 0
    said = [message for message in server.messages if "identity" in message]
    log = f"{faulty_disk.directory}/server.log"
    assert said == [f"fastlog: {log} gets no identity: Operation not supported; `fastlog ship` cannot ship it"]
