"""An archive is compressed on a file system that is watched, and whose syncs fail, hang, or are cut off by `kill -9`."""

import errno
import os

import pytest

from tests.helpers.archives import in_force, names_in, whole_text
from tests.helpers.running import PATIENCE_SEC, Server, eventually, until

NEW, PLAIN, COMPRESSED = "server.log.zst.new", "server.log.1", "server.log.1.zst"
SETTINGS = {"LOG_COMPRESS": "zstd", "MAX_LOG_SIZE_MB": "0.01", "FLUSH_COUNT": "1"}
SENT = [b'{"level":"INFO","message":"number %06d","sequence":%d}' % (number, number) for number in range(250)]


@pytest.fixture
def start(faulty_disk, closing):
    return lambda: closing(Server(faulty_disk.directory, **SETTINGS))


def stored(directory) -> list[bytes]:
    """The lines of all that is in force."""
    paths = in_force(directory / "server.log")
    return b"".join(whole_text(path) if path.suffix == ".zst" else path.read_bytes() for path in paths).splitlines()


def test_the_original_goes_when_all_before_is_durable(faulty_disk, start):
    server = start()
    server.send(SENT)
    eventually(server.stats, lambda stats: stats["archives"]["compressed_files"] == 1)
    assert server.stop() == 0
    steps = [call for call in faulty_disk.calls() if call[0] != "setattr"]
    begin = max(number for number, call in enumerate(steps) if call == ["write", NEW])
    assert steps[begin + 1 : begin + 5] == [["fsync", NEW], ["rename", "/"], ["fsyncdir", "/"], ["unlink", "/"]]
    assert stored(faulty_disk.directory) == SENT


def test_killed_while_the_new_name_is_not_durable_the_original_is_in_force(faulty_disk, start):
    directory = faulty_disk.directory
    server = start()
    with faulty_disk.hanging("fsyncdir"):
        server.send(SENT)
        until((directory / COMPRESSED).exists, "the new name")
        until(lambda: faulty_disk.hung() == 1, "the sync of the directory")
        assert (directory / PLAIN).exists()
        server.process.kill()
    server.process.wait(PATIENCE_SEC)
    assert stored(directory) == SENT
    again = start()
    assert not (directory / COMPRESSED).exists()  # it may not be what is on the disk
    assert stored(directory) == SENT
    eventually(again.stats, lambda stats: stats["archives"]["compressed_files"] == 1)
    assert again.stop() == 0
    assert names_in(directory) == {"server.log", COMPRESSED, "rejects.jsonl"}
    assert stored(directory) == SENT


@pytest.mark.parametrize(
    ("operation", "number", "name"),
    [("write", errno.ENOSPC, NEW), ("fsync", errno.EIO, NEW), ("fsyncdir", errno.EIO, None)],
)
def test_the_original_stays_if_a_step_fails(faulty_disk, start, operation, number, name):
    directory = faulty_disk.directory
    server = start()
    faulty_disk.fail(operation, number, name)
    server.send(SENT)
    stats = eventually(server.stats, lambda stats: stats["archives"]["failure"])
    assert os.strerror(number) in stats["archives"]["failure"]
    assert (stats["archives"]["waiting_files"], stats["losses"]["disk"]) == (1, 0)
    assert stored(directory) == SENT
    assert names_in(directory) == {"server.log", PLAIN, "rejects.jsonl"}
    faulty_disk.mend(operation)
    assert server.stop() == 0
    assert sum("cannot compress" in message for message in server.messages) == 1, server.messages

    again = start()
    eventually(again.stats, lambda stats: stats["archives"]["compressed_files"] == 1)
    assert again.stop() == 0
    assert stored(directory) == SENT
