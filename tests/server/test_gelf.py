"""GELF at the port of a real server: what the file gets, and what is rejected."""

import json
import re

from fastlog.entry import MAX_DEPTH
from tests.helpers.running import eventually

ENTRY = b'{"level":"INFO","message":"an entry","timestamp":"2026-11-26T08:00:00Z","host":"h"}'
GELF = (
    b'{"version":"1.1","host":"web1","short_message":"refused","timestamp":1795680684.4336405,"level":3,"_order":1093}'
)
LINE = re.compile(
    rb'{"level":"ERROR","message":"refused","timestamp":"2026-11-26T08:11:24.433640Z","host":"web1","severity":"err",'
    rb'"received":"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z","source":"127\.0\.0\.1:\d+","order":1093}\n'
)


def test_gelf_stands_beside_entries_and_is_never_answered(start):
    server = start()
    with server.client() as client:
        for datagram in (GELF, GELF + ENTRY + b"\n" + GELF, GELF + GELF, b'{"short_message":"s","sequence":7}', b"{}"):
            client.send(datagram)
        log = eventually(server.log, lambda log: log.count(b"\n") == 7)
        # an entry is answered, and nothing was before it
        client.send(b'{"level":"ERROR","message":"m","sequence":8}')
        assert client.recv(100) == b'{"ack":true,"sequence":8}'
        port = client.getsockname()[1]
    lines = log.splitlines(keepends=True)
    assert [bool(LINE.fullmatch(line)) for line in lines] == [True, True, False, True, True, True, False]
    assert lines[2] == ENTRY + b"\n"
    last = json.loads(lines[6])
    assert (last["source"], last["_sequence"], last["host"]) == (f"127.0.0.1:{port}", 7, "127.0.0.1")
    stats = eventually(server.stats, lambda stats: stats["inputs"]["json"] == 2)
    assert (stats["inputs"]["gelf"], stats["rejected"]["level"]) == (6, 1)


def test_what_is_rejected_leaves_its_neighbours_whole(start):
    server = start()
    bad = {
        b'{"short_message":42}': "message",
        b'{"version":"1.1"}': "message",
        b'{"short_message":"s","host":42}': "field",
        b'{"short_message":"caf\xe9"}': "utf8",
        b'{"short_message":"s","_x":' + b"[" * MAX_DEPTH: "depth",
    }
    server.send([GELF + b"\n" + piece + b"\n" + GELF for piece in bad])
    rejects = eventually(server.rejects, lambda rejects: len(rejects) == len(bad))
    assert [reject["reason"] for reject in rejects] == list(bad.values())
    assert all(reject["offset"] == len(GELF) + 1 for reject in rejects)
    eventually(server.log, lambda log: len(LINE.findall(log)) == log.count(b"\n") == 2 * len(bad))


def test_inputs_without_gelf_reject_it_as_before(start):
    server = start(INPUTS="json,syslog")
    server.send([GELF + ENTRY + b"\n" + ENTRY])
    [reject] = eventually(server.rejects, len)
    assert (reject["reason"], reject["text"].encode()) == ("level", GELF + ENTRY)
    assert eventually(server.log, len) == ENTRY + b"\n"
