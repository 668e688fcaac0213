"""Lines of text as entries: text as a message, a JSON object as it is; and the level that a line names."""

import os
import re
from collections.abc import Callable, Iterator

import msgspec

from fastlog.client.core import HAS_APP, HAS_HOST, HAS_TIMESTAMP, scan
from fastlog.client.encode import OWN_SEQUENCE, encode
from fastlog.entry import known_level, level_of

READ_BYTES = 1 << 16  # the size of a pipe
LINE_MAX_BYTES = 1 << 20  # an incomplete line that is kept in memory; no datagram could hold more
GUESSED_FROM_CHARACTERS = 120  # at the start of a line: levels are there, words like ERROR are anywhere

MESSAGE_NAMES = ("msg", "event")  # other JSON loggers use these names for the message
OWN_LEVEL = "level_"  # the new name of a `level` that is not a string

# The names of levels that seldom mean something else in a line of text.
_NAMES = (
    "trace|debug|verbose|info|information|notice|warn|warning|err|error|severe"
    "|crit|critical|fatal|emerg|emergency|alert|panic"
)
_LEVEL = re.compile(
    rf"\blevel[\"']?\s*[=:]\s*[\"']?(?P<named>{_NAMES})\b"  # level=warn, "level": "warn"
    rf"|[\[<(|]\s*(?P<enclosed>{_NAMES})\s*[\])>|]"  # [error]
    rf"|^(?P<first>{_NAMES})\b\s*[:\s-]"  # error: …
    rf"|:\s(?P<labelled>{_NAMES}):"  # sshd[7]: error: …
    rf"|(?<![\w-])(?-i:(?P<upper>{_NAMES.upper()}))(?![\w-])"  # … ERROR …
    r"|^<(?P<syslog>[0-7])>",  # the prefix of systemd and of the kernel
    re.IGNORECASE,
)

_decode_raw = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_PRESENT = {"timestamp": HAS_TIMESTAMP, "host": HAS_HOST, "app": HAS_APP}


class Encoded(msgspec.Struct):
    """An entry as Outbox.put_encoded takes it."""

    level: str
    present: int
    body: bytes


def read_lines(source: int, wait: Callable[[int], bool]) -> Iterator[list[bytes]]:
    """The lines of a file descriptor, as they arrive, without the empty ones. `wait(source)` waits until there is
    something to read; if it returns False, what was read so far ends there, and the rest is left. Raises OSError after
    what was read before the error."""
    rest = b""
    failure = None
    while True:
        try:
            data = os.read(source, READ_BYTES) if wait(source) else b""
        except BlockingIOError:  # another program that reads from there as well was faster
            continue
        except OSError as error:
            data, failure = b"", error
        *lines, rest = (rest + data).split(b"\n")
        if not data or len(rest) > LINE_MAX_BYTES:
            lines.append(rest)
            rest = b""
        yield [line for line in (line.rstrip(b"\r") for line in lines) if line]
        if failure:
            raise failure
        if not data:
            return


def guess_level(text: str) -> str | None:
    """The level that a line names near its start, or None."""
    found = _LEVEL.search(text, 0, GUESSED_FROM_CHARACTERS)
    if found is None:
        return None
    return level_of(found[found.lastgroup or 0])


def json_entry(line: bytes, level: str, guess: bool) -> Encoded | None:
    """The entry for a line that is a JSON object with a message: its bytes unchanged if the server takes them, else its
    values unchanged, with names and a level as the server takes them. None if the line is not such an object."""
    try:
        fields = _decode_raw(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    body = line.strip()
    found = _accepted(body)
    if found is None or "sequence" in fields:
        body = encode(_completed(fields, level, guess))
        found = _accepted(body)
    if found is None:
        return None
    return Encoded(found, sum(flag for name, flag in _PRESENT.items() if name in fields), body)


def values_of(body: bytes) -> dict[str, object]:
    """The values of an entry that is to be shortened. A number that is too large for Python becomes its text."""
    values: dict[str, object] = {}
    for name, value in _decode_raw(body).items():
        try:
            values[name] = msgspec.json.decode(value)
        except msgspec.DecodeError:
            values[name] = bytes(value).decode()
    return values


def _accepted(body: bytes) -> str | None:
    """The level of an entry that the server takes, or None."""
    found = scan(body)
    return found[0][1] if len(found) == 1 else None


def _completed(fields: dict[str, msgspec.Raw], level: str, guess: bool) -> dict[str, object]:
    full: dict[str, object] = {"level": level, "message": None}
    for name, value in fields.items():
        is_string = bytes(value)[:1] == b'"'
        if name == "sequence":
            full[OWN_SEQUENCE] = value
        elif name == "level" and not is_string:
            full[OWN_LEVEL] = value  # pino and bunyan write numbers
            full["level"] = known_level(bytes(value).decode("utf-8", "replace")) or level
        elif name in _PRESENT and not is_string:
            full[name] = bytes(value).decode("utf-8", "replace")
        else:
            full[name] = value
    for name in MESSAGE_NAMES:
        if full["message"] is None and bytes(fields.get(name, b""))[:1] == b'"':
            full["message"] = full.pop(name)
    if guess and "level" not in fields and isinstance(full["message"], msgspec.Raw):
        full["level"] = guess_level(bytes(full["message"])[1:].decode("utf-8", "replace")) or level
    return full
