"""Syslog messages as entries: the reference and the converter, by the messages of many senders."""

import json
import time

import pytest

from fastlog.entry import SEVERITIES
from fastlog.inputs import syslog
from fastlog.inputs.receipt import Receipt
from fastlog.inputs.syslog_names import FACILITIES
from tests.helpers._hooks import c_syslog, is_c_syslog
from tests.helpers.datagrams import RECEIPT, datagrams, same
from tests.helpers.syslog_cases import CASES

DATAGRAMS = datagrams()
LEVELS = ["CRITICAL", "CRITICAL", "CRITICAL", "ERROR", "WARNING", "INFO", "INFO", "DEBUG"]
SYSLOG = [datagram for datagram in DATAGRAMS if syslog.is_syslog(datagram.data)]


@pytest.fixture(params=[syslog.decode, c_syslog], ids=["reference", "converter"])
def decode(request):
    """The level and the line of a datagram."""
    return request.param


def entry_of(line: bytes) -> dict[str, object]:
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    return json.loads(line)


@pytest.mark.parametrize("datagram", SYSLOG, ids=[datagram.name for datagram in SYSLOG])
def test_a_message_of_a_real_sender(decode, datagram):
    level, line = decode(datagram.data, RECEIPT)
    assert same(line, datagram.decoding[0])
    assert level == json.loads(line)["level"]


def test_what_begins_otherwise_is_no_syslog():
    others = [datagram for datagram in DATAGRAMS if datagram not in SYSLOG]
    assert not [d.name for d in others if d.kind == "syslog" and "reject" not in d.decoding[0]]
    for data in (
        b"<>",
        b"<1",
        b"<1a>",
        b"<192>x",
        b"<0191>",
        b" <13>x",
        b"\n<13>x",
        b"1  <13>x",
        b"1<13>x",
        b"x <13>",
        b"",
        b"<",
        b"12",
        b"12345678901 <13>x",
    ):
        assert not syslog.is_syslog(data)
        assert not is_c_syslog(data)
    for data in (b"<0>", b"<191>", b"<007>x", b"3 <13>x", b"1234567890 <13>x"):
        assert syslog.is_syslog(data)
        assert is_c_syslog(data)


@pytest.mark.parametrize(("text", "expected"), CASES, ids=range(len(CASES)))
def test_a_message_of_many_senders(decode, text, expected):
    level, line = decode(b"<187>" + text, RECEIPT)
    entry = entry_of(line)
    assert (level, entry.pop("level"), entry.pop("facility"), entry.pop("severity")) == (
        "ERROR", "ERROR", "local7", "err",
    )  # fmt: skip
    assert entry.pop("source") == RECEIPT.source
    has_own_time = entry["timestamp"] != RECEIPT.received
    assert entry.pop("received", None) == (RECEIPT.received if has_own_time else None)
    if not has_own_time:
        del entry["timestamp"]
    if "host" not in expected:
        assert entry.pop("host") == RECEIPT.host
    assert entry == expected


def test_every_pri(decode):
    for pri in range(192):
        level, line = decode(b"<%d>x" % pri, RECEIPT)
        entry = entry_of(line)
        assert entry["facility"] == FACILITIES[pri // 8]
        assert entry["severity"] == SEVERITIES[pri % 8]
        assert entry["level"] == level == LEVELS[pri % 8]


def test_what_is_dropped_at_the_end(decode):
    for end in (b"", b"\n", b"\r\n", b"\0", b"\n\0", b"\r\n\0\0"):
        assert entry_of(decode(b"<13>a b " + end, RECEIPT)[1])["message"] == "a b "
    assert entry_of(decode(b"<13>\0\n", RECEIPT)[1])["message"] == ""


def test_any_byte_is_escaped_as_json_needs(decode):
    for byte in range(256):
        for size in (1, 15, 16, 17, 100):
            text = bytes([byte]) * size + b"."
            entry = entry_of(decode(b"<13>" + text, RECEIPT)[1])
            if byte >= 0x80:
                assert entry["charset"] == "latin-1"
                assert entry["message"].encode("latin-1") == text
            else:
                assert "charset" not in entry
                assert entry["message"].encode() == text


def test_a_sender_without_an_address_has_no_host(decode):
    receipt = Receipt(RECEIPT.received, "unix:pid=4711,uid=33", None)
    entry = entry_of(decode(b"<13>x", receipt)[1])
    assert entry["source"] == "unix:pid=4711,uid=33"
    assert "host" not in entry


def test_no_message_costs_more_than_its_length():
    """Headers that do not end, and what looks for its end again and again: each of 60 KB, in less than 50 ms."""
    size = 60_000
    hostile = [
        b"<13>" + body[:size]
        for body in (
            b"1 " + b"a" * size,
            b"1 2026-11-26T08:11:04Z h a 1 m " + b"[" * size,
            b"1 2026-11-26T08:11:04Z h a 1 m " + b"[a]" * size,
            b"1 2026-11-26T08:11:04Z h a 1 m " + b"".join(b"[a%d b=1]" % n for n in range(size // 8)),
            b"1 2026-11-26T08:11:04Z h a 1 m [a " + b"b=1 " * size,
            b"1 2026-11-26T08:11:04Z h a 1 m [a " + b"".join(b"b%d=1 " % n for n in range(size // 7)),
            b'1 2026-11-26T08:11:04Z h a 1 m [a b="' + b'\\"' * size,
            b"1 2026-11-26T08:11:04." + b"1" * size,
            b" " * size,
            b": " * size,
            b"1" * size,
            b"1: " * size,
            b"a" * size + b": ",
            b"Nov 26 08:11:04 " + b" " * size,
            b"Nov 26 08:11:04 " + b"a" * size,
            b"Nov 26 08:11:04 " + b"a:" * size,
            b"Nov 26 08:11:04 host " + b"a" * size + b"[1",
            b"Nov 26 08:11:04 " + b":" * size,
            b"Nov 26 08:11:04." + b"1" * size,
            b"\0\n" * size,
            b"\xe9" * size,
            b"\xe6\xbc\xa2" * size,
            b'"' * size,
        )
    ]
    for datagram in hostile:
        began = time.process_time()
        for _ in range(3):
            _, line = c_syslog(datagram, RECEIPT)
        assert (time.process_time() - began) / 3 < 0.05
        assert line == syslog.decode(datagram, RECEIPT)[1]
