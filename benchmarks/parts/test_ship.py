"""What it costs to ship a line: as a document of `_bulk`, packed, and all of it up to an engine that does nothing.

The batches are those of `SHIP_BATCH_KB`. The engine runs in a process of its own.
"""

import subprocess
import sys
import zlib

import pytest

from fastlog.config import Settings
from fastlog.segments import Position
from fastlog.ship import bulk
from fastlog.ship._documents import documents
from fastlog.ship.bulk import BulkSink
from fastlog.ship.sink import Batch

BATCH_BYTES = 256 << 10
ROUNDS = 50
ID_START = b'{"create":{"_id":"web1-0123456789ab-7-'
TIME = b"2026-11-26T08:30:00.123456Z"

# Answers every request as Elasticsearch does, if all went well.
ENGINE = """
import socket
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
connection, _ = listener.accept()
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
stream = connection.makefile("rb")
body = b'{"errors":false,"items":[' + b",".join([b'{"create":{"status":201}}'] * 1000) + b"]}"
answer = b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body
while True:
    size = 0
    while (line := stream.readline()) not in (b"\\r\\n", b""):
        if line.lower().startswith(b"content-length:"):
            size = int(line[15:])
    if not line:
        break
    stream.read(size)
    connection.sendall(answer)
"""


@pytest.fixture(scope="module")
def lines(corpus) -> list[bytes]:
    """The lines of a batch."""
    size = sum(map(len, corpus)) // len(corpus)
    return [line + b"\n" for line in corpus[: BATCH_BYTES // size]]


@pytest.fixture
def engine():
    process = subprocess.Popen([sys.executable, "-c", ENGINE], stdout=subprocess.PIPE, text=True)
    yield f"http://127.0.0.1:{int(process.stdout.readline())}/logs"
    process.wait()
    process.stdout.close()


def test_lines_as_documents(measure, lines):
    text = b"".join(lines)
    made = measure(documents, text, ID_START, 0, TIME, count=len(lines), rounds=ROUNDS, sample=lines, unit="line")
    assert len(made.ends) == len(lines)


def test_documents_packed(measure, lines):
    body = documents(b"".join(lines), ID_START, 0, TIME).body

    def pack():
        packer = zlib.compressobj(bulk.GZIP_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS | 16)
        return packer.compress(body) + packer.flush()

    packed = measure(pack, count=len(lines), rounds=ROUNDS, sample=lines, unit="line")
    assert len(packed) < len(body) // 2


def test_batch_into_bulk(measure, lines, engine):
    sink = BulkSink(Settings(ship_to=engine), "web1", None)
    text = b"".join(lines)
    numbers = iter(range(10_000))

    def send():
        segment = next(numbers) + 1
        log = "0123456789ab"
        return sink.send(Batch(text, Position(log, segment, 0), Position(log, segment, len(text)), len(lines)))

    try:
        assert measure(send, count=len(lines), rounds=ROUNDS, sample=lines, unit="line") == 0
    finally:
        sink.close()
