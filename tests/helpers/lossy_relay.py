"""A network that loses the datagrams that a test chooses."""

import socket
import threading

from tests.helpers.running import PATIENCE_SEC


class LossyRelay:
    """A UDP relay to the server. It loses a datagram if `loses(direction, number)` is true: the direction is "there" or
    "back", the number counts the datagrams of that direction from 0."""

    def __init__(self, port: int, loses) -> None:
        self._loses = loses
        self._server = ("127.0.0.1", port)
        self._front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._front.bind(("127.0.0.1", 0))
        self._back = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._back.connect(self._server)
        self.port = self._front.getsockname()[1]
        self.forwarded: list[bytes] = []
        self._client = None
        self._threads = [threading.Thread(target=target) for target in (self._to_server, self._to_client)]
        for thread in self._threads:
            thread.start()

    def _to_server(self) -> None:
        number = 0
        while True:
            datagram, self._client = self._front.recvfrom(65536)
            if datagram == b"end":
                return
            if not self._loses("there", number):
                self.forwarded.append(datagram)
                self._back.send(datagram)
            number += 1

    def _to_client(self) -> None:
        number = 0
        while True:
            datagram = self._back.recv(65536)
            if not datagram:
                return
            if not self._loses("back", number):
                self._front.sendto(datagram, self._client)
            number += 1

    def close(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closer:
            closer.sendto(b"end", ("127.0.0.1", self.port))
        self._back.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_SEC)
        self._front.close()
        self._back.close()
