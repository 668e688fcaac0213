"""What a server has stored."""

import json

from fastlog.inputs.receipt import Receipt
from tests.helpers.running import Server, eventually

RECEIPT = Receipt("2026-11-26T08:30:00.000000Z", "192.0.2.17:40312", "192.0.2.17")


def entries(server: Server) -> list[dict]:
    return [json.loads(line) for line in server.whole_log().splitlines()]


def messages(server: Server) -> list[str]:
    return [entry["message"] for entry in entries(server)]


def account(server: Server) -> dict:
    """The server's stats when it has taken all that was sent before."""
    server.send([b'{"level":"END","message":"after the others"}'])
    return eventually(server.stats, lambda stats: stats["level_distribution"]["OTHER"] == 1)
