"""docs/why.md: what it says of log calls over TCP, and of fastlog's."""

import socket

from tests.helpers.running import run_python

MORE_THAN_BUFFERS_HOLD = 100_000  # lines of a kilobyte, so 100 MB: no system gives a connection that much by default
PROMPT_SEC = 10  # a generous bound for 100,000 calls of a microsecond
OVER_TCP = """
import logging, socket, sys
from logging.handlers import SysLogHandler
class Handler(SysLogHandler):
    def handleError(self, record):
        raise sys.exc_info()[1]
handler = Handler(address=("127.0.0.1", int(sys.argv[1])), socktype=socket.SOCK_STREAM)
handler.socket.settimeout(0.5)  # without which the call would wait for ever
logging.getLogger().addHandler(handler)
logged = 0
try:
    for logged in range(int(sys.argv[2])):
        logging.error("x" * 1000)
except TimeoutError:
    print("waits")
else:
    print("has sent all")
handler.close()
"""
WITH_FASTLOG = """
import logging, sys, time, fastlog
handler = fastlog.Handler("127.0.0.1", port=int(sys.argv[1]))
logging.getLogger().addHandler(handler)
began = time.monotonic()
for logged in range(int(sys.argv[2])):
    logging.error("x" * 1000)
print(time.monotonic() - began)
"""


def test_over_tcp_a_program_waits_for_a_collector_that_does_not_read():
    with socket.create_server(("127.0.0.1", 0)) as collector:
        done = run_python(OVER_TCP, collector.getsockname()[1], MORE_THAN_BUFFERS_HOLD)
    assert done.stdout == "waits\n"


def test_over_tcp_lines_are_lost_without_an_error():
    """The collector dies after the program has sent, and has read nothing."""
    with socket.create_server(("127.0.0.1", 0)) as collector:
        done = run_python(OVER_TCP, collector.getsockname()[1], 5)
    assert (done.stdout, done.stderr) == ("has sent all\n", "")


def test_a_call_does_not_wait_for_a_server_that_does_not_read(start):
    server = start()
    with server.stopped():
        done = run_python(WITH_FASTLOG, server.port, MORE_THAN_BUFFERS_HOLD)
    assert float(done.stdout) < PROMPT_SEC
