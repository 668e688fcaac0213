"""Lines of the log as documents of `_bulk`, for the reference. `_documents.pyx` says the same in C, for all of a batch.

A document is the line with `@timestamp` behind its first brace. Engines refuse a document without a time that they can
read, so every document has one.
"""

import re
from datetime import date
from typing import NamedTuple

import msgspec

from fastlog.entry import decode, members

# What engines read as a time, and what a look at it makes certain: they also take a space in place of the T, or no
# zone, which means UTC as in `fastlog tail`, but not all of them do.
_TIME = re.compile(
    rb'"(\d{4})-(\d\d)-(\d\d)[Tt ]((?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d)(?:[.,](\d{1,9})\d*)?'
    rb'(?:[Zz]|([+-](?:0\d|1[0-7])):?([0-5]\d)|([+-]18):?00)?"'
)
# Elasticsearch keeps nanoseconds (`date_nanos`) from 1970 to April 2262. A zone moves a time by less than a year.
YEAR_MIN = 1971
YEAR_MAX = 2261

# The keys that may say when an entry was logged, and the order in which they are believed: its own `@timestamp` is
# meant for the engine, `received` is the server's word, and `timestamp` that of the sender.
TIME_KEYS = ("@timestamp", "received", "timestamp")

# Keys that Elasticsearch and OpenSearch have for themselves: they refuse a document that has one. The server makes a
# `_source` of a sender's `source`.
RESERVED = (
    "_id", "_index", "_source", "_type", "_routing", "_ignored", "_ignored_source", "_field_names", "_seq_no",
    "_version", "_doc_count", "_nested_path", "_tier", "_size", "_tsid", "_data_stream_timestamp",
)  # fmt: skip

# Reasons of the scanner for bytes that are not a JSON object. An object that lacks a level, say, is a document all the
# same: another program may have written it.
NOT_OBJECTS = ("empty", "syntax", "utf8", "depth", "not_object")


class Documents(NamedTuple):
    """A batch as the body of a request: for each line an action with its id, and its document."""

    body: bytes | bytearray
    ends: list[int]  # where each line's part of the body ends; a line that is left out has none, and no reason here
    left_out: list[tuple[int, str]]  # lines that are not JSON objects: their numbers from 0 on, and the reason
    time: bytes  # of the last document


def documents(lines: bytes, id_start: bytes, offset: int, time: bytes) -> Documents:
    """The documents of whole lines. `id_start`: the action up to the line's offset in its file, which completes the id.
    `offset`: that of the first line. `time`: that of the document before them, for lines that say none."""
    body = b""
    ends: list[int] = []
    left_out: list[tuple[int, str]] = []
    for number, line in enumerate(lines.removesuffix(b"\n").split(b"\n")):
        reason = _unfit(line)
        if reason:
            left_out.append((number, reason))
        else:
            text, time = document(line.strip(b" \t\r"), time)
            body += id_start + b'%d"}}\n' % offset + text + b"\n"
        ends.append(len(body))
        offset += len(line) + 1
    return Documents(body, ends, left_out, time)


def _unfit(line: bytes) -> str | None:
    """Why the line is not one JSON object."""
    reason = decode(line)[0].reason
    if reason in NOT_OBJECTS:
        return reason
    try:
        msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:  # another object behind it
        return "syntax"
    return None


def document(line: bytes, time: bytes) -> tuple[bytes, bytes]:
    """The document of a JSON object, and its time, which is `time` if the object says none."""
    fields = members(line)
    says = {_key(key): value for key, value in fields}
    time = next(filter(None, (read_time(says.get(key, b"")) for key in TIME_KEYS)), time)
    if says.get(TIME_KEYS[0]) == b'"' + time + b'"':
        return _renamed(line, fields, RESERVED), time
    line = _renamed(line, fields, (TIME_KEYS[0], *RESERVED))
    return b'{"@timestamp":"' + time + b'"' + b"," * bool(fields) + line[1:], time


def read_time(text: bytes) -> bytes:
    """A JSON value as the time that every engine takes; empty if it is not one."""
    found = _TIME.fullmatch(text)
    if not found:
        return b""
    year, month, day, clock, fraction, hours, minutes, farthest = found.groups()
    try:
        date(int(year), int(month), int(day))
    except ValueError:
        return b""
    if not YEAR_MIN <= int(year) <= YEAR_MAX:
        return b""
    zone = farthest + b":00" if farthest else hours + b":" + minutes if hours else b"Z"
    return b"%b-%b-%bT%b" % (year, month, day, clock) + (b"." + fraction if fraction else b"") + zone


def _renamed(line: bytes, fields: list[tuple[bytes, bytes]], keys: tuple[str, ...]) -> bytes:
    """The object with `_` before each of its own keys that is among these."""
    parts = []
    copied = at = 0
    for key, value in fields:
        at = line.index(b'"' + key + b'"', at) + 1
        if _key(key) in keys:
            parts.append(line[copied:at])
            copied = at
        at = line.index(value, line.index(b":", at + len(key))) + len(value)
    return b"_".join([*parts, line[copied:]])


def _key(key: bytes) -> str:
    return msgspec.json.decode(b'"' + key + b'"', type=str)
