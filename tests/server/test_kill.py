"""`kill -9` at random moments under load: every acknowledged entry is there, and no priority entry is there twice.

FASTLOG_KILL_ROUNDS=200 kills the server 200 times.
"""

import os
from collections import Counter

from tests.helpers.resending import ResendingClient
from tests.helpers.running import PATIENCE_SEC, Server

ROUNDS = int(os.environ.get("FASTLOG_KILL_ROUNDS", "20"))


def test_killed_at_random_moments_nothing_acknowledged_is_lost(tmp_path, closing, rng):
    client = closing(ResendingClient(rng))
    settings = {
        "FLUSH_COUNT": "50",
        "FLUSH_TIMEOUT_SEC": "3600",
        "MAX_LOG_SIZE_MB": "0.05",
        "LOG_BACKUPS": "9999",
    }
    port = "0"
    written: set[int] = set()
    for _ in range(ROUNDS):
        server = closing(Server(tmp_path, SERVER_PORT=port, **settings))
        port = str(server.port)
        client.connect(server.port)
        first = len(client.sent) + 1
        client.send(rng.randrange(1, 400), server)
        server.process.kill()
        server.process.wait(PATIENCE_SEC)
        server.close()
        # with an ERROR everything is written that came before it
        written.update(range(first, max(client.acknowledged, default=0)))
    server = closing(Server(tmp_path, SERVER_PORT=port, **settings))
    client.settle()
    server.stop()

    found = Counter(server.whole_log().splitlines())
    assert set(found) <= set(client.sent.values()), "a line that nobody sent"
    assert max(found.values()) == 1, "an entry is stored twice"
    errors = {sequence for sequence, entry in client.sent.items() if b'"ERROR"' in entry}
    assert client.acknowledged == errors
    lost = {sequence for sequence, entry in client.sent.items() if entry not in found}
    assert not lost & errors, "acknowledged and lost"
    assert not lost & written, "lost, and sent before what was acknowledged"
    assert written, "no ACK came before a kill"
