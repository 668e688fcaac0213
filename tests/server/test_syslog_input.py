"""Syslog messages at a real server: they become entries among fastlog's own."""

import json
from datetime import UTC, datetime, timedelta

from fastlog.inputs import syslog
from tests.helpers.datagrams import RECEIPT, datagrams
from tests.helpers.running import eventually

NATIVE = b'{"level":"INFO","message":"native"}'
MESSAGES = [d.data for d in datagrams() if syslog.is_syslog(d.data)]


def without_receipt(entry: dict[str, object]) -> dict[str, object]:
    """What does not depend on when an entry came, and from where."""
    return {key: value for key, value in entry.items() if key not in ("timestamp", "received", "source")}


def expected(data: bytes) -> dict[str, object]:
    receipt = RECEIPT.__class__(RECEIPT.received, "127.0.0.1:1", "127.0.0.1")
    return without_receipt(json.loads(syslog.decode(data, receipt)[1]))


def test_syslog_and_native_entries_share_a_port(start):
    server = start()
    sent = [data for message in MESSAGES for data in (message, NATIVE)]
    server.send(sent)
    stats = eventually(server.stats, lambda stats: stats["stored"] == len(sent))
    assert stats["inputs"] == {"json": len(MESSAGES), "syslog": len(MESSAGES), "gelf": 0}
    entries = eventually(server.entries, lambda entries: len(entries) == len(sent))
    assert entries[1::2] == [json.loads(NATIVE)] * len(MESSAGES)
    for data, entry in zip(MESSAGES, entries[::2], strict=True):
        assert without_receipt(entry) == expected(data)
        assert entry["source"].startswith("127.0.0.1:")


def test_syslog_that_is_switched_off_is_rejected(start):
    server = start(INPUTS="json,gelf")
    server.send([b"<13>Nov 26 08:11:04 host app: x", NATIVE])
    stats = eventually(
        server.stats, lambda stats: stats["total_received"] == 1 and sum(stats["rejected"].values()) == 1
    )
    assert stats["rejected"]["syntax"] == 1


def test_the_zone_of_stamps_is_a_setting(start):
    server = start(SYSLOG_ZONE="Asia/Kathmandu")
    offset = timedelta(hours=5, minutes=45)
    sent = datetime.now(UTC).replace(microsecond=0)
    server.send([f"<13>{(sent + offset).strftime('%b %d %H:%M:%S')} host app: x".encode()])
    [entry] = eventually(server.entries, lambda entries: entries)
    assert entry["timestamp"] == sent.replace(tzinfo=None).isoformat() + ".000000Z"
    assert entry["received"] >= entry["timestamp"]
    assert "stamp" not in entry
