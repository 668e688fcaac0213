"""docs/senders.md: each recipe with the real sender, and what its line becomes. Where a sender is a device, the datagram
of the document is sent."""

import gzip
import json
import socket

import pytest

from tests.helpers import senders
from tests.helpers.running import Server, eventually
from tests.helpers.senders import addressed, is_recent, needs, needs_java, needs_node, recipe, shape

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
LOG4J = """
import org.apache.logging.log4j.LogManager;

class Shop {
    public static void main(String[] arguments) {
        LogManager.getLogger("com.example.Shop").error("card refused");
        LogManager.shutdown();
    }
}
"""
LOGBACK = """
import org.slf4j.LoggerFactory;

class Shop {
    public static void main(String[] arguments) {
        LoggerFactory.getLogger("com.example.Shop").error("card refused"%s);
    }
}
"""


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


# Syslog daemons that pass on what their machine's programs log


@needs("rsyslogd", "rsyslog")
def test_rsyslog(server, tmp_path, closing):
    configuration = addressed(recipe("rsyslog")["rsyslog"][0], server.port)
    rsyslog = closing(senders.rsyslog(tmp_path, configuration))
    rsyslog.log(*senders.CARD_REFUSED)
    assert_as_documented(server, "rsyslog")
    assert rsyslog.end() == 0, rsyslog.printed


@needs("syslog-ng", "syslog-ng-core")
def test_syslog_ng(server, tmp_path, closing):
    configuration = addressed(recipe("syslog-ng")["syslog-ng"][0], server.port)
    syslog_ng = closing(senders.syslog_ng(tmp_path, configuration))
    syslog_ng.log(*senders.CARD_REFUSED)
    assert_as_documented(server, "syslog-ng")
    assert syslog_ng.end() == 0, syslog_ng.printed


# Web servers


@pytest.fixture
def listener(closing):
    return closing(socket.create_server(("127.0.0.1", 0)))


@needs("nginx", "nginx")
def test_nginx(server, tmp_path, listener, closing):
    nginx = closing(senders.nginx(tmp_path, addressed(recipe("nginx")["nginx"][0], server.port), listener))
    assert nginx.get("/pay") == 404
    assert_as_documented(server, "nginx")
    assert nginx.end() == 0, nginx.printed


@needs("haproxy", "haproxy")
def test_haproxy(server, tmp_path, listener, closing):
    haproxy = closing(senders.haproxy(tmp_path, addressed(recipe("haproxy")["haproxy"][0], server.port), listener))
    assert haproxy.get("/pay") == 200
    assert_as_documented(server, "haproxy")
    haproxy.end()


# Libraries


@pytest.mark.parametrize("title", IN_PYTHON)
def test_python(server, tmp_path, title):
    senders.python(tmp_path, addressed(recipe(title)["python"][0], server.port))
    assert_as_documented(server, title)


@needs_node
@pytest.mark.parametrize("title", IN_NODE)
def test_node(server, tmp_path, title):
    senders.node(tmp_path, addressed(recipe(title)["js"][0], server.port))
    assert_as_documented(server, title)


@needs("php", "php-cli")
def test_monolog(server, tmp_path):
    senders.php(tmp_path, addressed(recipe("monolog")["php"][0], server.port))
    assert_as_documented(server, "monolog")


@needs_java("liblog4j2-java")
@pytest.mark.parametrize(("language", "which"), [("log4j2-gelf", slice(1)), ("log4j2-syslog", slice(1, 2))])
def test_log4j2(server, tmp_path, language, which):
    (tmp_path / "log4j2.xml").write_text(addressed(recipe("log4j2")[language][0], server.port))
    senders.java(tmp_path, "liblog4j2-java", LOG4J, "-Dlog4j2.configurationFile=log4j2.xml")
    assert_as_documented(server, "log4j2", which)


@needs_java("liblogback-java")
def test_logback(server, tmp_path):
    (tmp_path / "logback.xml").write_text(addressed(recipe("logback")["logback"][0], server.port))
    senders.java(tmp_path, "liblogback-java", LOGBACK % "", "-Dlogback.configurationFile=logback.xml")
    assert_as_documented(server, "logback")


@needs_java("liblogback-java")
def test_each_line_of_a_stack_trace_of_logback_has_the_program(server, tmp_path):
    (tmp_path / "logback.xml").write_text(addressed(recipe("logback")["logback"][0], server.port))
    code = LOGBACK % ', new RuntimeException("boom")'
    senders.java(tmp_path, "liblogback-java", code, "-Dlogback.configurationFile=logback.xml")
    lines = [json.loads(line) for line in received(server, 3)]
    assert [line["message"] for line in lines[:2]] == [
        "com.example.Shop card refused",
        "java.lang.RuntimeException: boom",
    ]
    assert "at Shop.main(Shop.java" in lines[2]["message"]
    assert {(line["app"], line["level"]) for line in lines} == {("shop", "ERROR")}


WINSTON_SYSLOG = """
const winston = require('winston');
const { Syslog } = require('winston-syslog');
const transport = new Syslog({ host: '127.0.0.1', port: %d, protocol: 'udp4', type: '5424', app_name: 'shop' });
const log = winston.createLogger({ levels: winston.config.syslog.levels, transports: [transport] });
log.error('card refused', { order: 1093 });
transport.socket.unref();
"""


@needs_node
def test_winston_syslog(server, tmp_path):
    senders.node(tmp_path, WINSTON_SYSLOG % server.port)
    [line] = map(json.loads, received(server, 1))
    assert (line["level"], line["app"], line["facility"]) == ("ERROR", "shop", "local0")
    assert json.loads(line["message"]) == {"level": "error", "message": "card refused", "order": 1093}


# The command, and the unix socket


def test_logger(server, tmp_path):
    senders.shell(tmp_path, addressed(recipe("logger")["sh"][0], server.port))
    assert_as_documented(server, "logger")


@pytest.mark.parametrize(
    ("run", "language", "which"), [(senders.python, "python", slice(1)), (senders.shell, "sh", slice(1, 2))]
)
def test_unix_socket(start, tmp_path, run, language, which):
    path = str(tmp_path / "fastlog.sock")
    server = start(UNIX_SOCKET=path, STAMP="missing")
    run(tmp_path, recipe("Unix socket")[language][0].replace("/run/fastlog.sock", path))
    assert_as_documented(server, "Unix socket", which)


# Devices, and Docker, whose datagrams are known


@pytest.mark.parametrize("title", DEVICES)
def test_device(server, title):
    [datagram] = recipe(title)["datagram"]
    server.send([datagram.rstrip("\n").encode()])
    documented = json.loads(recipe(title)["json"][0])
    [line] = map(json.loads, received(server, 1))
    of_the_receipt = {name for name in ("received", "source") if name in documented}
    if "received" not in documented:
        of_the_receipt.add("timestamp")
    if documented["host"] == documented["source"].rpartition(":")[0]:
        of_the_receipt.add("host")
        assert line["host"] == "127.0.0.1"
    assert list(line) == list(documented)
    assert {**line, **{name: documented[name] for name in of_the_receipt}} == documented


DOCKER_GELF = {
    "version": "1.1",
    "host": "web1",
    "short_message": "card refused",
    "timestamp": 1795683349.438,
    "level": 3,
    "_command": "python3 -m shop",
    "_container_id": "4c01db0b339cd17f",
    "_container_name": "shop",
    "_created": "2026-11-26T08:00:00Z",
    "_image_id": "sha256:9f2c2b",
    "_image_name": "shop:1.4",
    "_tag": "4c01db0b339c",
}
DOCKER_SYSLOG = b"<27>1 2026-11-26T08:55:49.337735Z web1 shop 23219 shop - card refused\n"


@pytest.mark.parametrize(
    ("datagram", "which"),
    [(gzip.compress(json.dumps(DOCKER_GELF).encode()), slice(1)), (DOCKER_SYSLOG, slice(1, 2))],
    ids=["gelf", "syslog"],
)
def test_docker(server, datagram, which):
    server.send([datagram])
    [documented] = [json.loads(block) for block in recipe("Docker")["json"][which]]
    [line] = map(json.loads, received(server, 1))
    assert shape(line) == shape(documented)


@pytest.mark.parametrize("language", ["daemon-gelf", "daemon-syslog"])
def test_the_configuration_of_docker_is_sound(language):
    configuration = json.loads(recipe("Docker")[language][0])
    assert configuration["log-driver"] == language.removeprefix("daemon-")
    assert f"{configuration['log-driver']}-address" in configuration["log-opts"]
