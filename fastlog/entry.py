"""The entry, and its reference decoder. The scanner (`_parse.pyx`) must agree with the decoder on any bytes.

The decoder is docs/protocol.md as code, and is written to be read: a few tokens, a function for each part of JSON, and
msgspec for the types of the fields. It never raises for a bad datagram: it returns reasons.
"""

import re

import msgspec

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "OTHER")
# The other names of each level, in the terms of widely used logging libraries and formats. A name between two levels
# means the lower one. A number from 0 to 7 is a severity of syslog (RFC 5424); 10 to 60 are the levels of pino and
# bunyan. The scanner, the page and docs/protocol.md are made from this table.
OTHER_NAMES = {
    "DEBUG": (
        "TRACE", "VERBOSE", "SILLY", "HTTP", "CONFIG", "FINE", "FINER", "FINEST",
        "TRACE1", "TRACE2", "TRACE3", "TRACE4", "TRACE5", "TRACE6", "TRACE7", "TRACE8",
        "DEBUG1", "DEBUG2", "DEBUG3", "DEBUG4", "DEBUG5", "D1", "D2", "D3", "D4", "D5",
        "DBG", "DBUG", "TRC", "TRCE", "VRB", "D", "T", "V", "7", "10", "20",
    ),
    "INFO": (
        "NOTICE", "INFORMATION", "INFORMATIONAL", "NOTE", "LOG", "SUCCESS",
        "INFO2", "INFO3", "INFO4", "INF", "I", "5", "6", "30",
    ),
    "WARNING": ("WARN", "WARN2", "WARN3", "WARN4", "WRN", "W", "4", "40"),
    "ERROR": ("ERR", "SEVERE", "FAIL", "ERROR2", "ERROR3", "ERROR4", "E", "3", "50"),
    "CRITICAL": (
        "CRIT", "FATAL", "ALERT", "EMERG", "EMERGENCY", "PANIC", "DPANIC", "FAULT", "ASSERT",
        "FATAL2", "FATAL3", "FATAL4", "FTL", "PNC", "C", "F", "0", "1", "2", "60",
    ),
}  # fmt: skip
# Syslog's names of the severities 0 to 7, as rsyslog has them. GELF has the numbers.
SEVERITIES = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
ALIASES = {name: level for level, names in OTHER_NAMES.items() for name in names}
# Why a piece of a datagram is rejected, in the order of `_parse.Reason`, and what it means. The server rejects some
# datagrams before it looks for pieces: `REJECTED` in server/_rejects.pyx has all reasons.
REASONS = {
    "syntax": "not JSON, or an entry with something else behind it",
    "utf8": "a string with bytes that are not UTF-8, or with half of a surrogate pair",
    "depth": "more than 64 open brackets",
    "not_object": "JSON, but not an object",
    "level": "`level` is missing or not a string",
    "message": "`message` is missing or not a string",
    "sequence": "`sequence` is not an integer from 0 to 2^64-1 written in digits only",
    "field": "`timestamp`, `app` or `host` is not a string",
}
# The server's own words about an entry: when it came, and from whom. A sender's keys of these names are stored with `_`
# before them, unless STAMP=never.
STAMP_KEYS = ("received", "source")
EMPTY = "empty"  # the verdict on a datagram without any piece

MAX_DEPTH = 64  # open brackets, including the entry's own: far more than a real entry has; bounds the recursion
MAX_SEQUENCE = 2**64 - 1

_SPACE = re.compile(rb"[ \t\r\n]*")
_BARE = re.compile(rb"true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
# The part of a string that is well formed: text, escapes, whole surrogate pairs, whole UTF-8 characters (Unicode, table
# 3-7). The last quantifier is not possessive, because `)*+` in Python 3.11.2 also takes a part that does not match.
_TEXT = re.compile(
    rb"""(?: [^"\\\x00-\x1f\x80-\xff]+
           | \\["\\/bfnrt]
           | \\u(?![dD][89a-fA-F])[0-9a-fA-F]{4}
           | \\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}
           | [\xc2-\xdf][\x80-\xbf]
           | \xe0[\xa0-\xbf][\x80-\xbf] | \xed[\x80-\x9f][\x80-\xbf] | [\xe1-\xec\xee\xef][\x80-\xbf]{2}
           | \xf0[\x90-\xbf][\x80-\xbf]{2} | \xf4[\x80-\x8f][\x80-\xbf]{2} | [\xf1-\xf3][\x80-\xbf]{3} )*""",
    re.VERBOSE,
)
# Stands where a string is not well formed because of its encoding, rather than its grammar.
_NO_CHARACTER = re.compile(rb"[\x80-\xff]|\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


class Piece(msgspec.Struct, frozen=True):
    """A part of a datagram: an entry to store, or input to reject."""

    reason: str | None  # None: accepted; else one of REASONS, or EMPTY
    level: str | None  # one of LEVELS
    sequence: int | None
    start: int  # offset of its first byte in the datagram
    end: int  # offset after its last byte
    line: bytes | None  # its stored form, with the line feed
    has_timestamp: bool  # whether it carries a `timestamp` that is not empty
    is_gelf: bool = False  # whether it means to be GELF; `reason` is why it is not an entry


class _Fields(msgspec.Struct):
    """The known fields as they were written. An absent field is empty."""

    level: msgspec.Raw = msgspec.Raw()
    message: msgspec.Raw = msgspec.Raw()
    sequence: msgspec.Raw = msgspec.Raw()
    timestamp: msgspec.Raw = msgspec.Raw()
    app: msgspec.Raw = msgspec.Raw()
    host: msgspec.Raw = msgspec.Raw()
    version: msgspec.Raw = msgspec.Raw()  # GELF's, as the next one
    short_message: msgspec.Raw = msgspec.Raw()


class _BadError(Exception):
    """The datagram has something that fastlog rejects: the reason, and the offset where reading stopped."""

    def __init__(self, reason: str, at: int) -> None:
        self.reason = reason
        self.at = at


def decode(datagram: bytes, takes_gelf: bool = False) -> list[Piece]:
    """Every entry and every rejected piece of a datagram, in order. The list is never empty. `takes_gelf`: GELF is told
    from what is rejected."""
    pieces = []
    at = _skip(_SPACE, datagram, 0)
    while at < len(datagram):
        piece, at = _piece(datagram, at, takes_gelf)
        pieces.append(piece)
        at = _skip(_SPACE, datagram, at)
    return pieces or [Piece(EMPTY, None, None, 0, 0, None, False)]


def renamed(line: bytes) -> bytes:
    """The line of an entry, with `_` before each of its own keys that is in STAMP_KEYS."""
    parts, copied = [], 0
    at = _skip(_SPACE, line, 1)
    while line[at : at + 1] == b'"':
        if msgspec.json.decode(line[at : _string(line, at)]) in STAMP_KEYS:
            parts.append(line[copied : at + 1])
            copied = at + 1
        at = _skip(_SPACE, line, _value(line, _key(line, at), depth=1))
        at = _skip(_SPACE, line, at + 1)  # behind the comma, or the closing bracket
    return b"_".join([*parts, line[copied:]])


def known_level(text: str) -> str | None:
    """The level with this name or alias, or None. Only ASCII letters are compared without case."""
    name = text.encode(errors="surrogatepass").upper().decode(errors="surrogatepass")
    name = ALIASES.get(name, name)
    return name if name in LEVELS else None


def level_of(text: str) -> str:
    """The level that a `level` field means."""
    return known_level(text) or "OTHER"


def members(data: bytes) -> list[tuple[bytes, bytes]]:
    """The keys of a valid object as they are written, without their quotes, and their values, in order."""
    found = []
    at = _skip(_SPACE, data, 1)
    while data[at] != ord("}"):
        start, at = at + 1, _string(data, at)
        key = data[start : at - 1]
        at = _skip(_SPACE, data, _skip(_SPACE, data, at) + 1)
        start, at = at, _value(data, at)
        found.append((key, data[start:at]))
        at = _skip(_SPACE, data, at)
        if data[at] == ord(","):
            at = _skip(_SPACE, data, at + 1)
    return found


def _piece(data: bytes, start: int, takes_gelf: bool) -> tuple[Piece, int]:
    """The piece that begins at `start`, where there is no whitespace, and the offset at which reading continues."""
    try:
        end = _value(data, start)
    except _BadError as bad:
        # Nobody can know where a broken piece ends, so the next line is tried. A piece that is too deep is different:
        # its lines up to the bracket that was too deep are inside it, so reading continues after that bracket.
        return _reject(data, start, bad.at - 1 if bad.reason == "depth" else start, bad.reason)
    after = _skip(_SPACE, data, end)
    if after < len(data) and data[after] != ord("{"):
        return _reject(data, start, end, "syntax")
    if data[start] != ord("{"):
        return _reject(data, start, end, "not_object")
    fields = msgspec.json.decode(data[start:end], type=_Fields)
    reason = _judge(fields)
    if reason and takes_gelf and _means_gelf(fields):
        return Piece(reason, None, None, start, end, None, False, is_gelf=True), end
    if reason:
        return _reject(data, start, end, reason)
    level = level_of(msgspec.json.decode(fields.level, type=str))
    sequence = int(bytes(fields.sequence)) if bytes(fields.sequence) else None
    line = data[start:end].replace(b"\r", b" ").replace(b"\n", b" ") + b"\n"
    has_timestamp = bytes(fields.timestamp) not in (b"", b'""')
    return Piece(None, level, sequence, start, end, line, has_timestamp), end


def _reject(data: bytes, start: int, known: int, reason: str) -> tuple[Piece, int]:
    """The rejected piece, which ends before the first line after offset `known` that begins with `{`."""
    found = data.find(b"\n{", known)
    after = len(data) if found < 0 else found + 1
    end = start + len(data[start:after].rstrip(b" \t\r\n"))
    return Piece(reason, None, None, start, end, None, False), after


def _judge(fields: _Fields) -> str | None:
    def is_string(raw: msgspec.Raw) -> bool:
        return bytes(raw)[:1] == b'"'

    if not is_string(fields.level):
        return "level"
    if not is_string(fields.message):
        return "message"
    digits = bytes(fields.sequence)
    if digits and not (digits.isdigit() and len(digits) <= 20 and int(digits) <= MAX_SEQUENCE):
        return "sequence"
    if any(bytes(raw) and not is_string(raw) for raw in (fields.timestamp, fields.app, fields.host)):
        return "field"
    return None


def _means_gelf(fields: _Fields) -> bool:
    """Whether an object that is not an entry means to be GELF. It is rejected if it has no message."""
    if bytes(fields.short_message):
        return True
    return bytes(fields.version)[:1] == b'"' and msgspec.json.decode(fields.version) in ("1.0", "1.1")


def _skip(token: re.Pattern[bytes], data: bytes, at: int) -> int:
    """The offset after the token at `at`, or `at` if the token is not there."""
    found = token.match(data, at)
    return found.end() if found else at


# Each of the following takes the offset where something begins and returns the offset after it. They read from left to
# right, so the first thing that is wrong is the reason. `depth` is the number of brackets open around a value, and
# MAX_DEPTH bounds the recursion.


def _value(data: bytes, at: int, depth: int = 0) -> int:
    first = data[at : at + 1]
    if first == b"{":
        return _members(data, at, depth + 1, b"}")
    if first == b"[":
        return _members(data, at, depth + 1, b"]")
    if first == b'"':
        return _string(data, at)
    end = _skip(_BARE, data, at)
    if end == at:
        raise _BadError("syntax", at)
    return end


def _members(data: bytes, at: int, depth: int, closing: bytes) -> int:
    """An object or an array, whose members are separated by commas."""
    if depth > MAX_DEPTH:
        raise _BadError("depth", at)
    at = _skip(_SPACE, data, at + 1)
    if data[at : at + 1] == closing:
        return at + 1
    while True:
        if closing == b"}":
            at = _key(data, at)
        at = _skip(_SPACE, data, _value(data, at, depth))
        mark = data[at : at + 1]
        if mark == closing:
            return at + 1
        if mark != b",":
            raise _BadError("syntax", at)
        at = _skip(_SPACE, data, at + 1)


def _key(data: bytes, at: int) -> int:
    """A key with its colon, and the whitespace around the colon."""
    if data[at : at + 1] != b'"':
        raise _BadError("syntax", at)
    at = _skip(_SPACE, data, _string(data, at))
    if data[at : at + 1] != b":":
        raise _BadError("syntax", at)
    return _skip(_SPACE, data, at + 1)


def _string(data: bytes, at: int) -> int:
    end = _skip(_TEXT, data, at + 1)
    if data[end : end + 1] == b'"':
        return end + 1
    raise _BadError("utf8" if _NO_CHARACTER.match(data, end) else "syntax", end)
