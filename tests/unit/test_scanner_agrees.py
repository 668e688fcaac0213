"""The scanner against the reference decoder on any bytes, and both against the standard library's JSON.

FASTLOG_FUZZ_FACTOR=80 makes it run that many times as many cases.
"""

import json
import os

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fastlog._parse import scan
from fastlog.config import STAMPS
from fastlog.entry import level_of
from fastlog.inputs.stamp import stamped
from tests.helpers._hooks import stamped as stamped_in_c
from tests.helpers.stored import RECEIPT
from tests.unit.test_scanner import decode

FACTOR = int(os.environ.get("FASTLOG_FUZZ_FACTOR", "1"))
# All of it takes ten seconds alone, and several times that on a busy machine; a long fuzz has no limit.
pytestmark = pytest.mark.timeout(600 if FACTOR == 1 else 0)
RANDOM_DATAGRAMS = 25_000 * FACTOR
PARTS = 4  # of the random datagrams, which the processors of a machine can share


def cases(count: int):
    """Settings for a property of that many cases: far fewer than the random datagrams, but a finding is made small."""
    return settings(
        max_examples=count * FACTOR,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )


# What datagrams are made of, and what breaks them.
TOKENS = [
    *(bytes([c]) for c in b'{}[],:"\\ \t\r\n-+.eE0179/x'),
    b"\x00", b"\x1f", b"\x7f", b"\x80", b"\xff", b"\xc3\xa9", b"\xc3", b"\xe2\x82\xac", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80",
    b"\xf4\x90\x80\x80", b"\xef\xbb\xbf", b"\\u0041", b"\\ud800", b"\\udc00", b"\\ud83d\\ude00", b"\\n", b'\\"', b"\\u00",
    b"true", b"false", b"null", b"NaN", b"-1.5e+10", b"18446744073709551615", b"18446744073709551616",
    b'"level"', b'"message"', b'"sequence"', b'"timestamp"', b'"app"', b'"host"', b'"le\\u0076el"', b'"x"',
    b'"short_message"', b'"version":"1.1"', b'"version"', b'"short_message":"m"', b'"1.0"', b'"v\\u0065rsion":"\\u0031.1"',
    b'"received"', b'"source"', b'"_source"', b'"\\u0073ource"', b'"source":1,', b'"host":"",', b'"timestamp":"",',
    b'"INFO"', b'"err"', b'"crit"', b'"\\u0033"', b'"timestamp":"00.5"', b'"00,5"', b".5",
    b'"\\u0057arn"', b'"a":1,', b'"app":null,', b"\n{", b"}\n{", b"[" * 32, b"]" * 32, b'{"a":' * 16,
    b"0123456789abcdef", b'{"a":\n', b'{"a":\n' * 20, b'{"a":[\n', b"},\n{", b'\n{"level":"INFO","message":"m"}', b"}" * 20,
]  # fmt: skip
tokens = st.sampled_from(TOKENS)

KEYS = ["sequence", "timestamp", "app", "host", "level", "x", "short_message", "version", "received", "source"]
WRITTEN_LEVELS = ["INFO", "error", "Fatal", "crit", "3", "Informational", "custom"]

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=8)
)  # fmt: skip
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
entries = st.builds(
    lambda level, message, more, indent, ascii_only: json.dumps(
        {"level": level, "message": message, **more}, indent=indent, ensure_ascii=ascii_only
    ).encode(),
    st.sampled_from(WRITTEN_LEVELS),
    st.text(max_size=40),
    st.dictionaries(st.sampled_from(KEYS), scalars | values, max_size=4),
    st.sampled_from([None, None, 0, 1]),
    st.booleans(),
)
EDITS = ["insert", "replace", "delete", "cut"]
edits = st.lists(st.tuples(st.integers(0, 400), st.sampled_from(EDITS), tokens), max_size=3)


def edited(data: bytes, changes: list[tuple[int, str, bytes]]) -> bytes:
    for at, change, token in changes:
        at %= len(data) + 1
        if change == "insert":
            data = data[:at] + token + data[at:]
        elif change == "replace":
            data = data[:at] + token + data[at + len(token) :]
        elif change == "delete":
            data = data[:at] + data[at + len(token) :]
        else:
            data = data[:at]
    return data


mutated = st.builds(edited, entries, edits)
SEPARATORS = [b"\n", b"\n", b"\r\n", b" ", b"", b"\n\n", b"x\n"]
separators = st.sampled_from(SEPARATORS)
datagrams = st.lists(st.tuples(mutated, separators), min_size=1, max_size=3).map(
    lambda parts: b"".join(part for pair in parts for part in pair)
)


def no_constant(name):
    raise ValueError(name)


def check(datagram: bytes) -> None:
    assert scan(datagram, True) == decode(datagram, True), datagram
    found = scan(datagram)
    assert found == decode(datagram), datagram
    for reason, level, sequence, start, end, line, has_timestamp, _ in found:
        if line:
            assert line.count(b"\n") == 1
            value = json.loads(line)
            assert level_of(value["level"]) == level
            assert isinstance(value["message"], str)
            assert value.get("sequence") == sequence
            assert not has_timestamp or "timestamp" in value
        elif reason == "syntax":
            with pytest.raises(ValueError, match=r"."):
                json.loads(datagram[start:end].decode("utf-8", "surrogateescape"), parse_constant=no_constant)
    lines = [piece[5] for piece in found if piece[5]]
    if lines:
        stamp = STAMPS[len(datagram) % len(STAMPS)]
        said = RECEIPT.received.encode(), RECEIPT.source.encode()
        assert stamped_in_c(datagram, stamp, *said) == [stamped(line, stamp, RECEIPT) for line in lines], datagram


@cases(1_000)
@given(st.binary(max_size=200))
def test_any_bytes(datagram):
    check(datagram)


@cases(1_000)
@given(st.lists(tokens, max_size=40).map(b"".join))
def test_any_tokens(datagram):
    check(datagram)


@cases(500)
@given(datagrams)
def test_mutated_entries(datagram):
    check(datagram)


SCALARS = [
    "1.0",
    None,
    True,
    -1,
    0,
    7,
    2**64 - 1,
    2**64,
    1.5e300,
    "",
    "INFO",
    "text",
    "caf\u00e9 \U0001f600",
    "\x00",
    'a "quote" \\',
    "2026-11-24T07:00:00.123456Z",
    "07:00:00,5",
]
CHARACTERS = 'abcxyz {}[],:"\\\n\t\u00e9\u20ac\U0001f600'


def random_value(rng, depth: int = 0):
    if depth == 3 or rng.random() < 0.6:
        return rng.choice(SCALARS)
    values = [random_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return values if rng.random() < 0.5 else {rng.choice(KEYS): value for value in values}


def random_entry(rng) -> bytes:
    entry = {
        "level": rng.choice(WRITTEN_LEVELS),
        "message": "".join(rng.choices(CHARACTERS, k=rng.randrange(40))),
        **{rng.choice(KEYS): random_value(rng) for _ in range(rng.randrange(5))},
    }
    return json.dumps(entry, indent=rng.choice([None, None, 0, 1]), ensure_ascii=rng.random() < 0.5).encode()


def random_datagram(rng) -> bytes:
    kind = rng.randrange(3)
    if kind == 0:
        return rng.randbytes(rng.randrange(200))
    if kind == 1:
        return b"".join(rng.choices(TOKENS, k=rng.randrange(41)))
    made = b""
    for _ in range(rng.randrange(1, 4)):
        edits = [(rng.randrange(400), rng.choice(EDITS), rng.choice(TOKENS)) for _ in range(rng.randrange(4))]
        made += edited(random_entry(rng), edits) + rng.choice(SEPARATORS)
    return made


@pytest.mark.parametrize("part", range(PARTS))
def test_random_datagrams(rng, part):
    for _ in range(RANDOM_DATAGRAMS // PARTS):
        check(random_datagram(rng))
