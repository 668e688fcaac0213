"""The options of a client, checked in one place."""

import math
import os
import socket
import sys
import warnings
from collections.abc import Iterable
from numbers import Real
from typing import Annotated, Any

import msgspec

from fastlog.addresses import ascii_name
from fastlog.client.core import ADDED_MAX_BYTES, PlainCopy
from fastlog.client.encode import encode, text_of
from fastlog.client.level_names import known_spelling
from fastlog.client.record_fields import RESERVED
from fastlog.entry import LEVELS
from fastlog.errors import ConfigError
from fastlog.limits import (
    DATAGRAM_MAX_BYTES,
    DEFAULT_PORT,
    DEFAULT_PRIORITY_LEVELS,
    DEFAULT_SEND_BUFFER_BYTES,
    SEQUENCE_WINDOW,
)

DEFAULT_HOST = "127.0.0.1"
QUEUE_ENTRIES = 10_000  # in each lane: ten seconds of a program that logs 1,000 entries a second
QUEUE_BYTES = 16 << 20  # in each lane: what an application can spare while its log server is away
PACK_DELAY_SEC = 0.005  # nobody reads a log faster
GIVE_UP_SEC = 300.0  # a restart of the server takes less; memory is bounded anyway
SPILL_NAME = "spill"  # of the files, if the path is a directory

NAME_MAX_BYTES = 1_000  # `app` or `hostname` as JSON: every entry carries them
FIELDS_MAX = 24  # constant ones: each has a bit in `Item.present`
FIELDS_MAX_BYTES = 8_000  # of constant fields as JSON: every entry carries them
BODY_MIN_BYTES = 512  # in a datagram, besides the fields that are added: a shortened entry has to fit


def _option(allowed: str, **limits: Any) -> msgspec.Meta:
    return msgspec.Meta(extra={"allowed": allowed}, **limits)


_Name = Annotated[str | None, _option("a string")]
_Flag = Annotated[bool, _option("true or false")]
_Count = Annotated[int, _option("a whole number from 1", ge=1)]

_TRUTHS = {"yes": "true", "on": "true", "no": "false", "off": "false"}  # as in variables of the environment


class ClientOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments of `Client`; its docstring explains each of them."""

    host: Annotated[str, _option("a host name or an address", min_length=1)] = DEFAULT_HOST
    port: Annotated[int, _option("a whole number from 1 to 65535", ge=1, le=65535)] = DEFAULT_PORT
    app: _Name = None
    hostname: _Name = None
    priority_levels: Annotated[tuple[str, ...], _option(f"a list of {', '.join(LEVELS)}")] = DEFAULT_PRIORITY_LEVELS
    send_buffer: _Count = DEFAULT_SEND_BUFFER_BYTES
    queue_entries: _Count = QUEUE_ENTRIES
    queue_bytes: _Count = QUEUE_BYTES
    window: Annotated[int, _option(f"a whole number from 1 to {SEQUENCE_WINDOW}", ge=1, le=SEQUENCE_WINDOW)] = (
        SEQUENCE_WINDOW
    )
    give_up_sec: Annotated[float, _option("a number of seconds from 0", ge=0)] = GIVE_UP_SEC
    spill: Annotated[str | None, _option("a path")] = None
    pack: _Flag = True
    pack_delay_sec: Annotated[float, _option("a number of seconds from 0 to 1", ge=0, le=1)] = PACK_DELAY_SEC
    datagram_bytes: Annotated[int | None, _option("a whole number")] = None
    fields: Annotated[dict[str, Any] | None, _option("a mapping of names to values")] = None
    enable: _Flag = True

    @property
    def gives_up_after_sec(self) -> float:
        """`give_up_sec`, but with a spill file nothing is given up."""
        return self.give_up_sec if self.spill is None else math.inf

    @property
    def host_field(self) -> bytes:
        """`,"host":"…"`, which is added to entries that have no `host`."""
        return b',"host":' + encode(text_of(socket.gethostname() if self.hostname is None else self.hostname))

    @property
    def app_field(self) -> bytes:
        """`,"app":"…"`, or nothing."""
        return b',"app":' + encode(text_of(self.app)) if self.app else b""

    @property
    def encoded_fields(self) -> list[tuple[str, bytes]]:
        """The names of the constant fields, and `,"name":value` of each."""
        copy = PlainCopy({"level": "INFO", "message": "", **(self.fields or {})})
        copy.write()
        return [(name, b"," + encode({name: copy.entry[name]})[1:-1]) for name in list(copy.entry)[2:]]


def checked_options(**given: object) -> ClientOptions:
    """The options from the arguments of a caller. Numbers may be text, such as a variable of the environment. Raises
    ConfigError."""
    fields = {field.name: field for field in msgspec.structs.fields(ClientOptions)}
    options = ClientOptions(**{name: _converted(fields[name], value) for name, value in given.items()})
    for name, field in (("hostname", options.host_field), ("app", options.app_field)):
        size = len(field.partition(b":")[2])
        if size > NAME_MAX_BYTES:
            raise ConfigError(f"{name} has {size} bytes as JSON: must be at most {NAME_MAX_BYTES}")
    constant_bytes = _constant_bytes(options)
    least = BODY_MIN_BYTES + ADDED_MAX_BYTES + len(options.host_field) + len(options.app_field) + constant_bytes
    largest = options.datagram_bytes
    if largest is not None and not least <= largest <= DATAGRAM_MAX_BYTES:
        raise ConfigError(f"datagram_bytes is {largest}: must be from {least} to {DATAGRAM_MAX_BYTES}")
    return options


def _constant_bytes(options: ClientOptions) -> int:
    """The bytes of the constant fields. Raises ConfigError if an entry cannot have them."""
    for name in options.fields or {}:
        if name in RESERVED:
            other = {"host": "hostname", "app": "app"}.get(name)
            hint = f"; there is the option {other}" if other else ""
            raise ConfigError(f"fields has {name!r}, which fastlog itself writes{hint}")
    encoded = options.encoded_fields
    size = sum(len(field) for _, field in encoded)
    if len(encoded) > FIELDS_MAX or size > FIELDS_MAX_BYTES:
        raise ConfigError(
            f"fields has {len(encoded)} fields of {size} bytes as JSON: "
            f"must be at most {FIELDS_MAX} of {FIELDS_MAX_BYTES} bytes in all"
        )
    return size


def _converted(field: msgspec.structs.FieldInfo, value: Any) -> Any:
    try:
        if field.name == "host" and isinstance(value, str):
            value = ascii_name(value)
        elif field.name == "priority_levels":
            value = _levels(value)
        elif field.name == "spill" and value is not None:
            value = _spill_path(value)
        elif field.name == "fields" and value is not None:
            return {text_of(name): inner for name, inner in dict(value).items()}
        elif field.type == _Flag and isinstance(value, str):
            value = _TRUTHS.get(value.strip().lower(), value)
        converted = msgspec.convert(value, field.type, strict=False)
        # "nan" is a number to msgspec, and no limit holds against it
        if converted == converted:
            return converted
    except ConfigError:  # it says more
        raise
    except (AttributeError, TypeError, ValueError, msgspec.ValidationError):
        pass
    allowed = field.type.__metadata__[0].extra["allowed"]
    raise ConfigError(f"{field.name} is {value!r}: must be {allowed}")


def _spill_path(value: str | os.PathLike[str]) -> str | None:
    """What the names of the files begin with: the path itself, or `spill` in a directory. Raises ConfigError. None on
    Windows, whose locks are of another kind; the program is to run there all the same."""
    if sys.platform == "win32":
        warnings.warn("fastlog has no spill files on Windows: entries wait in memory", stacklevel=2)
        return None
    path = os.fspath(value)
    if not path.strip():
        raise ConfigError(f"spill is {path!r}: must be a path, or None for no spill files")
    if b"\0" in os.fsencode(path):
        raise ConfigError(f"spill is {path!r}: a path has no null character")
    if path.endswith("/") or os.path.isdir(path):
        path = os.path.join(path, SPILL_NAME)
    try:
        return os.path.abspath(path)
    except OSError as error:
        raise ConfigError(
            f"spill is {path!r}: there is no working directory ({error.strerror}); use a full path"
        ) from error


def _levels(names: Iterable[object] | str) -> tuple[str, ...]:
    """The levels of a list, or of a text with commas between them, in any form that a log call takes. Raises
    ConfigError."""
    levels: list[str] = []
    for name in str.__str__(names).split(",") if isinstance(names, str) else names:
        # A number has to be one of logging's own: of any other, nobody can say which level is meant.
        is_other_number = isinstance(name, Real) and name not in (10, 20, 30, 40, 50)
        level = None if is_other_number else known_spelling(name)
        if level is None:
            raise ConfigError(f"priority_levels has {name!r}: must be a list of {', '.join(LEVELS)}")
        levels.append(level)
    return tuple(levels)
