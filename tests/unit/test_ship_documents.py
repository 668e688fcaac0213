"""Lines of the log as documents of `_bulk`: the compiled module against its reference, and both against what they say."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastlog.ship import _documents
from fastlog.ship import documents as reference

ID_START = b'{"create":{"_id":"node-0123456789ab-7-'
BEFORE = b"2026-11-26T08:00:00Z"
TIME = b"2026-11-26T08:30:00.123456Z"
REST = b'"level":"INFO","message":"hello"'


def made(lines: bytes, offset: int = 0, time: bytes = BEFORE) -> reference.Documents:
    """What both make of the lines."""
    documents = _documents.documents(lines, ID_START, offset, time)
    assert documents == reference.documents(lines, ID_START, offset, time)
    return documents


def only_document(line: bytes) -> dict:
    documents = made(line + b"\n")
    assert not documents.left_out
    action, document, nothing = bytes(documents.body).split(b"\n")
    assert json.loads(action) == {"create": {"_id": "node-0123456789ab-7-0"}}
    assert not nothing
    return json.loads(document, object_pairs_hook=each_key_once)


def each_key_once(pairs: list) -> dict:
    assert len(dict(pairs)) == len(pairs), "a key is there twice"
    return dict(pairs)


def test_a_document_is_the_line_behind_its_time():
    line = b'{"timestamp":"%b",%b}' % (TIME, REST)
    action = ID_START + b'261"}}\n'
    assert bytes(made(line + b"\n", 261).body) == action + b'{"@timestamp":"%b",' % TIME + line[1:] + b"\n"


def test_each_line_has_its_offset_and_its_part():
    lines = b'{%b}\n{"x":1,%b}\n{%b}\n' % (REST, REST, REST)
    documents = made(lines, 1000)
    starts = [0, *documents.ends]
    parts = [bytes(documents.body[start:end]) for start, end in zip(starts, documents.ends, strict=False)]
    assert b"".join(parts) == documents.body
    offsets = [1000, 1000 + len(REST) + 3, 1000 + 2 * len(REST) + 12]
    assert [json.loads(part.split(b"\n")[0])["create"]["_id"] for part in parts] == [
        f"node-0123456789ab-7-{offset}" for offset in offsets
    ]


@pytest.mark.parametrize(
    ("fields", "time"),
    [
        (b'"timestamp":"%b"' % TIME, TIME),
        (b'"timestamp":"2019-01-01T00:00:00Z","received":"%b"' % TIME, TIME),
        (b'"timestamp":"yesterday","received":"%b"' % TIME, TIME),
        (b'"timestamp":"%b","received":17' % TIME, TIME),
        (b'"timestamp":"2019-01-01T00:00:00Z","timestamp":"%b"' % TIME, TIME),
        (b'"t\\u0069mestamp":"%b"' % TIME, TIME),
        (b'"x":{"received":"2019-01-01T00:00:00Z"},"timestamp":"%b"' % TIME, TIME),
        (b'"x":"\\"received\\":\\\\","timestamp":"%b"' % TIME, TIME),
        (b'"timestamp":"yesterday"', BEFORE),
        (b'"timestamp":""', BEFORE),
        (b'"x":[{"timestamp":"%b"}]' % TIME, BEFORE),
    ],
)
def test_the_time_is_that_of_receipt_or_else_the_sender_s_or_else_that_of_the_line_before(fields, time):
    documents = made(b"{%b,%b}\n" % (fields, REST))
    assert bytes(documents.body).split(b"\n")[1] == b'{"@timestamp":"%b",%b,%b}' % (time, fields, REST)
    assert documents.time == time


@pytest.mark.parametrize(
    ("written", "time"),
    [
        ("2026-11-26T08:30:00Z", "2026-11-26T08:30:00Z"),
        ("2026-11-26t08:30:00z", "2026-11-26T08:30:00Z"),
        ("2026-11-26 08:30:00,123", "2026-11-26T08:30:00.123Z"),
        ("2026-11-26T08:30:00", "2026-11-26T08:30:00Z"),
        ("2026-11-26T08:30:00.1234567891234+0230", "2026-11-26T08:30:00.123456789+02:30"),
        ("2026-11-26T08:30:00-18:00", "2026-11-26T08:30:00-18:00"),
        ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z"),
        ("2026-02-29T00:00:00Z", None),
        ("2026-11-31T00:00:00Z", None),
        ("2026-00-01T00:00:00Z", None),
        ("2026-11-26T24:00:00Z", None),
        ("2026-11-26T23:59:60Z", None),
        ("2026-11-26T08:30:00+18:01", None),
        ("2026-11-26T08:30:00 UTC", None),
        ("2026-11-26T08:30:00.Z", None),
        ("2026-11-26", None),
        ("1970-01-01T00:00:00Z", None),
        ("2262-01-01T00:00:00Z", None),
        ("1764145800", None),
        ("\uff12026-11-26T08:30:00Z", None),
    ],
)
def test_a_time_is_written_as_every_engine_takes_it(written, time):
    entry = json.dumps({"level": "INFO", "message": "", "timestamp": written}, ensure_ascii=False)
    assert only_document(entry.encode())["@timestamp"] == (time or BEFORE.decode())


def test_an_entry_s_own_time_for_the_engine_stays():
    line = b'{"@timestamp":"2026-01-01T00:00:00Z","received":"%b",%b}' % (TIME, REST)
    assert bytes(made(line + b"\n").body) == ID_START + b'0"}}\n' + line + b"\n"


@pytest.mark.parametrize(
    ("own", "time"),
    [
        (b'"@timestamp":"2026-01-01 00:00:00"', "2026-01-01T00:00:00Z"),
        (b'"@timestamp":"now"', BEFORE.decode()),
        (b'"\\u0040timestamp":12', BEFORE.decode()),
        (b'"@timestamp" : {"@timestamp":1} ', BEFORE.decode()),
    ],
)
def test_an_own_time_that_no_engine_reads_is_kept_under_another_name(own, time):
    for line in (b"{%b,%b}" % (own, REST), b"{ %b, %b }" % (REST, own)):
        document = only_document(line)
        assert document["@timestamp"] == time
        assert document["_@timestamp"] == next(iter(json.loads(b"{%b}" % own).values()))


def test_an_object_of_another_program_is_a_document():
    assert only_document(b"{}") == {"@timestamp": BEFORE.decode()}
    assert only_document(b' { "x" : 1 } ') == {"@timestamp": BEFORE.decode(), "x": 1}


@pytest.mark.parametrize("key", reference.RESERVED)
def test_a_key_that_engines_have_for_themselves_gets_another_name(key):
    escaped = key.replace("_", "\\u005f", 1)
    for written in (key, escaped):
        for time in (b"", b'"@timestamp":"%b",' % TIME):
            document = only_document(b'{%b"%b":[1],"x":{"%b":1},%b}' % (time, written.encode(), key.encode(), REST))
            assert document["_" + key] == [1]
            assert document["x"] == {key: 1}
            assert key not in document


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "empty"),
        (b" \t", "empty"),
        (b"hello", "syntax"),
        (b'{"level":"INFO"', "syntax"),
        (b"[1]", "not_object"),
        (b'{"x":"\xff"}', "utf8"),
        (b'{"x":"\\ud800"}', "utf8"),
        (b"[" * 65, "depth"),
        (b'{"x":1}{"x":2}', "syntax"),
        (b"{%b} {%b}" % (REST, REST), "syntax"),
        (b"\0" * 100, "syntax"),
    ],
)
def test_a_line_that_is_not_an_object_is_left_out(line, reason):
    good = b"{%b}\n" % REST
    documents = made(good + line + b"\n" + good)
    assert documents.left_out == [(1, reason)]
    assert documents.ends[0] == documents.ends[1]
    assert bytes(documents.body).count(b"\n") == 4


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.sampled_from([TIME.decode(), "2019-01-01 00:00:00", '\\"}']),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["@timestamp", "received", "timestamp", "level", "x", "_id", "_source", "_x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=6,
)
LINES = JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40).map(lambda b: b.replace(b"\n", b""))


@settings(max_examples=500, deadline=None)
@given(st.lists(LINES, min_size=1, max_size=4), st.binary(max_size=2), st.integers(0, 2**63))
@example([b'{"@timestamp":"\\"'], b"", 0)
def test_the_compiled_module_agrees_with_the_reference(lines, noise, offset):
    made(b"\n".join([*lines, noise.replace(b"\n", b""), b""]), offset)


@settings(max_examples=500, deadline=None)
@given(st.text(alphabet="0123456789-+:.,TtZz ", max_size=40), st.integers(0, 26), st.sampled_from("0123456789:T-+Z "))
def test_both_read_the_same_times(text, at, character):
    time = TIME.decode()
    for written in (text, time[:at] + character + time[at + 1 :], time[:19] + text):
        made(b'{"timestamp":"%b"}\n' % written.encode())
