"""The real structlog, loguru, gunicorn and multiprocessing, through the real server."""

import http.client
import json
import logging
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import loguru
import pytest
import structlog

import fastlog
from fastlog.client.integrations import loguru_sink, structlog_processor
from fastlog.errors import ConfigError
from tests.helpers.running import BASE_ENVIRONMENT, PATIENCE_SEC


def logged(server) -> list[dict]:
    assert server.stop() == 0
    assert "rejected 0, " in server.account
    return [json.loads(line) for line in server.log().splitlines()]


def bare(server) -> list[dict]:
    """The entries in the log, without the fields that all of them have."""
    return [
        {name: value for name, value in entry.items() if name not in ("timestamp", "sequence", "host")}
        for entry in logged(server)
    ]


@pytest.fixture
def server(start):
    return start()


@pytest.fixture(autouse=True)
def _as_it_was():
    yield
    structlog.reset_defaults()
    loguru.logger.remove()


# structlog


def test_structlog(server):
    with fastlog.Client("127.0.0.1", server.port) as client:
        structlog.configure(
            processors=[
                structlog.contextvars.merge_contextvars,
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso"),
                structlog_processor(client),
            ]
        )
        log = structlog.get_logger().bind(customer="anna")
        with structlog.contextvars.bound_contextvars(request="r1"):
            log.info("paid", order=7)
        log.warning("slow", message="mine", sequence=1, host="mine", set={1})
        log.error("lone \ud800", key=b"\xff")
        try:
            {}["order"]
        except KeyError:
            log.exception("failed")
    entries = bare(server)
    traceback = entries[3].pop("traceback")
    assert traceback.startswith("Traceback (most recent call last):\n")
    assert traceback.endswith("\nKeyError: 'order'")
    assert entries == [
        {"level": "INFO", "message": "paid", "customer": "anna", "order": 7, "request": "r1"},
        {
            "level": "WARNING", "message": "slow", "customer": "anna", "extra_message": "mine", "extra_sequence": 1,
            "extra_host": "mine", "set": [1],
        },
        {"level": "ERROR", "message": "lone \ufffd", "customer": "anna", "key": "\ufffd"},
        {"level": "ERROR", "message": "failed", "customer": "anna", "exc_type": "KeyError", "exc_message": "'order'"},
    ]  # fmt: skip


def test_structlog_goes_on_to_a_renderer(server):
    shown = []
    with fastlog.Client("127.0.0.1", server.port) as client:
        structlog.configure(
            processors=[
                structlog.processors.format_exc_info,
                structlog_processor(client, pass_on=True),
                lambda _, __, event: shown.append(dict(event)) or "",
            ],
            logger_factory=structlog.ReturnLoggerFactory(),
        )
        structlog.get_logger().error("failed", exc_info=ValueError("bad"), timestamp=1.5)
    assert shown == [{"event": "failed", "timestamp": 1.5, "exception": "ValueError: bad"}]
    assert bare(server) == [
        {
            "level": "ERROR", "message": "failed", "exc_type": "ValueError", "exc_message": "bad",
            "traceback": "ValueError: bad", "extra_timestamp": 1.5,
        }
    ]  # fmt: skip


def test_structlog_over_logging_needs_nothing_else(server):
    logger = logging.getLogger("shop.structlog")
    handler = fastlog.Handler(port=server.port, fields=["logger"])
    logger.addHandler(handler)
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.stdlib.render_to_log_kwargs],
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    structlog.get_logger("shop.structlog").error("failed", order=7, exc_info=ValueError("bad"))
    logger.removeHandler(handler)
    handler.client.close()
    handler.close()
    assert bare(server) == [
        {
            "level": "ERROR", "message": "failed", "logger": "shop.structlog", "order": 7, "extra_level": "error",
            "exc_type": "ValueError", "exc_message": "bad", "traceback": "ValueError: bad",
        }
    ]  # fmt: skip


def test_structlog_keeps_a_timestamp_in_utc_and_a_level_that_fastlog_does_not_know(server):
    with fastlog.Client("127.0.0.1", server.port) as client:
        structlog.configure(processors=[structlog_processor(client)])
        structlog.get_logger().info("done", level="applause", timestamp="2026-11-24T07:00:00.000000Z")
    [entry] = logged(server)
    assert (entry["timestamp"], entry["level"], entry["level_name"]) == (
        "2026-11-24T07:00:00.000000Z",
        "INFO",
        "applause",
    )


# loguru


def test_loguru(server):
    log = loguru.logger
    log.remove()
    with fastlog.Client("127.0.0.1", server.port) as client:
        log.add(loguru_sink(client, fields=["logger", "function", "process"]), level="TRACE", catch=False)
        log.bind(order=7, level="mine").info("paid by {}", "anna")
        log.success("done")
        log.trace("step")
        try:
            {}["order"]
        except KeyError:
            log.exception("failed")
    entries = bare(server)
    assert entries[3].pop("traceback").endswith("\nKeyError: 'order'")
    common = {"logger": __name__, "function": "test_loguru", "process": os.getpid()}
    assert entries == [
        {"level": "INFO", "message": "paid by anna", **common, "order": 7, "extra_level": "mine"},
        {"level": "INFO", "message": "done", "level_name": "SUCCESS", **common},
        {"level": "DEBUG", "message": "step", "level_name": "TRACE", **common},
        {"level": "ERROR", "message": "failed", **common, "exc_type": "KeyError", "exc_message": "'order'"},
    ]


def test_loguru_through_its_queue(server):
    """`enqueue` pickles the records, so that an exception may arrive without its traceback."""
    log = loguru.logger
    log.remove()
    with fastlog.Client("127.0.0.1", server.port) as client:
        log.add(loguru_sink(client, fields=[]), enqueue=True, catch=False)
        log.opt(exception=ValueError("bad")).error("failed")
        log.complete()
    assert bare(server) == [
        {
            "level": "ERROR", "message": "failed", "exc_type": "ValueError", "exc_message": "bad",
            "traceback": "ValueError: bad",
        }
    ]  # fmt: skip


def test_an_unknown_field_of_loguru_rejected():
    with pytest.raises(ConfigError, match="no field 'elapsed'; choose from logger, file, line,"):
        loguru_sink(None, fields=["elapsed"])


# Processes

APPLICATION = """
import logging, os, fastlog
logging.basicConfig(level="INFO", handlers=[fastlog.Handler(port={port}, fields=["process"])])
logging.error("loaded")
for number in range(100):
    logging.info("loading %d", number)

def application(environment, start_response):
    logging.info("request %s", environment["PATH_INFO"])
    logging.error("request %s", environment["PATH_INFO"])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""
SETTINGS = """
import logging
bind = "127.0.0.1:0"
workers = 4
preload_app = True
def post_worker_init(worker):
    for number in range(100):
        logging.info("started %d", number)
    logging.error("started")
"""


def assert_whole_runs(entries: list[dict], processes: int) -> dict[int, list[dict]]:
    """Each process numbers its entries without a gap, from a start of its own."""
    of: dict[int, list[dict]] = {}
    for entry in entries:
        of.setdefault(entry["process"], []).append(entry)
    assert len(of) == processes
    assert len({entry["sequence"] for entry in entries}) == len(entries)
    for own in of.values():
        sequences = sorted(entry["sequence"] for entry in own)
        assert sequences == list(range(sequences[0], sequences[0] + len(own)))
    return of


def test_gunicorn_with_four_workers_forked_from_a_client_that_runs(server, tmp_path):
    (tmp_path / "shop.py").write_text(APPLICATION.format(port=server.port))
    (tmp_path / "settings.py").write_text(SETTINGS)
    gunicorn = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "--config", "settings.py", "shop:application"],
        cwd=tmp_path,
        env=BASE_ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        port, booted, messages = 0, 0, []
        while not port or booted < 4:
            messages.append(gunicorn.stderr.readline())
            assert messages[-1], messages
            port = port or int((re.search(r"Listening at: http://127.0.0.1:(\d+)", messages[-1]) or [0, 0])[1])
            booted += "Booting worker" in messages[-1]

        def request(number: int) -> int:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SEC)
            connection.request("GET", f"/{number}")
            answer = connection.getresponse().read()
            connection.close()
            return int(answer)

        with ThreadPoolExecutor(8) as pool:
            answered = list(pool.map(request, range(200)))
        gunicorn.send_signal(signal.SIGTERM)
        rest = gunicorn.stderr.read()
        assert gunicorn.wait(PATIENCE_SEC) == 0, rest
    finally:
        gunicorn.kill()
        gunicorn.wait()
        gunicorn.stderr.close()
    of = assert_whole_runs(logged(server), 5)
    assert [entry["message"] for entry in of.pop(gunicorn.pid)] == ["loaded", *(f"loading {n}" for n in range(100))]
    assert set(answered) <= set(of)
    for process, own in of.items():
        messages = [entry["message"] for entry in own]
        started = [*(f"started {n}" for n in range(100)), "started"]
        expected = [f"/{number}" for number, by in enumerate(answered) if by == process]
        assert [message for message in messages if message.startswith("started")] == started
        for level in ("INFO", "ERROR"):
            assert sorted(
                entry["message"] for entry in own if entry["level"] == level and entry["message"][0] == "r"
            ) == sorted(f"request {path}" for path in expected)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_multiprocessing(server, tmp_path, method):
    """The children are forked while another thread of the parent logs; their last entries are sent at their end."""
    program = tmp_path / "program.py"
    program.write_text("""
import logging, multiprocessing, sys, threading, fastlog

def log(name):
    for number in range(200):
        logging.info("%s %d", name, number)
    logging.error("%s ends", name)

def child(name, port):
    if not logging.getLogger().handlers:
        setup(port)
    log(name)

def setup(port):
    logging.basicConfig(level="INFO", handlers=[fastlog.Handler(port=port, fields=["process"])])

if __name__ == "__main__":
    port, method = int(sys.argv[1]), sys.argv[2]
    setup(port)
    context = multiprocessing.get_context(method)
    thread = threading.Thread(target=log, args=("parent",))
    thread.start()
    children = [context.Process(target=child, args=(f"child {number}", port)) for number in range(4)]
    for process in children:
        process.start()
    for process in children:
        process.join()
        assert process.exitcode == 0
    thread.join()
""")
    done = subprocess.run(
        [sys.executable, program, str(server.port), method],
        env=BASE_ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SEC,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    of = assert_whole_runs(logged(server), 5)
    assert sorted([entry["message"] for entry in own] for own in of.values()) == sorted(
        [*(f"{name} {number}" for number in range(200)), f"{name} ends"]
        for name in ("parent", *(f"child {number}" for number in range(4)))
    )
