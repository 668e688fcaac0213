"""The dashboard's HTTP side: what the figures say, when health is bad, and who may ask."""

import base64
import contextlib
import functools
import http.client
import json
import os
import re
import resource
import select
import socket
import sys
from pathlib import Path
from time import monotonic, time

import jsonschema
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from fastlog.config import Settings
from fastlog.entry import LEVELS, OTHER_NAMES
from fastlog.server import connections, dashboard, silence
from fastlog.server.dashboard import Asks, Dashboard
from fastlog.server.history import History
from fastlog.server.http_guard import HEADERS
from fastlog.server.prometheus import exposition
from fastlog.stats import Stats, figures
from tests.helpers.entries import ERROR_7, INFO, entries
from tests.helpers.running import FASTLOG, PATIENCE_SEC, TOKEN, eventually, get, run_fastlog
from tests.helpers.shipping import write_note

ROOT = Path(__file__).parents[2]


def samples(text: str) -> dict[str, float]:
    """Prometheus samples by name and labels, as Prometheus would read them."""
    return {
        sample.name + "".join(f"[{value}]" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_stats_metrics_and_files_agree_to_the_entry(start, tmp_path):
    server = start(MAX_LOG_SIZE_MB="0.1", LOG_BACKUPS="100")
    sent = entries(5_000) + entries(150, "ERROR") + entries(10, "custom")
    bad = [b"", b"x", b"[1]", b'{"message":"m"}', b'{"level":"INFO","message":"\xff"}'] * 20
    server.send([datagram for pair in zip(sent, bad * 52, strict=False) for datagram in pair][: 2 * len(bad)])
    server.send(sent[len(bad) :])
    stats = eventually(
        server.stats, lambda stats: stats["total_received"] == len(sent) and not stats["acks"]["pending"]
    )
    metrics = samples(get(server.dashboard_port, "/metrics").text)

    assert (
        stats["total_received"] == stats["stored"] + stats["duplicates"] + stats["buffered"] + stats["losses"]["disk"]
    )
    assert stats["level_distribution"] == {
        "DEBUG": 0, "INFO": 5_000, "WARNING": 0, "ERROR": 150, "CRITICAL": 0, "OTHER": 10
    }  # fmt: skip
    assert {reason: count for reason, count in stats["rejected"].items() if count} == {
        "empty": 20, "syntax": 20, "not_object": 20, "level": 20, "utf8": 20
    }  # fmt: skip
    assert stats["datagrams"] == len(sent) + len(bad)
    assert stats["losses"]["kernel_drops"] == 0
    assert stats["losses"]["sequence_gaps"] == 0
    assert stats["acks"]["sent"] == 150
    assert stats["disk"]["rotations"] > 2
    assert len(stats["recent_errors"]) == 100
    assert stats["recent_errors"][-1] == json.loads(entries(150, "ERROR")[-1])
    assert stats["recent_errors"][0] == json.loads(entries(150, "ERROR")[50])

    assert metrics["fastlog_received_total[INFO]"] == 5_000
    assert metrics["fastlog_rejected_total[empty]"] == 20
    assert metrics["fastlog_stored_total"] == stats["stored"]
    assert metrics["fastlog_datagrams_total"] == stats["datagrams"]
    assert metrics["fastlog_acks_sent_total"] == 150
    server.stop()
    assert server.whole_log().count(b"\n") == len(sent)
    assert len(list(tmp_path.glob("server.log.*"))) == stats["disk"]["rotations"]
    assert len(server.rejects()) == len(bad)


def test_stats_holds_to_its_schema(start):
    server = start()
    server.send([ERROR_7, INFO, b"bad"])
    stats = eventually(server.stats, lambda stats: stats["total_received"] == 2)
    schema = json.loads((ROOT / "docs/stats.schema.json").read_text())
    jsonschema.validate(stats, schema)
    assert set(stats) == set(Stats.__struct_fields__)


def test_the_schema_is_the_one_of_the_code():
    assert json.loads((ROOT / "docs/stats.schema.json").read_text()) == msgspec.json.schema(Stats), "run `make docs`"


def test_every_figure_is_declared_and_documented():
    keys = {figure.key for figure in figures()}
    assert set(Stats.__struct_fields__) == {key.split(".")[0] for key in keys}
    text = (ROOT / "docs/http-api.md").read_text()
    assert [key for key in sorted(keys) if f"| `{key}` |" not in text] == []


def test_metrics_show_every_figure_that_has_one(start):
    server = start(ALERT_COMMAND="true")
    with server.client() as client:
        client.send(ERROR_7)
        client.recv(100)
    server.send([b"bad"])
    write_note(server.directory / "server.log", 2)  # all of segment 1 is shipped
    stats = eventually(
        server.stats, lambda stats: stats["acks"]["sent"] and stats["rejected"]["syntax"] and stats["ship"]
    )
    metrics = samples(get(server.dashboard_port, "/metrics").text)
    shown = {figure.key: figure.metric for figure in figures() if figure.metric}
    (listener,) = stats["listeners"]
    for key, metric in shown.items():
        if key.startswith("listeners."):
            value = listener[key.partition(".")[2]]
            assert metrics.get(f"{metric.full_name}[{listener['address']}]") == value, key
            continue
        value = functools.reduce(lambda part, name: part[name], key.split("."), stats)
        name = metric.full_name
        if value is None:  # no sync is under way, for example
            assert not [shown for shown in metrics if shown.partition("[")[0] == name]
        elif metric.label:
            assert {f"{name}[{label}]": float(count) for label, count in value.items()}.items() <= metrics.items()
        elif metric.name == "fastlog_healthy":
            assert metrics[name] == 1
        elif metric.name == "process_open_fds":  # connections come and go
            assert metrics[name] > 0
        elif metric.name.startswith("process_") or metric.name == "fastlog_up_seconds":
            assert metrics[name] >= value
        else:
            assert metrics[name] == value, key


def test_a_figure_that_is_unknown_is_not_among_the_metrics(start):
    stats = msgspec.convert(start().stats(), Stats)
    losses = msgspec.structs.replace(stats.losses, kernel_drops=None, network=None)
    listeners = [msgspec.structs.replace(listener, kernel_drops=None) for listener in stats.listeners]
    metrics = samples(exposition(msgspec.structs.replace(stats, losses=losses, listeners=listeners)).decode())
    assert not {name for name in metrics if "kernel" in name or "network" in name}
    assert metrics["fastlog_sequence_gaps"] == 0


def test_the_rate_rises_and_falls_to_nothing(start):
    server = start()
    assert server.stats()["logs_per_second"] == 0
    server.send([INFO] * 300)
    stats = eventually(server.stats, lambda stats: stats["logs_per_second"] > 0)
    assert stats["rates"]["peak"] >= stats["logs_per_second"]
    stats = eventually(server.stats, lambda stats: stats["logs_per_second"] == 0)
    assert stats["total_received"] == 300
    assert stats["rates"]["average"] > 0
    assert sum(stats["rates"]["history"]) == 300


def test_figures_nobody_knows_are_null(start):
    stats = start().stats()
    assert stats["acks"]["latency_ms"] == {"p50": None, "p99": None, "max": None}
    assert stats["sync"]["last_ms"] is None


def test_the_process_is_reported(start):
    server = start()
    process = server.stats()["process"]
    assert process["pid"] == server.process.pid
    page = os.sysconf("SC_PAGE_SIZE")
    assert process["resident_bytes"] > 1000 * page
    metrics = samples(get(server.dashboard_port, "/metrics").text)
    assert metrics["process_cpu_seconds_total"] >= process["cpu_seconds"] > 0
    assert metrics["process_resident_memory_bytes"] > 1000 * page
    assert metrics["process_open_fds"] > 5
    assert process["max_fds"] == metrics["process_max_fds"] > process["open_fds"] > 5
    assert process["cpu_percent"] >= 0


def test_ack_latency_is_reported(start):
    server = start()
    with server.client() as client:
        client.send(ERROR_7)
        client.recv(100)
    latency = eventually(server.stats, lambda stats: stats["acks"]["sent"] == 1)["acks"]["latency_ms"]
    assert 0 < latency["p50"] <= latency["p99"] <= latency["max"] < PATIENCE_SEC * 1000
    acks = server.stats()["acks"]
    assert acks["latency_sum_seconds"] == pytest.approx(latency["max"] / 1000, abs=1e-6)
    counts = acks["latency_counts"]
    assert list(counts.values()) == sorted(counts.values())
    assert counts["+Inf"] == 1
    assert next(bound for bound, count in counts.items() if count) == next(
        bound for bound in counts if latency["max"] <= float(bound) * 1000
    )
    metrics = samples(get(server.dashboard_port, "/metrics").text)
    assert metrics["fastlog_ack_latency_seconds_count"] == metrics["fastlog_ack_latency_seconds_bucket[+Inf]"] == 1
    assert metrics["fastlog_ack_latency_seconds_sum"] == acks["latency_sum_seconds"]


def test_a_loss_is_shown_with_when_it_began_and_when_it_last_grew(start):
    server = start()
    assert set(server.stats()["losses"]["first_seconds_since"].values()) == {None}
    server.send([b"bad"])
    first = eventually(lambda: server.stats()["losses"]["first_seconds_since"]["rejected"], lambda since: since)
    server.send([b"bad"])
    losses = eventually(server.stats, lambda stats: stats["rejected"]["syntax"] == 2)["losses"]
    assert losses["seconds_since"]["rejected"] <= losses["first_seconds_since"]["rejected"] >= first
    assert losses["first_seconds_since"]["disk"] is None


def test_health_is_good_at_first(start):
    response = get(start().dashboard_port, "/health")
    assert (response.status, response.text) == (200, '{"status":"ok"}')


def test_health_warns_of_a_small_receive_buffer(start):
    response = get(start(RCVBUF_SIZE="1073741824").dashboard_port, "/health")
    assert response.status == 200
    assert "sysctl -w net.core.rmem_max=1073741824" in json.loads(response.text)["warnings"][0]


def test_health_reports_a_full_disk_until_it_has_room(start):
    server = start(FLUSH_COUNT="1")
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))
    server.send([INFO])
    response = eventually(lambda: get(server.dashboard_port, "/health"), lambda response: response.status == 503)
    assert json.loads(response.text) == {
        "status": "degraded", "reasons": ["the disk refuses entries: File too large"]
    }  # fmt: skip
    assert server.stats()["disk"]["failure"] == "File too large"
    assert server.stats()["buffered"] == 1
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    eventually(lambda: get(server.dashboard_port, "/health"), lambda response: response.status == 200)
    assert server.stats()["stored"] == 1


def test_health_reports_what_the_kernel_dropped(start):
    server = start(RCVBUF_SIZE="1")
    with server.client() as client, server.stopped():
        for _ in range(1_000):
            client.send(INFO)
    response = eventually(lambda: get(server.dashboard_port, "/health"), lambda response: response.status == 503)
    assert "the kernel dropped datagrams within the last minute" in json.loads(response.text)["reasons"][0]
    live = get(server.dashboard_port, "/live")
    assert (live.status, live.text) == (200, '{"status":"ok"}')
    stats = server.stats()
    assert stats["losses"]["kernel_drops"] == 1_000 - stats["datagrams"]


@pytest.mark.parametrize(
    "path",
    [
        "/history?range=7d",
        "/sender?address=x",
        "/",
        "/page.css",
        "/page.js",
        "/icon.svg",
        "/stats",
        "/metrics",
        "/health",
        "/live",
        "/nothing",
    ],
)
def test_every_answer_has_the_headers_that_protect_the_page(start, path):
    response = get(start().dashboard_port, path)
    assert response.status == {"/nothing": 404, "/sender?address=x": 400}.get(path, 200)
    for name, value in HEADERS:
        assert response.headers[name] == value
    assert "unsafe" not in response.headers["Content-Security-Policy"]
    assert "Access-Control-Allow-Origin" not in response.headers
    assert "Server" not in response.headers


def test_a_path_that_is_markup_is_answered_as_data(start):
    response = get(start().dashboard_port, "/%3Cscript%3E")
    assert response.status == 404
    assert response.headers["Content-Type"] == "application/json"


def test_the_page_knows_the_names_of_levels():
    script = (ROOT / "fastlog/server/page/levels.js").read_text()
    assert re.findall(r"[A-Z]+", re.search(r"LEVELS = \[(.*?)\]", script)[1]) == list(LEVELS)
    names = re.findall(r'([A-Z]+): "([A-Z0-9 ]+)"', re.search(r"OTHER_NAMES = {(.*?)}", script, re.DOTALL)[1])
    assert {level: tuple(of.split()) for level, of in names} == OTHER_NAMES


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_other_methods_rejected(start, method):
    response = get(start().dashboard_port, "/stats", method)
    assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")


def test_head_is_get_without_a_body(start):
    port = start().dashboard_port
    response = get(port, "/health", "HEAD")
    assert (response.status, response.text, response.headers["Content-Length"]) == (200, "", "15")
    for path in ("/stats", "/page.js"):
        response = get(port, path, "HEAD")
        assert (response.status, response.text) == (200, "")
        assert int(response.headers["Content-Length"]) > 1000


def test_host_header_of_another_name_rejected(start):
    server = start(DASHBOARD_NAMES="logs.example, other.example")
    port = server.dashboard_port
    for host in (
        "evil.example",
        f"evil.example:{port}",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "[::1",
        "",
    ):
        assert get(port, "/stats", Host=host).status == 403, host
    for host in (
        "localhost", f"localhost:{port}", "LOCALHOST", "127.0.0.1", "192.0.2.1:80", "[::1]", f"[::1]:{port}",
        "logs.example", f"Other.Example:{port}", "logs.example.", socket.gethostname(),
    ):  # fmt: skip
        assert get(port, "/stats", Host=host).status == 200, host


def test_a_token_is_asked_for_everything_but_health_and_life(start):
    server = start(DASHBOARD_HOST="0.0.0.0", DASHBOARD_TOKEN=TOKEN)
    port = server.dashboard_port

    def basic(text: str) -> str:
        return "Basic " + base64.b64encode(text.encode()).decode()

    assert get(port, "/health").status == get(port, "/live").status == 200
    for path in ("/", "/page.js", "/stats", "/metrics", "/nothing"):
        response = get(port, path)
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == 'Basic realm="fastlog"'
    for wrong in (
        "Bearer x",
        f"Bearer {TOKEN}x",
        "Bearer",
        basic("x"),
        basic("x:y"),
        "Basic !!",
        basic(TOKEN),
        f"Other {TOKEN}",
    ):
        assert get(port, "/stats", Authorization=wrong).status == 401, wrong
    for right in (f"Bearer {TOKEN}", f"bearer {TOKEN}", basic(f"me:{TOKEN}"), basic(f":{TOKEN}")):
        assert get(port, "/stats", Authorization=right).status == 200, right
    assert TOKEN not in get(port, "/stats", Authorization=f"Bearer {TOKEN}").text


def test_an_open_dashboard_without_a_token_is_refused_with_what_to_do(tmp_path):
    done = run_fastlog("serve", "--check", "--dashboard-host", "0.0.0.0", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "fastlog: --dashboard-host='0.0.0.0' (flag) lets others read the log: set DASHBOARD_TOKEN, or "
        "DASHBOARD_NO_TOKEN=true if access is restricted by other means\n"
    )


def test_an_open_dashboard_can_do_without_a_token(start):
    assert get(start(DASHBOARD_HOST="0.0.0.0", DASHBOARD_NO_TOKEN="true").dashboard_port, "/stats").status == 200


def test_a_token_is_never_shown(tmp_path):
    done = run_fastlog("serve", "--check", cwd=tmp_path, DASHBOARD_TOKEN=TOKEN)
    assert "DASHBOARD_TOKEN=(hidden)  # environment\n" in done.stdout


def test_a_port_in_use_costs_only_the_dashboard_and_only_until_it_is_free(start):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        server = start(DASHBOARD_PORT=str(port), RCVBUF_SIZE="65536")
        assert (
            f"fastlog: no dashboard: cannot listen on 127.0.0.1 port {port}/tcp: Address already in use; trying again "
            "every 10 s. DASHBOARD_PORT sets another port; DASHBOARD_PORT=off turns the dashboard off"
        ) in server.messages
        assert " http=unavailable " in server.messages[-1]
        assert server.dashboard_port is None
        with server.client() as client:
            client.send(ERROR_7)
            assert client.recv(100) == b'{"ack":true,"sequence":7}'
    server.wait_for_message(f"fastlog: dashboard at http://127.0.0.1:{port}/")
    server.dashboard_port = port
    assert server.stats()["stored"] == 1
    assert get(port, "/health").text == '{"status":"ok"}'


NO_THREADS = """
import os, sys, threading
from fastlog import cli
from fastlog.server import dashboard

start = threading.Thread.start

def refused(thread):
    if thread.name.startswith(sys.argv[1]) and os.path.exists("no-threads"):
        raise RuntimeError("can't start new thread")
    start(thread)

threading.Thread.start = refused
dashboard.RETRY_SEC = 0.1
sys.exit(cli.main(["serve"]))
"""


@pytest.mark.parametrize("name", ["waitress", "dashboard"])
def test_a_system_without_threads_costs_only_the_dashboard_and_only_until_it_has_some(start, tmp_path, name):
    (tmp_path / "no-threads").touch()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    server = start(command=[sys.executable, "-c", NO_THREADS, name], DASHBOARD_PORT=str(port))
    assert any(
        message.startswith("fastlog: no dashboard: the system has no thread left for it; trying again every ")
        for message in server.messages
    )
    assert " http=unavailable " in server.messages[-1]
    with server.client() as client:
        client.send(ERROR_7)
        assert client.recv(100) == b'{"ack":true,"sequence":7}'
    (tmp_path / "no-threads").unlink()
    if name == "waitress":
        server.wait_for_message(f"fastlog: dashboard at http://127.0.0.1:{port}/")
    assert get(port, "/health").status == 200
    assert server.stop() == 0


ENDED = """
import sys
from fastlog import cli
from fastlog.server.connections import HttpServer

def fail(*_):
    raise RuntimeError("unforeseen")

HttpServer.turn = fail
sys.exit(cli.main(["serve"]))
"""


def test_a_dashboard_that_ended_is_shown_in_the_status(start, tmp_path, closing):
    manager = closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    manager.bind(str(tmp_path / "notify"))
    manager.settimeout(PATIENCE_SEC)
    server = start(command=[sys.executable, "-c", ENDED], NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="20000")
    ended = "warning: no dashboard: it ended: RuntimeError('unforeseen')"
    eventually(lambda: manager.recv(4096).decode(), lambda message: ended in message)
    assert server.stop() == 0


def test_a_dashboard_that_is_off_costs_nothing(start):
    server = start(DASHBOARD_PORT="off")
    assert " http=off " in server.messages[-1]
    assert not any(" dashboard " in message for message in server.messages)
    with server.client() as client:
        client.send(ERROR_7)
        assert client.recv(100) == b'{"ack":true,"sequence":7}'
    process = Path(f"/proc/{server.process.pid}")
    assert len(list((process / "task").iterdir())) == 1
    assert server.stop() == 0
    assert server.log() == ERROR_7 + b"\n"


def test_a_dashboard_host_of_another_machine_costs_only_the_dashboard(start):
    server = start(DASHBOARD_HOST="192.0.2.1", DASHBOARD_TOKEN=TOKEN)
    assert " http=unavailable " in server.messages[-1]
    assert any("192.0.2.1 port 0/tcp: Cannot assign requested address" in message for message in server.messages)


def test_stalled_browsers_do_not_hold_up_others(start):
    server = start()
    stalled = [socket.create_connection(("127.0.0.1", server.dashboard_port)) for _ in range(100)]
    for connection in stalled:
        connection.send(b"GET /stats HTTP/1.1\r\n")
    assert get(server.dashboard_port, "/health").status == 200
    with server.client() as client:
        client.send(ERROR_7)
        client.recv(100)
    for connection in stalled:
        connection.close()


@pytest.mark.parametrize(
    "request_", [b"x" * 20_000, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20_000, b"\0" * 99]
)
def test_a_malformed_request_is_answered_or_closed(start, request_):
    server = start()
    with socket.create_connection(("127.0.0.1", server.dashboard_port), timeout=PATIENCE_SEC) as connection:
        connection.sendall(request_ + b"\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100)[:9] in (b"HTTP/1.0 ", b"HTTP/1.1 ", b"")
    assert get(server.dashboard_port, "/health").status == 200


@pytest.fixture
def quick_limits(monkeypatch):
    monkeypatch.setattr(connections, "REQUEST_SEC", 0.05)
    monkeypatch.setattr(silence, "STALLED_SEC", 0.05)


@pytest.fixture
def alone(start, quick_limits):
    """The port of a dashboard without a loop behind it: it has the last snapshot of a server that is gone."""
    return port_of(dashboard_with(start, ask=lambda: None))


def dashboard_with(start, ask) -> Dashboard:
    page = Dashboard(Settings(), port=0, asks=Asks(ask, ask), history=History(time(), monotonic()))
    stats = msgspec.convert(start().stats(), Stats)
    page.publish(stats)
    page.beat(stats.health, busy=False)
    page.start()
    return page


def port_of(page: Dashboard) -> int:
    return int(re.search(r":(\d+)/", page.url)[1])


@pytest.mark.leaves_behind("the dashboard's thread, which ends with its process")
def test_health_costs_no_snapshot(start, monkeypatch):
    asked = []
    monkeypatch.setattr(dashboard, "FRESH_SEC", 0.0)
    port = port_of(dashboard_with(start, ask=lambda: asked.append(1)))
    assert get(port, "/health").text == '{"status":"ok"}'
    assert asked == []
    assert get(port, "/stats").status == 200
    assert asked == [1]


@pytest.mark.leaves_behind("the dashboard's thread, which ends with its process")
def test_health_reports_a_loop_that_hangs(alone):
    response = eventually(lambda: get(alone, "/health"), lambda response: response.status == 503)
    assert json.loads(response.text)["reasons"][0].startswith("the server's loop has not answered for ")
    live = get(alone, "/live")
    assert live.status == 503
    assert json.loads(live.text)["status"].startswith("the server's loop has not answered for ")
    assert json.loads(get(alone, "/stats").text)["health"]["status"] == "degraded"


@pytest.mark.leaves_behind("the dashboard's thread, which ends with its process")
def test_a_request_sent_byte_by_byte_is_cut_off(alone):
    with socket.create_connection(("127.0.0.1", alone), timeout=PATIENCE_SEC) as connection:
        connection.send(b"GET ")
        assert connection.recv(100) == b""


def slow_reader(port: int, path: str = "/stats") -> socket.socket:
    """A connection that has asked, and reads nothing."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(PATIENCE_SEC)
    connection.connect(("127.0.0.1", port))
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return connection


def was_reset(connection: socket.socket) -> bool:
    poller = select.poll()
    poller.register(connection, 0)
    return bool(poller.poll(10))


@pytest.fixture
def crowd():
    """Connections that are closed after the test."""
    with contextlib.ExitStack() as stack:
        yield stack.enter_context


def with_large_figures(server) -> None:
    """Makes /stats an answer of 2 MB."""
    server.send(b'{"level":"ERROR","message":"%b","sequence":%d}' % (b"x" * 20_000, number) for number in range(100))
    eventually(server.stats, lambda stats: stats["stored"] == 100)


def open_files(pid: int) -> list[str]:
    """What the descriptors of a process point to, 0 to 2 aside; it may close some meanwhile."""
    found = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        if int(descriptor.name) > 2:
            with contextlib.suppress(FileNotFoundError):
                found.append(os.readlink(descriptor))
    return found


@pytest.mark.parametrize("path", ["/stats", "/health", "/page.js"])
def test_readers_that_do_not_read_shut_nobody_out_and_cost_little(start, crowd, path):
    server = start()
    with_large_figures(server)
    before = server.stats()["process"]["resident_bytes"]
    readers = connections.CONNECTIONS_MAX + 50
    for _ in range(readers):
        crowd(slow_reader(server.dashboard_port, path))
    assert get(server.dashboard_port, "/health").status == 200
    assert json.loads(get(server.dashboard_port, "/stats").text)["stored"] == 100
    opened = open_files(server.process.pid)
    assert connections.CONNECTIONS_MAX - 1 <= sum("socket:" in link for link in opened) < readers
    assert not [link for link in opened if "(deleted)" in link]  # no temporary files
    assert server.stats()["process"]["resident_bytes"] - before < connections.UNSENT_MAX_BYTES + 20_000_000


def test_the_one_closed_for_a_newcomer_is_of_the_address_with_most_connections(start, crowd):
    server = start(DASHBOARD_HOST="0.0.0.0", DASHBOARD_NO_TOKEN="true")
    few = crowd(socket.create_connection(("127.0.0.1", server.dashboard_port), PATIENCE_SEC))
    many = [
        crowd(
            socket.create_connection(
                ("127.0.0.1", server.dashboard_port), PATIENCE_SEC, source_address=("127.0.0.2", 0)
            )
        )
        for _ in range(connections.CONNECTIONS_MAX + 5)
    ]
    assert many[0].recv(1) == b""  # the first of them makes room for the last
    many[-1].sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert many[-1].recv(12) == b"HTTP/1.1 200"
    few.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert few.recv(12) == b"HTTP/1.1 200"


def test_the_dashboard_leaves_descriptors_to_the_log(start, crowd):
    hard = connections.DESCRIPTORS_KEPT + 10
    server = start(command=["prlimit", f"--nofile=64:{hard}", *FASTLOG, "serve"], MAX_LOG_SIZE_MB="0.001")
    assert any(message.endswith("/, with 10 connections at most (ulimit -n)") for message in server.messages)
    for _ in range(hard):
        crowd(slow_reader(server.dashboard_port))
    assert get(server.dashboard_port, "/health").status == 200
    assert len(os.listdir(f"/proc/{server.process.pid}/fd")) < 50
    server.send(entries(1_000))
    assert eventually(server.stats, lambda stats: stats["stored"] == 1_000)["disk"]["rotations"] > 5


def test_without_descriptors_to_spare_there_is_no_dashboard(start):
    server = start(command=["prlimit", f"--nofile=64:{connections.DESCRIPTORS_KEPT}", *FASTLOG, "serve"])
    assert any("no dashboard: too few file descriptors (ulimit -n)" in message for message in server.messages)
    assert " http=unavailable " in server.messages[-1]
    server.send([INFO])
    assert server.entries() == [json.loads(INFO)]


def large(stats: Stats) -> Stats:
    """Figures that no socket's buffers hold."""
    error = msgspec.Raw(b'{"level":"ERROR","message":"%b"}' % (b"x" * 60_000))
    return msgspec.structs.replace(stats, recent_errors=[error] * 100)


@pytest.mark.leaves_behind("the dashboard's thread, which ends with its process")
def test_an_answer_that_is_not_taken_in_time_is_broken_off(start, crowd, monkeypatch):
    monkeypatch.setattr(connections, "SENDING_SEC", 0.05)
    monkeypatch.setattr(connections, "LOOK_AFTER_SEC", 0.01)
    page = dashboard_with(start, ask=lambda: None)
    page.publish(large(page._stats[0]))
    reader = crowd(slow_reader(port_of(page)))
    quick = crowd(socket.create_connection(("127.0.0.1", port_of(page)), PATIENCE_SEC))
    eventually(lambda: was_reset(reader), bool)
    quick.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert quick.recv(12) == b"HTTP/1.1 200"


@pytest.mark.leaves_behind("the dashboard's thread, which ends with its process")
def test_slow_readers_keep_few_old_snapshots_in_memory(start, crowd, monkeypatch):
    monkeypatch.setattr(dashboard, "FRESH_SEC", 0.0)
    page = dashboard_with(start, ask=lambda: page.publish(large(page._stats[0])))
    page.publish(large(page._stats[0]))
    kept = connections.UNSENT_MAX_BYTES // 6_000_000
    readers = [crowd(slow_reader(port_of(page))) for _ in range(kept + 5)]
    assert eventually(lambda: [was_reset(reader) for reader in readers], lambda reset: sum(reset) == 5)


@pytest.mark.leaves_behind("the dashboard's thread, which ends with its process")
def test_the_bytes_of_a_snapshot_count_once_for_all_its_readers(start, crowd, monkeypatch):
    monkeypatch.setattr(dashboard, "FRESH_SEC", 3600.0)
    page = dashboard_with(start, ask=lambda: None)
    page.publish(large(page._stats[0]))
    readers = [crowd(slow_reader(port_of(page))) for _ in range(20)]
    for reader in readers:  # all of them have begun to get it
        assert reader.recv(12) == b"HTTP/1.1 200"
    assert get(port_of(page), "/health").status == 200
    assert not any(was_reset(reader) for reader in readers)


REFUSED = [
    (b"nonsense\r\n\r\n", 400),
    (b"\r\n\r\n", 400),
    (b"get / HTTP/1.1\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n", 413),
    (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 16_384, 431),
    (b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
]


@pytest.mark.parametrize(("request_", "status"), REFUSED, ids=[str(status) for _, status in REFUSED])
def test_a_request_that_is_none_gets_an_error_like_all_others(start, request_, status):
    server = start()
    with socket.create_connection(("127.0.0.1", server.dashboard_port), PATIENCE_SEC) as connection:
        connection.sendall(request_)
        response = http.client.HTTPResponse(connection)
        response.begin()
        body = response.read()
        assert response.status == status
        assert response.headers["Content-Type"] == "application/json"
        assert list(json.loads(body)) == ["error"]
        for name, value in HEADERS:
            assert response.headers[name] == value
        assert response.headers["Connection"] == "close"


@pytest.mark.parametrize("segment_bytes", [10_000, 70, 7])
def test_requests_sent_ahead_are_answered_one_after_the_other(start, segment_bytes):
    server = start()
    paths = ["/health", "/nothing", "/page.css", "/health", "/nothing"]
    sent = b"".join(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() for path in paths)
    sent += b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\nGET /too-late"
    with socket.create_connection(("127.0.0.1", server.dashboard_port), PATIENCE_SEC) as connection:
        connection.setsockopt(socket.SOL_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(sent), segment_bytes):
            connection.sendall(sent[at : at + segment_bytes])
        answers = b"".join(iter(lambda: connection.recv(65536), b""))
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"404", b"200", b"200", b"404", b"200"]


@pytest.mark.leaves_behind("the dashboard's thread, which ends with its process")
def test_a_crowd_does_not_wait_in_turn_for_the_pauses_of_a_busy_server(start, crowd, monkeypatch):
    monkeypatch.setattr(dashboard, "BUSY_PAUSE_SEC", 0.5)
    page = dashboard_with(start, ask=lambda: None)
    page.beat(page._stats[0].health, busy=True)
    began = monotonic()
    many = [crowd(slow_reader(port_of(page), "/health")) for _ in range(60)]
    assert {reader.recv(12) for reader in many} == {b"HTTP/1.1 200"}
    assert monotonic() - began < 15  # rather than 30


@pytest.mark.leaves_behind("the dashboard's thread, which ends with its process")
def test_old_figures_are_shown_with_their_age(start):
    page = dashboard_with(start, ask=lambda: None)
    stats, made_at = page._stats
    assert "warnings" not in json.loads(get(port_of(page), "/stats").text)["health"]
    page._stats = stats, made_at - 3.0
    health = json.loads(get(port_of(page), "/stats").text)["health"]
    assert re.fullmatch(r"these figures are \d+ s old: the server's loop is held up", health["warnings"][0])
    page.publish(stats)
    assert "warnings" not in json.loads(get(port_of(page), "/stats").text)["health"]


@pytest.mark.leaves_behind("the dashboard's thread, which ends with its process")
def test_a_loop_that_is_held_up_is_waited_for_once(start, monkeypatch):
    monkeypatch.setattr(dashboard, "FRESH_SEC", 0.0)
    page = dashboard_with(start, ask=lambda: None)
    port = port_of(page)
    get(port, "/stats")
    monkeypatch.setattr(dashboard, "ANSWER_SEC", PATIENCE_SEC)
    assert get(port, "/stats").status == get(port, "/stats").status == 200


def test_the_servers_descriptors_are_few(start):
    server = start()
    for _ in range(300):
        get(server.dashboard_port, "/stats")
    assert len(os.listdir(f"/proc/{server.process.pid}/fd")) < 40
