"""The settings: one struct, one place that reads and checks them.

A setting comes from a command-line flag, else the environment, else `.env` in the working directory, else its default.
An empty value is no value. `docs/configuration.md` has the same table for users; a test holds the two together.
"""

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import msgspec

from fastlog.entry import ALIASES, LEVELS
from fastlog.errors import ConfigError

NETWORKS_MAX = 64  # of ALLOW_FROM: each is compared with the sender of each datagram
HIDDEN = "(hidden)"  # what is shown of a secret
NO_LEVELS = "NONE"  # the value of PRIORITY_LEVELS that means no level at all, since an empty value is no value


def _setting(help: str, allowed: str, **limits: Any) -> msgspec.Meta:
    return msgspec.Meta(extra={"help": help, "allowed": allowed}, **limits)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting under its lower-case name; sizes in bytes and times in seconds unless the name says otherwise."""

    server_host: Annotated[
        str,
        _setting("address to bind (`::` takes IPv4 and IPv6)", "an IPv4 or IPv6 address or a host name", min_length=1),
    ] = "0.0.0.0"
    server_port: Annotated[
        int, _setting("UDP port; 0: any free one, told on stderr", "a whole number from 0 to 65535", ge=0, le=65535)
    ] = 5514
    buffer_size: Annotated[
        int, _setting("largest datagram taken, bytes", "a whole number from 1 to 65536", ge=1, le=65536)
    ] = 65536
    log_dir: Annotated[str, _setting("directory of the log files", "a path", min_length=1)] = "./logs"
    log_filename: Annotated[
        str, _setting("name of the live log file", "a file name without `/`", pattern=r"^(?!\.{1,2}$)[^/\x00]{1,200}$")
    ] = "server.log"
    flush_count: Annotated[
        int, _setting("buffered entries before a flush", "a whole number from 1 to 1000000", ge=1, le=1_000_000)
    ] = 100
    flush_timeout_sec: Annotated[
        float, _setting("seconds before a flush regardless", "a number above 0, at most 3600", gt=0, le=3600)
    ] = 5
    rcvbuf_size: Annotated[
        int,
        _setting("SO_RCVBUF asked for, bytes", "a whole number from 1 to 1073741824", ge=1, le=1 << 30),
    ] = 4194304
    sndbuf_size: Annotated[
        int,
        _setting("SO_SNDBUF of `fastlog send`, bytes", "a whole number from 1 to 1073741824", ge=1, le=1 << 30),
    ] = 1048576
    max_log_size_mb: Annotated[
        float,
        _setting(
            "size limit of the live file, MB of 1,000,000 bytes", "a number from 0.001 to 1000000", ge=0.001, le=1e6
        ),
    ] = 100
    log_backups: Annotated[
        int, _setting("archived log files kept", "a whole number from 0 to 10000", ge=0, le=10000)
    ] = 10
    priority_levels: Annotated[
        tuple[str, ...],
        _setting(
            "levels that are durable and acknowledged; NONE: no level",
            f"a comma-separated list of {', '.join(LEVELS)}, or {NO_LEVELS}",
        ),
    ] = ("ERROR", "CRITICAL")
    priority_sync: Annotated[
        Literal["durable", "written"],
        _setting(
            "when an entry is acknowledged: `durable`, after the sync; `written`, after write()", "durable or written"
        ),
    ] = "durable"
    coalesce_usec: Annotated[
        int,
        _setting(
            "longest wait for more datagrams once one has come, microseconds; 0: none",
            "a whole number from 0 to 100000",
            ge=0,
            le=100_000,
        ),
    ] = 1000
    allow_from: Annotated[
        tuple[str, ...],
        _setting("networks that may send; empty: all", "a comma-separated list of at most 64 IPv4 and IPv6 networks"),
    ] = ()
    max_errors: Annotated[
        int, _setting("recent errors kept in memory for the dashboard", "a whole number from 0 to 1000", ge=0, le=1000)
    ] = 100
    dashboard_port: Annotated[
        int, _setting("TCP port of the dashboard; 0: any free one", "a whole number from 0 to 65535", ge=0, le=65535)
    ] = 8080
    dashboard_host: Annotated[str, _setting("its address", "an IPv4 or IPv6 address or a host name", min_length=1)] = (
        "127.0.0.1"
    )
    dashboard_token: Annotated[
        str,
        _setting(
            "asked of every request but `/health`; required where others can reach the dashboard",
            "at least 16 printable ASCII characters without spaces",
            pattern=r"^([!-~]{16,})?$",
        ),
    ] = ""
    dashboard_no_token: Annotated[
        bool,
        _setting("do without the token all the same: something else keeps others out", "true or false"),
    ] = False
    dashboard_names: Annotated[
        tuple[str, ...],
        _setting("names that browsers may call it by besides its addresses", "a comma-separated list of host names"),
    ] = ()
    rejects_max_mb: Annotated[
        float,
        _setting(
            "cap of rejects.jsonl, MB of 1,000,000 bytes; 0: none is kept", "a number from 0 to 1000000", ge=0, le=1e6
        ),
    ] = 10


class Described(msgspec.Struct, frozen=True):
    """What is known of one setting besides its value."""

    field: str
    variable: str
    type: Any
    help: str
    allowed: str
    default: Any


def describe() -> list[Described]:
    """Every setting, in the order of the struct."""
    hints = get_type_hints(Settings, include_extras=True)
    described = []
    for field in msgspec.structs.fields(Settings):
        extra = hints[field.name].__metadata__[0].extra
        described.append(
            Described(field.name, field.name.upper(), hints[field.name], extra["help"], extra["allowed"], field.default)
        )
    return described


def load(flags: Mapping[str, str], environment: Mapping[str, str], dotenv: Path) -> tuple[Settings, dict[str, str]]:
    """The settings in force, and where each came from: `flag`, `environment`, `.env` or `default`.

    `flags` has the values given on the command line, by variable. Raises ConfigError for the first wrong value.
    """
    sources = {"flag": flags, "environment": environment, ".env": _read_dotenv(dotenv)}
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for setting in describe():
        origins[setting.variable] = "default"
        for origin, source in sources.items():
            text = source.get(setting.variable)
            if text:
                values[setting.field] = _convert(setting, text, origin)
                origins[setting.variable] = origin
                break
    settings = Settings(**values)
    if not (is_loopback(settings.dashboard_host) or settings.dashboard_token or settings.dashboard_no_token):
        raise ConfigError(
            f"DASHBOARD_HOST={settings.dashboard_host!r} ({origins['DASHBOARD_HOST']}) lets others read the log: set "
            "DASHBOARD_TOKEN, or DASHBOARD_NO_TOKEN=true if something else keeps them out"
        )
    return settings, origins


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def in_force(settings: Settings) -> dict[str, str]:
    """Every setting as it is written in a variable, the token hidden."""
    values = {setting.variable: as_text(setting.field, getattr(settings, setting.field)) for setting in describe()}
    if settings.dashboard_token:
        values["DASHBOARD_TOKEN"] = HIDDEN
    return values


def as_text(field: str, value: Any) -> str:
    """A setting's value as it is written in a variable."""
    if field == "priority_levels" and not value:
        return NO_LEVELS
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def _convert(setting: Described, text: str, origin: str) -> Any:
    value: Any = text.strip()
    if setting.field == "priority_levels":
        value = _levels(value)
    elif setting.field in ("dashboard_names", "allow_from"):
        value = [name.strip() for name in value.split(",")]
    if setting.field == "allow_from" and not _are_networks(value):
        value = None
    try:
        converted = msgspec.convert(value, setting.type, strict=False)
    except msgspec.ValidationError:
        converted = None
    # "nan" is a number to msgspec, and no limit holds against it
    if converted is None or converted != converted:
        raise ConfigError(f"{setting.variable}={text!r} ({origin}): must be {setting.allowed}")
    return converted


def networks(settings: Settings) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Those of ALLOW_FROM."""
    return [ipaddress.ip_network(text) for text in settings.allow_from]


def _are_networks(texts: list[str]) -> bool:
    try:
        return len([ipaddress.ip_network(text) for text in texts]) <= NETWORKS_MAX
    except ValueError:
        return False


def _levels(text: str) -> list[str] | None:
    """The levels of a comma-separated list, without case, aliases resolved; None if one is unknown."""
    names = [name.strip().upper() for name in text.split(",")]
    if names == [NO_LEVELS]:
        return []
    levels = [ALIASES.get(name, name) for name in names]
    return list(dict.fromkeys(levels)) if all(level in LEVELS for level in levels) else None


def _read_dotenv(path: Path) -> Mapping[str, str]:
    if not path.is_file():
        return {}
    # Imported here, since most runs have no such file.
    from dotenv import dotenv_values

    try:
        return {name: value for name, value in dotenv_values(path, interpolate=False).items() if value}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
