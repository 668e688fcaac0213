"""GELF objects as entries: the readable reference. The converter (`_gelf.pyx`) must agree with it on any bytes.

It is docs/protocol.md as code. Values keep their bytes: a string its escapes, a number its digits. Only the level and
the timestamp are read.
"""

import re

import msgspec

from fastlog.entry import SEVERITIES, level_of, members
from fastlog.inputs.receipt import Receipt
from fastlog.moment import moment_text, read_moment

# Of these names, the line of a GELF object has the server's own: a field that has one without an underscore gets one.
RENAMED = frozenset({"level", "message", "app", "severity", "stamp", "received", "source", "sequence"})
# A field that has one of these names behind an underscore keeps it: an entry that came as syslog may have such a key
# from the server, or GELF gives the name another meaning.
TAKEN = RENAMED | {
    "timestamp", "host", "facility", "pid", "msgid", "seqno", "sd", "charset", "id", "short_message",
}  # fmt: skip
# Where the app is looked for, the first one first.
APP_KEYS = ("app", "_app", "facility", "_facility", "_container_name")
# Fields without an underscore that GELF does not know, and bytes of a name: each name with an underscore is compared
# with all of them. GELF libraries send far fewer and shorter ones. Where there are more of them, or longer ones, fields
# keep their underscore.
BARE_MAX = 32
NAME_MAX_BYTES = 64
# Underscores that a field may get, so that a line stays in bounds. One is enough, unless there is such a field already.
UNDERSCORES_MAX = 8
LEVEL_TEXT_MAX = 15  # bytes of a level that is a string: the longest name has fewer
TIME_TEXT_MAX = 64  # bytes of a timestamp that is a string: nobody writes a longer one
LAST_USEC = 253_402_300_799_999_999  # the end of the year 9999: a timestamp beyond it is no number of seconds

_NUMBER = re.compile(rb"(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?(?:[eE]([+-]?)([0-9]+))?")
_FAR = 10_000_000  # in place of an exponent beyond it: no text has so many digits

Member = tuple[str, bytes, bytes]  # a key, the same as it was written, and its value


def decode(data: bytes, receipt: Receipt) -> tuple[str, bytes] | str:
    """The level and the line of an object that means to be GELF, or the reason why it is rejected."""
    found = [(_text(b'"%b"' % written), written, value) for written, value in members(data)]
    values = {key: value for key, _, value in found}  # the last one counts
    message = next((key for key in ("short_message", "message") if _is_string(values.get(key, b""))), None)
    if message is None:
        return "message"
    host = _present(values.get("host", b""))
    if host and not _is_string(host):
        return "field"
    level, severity = _level(_present(values.get("level", b"")))
    app = next((key for key in APP_KEYS if _is_string(_present(values.get(key, b"")))), "")
    timestamp = _present(values.get("timestamp", b""))
    usec = _moment(timestamp)
    line = [
        b'"level":"%b"' % level.encode(),
        b'"message":' + values[message],
        b'"timestamp":"%b"' % (receipt.received if usec is None else moment_text(usec)).encode(),
        app and b'"app":' + values[app],
        b'"host":' + host if host else receipt.host and b'"host":"%b"' % receipt.host.encode(),
        severity and b'"severity":"%b"' % severity.encode(),
        b'"stamp":' + timestamp if timestamp and usec is None else b"",
        b"" if usec is None else b'"received":"%b"' % receipt.received.encode(),
        b'"source":"%b"' % receipt.source.encode(),
        *_others(found, _consumed(message, app, level)),
    ]
    text = b",".join(part for part in line if part).replace(b"\r", b" ").replace(b"\n", b" ")
    return level, b"{" + text + b"}\n"


def _consumed(message: str, app: str, level: str) -> set[str]:
    """The keys whose values stand in the line under another name, and `version`, which does not."""
    keys = {"version", "host", "timestamp", message}
    if level != "OTHER":
        keys.add("level")
    if app in ("app", "_app"):
        keys.add(app)
    return keys


def _others(found: list[Member], consumed: set[str]) -> list[bytes]:
    """The other members in their order, with the names that they get."""
    bare = [key for key, _, _ in found if _is_bare(key, consumed)]
    taken = TAKEN.union(bare)
    keys = {key for key, _, _ in found}
    parts = []
    for key, written, value in found:
        if key in consumed:
            continue
        name = key.lstrip("_")
        name_written = written
        if key in RENAMED:
            counts = range(1, UNDERSCORES_MAX + 1)
            free = (count for count in counts if "_" * count + key not in keys)
            name_written = b"_" * next(free, UNDERSCORES_MAX) + written
        elif key != name and len(bare) <= BARE_MAX and 0 < len(name.encode()) <= NAME_MAX_BYTES and name not in taken:
            name_written = written[1 if written[:1] == b"_" else len(rb"\u005f") :]
        parts.append(b'"%b":%b' % (name_written, value))
    return parts


def _is_bare(key: str, consumed: set[str]) -> bool:
    """Whether a key is one of those that names with an underscore are compared with."""
    return key[:1] != "_" and key not in consumed | TAKEN and len(key.encode()) <= NAME_MAX_BYTES


def _level(value: bytes) -> tuple[str, str | None]:
    """The level that a value means, and its severity, if it is the number of one."""
    if not value:
        return "INFO", None
    text = value.decode()
    if _is_string(value):
        text = _text(value)
        if len(text.encode()) > LEVEL_TEXT_MAX:
            return "OTHER", None
    severity = _severity(text.encode())
    if severity:
        return level_of(severity), severity
    return level_of(text) if _is_string(value) else "OTHER", None


def _severity(text: bytes) -> str | None:
    """The severity of a number from 0 to 7, however it is written."""
    number = _decimal(text)
    if number is None:
        return None
    negative, digits, magnitude = number
    if not digits:
        return SEVERITIES[0]
    one_digit = not negative and len(digits) == magnitude == 1
    return SEVERITIES[int(digits)] if one_digit and int(digits) < len(SEVERITIES) else None


def _moment(value: bytes) -> int | None:
    """Microseconds of Unix time of a timestamp: seconds after 1970 as a number, or RFC 3339. None: it is neither."""
    if not _is_string(value):
        return _seconds(value)
    text = _text(value).encode()
    if len(text) > TIME_TEXT_MAX:
        return None
    usec = read_moment(text)
    return _seconds(text) if usec is None else usec


def _seconds(text: bytes) -> int | None:
    number = _decimal(text)
    if number is None:
        return None
    negative, digits, magnitude = number
    if negative or magnitude > 12:  # of a number of years that fits, or not
        return None
    count = max(0, magnitude + 6)  # of the digits down to microseconds
    usec = int(digits[:count].ljust(count, b"0") or b"0")
    return usec if 0 < usec <= LAST_USEC else None


def _decimal(text: bytes) -> tuple[bool, bytes, int] | None:
    """Of a number as JSON writes it: whether it has a minus, its digits without zeros around them, and how many of them
    (or of zeros behind or before them, which count as less than none) stand before its decimal point."""
    found = _NUMBER.fullmatch(text)
    if not found:
        return None
    minus, whole, fraction, exponent_sign, exponent = found.groups(b"")
    exponent = exponent.lstrip(b"0") or b"0"
    shift = int(exponent) if len(exponent) < len(str(_FAR)) else _FAR
    digits = whole + fraction
    significant = digits.lstrip(b"0")
    magnitude = len(whole) - (len(digits) - len(significant)) + (-shift if exponent_sign == b"-" else shift)
    return minus != b"", significant.rstrip(b"0"), magnitude


def _present(value: bytes) -> bytes:
    """A value, or nothing in place of one that says nothing."""
    return b"" if value in (b"null", b'""') else value


def _is_string(value: bytes) -> bool:
    return value[:1] == b'"'


def _text(value: bytes) -> str:
    return msgspec.json.decode(value, type=str)
