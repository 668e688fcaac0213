"""docs/senders.md: each recipe with the real sender, and what its line becomes. Where a sender is a device, the datagram
of the document is sent."""

import json

import pytest

from tests.helpers import senders
from tests.helpers.running import Server, eventually
from tests.helpers.senders import addressed, is_recent, needs_node, recipe, shape

PROGRAMS = ["rsyslog", "syslog-ng", "nginx", "haproxy", "log4j2", "logback", "monolog", "logger", "Unix socket"]
IN_PYTHON = ["SysLogHandler", "graypy", "pygelf", "python-logstash", "python-logstash-async"]
IN_NODE = ["winston", "pino"]
DEVICES = [
    "Cisco IOS and IOS XE",
    "Cisco NX-OS",
    "Cisco ASA and Firepower",
    "Juniper Junos",
    "Fortinet FortiGate",
    "MikroTik RouterOS",
]


@pytest.fixture
def server(start):
    return start(STAMP="missing")  # as by default


def received(server: Server, count: int) -> list[bytes]:
    """Ends the server when it has so many entries; returns their lines."""
    eventually(server.stats, lambda stats: stats["total_received"] + sum(stats["rejected"].values()) >= count)
    assert server.stop() == 0
    assert "rejected 0, " in server.account, server.rejects()
    return server.whole_log().splitlines()


def assert_as_documented(server: Server, title: str, which: slice = slice(None)) -> None:
    documented = [json.loads(block) for block in recipe(title)["json"][which]]
    lines = [json.loads(line) for line in received(server, len(documented))]
    assert [shape(line) for line in lines] == [shape(line) for line in documented]
    for line in lines:
        for name in ("timestamp", "received", "@timestamp"):
            assert name not in line or is_recent(line[name])


def test_every_recipe_is_here():
    assert sorted(senders.titles()) == sorted([*PROGRAMS, *IN_PYTHON, *IN_NODE, *DEVICES, "Docker"])


# Libraries


@pytest.mark.parametrize("title", ["python-logstash", "python-logstash-async"])
def test_python(server, tmp_path, title):
    senders.python(tmp_path, addressed(recipe(title)["python"][0], server.port))
    assert_as_documented(server, title)


@needs_node
@pytest.mark.parametrize("title", IN_NODE)
def test_node(server, tmp_path, title):
    senders.node(tmp_path, addressed(recipe(title)["js"][0], server.port))
    assert_as_documented(server, title)


@pytest.mark.parametrize("language", ["daemon-gelf", "daemon-syslog"])
def test_the_configuration_of_docker_is_sound(language):
    configuration = json.loads(recipe("Docker")[language][0])
    assert configuration["log-driver"] == language.removeprefix("daemon-")
    assert f"{configuration['log-driver']}-address" in configuration["log-opts"]
