"""What `_record.pyx` does, in Python: a record of `logging` as an entry."""

from logging import LogRecord, makeLogRecord
from time import gmtime, time
from typing import Any

from fastlog.client.encode import FLAT_TYPES, is_short_integer
from fastlog.client.level_names import level_of_record
from fastlog.client.record_fields import RESERVED, add_exceptions, add_fields, add_unformatted

TIME_END = 253402300800.0  # the year 10000, which RFC 3339 cannot write, in seconds
_LEVELS = {10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR", 50: "CRITICAL"}
# The attributes of a new record, and those that formatters leave in it. Any other attribute is an extra field.
_ATTRIBUTES = list(vars(makeLogRecord({})))
_ATTRIBUTE_COUNT = len(_ATTRIBUTES)
_LAST_ATTRIBUTE = _ATTRIBUTES[-1]
_GONE = object()
_NO_EXTRAS = frozenset((*_ATTRIBUTES, "message", "asctime"))


class FlatEntry(dict[str, object]):
    """An entry of strings and numbers, which nobody changes any more. Its level has the usual spelling, and it has a
    timestamp and a message, but no `host`, `app` or `sequence`. So the outbox need not look at all of that."""

    __slots__ = ()


_last_second = [(-1, "")]  # written last, and its text: most timestamps have the second of the one before


def second_text(second: int) -> str:
    """As RFC 3339 writes it, with the point before its fraction."""
    last, text = _last_second[0]
    if last != second:
        year, month, day, hour, minute, sec, *_ = gmtime(second)
        text = f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{sec:02d}."
        _last_second[0] = second, text
    return text


def entry_of(record: LogRecord, fields: tuple[tuple[str, str], ...]) -> dict[str, object]:
    """The entry for a record, without the fields that the client adds. `fields` has pairs: the name of a field, and the
    name of the record's attribute for it; an attribute that is missing or None makes no field.
    """
    attributes = record.__dict__
    get = attributes.get
    number = get("levelno")
    level = _LEVELS.get(number) if type(number) is int else None
    name = get("levelname", level)
    message, args = get("msg"), get("args")
    entry = FlatEntry(
        timestamp=_timestamp(get("created")),
        level=level_of_record(number, name) if level is None else level,
        message="",
    )
    is_flat = level is not None
    if name is not level and name != level:
        entry["level_name"] = name
        is_flat = False
    try:
        if type(record) is not LogRecord or type(message) is not str:
            message = record.getMessage()
        elif args:
            message = message % args
        entry["message"] = message
        if type(message) is not str:
            is_flat = False
    except Exception as error:
        add_unformatted(entry, record, error)
        is_flat = False
    for field, attribute in fields:
        value = get(attribute)
        if value is not None:
            entry[field] = value
            if type(value) not in FLAT_TYPES and not is_short_integer(value):
                is_flat = False
    if args is None or get("exc_info") or get("exc_text") or get("stack_info"):
        add_exceptions(entry, record)
        is_flat = False
    if len(attributes) != _ATTRIBUTE_COUNT and not _add_extras(entry, attributes, type(record) is LogRecord):
        is_flat = False
    return entry if is_flat else dict(entry)


def _add_extras(entry: dict[str, object], attributes: dict[str, Any], is_usual: bool) -> bool:
    """Returns False if the entry is not flat any more."""
    rest: list[tuple[object, object]] = []
    is_flat = True
    for key in _extra_keys(attributes) if is_usual else [*attributes]:
        if type(key) is str and key in _NO_EXTRAS:
            continue
        value = attributes.get(key, _GONE)
        if value is _GONE:  # another thread has taken it away
            continue
        if type(key) is str and type(value) is not bytes and key not in entry and key not in RESERVED:
            entry[key] = value
            if type(value) not in FLAT_TYPES and not is_short_integer(value):
                is_flat = False
        else:
            rest.append((key, value))
    if rest:
        add_fields(entry, rest)
        is_flat = False
    return is_flat


def _extra_keys(attributes: dict[str, Any]) -> list[str]:
    """Those behind the attributes that `logging` makes, which come first; or else all."""
    keys: list[str] = []
    try:
        for key in reversed(attributes):
            if key is _LAST_ATTRIBUTE:
                break
            keys.append(key)
    except RuntimeError:  # another thread has changed them
        keys.clear()
    if len(keys) != len(attributes) - _ATTRIBUTE_COUNT:
        return [*attributes]
    keys.reverse()
    return keys


def _seconds_of(created: Any) -> float:
    """The time of a record that a program made itself: an integer, a Decimal, one of numpy; -1 if there is none."""
    try:
        return -1.0 if created is None else float(created)
    except Exception:
        return -1.0


def _timestamp(created: object) -> str:
    """Seconds since 1970 as RFC 3339 writes them, with microseconds; the present time if `created` is not a time."""
    seconds = created if type(created) is float else _seconds_of(created)
    if not 0.0 <= seconds < TIME_END:
        seconds = time()
    second = int(seconds)
    usec = int((seconds - second) * 1e6 + 0.5)
    if usec == 1_000_000:
        second, usec = second + 1, 0
    last, text = _last_second[0]
    if last != second:
        text = second_text(second)
    return f"{text}{str(1_000_000 + usec)[1:]}Z"
