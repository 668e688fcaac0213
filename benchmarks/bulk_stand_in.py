"""A server that takes `_bulk` requests and does nothing with them: what a shipper costs shows beside it.

usage: python -m benchmarks.bulk_stand_in

Prints its port, and answers one connection after the other until it is killed.
"""

import re
import socket
import sys

READ_BYTES = 1 << 18
HEAD_MAX_BYTES = 1 << 16
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
BODY = b'{"took":1,"errors":false}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY


def answer_all(connection: socket.socket) -> None:
    """Until the other end closes."""
    room = memoryview(bytearray(READ_BYTES))
    waiting = b""
    while True:
        while (end := waiting.find(b"\r\n\r\n")) < 0:
            part = connection.recv(READ_BYTES)
            if not part or len(waiting) > HEAD_MAX_BYTES:
                return
            waiting += part
        length = LENGTH.search(waiting, 0, end)
        missing = end + 4 + (int(length[1]) if length else 0) - len(waiting)
        while missing > 0:
            count = connection.recv_into(room, min(missing, READ_BYTES))
            if not count:
                return
            missing -= count
        waiting = waiting[len(waiting) + missing :] if missing < 0 else b""
        connection.sendall(ANSWER)


def main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                try:
                    answer_all(connection)
                except OSError as error:
                    print(error, file=sys.stderr)


if __name__ == "__main__":
    main()
