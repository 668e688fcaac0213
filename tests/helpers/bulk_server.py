"""A stand-in for Elasticsearch, with its documented answers to `_bulk`, and with faults on command."""

import contextlib
import gzip
import json
import re
import socket
import ssl
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import repeat
from typing import Any
from urllib.parse import parse_qs, urlsplit

# What may go wrong with a request. Those in `LOSSES` are taken, but the client does not hear of it.
LOSSES = ("lost", "reset", "half")
FAULTS = (
    *LOSSES, "cut", "early", "busy", "some busy", "down", "page", "hang up", "chunked", "packed", "bytes",
    "continue",
)  # fmt: skip
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")  # strict_date_optional_time, in part

Refusal = tuple[int, str, str]  # the status, the type and the reason of an item's error


def _error(kind: str, reason: str) -> bytes:
    return json.dumps({"error": {"type": kind, "reason": reason}, "status": 0}).encode()


# Answers to a request of which nothing is taken.
REFUSALS = {
    "busy": (429, _error("circuit_breaking_exception", "[parent] Data too large")),
    "down": (503, _error("cluster_block_exception", "no master")),
    "page": (502, b"<html><h1>502 Bad Gateway</h1></html>"),
}


class BulkServer:
    """Listens on a free port of this machine until `close`.

    `faults`: for each request what goes wrong with it, "" if nothing does, or bytes: the whole answer, after which the
    connection is closed; "never" for none, "drip" for one without an end. `refuses`: what the index thinks of a document. `max_bytes`: of a request, unpacked.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.documents: dict[str, dict[str, Any]] = {}
        self.lines: dict[str, bytes] = {}  # the documents as they came
        self.faults: Iterator[str | bytes] = repeat("")
        self.refuses: Callable[[dict[str, Any]], Refusal | None] = lambda document: None
        self.max_bytes = 100 << 20
        self.spoilt_by = b"\0"  # what a request must not have: it is refused as a whole, as some engines do
        self.authorization: str | None = None  # what it asks for
        self.requests: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.outcomes: Counter[int] = Counter()  # of items, by their status
        self.connections = 0
        self.dripping = threading.Event()  # set: no more of it
        self.is_late = threading.Event()  # set: the other answer of a "late" one follows, which nobody asked for
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        self._server.context = context
        self.port = self._server.server_address[1]
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def plan(self, faults: Iterable[str | bytes]) -> None:
        """The faults of the next requests; those after them have none."""
        self.faults = iter([*faults])

    def next_fault(self) -> str | bytes:
        with self._lock:
            return next(self.faults, "")

    def create(self, number: int, action: bytes, line: bytes, is_busy: bool) -> tuple[str, int, dict[str, str] | None]:
        """What Elasticsearch does with one document: its id, and the status and error of its item."""
        _id = json.loads(action)["create"]["_id"]
        if is_busy and number % 2:
            return _id, 429, {"type": "es_rejected_execution_exception", "reason": "rejected execution of coordinating"}
        try:
            document = json.loads(line, object_pairs_hook=_each_key_once)
            datetime.fromisoformat(TIME.fullmatch(document["@timestamp"])[0])
        except (ValueError, KeyError, TypeError) as error:  # a text that is not a time is a TypeError, too
            return _id, 400, {"type": "document_parsing_exception", "reason": f"failed to parse: {error}"}
        if refusal := self.refuses(document):
            return _id, refusal[0], {"type": refusal[1], "reason": refusal[2]}
        with self._lock:
            if _id in self.documents:
                return _id, 409, {"type": "version_conflict_engine_exception", "reason": "document already exists"}
            self.documents[_id] = document
            self.lines[_id] = line
        return _id, 201, None

    def close(self) -> None:
        self.dripping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> "BulkServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("Duplicate field")
    return dict(pairs)


class _Server(ThreadingHTTPServer):
    owner: BulkServer
    context: ssl.SSLContext | None
    daemon_threads = False
    block_on_close = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.open: set[socket.socket] = set()

    def get_request(self) -> tuple[Any, Any]:
        connection, address = super().get_request()
        connection.settimeout(30)
        if self.context:
            connection = self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        self.open.add(connection)
        self.owner.connections += 1
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self.open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        for connection in [*self.open]:  # clients may keep them
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away, or does not trust the certificate, is none."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.server.owner.requests.append((self.command, self.path))
        self._answer(200 if self.path == "/logs" else 404, b"")

    def do_GET(self) -> None:
        self.server.owner.requests.append((self.command, self.path))
        home = {"name": "n1", "cluster_name": "test", "version": {"number": "9.1.0"}}
        self._answer(200, json.dumps(home).encode())

    def do_POST(self) -> None:
        owner = self.server.owner
        fault = owner.next_fault()
        owner.requests.append((self.command, self.path))
        owner.headers.append(dict(self.headers))
        size = int(self.headers["Content-Length"])
        if fault == "cut":
            self.rfile.read(size // 2)
            self._hang_up()
            return
        if fault == "early":
            self._answer(413, b"")
            self._hang_up()
            return
        data = self.rfile.read(size)
        if self.headers["Content-Encoding"] == "gzip":
            data = gzip.decompress(data)
        if isinstance(fault, bytes):
            self.wfile.write(fault)
            self._hang_up()
        elif owner.authorization and self.headers["Authorization"] != owner.authorization:
            self._answer(401, _error("security_exception", "missing authentication credentials"))
        elif len(data) > owner.max_bytes:
            self._answer(413, b"")
        elif owner.spoilt_by in data:
            self._answer(400, b"cannot parse the request")
        elif fault == "never":
            self.rfile.read(1)  # until the client goes away
            self.close_connection = True
        elif fault == "drip":
            self._drip()
        elif fault in REFUSALS:
            self._answer(*REFUSALS[fault])
        else:
            self._bulk(data, fault)

    def _bulk(self, data: bytes, fault: str) -> None:
        owner = self.server.owner
        *lines, rest = data.split(b"\n")
        if rest or len(lines) % 2:
            self._answer(400, _error("illegal_argument_exception", "The bulk request must be terminated by a newline"))
            return
        items = []
        for number, (action, line) in enumerate(zip(lines[::2], lines[1::2], strict=True)):
            _id, status, error = owner.create(number, action, line, fault == "some busy")
            owner.outcomes[status] += 1
            item = {"_index": "logs", "_id": _id, "status": status, **({"error": error} if error else {})}
            items.append({"create": item})
        answer = {"took": 3, "errors": any("error" in item["create"] for item in items), "items": items}
        if "filter_path" in parse_qs(urlsplit(self.path).query):
            del answer["took"]
            for item in items:
                del item["create"]["_index"], item["create"]["_id"]
        self._answer(200, json.dumps(answer, separators=(",", ":")).encode(), fault)

    def _answer(self, status: int, body: bytes, fault: str = "") -> None:
        if fault in ("lost", "reset"):
            self._hang_up(fault == "reset")
            return
        if fault == "continue":
            self.send_response_only(100)
            self.end_headers()
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if body.startswith(b"<") else "application/json")
        if fault == "packed":
            body = gzip.compress(body)
            self.send_header("Content-Encoding", "gzip")
        if fault == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
            parts = [body[: len(body) // 2], body[len(body) // 2 :], b""]
            body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault == "bytes":
            for byte in body:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
        elif fault == "half":
            self.wfile.write(body[: len(body) // 2])
        else:
            self.wfile.write(body)
        self.wfile.flush()
        if fault == "late":
            self.server.owner.is_late.wait(30)
            self.send_response_only(408)
            self.end_headers()
        if fault in ("half", "hang up", "late"):
            self._hang_up()

    def _drip(self) -> None:
        """Sends a header that never ends, a byte at a time, until the client goes away."""
        self.send_response_only(200)
        with contextlib.suppress(OSError):
            while not self.server.owner.dripping.wait(0.01):
                self.wfile.write(b"x")
                self.wfile.flush()
        self.close_connection = True

    def _hang_up(self, abruptly: bool = False) -> None:
        self.wfile.flush()
        if abruptly:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
