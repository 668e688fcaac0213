"""Which entries `fastlog tail` shows: a first look in C at all lines (`_select.pyx`), a second one at those it leaves.

The first look tells levels; of the rest it knows only bytes that a wanted entry must hold. Both looks together select
what decoding every line would.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from fastlog.entry import LEVELS
from fastlog.errors import ConfigError
from fastlog.logs._select import NEEDLES_MAX, Selector

Look = Callable[[bytes | bytearray], bool]
Needle = tuple[bytes, bool, bytes]  # as _select.Selector takes it
Field = tuple[str, str]  # a key, and its value as it is shown: a string's text, anything else as it was written

# What a text may hold and JSON still writes it in one way only, but for `\u` escapes.
_PLAIN = re.compile(r'[^"\\/\x00-\x1f]+')
# The same of a piece of the text that is searched, which may also have a `=` that no entry wrote.
_SEARCHED = re.compile(r'[^"\\/=\x00-\x1f]+')
# Letters that others outside ASCII equal without case, as the long s does, and all those others.
_ODD_CASE = re.compile(r"[iks\x80-\U0010ffff]", re.IGNORECASE)
_DURATION = re.compile(r"([0-9]{1,9})([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode


class _App(msgspec.Struct, gc=False):
    app: str | None = None


class _Host(msgspec.Struct, gc=False):
    host: str | None = None


class _Time(msgspec.Struct, gc=False):
    timestamp: str = ""


class _Message(msgspec.Struct, gc=False):
    message: str = ""


def fields_of(line: bytes | bytearray | str) -> list[Field]:
    """The fields of an entry. Raises msgspec.DecodeError for what is none."""
    return [(key, _text(bytes(value))) for key, value in _decode_fields(line).items()]


def _text(value: bytes) -> str:
    return _decode_text(value) if value[:1] == b'"' else value.decode()


class Selection:
    """The lines wanted; without any condition all, those included that are no entries (there should be none).

    `level`: it and those above. `app`, `host`: the whole name. `since`, in UTC: entries whose timestamp is earlier are
    left out; one without a timestamp, or with one that is no time, is not. `pattern`: found in the message, or in any
    other field written as `key=value`. `entries_only`: nothing but entries, whatever the other conditions.
    """

    def __init__(
        self,
        *,
        level: str | None = None,
        app: str | None = None,
        host: str | None = None,
        since: datetime | None = None,
        pattern: re.Pattern[str] | None = None,
        entries_only: bool = False,
    ) -> None:
        self.is_all = all(condition is None for condition in (level, app, host, since, pattern))
        needles = [_needles_of_name(b"app", app), _needles_of_name(b"host", host), _needles_of(pattern)]
        groups = [group for group in needles if group]
        second = since.isoformat(timespec="seconds")[:19].encode() if since else b""
        levels = 0 if self.is_all and not entries_only else sum(1 << number for number in _from(level))
        self._selector = Selector(levels, groups, second)
        self._looks = _second_looks(app, host, since, pattern)
        # what the first look is certain of needs no second one, unless there is a condition it knows nothing of
        self._trusts = len(groups) == sum(condition is not None for condition in (app, host, pattern))

    def runs(self, block: bytearray, start: int, end: int) -> list[tuple[int, int]]:
        """Where wanted lines stand in block[start:end], which has whole lines; neighbours may be told together."""
        found: list[tuple[int, int]] = []
        for run_start, run_end, is_certain in self._selector.runs(block, start, end):
            if not self._looks or (is_certain and self._trusts):
                found.append((run_start, run_end))
            else:
                self._look_again(block, run_start, run_end, found)
        return found

    def _look_again(self, block: bytearray, start: int, end: int, found: list[tuple[int, int]]) -> None:
        at = start
        for line in block[start : end - 1].split(b"\n"):
            after = at + len(line) + 1
            if all(look(line) for look in self._looks):
                found.append((at, after))
            at = after


def _second_looks(
    app: str | None, host: str | None, since: datetime | None, pattern: re.Pattern[str] | None
) -> list[Look]:
    """What is asked of an entry's line besides its level. Each decodes just what it needs: most lines meet only one."""
    looks: list[Look] = []
    if app is not None:
        decode_app = msgspec.json.Decoder(_App).decode
        looks.append(lambda line: decode_app(line).app == app)
    if host is not None:
        decode_host = msgspec.json.Decoder(_Host).decode
        looks.append(lambda line: decode_host(line).host == host)
    if since is not None:
        decode_time = msgspec.json.Decoder(_Time).decode

        def is_late(line: bytes | bytearray) -> bool:
            time = time_of(decode_time(line).timestamp)
            return time is None or time >= since

        looks.append(is_late)
    if pattern is not None:
        decode_message = msgspec.json.Decoder(_Message).decode
        search = pattern.search

        def matches(line: bytes | bytearray) -> bool:
            if search(decode_message(line).message):
                return True
            return any(search(f"{key}={text}") for key, text in fields_of(line) if key != "message")

        looks.append(matches)
    return looks


def _from(level: str | None) -> range | list[int]:
    """The numbers of a level and those above. OTHER is neither above nor below another one."""
    if level is None:
        return range(len(LEVELS))
    number = LEVELS.index(level)
    return [number] if level == "OTHER" else range(number, LEVELS.index("OTHER"))


def parse_since(text: str, now: datetime) -> datetime:
    """A duration before `now`, or a time, in UTC. Raises ConfigError."""
    duration = _DURATION.fullmatch(text.strip())
    try:
        if duration:
            return now - timedelta(seconds=int(duration[1]) * _UNITS[duration[2]])
        time = datetime.fromisoformat(text.strip())
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise ConfigError(
            f"--since {text}: must be a duration like 90s, 10m, 2h, 1d or 1w, or a time like 2026-11-24T07:00:00Z"
        ) from None


def time_of(text: str) -> datetime | None:
    """A timestamp; without a zone it is UTC. None: it is none."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def parse_pattern(text: str) -> re.Pattern[str]:
    """Raises ConfigError."""
    try:
        return re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ConfigError(f"--grep {text}: no regular expression as Python takes them: {error}") from None


def _needles_of_name(field: bytes, name: str | None) -> list[Needle]:
    """A needle that an entry must hold whose field has this value; none: that cannot be told."""
    if name is None:
        return []
    if _PLAIN.fullmatch(name) and _is_text(name):
        return [(b'"' + name.encode() + b'"', False, b'"' + field + b'"')]
    longest = max(filter(_is_text, _PLAIN.findall(name)), key=len, default="")
    return [(longest.encode(), False, b"")] if longest else []


def _needles_of(pattern: re.Pattern[str] | None) -> list[Needle]:
    """Needles one of which every entry holds that the pattern matches; none: that cannot be told."""
    if pattern is None:
        return []
    from re import _parser  # type: ignore[attr-defined]  # what compiled it; no other module reads its syntax

    parsed = _parser.parse(pattern.pattern, pattern.flags & ~re.DEBUG)
    without_case = bool(parsed.state.flags & re.IGNORECASE)
    texts = _required(list(parsed), without_case)
    if not texts or len(texts) > NEEDLES_MAX // 2:
        return []
    is_all = not without_case and [(str(operation), argument) for operation, argument in parsed] == [
        ("LITERAL", ord(character)) for character in texts[0]
    ]
    return [(text.encode(), without_case, b'"message"' if is_all else b"") for text in texts]


def _required(parsed: list[tuple[Any, Any]], without_case: bool) -> list[str]:
    """The best of: the longest text that stands in a row, or the alternatives of one place of which each has one."""
    candidates: list[list[str]] = []
    row = ""
    for operation, argument in [*parsed, (None, None)]:
        name = str(operation)
        if name == "LITERAL":
            row += chr(argument)
            continue
        pieces = _SEARCHED.findall(row)
        if without_case:
            pieces = [part for piece in pieces for part in _ODD_CASE.split(piece) if part]
        candidates += [[piece] for piece in pieces if _is_text(piece)]
        row = ""
        if name == "SUBPATTERN":
            _, added, removed, inner = argument
            if not added & re.IGNORECASE and not removed & re.IGNORECASE:
                candidates.append(_required(list(inner), without_case))
        elif name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            least, _, inner = argument
            if least:
                candidates.append(_required(list(inner), without_case))
        elif name == "ATOMIC_GROUP":
            candidates.append(_required(list(argument), without_case))
        elif name == "BRANCH":
            each = [_required(list(branch), without_case) for branch in argument[1]]
            candidates.append([text for texts in each for text in texts] if all(each) else [])
    return max(candidates, key=lambda texts: min(map(len, texts), default=0), default=[])


def _is_text(piece: str) -> bool:
    """Surrogates, as a command line that is no UTF-8 has them, are in no entry."""
    return not any("\ud800" <= character <= "\udfff" for character in piece)
