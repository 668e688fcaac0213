"""A file system that is really full."""

from tests.helpers.entries import entries
from tests.helpers.running import Server, eventually, get
from tests.helpers.shipping import write_note
from tests.helpers.small_disk import SIZE, only_root

pytestmark = only_root


def test_a_full_disk_is_filled_reported_and_recovered_from_with_every_entry_in_the_account(small_disk, closing):
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
        stats = eventually(server.stats, lambda stats: stats["level_distribution"]["ERROR"] == 1)
        assert stats["acks"]["sent"] == 0
        assert stats["total_received"] == len(ordinary) + 1
        assert stats["total_received"] == stats["stored"] + stats["buffered"] + stats["losses"]["disk"]
        assert stats["losses"]["disk"] > 0
        # one of the attempts may find room for a short line, and the stats are up to half a second old
        eventually(lambda: server.log().count(b"\n") - server.stats()["stored"], lambda more: more == 0)
        assert server.log().endswith(b"}\n")

        ballast.unlink()
        assert client.recv(100) == b'{"ack":true,"sequence":1}'
    eventually(lambda: get(server.dashboard_port, "/health"), lambda response: response.status == 200)
    stats = eventually(server.stats, lambda stats: not stats["buffered"])
    assert stats["total_received"] == stats["stored"] + stats["losses"]["disk"]
    server.stop()
    kept = server.log().splitlines()
    assert error in kept
    assert set(kept) <= {*ordinary, error}


def test_archives_that_wait_to_be_shipped_give_way_on_a_full_disk(small_disk, closing):
    """Entries that come are stored, and what is deleted for them is counted to the line."""
    server = closing(Server(small_disk, FLUSH_COUNT="10", MAX_LOG_SIZE_MB="0.5", LOG_BACKUPS="1"))
    write_note(small_disk / "server.log", 1)
    sent = 0
    for _ in range(20):  # more than one and a half times what fits
        server.send(entries(1_000, size=1_500))
        sent += 1_000
        eventually(server.stats, lambda stats, sent=sent: stats["stored"] == sent and not stats["buffered"])
    stats = eventually(
        server.stats, lambda stats: stats["losses"]["unshipped"] + server.whole_log().count(b"\n") == sent
    )
    assert stats["losses"]["unshipped"] > 0
    assert stats["losses"]["disk"] == 0
    server.stop()
    assert any("the disk is full: deleted" in message for message in server.messages), server.messages
