"""The sink for `_bulk`, against a server that answers as Elasticsearch does, and as others do."""

import json
import os
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
from itertools import repeat

import pytest

from fastlog.config import Settings
from fastlog.errors import ConfigError
from fastlog.segments import Position
from fastlog.ship import bulk, http_link
from fastlog.ship.bulk import BulkSink
from fastlog.ship.sink import Batch, UnavailableError
from tests.helpers.bulk_server import FAULTS, LOSSES, BulkServer

LOG = "0123456789ab"


class Refused(list):
    """In place of the file of refused lines."""

    def note(self, position, line, reason):
        self.append((position.offset, line, reason))


def entry(number: int, **fields) -> bytes:
    known = {"timestamp": "2026-11-26T08:30:00.123456Z", "level": "INFO", "message": f"entry {number}", **fields}
    return json.dumps(known).encode() + b"\n"


def batch_of(*lines: bytes, at: int = 0, segment: int = 3) -> Batch:
    text = b"".join(lines)
    return Batch(text, Position(LOG, segment, at), Position(LOG, segment, at + len(text)), len(lines))


@pytest.fixture
def engine():
    with BulkServer() as server:
        yield server


@pytest.fixture
def refused():
    return Refused()


@pytest.fixture
def open_sink(engine, refused):
    opened = []

    def open_one(place: str = "/logs", **settings) -> BulkSink:
        url = place if "://" in place else engine.url + place
        opened.append(BulkSink(Settings(ship_to=url, **settings), "node", refused))
        return opened[-1]

    yield open_one
    for sink in opened:
        sink.close()


@pytest.fixture
def sink(open_sink):
    return open_sink()


def send(sink: BulkSink, batch: Batch) -> tuple[int, list[str]]:
    """As the shipper does: the same batch until it is done. Returns also what hindered it."""
    problems = []
    while True:
        try:
            return sink.send(batch), problems
        except UnavailableError as error:
            problems.append(str(error))
            assert len(problems) < 50


def messages(engine: BulkServer) -> list[str]:
    return [document["message"] for document in engine.documents.values()]


def test_each_line_becomes_a_document_with_its_position_as_id(engine, sink):
    lines = [entry(n) for n in range(3)]
    assert send(sink, batch_of(*lines, at=1000)) == (0, [])
    size = len(lines[0])
    assert [*engine.lines.items()] == [
        (
            f"node-{LOG}-3-{1000 + n * size}",
            b'{"@timestamp":"2026-11-26T08:30:00.123456Z",' + line[1:-1],
        )
        for n, line in enumerate(lines)
    ]
    assert engine.headers[0]["Content-Encoding"] == "gzip"
    assert engine.requests == [("POST", f"/logs/_bulk?{bulk.FILTER}")]


def test_the_connection_is_kept(engine, sink):
    for n in range(5):
        send(sink, batch_of(entry(n), at=n * 1000))
    assert engine.connections == 1
    assert len(engine.documents) == 5


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_costs_no_line(engine, sink, fault):
    send(sink, batch_of(entry(0)))
    engine.plan([fault])
    refused, problems = send(sink, batch_of(*(entry(n) for n in range(1, 100)), at=1000))
    assert not refused
    assert sorted(messages(engine)) == sorted(f"entry {n}" for n in range(100))
    assert engine.outcomes[201] == 100
    told = fault in ("half", "busy", "some busy", "down", "page")
    assert len(problems) == told, problems
    assert all(engine.url in problem for problem in problems)


@pytest.mark.parametrize("fault", LOSSES)
def test_what_the_engine_has_is_done(engine, sink, fault):
    engine.plan([fault])
    send(sink, batch_of(*(entry(n) for n in range(10))))
    assert engine.outcomes == {201: 10, 409: 10}


def test_only_what_found_no_room_is_sent_again(engine, sink):
    engine.plan(["some busy", "some busy"])
    _, problems = send(sink, batch_of(*(entry(n) for n in range(8))))
    assert engine.outcomes == {201: 8, 429: 4 + 2}
    assert (
        problems == [f"{engine.url}: HTTP 429: es_rejected_execution_exception: rejected execution of coordinating"] * 2
    )


def test_a_refused_line_is_kept_and_counted_once(engine, sink, refused):
    engine.refuses = lambda document: (400, "document_parsing_exception", "no\nnumber") if "bad" in document else None
    engine.plan(["some busy"])
    lines = [entry(0), entry(1, bad=1), entry(2, bad=1), entry(3)]
    assert send(sink, batch_of(*lines, at=50))[0] == 2
    assert sorted(messages(engine)) == ["entry 0", "entry 3"]
    reason = "HTTP 400: document_parsing_exception: no number"
    first = 50 + len(lines[0])
    assert sorted(refused) == [(first, lines[1][:-1], reason), (first + len(lines[1]), lines[2][:-1], reason)]


def test_a_line_that_is_not_an_object_is_refused_before_it_is_sent(engine, sink, refused):
    assert send(sink, batch_of(b"garbage\n", entry(1), b"\n"))[0] == 2
    assert messages(engine) == ["entry 1"]
    assert [(line, reason) for _, line, reason in refused] == [
        (b"garbage", "not a JSON object: syntax"),
        (b"", "not a JSON object: empty"),
    ]
    assert send(sink, batch_of(b"garbage\n", at=5000)) == (1, [])


@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [
        (404, "index_not_found_exception", "no such index [logs]"),
        (403, "cluster_block_exception", "index [logs] blocked by: [FORBIDDEN/8/index write (api)]"),
        (403, "security_exception", "action [indices:data/write/bulk] is unauthorized"),
        (400, "index_closed_exception", "closed"),
        (400, "illegal_argument_exception", "no write index is defined for alias [logs]"),
        (400, "illegal_argument_exception", "pipeline with id [x] does not exist"),
        (
            400,
            "validation_exception",
            "this action would add [2] shards, but this cluster has [1000]/[1000] maximum shards",
        ),
        (503, "unavailable_shards_exception", "primary shard is not active"),
    ],
)
def test_a_fault_of_the_index_is_no_line_s(engine, sink, refused, status, kind, reason):
    engine.refuses = lambda document: (status, kind, reason)
    with pytest.raises(UnavailableError, match=kind):
        sink.send(batch_of(entry(0)))
    engine.refuses = lambda document: None
    assert send(sink, batch_of(entry(0))) == (0, [])
    assert not refused


def test_a_request_that_is_too_long_is_halved(engine, sink, refused):
    engine.max_bytes = 2000
    long = entry(50, text="x" * 3000)
    lines = [*(entry(n) for n in range(50)), long, *(entry(n) for n in range(51, 100))]
    assert send(sink, batch_of(*lines)) == (1, [])
    assert len(engine.documents) == 99
    assert refused == [(50 * len(entry(10)) - 10, long[:-1], f"{engine.url}: HTTP 413")]
    engine.max_bytes = 1 << 20
    engine.requests.clear()
    for n in range(200):
        send(sink, batch_of(entry(0), entry(1), at=n * 1000, segment=4))
    assert len(engine.requests) < 2 * 16 + 200, "requests grow again"


def test_an_answer_that_is_too_long_halves_the_request(engine, sink, monkeypatch):
    monkeypatch.setattr(http_link, "ANSWER_MAX_BYTES", 2000)
    _, problems = send(sink, batch_of(*(entry(n) for n in range(200))))
    assert len(engine.documents) == 200
    assert set(problems) == {f"{engine.url}: the answer has more than 2000 bytes"}


HTML = b"<html><body>Please log in</body></html>"


def raw(status: str, body: bytes = b"", headers: bytes = b"") -> bytes:
    return b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n\r\n%b" % (status.encode(), headers, len(body), body)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (raw("200 OK", HTML), "HTTP 200: <html><body>Please log in</body></html>, which is not an answer to _bulk"),
        (raw("200 OK", b"{}"), "HTTP 200: {}, which is not an answer to _bulk"),
        (raw("200 OK", b'{"errors":true,"items":[]}'), "the answer is not about all documents"),
        (raw("200 OK", b'{"errors":true,"items":[{"create":{"status":201}},7]}'), "which is not an answer to _bulk"),
        (raw("204 No Content"), "HTTP 204, which is not an answer to _bulk"),
        (
            raw("301 Moved", b"", b"Location: https://elsewhere/\r\n"),
            "HTTP 301: it wants requests at https://elsewhere/",
        ),
        (raw("404 Not Found", b"404 page not found\n"), "HTTP 404: 404 page not found"),
        (raw("400 Bad Request", b'{"error":"bad\\u0000 index","status":400}'), "HTTP 400: bad? index"),
        (raw("403 Forbidden", b'{"error":{"type":"a","reason":"b","caused_by":{"type":"c"}}}'), "HTTP 403: a: b: c"),
        (raw("500 Internal Server Error", b"\xff\x00" * 1000), "HTTP 500"),
        (raw("103 Early Hints"), "HTTP 103"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{", "in the middle of its answer"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{", "in the middle of its answer"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{", "in the middle of its answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", "is not one of HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "is not one of HTTP"),
        (b"\x15\x03\x01\x00\x02\x02\x16", "is not one of HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200, "is not one of HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000, "is not one of HTTP"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b" " * (9 << 20), "the answer has more than"),
        (b"", "it closed the connection without an answer"),
    ],
)
def test_a_strange_answer_acknowledges_nothing(engine, sink, refused, answer, words):
    engine.faults = repeat(answer)
    batch = batch_of(entry(0), entry(1))
    with pytest.raises(UnavailableError) as raised:
        sink.send(batch)
    text = str(raised.value)
    assert words in text
    assert text.startswith(engine.url)
    assert text.isprintable()
    assert len(text) < 500
    assert not refused
    sink._wait_until = 0.0
    engine.faults = repeat("")
    assert send(sink, batch) == (0, [])
    assert sorted(messages(engine)) == ["entry 0", "entry 1"]


@pytest.mark.parametrize(
    "answer",
    [
        b'{"took":1,"errors":false,"items":[]}',
        b'{"errors":false}',
        b'{\n  "took" : 30,\n  "ingest_took" : 3,\n  "errors" : false,\n  "items" : [ ]\n}',
        b'{"items":[{"create":{"status":201}}],"errors":false}',
        b'{"items":[{"index":{"_id":"1","status":200,"error":null}}],"errors":true}',
    ],
)
def test_an_answer_without_errors_is_believed(engine, sink, answer):
    engine.plan([raw("200 OK", answer)])
    assert send(sink, batch_of(entry(0))) == (0, [])
    assert len(engine.requests) == 1


def test_an_engine_that_does_not_know_the_filter_is_asked_without_it(engine, sink):
    engine.plan([raw("400 Bad Request", b"unknown parameter")])
    assert send(sink, batch_of(entry(0))) == (0, [])
    send(sink, batch_of(entry(1), at=500))
    assert [path for _, path in engine.requests] == [f"/logs/_bulk?{bulk.FILTER}", "/logs/_bulk", "/logs/_bulk"]


def test_a_line_that_spoils_its_request_is_found(engine, sink, refused):
    """Some engines refuse the whole request for one line."""
    engine.spoilt_by = b"poison"
    poison = entry(0, text="poison")
    lines = [poison, *(entry(n) for n in range(1, 10)), poison, *(entry(n) for n in range(11, 20))]
    assert send(sink, batch_of(*lines))[0] == 2
    assert sorted(messages(engine)) == sorted(f"entry {n}" for n in range(1, 20) if n != 10)
    assert [line for _, line, _ in refused] == [poison[:-1]] * 2


def test_an_engine_that_refuses_every_request_gets_no_line_refused(engine, sink, refused):
    send(sink, batch_of(entry(0)))
    engine.faults = repeat(raw("400 Bad Request", b"wrong"))
    for _ in range(20):
        with pytest.raises(UnavailableError):
            sink.send(batch_of(*(entry(n) for n in range(1, 10)), at=500))
    assert len(refused) <= 1


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden", "404 Not Found", "302 Found"])
def test_what_only_a_person_can_mend_is_asked_rarely(engine, sink, monkeypatch, status):
    now = [100.0]
    monkeypatch.setattr(bulk, "monotonic", lambda: now[0])
    engine.faults = repeat(raw(status))
    problems = set()
    for _ in range(100):
        with pytest.raises(UnavailableError) as raised:
            sink.send(batch_of(entry(0)))
        problems.add(str(raised.value))
        now[0] += 1.0
    assert len(engine.requests) in (4, 8)
    assert len(problems) == 1
    engine.faults = repeat("")
    now[0] += bulk.WAIT_SEC
    assert send(sink, batch_of(entry(0))) == (0, [])


def test_an_engine_may_say_when_to_come_again(engine, sink, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(bulk, "monotonic", lambda: now[0])
    engine.plan([raw("429 Too Many Requests", b"", b"Retry-After: 7\r\n")])
    for _ in range(7):
        with pytest.raises(UnavailableError):
            sink.send(batch_of(entry(0)))
        now[0] += 1.0
    assert send(sink, batch_of(entry(0))) == (0, [])
    assert len(engine.requests) == 2


@pytest.mark.parametrize("fault", ["never", "drip"])
def test_an_answer_that_comes_too_slowly_is_given_up(engine, sink, monkeypatch, fault):
    monkeypatch.setattr(http_link, "ANSWER_SEC", 0.1)
    engine.faults = repeat(fault)
    with pytest.raises(UnavailableError, match="does not answer in time"):
        sink.send(batch_of(entry(0)))
    engine.faults = repeat("")
    assert send(sink, batch_of(entry(0)))[0] == 0


def test_an_answer_that_nobody_asked_for_is_not_that_to_the_next_request(engine, sink):
    """A proxy may say why it closes an idle connection."""
    engine.plan(["late"])
    send(sink, batch_of(entry(0)))
    engine.is_late.set()
    assert select.select([sink._link._connection.sock], [], [], 30)[0]
    assert send(sink, batch_of(entry(1), at=500)) == (0, [])
    assert engine.connections == 2


def test_an_answer_before_the_end_of_the_request_is_read(engine, sink):
    engine.plan(["early"])
    lines = [entry(n, text=os.urandom(100_000).hex()) for n in range(5)]
    assert send(sink, batch_of(*lines)) == (0, [])
    assert len(engine.documents) == 5
    assert len(engine.requests) == 4, "the request was halved"


def test_a_query_is_used_as_it_is(engine, open_sink):
    sink = open_sink("/insert/elasticsearch/_bulk?_stream_fields=app&_time_field=@timestamp")
    send(sink, batch_of(entry(0)))
    sink = open_sink("/insert/elasticsearch/_bulk/")
    send(sink, batch_of(entry(0)))
    assert [path for _, path in engine.requests] == [
        "/insert/elasticsearch/_bulk?_stream_fields=app&_time_field=@timestamp",
        "/insert/elasticsearch/_bulk",
    ]


def test_credentials_come_from_the_url_or_a_file(engine, open_sink, tmp_path):
    file = tmp_path / "credentials"
    engine.authorization = "Basic dMO2bTpwQHNz"  # töm:p@ss
    with_user = engine.url.replace("//", "//t%C3%B6m:p%40ss@")
    assert send(open_sink(with_user + "/logs"), batch_of(entry(0))) == (0, [])
    file.write_text("töm:p@ss\n")
    assert send(open_sink(ship_credentials=str(file)), batch_of(entry(0))) == (0, [])
    for text in ("ApiKey Zm9vOmJhcg==", "Bearer a.b-c"):
        engine.authorization = text
        file.write_text(text)
        assert send(open_sink(with_user + "/logs", ship_credentials=str(file)), batch_of(entry(0))) == (0, [])
    engine.authorization = "Bearer other"
    sink = open_sink(with_user + "/logs")
    with pytest.raises(UnavailableError, match="HTTP 401: security_exception") as raised:
        sink.send(batch_of(entry(0)))
    assert "p@ss" not in str(raised.value)


def test_new_credentials_are_read(engine, open_sink, tmp_path):
    file = tmp_path / "credentials"
    file.write_text("old:secret")
    engine.authorization = "Bearer new"
    sink = open_sink(ship_credentials=str(file))
    with pytest.raises(UnavailableError, match="HTTP 401"):
        sink.send(batch_of(entry(0)))
    file.write_text("Bearer new")
    sink._wait_until = 0.0
    assert send(sink, batch_of(entry(0))) == (0, [])


@pytest.mark.parametrize(
    ("url", "files", "words"),
    [
        ("http://host:port/logs", {}, "SHIP_TO has a wrong host or port"),
        ("http://host:99999/logs", {}, "SHIP_TO has a wrong host or port"),
        ("http://[::1/logs", {}, "SHIP_TO is not a URL"),
        ("http://:9200/logs", {}, "SHIP_TO must have one host"),
        ("http://one,two:9200/logs", {}, "SHIP_TO must have one host"),
        ("http://host/logs", {"ship_credentials": "missing"}, "cannot read SHIP_CREDENTIALS missing: No such file"),
        ("http://host/logs", {"ship_credentials": "."}, "cannot read SHIP_CREDENTIALS .: Is a directory"),
        ("http://host/logs", {"ship_credentials": "/dev/null"}, "must have one line: USER:PASSWORD"),
        ("https://host/logs", {"ship_ca": "missing"}, "cannot read SHIP_CA missing: No such file"),
        ("https://host/logs", {"ship_ca": "/dev/null"}, "cannot read SHIP_CA /dev/null: it has no certificate"),
    ],
)
def test_settings_that_are_wrong(open_sink, url, files, words):
    with pytest.raises(ConfigError) as raised:
        open_sink(url, **files)
    assert words in str(raised.value)


needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None and os.environ.get("CI") != "true", reason="openssl is not installed"
)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate of 127.0.0.1 that is its own authority, and its key."""
    directory = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
    files = ["-keyout", "key.pem", "-out", "ca.pem", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command.split(), *files], cwd=directory, check=True, capture_output=True)
    return directory / "ca.pem", directory / "key.pem"


@pytest.fixture
def tls_engine(certificate):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    with BulkServer(context) as server:
        yield server


@needs_openssl
def test_an_engine_behind_tls_is_trusted_by_its_certificate_alone(tls_engine, certificate, open_sink):
    sink = open_sink(tls_engine.url + "/logs", ship_ca=str(certificate[0]))
    tls_engine.plan(["", "hang up", "lost"])
    for n in range(4):
        send(sink, batch_of(entry(n), at=n * 1000))
    assert len(tls_engine.documents) == 4
    with pytest.raises(UnavailableError, match="certificate is not trusted: self-signed certificate"):
        open_sink(tls_engine.url + "/logs").send(batch_of(entry(5)))
    with pytest.raises(UnavailableError, match="certificate is not trusted: Hostname mismatch"):
        open_sink(tls_engine.url.replace("127.0.0.1", "localhost") + "/logs", ship_ca=str(certificate[0])).send(
            batch_of(entry(5))
        )
    assert len(tls_engine.documents) == 4


@needs_openssl
def test_http_and_https_taken_for_each_other(tls_engine, engine, open_sink):
    for url in (tls_engine.url.replace("https", "http"), engine.url.replace("http", "https")):
        with pytest.raises(UnavailableError) as raised:
            open_sink(url + "/logs").send(batch_of(entry(0)))
        assert str(raised.value).startswith(url)


class Proxy(threading.Thread):
    """An HTTP proxy that takes one connection to wherever it is for, and passes it on to `port`."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._to = port
        self.head = b""
        self.start()

    def run(self) -> None:
        with self._listener, self._listener.accept()[0] as client:
            while b"\r\n\r\n" not in self.head:
                self.head += client.recv(65536)
            with socket.create_connection(("127.0.0.1", self._to)) as server:
                if self.head.startswith(b"CONNECT"):
                    client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                else:
                    path = self.head.split(b" ")[1].split(b"/", 3)[3]
                    server.sendall(self.head.replace(self.head.split(b" ")[1], b"/" + path, 1))
                pairs = {client: server, server: client}
                while data := (ready := select.select([*pairs], [], [])[0][0]).recv(65536):
                    pairs[ready].sendall(data)


@needs_openssl
def test_a_proxy_of_the_environment_is_used(tls_engine, engine, open_sink, monkeypatch, certificate):
    """As by curl and most shippers. This machine is reached without it."""
    for variable in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)
    for server, scheme in ((engine, "http"), (tls_engine, "https")):
        proxy = Proxy(server.port)
        monkeypatch.setenv(f"{scheme}_proxy", f"http://user:p%40ss@127.0.0.1:{proxy.port}")
        send(open_sink(f"{server.url}/logs", ship_ca=str(certificate[0])), batch_of(entry(0)))
        monkeypatch.setattr(http_link, "is_loopback", lambda host: False)
        sink = open_sink(f"{server.url}/logs", ship_ca=str(certificate[0]))
        assert send(sink, batch_of(entry(1), at=5000)) == (0, [])
        sink.close()
        proxy.join()
        monkeypatch.undo()
        assert len(server.documents) == 2
        if scheme == "https":
            version = "1.1" if sys.version_info >= (3, 12) else "1.0"  # of Python's http.client
            first = f"CONNECT 127.0.0.1:{server.port} HTTP/{version}\r\n"
        else:
            first = f"POST {server.url}/logs/_bulk"
        assert proxy.head.startswith(first.encode())
        assert b"Proxy-Authorization: Basic dXNlcjpwQHNz\r\n" in proxy.head
        assert all("Proxy-Authorization" not in headers for headers in tls_engine.headers)


def test_a_signal_in_the_middle_of_a_request_leaves_no_answer_for_the_next_one(engine, sink):
    class EndedError(BaseException):
        pass

    def end(number, frame):
        raise EndedError

    engine.plan(["never"])
    before = signal.signal(signal.SIGALRM, end)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(EndedError):
            sink.send(batch_of(entry(0)))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert send(sink, batch_of(entry(0))) == (0, [])


def test_an_engine_that_is_away(open_sink, engine):
    engine_port = engine.port
    sink = open_sink(f"http://127.0.0.1:{engine_port}/logs")
    engine.close()
    with pytest.raises(UnavailableError, match=f"http://127.0.0.1:{engine_port}: Connection refused"):
        sink.send(batch_of(entry(0)))


def test_the_report_names_the_engine_and_its_index(open_sink):
    sink = open_sink()
    assert dict(sink.report())["version"] == "9.1.0"
    assert dict(sink.report())["index"] == "logs, exists"
    assert dict(open_sink("/other").report())["index"] == "other, not there yet"
    assert sink.resume() is None
