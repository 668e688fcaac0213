"""Lines of the log as text for people: the readable reference. `_rendering.pyx` renders ordinary lines alike."""

import argparse
import codecs
import re
from collections.abc import Callable
from datetime import UTC
from typing import Literal

import msgspec

from fastlog.commands._rendering import Renderer
from fastlog.commands.terminal import PLAIN, visible, wants_colours
from fastlog.entry import LEVELS, level_of
from fastlog.errors import ConfigError
from fastlog.logs.selection import fields_of
from fastlog.times import time_of

DIM = "\x1b[2m"
COLOURS = {
    "DEBUG": "\x1b[2m",
    "INFO": "\x1b[32m",
    "WARNING": "\x1b[33m",
    "ERROR": "\x1b[31m",
    "CRITICAL": "\x1b[1;97;41m",
    "OTHER": "\x1b[36m",
}
_BARE = re.compile(r'[^\s"]+')  # a value whose end is plain without quotes

# The fields that every line shows, each in its place. A field with any other name follows as key=value.
PLACES = ("time", "level", "app", "host", "message")
NOT_SHOWN = "sequence"  # unless it is asked for: nobody reads it, and it is long

Zone = Literal["utc", "local"] | None
Runs = list[tuple[int, int]]
Shown = Callable[[bytes | bytearray, Runs], bytes]  # what is written of the lines in parts of a block; in any thread


class Form(msgspec.Struct, frozen=True):
    """How an entry is shown. `zone`: times are shown in UTC, or in that of this machine (local); None: as they are
    stored. `fields`: only these, in this order; empty: all but the sequence."""

    colours: bool = False
    zone: Zone = None
    fields: tuple[str, ...] = ()


def form_from(options: argparse.Namespace) -> Form:
    """By the flags that `tail` and `tap` share. Raises ConfigError."""
    fields = parse_fields(options.fields) if options.fields is not None else ()
    return Form(wants_colours(options.color), options.zone, fields)


def parse_fields(text: str) -> tuple[str, ...]:
    """Raises ConfigError."""
    fields = tuple(name.strip() for name in text.split(","))
    if not all(fields):
        raise ConfigError(
            f"--fields {text}: must be names of fields with commas between them, such as time,level,message"
        )
    return fields


def shown_by(shown: Callable[[str], str], encoding: str) -> Shown:
    """By a function that shows one line."""

    def of_runs(block: bytes | bytearray, runs: Runs) -> bytes:
        return b"".join([_encoded(block[start : end - 1], shown, encoding) for start, end in runs])

    return of_runs


def shown_as_text(form: Form, encoding: str) -> Shown:
    """As `render` does it, but fast where the form and the encoding are usual ones."""

    def by_reference(line: str) -> str:
        return render(line, form)

    codec = codecs.lookup(encoding).name
    if codec not in ("utf-8", "ascii") or form.zone or form.fields:
        return shown_by(by_reference, encoding)
    starts = [COLOURS[level].encode() if form.colours else b"" for level in LEVELS]
    dim, plain = (DIM.encode(), PLAIN.encode()) if form.colours else (b"", b"")
    renderer = Renderer(dim, starts, plain, codec == "ascii")

    def of_runs(block: bytes | bytearray, runs: Runs) -> bytes:
        text, others = renderer.render(block, runs)
        pieces, at = [], 0
        for place, start, end in others:
            pieces += [text[at:place], _encoded(block[start:end], by_reference, encoding)]
            at = place
        return b"".join([*pieces, text[at:]]) if pieces else text

    return of_runs


def _encoded(lines: bytes | bytearray, shown: Callable[[str], str], encoding: str) -> bytes:
    texts = [shown(line.decode("utf-8", "backslashreplace")) + "\n" for line in lines.split(b"\n")]
    return "".join(texts).encode(encoding, "backslashreplace")


def render(line: str, form: Form) -> str:
    """A line of the log for people: `time LEVEL app host message key=value…`, with `-` for a field that is missing.

    In place of `timestamp` and `host`, those that the server recorded are shown: `received` and `source`."""
    try:
        fields = dict(fields_of(line))
        level, message = fields["level"], fields["message"]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError):
        return visible(line)
    rest = dict(fields)
    for name in ("level", "message", "app", NOT_SHOWN):
        rest.pop(name, None)
    time, host = in_zone(_first_of(rest, "timestamp", "received"), form.zone), _first_of(rest, "host", "source")
    places = {
        "time": f"{DIM}{visible(time)}{PLAIN}" if form.colours else visible(time),
        "level": f"{COLOURS[level_of(level)]}{visible(level):8}{PLAIN}" if form.colours else visible(f"{level:8}"),
        "app": visible(fields.get("app", "-")),
        "host": visible(host),
        "message": visible(message),
    }
    if form.fields:
        shown = [
            places[name] if name in places else _pair(name, fields[name])
            for name in form.fields
            if name in places or name in fields
        ]
    else:
        shown = [*places.values(), *(_pair(name, value) for name, value in rest.items())]
    return " ".join(shown)


def _pair(key: str, value: str) -> str:
    """A field and its value, in quotes where its end would not be plain without them."""
    return visible(f"{key}={_quoted(value)}")


def in_zone(text: str, zone: Zone) -> str:
    """The time there, to the millisecond so that all have the same width; what is not a time stays as it is."""
    time = time_of(text) if zone else None
    if time is None:
        return text
    try:
        if zone == "local":
            return time.astimezone().isoformat(timespec="milliseconds")
        return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
    except (OverflowError, ValueError):  # of the year 1 or 9999, and the zone has it in another one
        return text


def _first_of(fields: dict[str, str], said: str, recorded: str) -> str:
    """Takes what the sender says out of the fields, or else what the server recorded."""
    return fields.pop(said, "") or fields.pop(recorded, "") or "-"


def _quoted(value: str) -> str:
    """The value, in quotes where its end would not be plain without them."""
    return value if _BARE.fullmatch(value) or value[:1] in ("{", "[") else f'"{value}"'
