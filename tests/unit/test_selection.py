"""The fast selection is the one that decoding every line would make.

FASTLOG_FUZZ_FACTOR=20 makes it try that many times as many logs.
"""

import json
import os
import re
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlog.commands.levels import parse_level
from fastlog.entry import decode, level_of
from fastlog.errors import ConfigError
from fastlog.logs.conditions import EARLIEST, LATEST, Window
from fastlog.logs.selection import Selection, fields_of, parse_pattern, parse_time, parse_window
from fastlog.times import time_of

FACTOR = int(os.environ.get("FASTLOG_FUZZ_FACTOR", "1"))
SINCE = datetime(2026, 11, 24, 7, 0, 0, 500_000, tzinfo=UTC)
WINDOW = Window(since=SINCE)
UNTIL = Window(until=SINCE)
SLACK = Window(SINCE, SINCE, timedelta(seconds=2))  # of no length but for the slack
RANKS = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]

# What entries and conditions are made of: few, so that they meet, and full of what JSON writes in more than one way.
WORDS = [
    "a",
    "ab",
    "shop",
    "Shop",
    "sHop kö",
    'say "hi"',
    "a/b",
    "\\u0061",
    "\u017f\u212a",
    "x=1",
    "\x7f\n\t",
    "level",
    "timestamp",
    "{",
    "",
]
PATTERNS = [
    "ab", "shop", "(?i)shop", "(?i)SK", "ö", "x=1", "app=shop", "k=", "a|shop", "(ab|hi)", 'y "h', "a/b", r"\\u", "[as]b?", "^$", "b{2}",
    "(?i:S)hop", "s(?=h)", "1", r"\d", "level", r'"', "host", "\x7f", "a b", "=", "(?x) s h op", "hidden", "null",
    "app=a", "p=s", "k=1", "k=nul", r"k=\{", "(?i)APP=sh", "(?i)app=SK", "hidden=a/b", 'hidden=say "', "=ab", "x=1=", "x=a=b", "n=x=1", "b=(a|sh)",
    "(app|host)=shop", "k=.*app", r"app=\u0061", "e=é|k=ab",
]  # fmt: skip
LEVELS = [
    "DEBUG",
    "info",
    "Warn",
    "ERROR",
    "err",
    "FATAL",
    "notice",
    "crit",
    "3",
    "Informational",
    "audit",
    "",
    "ERR ",
    "INFOX",
    "9",
]
TIMES = [
    "2026-11-24T07:00:00Z", "2026-11-24T07:00:00.500000Z", "2026-11-24T06:59:59.999999Z", "2026-11-24T07:00:01Z", "2020-02-29T00:00:00Z",
    "2021-02-29T00:00:00Z", "2020-13-01T00:00:00Z", "2020-04-31T00:00:00Z", "2020-01-01T24:00:00Z", "2020-01-01T00:00:60Z", "0000-01-01T00:00:00Z",
    "2020-01-01T00:00:00.Z", "2020-01-01T00:00:00.1234567890123Z", "2026-11-24T08:00:00+02:00", "2026-11-24T08:00:00+00:30", "2020-01-01", "yesterday", "",
    "2020-01-01T00:00:00", "2020-01-01T00:00:00Zx", "2020-01-01t00:00:00z",
]  # fmt: skip
words = st.sampled_from(WORDS)
times = st.sampled_from(TIMES)
levels = st.sampled_from(LEVELS)
windows = st.builds(
    Window,
    since=st.sampled_from([EARLIEST, SINCE, SINCE.replace(microsecond=0), datetime(2020, 1, 1, tzinfo=UTC)]),
    until=st.sampled_from(
        [LATEST, SINCE + timedelta(microseconds=1), SINCE + timedelta(seconds=0.5), SINCE + timedelta(days=1)]
    ),
    slack=st.sampled_from(
        [
            timedelta(),
            timedelta(seconds=1),
            timedelta(microseconds=500_001),
            timedelta(days=400),
            timedelta(days=900_000),
        ]
    ),
)
KEYS = {
    "level": levels,
    "message": words,
    "timestamp": times,
    "received": st.one_of(times, st.integers(0, 3)),
    "app": words,
    "host": words,
    "k": st.one_of(
        words,
        st.integers(0, 3),
        st.none(),
        st.fixed_dictionaries(
            {}, optional={"app": words, "message": words, "level": levels, "timestamp": times, "received": times}
        ),
        st.lists(words, max_size=2),
    ),
    "hidden": words,
    "x=1": words,
    "x=a": words,
    '"app': words,
    "\\app": words,
}


@st.composite
def strings(draw, text: str) -> str:
    """A string as JSON may write it."""
    way = draw(st.sampled_from(["plain", "plain", "ascii", "escaped"]))
    if way == "escaped":
        return (
            '"' + "".join(f"\\u{ord(c):04x}" if draw(st.booleans()) or c in '"\\' or c < " " else c for c in text) + '"'
        )
    return json.dumps(text, ensure_ascii=way == "ascii").replace("/", draw(st.sampled_from(["/", "\\/"])))


@st.composite
def lines(draw) -> bytes:
    """An entry as it is stored: keys in any order, now and then one twice."""
    keys = draw(
        st.lists(st.sampled_from(["level", "message", "timestamp", "received", "app", "host", *KEYS]), max_size=6)
    )
    parts = []
    for key in draw(st.permutations(["level", "message", *keys])):
        value = draw(KEYS[key])
        space = draw(st.sampled_from(["", "", " ", "\t"]))
        text = draw(strings(value)) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        parts.append(f"{draw(strings(key))}{space}:{space}{text}")
    return ("{" + ",".join(parts) + "}").encode()


OLD_RECEIVED, NEW_RECEIVED = '"received":"2020-01-01T00:00:00.000000Z"', '"received":"2026-11-24T07:00:01.000000Z"'
OLD, NEW = '"timestamp":"2020-01-01T00:00:00Z"', '"timestamp":"2026-11-24T07:00:01Z"'


@pytest.mark.parametrize(
    ("more", "condition", "wanted"),
    [
        ('"app":"shop"', {"app": "shop"}, True),
        ('"app" :\t"shop"', {"app": "shop"}, True),
        ('"app":"shop2"', {"app": "shop"}, False),
        ('"k":{"app":"shop"}', {"app": "shop"}, False),
        ('"k":["app","shop"]', {"app": "shop"}, False),
        ('"k":"app","shop":"shop"', {"app": "shop"}, False),
        ('"\\"app":"shop"', {"app": "shop"}, False),
        ('"app":"shop","app":"web"', {"app": "shop"}, False),
        ('"app":"web","app":"shop"', {"app": "shop"}, True),
        ('"app":"shop","\\u0061pp":"web"', {"app": "shop"}, False),
        ('"\\u0061pp":"shop"', {"app": "shop"}, True),
        ('"app":"sh\\u006fp"', {"app": "shop"}, True),
        ('"app":"a\\/b"', {"app": "a/b"}, True),
        ('"app":""', {"app": ""}, True),
        ('"k":1', {"app": ""}, False),
        ('"message":"shop","message":"m"', {"pattern": "shop"}, False),
        ('"message":"m","k":"x","message":"a shop"', {"pattern": "shop"}, True),
        ('"message":"ab","app":"shop","host":"h"', {"pattern": "ab", "app": "web"}, False),
        ('"message":"SHOP"', {"pattern": "(?i)shop"}, True),
        ('"message":"\u017fhop"', {"pattern": "(?i)shop"}, True),
        ('"k":"b"', {"pattern": "k=b"}, True),
        ('"k" :\t"b"', {"pattern": "k=b"}, True),
        ('"k":17', {"pattern": "k=1"}, True),
        ('"k":71', {"pattern": "k=1"}, False),
        ('"k":"a","l":"k","m":"b"', {"pattern": "k=b"}, False),
        ('"k":"a","l":"xk=b"', {"pattern": "k=b"}, True),
        ('"message":"k=b"', {"pattern": "k=b"}, True),
        ('"xk":"b"', {"pattern": "k=b"}, True),
        ('"\\u006b":"b"', {"pattern": "k=b"}, True),
        ('"k":"\\u0062"', {"pattern": "k=b"}, True),
        ('"x=k":"b"', {"pattern": "x=k=b"}, True),
        ('"k":"b","k":"c"', {"pattern": "k=b"}, False),
        ('"K":"B"', {"pattern": "(?i)k=b"}, True),
        ('"k":{"b":1}', {"pattern": r'k=\{"b'}, True),
        ('"level":"ERROR"', {"level": "ERROR"}, True),
        ('"le\\u0076el":"ERROR"', {"level": "ERROR"}, True),
        ('"level":"\\u0045RROR"', {"level": "ERROR"}, True),
        ('"level":"fatal"', {"level": "ERROR"}, True),
        ('"level":"ERROR","level":"INFO"', {"level": "ERROR"}, False),
        ('"k":{"level":"ERROR"}', {"level": "ERROR"}, False),
        ('"k":{"level":"INFO"},"level":"ERROR"', {"level": "ERROR"}, True),
        ('"level":"audit"', {"level": "OTHER"}, True),
        ('"level":"audit"', {"level": "DEBUG"}, False),
        (OLD, {"window": WINDOW}, False),
        (NEW, {"window": WINDOW}, True),
        ('"k":1', {"window": WINDOW}, True),
        (f"{OLD},{NEW}", {"window": WINDOW}, True),
        (f"{NEW},{OLD}", {"window": WINDOW}, False),
        (f'{NEW},"k":{{{OLD}}}', {"window": WINDOW}, True),
        (f'{OLD},"k":{{{NEW}}}', {"window": WINDOW}, False),
        (f'"k":{{{OLD}}}', {"window": WINDOW}, True),
        (f'"k":[{{{OLD_RECEIVED}}}]', {"window": WINDOW}, True),
        (f'"k":{{{OLD_RECEIVED}}},"source":"h"', {"window": WINDOW}, True),
        (f'"\\"{OLD[1:]}', {"window": WINDOW}, True),
        (OLD_RECEIVED, {"window": WINDOW}, False),
        (f"{OLD_RECEIVED},{OLD}", {"window": WINDOW}, False),
        (f"{OLD_RECEIVED},{NEW}", {"window": WINDOW}, False),
        (f"{OLD},{NEW_RECEIVED}", {"window": WINDOW}, True),
        (f'{OLD},"received":7', {"window": WINDOW}, False),
        (f'{OLD},"received":"yesterday"', {"window": WINDOW}, False),
        (f'{NEW},"received":null', {"window": WINDOW}, True),
        (f'{OLD},"rec\\u0065ived":"2026-11-24T07:00:01Z"', {"window": WINDOW}, True),
        (f'{OLD},"time\\u0073tamp":"2026-11-24T07:00:01Z"', {"window": WINDOW}, True),
        (NEW, {"window": UNTIL}, False),
        (OLD, {"window": UNTIL}, True),
        (f"{NEW},{OLD_RECEIVED}", {"window": UNTIL}, True),
        (f"{OLD},{NEW_RECEIVED}", {"window": UNTIL}, False),
        ('"timestamp":"2026-11-24T07:00:00.500000Z"', {"window": UNTIL}, False),
        ('"timestamp":"2026-11-24T07:00:00.499999Z"', {"window": UNTIL}, True),
        ('"timestamp":"2026-11-24T07:00:02.499999Z"', {"window": SLACK}, True),
        ('"timestamp":"2026-11-24T07:00:02.500000Z"', {"window": SLACK}, False),
        ('"received":"2026-11-24T07:00:00.500000Z"', {"window": SLACK}, False),
        ('"timestamp":"2026-11-24T06:59:58.500000Z"', {"window": SLACK}, True),
        ('"timestamp":"2026-11-24T06:59:58.499999Z"', {"window": SLACK}, False),
        ('"timestamp":"2020-04-31T00:00:00Z"', {"window": WINDOW}, True),
        ('"timestamp":"2020-01-01T24:00:01Z"', {"window": WINDOW}, True),
        ('"timestamp":"2020-01-01T00:00:00+00:00"', {"window": WINDOW}, False),
        ('"app":{},"app":"shop"', {"app": "shop"}, True),
        ('"app":{},"app":"bank","x":"shop"', {"app": "shop"}, False),
        ('"host":[],"host":"web"', {"host": "web"}, True),
        ('"message":5,"message":"it failed"', {"pattern": "failed"}, True),
        (f'"timestamp":5,{OLD}', {"window": WINDOW}, False),
        (f'"timestamp":[{{}}],{NEW}', {"window": WINDOW}, True),
        (f'{OLD},"received":1e999', {"window": WINDOW}, False),
        (f'{NEW},"received":-1e999', {"window": WINDOW}, True),
    ],
)
def test_what_entries_say_in_other_words(more, condition, wanted):
    condition = {**condition, **({"pattern": re.compile(condition["pattern"])} if "pattern" in condition else {})}
    line = f'{{"level":"INFO","message":"m",{more}}}\n'.encode()
    assert decode(line)[0].reason is None
    assert Selection(**condition).runs(bytearray(line), 0, len(line)) == ([(0, len(line))] if wanted else [])


def is_wanted(line: bytes, level, app, host, window, pattern) -> bool:
    """What `fastlog tail --help` says, on the decoded entry."""
    entry = json.loads(line)
    name = level_of(entry["level"])
    if level is not None and name != level and (level == "OTHER" or name not in RANKS[RANKS.index(level) :]):
        return False
    if (app is not None and entry.get("app") != app) or (host is not None and entry.get("host") != host):
        return False
    if window is not None:
        since, until, slack = window.since, window.until, window.slack
        received = entry.get("received")
        time = time_of(received) if isinstance(received, str) else None
        if time is not None and not since <= time < until:
            return False
        stamp = time_of(entry.get("timestamp", "")) if time is None else None
        if stamp is not None and not (since - stamp <= slack and stamp - until < slack):
            return False
    if pattern is None:
        return True
    others = {key: value for key, value in entry.items() if key != "message"}
    texts = [
        f"{key}={value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for key, value in others.items()
    ]
    return any(re.search(pattern, text) for text in [entry["message"], *texts])


@given(
    log=st.lists(lines(), max_size=12),
    level=st.none() | st.sampled_from([*RANKS, "OTHER"]),
    app=st.none() | words,
    host=st.none() | words,
    window=st.none() | windows,
    pattern=st.none() | st.sampled_from(PATTERNS),
)
@settings(max_examples=100 * FACTOR, deadline=None)
def test_the_first_look_and_the_second_select_what_a_plain_decode_does(log, level, app, host, window, pattern):
    assert all(decode(line)[0].reason is None for line in log)
    block = bytearray(b"".join(line + b"\n" for line in log))
    selection = Selection(
        level=level, app=app, host=host, window=window, pattern=parse_pattern(pattern) if pattern is not None else None
    )
    selected = b"".join(block[start:end] for start, end in selection.runs(block, 0, len(block)))
    assert selected.splitlines() == [line for line in log if is_wanted(line, level, app, host, window, pattern)]


ADDRESSES = ["192.0.2.1:7", "192.0.2.10:7", "192.0.2.1", "[2001:db8::1]:7", "[2001:db8::1]:70", "pid 7 of uid 0", "", 5]
SOUGHT = {
    "192.0.2.1": {"192.0.2.1:7", "192.0.2.1"},
    "192.0.2.1:7": {"192.0.2.1:7"},
    "2001:db8::1": {"[2001:db8::1]:7", "[2001:db8::1]:70"},
    "[2001:db8::1]": {"[2001:db8::1]:7", "[2001:db8::1]:70"},
    "[2001:db8::1]:7": {"[2001:db8::1]:7"},
    "pid 7 of uid 0": {"pid 7 of uid 0"},
    "192.0.2": set(),
    "7": set(),
}


@given(
    log=st.lists(st.tuples(levels, st.sampled_from([*ADDRESSES, None])), max_size=12),
    wanted=st.none() | st.frozensets(st.sampled_from([*RANKS, "OTHER"]), min_size=1),
    source=st.none() | st.sampled_from(list(SOUGHT)),
    ascii_only=st.booleans(),
)
def test_several_levels_and_the_address_that_the_server_recorded(log, wanted, source, ascii_only):
    entries = [
        {"level": level, "message": "192.0.2.1:7", **({"source": address} if address is not None else {})}
        for level, address in log
    ]
    block = bytearray("".join(json.dumps(entry, ensure_ascii=ascii_only) + "\n" for entry in entries).encode())
    selection = Selection(levels=wanted, source=source, entries_only=True)
    selected = b"".join(block[start:end] for start, end in selection.runs(block, 0, len(block)))
    assert [json.loads(line) for line in selected.splitlines()] == [
        entry
        for entry in entries
        if (wanted is None or level_of(entry["level"]) in wanted)
        and (source is None or entry.get("source") in SOUGHT[source])
    ]


@given(st.lists(st.one_of(lines(), st.binary(max_size=40).filter(lambda line: b"\n" not in line)), max_size=8))
def test_what_is_no_entry_is_shown_only_where_nothing_is_asked_for(log):
    block = bytearray(b"".join(line + b"\n" for line in log))

    def selected(selection):
        return [
            line for start, end in selection.runs(block, 0, len(block)) for line in block[start : end - 1].split(b"\n")
        ]

    entries = [line for line in log if [piece.reason for piece in decode(line)] == [None] and line[:1] == b"{"]
    assert selected(Selection()) == log
    assert selected(Selection(entries_only=True)) == [line for line in entries if line.strip() == line]
    assert selected(Selection(level="DEBUG")) == [
        line for line in entries if line.strip() == line and decode(line)[0].level != "OTHER"
    ]


def test_two_entries_on_a_line_are_none():
    line = bytearray(b'{"level":"INFO","message":"m"}{"level":"INFO","message":"m"}\n')
    assert Selection().runs(line, 0, len(line)) == [(0, len(line))]
    assert Selection(level="INFO").runs(line, 0, len(line)) == []


@pytest.mark.parametrize("pattern", ["order=777", "order=777[0-9]?", "(?:order=777|bill=5)", "(?i)order=777"])
def test_only_lines_that_may_match_are_decoded(monkeypatch, pattern):
    """A key that every entry has, and a value that many have elsewhere, do not make the search slow."""
    decoded = []

    def counting(line):
        decoded.append(line)
        return fields_of(line)

    monkeypatch.setattr("fastlog.logs.selection.fields_of", counting)
    lines = [b'{"level":"INFO","message":"777","order":%d,"n":777}\n' % number for number in range(1_000)]
    block = bytearray(b"".join(lines))
    [(start, end)] = Selection(pattern=parse_pattern(pattern)).runs(block, 0, len(block))
    assert block[start:end] == lines[777]
    assert decoded == [lines[777][:-1]]


def test_without_the_parser_of_patterns_the_selection_is_the_same(monkeypatch):
    """It is a private module of Python, which may go: every line is decoded then."""
    pattern = parse_pattern("k=b|paid")
    log = bytearray(b'{"level":"INFO","message":"m","k":"b"}\n{"level":"INFO","message":"k"}\n')
    monkeypatch.delattr(re, "_parser")
    monkeypatch.setitem(sys.modules, "re._parser", None)
    assert Selection(pattern=pattern).runs(log, 0, len(log)) == [(0, log.index(b"\n") + 1)]


def test_a_window_may_end_at_a_time_of_day_that_is_still_to_come():
    now = datetime(2026, 11, 24, 14, 3, tzinfo=UTC)
    window = parse_window("14:02", "14:05", None, now)
    assert (window.since, window.until) == (now - timedelta(minutes=1), now + timedelta(minutes=2))
    window = parse_window("23:00", "00:30", None, now)
    assert (window.since, window.until) == (now.replace(day=23, hour=23, minute=0), now.replace(hour=0, minute=30))
    with pytest.raises(ConfigError, match="later than"):
        parse_window("14:02", "14:02", None, now)
    with pytest.raises(ConfigError, match="later than"):
        parse_window("14:02", "13:00", None, now)


def test_since_is_a_duration_or_a_time():
    now = datetime(2026, 11, 24, 7, 0, tzinfo=UTC)
    assert parse_time("--since", "90s", now) == datetime(2026, 11, 24, 6, 58, 30, tzinfo=UTC)
    assert parse_time("--since", "10m", now) == datetime(2026, 11, 24, 6, 50, tzinfo=UTC)
    assert parse_time("--since", "1d", now) == datetime(2026, 11, 23, 7, 0, tzinfo=UTC)
    assert parse_time("--since", "1w", now) == datetime(2026, 11, 17, 7, 0, tzinfo=UTC)
    assert parse_time("--since", "2026-11-24T08:00:00+02:00", now) == datetime(2026, 11, 24, 6, 0, tzinfo=UTC)
    assert parse_time("--since", "2026-11-24 06:00", now) == datetime(2026, 11, 24, 6, 0, tzinfo=UTC)
    assert parse_time("--since", "06:30", now) == datetime(2026, 11, 24, 6, 30, tzinfo=UTC)
    assert parse_time("--until", "07:00:01", now) == datetime(2026, 11, 23, 7, 0, 1, tzinfo=UTC)
    assert parse_time("--since", "1h30m", now) == datetime(2026, 11, 24, 5, 30, tzinfo=UTC)
    assert parse_time("--since", "1d12h0m5s", now) == datetime(2026, 11, 22, 18, 59, 55, tzinfo=UTC)
    assert parse_time("--since", "today", now) == datetime(2026, 11, 24, tzinfo=UTC)
    assert parse_time("--since", "yesterday", now) == datetime(2026, 11, 23, tzinfo=UTC)
    assert parse_time("--since", "2026-11-20", now) == datetime(2026, 11, 20, tzinfo=UTC)
    for wrong in ("", "10", "25:00", "m", "-1m", "1y", "999999999w", "0001-01-01T00:00:00+23:00", "tomorrow", "1h 30m"):
        with pytest.raises(ConfigError, match="--since"):
            parse_time("--since", wrong, now)


@pytest.fixture
def in_berlin(monkeypatch):
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_times_without_an_offset_may_be_local(in_berlin):
    now = datetime(2026, 7, 1, 22, 30, tzinfo=UTC)  # half an hour after midnight in Berlin

    def local(text: str) -> datetime:
        return parse_time("--since", text, now, is_local=True)

    assert local("today") == datetime(2026, 7, 1, 22, 0, tzinfo=UTC)
    assert local("yesterday") == datetime(2026, 6, 30, 22, 0, tzinfo=UTC)
    assert local("00:10") == datetime(2026, 7, 1, 22, 10, tzinfo=UTC)
    assert local("00:40") == datetime(2026, 6, 30, 22, 40, tzinfo=UTC)
    assert local("2026-01-01 09:00") == datetime(2026, 1, 1, 8, 0, tzinfo=UTC)  # winter there
    assert local("2026-01-01T09:00Z") == datetime(2026, 1, 1, 9, 0, tzinfo=UTC)
    assert local("10m") == now - timedelta(minutes=10)


def test_levels_have_the_names_that_entries_may_use():
    assert [parse_level(name) for name in ("error", "Warn", "panic", "OTHER")] == [
        "ERROR",
        "WARNING",
        "CRITICAL",
        "OTHER",
    ]
    with pytest.raises(ConfigError, match="--level audit: unknown level; it must be one of DEBUG, INFO"):
        parse_level("audit")
    with pytest.raises(ConfigError, match="--level EROR: unknown level; did you mean ERROR\\? It must be one of"):
        parse_level("EROR")
    with pytest.raises(ConfigError, match="did you mean WARNING"):
        parse_level("warnning")
    with pytest.raises(ConfigError, match="--grep \\(: not a regular expression"):
        parse_pattern("(")
