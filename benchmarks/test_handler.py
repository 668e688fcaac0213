"""What a log call costs in the application's thread, beside the handlers that others would use.

All of them send the same record, with two extra fields, to a process on this machine that reads everything. A round is
1,000 records; between rounds the fastlog client sends what is queued, so that its thread has its part, too.
"""

import logging
import logging.handlers
import socket
import subprocess
import sys

import graypy
import pygelf
import pytest

import fastlog

COUNT = 1000
READ = """
import socket, sys
receiver = socket.socket(fileno=int(sys.argv[1]))
while receiver.recv(65536) != b"end":
    pass
"""
RECORD = logging.getLogger("shop.web").makeRecord(
    "shop.web", logging.INFO, "/srv/shop/pay.py", 33, "order %s of %s took %.1f ms", (1234, "anna", 3.25), None, "pay",
    {"order": 1234, "customer": "anna"},
)  # fmt: skip


@pytest.fixture(scope="module")
def port():
    """Of a process that reads all it gets."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        receiver.bind(("127.0.0.1", 0))
        number = receiver.getsockname()[1]
        reader = subprocess.Popen([sys.executable, "-c", READ, str(receiver.fileno())], pass_fds=[receiver.fileno()])
    yield number
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(("127.0.0.1", number))
        while reader.poll() is None:
            sender.send(b"end")
            try:
                reader.wait(0.1)
            except subprocess.TimeoutExpired:
                continue


def measure(benchmark, call, before=None):
    def setup():
        if before:
            before()

    def burst():
        for _ in range(COUNT):
            call()

    benchmark.group = "1,000 log calls"
    benchmark.pedantic(burst, setup=setup, rounds=200, warmup_rounds=5)
    benchmark.extra_info["ns a call"] = round(benchmark.stats.stats.median / COUNT * 1e9)


OTHERS = {
    "SysLogHandler": lambda port: logging.handlers.SysLogHandler(("127.0.0.1", port)),
    "pygelf": lambda port: pygelf.GelfUdpHandler("127.0.0.1", port, include_extra_fields=True),
    "pygelf uncompressed": lambda port: pygelf.GelfUdpHandler(
        "127.0.0.1", port, include_extra_fields=True, compress=False
    ),
    "graypy": lambda port: graypy.GELFUDPHandler("127.0.0.1", port),
    "graypy uncompressed": lambda port: graypy.GELFUDPHandler("127.0.0.1", port, compress=False),
}


@pytest.mark.parametrize("other", OTHERS)
def test_other(benchmark, port, other):
    handler = OTHERS[other](port)
    measure(benchmark, lambda: handler.emit(RECORD))
    handler.close()


def test_handler(benchmark, port):
    handler = fastlog.Handler(port=port)
    measure(benchmark, lambda: handler.emit(RECORD), handler.flush)
    assert handler.client.stats().dropped == {}
    handler.close()


def test_handler_with_a_full_queue(benchmark, port):
    handler = fastlog.Handler(port=port, queue_entries=10)
    measure(benchmark, lambda: handler.emit(RECORD), handler.flush)
    assert handler.client.stats().dropped["INFO"] > 100 * COUNT
    handler.close()


def test_client_send(benchmark, port):
    with fastlog.Client("127.0.0.1", port) as client:
        send = client.send
        measure(
            benchmark,
            lambda: send("INFO", "order 1234 of anna took 3.2 ms", order=1234, customer="anna"),
            lambda: client.flush(5),
        )
