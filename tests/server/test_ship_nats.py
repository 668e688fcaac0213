"""What `fastlog ship` has from a real server of NATS, through its sink: each line once, whatever happens between."""

import threading

import pytest

from fastlog.segments import Position
from fastlog.ship.nats import NatsSink
from fastlog.ship.sink import Batch, UnavailableError
from tests.helpers.nats import NODE, STREAM, NatsServer, needs_nats, settings
from tests.helpers.running import eventually
from tests.helpers.tcp_proxy import TcpProxy, is_ack

pytestmark = needs_nats

LOG = "0123456789ab"
LINE = b'{"level":"ERROR","message":"%06d"}\n'
LINE_BYTES = len(LINE % 0)


def batch(first: int, count: int = 1, log: str = LOG, segment: int = 1) -> Batch:
    """Lines of a log from the line with this number on."""
    lines = b"".join(LINE % number for number in range(first, first + count))
    start = first * LINE_BYTES
    return Batch(lines, Position(log, segment, start), Position(log, segment, start + len(lines)), count)


def lines(count: int) -> bytes:
    return batch(0, count).lines


@pytest.fixture
def server(tmp_path, closing):
    server = closing(NatsServer(tmp_path / "nats"))
    server.make_stream()
    return server


@pytest.fixture
def sink_to(closing):
    """Makes a sink, and asks it where to go on."""

    def make(url: str, create: bool = False, **more) -> NatsSink:
        sink = closing(NatsSink(settings(f"{url}/{STREAM}", **more), NODE, create))
        sink.resume()
        return sink

    return make


@pytest.fixture
def proxied(server, closing, sink_to):
    """A proxy before the server, and a sink that goes through it."""

    def make(**more):
        proxy = closing(TcpProxy(server.port, **more))
        return proxy, sink_to(f"nats://127.0.0.1:{proxy.port}")

    return make


def send_until_acknowledged(sink, wanted) -> list[str]:
    """As the shipper does; returns what hindered it."""
    problems = []

    def send():
        try:
            return sink.send(wanted)
        except UnavailableError as error:
            problems.append(str(error))
            return None

    eventually(send, lambda refused: refused == 0)
    return problems


def test_lines_are_stored_with_their_position_and_the_next_sink_goes_on_there(server, sink_to, closing):
    sink = sink_to(server.url)
    sink.send(batch(0, 2))
    sink.send(batch(2, 3))
    assert server.data() == lines(5)
    first, second = server.messages()
    assert first.headers["Nats-Msg-Id"] == f"{NODE}/{LOG}/1/0-{2 * LINE_BYTES}"
    assert first.headers["Nats-Expected-Stream"] == STREAM
    assert first.headers["Fastlog-Pos"] == f"{LOG}:1:{2 * LINE_BYTES}"
    assert first.headers["Fastlog-Lines"] == "2"
    assert second.headers["Nats-Expected-Last-Subject-Sequence"] == "1"
    another = closing(NatsSink(settings(f"{server.url}/{STREAM}"), NODE, False))
    assert another.resume() == batch(2, 3).last


def test_an_empty_stream_has_no_position(server, sink_to):
    assert sink_to(server.url).resume() is None


def test_a_lost_ack_within_the_dedupe_window(server, proxied):
    proxy, sink = proxied()
    sink.send(batch(0))
    proxy.hold()
    cutter = threading.Timer(0.05, proxy.cut)  # the message is there, and its ACK is not
    cutter.start()
    problems = send_until_acknowledged(sink, batch(1))
    cutter.join()
    sink.send(batch(2))
    assert problems
    assert server.data() == lines(3)


def test_a_lost_ack_after_the_dedupe_window(tmp_path, closing, sink_to):
    server = closing(NatsServer(tmp_path / "nats"))
    server.make_stream(duplicate_window=100_000_000)
    lose = [False]
    proxy = closing(TcpProxy(server.port, lambda message, number: lose[0] and is_ack(message)))
    sink = sink_to(f"nats://127.0.0.1:{proxy.port}")
    sink.send(batch(0))
    lose[0] = True
    with pytest.raises(UnavailableError, match="has not answered for 5 seconds"):  # far longer than the window
        sink.send(batch(1))
    lose[0] = False
    assert sink.send(batch(1)) == 0
    sink.send(batch(2))
    assert server.data() == lines(3)
