"""What a viewer asks for: the query of `/tap` and `/lines`, read and checked. The server does that before it hands the
connection over, so a wrong query is answered as any other wrong request is."""

import contextlib
import re
from datetime import UTC, datetime, timedelta
from typing import Literal
from urllib.parse import parse_qsl

import msgspec

from fastlog.entry import known_level
from fastlog.errors import FastlogError
from fastlog.times import EPOCH, time_of

RATE_MAX = 50  # lines a second: more than a person can read
LAST_MAX = 200  # lines that a live view begins with: a few screens
LIMIT_DEFAULT = 100  # lines of an answer
LIMIT_MAX = 1_000
FIELDS_MAX = 32  # parameters of a query: more than there are
VALUE_MAX = 1_000  # characters of a value: names and texts that a person types are shorter
UNIX_MAX = 253_402_300_799  # the last second of the year 9999

_POSITION = re.compile("[0-9a-f]{1,20}:[0-9]{1,20}:[0-9]{1,18}")  # as lines.position writes it

Kind = Literal["tap", "lines"]

BOTH = {"level", "app", "host", "source", "text", "rejected", "reason"}
KNOWN: dict[Kind, set[str]] = {
    "tap": BOTH | {"rate", "last"},
    "lines": BOTH | {"since", "until", "limit", "download"},
}
OF_ENTRIES = ("level", "app", "host")


class QueryError(FastlogError):
    """The query is wrong."""


class Query(msgspec.Struct, frozen=True):
    """`kind`: "tap" for lines as they come, "lines" for those that are there. None: anything will do.

    `levels`: the entry's level is one of them. `source`: the address that the server recorded, and of a reject that of
    its sender, with or without the port. `text`: in the line, in any case. `rejected`: notes of rejected input in place
    of entries. `since`, `until`: seconds since 1970. `rate`: lines a second. `last`: lines to begin with. `limit`:
    lines of the answer. `after`: the position that a viewer has seen already; empty: it has seen nothing.
    """

    kind: Kind
    levels: tuple[str, ...] | None = None
    app: str | None = None
    host: str | None = None
    source: str | None = None
    text: str | None = None
    rejected: bool = False
    reason: str | None = None
    since: float | None = None
    until: float | None = None
    rate: int = RATE_MAX
    last: int = 0
    limit: int = LIMIT_DEFAULT
    download: bool = False
    after: str = ""

    @property
    def filters(self) -> "Query":
        """What decides which lines are wanted: the same for viewers that can share the work."""
        return Query(
            "lines", self.levels, self.app, self.host, self.source, self.text, self.rejected, self.reason,
            self.since, self.until,
        )  # fmt: skip


def parse_query(kind: Kind, text: str, after: str = "") -> Query:
    """`text`: the query as it is in the URL. `after`: the header Last-Event-ID. Raises QueryError."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict")
    except (ValueError, UnicodeDecodeError):
        raise QueryError(
            f"the query has more than {FIELDS_MAX} parameters, or its text is not UTF-8; name each parameter once"
        ) from None
    given = {name: value for name, value in pairs if value}
    if unknown := sorted({name for name, _ in pairs} - KNOWN[kind]):
        raise QueryError(
            f"unknown parameter {unknown[0][:VALUE_MAX]!r}; /{kind} takes {', '.join(sorted(KNOWN[kind]))}"
        )
    for name, value in given.items():
        if len(value) > VALUE_MAX:
            raise QueryError(f"{name}: has more than {VALUE_MAX} characters")
    rejected = _is_on("rejected", given)
    if rejected and (wrong := [name for name in OF_ENTRIES if name in given]):
        raise QueryError(f"{wrong[0]}: is a filter of entries, and does not go with rejected=1")
    if "reason" in given and not rejected:
        raise QueryError("reason: is a filter of rejected input; add rejected=1")
    since, until = _time("since", given), _time("until", given)
    if since is not None and until is not None and since >= until:
        raise QueryError("until: must be later than since")
    return Query(
        kind,
        _levels(given.get("level")),
        given.get("app"),
        given.get("host"),
        given.get("source"),
        given.get("text"),
        rejected,
        given.get("reason"),
        since,
        until,
        _whole("rate", given, RATE_MAX, 1, RATE_MAX),
        _whole("last", given, 0, 0, LAST_MAX),
        _whole("limit", given, LIMIT_DEFAULT, 1, LIMIT_MAX),
        _is_on("download", given),
        after if _POSITION.fullmatch(after) else "",
    )


def _levels(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    levels = set()
    for name in text.split(","):
        level = known_level(name.strip())
        if level is None:
            raise QueryError(f"level={name}: is not a level; DEBUG, INFO, WARNING, ERROR, CRITICAL and OTHER are")
        levels.add(level)
    return tuple(sorted(levels))


def _is_on(name: str, given: dict[str, str]) -> bool:
    value = given.get(name, "0")
    if value not in ("0", "1"):
        raise QueryError(f"{name}={value}: must be 0 or 1")
    return value == "1"


def _whole(name: str, given: dict[str, str], default: int, least: int, most: int) -> int:
    text = given.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and least <= int(text) <= most):
        raise QueryError(f"{name}={text}: must be a whole number from {least} to {most}")
    return int(text)


def _time(name: str, given: dict[str, str]) -> float | None:
    text = given.get(name)
    if text is None:
        return None
    try:
        seconds = float(text)
        if 0 <= seconds <= UNIX_MAX:
            return seconds
    except ValueError:
        if time := time_of(text):
            seconds = (time - EPOCH).total_seconds()
            with contextlib.suppress(OverflowError):  # its offset leads out of the years 1 to 9999
                moment(seconds)
                return seconds
    raise QueryError(
        f"{name}={text}: must be a time such as 2026-11-24T07:00:00Z, or seconds since 1970; write + as %2B"
    )


def moment(seconds: float) -> datetime:
    """The time so many seconds after 1970."""
    return datetime.fromtimestamp(0, UTC) + timedelta(seconds=seconds)
