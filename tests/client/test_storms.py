"""One entry, or one level, that the server does not acknowledge: it is not sent again and again, nothing waits for it,
and the client says so."""

import json

import pytest

from fastlog import Client
from tests.helpers.running import PATIENCE_SEC, eventually

WITH_WARNING = ("WARNING", "ERROR", "CRITICAL")
TOO_LONG = "x" * 20_000  # for a server with this setting
SHORT_BUFFER = {"BUFFER_SIZE": "8192"}


@pytest.fixture
def client(closing):
    """A client of a server."""

    class Closing:
        def __init__(self, made: Client) -> None:
            self._made = made

        def close(self) -> None:
            """Does not wait for the entries that a test leaves."""
            self._made.close(0)

    def make(server, **options) -> Client:
        made = Client(port=server.port, **options)
        closing(Closing(made))
        return made

    return make


def received(server) -> int:
    """Entries that reached the server, repetitions included."""
    return server.stats()["total_received"]


def messages(server) -> list[str]:
    return [json.loads(line)["message"] for line in server.whole_log().splitlines()]


def send_both(sender: Client, level: str, number: int, other: str) -> None:
    """Entries of a level, and after every tenth one of another."""
    for i in range(number):
        sender.send(level, f"{level} {i}")
        if i % 10 == 9:
            sender.send(other, f"{other} {i}")
            eventually(sender.stats, lambda stats: stats.acknowledged > i // 10)  # noqa: B023


def test_a_level_that_the_server_does_not_acknowledge_is_noticed_said_and_not_repeated(start, client):
    server = start()
    sender = client(server, priority_levels=WITH_WARNING)
    send_both(sender, "WARNING", 3000, "ERROR")
    stats = eventually(sender.stats, lambda stats: stats.sent == 3300)
    assert "does not acknowledge WARNING" in stats.problem
    assert "PRIORITY_LEVELS" in stats.problem
    assert stats.acknowledged == 300
    assert stats.sent_unacknowledged > 2500
    assert stats.sent_unacknowledged + stats.unacknowledged == 3000
    eventually(lambda: received(server), lambda number: number >= 3300)
    assert received(server) < 3300 * 1.2
    server.stop()
    assert set(messages(server)) >= {f"WARNING {i}" for i in range(3000)}


def test_a_level_that_is_acknowledged_again_is_kept_and_repeated_again(start, client):
    server = start(PRIORITY_LEVELS="CRITICAL")
    sender = client(server)

    def send_and_read():
        sender.send("ERROR", "not acknowledged")
        sender.send("CRITICAL", "acknowledged")
        return sender.stats()

    stats = eventually(send_and_read, lambda stats: "does not acknowledge ERROR" in stats.problem)
    server.stop()
    start(SERVER_PORT=str(server.port))
    sender.send("ERROR", "asks")
    eventually(sender.stats, lambda stats: not stats.problem)
    assert sender.flush(PATIENCE_SEC)
    stats = eventually(sender.stats, lambda stats: stats.unacknowledged == 0)
    assert stats.given_up == 0


@pytest.mark.parametrize("number", [1, 2000])
def test_entries_that_the_server_never_takes_hold_up_no_other(start, client, number):
    server = start(**SHORT_BUFFER)
    sender = client(server, queue_bytes=1 << 27)
    sender.send("ERROR", "first")
    assert sender.flush()
    for _ in range(number):
        sender.send("ERROR", TOO_LONG)
    for i in range(1, 50):
        sender.send("ERROR", str(i))
        eventually(sender.stats, lambda stats: stats.acknowledged > i)  # noqa: B023
    stats = sender.stats()
    assert stats.sent_bytes < 15 * number * len(TOO_LONG)
