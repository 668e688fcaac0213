"""Priority entries that nobody awaits, with a real server and its own clock."""

from time import monotonic

from fastlog.server.commit import UNAWAITED_SYNC_SEC
from tests.helpers.running import eventually

ENTRY = b'{"level":"ERROR","message":"nobody awaits it"}'


def test_any_number_of_them_is_written_and_synced_and_none_is_answered(start):
    server = start()
    began = monotonic()
    server.send([ENTRY] * 3_000)
    eventually(server.stats, lambda stats: stats["stored"] == 3_000)
    server.send([ENTRY])
    eventually(server.log, lambda log: log == (ENTRY + b"\n") * 3_001)
    stats = eventually(server.stats, lambda stats: stats["sync"]["count"] > 0)
    assert stats["sync"]["count"] <= 1 + (monotonic() - began) / UNAWAITED_SYNC_SEC
    assert stats["priority_entries"] == 3_001
    assert stats["acks"]["sent"] == stats["acks"]["pending"] == 0
    with server.client() as client:
        client.send(ENTRY[:-1] + b',"sequence":7}')
        assert client.recv(100) == b'{"ack":true,"sequence":7}'


def test_gelf_is_synced_and_never_answered(start):
    server = start()
    with server.client() as client:
        client.send(b'{"version":"1.1","host":"h","short_message":"m","level":2,"_sequence":6,"sequence":6}')
        eventually(server.stats, lambda stats: stats["sync"]["count"] == 1)
        assert server.stats()["priority_entries"] == 1
        client.send(ENTRY[:-1] + b',"sequence":7}')
        assert client.recv(100) == b'{"ack":true,"sequence":7}'
