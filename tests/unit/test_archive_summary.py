"""The summary of a frame: C against the readable reference on any lines, and what it may rule out."""

import json
import os

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fastlog.archive._summary import Lines
from fastlog.archive.index import FRAME_BYTES
from fastlog.archive.summary import (
    NAMES_MAX,
    Summary,
    facts_of,
    may_have,
    summarize,
    summary_of,
)
from fastlog.entry import LEVELS
from fastlog.limits import LINE_MAX_BYTES
from fastlog.times import EPOCH, microseconds, time_of
from tests.unit.test_scanner_agrees import edited, edits, mutated

FACTOR = int(os.environ.get("FASTLOG_FUZZ_FACTOR", "1"))
ROOM = 3000  # bytes for names: all that a test has
ALL_LEVELS = (1 << len(LEVELS)) - 1
ENTRY = b'{"level":"ERROR","message":"m","app":"shop","host":"web-1","timestamp":"2026-11-24T07:00:00.5Z"}'
TIMES = [
    "", "2026-11-24T07:00:00Z", "2026-11-24T07:00:00.123456Z", "2026-11-24T07:00:00.123456789Z", "2026-11-24T07:00:00",
    "2026-11-24T07:00:00z", "2026-11-24t07:00:00Z", "2026-11-24 07:00:00", "2026-11-24x07:00:00+02:00", "2026-11-24",
    "2026-11-24T07:00:00.1+0230", "2026-11-24T07:00:00-23:59", "2026-11-24T07:00:00+24:00", "2026-11-24T07:00:00+02",
    "2026-11-24T07:00:00+02:00:01", "2026-11-24T07:00:00.123+01:02:03.000004", "2026-11-24T07:00", "2026-11-24T07",
    "20261124T070000Z", "2026-W48-2T07:00:00Z", "2026-W48", "2026W482T07", "2026-W54-1", "2026-11-24T07:00:00,5Z",
    "2026-11-24T24:00:00Z", "2026-11-24T07:60:00Z", "2026-11-24T23:59:60Z", "2026-02-29T00:00:00Z", "2024-02-29T00:00:00Z",
    "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-23:59",
    "0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "2026-13-01T00:00:00Z", "2026-11-31T00:00:00Z", "1969-12-31T23:59:59Z",
    "2026-11-24T07:00:00.Z", "2026-11-24T07:00:00.5", "2026-11-24T07:00:00Z ", " 2026-11-24T07:00:00Z", "now", "07:00:00",
    "2026-11-24T07:00:00-00:00", "2026-11-24T07:00:00+0000", "\uff12026-11-24T07:00:00Z", "2026-11-24é07:00:00Z", "1764000000",
]  # fmt: skip
KEYS = ["app", "host", "timestamp", "received", "level", "message", "x", "appp", "ho\\st"]

names = st.sampled_from(["shop", "web-1", "", "é", "\x00", '"', "\\", "a" * 40, "\U0001f600"])
times = st.sampled_from(TIMES)
values = st.one_of(
    names,
    times,
    st.none(),
    st.integers(),
    st.booleans(),
    st.just({"app": "inner", "received": "2026-11-24"}),
    st.just(["a"]),
)
members = st.lists(st.tuples(st.sampled_from(KEYS), values), max_size=6)


def written(pairs, ascii_only: bool, spaces: bool, escape: int) -> bytes:
    """An object with these members, a key more than once as well. The first letter of each key that `escape` has a bit
    for is an escape."""
    comma, colon = (", ", ": ") if spaces else (",", ":")
    parts = []
    for number, (key, value) in enumerate([("level", "info"), ("message", "m"), *pairs]):
        name = json.dumps(key)
        if escape >> number & 1:
            name = f'"\\u{ord(key[0]):04x}{name[2:]}'
        parts.append(name + colon + json.dumps(value, ensure_ascii=ascii_only))
    return ("{" + comma.join(parts) + "}").encode()


entries = st.builds(written, members, st.booleans(), st.booleans(), st.integers(0, 255))
around = st.sampled_from([b"", b"", b"", b" ", b"\r", b"\t", b"x", ENTRY])
lines = st.one_of(
    st.builds(lambda before, entry, after: before + entry + after, around, entries, around),
    st.builds(edited, entries, edits),
    mutated,
    st.sampled_from([b"", b"{", ENTRY, ENTRY + b" ", ENTRY + ENTRY, b"\x00" * 20, b"\xff"]),
)
frames = st.builds(
    lambda parts, end: b"\n".join(parts) + end, st.lists(lines, min_size=1, max_size=5), st.sampled_from([b"\n", b""])
)


def in_c(text: bytes, begins_inside: bool = False, room: int = ROOM) -> Summary:
    looked = Lines(facts_of)
    looked.look(text, begins_inside, 0)
    return summary_of(looked, begins_inside, room)


def of_times(*entries: dict) -> Summary:
    return in_c(b"".join(json.dumps({"level": "INFO", "message": "m", **entry}).encode() + b"\n" for entry in entries))


@settings(
    max_examples=2000 * FACTOR,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
)
@given(frames, st.booleans(), st.sampled_from([40, ROOM]))
def test_c_says_what_the_reference_says(text, begins_inside, room):
    assert in_c(text, begins_inside, room) == summarize(text, begins_inside, room)


@pytest.mark.parametrize("key", ["timestamp", "received"])
@pytest.mark.parametrize("text", TIMES)
def test_a_time_of_any_form_is_read_as_readers_read_it(text, key):
    summary = of_times({key: text})
    time = time_of(text)
    expected = None if time is None else (microseconds(time),) * 2
    assert (summary.received, summary.timestamp) == ((expected, None) if key == "received" else (None, expected))
    assert summary.untimed == (time is None)


def test_receipt_counts_before_the_senders_time():
    summary = of_times(
        {"received": "2026-11-24T07:00:00Z", "timestamp": "2020-01-01T00:00:00Z"},
        {"received": 5, "timestamp": "2026-11-24T07:00:01Z"},
        {"received": "x", "timestamp": "2026-11-24T07:00:02Z"},
        {"received": "x", "timestamp": "x"},
    )
    at = microseconds(time_of("2026-11-24T07:00:00Z"))
    assert (summary.received, summary.timestamp) == ((at, at), (at + 1_000_000, at + 2_000_000))
    assert summary.untimed == 1


def test_a_line_with_space_around_its_entry_is_an_entry():
    assert in_c(ENTRY + b" \r\n" + b"\t" + ENTRY + b"\n").levels == {"ERROR": 2}


def test_two_entries_in_a_line_are_none():
    assert in_c(ENTRY + ENTRY + b"\n").levels == {}


def test_an_unfinished_line_and_the_end_of_another_frames_line_are_not_entries():
    summary = in_c(ENTRY + b"\n" + ENTRY + b"\n" + ENTRY, begins_inside=True)
    assert (summary.lines, summary.levels, summary.begins_inside) == (2, {"ERROR": 1}, True)


@pytest.mark.parametrize("size", [LINE_MAX_BYTES, LINE_MAX_BYTES + 1])
def test_a_line_that_is_too_long_is_not_an_entry(size):
    line = b'{"level":"INFO","message":"%s"}' % (b"m" * (size - 29))
    assert len(line) == size
    text = line + b"\n"
    assert in_c(text) == summarize(text, False, ROOM)
    assert in_c(text).entries == (size <= LINE_MAX_BYTES)


def test_lines_of_wanted_levels_are_found():
    text = ENTRY + b"\n" + ENTRY.replace(b"ERROR", b"INFO") + b"\nx\n" + ENTRY.replace(b"ERROR", b"err\\u006Fr") + b"\n"
    looked = Lines(facts_of)
    for wanted in range(1 << len(LEVELS)):
        found = looked.look(text, False, wanted)
        expected = [("ERROR", text[start:end]) for start, end in spans(text) if facts_of(text[start:end])]
        expected = [(facts_of(line).level, line) for _, line in expected]
        expected = [(level, line) for level, line in expected if wanted >> LEVELS.index(level) & 1]
        assert [(LEVELS[level], text[start:end]) for level, start, end in found] == expected


def spans(text: bytes):
    at = 0
    for line in text.split(b"\n")[:-1]:
        yield at, at + len(line)
        at += len(line) + 1


def frame_of(hosts: list[str]) -> bytes:
    return b"".join(
        b'{"level":"INFO","message":"m","app":"a","host":%s}\n' % json.dumps(host).encode() for host in hosts
    )


@pytest.mark.parametrize("count", [1, 20, NAMES_MAX, NAMES_MAX + 1, 4000, 20_000])
@pytest.mark.parametrize("room", [40, 512, 8192])
def test_names_take_little_room_and_rule_out_none_that_is_there(count, room):
    hosts = [f"web-{number}é" for number in range(count)]
    text = frame_of(hosts)
    summary = in_c(text, room=room)
    assert summary == summarize(text, False, room)
    assert len(msgspec.json.encode(summary.apps)) + len(msgspec.json.encode(summary.hosts)) <= room
    assert all(may_have(summary.hosts, host) for host in hosts)


def test_a_filter_with_room_lets_through_few_names_that_are_not_there():
    summary = in_c(frame_of([f"web-{number}" for number in range(1000)]))
    assert isinstance(summary.hosts, str)
    assert sum(may_have(summary.hosts, f"db-{number}") for number in range(10_000)) < 300


def test_a_list_says_how_often_each_name_comes():
    assert in_c(frame_of(["a", "b", "a"])).hosts == {"a": 2, "b": 1}


@pytest.mark.parametrize("names", ["", "x", "7:", "x:AAAA", "7:é", "-1:AAAA", "0:AAAA", "8:AAAA", f"{2**70}:AAAA"])
def test_a_filter_that_is_damaged_rules_nothing_out(names):
    assert may_have(names, "web-1")


def test_names_with_half_of_a_surrogate_pair_are_in_no_frame():
    assert not may_have({}, "\udc80")
    assert not may_have(in_c(frame_of([f"{number}" for number in range(1000)])).hosts, "\udc80 of a command line")


def test_the_longest_frame_of_different_names_is_no_problem():
    text = b"".join(b'{"level":"","message":"","app":"%d"}\n' % number for number in range(1 << 15))[:FRAME_BYTES]
    summary = in_c(text)
    assert summary == summarize(text, False, ROOM)
    assert may_have(summary.apps, "1000")


def test_the_epoch_is_time_zero():
    assert of_times({"timestamp": EPOCH.isoformat()}).timestamp == (0, 0)
