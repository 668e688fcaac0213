"""A TCP proxy before a server, which loses, delays and cuts what comes from there, when a test says so."""

import contextlib
import re
import socket
import threading
from collections.abc import Callable

from tests.helpers.running import PATIENCE_SEC

READ_BYTES = 65536

_FRAME = re.compile(rb"H?MSG [^\r\n]* (\d+)\r\n")
_ACK = b'{"stream":'  # how JetStream begins its answer to a message


class TcpProxy:
    """Takes connections on `port` and makes one to the server for each.

    `loses`: asked for each message that the server of NATS sends, with its number from 0 on; a true answer keeps it
    from the client, and the connection goes on. Without it the bytes of any protocol pass as they are.
    """

    def __init__(self, server_port: int, loses: Callable[[bytes, int], bool] | None = None) -> None:
        self.server_port = server_port
        self.loses = loses
        self.lost = 0  # messages
        self.connections = 0
        self._messages = 0
        self._flows = threading.Event()  # what comes from the server is passed on
        self._flows.set()
        self._stalled: list[threading.Event] = []  # what `_flows` was for connections that get nothing any more
        self._refuses = False
        self._closed = False
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._start(self._accept)

    def hold(self) -> None:
        """Nothing that comes from the server reaches a client, until `release`."""
        self._flows.clear()

    def release(self) -> None:
        self._flows.set()

    def stall(self) -> None:
        """The connections of now get nothing from the server any more until they are cut, and new ones do."""
        stalled, self._flows = self._flows, threading.Event()
        stalled.clear()
        self._flows.set()
        self._stalled.append(stalled)

    def cut(self) -> None:
        """Ends all connections, as the loss of a host would, with what is under way. New ones are taken."""
        with self._lock:
            for end in self._sockets:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            self._sockets.clear()
        for flows in (self._flows, *self._stalled):
            flows.set()

    def refuse(self, refuses: bool = True) -> None:
        """New connections end at once."""
        self._refuses = refuses

    def close(self) -> None:
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(PATIENCE_SEC)

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.server_port))
            except OSError:
                client.close()
                continue
            if self._refuses or self._closed:
                client.close()
                server.close()
                continue
            self.connections += 1
            with self._lock:
                self._sockets += [client, server]
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            ended = threading.Barrier(2)
            self._start(self._pass_on, client, server, ended, lambda data: data)
            self._start(self._pass_on, server, client, ended, self._answers(self._flows))

    def _answers(self, flows: threading.Event) -> Callable[[bytes], bytes]:
        """What becomes of that which comes from the server of one connection."""
        messages = _Messages()

        def let_through(data: bytes) -> bytes:
            if self.loses:
                data = b"".join(part for part in messages.of(data) if not self._is_lost(part))
            flows.wait()
            return data

        return let_through

    def _pass_on(
        self,
        source: socket.socket,
        target: socket.socket,
        ended: threading.Barrier,
        let_through: Callable[[bytes], bytes],
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(READ_BYTES):
                target.sendall(let_through(data))
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(threading.BrokenBarrierError):
            ended.wait(PATIENCE_SEC)  # neither descriptor is used any more, and so none can be another's by now
        source.close()

    def _is_lost(self, part: bytes) -> bool:
        if not _FRAME.match(part):
            return False
        number, self._messages = self._messages, self._messages + 1
        if not self.loses(part, number):
            return False
        self.lost += 1
        return True


class _Messages:
    """Cuts what a server of NATS sends into lines and messages."""

    def __init__(self) -> None:
        self._buffer = b""

    def of(self, data: bytes) -> list[bytes]:
        """The lines and messages that are whole now."""
        self._buffer += data
        parts = []
        while (end := self._buffer.find(b"\r\n")) >= 0:
            size = end + 2
            if frame := _FRAME.match(self._buffer):
                size = frame.end() + int(frame[1]) + 2
                if len(self._buffer) < size:
                    break
            parts.append(self._buffer[:size])
            self._buffer = self._buffer[size:]
        return parts


def is_ack(message: bytes) -> bool:
    """Whether a message of the server says that one was stored."""
    return _ACK in message and b'"seq":' in message
