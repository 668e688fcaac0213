"""A file system that is full while an archive is compressed: receiving goes before."""

import random
import shutil
import sys

import pytest

from tests.helpers.archives import in_force, names_in, whole_text
from tests.helpers.running import Server, eventually, get, until
from tests.helpers.small_disk import SIZE, only_root

pytestmark = only_root

# The server as it is, but for the time until it tries again.
IMPATIENT_PROGRAM = """
import sys
from fastlog.cli import main
from fastlog.server import compression
compression.RETRY_SEC = 0.5
sys.exit(main())
"""
# The server, which runs another program to compress.
OTHER_PROGRAM = """
import sys
from fastlog.cli import main
sys.executable = sys.argv.pop(1)
sys.exit(main())
"""
# Takes as much room for the compressed archive as the archive has, and stops.
HUNGRY = """\
#!/bin/sh
head -c {size} /dev/zero >&$5
kill -STOP $$
"""
ARCHIVE_BYTES = SIZE // 4
SETTINGS = {"LOG_COMPRESS": "zstd", "MAX_LOG_SIZE_MB": str(ARCHIVE_BYTES / 1e6), "FLUSH_COUNT": "10"}


@pytest.fixture
def start(small_disk, closing):
    return lambda *program: closing(Server(small_disk, command=[sys.executable, "-c", *program, "serve"], **SETTINGS))


def entries(count: int, size: int = 700) -> list[bytes]:
    """Of random digits, so that they do not become much smaller."""
    rng = random.Random(count)
    return [b'{"level":"INFO","message":"%s"}' % rng.randbytes(size // 2).hex().encode() for _ in range(count)]


def send_all(server: Server, sent: list[bytes]) -> None:
    """And waits until they are stored."""
    before = server.stats()["stored"]
    server.send(sent)
    eventually(server.stats, lambda stats: stats["stored"] == before + len(sent))


def check_one_error(server: Server) -> None:
    with server.client() as client:
        client.send(b'{"level":"ERROR","message":"while the disk is nearly full","sequence":1}')
        assert client.recv(100) == b'{"ack":true,"sequence":1}'


def test_no_room_for_the_compressed_archive(small_disk, start):
    """It is told once, the original stays, and there is another attempt later."""
    new = small_disk / "server.log.zst.new"
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(SIZE - ARCHIVE_BYTES * 5 // 4))
    server = start(IMPATIENT_PROGRAM)
    sent = entries(ARCHIVE_BYTES * 9 // 8 // 700)
    send_all(server, sent)
    for _ in range(2):  # attempts
        until(new.exists, "an attempt")
        until(lambda: not new.exists(), "its end")
    failure = eventually(lambda: server.stats()["archives"]["failure"], bool)
    assert "No space left on device" in failure
    check_one_error(server)
    assert names_in(small_disk) == {"server.log", "server.log.1", "rejects.jsonl", "ballast"}
    assert server.stats()["archives"]["waiting_files"] == 1

    ballast.unlink()
    stats = eventually(server.stats, lambda stats: stats["archives"]["compressed_files"] == 1)
    assert stats["archives"]["failure"] is None
    assert stats["losses"]["disk"] == 0
    assert server.stop() == 0
    assert [path.name for path in in_force(small_disk / "server.log")] == ["server.log.1.zst", "server.log"]
    stored = whole_text(small_disk / "server.log.1.zst") + server.log()
    assert stored.splitlines()[: len(sent)] == sent
    assert sum("cannot compress" in message for message in server.messages) == 1, server.messages


def test_what_is_compressed_gives_way_to_entries(small_disk, start, tmp_path):
    """The new file takes the room that entries need."""
    new = small_disk / "server.log.zst.new"
    hungry = tmp_path / "hungry"
    hungry.write_text(HUNGRY.format(size=ARCHIVE_BYTES))
    hungry.chmod(0o755)
    server = start(OTHER_PROGRAM, str(hungry))
    sent = entries(ARCHIVE_BYTES * 9 // 8 // 700)
    send_all(server, sent)
    until(lambda: new.exists() and new.stat().st_size == ARCHIVE_BYTES, "the new file")
    used = shutil.disk_usage(small_disk).used
    (small_disk / "ballast").write_bytes(bytes(SIZE - used - ARCHIVE_BYTES // 4))
    more = entries(ARCHIVE_BYTES // 2 // 700)
    send_all(server, more)
    assert not new.exists()
    assert server.log().splitlines()[-len(more) :] == more
    assert (small_disk / "server.log.1").exists()
    stats = server.stats()
    assert "No space left on device" in stats["archives"]["failure"]
    assert stats["losses"]["disk"] == 0
    check_one_error(server)
    # It may be a second old.
    eventually(lambda: get(server.dashboard_port, "/health").status, lambda status: status == 200)
    assert server.stop() == 0
