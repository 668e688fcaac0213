"""Lines of the log as text for people: the readable reference. `_rendering.pyx` renders ordinary lines alike."""

import codecs
import re
from collections.abc import Callable

import msgspec

from fastlog.commands._rendering import Renderer
from fastlog.commands.terminal import PLAIN, visible
from fastlog.entry import LEVELS, level_of
from fastlog.logs.selection import fields_of

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

Runs = list[tuple[int, int]]
Shown = Callable[[bytes | bytearray, Runs], bytes]  # what is written of the lines in parts of a block; in any thread


def shown_by(shown: Callable[[str], str], encoding: str) -> Shown:
    """By a function that shows one line."""

    def of_runs(block: bytes | bytearray, runs: Runs) -> bytes:
        return b"".join([_encoded(block[start : end - 1], shown, encoding) for start, end in runs])

    return of_runs


def shown_as_text(colours: bool, encoding: str) -> Shown:
    """As `render` does it, but fast where the encoding is a usual one."""

    def by_reference(line: str) -> str:
        return render(line, colours)

    codec = codecs.lookup(encoding).name
    if codec not in ("utf-8", "ascii"):
        return shown_by(by_reference, encoding)
    starts = [COLOURS[level].encode() if colours else b"" for level in LEVELS]
    dim, plain = (DIM.encode(), PLAIN.encode()) if colours else (b"", b"")
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


def render(line: str, colours: bool) -> str:
    """A line of the log for people: `time LEVEL app host message key=value…`, with `-` for a field that is missing.

    In place of `timestamp` and `host`, those that the server recorded are shown: `received` and `source`."""
    try:
        fields = dict(fields_of(line))
        level, message = fields.pop("level"), fields.pop("message")
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError):
        return visible(line)
    time, host = _first_of(fields, "timestamp", "received"), _first_of(fields, "host", "source")
    app = fields.pop("app", "-")
    rest = "".join([f" {key}={_quoted(value)}" for key, value in fields.items()])
    text = f"{app} {host} {message}{rest}"
    if colours:
        return f"{DIM}{visible(time)}{PLAIN} {COLOURS[level_of(level)]}{visible(level):8}{PLAIN} {visible(text)}"
    return visible(f"{time} {level:8} {text}")


def _first_of(fields: dict[str, str], said: str, recorded: str) -> str:
    """Takes what the sender says out of the fields, or else what the server recorded."""
    return fields.pop(said, "") or fields.pop(recorded, "") or "-"


def _quoted(value: str) -> str:
    """The value, in quotes where its end would not be plain without them."""
    return value if _BARE.fullmatch(value) or value[:1] in ("{", "[") else f'"{value}"'
