"""docs/moving.md: what each program or library sends before the change, and after it, arrives."""

import socket
from pathlib import Path

import pytest

from tests.helpers import senders
from tests.helpers.oracles import free_port, until_bound
from tests.helpers.running import eventually, run_python
from tests.helpers.senders import addressed, is_recent, needs, recipe

DOCUMENT = (Path(__file__).parents[2] / "docs/moving.md").read_text()
DATAGRAMS = [b"<11>Nov 27 08:30:00 web1 shop[7]: card refused %d" % number for number in range(3)]
MESSAGES = [f"card refused {number}" for number in range(3)]
# The number of an example in its part, and a level, message and fields that it must have.
EXAMPLES = {
    ("From graypy or pygelf", 0): {"order": 1093, "app": "shop", "facility": "shop"},
    ("From graypy or pygelf", 1): {"order": 1093, "app": "shop"},
    ("From graypy or pygelf", 2): {"order": 1093, "app": "shop", "region": "eu"},
    ("From graypy or pygelf", 3): {"order": 1093, "app": "shop", "region": "eu"},
    ("From logging.handlers", 0): {"message": "card refused order=1093", "app": "shop"},
    ("From logging.handlers", 1): {"order": 1093, "app": "shop"},
    ("From logging.handlers", 2): {"order": 1093, "app": "shop"},
}


def examples(title: str) -> list[str]:
    return recipe(title, DOCUMENT)["python"]


def environment(block: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in block.splitlines())


def send(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for datagram in DATAGRAMS:
            sender.sendto(datagram, ("127.0.0.1", port))


def all_came(server):
    return eventually(server.stats, lambda stats: stats["total_received"] >= len(DATAGRAMS))


@pytest.fixture
def rsyslog(tmp_path, closing):
    """Starts rsyslog as the collector of the document, with more configuration; returns its port and its file."""

    def collect(more: str = ""):
        port, output = free_port(), tmp_path / "remote.log"
        [before] = recipe("From rsyslog", DOCUMENT)["rsyslog"]
        configuration = before.replace('port="514"', f'port="{port}"').replace("/var/log/remote.log", str(output))
        closing(senders.rsyslog(tmp_path, configuration + more))
        until_bound(port)
        return port, output

    return collect


@needs("rsyslogd", "rsyslog")
def test_rsyslog_forwards_while_both_run(start, rsyslog):
    server = start()
    port, output = rsyslog(addressed(recipe("rsyslog")["rsyslog"][0], server.port))
    send(port)
    all_came(server)
    eventually(output.read_text, lambda text: len(text.splitlines()) == len(DATAGRAMS))
    assert [line.partition("]: ")[2] for line in output.read_text().splitlines()] == MESSAGES
    entries = [entry for entry in server.entries() if entry["app"] == "shop"]
    assert [(entry["message"], entry["level"], entry["host"]) for entry in entries] == [
        (message, "ERROR", "web1") for message in MESSAGES
    ]


def test_fastlog_takes_the_place_of_rsyslog(start, tmp_path):
    """With the settings of the document, but for the port and the directory, which belong to root."""
    [after] = recipe("From rsyslog", DOCUMENT)["fastlog-env"]
    settings = environment(after)
    assert (settings["LISTEN"], settings["LOG_DIR"]) == (":514", "/var/log/fastlog")
    server = start(**{**settings, "LISTEN": "127.0.0.1:0", "LOG_DIR": "."})
    send(server.port)
    assert all_came(server)["receive_buffer"]["wanted"] == 4194304
    for entry, message in zip(server.entries(), MESSAGES, strict=True):
        assert (entry["message"], entry["app"], entry["host"], entry["level"]) == (message, "shop", "web1", "ERROR")
        assert entry["source"].startswith("127.0.0.1:")
        assert is_recent(entry["timestamp"])
        assert "received" not in entry  # the sender's stamp has no zone, so `timestamp` is the time of receipt


def test_every_example_is_here():
    titles = ("From graypy or pygelf", "From logging.handlers")
    assert [(title, number) for title in titles for number in range(len(examples(title)))] == list(EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_each_example_before_and_after(start, example):
    title, number = example
    server = start()
    run_python(addressed(examples(title)[number], server.port))
    eventually(server.stats, lambda stats: stats["total_received"] == 1)
    [entry] = server.entries()
    expected = {"level": "ERROR", "message": "card refused", **EXAMPLES[example]}
    assert expected.items() <= entry.items()


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_a_traceback_moves_from_full_message_to_traceback(start, number):
    server = start()
    code = examples("From graypy or pygelf")[number].partition("logging.error")[0]
    code += "try:\n    1 / 0\nexcept ZeroDivisionError:\n    logging.exception('card refused')\n"
    run_python(addressed(code, server.port))
    eventually(server.stats, lambda stats: stats["total_received"] == 1)
    [entry] = server.entries()
    has, has_not = ("traceback", "full_message") if number % 2 else ("full_message", "traceback")
    assert "ZeroDivisionError: division by zero" in entry[has]
    assert has_not not in entry


def test_the_pickles_of_a_datagram_handler_are_rejected(start):
    server = start()
    run_python(
        "import logging\nfrom logging.handlers import DatagramHandler\n"
        f"logging.basicConfig(handlers=[DatagramHandler('127.0.0.1', {server.port})])\nlogging.error('card refused')\n"
    )
    eventually(server.stats, lambda stats: sum(stats["rejected"].values()) == 1)
    assert server.entries() == []


def test_the_handler_behind_a_queue_is_harmless(start):
    server = start()
    run_python(
        "import logging, queue, fastlog\nfrom logging.handlers import QueueHandler, QueueListener\n"
        f"listener = QueueListener(waiting := queue.Queue(), fastlog.Handler('127.0.0.1', port={server.port}))\n"
        "listener.start()\nlogging.getLogger().addHandler(QueueHandler(waiting))\n"
        "logging.error('card refused', extra={'order': 1093})\nlistener.stop()\n"
    )
    eventually(server.stats, lambda stats: stats["total_received"] == 1)
    [entry] = server.entries()
    assert {"message": "card refused", "order": 1093}.items() <= entry.items()
