"""Archives are compressed by a process beside the server, whatever happens meanwhile."""

import os
import re

from backports import zstd

from fastlog.segments import identity_of
from tests.helpers.running import eventually, until

LIVE = "server.log"
FILE = {
    "LOG_COMPRESS": "zstd",
    "MAX_LOG_SIZE_MB": "0.01",
    "FLUSH_COUNT": "1",
    "LOG_BACKUPS": "50",
}  # about 160 lines in each


def lines(first, count):
    return [
        b'{"level":"INFO","message":"number %06d","sequence":%d}' % (number, number)
        for number in range(first, first + count)
    ]


def archives(directory, ending):
    """By number."""
    names = re.compile(rf"server\.log\.(\d+){re.escape(ending)}")
    found = {}
    for name in os.listdir(directory):
        if match := names.fullmatch(name):
            found[int(match[1])] = directory / name
    return dict(sorted(found.items()))


def text_of(directory):
    """All lines in force, the oldest first."""
    plain, compressed = archives(directory, ""), archives(directory, ".zst")
    assert not plain.keys() & compressed.keys()
    text = b""
    for number in sorted({**plain, **compressed}, reverse=True):
        text += plain[number].read_bytes() if number in plain else zstd.decompress(compressed[number].read_bytes())
    return text + (directory / LIVE).read_bytes()


def settled(server):
    return eventually(
        server.stats, lambda stats: stats["archives"]["waiting_files"] == 0 and stats["disk"]["rotations"]
    )


def test_archives_are_compressed(start, tmp_path):
    server = start(**FILE)
    sent = lines(0, 2_000)
    server.send(sent)
    eventually(server.stats, lambda stats: stats["stored"] == 2_000)
    until(lambda: archives(tmp_path, ".zst") and not archives(tmp_path, ""), "the end of compressing")
    stats = settled(server)
    assert text_of(tmp_path).splitlines() == sent
    found = archives(tmp_path, ".zst")
    assert stats["archives"]["compressed_files"] == len(found) == stats["disk"]["rotations"]
    assert stats["archives"]["failure"] is None
    assert [identity_of(path).segment for path in found.values()] == list(range(len(found), 0, -1))
    assert server.stop() == 0
    assert sorted(os.listdir(tmp_path)) == sorted(["server.log", "rejects.jsonl", *(p.name for p in found.values())])
