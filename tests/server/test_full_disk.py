"""A file system that is really full."""

from tests.helpers.entries import entries
from tests.helpers.running import Server, eventually, get
from tests.helpers.small_disk import SIZE, only_root

pytestmark = only_root


def test_a_full_disk_is_filled_told_and_recovered_from_with_every_entry_in_the_account(small_disk, closing):
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(SIZE * 7 // 8))
    server = closing(Server(small_disk, FLUSH_COUNT="10", REJECTS_MAX_MB="0"))
    ordinary = entries(30_000, size=600)  # more than fits on the disk and in memory together
    server.send(ordinary)
    degraded = eventually(lambda: get(server.dashboard_port, "/health"), lambda response: response.status == 503)
    assert "No space left on device" in degraded.text
    with server.client() as client:
        error = b'{"level":"ERROR","message":"while the disk is full","sequence":1}'
        client.send(error)
        told = eventually(server.stats, lambda told: told["level_distribution"]["ERROR"] == 1)
        assert told["acks"]["sent"] == 0
        assert told["total_received"] == len(ordinary) + 1
        assert told["total_received"] == told["stored"] + told["buffered"] + told["losses"]["disk"]
        assert told["losses"]["disk"] > 0
        # a try of every second may find room for a short line, and the figures are up to half a second old
        eventually(lambda: server.log().count(b"\n") - server.stats()["stored"], lambda more: more == 0)
        assert server.log().endswith(b"}\n")

        ballast.unlink()
        assert client.recv(100) == b'{"ack":true,"sequence":1}'
    eventually(lambda: get(server.dashboard_port, "/health"), lambda response: response.status == 200)
    told = server.stats()
    assert told["buffered"] == 0
    assert told["total_received"] == told["stored"] + told["losses"]["disk"]
    server.stop()
    kept = server.log().splitlines()
    assert error in kept
    assert set(kept) <= {*ordinary, error}
