"""Shortens an entry that is too large for its datagram. The least useful parts go first, and new fields report it.

There are no sockets in here. The caller says how many bytes there are and how an entry is encoded.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple, Protocol

from fastlog.entry import known_level

LIMIT_MIN_BYTES = 512  # the known fields fit in it, each cut to its least
TRACEBACK_MIN_CHARS = 2000  # the outermost and the innermost few calls, kept while anything else can be cut
EXTRA_MIN_CHARS = 64  # enough for an extra field to say something
MESSAGE_MIN_CHARS = 1000  # enough for a message to say what happened; before it gets shorter, whole fields are left out
KNOWN_MAX_CHARS = 8  # what is left of level, app, host and timestamp in the end; an escaped character takes 6 bytes

_KNOWN = ("timestamp", "sequence", "level", "message", "host", "app")
_OURS = ("truncated", "original_bytes", "fields_left_out")

_Entry = dict[str, object]
_Encode = Callable[[_Entry], bytes]


class LeftOut(Protocol):
    """What is missing in an entry: characters in the middle of a field, by its name, their bytes in all, and fields."""

    @property
    def characters_left_out(self) -> Mapping[str, int] | None: ...
    @property
    def bytes_left_out(self) -> int: ...
    @property
    def fields_left_out(self) -> int: ...


class _Text(NamedTuple):
    """A field as text, in the middle of which characters may be left out already."""

    text: str
    left_out: int

    def cut(self, kept: int) -> str:
        return cut_text(self.text, min(kept, len(self.text)), self.left_out)


def shorten(
    entry: dict[str, object],
    limit_bytes: int,
    encode: Callable[[dict[str, object]], bytes],
    left_out: "LeftOut | None" = None,
) -> bytes:
    """The entry in at most `limit_bytes` bytes, as `encode` writes it. An entry that fits is not changed.

    First `traceback` is cut, from its middle; then every other field that fastlog does not know, the longest ones down
    to the same length; then `message`. If there are too many fields for that, the last ones are left out. The result
    has `"truncated": true`, `original_bytes` (the size of the whole entry) and, if fields were left out, their number
    as `fields_left_out`, in place of fields of these names. `entry` itself is not changed.

    `left_out` is what the caller has left out already. Raises ValueError if the limit is below LIMIT_MIN_BYTES, and
    whatever `encode` raises.
    """
    if limit_bytes < LIMIT_MIN_BYTES:
        raise ValueError(f"an entry cannot be shortened to {limit_bytes} bytes, only to {LIMIT_MIN_BYTES} or more")
    cut = (left_out.characters_left_out if left_out else None) or {}
    fields_left_out = left_out.fields_left_out if left_out else 0
    whole = encode(entry)
    if len(whole) <= limit_bytes and not cut and not fields_left_out:
        return whole
    entry = {name: value for name, value in entry.items() if name not in _OURS}
    texts = {
        name: _Text(value if isinstance(value, str) else _json(value, encode), cut.get(name, 0))
        for name, value in entry.items()
    }
    entry |= {name: texts[name].cut(len(texts[name].text)) for name in cut if name in texts}
    entry |= {"truncated": True, "original_bytes": len(whole) + (left_out.bytes_left_out if left_out else 0)}
    if fields_left_out:
        entry["fields_left_out"] = fields_left_out
    data = encode(entry)
    return data if len(data) <= limit_bytes else _shortest_that_fits(entry, texts, fields_left_out, limit_bytes, encode)


def _shortest_that_fits(
    entry: _Entry, texts: dict[str, _Text], fields_left_out: int, limit_bytes: int, encode: _Encode
) -> bytes:
    traceback = [name for name in texts if name == "traceback"]
    message = [name for name in texts if name == "message"]
    extras = [name for name in texts if name not in _KNOWN and name not in traceback]
    for step, least, most in (
        (partial(_cut_fields, texts, traceback), TRACEBACK_MIN_CHARS, limit_bytes),
        (partial(_cut_fields, texts, extras), EXTRA_MIN_CHARS, limit_bytes),
        (partial(_cut_fields, texts, message), MESSAGE_MIN_CHARS, limit_bytes),
        (partial(_keep_fields, extras, fields_left_out), 0, len(extras)),
        (partial(_cut_fields, texts, traceback + message), 0, TRACEBACK_MIN_CHARS),
        (_cut_known, KNOWN_MAX_CHARS, limit_bytes),
    ):
        data = encode(step(entry, least))
        if len(data) <= limit_bytes:
            return _largest(partial(step, entry), least, most, limit_bytes, encode) or data
        entry = step(entry, least)
    raise ValueError(
        f"the shortest form of the entry has {len(data)} bytes: `sequence` is not an integer, or `encode` adds much"
    )


def cut_text(text: str, kept: int, left_out: int = 0) -> str:
    """The first and the last characters of a text, `kept` of them in all; in its middle, `left_out` are missing."""
    head = text[: kept - kept // 2]
    tail = text[len(text) - kept // 2 :]
    return f"{head} … {len(text) - kept + left_out} characters left out … {tail}"


def _largest(step: Callable[[int], _Entry], least: int, most: int, limit_bytes: int, encode: _Encode) -> bytes | None:
    """Binary search: the encoded entry for the largest number above `least`, up to `most`, that fits; or None."""
    fitting = None
    while least < most:
        kept = (least + most + 1) // 2
        data = encode(step(kept))
        if len(data) <= limit_bytes:
            fitting, least = data, kept
        else:
            most = kept - 1
    return fitting


def _cut_fields(texts: dict[str, _Text], names: list[str], entry: _Entry, kept: int) -> _Entry:
    return entry | {name: texts[name].cut(kept) for name in names if len(texts[name].text) > kept}


def _keep_fields(extras: list[str], left_out: int, entry: _Entry, kept: int) -> _Entry:
    gone = set(extras[kept:])
    kept_fields = {name: value for name, value in entry.items() if name not in gone}
    return kept_fields | {"fields_left_out": len(gone) + left_out}


def _cut_known(entry: _Entry, kept: int) -> _Entry:
    short: _Entry = {name: value[:kept] if isinstance(value, str) else value for name, value in entry.items()}
    level = entry.get("level")
    if isinstance(level, str) and known_level(level) != known_level(level[:kept]):
        short["level"] = known_level(level) or "OTHER"
    return short


def _json(value: object, encode: _Encode) -> str:
    return encode({"": value}).decode()[len('{"":') : -len("}")]
