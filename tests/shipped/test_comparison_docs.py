"""docs/comparison.md: what it says of rsyslog, syslog-ng, graypy, pygelf and the standard library, tried with each."""

import ast
import json
import os
import re
import signal
import socket
from pathlib import Path

import pytest

from tests.helpers import senders
from tests.helpers.oracles import free_port, queued, until_bound
from tests.helpers.running import eventually, run_python, until
from tests.helpers.senders import needs

DOCUMENT = (Path(__file__).parents[2] / "docs/comparison.md").read_text()
ERROR = b'{"level":"ERROR","message":"card refused","sequence":7,"timestamp":"2026-11-26T08:30:00Z"}'
RSYSLOG = """
module(load="imudp")
module(load="mmjsonparse")
module(load="impstats" interval="1" format="json" log.syslog="off" log.file="{directory}/figures")
template(name="raw" type="string" string="%rawmsg%\\n")
template(name="rejected" type="string" string="%fromhost-ip% %rawmsg%\\n")
ruleset(name="collect") {{
  action(type="mmjsonparse" cookie="")
  if $parsesuccess == "OK" then action(type="omfile" file="{directory}/out" template="raw")
  else action(type="omfile" file="{directory}/rejected" template="rejected")
}}
input(type="imudp" address="127.0.0.1" port="{port}" ruleset="collect")
"""
SYSLOG_NG = """
source s_net {{ network(transport("udp") ip("127.0.0.1") port({port}) flags(no-parse)); }};
log {{ source(s_src); destination(d_out); }};
destination d_out {{ file("{directory}/out" template("$MSG\\n")); }};
destination d_rejected {{ file("{directory}/rejected" template("$SOURCEIP $MSG\\n")); }};
log {{ source(s_net); if {{ parser {{ json-parser(); }}; destination(d_out); }} else {{ destination(d_rejected); }}; }};
"""


class Collector:
    """rsyslog or syslog-ng, which writes to `out` what is JSON, and to `rejected` what is not."""

    def __init__(self, name: str, directory: Path) -> None:
        self.port = free_port()
        self.directory = directory
        start, text = {"rsyslog": (senders.rsyslog, RSYSLOG), "syslog-ng": (senders.syslog_ng, SYSLOG_NG)}[name]
        self.relay = start(directory, text.format(port=self.port, directory=directory))
        until_bound(self.port)

    def close(self) -> None:
        self.relay.close()

    def client(self) -> socket.socket:
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.connect(("127.0.0.1", self.port))
        return client

    def lines(self, file: str = "out") -> list[str]:
        path = self.directory / file
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture(params=[pytest.param("rsyslog", marks=needs("rsyslogd", "rsyslog")), pytest.param("syslog-ng", marks=needs("syslog-ng", "syslog-ng-core"))])  # fmt: skip
def collector(request, tmp_path, closing):
    return closing(Collector(request.param, tmp_path))


# Collectors


def test_nobody_else_answers(collector, start):
    server = start()
    with collector.client() as asking, server.client() as ours:
        ours.send(ERROR)
        assert json.loads(ours.recv(100)) == {"ack": True, "sequence": 7}
        for stored in (1, 2):  # what the first one may have brought on its way is here when the second is stored
            asking.send(ERROR)
            eventually(collector.lines, lambda lines, stored=stored: len(lines) == stored)
        with pytest.raises(BlockingIOError):
            asking.recv(100, socket.MSG_DONTWAIT)


def test_the_same_bytes_are_stored_twice(collector, start):
    server = start()
    with collector.client() as theirs, server.client() as ours:
        for client in (theirs, theirs, ours, ours):
            client.send(ERROR)
        ours.recv(100)
        ours.recv(100)
    lines = eventually(collector.lines, lambda lines: len(lines) == 2)
    assert [json.loads(line) for line in lines] == [json.loads(ERROR)] * 2
    assert len(server.entries()) == 1


@needs("rsyslogd", "rsyslog")
def test_rsyslog_does_not_know_what_the_kernel_dropped(tmp_path, closing):
    collector, sent = closing(Collector("rsyslog", tmp_path)), 2_011
    with collector.client() as client:
        os.kill(collector.relay.process.pid, signal.SIGSTOP)
        for _ in range(sent):
            client.send(ERROR)
        os.kill(collector.relay.process.pid, signal.SIGCONT)
    until(lambda: queued(collector.port) == 0, "an empty receive buffer")

    def figures() -> list[dict]:
        return [json.loads(line[line.index("{") :]) for line in collector.lines("figures")]

    def received() -> int:
        return max((each.get("submitted", 0) for each in figures() if each["origin"] == "imudp"), default=0)

    stored = len(eventually(collector.lines, lambda lines: 0 < len(lines) == received()))
    lost = sent - stored
    assert lost > 100
    assert lost not in [value for each in figures() for value in each.values()]


def test_input_that_is_not_json_can_be_kept_if_configured(collector):
    with collector.client() as client:
        client.send(b"{broken")
        client.send(ERROR)
    eventually(collector.lines, lambda lines: len(lines) == 1)
    assert eventually(lambda: collector.lines("rejected"), bool) == ["127.0.0.1 {broken"]


# Python clients


HANDLERS = {
    "SysLogHandler": "from logging.handlers import SysLogHandler\nhandler = SysLogHandler(address=('{host}', {port}))",
    "graypy": "import graypy\nhandler = graypy.GELFUDPHandler('{host}', {port})",
    "pygelf": "from pygelf import GelfUdpHandler\nhandler = GelfUdpHandler('{host}', {port})",
    "fastlog": "import fastlog\nhandler = fastlog.Handler('{host}', port={port})",
}
OTHERS = [name for name in HANDLERS if name != "fastlog"]
LOOKS_UP = """
import sys, threading
asked = []
def hook(event, arguments):
    name = arguments[0] if event == "socket.getaddrinfo" else arguments[1][0] if event == "socket.sendto" else ""
    if name in ("localhost", b"localhost"):
        asked.append(threading.get_ident() == threading.main_thread().ident)
sys.addaudithook(hook)
import logging
{handler}
logging.getLogger().addHandler(handler)
logging.error("card refused")
handler.flush()
print(asked)
"""
AFTER_A_CALL = """
import logging, threading
{handler}
logging.getLogger().addHandler(handler)
logging.error("card refused")
print(threading.active_count() - 1)
"""
LARGE = """
import logging, os
{handler}
logging.getLogger().addHandler(handler)
logging.raiseExceptions = False
logging.error(os.urandom(60_000).hex())
logging.shutdown()
"""


def run(program: str, name: str, port: int, host: str = "127.0.0.1") -> str:
    return run_python(program.format(handler=HANDLERS[name].format(host=host, port=port))).stdout


@pytest.fixture
def receiver(closing):
    receiver = closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    receiver.bind(("127.0.0.1", 0))
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    return receiver


@pytest.mark.parametrize("name", HANDLERS)
def test_only_our_handler_looks_names_up_in_the_background(receiver, name):
    asked = ast.literal_eval(run(LOOKS_UP, name, receiver.getsockname()[1], host="localhost"))
    assert asked
    assert any(asked) == (name in OTHERS)


@pytest.mark.parametrize("name", OTHERS)
def test_the_others_keep_nothing_once_a_call_is_over(receiver, name):
    assert run(AFTER_A_CALL, name, receiver.getsockname()[1]) == "0\n"


@pytest.mark.parametrize(("name", "datagrams"), [("SysLogHandler", 0), ("graypy", 2), ("pygelf", 2)])
def test_a_message_larger_than_a_datagram(receiver, name, datagrams):
    """At least so many datagrams arrive, or none; each is a chunk."""
    run(LARGE, name, receiver.getsockname()[1])
    receiver.setblocking(False)
    arrived = []
    while True:
        try:
            arrived.append(receiver.recv(65536))
        except BlockingIOError:
            break
    assert len(arrived) >= datagrams
    assert bool(arrived) == bool(datagrams)
    assert all(datagram.startswith(b"\x1e\x0f") for datagram in arrived)


def test_a_message_larger_than_a_datagram_is_shortened_and_says_so(start):
    server = start()
    run(LARGE, "fastlog", server.port)
    [entry] = server.entries()
    assert entry["truncated"] is True
    assert entry["original_bytes"] > 120_000


# The page


def test_every_row_of_the_readme_is_on_the_page():
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    for title, heading in (
        ("| UDP input to a file |", "## UDP input to a file"),
        ("| Python client |", "## Python clients"),
    ):
        table = readme[readme.index(title) :].partition("\n\n")[0]
        rows = [row.split(" | ")[0].removeprefix("| ").partition(" (`")[0] for row in table.splitlines()[2:]]
        section = DOCUMENT.partition(heading)[2].partition("\n## ")[0]
        assert re.findall(r"^\| ([^|]*?) \|", section, re.MULTILINE)[1:] == rows, title
