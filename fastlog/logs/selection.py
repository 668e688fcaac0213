"""Which entries `fastlog tail` shows: a first look in C at all lines (`_select.pyx`), a second one at those it leaves.

The first look knows levels, and for the other conditions only bytes that a wanted entry must hold. Both looks together
select exactly what decoding every line would.
"""

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from itertools import pairwise
from typing import Any

import msgspec

from fastlog.archive.summary import text_of
from fastlog.entry import LEVELS
from fastlog.errors import ConfigError
from fastlog.logs._select import NEEDLES_MAX, Selector
from fastlog.logs.conditions import EARLIEST, LATEST, Conditions, Window, entry_time

Look = Callable[[bytes | bytearray], bool]
Needle = tuple[bytes, bytes, bool, bytes]  # as _select.Selector takes it
Clue = tuple[str, str]  # a text that a match has, and what follows it behind `=` or as the value of a field, or nothing
Node = tuple[Any, Any]  # an operation of a parsed regular expression, and its argument
Field = tuple[str, str]  # a key, and its value as it is shown: a string's text, anything else as it was written

# JSON writes these characters in more than one way, and all others in one way besides `\u` escapes. No entry has lone
# surrogates, but a command line that is not UTF-8 has them.
_AMBIGUOUS = re.compile(r'["\\/\x00-\x1f\ud800-\udfff]')
# Without case, these ASCII letters equal others outside ASCII, as s equals the long s, which have rules of their own.
_AMBIGUOUS_WITHOUT_CASE = re.compile(r'["\\/\x00-\x1fiks\x80-\U0010ffff]', re.IGNORECASE)
_DURATION = re.compile(r"([0-9]{1,9}[smhdw])+")
_PART_OF_DURATION = re.compile(r"([0-9]+)([smhdw])")
AFTER_ALL = b"9999-12-31T23:59:60"  # a second that no time has
_TIME_OF_DAY = re.compile(r"[0-2][0-9]:[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?")
_DAYS_BACK = {"today": 0, "yesterday": 1}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


# A key may occur twice, and only the last value is certainly a string: so the values are taken as they were written.
class _App(msgspec.Struct, gc=False):
    app: msgspec.Raw = msgspec.Raw()


class _Host(msgspec.Struct, gc=False):
    host: msgspec.Raw = msgspec.Raw()


class _Source(msgspec.Struct, gc=False):
    source: msgspec.Raw = msgspec.Raw()


class _Message(msgspec.Struct, gc=False):
    message: msgspec.Raw = msgspec.Raw()


def fields_of(line: bytes | bytearray | str) -> list[Field]:
    """The fields of an entry. Raises msgspec.DecodeError if the line is not an entry."""
    return [(key, _shown(value)) for key, value in _decode_fields(line).items()]


def _shown(value: msgspec.Raw) -> str:
    text = text_of(value)
    return bytes(value).decode() if text is None else text


class Selection:
    """The lines that are wanted. Without any condition all are, even those that are not entries (there should be none).

    `level`: this level and those above. `levels`: these, in place of `level`. `source`: the address that the server
    recorded, with or without its port. `app`, `host`: the whole name. `window`: see there. `pattern`: found in the
    message, or in any other field written as `key=value`. `entries_only`: lines that are not entries are left out even
    without a condition.
    """

    def __init__(
        self,
        *,
        level: str | None = None,
        levels: frozenset[str] | None = None,
        app: str | None = None,
        host: str | None = None,
        source: str | None = None,
        window: Window | None = None,
        pattern: re.Pattern[str] | None = None,
        entries_only: bool = False,
    ) -> None:
        self.is_all = all(condition is None for condition in (level, levels, app, host, source, window, pattern))
        if levels is None:
            levels = frozenset(() if self.is_all and not entries_only else _from(level))
        numbers = [number for number, name in enumerate(LEVELS) if name in levels]
        self._levels = levels
        self.conditions = Conditions(levels or None, app, host, window, pattern, source)
        needles = [_needles_of_name(b"app", app), _needles_of_name(b"host", host), _needles_of(pattern)]
        needles += [_needles_of_address(source)]
        groups = [group for group in needles if group]
        bounds = [_bounds(window, is_received) for is_received in (True, False)] if window else []
        self._selector = Selector(sum(1 << number for number in numbers), groups, bounds)
        self._looks = _second_looks(self.conditions)
        # A line that the first look is certain about needs no second one, unless a condition has no needle.
        self._trusts = len(groups) == sum(condition is not None for condition in (app, host, pattern, source))

    def at_any_time(self) -> "Selection":
        """The same without a window: of entries."""
        own = self.conditions
        return Selection(
            levels=self._levels, app=own.app, host=own.host, source=own.source, pattern=own.pattern, entries_only=True
        )

    def runs(self, block: bytes | bytearray, start: int, end: int) -> list[tuple[int, int]]:
        """Where the wanted lines are in block[start:end], which has whole lines; neighbours may come as one run. In any
        thread."""
        found: list[tuple[int, int]] = []
        for run_start, run_end, is_certain in self._selector.runs(block, start, end):
            if not self._looks or (is_certain and self._trusts):
                found.append((run_start, run_end))
            else:
                self._look_again(block, run_start, run_end, found)
        return found

    def _look_again(self, block: bytes | bytearray, start: int, end: int, found: list[tuple[int, int]]) -> None:
        at = start
        for line in block[start : end - 1].split(b"\n"):
            after = at + len(line) + 1
            if all(look(line) for look in self._looks):
                found.append((at, after))
            at = after


def _bounds(window: Window, is_received: bool) -> tuple[bytes, bytes, bytes, bytes]:
    """To the second, as _select.Selector takes it: times before the first and from the last on are outside of the
    window, and those from the second on and before the third are in it."""
    since, until = window.bounds(is_received)
    second = timedelta(seconds=1)
    low, before = since.replace(microsecond=0), until.replace(microsecond=0)
    start = low + second if low != since and low < LATEST - second else low
    high = before + second if before != until and before < LATEST - second else before
    is_open = until == LATEST
    texts = [_to_second(time) for time in (low, start, before, high)]
    return (texts[0], texts[1], *((AFTER_ALL, AFTER_ALL) if is_open else (texts[2], texts[3])))


def _to_second(time: datetime) -> bytes:
    return time.isoformat(timespec="seconds")[:19].encode()


def _second_looks(conditions: Conditions) -> list[Look]:
    """The conditions besides the level, each of which decodes only what it needs of a line."""
    app, host, source = conditions.app, conditions.host, conditions.source
    window, pattern = conditions.window, conditions.pattern
    looks: list[Look] = []
    if app is not None:
        decode_app = msgspec.json.Decoder(_App).decode
        looks.append(lambda line: text_of(decode_app(line).app) == app)
    if host is not None:
        decode_host = msgspec.json.Decoder(_Host).decode
        looks.append(lambda line: text_of(decode_host(line).host) == host)
    if source is not None:
        decode_source = msgspec.json.Decoder(_Source).decode
        looks.append(lambda line: is_address(text_of(decode_source(line).source) or "", source))
    if window is not None:

        def is_in_window(line: bytes | bytearray) -> bool:
            time = entry_time(line)
            return time is None or window.has(*time)

        looks.append(is_in_window)
    if pattern is not None:
        decode_message = msgspec.json.Decoder(_Message).decode
        search = pattern.search

        def matches(line: bytes | bytearray) -> bool:
            if search(text_of(decode_message(line).message) or ""):
                return True
            return any(search(f"{key}={text}") for key, text in fields_of(line) if key != "message")

        looks.append(matches)
    return looks


def _from(level: str | None) -> tuple[str, ...]:
    """A level and those above it. OTHER is neither above nor below another one."""
    if level is None:
        return LEVELS
    return (level,) if level == "OTHER" else LEVELS[LEVELS.index(level) : LEVELS.index("OTHER")]


def parse_window(
    since: str | None, until: str | None, slack: str | None, now: datetime, *, is_local: bool = False
) -> Window | None:
    """The window of `--since`, `--until` and `--clock-slack`; None if it has no end. Raises ConfigError."""
    wide = parse_duration("--clock-slack", slack) if slack else timedelta()
    if not since and not until:
        return None
    begin = parse_time("--since", since, now, is_local=is_local) if since else EARLIEST
    end = parse_time("--until", until, now, is_local=is_local) if until else LATEST
    if until and end <= begin and _TIME_OF_DAY.fullmatch(until.strip()):
        zone, later = (
            (None if is_local else UTC),
            parse_time("--until", until, now + timedelta(days=1), is_local=is_local),
        )
        if later.astimezone(zone).date() == now.astimezone(zone).date():  # it is still to come today
            end = later
    window = Window(begin, end, wide)
    if window.since >= window.until:
        raise ConfigError(f"--until {until}: must be later than --since {since}")
    return window


def parse_time(flag: str, text: str, now: datetime, *, is_local: bool = False) -> datetime:
    """A duration before `now`; a time; a time of day, the last one before `now`; or the beginning of a day by its name.
    Without an offset it is in UTC, or in the time zone of this machine. Raises ConfigError."""
    text = text.strip()
    try:
        if _DURATION.fullmatch(text):
            return now - parse_duration(flag, text)
        today = now.astimezone(None if is_local else UTC).date()
        if text in _DAYS_BACK:
            return _in_utc(datetime.combine(today - timedelta(days=_DAYS_BACK[text]), time_of_day()), is_local)
        if _TIME_OF_DAY.fullmatch(text):
            of_day = time_of_day.fromisoformat(text)
            time = _in_utc(datetime.combine(today, of_day), is_local)
            if time > now:
                time = _in_utc(datetime.combine(today - timedelta(days=1), of_day), is_local)
            return time
        return _in_utc(datetime.fromisoformat(text), is_local)
    except (ValueError, OverflowError):
        raise ConfigError(
            f"{flag} {text}: must be a duration like 90s, 10m, 1h30m, 1d or 1w, a time like 2026-11-24T07:00:00Z, "
            "'2026-11-24 07:00', 2026-11-24 or 07:00, or today or yesterday"
        ) from None


def _in_utc(time: datetime, is_local: bool) -> datetime:
    """`is_local`: whether a time without an offset is in the time zone of this machine, and not in UTC."""
    return time.astimezone(UTC) if time.tzinfo or is_local else time.replace(tzinfo=UTC)


def parse_duration(flag: str, text: str) -> timedelta:
    """One or several numbers with their units, such as 1h30m. Raises ConfigError."""
    text = text.strip()
    try:
        if _DURATION.fullmatch(text):
            parts = _PART_OF_DURATION.findall(text)
            return timedelta(seconds=sum(int(number) * _UNITS[unit] for number, unit in parts))
    except OverflowError:
        pass
    raise ConfigError(f"{flag} {text}: must be a duration like 90s, 10m, 1h30m, 1d or 1w")


def parse_pattern(text: str) -> re.Pattern[str]:
    """Raises ConfigError."""
    try:
        return re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ConfigError(f"--grep {text}: not a regular expression as Python takes them: {error}") from None


def _needles_of_name(field: bytes, name: str | None) -> list[Needle]:
    """A needle that every entry holds whose field has this value; an empty list if there is none to look for."""
    if name is None:
        return []
    pieces = _AMBIGUOUS.split(name)
    if pieces == [name] and name:
        return [(b'"' + name.encode() + b'"', b"", False, b'"' + field + b'"')]
    longest = max(pieces, key=len)
    return [(longest.encode(), b"", False, b"")] if longest else []


def _needles_of_address(source: str | None) -> list[Needle]:
    """The same for the address of a sender, with or without its port: so the string may be longer."""
    if source is None:
        return []
    longest = max(_AMBIGUOUS.split(source.strip("[]")), key=len)
    return [(longest.encode(), b"", False, b"")] if longest else []


def is_address(recorded: str, wanted: str) -> bool:
    """Whether an address that the server recorded is the wanted one, which may lack its port."""
    return recorded == wanted or recorded.rpartition(":")[0].strip("[]") == wanted.strip("[]")


def _needles_of(pattern: re.Pattern[str] | None) -> list[Needle]:
    """Needles one of which every entry holds that the pattern matches; an empty list if there are none to look for."""
    if pattern is None:
        return []
    try:
        from re import _parser  # type: ignore[attr-defined]  # what compiled it; no other module reads its syntax
    except ImportError:  # it is private, and may go: every line is looked at twice then
        return []
    parsed = _parser.parse(pattern.pattern, pattern.flags & ~re.DEBUG)
    without_case = bool(parsed.state.flags & re.IGNORECASE)
    clues = _required(parsed, without_case)
    if not clues or len(clues) > NEEDLES_MAX // 2:
        return []
    text, value = clues[0]
    is_all = not (without_case or value) and [(str(operation), argument) for operation, argument in parsed] == [
        ("LITERAL", ord(character)) for character in text
    ]
    key = b'"message"' if is_all else b""
    return [(text.encode(), value.encode(), without_case, key) for text, value in clues]


def _required(nodes: Iterable[Node], without_case: bool) -> list[Clue]:
    """The clues of the place of a pattern that says most: every match has one of them."""
    candidates: list[list[Clue]] = []
    row = ""  # literal characters that follow one another
    for operation, argument in nodes:
        name = str(operation)
        if name == "LITERAL":
            row += chr(argument)
            continue
        candidates += _clues_of_row(row, without_case)
        row = ""
        if name in _CLUES_OF:
            candidates.append(_CLUES_OF[name](argument, without_case))
    candidates += _clues_of_row(row, without_case)
    return max(candidates, key=_worth, default=[])


def _worth(clues: list[Clue]) -> int:
    """How rare the clues probably are in entries that do not match."""
    return min((len(text) + len(value) for text, value in clues), default=0)


def _clues_of_row(row: str, without_case: bool) -> list[list[Clue]]:
    """The parts of a row that JSON writes in one way, and each `text=value` of them, which may be a field's."""
    split = (_AMBIGUOUS_WITHOUT_CASE if without_case else _AMBIGUOUS).split
    parts = [split(part) for part in row.split("=")]
    single = [[(piece, "")] for pieces in parts for piece in pieces if piece]
    return single + [[(left[-1], right[0])] for left, right in pairwise(parts) if left[-1] and right[0]]


def _clues_of_group(argument: Any, without_case: bool) -> list[Clue]:
    """A group in parentheses; one with flags of its own about case is left to the second look."""
    _, added, removed, inner = argument
    return [] if (added | removed) & re.IGNORECASE else _required(inner, without_case)


def _clues_of_repeat(argument: Any, without_case: bool) -> list[Clue]:
    least, _, inner = argument
    return _required(inner, without_case) if least else []


def _clues_of_branch(argument: Any, without_case: bool) -> list[Clue]:
    """Alternatives: a match has a clue of any of them, so each must have one."""
    each = [_required(branch, without_case) for branch in argument[1]]
    return [clue for clues in each for clue in clues] if all(each) else []


_CLUES_OF: dict[str, Callable[[Any, bool], list[Clue]]] = {
    "SUBPATTERN": _clues_of_group,
    "ATOMIC_GROUP": _required,
    "BRANCH": _clues_of_branch,
    "MAX_REPEAT": _clues_of_repeat,
    "MIN_REPEAT": _clues_of_repeat,
    "POSSESSIVE_REPEAT": _clues_of_repeat,
}
