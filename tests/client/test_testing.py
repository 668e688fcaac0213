"""`fastlog.testing`: its collector beside the real server, what it does when told to fail, and what is caught without a
network."""

import json
import logging
import os
import re
import socket
import threading
from unittest.mock import ANY

import pytest

from fastlog import Client, Handler
from fastlog.errors import ConfigError
from fastlog.testing import Collector, Rejected, capture_entries, collector, entry_log
from tests.helpers.cases import CASES
from tests.helpers.running import PATIENCE_SEC, eventually, run_python


@pytest.fixture
def memory(closing):
    return closing(Collector())


@pytest.fixture
def connected(closing):
    """Makes sockets that are connected to a collector or a server."""

    def make(port: int) -> socket.socket:
        made = closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        made.settimeout(PATIENCE_SEC)
        made.connect(("127.0.0.1", port))
        return made

    return make


def entry(level: str, message: str, **fields) -> bytes:
    return json.dumps({"level": level, "message": message, **fields}).encode()


# The collector beside the server


def test_it_stores_and_rejects_what_the_server_does(start, memory, connected):
    server = start(INPUTS="json")
    # The collector takes nothing that is packed or in chunks.
    plain = [datagram for _, datagram, _ in CASES if datagram[:1] not in (b"x", b"\x1f", b"\x1e")]
    datagrams = [*plain, entry("INFO", "the last")]
    server.send(datagrams)
    sender = connected(memory.port)
    for number, datagram in enumerate(datagrams, 1):
        sender.send(datagram)
        if number % 50 == 0:
            sender.send(entry("INFO", "up to here", number=number))
            memory.wait_for(message="up to here", number=number)
    memory.wait_for(message="the last")
    server.stop()
    stored = [entry_log._decoded(line) for line in server.log().splitlines()]
    assert [each for each in memory.entries if each["message"] != "up to here"] == stored
    assert [each.reason for each in memory.rejected] == [each["reason"] for each in server.rejects()]


def test_it_acknowledges_and_recognizes_what_the_server_does(start, memory, connected):
    """Retransmissions are stored once and acknowledged each time. The same bytes of two senders are two entries, unless
    they have a timestamp."""
    server = start()
    plain = entry("ERROR", "plain", sequence=1)
    dated = entry("fatal", "dated", sequence=2, timestamp="2026-11-24T07:00:00Z")
    outcomes = []
    for port in (server.port, memory.port):
        first, second = connected(port), connected(port)
        outcome = []
        for sender in (first, first, second, second):
            for datagram in (plain, dated, plain + b"\n" + dated):
                sender.send(datagram)
            sender.send(entry("INFO", "not acknowledged", sequence=3))
            sender.send(entry("ERROR", "no sequence"))
            outcome += [sorted(sender.recv(100) for _ in range(4))]
        outcomes.append(outcome)
    assert outcomes[0] == outcomes[1] == [[b'{"ack":true,"sequence":1}'] * 2 + [b'{"ack":true,"sequence":2}'] * 2] * 4
    stored = memory.wait_until(lambda entries: sum(each["message"] == "no sequence" for each in entries) == 4)
    server.stop()
    assert sorted(each["message"] for each in stored) == sorted(
        json.loads(line)["message"] for line in server.log().splitlines()
    )
    assert len(memory.find(message="plain")) == 2
    assert len(memory.find(message="dated")) == 1


def test_its_priority_levels_are_those_it_is_given(connected, closing):
    with pytest.raises(ConfigError, match="LOUD"):
        Collector(priority_levels=["LOUD"])
    sender = connected(closing(Collector(priority_levels=["warn"])).port)
    sender.send(entry("ERROR", "m", sequence=1))
    sender.send(entry("WARNING", "m", sequence=2))
    assert sender.recv(100) == b'{"ack":true,"sequence":2}'


def test_it_listens_on_ipv6_and_on_a_given_port(closing, client):
    memory = closing(Collector("::1"))
    client(memory).send("ERROR", "over IPv6")
    memory.wait_for(message="over IPv6")
    with pytest.raises(OSError, match="in use"):
        Collector("::1", memory.port)
    memory.close()
    again = closing(Collector("::1", memory.port))
    assert again.port == memory.port


# The collector when it fails


def test_while_it_is_away_datagrams_are_refused(memory, client, connected):
    shop = client(memory)
    shop.send("ERROR", "before")
    assert shop.flush()
    with memory.away():
        sender = connected(memory.port)
        sender.send(b"to nobody")
        with pytest.raises(ConnectionRefusedError):
            sender.recv(100)
        shop.send("ERROR", "meanwhile")
        eventually(shop.stats, lambda stats: stats.refused)
        assert memory.messages == ["before"]
        with pytest.raises(AssertionError, match="the collector is away"):
            memory.assert_logged("ERROR", "meanwhile")
    memory.wait_for("ERROR", "meanwhile")


def test_while_it_is_away_nobody_else_gets_its_port(memory):
    with memory.away(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other, pytest.raises(OSError):  # noqa: PT011
        other.bind((memory.host, memory.port))


def test_it_is_away_although_a_child_has_its_socket(memory, connected):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)  # until the test has ended
        os._exit(0)
    os.close(reader)
    try:
        with memory.away():
            sender = connected(memory.port)
            sender.send(b"to nobody")
            with pytest.raises(ConnectionRefusedError):
                sender.recv(100)
        sender = connected(memory.port)
        sender.send(entry("ERROR", "back", sequence=1))
        assert sender.recv(100) == b'{"ack":true,"sequence":1}'
    finally:
        os.close(writer)
        os.waitpid(child, 0)


def test_what_has_come_before_it_goes_away_is_taken(memory, connected):
    sender = connected(memory.port)
    for number in range(50):
        sender.send(entry("INFO", f"{number}"))
    with memory.away():
        assert memory.messages == [f"{number}" for number in range(50)]


def test_while_it_is_silent_entries_come_and_no_ack_goes(memory, client):
    shop = client(memory)
    with memory.silent():
        shop.send("ERROR", "m")
        memory.wait_for("ERROR", "m")
        eventually(shop.stats, lambda stats: stats.retransmitted)
        assert shop.stats().acknowledged == 0
        with pytest.raises(AssertionError, match="the collector is silent"):
            memory.assert_logged("CRITICAL")
    assert shop.flush(PATIENCE_SEC)
    assert memory.messages == ["m"]


def test_what_has_come_while_it_was_lossy_is_lost(memory, connected):
    sender = connected(memory.port)
    for number in range(50):
        with memory.lossy(1.0):
            sender.send(entry("INFO", f"{number}"))
    assert memory.messages == []


def test_a_lossy_way_loses_datagrams_and_acks(memory, client):
    shop = client(memory, pack=False)
    with memory.lossy(0.3):
        for number in range(40):
            shop.send("ERROR", f"{number}")
            shop.send("INFO", f"{number}")
        eventually(shop.stats, lambda stats: stats.sent == 80 and stats.retransmitted)
        with pytest.raises(AssertionError, match="loses 30% of what it receives"):
            memory.assert_logged("CRITICAL")
    assert shop.flush(PATIENCE_SEC)
    assert sorted(each["message"] for each in memory.find("ERROR")) == sorted(f"{number}" for number in range(40))
    assert len(memory.find("INFO")) < 40
    with pytest.raises(ConfigError, match="share"), memory.lossy(50):
        pass


def test_while_it_rejects_nothing_is_stored(memory, client):
    shop = client(memory)
    with memory.rejecting():
        shop.send("ERROR", "m")
        (first, *_) = eventually(lambda: memory.rejected, bool)
        assert first == Rejected("denied", ANY)
        assert '"message":"m"' in first.text
        with pytest.raises(AssertionError, match="pieces were rejected, the newest last\n  denied: "):
            memory.assert_logged("ERROR")
    memory.wait_for("ERROR", "m")


def test_a_closed_collector_leaves_nothing_and_gives_its_port_back():
    memory = Collector()
    threads = threading.active_count()
    memory.close()
    memory.close()
    assert threading.active_count() == threads - 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((memory.host, memory.port))


# What tests ask


@pytest.fixture
def logged():
    with capture_entries() as logged:
        shop = Client(app="shop")
        shop.send("ERROR", "payment 17 timed out", order=1093, card={"kind": "visa"}, none=None)
        shop.send("INFO", "order placed", order=1093)
        yield logged


@pytest.mark.parametrize(
    ("level", "message", "fields"),
    [
        (None, None, {}),
        ("ERROR", None, {}),
        ("err", None, {"order": 1093}),
        (None, "payment 17 timed out", {}),
        ("ERROR", re.compile(r"\d+ timed out$"), {"card": {"kind": ANY}, "app": "shop"}),
        (None, None, {"none": None}),
    ],
)
def test_an_entry_that_matches(logged, level, message, fields):
    assert logged.assert_logged(level, message, **fields)["message"] == "payment 17 timed out"
    assert logged.assert_logged(level=level, message=message, **fields) in logged.find(level, message, **fields)
    assert logged.wait_for(level, message, **fields)[0]["order"] == 1093
    with pytest.raises(AssertionError, match=r"unwanted entries.*payment 17 timed out"):
        logged.assert_not_logged(level, message, **fields)


@pytest.mark.parametrize(
    ("level", "message", "fields"),
    [
        ("CRITICAL", None, {}),
        ("INFO", "payment 17 timed out", {}),
        (None, "payment", {}),
        (None, re.compile("^timed out"), {}),
        ("ERROR", None, {"order": "1093"}),
        (None, None, {"missing": None}),
    ],
)
def test_no_entry_that_matches(logged, level, message, fields):
    logged.assert_not_logged(level, message, **fields)
    assert logged.find(level, message, **fields) == []
    with pytest.raises(AssertionError, match=r"no entry with .*; 2 entries are here"):
        logged.assert_logged(level, message, **fields)
    with pytest.raises(AssertionError, match=r"0 instead of 3 entries with .* within 0 seconds"):
        logged.wait_for(level, message, count=3, timeout=0, **fields)


def test_the_message_of_a_failure_shows_what_came(logged):
    with pytest.raises(AssertionError) as caught:
        logged.assert_logged("ERROR", re.compile("refused"), order=7)
    assert str(caught.value).splitlines() == [
        "no entry with level='ERROR', message=re.compile('refused'), order=7; 2 entries are here",
        '  {"level": "ERROR", "message": "payment 17 timed out", "order": 1093, "card": {"kind": "visa"}, "none": null, "app": "shop"}',
        '  {"level": "INFO", "message": "order placed", "order": 1093, "app": "shop"}',
    ]
    with pytest.raises(AssertionError, match=r"<lambda> did not hold within 0 seconds; 2 entries are here"):
        logged.wait_until(lambda entries: len(entries) > 2, timeout=0)
    for _ in range(20):
        Client().send("INFO", "x" * 10_000)
    with pytest.raises(AssertionError) as caught:
        logged.assert_logged("ERROR", "m")
    assert "(12 earlier ones)" in str(caught.value)
    assert len(str(caught.value)) < 10_000
    logged.clear()
    with pytest.raises(AssertionError, match="no entry; no entries are here"):
        logged.assert_logged()


def test_a_waiting_test_is_woken_by_the_entry(memory, client):
    shop = client(memory)
    timer = threading.Timer(0.05, lambda: [shop.send("INFO", "a", n=n) for n in range(3)])
    timer.start()
    assert [each["n"] for each in memory.wait_for("INFO", "a", count=3, timeout=PATIENCE_SEC)] == [0, 1, 2]
    timer.join()
    assert len(memory.wait_until(lambda entries: entries[2]["n"] == 2)) == 3


def test_what_a_log_holds_is_bounded(logged, memory, connected, monkeypatch):
    monkeypatch.setattr(entry_log, "ENTRIES_MAX", 5)
    monkeypatch.setattr(collector, "STORED_HASHES_MAX", 5)
    shop = Client()
    for number in range(8):
        shop.send("INFO", f"{number}")
    assert logged.messages == [f"{number}" for number in range(3, 8)]
    with pytest.raises(AssertionError, match="5 older entries were forgotten"):
        logged.assert_logged("ERROR")
    monkeypatch.setattr(entry_log, "BYTES_MAX", 1000)
    shop.send("INFO", "x" * 900)
    assert len(logged.entries) == 1
    sender = connected(memory.port)
    for number in range(8):
        sender.send(entry("ERROR", "m", sequence=number))
        sender.recv(100)
    assert len(memory._stored) == 5
    for _ in range(collector.REJECTED_MAX + 1):
        sender.send(b"x" * 2000)
    sender.send(entry("INFO", "end"))
    memory.wait_for("INFO", "end")
    assert 0 < len(memory.rejected) <= collector.REJECTED_MAX
    assert max(len(each.text) for each in memory.rejected) == collector.REJECTED_CHARS
    memory.clear()
    assert memory.rejected == memory.entries == []


# What is caught without a network


def test_what_is_caught_is_what_the_server_would_store(start):
    """Every value that the client converts, shortens or adds."""
    server = start()
    entries = [
        {"level": "WARNING", "message": "m", "when": float("nan"), "things": {1}, 5: b"bytes", "sequence": 7},
        {"message": "half \ud83d", "timestamp": 5, "app": "own"},
        {"level": "error", "message": "long", "text": "x" * 100_000},
    ]
    sent = Client(port=server.port, app="shop", hostname="web1", fields={"release": "1.2"})
    with capture_entries() as logged:
        caught = Client(app="shop", hostname="web1", fields={"release": "1.2"})
        for each in entries:
            caught.send_entry(each)
            sent.send_entry(each)
        assert caught.flush()
        assert caught.stats().sent == caught.stats().queued == 0
    with sent:
        for each in entries:
            sent.send_entry(each)
    server.stop()
    stored = [json.loads(line) for line in server.log().splitlines()]
    changing = {"timestamp": ANY, "sequence": ANY}
    assert [each | changing for each in stored] == [each | changing for each in logged.entries[::2]]
    assert all(each["sequence"] for each in logged.entries)


def test_clients_and_handlers_are_caught_whenever_they_were_made(memory, client):
    before = client(memory)
    logger = logging.getLogger("fastlog.tests.caught")
    handler = Handler(client=before)
    logger.addHandler(handler)
    try:
        before.send("ERROR", "sent before")
        memory.wait_for("ERROR", "sent before")
        with capture_entries() as logged:
            before.send("ERROR", "of a client", x=1)
            logger.error("of a handler", extra={"x": 2})
            Client(memory.host, memory.port).send("ERROR", "of a client that is new", x=3)
            with capture_entries() as inner:
                before.send("ERROR", "inside")
            assert inner.messages == ["inside"]
        logger.error("sent after")
        memory.wait_for("ERROR", "sent after")
    finally:
        logger.removeHandler(handler)
    assert logged.messages == ["of a client", "of a handler", "of a client that is new"]
    assert logged.assert_logged(x=2).items() >= {"logger": logger.name, "line": ANY, "level": "ERROR"}.items()
    assert memory.messages == ["sent before", "sent after"]


def test_a_client_that_is_not_enabled_is_caught_too():
    """So a program that is told to send nothing in its tests can still be asked what it logs."""
    before = Client(enable=False)
    with capture_entries() as logged:
        before.send("ERROR", "before")
        Client(enable=False).send("ERROR", "meanwhile")
        Handler(enable=False).emit(logging.makeLogRecord({"msg": "of a handler"}))
    before.send("ERROR", "after")
    assert logged.messages == ["before", "meanwhile", "of a handler"]


def test_what_is_caught_needs_no_network_and_no_thread(tmp_path):
    """Neither does a client with a spill file, which otherwise begins to send at once."""
    (tmp_path / "fastlog.spill.0").write_bytes(entry("ERROR", "left", sequence=1) + b"\n")
    run_python(
        """
import os, socket, threading, _thread
from fastlog import Client
from fastlog.testing import capture_entries
def forbidden(*args, **kwargs): raise AssertionError("no network")
socket.socket = forbidden
_thread.start_new_thread = forbidden
with capture_entries() as logged:
    client = Client("name.invalid", spill="fastlog.spill")
    client.send("ERROR", "m")
    assert client.wait_for_room()
    client.close()
    client.send("ERROR", "after its end")
assert logged.messages == ["m"]
assert os.listdir() == ["fastlog.spill.0"]
""",
        cwd=tmp_path,
    )


def test_threads_may_log_while_a_test_looks(logged):
    shop = Client()
    threads = [threading.Thread(target=lambda: [shop.send("INFO", "t") for _ in range(500)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    logged.wait_for("INFO", "t", count=2000, timeout=PATIENCE_SEC)
    for thread in threads:
        thread.join()
    assert len({each["sequence"] for each in logged.find("INFO", "t")}) == 2000


# Who needs what


def test_only_the_fixtures_need_pytest():
    run_python(
        "import sys; sys.modules['pytest'] = None\n"
        "from fastlog.testing import Collector, capture_entries\n"
        "with Collector() as collector, capture_entries(): pass\n"
    )


def test_nothing_else_of_fastlog_imports_it():
    run_python(
        "import sys, fastlog.client.handler, fastlog.server.server, fastlog.cli\n"
        "assert not any(name.startswith('fastlog.testing') for name in sys.modules)\n"
    )
