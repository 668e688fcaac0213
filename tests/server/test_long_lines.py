"""The longest lines that a server stores, on their way to readers: the file, `/stats` and `fastlog tail`."""

import json
import zlib

from fastlog.limits import LINE_MAX_BYTES
from tests.helpers.running import eventually, run_fastlog


def packed(message: str) -> bytes:
    """A GELF message of the level `error`, in few bytes."""
    return zlib.compress(json.dumps({"version": "1.1", "host": "h", "short_message": message, "level": 3}).encode(), 9)


def test_the_longest_line_reaches_its_readers(start, tmp_path):
    server = start(MAX_LOG_SIZE_MB="0.001", LOG_BACKUPS="9")
    messages = [letter * 257_000 for letter in "abc"]
    server.send(map(packed, messages))
    stats = eventually(server.stats, lambda stats: stats["stored"] == 3)
    assert [entry["message"] for entry in stats["recent_errors"]] == messages
    assert stats["priority_entries"] == 3
    assert max(map(len, server.whole_log().splitlines())) <= LINE_MAX_BYTES
    assert [entry["message"] for entry in server.entries()] == messages
    done = run_fastlog("tail", "--log-dir", ".", "--json", "-n", "2", cwd=tmp_path)
    assert [json.loads(line)["message"] for line in done.stdout.splitlines()] == messages[1:]
