"""Where the values of the settings come from: flags, the environment, an env file.

Other programs have variables called SERVER_PORT or LOG_DIR, too. So every variable may be written with FASTLOG_ in
front, which wins over the plain name. Commands other than `serve` and `ship` read no plain name from the environment.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fastlog.addresses import split_host_port, unix_path
from fastlog.config import (
    HIDDEN,
    Setting,
    Settings,
    describe,
    describe_server,
    is_loopback,
    is_own_name,
    listen_conflict,
)
from fastlog.errors import ConfigError

PREFIX = "FASTLOG_"
SERVER_VARIABLE = "FASTLOG_SERVER"  # where clients send to; not a setting of the server
PURE_VARIABLE = "FASTLOG_PURE"  # which twin a client runs on (client/core.py); not a setting of the server either


class Source(NamedTuple):
    """A place where settings are looked up."""

    name: str  # flag, environment, or the path of an env file
    values: Mapping[str, str]  # by variable; for flags without the prefix
    plain_names: bool  # whether a variable may be written without FASTLOG_


class Origin(NamedTuple):
    """Where a setting's value was found."""

    name: str  # as it is written there: a flag, or the variable with or without FASTLOG_
    source: str  # the source's name, or default

    def __str__(self) -> str:
        return f"{self.source}, {self.name}" if self.name.startswith(PREFIX) else self.source


DEFAULT = Origin("", "default")
FLAG = "flag"


def load(sources: Sequence[Source], used: Collection[str]) -> tuple[Settings, dict[str, Origin]]:
    """The settings in force, and where each comes from. The first source that has a value wins.

    Variables that are not in `used` are not looked at, so a wrong value of theirs does no harm. Raises ConfigError for
    the first wrong value.
    """
    values: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    for setting in describe():
        text, origin = _find(setting, sources) if setting.variable in used else ("", DEFAULT)
        if text:
            values[setting.field] = _convert(setting, text, origin)
        origins[setting.variable] = origin
    return Settings(**values), origins


def load_for_server(sources: Sequence[Source]) -> tuple[Settings, dict[str, Origin]]:
    """`load` for `fastlog serve`, which refuses to show the log to others without a token, and a log whose name would
    have it overwritten."""
    settings, origins = load(sources, [setting.variable for setting in describe_server()])
    if is_own_name(settings.log_filename):
        name, source = origins["LOG_FILENAME"]
        raise ConfigError(
            f"{name}={settings.log_filename!r} ({source}): fastlog gives such names to other files in LOG_DIR: "
            "rejects.jsonl*, ship-refused.jsonl*, .fastlog-*, *.NUMBER, *.new, *.torn, *.repaired, *.distrusted, "
            "*.shipped"
        )
    if conflict := listen_conflict(settings):
        name, source = origins["LISTEN"]
        raise ConfigError(f"{name}={','.join(settings.listen)!r} ({source}): {conflict}")
    exposed = settings.dashboard_port is not None and not is_loopback(settings.dashboard_host)
    if exposed and not (settings.dashboard_token or settings.dashboard_no_token):
        name, source = origins["DASHBOARD_HOST"]
        raise ConfigError(
            f"{name}={settings.dashboard_host!r} ({source}) lets others read the log: set DASHBOARD_TOKEN, or "
            "DASHBOARD_NO_TOKEN=true if access is restricted by other means"
        )
    return settings, origins


def _find(setting: Setting, sources: Sequence[Source]) -> tuple[str, Origin]:
    """The text that counts, and its origin. An empty value counts as none."""
    for name, values, plain_names in sources:
        if name == FLAG:
            written = {setting.flags[0]: values.get(setting.variable)}
        else:
            variables = (PREFIX + setting.variable, setting.variable)[: 1 + plain_names]
            written = {variable: values.get(variable) for variable in variables}
        for variable, text in written.items():
            if text:
                return text, Origin(variable, name)
    return "", DEFAULT


def _convert(setting: Setting, text: str, origin: Origin) -> Any:
    try:
        return setting.from_text(text)
    except ValueError:
        shown = HIDDEN if setting.secret else repr(text)
        raise ConfigError(f"{origin.name}={shown} ({origin.source}): must be {setting.allowed}") from None


def misspelt(sources: Sequence[Source]) -> list[str]:
    """Variables that begin with FASTLOG_ and mean nothing."""
    known = {SERVER_VARIABLE, PURE_VARIABLE, *(PREFIX + setting.variable for setting in describe())}
    return [
        f"{variable} ({source.name})"
        for source in sources
        for variable, text in source.values.items()
        if variable.startswith(PREFIX) and variable not in known and not _is_service_link(variable, text)
    ]


def _is_service_link(variable: str, text: str) -> bool:
    """Whether Kubernetes made it for a service called `fastlog…`, as it does in every container beside one."""
    return "_SERVICE_" in variable or "_PORT_" in variable or "://" in text


def read_env_file(path: Path) -> Source:
    """Raises ConfigError if the file cannot be read."""
    from dotenv import dotenv_values  # imported here, since most runs have no such file

    try:
        with path.open(encoding="utf-8") as file:
            values = dotenv_values(stream=file, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {getattr(error, 'strerror', error)}") from error
    return Source(str(path), {name: value for name, value in values.items() if value}, plain_names=True)


def server_address(environment: Mapping[str, str]) -> tuple[str, int | None]:
    """Host and port in FASTLOG_SERVER, which is `host`, `host:port`, `[IPv6]:port`, a plain IPv6 address or
    `unix:PATH`. The host is empty and the port None where the variable does not name them."""
    text = environment.get(SERVER_VARIABLE, "").strip()
    if not text:
        return "", None
    if unix_path(text):
        return text, None
    try:
        host, port = split_host_port(text, 0)
    except ValueError as error:
        raise ConfigError(
            f"{SERVER_VARIABLE}={text!r} (environment): must be HOST, HOST:PORT or [IPv6]:PORT; {error}"
        ) from error
    return host, port or None
