"""Parts of a log record as fields of an entry: its level, its exception, and fields whose names may clash.

The handler of `logging` and the integrations with other libraries share them. Functions that are called for a record
raise no errors, whatever objects a program logs.
"""

import re
import sys
from collections.abc import Iterable, Mapping
from logging import LogRecord
from types import TracebackType
from typing import TypeVar

from fastlog.client.encode import text_of
from fastlog.client.level_names import level_of_record
from fastlog.client.tracebacks import class_name, format_exception
from fastlog.errors import ConfigError

# Names that only fastlog writes: those of the contract, those that `shorten` adds, and those for a failed log call.
RESERVED = frozenset(
    (
        "timestamp",
        "sequence",
        "level",
        "message",
        "host",
        "app",
        "level_name",
        "format_error",
        "truncated",
        "original_bytes",
        "fields_left_out",
    )
)

ARGUMENTS_MAX = 100  # of a log call whose arguments do not fit: no message has so many places

_HEADER = "Traceback (most recent call last):\n"
_STACK_HEADER = "\nStack (most recent call last):\n"
# The start of an exception that a formatter has put after the message: the header that `traceback` writes.
_TRACEBACK = re.compile(r"\n(?=(?:  \+ Exception Group )?Traceback \(most recent call last\):\n)")
# The first line without indentation after the calls has the exception's name; its text continues to the end.
_EXCEPTION = re.compile(r"^([^\W\d][\w.<>]*)(?:: |$)(.*)\Z", re.MULTILINE | re.DOTALL)

T = TypeVar("T")

ExcInfo = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]


def select_fields(fields: Iterable[str], known: Mapping[str, T]) -> tuple[tuple[str, T], ...]:
    """The fields to take from every record, each with its value in `known`. Raises ConfigError for an unknown field."""
    names = tuple(fields)
    for name in names:
        if name not in known:
            raise ConfigError(f"a record has no field {name!r}; choose from {', '.join(known)}")
    return tuple((name, known[name]) for name in names)


def add_fields(entry: dict[str, object], fields: Iterable[tuple[object, object]]) -> None:
    """Adds fields to an entry. A field gets `extra_` before its name if the entry has that name, or fastlog itself
    writes it. A name that is not a string becomes one. Bytes become text, as UTF-8."""
    for key, value in fields:
        name = key if type(key) is str else text_of(key)
        while name in entry or name in RESERVED:
            name = f"extra_{name}"
        entry[name] = text_of(value) if type(value) is bytes else value


def exc_info_of(given: object) -> ExcInfo:
    """What a caller passes as `exc_info`: an exception, `sys.exc_info()`, or True for the one that is being handled."""
    handled = sys.exc_info()
    try:
        if isinstance(given, BaseException):
            return type(given), given, given.__traceback__
        if isinstance(given, tuple) and len(given) == 3:
            kind, error, trace = given
            return kind, error, trace
        is_asked_for = bool(given)
    except Exception:  # whether it is true cannot be said of every object, such as an array of numpy
        is_asked_for = True
    return handled if is_asked_for else (None, None, None)


def add_exception(entry: dict[str, object], exc_info: ExcInfo) -> None:
    """Adds `exc_type`, `exc_message` and `traceback`, as far as they are known, if there is an exception."""
    kind, error, trace = exc_info
    if not isinstance(kind, type):
        return
    entry["exc_type"] = class_name(kind)
    if error is None:  # it could not be pickled for a queue
        return
    entry["exc_message"] = text_of(error)
    try:
        entry["traceback"] = format_exception(kind, error, trace).rstrip("\n")
    except Exception as failure:
        entry["traceback"] = f"<not formatted: {type(failure).__name__}: {text_of(failure)}>"


def add_exception_text(entry: dict[str, object], formatted: str) -> None:
    """Adds an exception of which only the formatted traceback is left, since its record went through a queue."""
    _, _, last = formatted.rpartition(_HEADER)
    found = _EXCEPTION.search(last)
    if found:
        entry["exc_type"], entry["exc_message"] = found[1], found[2].lstrip("\n")
    entry["traceback"] = formatted


def split_message(message: str) -> tuple[str, str, str]:
    """The message, the traceback and the stack in a message that `QueueHandler` has put together."""
    message, _, stack = message.partition(_STACK_HEADER)
    parts = _TRACEBACK.split(message, maxsplit=1)
    return parts[0], parts[1] if len(parts) > 1 else "", stack and _STACK_HEADER.lstrip("\n") + stack


def add_unformatted(entry: dict[str, object], record: LogRecord, error: Exception) -> None:
    """Adds a message whose arguments do not fit it: the message as it is, the arguments, and the error."""
    entry["message"] = text_of(getattr(record, "msg", ""))  # another thread may take attributes away
    entry["format_error"] = f"{type(error).__name__}: {text_of(error)}"
    args = getattr(record, "args", ())
    arguments = args if isinstance(args, tuple) else (args,)
    entry["args"] = [text_of(argument) for argument in arguments[:ARGUMENTS_MAX]]


def least_entry(record: LogRecord, error: Exception) -> dict[str, object]:
    """The entry for a record that is not as `logging` makes them, since some of its attributes are of other types: its
    level, its message without arguments, and the error."""
    return {
        "level": level_of_record(getattr(record, "levelno", None), getattr(record, "levelname", None)),
        "message": text_of(getattr(record, "msg", "")),
        "format_error": f"{type(error).__name__}: {text_of(error)}",
    }


def add_exceptions(entry: dict[str, object], record: LogRecord) -> None:
    """Adds the record's exception and stack, from whatever form is left of them."""
    formatted, stack = getattr(record, "exc_text", None) or "", getattr(record, "stack_info", None) or ""
    exc_info = exc_info_of(getattr(record, "exc_info", None))
    if exc_info[0] is not None:
        add_exception(entry, exc_info)
    elif getattr(record, "args", ()) is None and not formatted:
        # `QueueHandler.prepare` puts them after the message, and sets the arguments to None.
        entry["message"], formatted, stack = split_message(text_of(entry["message"]))
    if formatted and "traceback" not in entry:
        add_exception_text(entry, formatted)
    if stack:
        entry["stack"] = stack
