"""The converter for syslog against its reference on any bytes, and what must hold of both: no word is ever lost.

FASTLOG_FUZZ_FACTOR=80 makes it run that many times as many cases.
"""

import json
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlog._parse import scan
from fastlog.inputs import syslog
from fastlog.inputs._syslog import ZonePeriods
from fastlog.inputs.receipt import Receipt
from fastlog.inputs.zones import periods
from tests.helpers._hooks import NO_ZONE, c_syslog, is_c_syslog
from tests.helpers.datagrams import datagrams
from tests.helpers.syslog_cases import CASES
from tests.unit.test_scanner_agrees import EDITS, FACTOR, cases, edited

pytestmark = pytest.mark.timeout(600 if FACTOR == 1 else 0)
RANDOM_DATAGRAMS = 25_000 * FACTOR
PARTS = 4  # of the random datagrams, which the processors of a machine can share

RECEIPTS = [
    Receipt("2026-11-26T08:30:00.000000Z", "192.0.2.7:40000", "192.0.2.7"),
    Receipt("2027-01-01T00:00:01.999999Z", "[2001:db8::1]:514", "2001:db8::1"),
    Receipt("2028-02-29T12:00:00.000000Z", "unix:pid=4711,uid=33", None),
    Receipt("2026-10-25T00:30:00.000000Z", "192.0.2.7:1", "192.0.2.7"),
    Receipt("2026-03-29T01:00:00.000000Z", "192.0.2.7:1", "192.0.2.7"),
]
ZONES = [(None, NO_ZONE)] + [(periods(name), ZonePeriods(name)) for name in ("Europe/Berlin", "America/New_York")]
SEEDS = [d.data[:3000] for d in datagrams() if syslog.is_syslog(d.data)] + [b"<187>" + text[:3000] for text, _ in CASES]
TOKENS = [
    b" ", b" ", b" ", b" ", b"  ", b":", b": ", b"-", b" - - - ", b"[", b"]", b"] ", b"]: ", b'"', b"\\", b"=", b".", b"*", b"%", b"/", b"@",
    b"\t", b"\n", b"\r", b"\0", b"\x1b", b"\x7f", b"\x80", b"\xe9", b"\xff", b"\xef\xbb\xbf", b"\xc3\xa9", b"\xe6\xbc\xa2", b"\xf0\x9f\x98\x80", b"\xed\xa0\x80",
    b"1 ", b"1", b"0", b"29", b"2026", b" 2024", b"1999 ", b"123: ", b"host", b"host ", b"web-1.example.org ", b"192.0.2.1 ", b"2001:db8::1 ",
    b"fe80::1%eth0 ", b"::", b"RP/0/RP0/CPU0:", b"router: ", b"app: ", b"app[12]: ", b"app[12] ", b"app[x/y]:", b"%SYS-5-CONFIG_I: ", b"Foo::Bar: ",
    b"ERROR: ", b"Nov 26 08:11:04", b"nov  6 08:11:04.123456789", b"Nov 26 2025 08:11:04", b"2026 Nov 26 08:11:04", b"2026-11-26T08:11:04",
    b"app:", b"ade:", b"be:", b"_gateway ", b"- ", b"%A-5-B:", b"info:",
    b"2026-11-26T08:11:04.5Z", b"2026-11-26T08:11:04+02:00", b"Feb 29 00:00:00", b"Feb 30 00:00:00", b"Dec 31 23:59:60", b"Oct 25 02:30:00",
    b"Mar 29 02:30:00", b"Dec 31 23:59:59", b"Jan  1 00:00:00", b" UTC", b" GMT: ", b" CET", b" CEST: ", b" EST ", b" Berlin: %", b" ABC 2024 ", b" UTC+1", b" GMT-03:30: ",
    b"last message repeated 3 times", b"Message forwarded from ", b"aixhost: ", b"1 2026-11-26T08:11:04Z h a 1 m ", b"1 - h a - - ",
    b'[id@1 a="b"]', b"[id", b' a="', b' a=b', b' name="x\\"\\]\\\\\\n"', b"[id2 c=d]", b"word", b"x" * 40,
]  # fmt: skip

_WORDS = re.compile(r"[A-Za-z0-9\x80-\ufefe\uff00-\U0010ffff]+")
# What may stand in a time stamp that became the timestamp.
_TIME_WORD = re.compile(
    r"\d+|\d+[Tt]\d+|\d+[Zz]|UTC|GMT|CES?T|E[SD]T|(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
)


def texts_of(value) -> list[str]:
    if isinstance(value, str):
        return [value]
    texts = []
    for key, inner in value.items():
        values = inner if isinstance(inner, list) else [inner]  # of a name that was sent more than once
        texts += [key] * len(values) + [text for one in values for text in texts_of(one)]
    return texts


def check_words(datagram: bytes, entry: dict[str, object]) -> None:
    """Every word of the message is in the entry as often as it was sent, but for what the entry says otherwise."""
    body = re.sub(rb"^(?:\d+ )?<\d+>", b"", datagram)
    text = body.decode("latin-1") if "charset" in entry else body.decode()
    kept = [entry.get(key, "") for key in ("message", "app", "host", "pid", "msgid", "seqno", "sd", "stamp")]
    found = Counter(_WORDS.findall(" ".join(text for value in kept for text in texts_of(value))))
    lost = Counter(_WORDS.findall(text)) - found
    for word in ("Message", "forwarded", "from"):
        lost[word] -= 1
    lost["1"] -= 1  # the version
    lost = +lost
    if "received" in entry:
        assert sum(lost.values()) <= 10, (datagram, lost)
        lost = Counter(word for word in lost if not _TIME_WORD.fullmatch(word))
    assert not lost, (datagram, lost)


def check(datagram: bytes, receipt: Receipt = RECEIPTS[0], zone=ZONES[0]) -> None:
    assert is_c_syslog(datagram) == syslog.is_syslog(datagram)
    if not syslog.is_syslog(datagram):
        return
    reference, compiled = zone
    level, line = c_syslog(datagram, receipt, compiled)
    assert (level, line) == syslog.decode(datagram, receipt, reference), (datagram, receipt)
    [(reason, scanned_level, *_)] = scan(line)
    assert (reason, scanned_level) == (None, level)
    check_words(datagram, json.loads(line))


pris = st.integers(0, 191).map(lambda pri: b"<%d>" % pri)


@cases(500)
@given(pris, st.binary(max_size=200))
def test_any_bytes(pri, body):
    check(pri + body)


@cases(1_000)
@given(pris, st.lists(st.sampled_from(TOKENS), max_size=20), st.sampled_from(RECEIPTS), st.sampled_from(ZONES))
def test_any_tokens(pri, tokens, receipt, zone):
    check(pri + b"".join(tokens), receipt, zone)


@cases(300)
@given(pris, st.text(max_size=100))
def test_any_text(pri, body):
    check(pri + body.encode())


def changed(rng, data: bytes) -> bytes:
    """The datagram with a few edits behind its first bytes."""
    edits = [(rng.randrange(1 << 16), rng.choice(EDITS), rng.choice(TOKENS)) for _ in range(rng.randrange(4))]
    return data[:5] + edited(data[5:], edits)


def random_header(rng) -> bytes:
    """A header that is nearly right: each part from its own small choice, or missing."""
    stamps = [token for token in TOKENS if b":0" in token or b":5" in token]
    parts = [
        rng.choice([b"", b"", b" ", b": ", b"12: ", b"12: 34: ", b":"]),
        rng.choice([b"", b"", b"", b"router: ", b"router: 12: ", b"RP/0/RP0/CPU0:", b"2001:db8::1: "]),
        rng.choice([b"", b"", b"*", b"."]),
        rng.choice([*stamps, b"%SYS-5-RESTART:", b""]),
        rng.choice([b"", b"", b"", b" UTC", b" GMT", b" CET", b" CEST", b" EST", b" 2024", b" CST 1987", b" Berlin", b" UTC+1", b" GMT-0330"]),
        rng.choice([b" ", b" ", b" ", b": ", b":", b" : ", b"  "]),
        rng.choice([b"", b"host ", b"192.0.2.1 ", b"2001:db8::1 ", b"host : ", b"host\t", b"a/b@c ", b"_gw ", b"- ", b"--x : ", b"-- "]),
        rng.choice([b"", b"app: ", b"app[12]: ", b"app[12]:", b"app[12] ", b"%A-1-B: ", b"%A:", b"a,b: ", b"Foo::Bar: ", b"(x)[1]: ", b"app:", b"_a/b.c-d:", b"ade:be:", b"be:", b"info:", b"a@b:"]),
        rng.choice([b"", b" ", b"text", b"caf\xe9", b'a "quoted" \\ text', b"last message repeated 2 times", b"\xc3\xa9\n"]),
    ]  # fmt: skip
    return b"".join(parts)


def random_datagram(rng) -> bytes:
    kind = rng.randrange(5)
    if kind == 0:
        return changed(rng, rng.choice(SEEDS))
    if kind == 1:
        return b"<%d>" % rng.randrange(192) + rng.randbytes(rng.randrange(100))
    if kind == 2:
        return b"<%d>" % rng.randrange(192) + b"".join(rng.choices(TOKENS, k=rng.randrange(16)))
    return b"<13>" + (changed(rng, b"<13>" + random_header(rng))[4:] if kind == 3 else random_header(rng))


@pytest.mark.parametrize("part", range(PARTS))
def test_random_datagrams(rng, part):
    for _ in range(RANDOM_DATAGRAMS // PARTS):
        check(random_datagram(rng), rng.choice(RECEIPTS), rng.choice(ZONES))
