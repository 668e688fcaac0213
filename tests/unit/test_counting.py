"""What the summary of a frame says of wanted entries, and what the lines say, is what decoding every line would say."""

import json
import re
from collections import Counter
from datetime import timedelta
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlog.archive import summary as summaries
from fastlog.archive.summary import summarize
from fastlog.entry import LEVELS, decode, level_of
from fastlog.logs.conditions import EARLIEST, LATEST, NO_TIME, Conditions, Window
from fastlog.logs.counting import BY, MINUTE_USEC, TOTAL, by_summary, of_lines
from fastlog.times import microseconds, time_of
from tests.unit.test_selection import lines as odd_lines

SINCE, UNTIL = (time_of(f"2026-11-24T{time}Z") for time in ("07:00:30", "07:02:00"))
TIMES = [f"2026-11-24T07:{minute:02}:{second}Z" for minute in range(4) for second in ("00", "30", "30.5")]
NAMES = ["shop", "bank", "-", "", "k\\u00f6ln", "\\u001b[2J"]


def entry(level="INFO", **fields: str) -> bytes:
    """A line; the values are written as they are."""
    more = "".join(f',"{key}":"{value}"' for key, value in fields.items())
    return f'{{"level":"{level}","message":"m"{more}}}\n'.encode()


entries = st.builds(
    lambda level, fields: entry(level, **fields),
    st.sampled_from(["INFO", "info", "err", "ERROR", "audit", "W\\u0041RN"]),
    st.fixed_dictionaries(
        {},
        optional={
            "app": st.sampled_from(NAMES),
            "host": st.sampled_from(NAMES),
            "timestamp": st.sampled_from([*TIMES, "yesterday", "", "2026-11-24T08:01:00+01:00"]),
            "received": st.sampled_from([*TIMES, "7"]),
        },
    ),
)
frames = st.one_of(
    st.lists(
        st.sampled_from([b"no entry\n", b"\n", entry(), *([entry(app="shop", timestamp=TIMES[4])] * 3)]), max_size=8
    ),
    st.lists(entries, max_size=2),
    st.lists(entries, max_size=8),
).map(b"".join)
conditions_of_tests = st.builds(
    Conditions,
    levels=st.none() | st.sets(st.sampled_from(LEVELS), min_size=1).map(frozenset),
    app=st.none() | st.sampled_from(["shop", "-", "", "köln", "other"]),
    host=st.none() | st.sampled_from(["shop", "bank"]),
    window=st.none()
    | st.builds(
        Window,
        since=st.sampled_from([EARLIEST, SINCE]),
        until=st.sampled_from([LATEST, UNTIL]),
        slack=st.sampled_from([NO_TIME, timedelta(seconds=45)]),
    ),
)


def is_entry(line: bytes) -> bool:
    """A line with nothing but an entry, and perhaps space around it."""
    pieces = decode(line)
    return [piece.reason for piece in pieces] == [None] and b"\n" not in line


def values_of(line: bytes) -> dict[str, object]:
    fields = json.loads(line)
    received = time_of(fields["received"]) if isinstance(fields.get("received"), str) else None
    time = received or time_of(fields.get("timestamp", ""))
    return {
        TOTAL: "",
        "level": level_of(fields["level"]),
        "app": fields.get("app"),
        "host": fields.get("host"),
        "minute": time and microseconds(time) // MINUTE_USEC,
        "time": time,
        "slack": received is None,
    }


def is_wanted(values, conditions) -> bool:
    if conditions.levels is not None and values["level"] not in conditions.levels:
        return False
    if any(getattr(conditions, name) not in (None, values[name]) for name in ("app", "host")):
        return False
    if conditions.window is None or values["time"] is None:
        return True
    slack = conditions.window.slack if values["slack"] else NO_TIME
    time, since, until = values["time"], conditions.window.since, conditions.window.until
    return (since == EARLIEST or time >= since - slack) and (until == LATEST or time < until + slack)


def counted(lines: bytes, conditions: Conditions, by: str) -> Counter:
    found = [values_of(line) for line in lines.split(b"\n") if is_entry(line)]
    return Counter(values[by] for values in found if is_wanted(values, conditions))


def with_filters(lines: bytes):
    """The summary of a frame that has more names than are listed."""
    with patch.object(summaries, "NAMES_MAX", 0):
        return summarize(lines)


@given(lines=frames, conditions=conditions_of_tests, by=st.sampled_from([TOTAL, *BY]))
@settings(max_examples=1_000, deadline=None)
def test_a_summary_says_what_the_lines_say_or_nothing(lines, conditions, by):
    said = by_summary(summarize(lines), conditions, by)
    assert said is None or said == counted(lines, conditions, by)
    said = by_summary(with_filters(lines), conditions, by)
    assert said is None or said == counted(lines, conditions, by)


MIXED = b"".join(
    [entry("ERROR", app="shop", host="a", timestamp=TIMES[3]), entry(app="bank", host="a", timestamp=TIMES[4])]
)
ALL_APPS = {"shop": 1, "bank": 1}
MINUTE = microseconds(time_of(TIMES[3])) // MINUTE_USEC


@pytest.mark.parametrize(
    ("conditions", "by", "spread"),
    [
        ({}, TOTAL, {"": 2}),
        ({}, "level", {"ERROR": 1, "INFO": 1}),
        ({}, "app", ALL_APPS),
        ({}, "host", {"a": 2}),
        ({}, "minute", {MINUTE: 2}),
        ({"app": "shop"}, TOTAL, {"": 1}),
        ({"app": "shop"}, "app", {"shop": 1}),
        ({"app": "shop"}, "minute", {MINUTE: 1}),
        ({"app": "shop", "host": "a"}, "host", {"a": 1}),
        ({"app": "shop", "host": "b"}, "level", {}),
        ({"app": "shop", "host": "b", "pattern": re.compile("m")}, "level", {}),
        ({"levels": frozenset(["ERROR"])}, "minute", {MINUTE: 1}),
        ({"levels": frozenset(["ERROR"])}, "host", {"a": 1}),
        ({"levels": frozenset(["ERROR", "INFO"])}, "app", ALL_APPS),
        ({"window": Window(SINCE, UNTIL)}, "app", ALL_APPS),
        ({"window": Window(UNTIL)}, "app", {}),
        ({"window": Window(UNTIL, slack=timedelta(minutes=1))}, "app", ALL_APPS),
        ({"levels": frozenset(["ERROR"])}, "app", None),
        ({"app": "shop"}, "level", None),
        ({"window": Window(SINCE + timedelta(seconds=31))}, TOTAL, None),
        ({"pattern": re.compile("m")}, TOTAL, None),
    ],
)
def test_a_summary_suffices_where_one_property_divides_the_entries(conditions, by, spread):
    assert by_summary(summarize(MIXED), Conditions(**conditions), by) == spread


def test_entries_without_a_time_are_wanted_whatever_the_window():
    lines = entry(timestamp=TIMES[0]) * 2 + entry() * 3
    assert by_summary(summarize(lines), Conditions(window=Window(SINCE)), "minute") == {None: 3}
    assert by_summary(summarize(lines), Conditions(window=Window(SINCE)), "level") == {"INFO": 3}


@given(
    log=st.lists(odd_lines() | entries.map(bytes.strip) | st.binary(max_size=30).filter(lambda line: b"\n" not in line))
)
@settings(max_examples=200, deadline=None)
def test_lines_are_counted_as_they_are_decoded(log):
    block = b"".join(line + b"\n" for line in log)
    found = [line for line in log if is_entry(line)]
    for by in (TOTAL, *BY):
        spread, others = of_lines(block, [(0, len(block))], by)
        assert spread == Counter(values_of(line)[by] for line in found)
        assert others == len(log) - len(found)
