"""The entry, and the reference decoder: what the scanner of the hot path (`_parse.pyx`) must agree with on any bytes.

Written to be read: one table of tokens, one walk that keeps the open brackets, and msgspec for everything that has a
type. It is what `docs/protocol.md` says, in code. It never raises for a bad datagram; it returns reasons.
"""

import re

import msgspec

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "OTHER")
ALIASES = {
    "TRACE": "DEBUG",
    "NOTICE": "INFO",
    "WARN": "WARNING",
    "ERR": "ERROR",
    "FATAL": "CRITICAL",
    "EMERG": "CRITICAL",
    "ALERT": "CRITICAL",
    "PANIC": "CRITICAL",
}
# Why a piece of a datagram is rejected, in the order of `_parse.Reason`, and what it means. The server rejects some
# datagrams before it looks for pieces: `REJECTED` in server/_drain.pyx has all reasons.
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
EMPTY = "empty"  # the verdict on a datagram without any piece

MAX_DEPTH = 64  # open brackets, the entry's own included: far past any real entry, and it bounds the walk
MAX_SEQUENCE = 2**64 - 1

_SPACE = re.compile(rb"[ \t\r\n]*")
_BARE = re.compile(rb"true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
# As far as a string is well formed: text, escapes, whole surrogate pairs, whole UTF-8 characters (Unicode, table 3-7).
# Not `)*+`, which in Python 3.11.2 goes on into a part that does not match.
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
# Where a string stops being well formed because a character is not one, rather than by the grammar.
_NO_CHARACTER = re.compile(rb"[\x80-\xff]|\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


class Piece(msgspec.Struct, frozen=True):
    """A part of a datagram: an entry that is stored, or input that is rejected."""

    reason: str | None  # None: accepted; else one of REASONS, or EMPTY
    level: str | None  # one of LEVELS
    sequence: int | None
    start: int  # offset of the first byte in the datagram
    end: int  # offset after the last one
    line: bytes | None  # the stored form, with its line feed


class _Fields(msgspec.Struct):
    """The known fields as they were written; a field that is absent is empty."""

    level: msgspec.Raw = msgspec.Raw()
    message: msgspec.Raw = msgspec.Raw()
    sequence: msgspec.Raw = msgspec.Raw()
    timestamp: msgspec.Raw = msgspec.Raw()
    app: msgspec.Raw = msgspec.Raw()
    host: msgspec.Raw = msgspec.Raw()


class _BadError(Exception):
    """The walk met something that is not JSON as fastlog takes it, for this reason, at this offset or near it."""

    def __init__(self, reason: str, at: int) -> None:
        self.reason = reason
        self.at = at


def decode(datagram: bytes) -> list[Piece]:
    """Every entry and every rejected piece of a datagram, in order; never an empty list."""
    pieces = []
    at = _skip(_SPACE, datagram, 0)
    while at < len(datagram):
        piece, at = _piece(datagram, at)
        pieces.append(piece)
        at = _skip(_SPACE, datagram, at)
    return pieces or [Piece(EMPTY, None, None, 0, 0, None)]


def known_level(text: str) -> str | None:
    """The level with this name or alias, or None. Only ASCII letters are compared without case."""
    name = text.encode(errors="surrogatepass").upper().decode(errors="surrogatepass")
    name = ALIASES.get(name, name)
    return name if name in LEVELS else None


def level_of(text: str) -> str:
    """The level that a `level` field means."""
    return known_level(text) or "OTHER"


def _piece(data: bytes, start: int) -> tuple[Piece, int]:
    """The piece that begins at `start`, which is no whitespace, and where reading goes on."""
    try:
        end = _value(data, start)
    except _BadError as bad:
        # Where a broken piece ends is anybody's guess, so the very next line gets its chance. Not where it is too deep:
        # its lines are inside it, and the first one that may not be is where it became too deep.
        return _reject(data, start, bad.at - 1 if bad.reason == "depth" else start, bad.reason)
    after = _skip(_SPACE, data, end)
    if after < len(data) and data[after] != ord("{"):
        return _reject(data, start, end, "syntax")
    if data[start] != ord("{"):
        return _reject(data, start, end, "not_object")
    fields = msgspec.json.decode(data[start:end], type=_Fields)
    reason = _judge(fields)
    if reason:
        return _reject(data, start, end, reason)
    level = level_of(msgspec.json.decode(fields.level, type=str))
    sequence = int(bytes(fields.sequence)) if bytes(fields.sequence) else None
    line = data[start:end].replace(b"\r", b" ").replace(b"\n", b" ") + b"\n"
    return Piece(None, level, sequence, start, end, line), end


def _reject(data: bytes, start: int, known: int, reason: str) -> tuple[Piece, int]:
    """The rejected piece reaches to the first line after offset `known` that begins with `{`."""
    found = data.find(b"\n{", known)
    after = len(data) if found < 0 else found + 1
    end = start + len(data[start:after].rstrip(b" \t\r\n"))
    return Piece(reason, None, None, start, end, None), after


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


def _skip(token: re.Pattern[bytes], data: bytes, at: int) -> int:
    """The offset after a token, or `at` where it does not stand."""
    found = token.match(data, at)
    return found.end() if found else at


def _string(data: bytes, at: int) -> int:
    end = _skip(_TEXT, data, at + 1)
    if data[end : end + 1] == b'"':
        return end + 1
    raise _BadError("utf8" if _NO_CHARACTER.match(data, end) else "syntax", end)


def _key(data: bytes, at: int) -> int:
    """After a key, its colon and the whitespace around them."""
    if data[at : at + 1] != b'"':
        raise _BadError("syntax", at)
    at = _skip(_SPACE, data, _string(data, at))
    if data[at : at + 1] != b":":
        raise _BadError("syntax", at)
    return _skip(_SPACE, data, at + 1)


def _value(data: bytes, at: int) -> int:
    """The offset after the JSON value at `at`, walked from left to right: the first thing wrong is the reason."""
    open_brackets = ""
    while True:
        first = data[at : at + 1].decode("latin-1")
        if first and first in "{[":
            open_brackets += first
            if len(open_brackets) > MAX_DEPTH:
                raise _BadError("depth", at)
            at = _skip(_SPACE, data, at + 1)
            if data[at : at + 1] != (b"}" if first == "{" else b"]"):
                at = _key(data, at) if first == "{" else at
                continue
        elif first == '"':
            at = _string(data, at)
        else:
            end = _skip(_BARE, data, at)
            if end == at:
                raise _BadError("syntax", at)
            at = end
        while True:
            if not open_brackets:
                return at
            at = _skip(_SPACE, data, at)
            mark = data[at : at + 1]
            if mark == (b"}" if open_brackets[-1] == "{" else b"]"):
                open_brackets = open_brackets[:-1]
                at += 1
            elif mark == b",":
                at = _skip(_SPACE, data, at + 1)
                at = _key(data, at) if open_brackets[-1] == "{" else at
                break
            else:
                raise _BadError("syntax", at)
