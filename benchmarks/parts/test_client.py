"""The cost of a log call for the thread that makes it, beside the handlers that people use otherwise.

Each sender has a process that reads what it sends. A round is a burst of 1,000 calls. Between two rounds, the client's
queue is emptied.
"""

import logging
import logging.handlers
import socket
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import graypy
import pygelf
import pytest

from fastlog import Client, Handler
from fastlog.client import handler, pure_outbox, pure_record, thread

CALLS = 1_000
READER = """
import socket
reader = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
reader.bind(("127.0.0.1", 0))
print(reader.getsockname()[1], flush=True)
while reader.recv(65536) != b"end":
    pass
"""


@pytest.fixture
def port():
    """The port of a process that reads and forgets."""
    reader = subprocess.Popen([sys.executable, "-c", READER], stdout=subprocess.PIPE)
    number = int(reader.stdout.readline())
    yield number
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closer:
        while reader.poll() is None:
            closer.sendto(b"end", ("127.0.0.1", number))
    reader.stdout.close()


def record() -> logging.LogRecord:
    made = logging.LogRecord("shop.orders", logging.INFO, __file__, 42, "order %d kept as pending", (1093,), None)
    made.user, made.region = "anna", "north"
    return made


HANDLERS = {
    "SysLogHandler": lambda port: logging.handlers.SysLogHandler(("127.0.0.1", port)),
    "DatagramHandler": lambda port: logging.handlers.DatagramHandler("127.0.0.1", port),
    "pygelf": lambda port: pygelf.GelfUdpHandler("127.0.0.1", port, include_extra_fields=True),
    "graypy": lambda port: graypy.GELFUDPHandler("127.0.0.1", port),
}


@pytest.mark.benchmark(group="emit")
@pytest.mark.parametrize("name", HANDLERS)
def test_handler(measure, port, name):
    theirs = HANDLERS[name](port)
    emit, made = theirs.emit, record()

    def burst():
        for _ in range(CALLS):
            emit(made)

    measure(burst, count=CALLS, rounds=50, unit="call")
    theirs.close()


@pytest.mark.benchmark(group="emit")
@pytest.mark.parametrize("queue_entries", [10_000, 10])
def test_our_handler(measure, port, queue_entries):
    """With room in the queue, and with a queue that is full after the first few records of a burst."""
    ours = Handler(port=port, queue_entries=queue_entries)
    emit, made = ours.emit, record()

    def burst():
        for _ in range(CALLS):
            emit(made)

    measure(burst, count=CALLS, rounds=200, unit="call", setup=ours.flush)
    dropped = ours.client.stats().dropped.get("INFO", 0)
    assert dropped == 0 if queue_entries > CALLS else dropped > measure.rounds * CALLS / 2
    ours.close()


@pytest.fixture
def in_python(monkeypatch):
    """The client's twin in Python, as FASTLOG_PURE=1 chooses it."""
    monkeypatch.setattr(thread, "Outbox", pure_outbox.Outbox)
    monkeypatch.setattr(handler, "entry_of", pure_record.entry_of)


@pytest.mark.benchmark(group="emit")
@pytest.mark.usefixtures("in_python")
def test_our_handler_in_python(measure, port):
    test_our_handler(measure, port, 10_000)


@pytest.mark.benchmark(group="emit")
@pytest.mark.usefixtures("in_python")
def test_client_in_python(measure, port):
    test_client(measure, port)


@pytest.mark.benchmark(group="emit")
def test_client(measure, port):
    with Client(port=port) as client:
        send = client.send

        def burst():
            for _ in range(CALLS):
                send("INFO", "order 1093 kept as pending", user="anna", region="north")

        def empty() -> None:
            assert client.flush()

        measure(burst, count=CALLS, rounds=200, unit="call", setup=empty)
        assert client.stats().dropped == {}


@pytest.mark.benchmark(group="emit")
def test_client_with_a_full_queue(measure):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
    client = Client(port=port, queue_entries=1)
    client.send("ERROR", "the only one")

    def burst():
        for _ in range(CALLS):
            client.send("ERROR", "order 1093 kept as pending", user="anna", region="north")

    measure(burst, count=CALLS, rounds=200, unit="call")
    assert client.stats().dropped == {"ERROR": (measure.rounds + 1) * CALLS}
    client.close(0)


@dataclass
class Order:
    number: int
    customer: str


class Session:
    def __str__(self) -> str:
        return "session 17"


VALUES = {
    "strings": "north",
    "datetime": datetime(2026, 11, 24, 7, tzinfo=UTC),
    "UUID": UUID(int=1093),
    "Decimal": Decimal("19.90"),
    "ten dicts": [{"number": number, "name": f"article {number}"} for number in range(10)],
    "object": Session(),
    "dataclass": Order(1093, "anna"),
    "set": {1, 2, 3},
}


@pytest.mark.benchmark(group="values")
@pytest.mark.parametrize("name", VALUES)
def test_values(measure, port, name):
    """What a value costs that is not one of JSON's own: some are copied before they are encoded."""
    value = VALUES[name]
    with Client(port=port) as client:
        send = client.send

        def burst():
            for _ in range(CALLS):
                send("INFO", "order 1093 kept as pending", user="anna", value=value)

        def empty() -> None:
            assert client.flush()

        measure(burst, count=CALLS, rounds=50, unit="call", setup=empty)
        assert client.stats().dropped == {}
