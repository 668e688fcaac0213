"""Every line that real senders send arrives, with its host, app, severity and message."""

import json
import socket
import time

import pytest

from fastlog.entry import SEVERITIES
from tests.helpers import senders
from tests.helpers.running import eventually
from tests.helpers.senders import needs

HOST = socket.gethostname()
LINES = 400  # of a test; they fit in every queue on the way
TEXTS = [
    "card refused",
    "card 42 refused: code 51",
    'quotes " and \\ backslashes',
    "café €5 漢字 😀",
    "100 % of %s and %d",
    "[warn] in brackets",
    '{"order":1093}',
    "  two blanks before",
    "x" * 2000,
]
LEVELS = dict(
    zip(SEVERITIES, ["CRITICAL", "CRITICAL", "CRITICAL", "ERROR", "WARNING", "INFO", "INFO", "DEBUG"], strict=True)
)

Line = tuple[str, str, str, str]  # severity, app, pid, message


def lines() -> list[Line]:
    return [
        (SEVERITIES[number % 8], f"shop-{number % 3}", str(1000 + number % 7), f"{number} {TEXTS[number % len(TEXTS)]}")
        for number in range(LINES)
    ]


def stored(server, count: int) -> list[dict]:
    eventually(server.stats, lambda stats: stats["total_received"] + sum(stats["rejected"].values()) >= count)
    assert server.stop() == 0
    assert "rejected 0, " in server.account, server.rejects()
    return [json.loads(line) for line in server.whole_log().splitlines()]


RSYSLOG = 'action(type="omfwd" target="127.0.0.1" port="%d" protocol="udp" template="{}")'
SYSLOG_NG = "destination d_far {{ {}; }};\nlog {{ source(s_src); destination(d_far); }};"
FORWARDING = {
    "rsyslog, as by default": RSYSLOG.format("RSYSLOG_TraditionalForwardFormat"),
    "rsyslog, exact times": RSYSLOG.format("RSYSLOG_ForwardFormat"),
    "rsyslog, RFC 5424": RSYSLOG.format("RSYSLOG_SyslogProtocol23Format"),
    "syslog-ng, RFC 3164": SYSLOG_NG.format('network("127.0.0.1" transport("udp") port(%d))'),
    "syslog-ng, RFC 5424": SYSLOG_NG.format('syslog("127.0.0.1" transport("udp") port(%d) frac-digits(6))'),
}


@needs("rsyslogd", "rsyslog")
@needs("syslog-ng", "syslog-ng-core")
@pytest.mark.parametrize("form", FORWARDING)
def test_every_line_that_a_relay_forwards_arrives(start, tmp_path, closing, form):
    server = start()
    daemon = senders.rsyslog if form.startswith("rsyslog") else senders.syslog_ng
    relay = closing(daemon(tmp_path, FORWARDING[form] % server.port))
    stamp = time.strftime("%b %e %H:%M:%S")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as local:  # as syslog(3) writes to /dev/log
        local.connect(str(relay.local))
        for severity, app, pid, message in lines():
            local.send(f"<{8 + SEVERITIES.index(severity)}>{stamp} {app}[{pid}]: {message}".encode())
    entries = stored(server, LINES)
    blank = " " if form == "rsyslog, RFC 5424" else ""  # that its template leaves
    assert [(e["severity"], e["app"], e["pid"], e["message"]) for e in entries] == [
        (severity, app, pid, blank + message) for severity, app, pid, message in lines()
    ]
    assert {(e["host"], e["facility"]) for e in entries} == {(HOST, "user")}
    assert all(e["level"] == LEVELS[e["severity"]] for e in entries)
    has_exact_time = "as by default" not in form and "RFC 3164" not in form
    assert all(("received" in e) == has_exact_time and ("stamp" in e) != has_exact_time for e in entries)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--rfc3164"], {"host": HOST}),
        (["--rfc3164", "--id=4711"], {"host": HOST, "pid": "4711"}),
        (["--rfc5424"], {"host": HOST, "sd": {"timeQuality": {"tzKnown": "1"}}}),
        (["--rfc5424=notq", "--id=4711", "--msgid", "PAY"], {"host": HOST, "pid": "4711", "msgid": "PAY"}),
        (["--rfc5424=notime,notq,nohost"], {"host": "127.0.0.1"}),
        (["--octet-count", "--rfc5424=notq"], {"host": HOST}),
        (
            ["--rfc5424=notq", "--sd-id", "order@32473", "--sd-param", 'no="1093"'],
            {"host": HOST, "sd": {"order@32473": {"no": "1093"}}},
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_logger_in_each_of_its_forms(start, tmp_path, options, expected):
    server = start()
    command = ["logger", "-n", "127.0.0.1", "-P", str(server.port), "-d", "-t", "shop", "-p", "local4.crit", *options]
    senders.run_to_its_end([*command, TEXTS[3]], tmp_path, TZ="UTC", LC_ALL="C.UTF-8")
    [entry] = stored(server, 1)
    expected |= {"level": "CRITICAL", "severity": "crit", "facility": "local4", "app": "shop", "message": TEXTS[3]}
    sd = entry.get("sd", {})
    sd.get("timeQuality", {}).pop("isSynced", None)  # depends on the machine
    sd.get("timeQuality", {}).pop("syncAccuracy", None)
    assert {
        name: value for name, value in entry.items() if name not in ("timestamp", "received", "stamp", "source")
    } == expected


SYSLOG_HANDLER = """
import json, logging, sys
from logging.handlers import SysLogHandler
handler = SysLogHandler(address=("127.0.0.1", %d), facility="local5")
handler.ident = %r
logging.basicConfig(level="DEBUG", handlers=[handler], format="%%(message)s")
for number, text in enumerate(json.load(open("texts.json"))):
    logging.log(10 * (1 + number %% 5), text)
try:
    1 / 0
except ZeroDivisionError:
    logging.exception("boom")
"""


@pytest.mark.parametrize("ident", ["", "shop: ", "shop[4711]: "])
def test_every_message_of_sysloghandler_arrives_whole(start, tmp_path, ident):
    server = start()
    texts = [*TEXTS, "card: refused"] if ident else TEXTS
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    senders.python(tmp_path, SYSLOG_HANDLER % (server.port, ident))
    *entries, exception = stored(server, len(texts) + 1)
    assert [entry["message"] for entry in entries] == texts
    levels = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
    assert [entry["level"] for entry in entries] == [levels[number % 5] for number in range(len(texts))]
    assert {entry.get("app") for entry in entries} == {"shop" if ident else None}
    assert {entry.get("pid") for entry in entries} == {"4711" if "4711" in ident else None}
    assert {(entry["host"], entry["facility"]) for entry in entries} == {("127.0.0.1", "local5")}
    assert exception["message"].startswith("boom\nTraceback (most recent call last):\n")
    assert exception["message"].endswith("ZeroDivisionError: division by zero")


GELF = """
import json, logging
%s
logging.basicConfig(level="DEBUG", handlers=[handler], format="%%(message)s")
for text in json.load(open("texts.json")):
    logging.error(text, extra={"order": 1093})
"""
HANDLERS = {
    "graypy": "import graypy\nhandler = graypy.GELFUDPHandler('127.0.0.1', PORT, facility='shop')",
    "graypy, uncompressed": "import graypy\nhandler = graypy.GELFUDPHandler('127.0.0.1', PORT, facility='shop', compress=False)",
    "pygelf": "import pygelf\nhandler = pygelf.GelfUdpHandler('127.0.0.1', PORT, _app='shop', include_extra_fields=True)",
    "pygelf, uncompressed": "import pygelf\nhandler = pygelf.GelfUdpHandler("
    "'127.0.0.1', PORT, _app='shop', include_extra_fields=True, compress=False)",
}


@pytest.mark.parametrize("handler", HANDLERS)
def test_every_message_of_gelf_arrives_also_in_chunks(start, tmp_path, rng, handler):
    server = start()
    long = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz€", k=size)) for size in (1_300, 3_000, 20_000, 100_000)]
    texts = [text.strip() for text in TEXTS] + long * 5
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    senders.python(tmp_path, GELF % HANDLERS[handler].replace("PORT", str(server.port)))
    entries = stored(server, len(texts))
    assert [entry["message"] for entry in entries] == texts
    assert {(e["level"], e["severity"], e["app"], e["host"], e["order"]) for e in entries} == {
        ("ERROR", "err", "shop", HOST, 1093)
    }
