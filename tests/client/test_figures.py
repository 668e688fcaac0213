"""The figures of a client: from them, what became of every entry can be computed, at every moment and to the entry."""

import json
import socket
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastlog import Client
from fastlog.client.stats import ClientStats
from tests.helpers.running import eventually

LEVELS = ("INFO", "WARNING", "ERROR", "CRITICAL")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(0, 3), st.integers(1, 40)),
        st.tuples(st.just("answer"), st.floats(0, 1)),
        st.tuples(st.sampled_from(["leave", "return", "flush"])),
    ),
    max_size=25,
)


def in_balance(stats: ClientStats) -> bool:
    own = stats.acknowledged - stats.replayed
    places = (stats.queued, sum(stats.dropped.values()), stats.sent_once, own, stats.given_up, stats.spilled)
    return min(places) >= 0 and stats.calls == sum(places)


class ShyServer:
    """A server that acknowledges as it pleases, and is sometimes away."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = self._socket.getsockname()
        self._socket.setblocking(False)

    def leave(self) -> None:
        self._socket.close()

    def come_back(self) -> None:
        if self._socket.fileno() < 0:
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._socket.bind(self.address)
            self._socket.setblocking(False)

    def answer(self, share: float) -> None:
        """Acknowledges that share of what has come, of any level."""
        try:
            while True:
                datagram, client = self._socket.recvfrom(65536)
                for number, line in enumerate(datagram.splitlines()):
                    if number % 10 < share * 10:
                        self._socket.sendto(b'{"ack":true,"sequence":%d}' % json.loads(line)["sequence"], client)
        except OSError:  # there is no more, or it is away
            pass


@given(steps=STEPS, spills=st.booleans(), queue_entries=st.sampled_from([10, 1000]))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_call_is_in_one_place_at_every_moment(steps, spills, queue_entries):
    server = ShyServer()
    with tempfile.TemporaryDirectory() as directory:
        client = Client(
            port=server.address[1],
            priority_levels=LEVELS[1:],
            spill=Path(directory) / "spill" if spills else None,
            queue_entries=queue_entries,
            give_up_sec=0.2,
            window=16,
        )
        calls = 0
        for step, *arguments in steps:
            if step == "send":
                level, number = arguments
                for _ in range(number):
                    client.send(LEVELS[level], "m")
                    assert in_balance(client.stats())
                calls += number
            elif step == "answer":
                server.answer(*arguments)
            elif step == "leave":
                server.leave()
            elif step == "return":
                server.come_back()
            else:
                client.flush(0.01)
            stats = client.stats()
            assert in_balance(stats)
            assert stats.calls == calls
        client.close(0.01)
        stats = client.stats()
        assert in_balance(stats)
        assert (stats.calls, stats.queued, stats.unacknowledged) == (calls, 0, 0)
        assert client._outbox.entries == client._outbox.bytes == (0, 0)
    server.leave()


def test_a_client_at_rest_holds_what_the_figures_say(closing):
    server = ShyServer()
    client = Client(port=server.address[1])
    for number in range(30):
        client.send("ERROR" if number % 3 else "INFO", "m")
    eventually(client.stats, lambda stats: stats.sent == 30)
    stats = client.stats()
    assert (stats.queued, stats.unacknowledged, stats.sent_once) == (20, 20, 10)
    assert stats.queued_bytes == 20 * len('{"level":"ERROR","message":"m"}')
    server.answer(1)
    assert client.flush()
    assert (client.stats().queued, client.stats().queued_bytes, client.stats().acknowledged) == (0, 0, 20)
    client.close()
    server.leave()
