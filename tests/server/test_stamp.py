"""STAMP, as a user of the server meets it."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from fastlog.config import STAMPS
from tests.helpers.entries import ERROR_7
from tests.helpers.running import run_fastlog

ACK_7 = b'{"ack":true,"sequence":7}'


def test_missing_is_the_default(tmp_path):
    done = run_fastlog("serve", "--check", cwd=tmp_path, LOG_DIR=".")
    assert "STAMP=missing  # default\n" in done.stdout


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_line_says_when_its_entry_came_and_from_whom(start, host):
    began = datetime.now(UTC)
    server = start(host=host, STAMP="missing")
    with server.client() as client:
        client.send(b'{"level":"INFO","message":"hello","received":"2019-01-01T00:00:00Z","source":"forged"}')
        client.send(ERROR_7)
        assert client.recv(100) == ACK_7
        port = client.getsockname()[1]
    line, whole = server.log().splitlines()
    assert whole == ERROR_7  # it has both
    entry = json.loads(line)
    assert entry["source"] == (f"[::1]:{port}" if host == "::1" else f"127.0.0.1:{port}")
    received = datetime.fromisoformat(entry["received"])
    assert began - timedelta(seconds=1) < received < datetime.now(UTC) + timedelta(seconds=1)
    assert (entry["_received"], entry["_source"]) == ("2019-01-01T00:00:00Z", "forged")


@pytest.mark.parametrize("first", STAMPS)
def test_a_retransmission_is_stored_once_over_restarts_with_any_stamp(start, first):
    entry = b'{"level":"ERROR","message":"m","sequence":7,"timestamp":"2026-11-24T07:00:00.000000Z","source":"own"}'
    for stamp in (first, *STAMPS):
        server = start(STAMP=stamp)
        with server.client() as client:
            client.send(entry)
            assert client.recv(100) == ACK_7
        server.stop()
    assert server.log().count(b"\n") == 1
