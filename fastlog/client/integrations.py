"""structlog and loguru through a fastlog client. Neither library is imported before it is used. Nothing here waits, or
raises an error because of a logged value."""

from collections.abc import Callable, Iterable, MutableMapping
from datetime import UTC
from typing import TYPE_CHECKING, Any

from fastlog.client.client import Client
from fastlog.client.encode import text_of
from fastlog.client.level_names import known_spelling, level_of_number, warn_of_unknown_level
from fastlog.client.record_fields import add_exception, add_exception_text, add_fields, exc_info_of, select_fields

if TYPE_CHECKING:
    import loguru

# The fields that a loguru sink can take from a record, and how it takes them.
LOGURU_FIELDS: dict[str, Callable[[Any], object]] = {
    "logger": lambda record: record["name"],
    "file": lambda record: record["file"].path,
    "line": lambda record: record["line"],
    "function": lambda record: record["function"],
    "module": lambda record: record["module"],
    "process": lambda record: record["process"].id,
    "process_name": lambda record: record["process"].name,
    "thread": lambda record: record["thread"].name,
    "thread_id": lambda record: record["thread"].id,
}
# The names of structlog's methods that are not levels of the contract.
_METHODS = {"exception": "ERROR", "msg": "INFO", "log": "INFO", "notset": "DEBUG"}

_EventDict = MutableMapping[str, Any]


def structlog_processor(client: Client, *, pass_on: bool = False) -> Callable[[object, str, _EventDict], _EventDict]:
    """A processor for the end of the chain: it sends each event as an entry, with `event` as its message.

    With `pass_on` the event is handed unchanged to the next processor, such as a renderer for the console. Otherwise
    the chain ends here. `exc_info` becomes `exc_type`, `exc_message` and `traceback`, and so does a formatted
    `exception`. A `level` and a `timestamp` in UTC that earlier processors have set are kept.
    """
    from structlog import DropEvent

    def process(_: object, method: str, event_dict: _EventDict) -> _EventDict:
        client.send_entry(_event_entry(method, dict(event_dict)))
        if not pass_on:
            raise DropEvent
        return event_dict

    return process


def loguru_sink(
    client: Client, *, fields: Iterable[str] = ("logger", "file", "line")
) -> Callable[["loguru.Message"], None]:
    """A sink for `loguru.logger.add`: it sends each record as an entry, with `extra` as fields.

    `fields` are the names in LOGURU_FIELDS to take from every record. Raises ConfigError if one is unknown.
    """
    getters = select_fields(fields, LOGURU_FIELDS)

    def sink(message: "loguru.Message") -> None:
        record = message.record
        level = level_of_number(record["level"].no)
        time = record["time"].astimezone(UTC).replace(tzinfo=None)
        entry: dict[str, object] = {
            "timestamp": f"{time.isoformat(timespec='microseconds')}Z",
            "level": level,
            "message": record["message"],
        }
        if record["level"].name != level:
            entry["level_name"] = record["level"].name
        for name, get in getters:
            entry[name] = get(record)
        if record["exception"]:
            add_exception(entry, record["exception"])
        add_fields(entry, record["extra"].items())
        client.send_entry(entry)

    return sink


def _event_entry(method: str, event: dict[str, Any]) -> dict[str, object]:
    given = event.pop("level", method)
    named = text_of(given)
    level = _METHODS.get(named) or known_spelling(given)
    level = None if level == "OTHER" else level
    entry: dict[str, object] = {"level": level or "INFO"}
    entry["message"] = text_of(event.pop("event", ""))
    if level is None:
        warn_of_unknown_level(named, "INFO")
        entry["level_name"] = named
    timestamp = event.get("timestamp")
    if isinstance(timestamp, str) and timestamp.endswith("Z"):
        entry["timestamp"] = event.pop("timestamp")
    add_exception(entry, exc_info_of(event.pop("exc_info", None)))
    if isinstance(event.get("exception"), str) and "traceback" not in entry:
        add_exception_text(entry, event.pop("exception"))
    add_fields(entry, event.items())
    return entry
