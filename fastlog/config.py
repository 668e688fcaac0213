"""The settings: each is declared once, in `Settings`. `setting_sources.py` says where their values come from.

The flags and help of the commands, the table in docs/configuration.md, `.env.example` and the settings of
docker-compose.yml are made from the declaration.
"""

import ipaddress
import os
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args, get_type_hints

import msgspec

from fastlog.addresses import UNIX_PATH_MAX_BYTES, join_listen_address, split_listen_address
from fastlog.entry import LEVELS, known_level
from fastlog.limits import DEFAULT_PORT, DEFAULT_PRIORITY_LEVELS, DEFAULT_SEND_BUFFER_BYTES

Input = Literal["json", "syslog", "gelf"]
INPUTS: tuple[Input, ...] = get_args(Input)
LISTEN_MAX = 16  # addresses in LISTEN: more than a host has uses for, and each is looked at in every round
Stamp = Literal["missing", "always", "never"]
STAMPS: tuple[Stamp, ...] = get_args(Stamp)
Compression = Literal["none", "zstd"]
NETWORKS_MAX = 64  # ALLOW_FROM has no more, since the sender of every datagram is compared with each
RATE_MAX = 10_000_000  # of RATE_LIMIT: more than any machine receives
MB = 1_000_000  # bytes, wherever a setting is in MB
HIDDEN = "(hidden)"  # shown in place of a secret
NO_LEVELS = "NONE"  # PRIORITY_LEVELS without any level; an empty value would mean the default
OFF = "off"  # DASHBOARD_PORT without a dashboard
SHIP_SCHEMES = ("nats", "tls", "http", "https")  # of SHIP_TO
NODE_PATTERN = r"^([A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*)?$"  # tokens of a subject in NATS
NAME_MAX_BYTES = 200  # of LOG_FILENAME: file systems allow 255, and archives and files set aside have longer names
OWN_NAMES = re.compile(r"(rejects|ship-refused)\.jsonl.*|\.fastlog-.*", re.DOTALL)  # files besides the log
OWN_ENDINGS = re.compile(r"\.(\d+|new|torn|repaired|distrusted|shipped)$")  # what it adds to the name of the log

Group = Literal["receiving", "files", "priority entries", "dashboard", "alerts", "shipping", "clients"]

OF_OTHERS: tuple[Group, ...] = ("shipping", "clients")  # groups that `serve` does not use


def _setting(
    group: Group,
    help: str,
    allowed: str,
    *,
    parse: Callable[[str], Any] = str,
    empty: str = "",
    secret: bool = False,
    **limits: Any,
) -> msgspec.Meta:
    """`allowed`: the legal values in words. `parse`: makes the value from a variable's text, before the type and the
    limits are checked; raises ValueError. `empty`: how an empty value is written. `secret`: never shown."""
    extra = {"group": group, "help": help, "allowed": allowed, "parse": parse, "empty": empty, "secret": secret}
    return msgspec.Meta(extra=extra, **limits)


def _number_or_off(text: str) -> int | None:
    if text.lower() == OFF:
        return None
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(text)
    return int(text)


def _list(text: str) -> list[str]:
    return [item.strip() for item in text.split(",")]


def _listen(text: str) -> list[str]:
    texts = _list(text)
    if len(texts) > LISTEN_MAX:
        raise ValueError(text)
    return [join_listen_address(*split_listen_address(address)) for address in texts]


def _inputs(text: str) -> list[str]:
    return list(dict.fromkeys(name.lower() for name in _list(text)))


def _zone(text: str) -> str:
    if text and text.lower() != "local":
        import zoneinfo  # here, since only this setting needs it

        try:
            zoneinfo.ZoneInfo(text)
        except (KeyError, OSError) as error:
            raise ValueError(text) from error
    return text


def _path(text: str) -> str:
    if any(character < " " or character == "\x7f" for character in text):  # NUL ends a path, and a line feed a message
        raise ValueError(text)
    os.fsencode(text)  # a path that the system's encoding lacks, which is a ValueError, too
    return text


def _unix_path(text: str) -> str:
    if len(os.fsencode(text)) > UNIX_PATH_MAX_BYTES:
        raise ValueError(text)
    return _path(text)


def _file_name(text: str) -> str:
    if "/" in text or text in (".", "..") or len(os.fsencode(text)) > NAME_MAX_BYTES:
        raise ValueError(text)
    return _path(text)


def _ship_to(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    place, _, path = rest.partition("/")
    if scheme.lower() not in SHIP_SCHEMES or not separator or not place or not path or not text.isprintable():
        raise ValueError(text)
    return text


def _command(text: str) -> str:
    import shlex  # here, since only this setting needs it

    words = shlex.split(text)  # raises ValueError for a quote without its other one
    if (text and not words) or "\0" in text:
        raise ValueError(text)
    return text


def _levels(text: str) -> list[str]:
    names = _list(text)
    if len(names) == 1 and names[0].upper() == NO_LEVELS:
        return []
    levels = [known_level(name) for name in names]
    if None in levels:
        raise ValueError(text)
    return list(dict.fromkeys(filter(None, levels)))


def _rate_limit(text: str) -> list[int]:
    if text.lower() == OFF:
        return []
    numbers = _list(text)
    if not 1 <= len(numbers) <= 2 or not all(number.isascii() and number.isdecimal() for number in numbers):
        raise ValueError(text)
    return [int(number) for number in numbers]


def _networks(text: str) -> list[str]:
    texts = _list(text)
    if len(texts) > NETWORKS_MAX:
        raise ValueError(text)
    for network in texts:
        ipaddress.ip_network(network)
    return texts


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting under its lower-case name; sizes in bytes and times in seconds unless the name says otherwise."""

    server_host: Annotated[
        str,
        _setting(
            "receiving",
            "address to bind; `::` accepts IPv4 and IPv6",
            "an IPv4 or IPv6 address or a host name",
            min_length=1,
        ),
    ] = "0.0.0.0"
    server_port: Annotated[
        int,
        _setting(
            "receiving", "UDP port; 0 picks a free one and prints it", "a whole number from 0 to 65535", ge=0, le=65535
        ),
    ] = DEFAULT_PORT
    listen: Annotated[
        tuple[str, ...],
        _setting(
            "receiving",
            "all addresses to bind, in place of SERVER_HOST and SERVER_PORT; without a host: all of IPv4 and IPv6",
            f"a comma-separated list of at most {LISTEN_MAX} of HOST:PORT, [IPv6]:PORT, :PORT or PORT",
            parse=_listen,
        ),
    ] = ()
    unix_socket: Annotated[
        str,
        _setting(
            "receiving",
            "path of a unix datagram socket to receive from as well; empty: none",
            f"a path of at most {UNIX_PATH_MAX_BYTES} bytes without control characters",
            parse=_unix_path,
        ),
    ] = ""
    unix_socket_mode: Annotated[
        str,
        _setting(
            "receiving",
            "mode of UNIX_SOCKET: who may write to it may send",
            "an octal number from 0000 to 0777",
            pattern="^0?[0-7]{3}$",
        ),
    ] = "0666"
    inputs: Annotated[
        tuple[Input, ...],
        _setting(
            "receiving",
            "the formats that are taken; each datagram shows its own by its first bytes",
            f"a comma-separated list of {', '.join(INPUTS)}",
            parse=_inputs,
            min_length=1,
        ),
    ] = INPUTS
    syslog_zone: Annotated[
        str,
        _setting(
            "receiving",
            "time zone of syslog's stamps without one; empty: the time of receipt counts, and `stamp` keeps theirs",
            "`local`, or a name of the tz database such as `UTC` or `Europe/Berlin`",
            parse=_zone,
        ),
    ] = ""
    stamp: Annotated[
        Stamp,
        _setting(
            "receiving",
            "whether a JSON entry gets `received` and `source`; `missing`: where it lacks `timestamp` or `host`",
            "missing, always or never",
        ),
    ] = "missing"
    buffer_size: Annotated[
        int,
        _setting("receiving", "largest datagram accepted, in bytes", "a whole number from 1 to 65536", ge=1, le=65536),
    ] = 65536
    rcvbuf_size: Annotated[
        int,
        _setting(
            "receiving",
            "receive buffer to request from the kernel (SO_RCVBUF), in bytes",
            "a whole number from 1 to 1073741824",
            ge=1,
            le=1 << 30,
        ),
    ] = 4194304
    coalesce_usec: Annotated[
        int,
        _setting(
            "receiving",
            "longest wait for more datagrams after one has arrived, in microseconds; 0: do not wait",
            "a whole number from 0 to 100000",
            ge=0,
            le=100_000,
        ),
    ] = 1000
    allow_from: Annotated[
        tuple[str, ...],
        _setting(
            "receiving",
            "networks that may send; empty: all",
            f"a comma-separated list of at most {NETWORKS_MAX} IPv4 and IPv6 networks",
            parse=_networks,
        ),
    ] = ()
    rate_limit: Annotated[
        tuple[Annotated[int, msgspec.Meta(ge=1, le=RATE_MAX)], ...],
        _setting(
            "receiving",
            "entries a second that are taken of one address, and after a comma how many at once (default: as many); "
            f"priority entries have as much again; {OFF}: all are taken",
            f"a whole number from 1 to {RATE_MAX}, or two with a comma between them, or {OFF}",
            parse=_rate_limit,
            empty=OFF,
        ),
    ] = ()

    log_dir: Annotated[
        str,
        _setting("files", "directory of the log files", "a path without control characters", parse=_path, min_length=1),
    ] = "./logs"
    log_filename: Annotated[
        str,
        _setting(
            "files",
            "name of the live log file",
            f"a file name of at most {NAME_MAX_BYTES} bytes, without `/` and control characters",
            parse=_file_name,
            min_length=1,
        ),
    ] = "server.log"
    max_log_size_mb: Annotated[
        float,
        _setting(
            "files",
            "size at which the live file is rotated, in MB of 1,000,000 bytes",
            "a number from 0.001 to 1000000",
            ge=0.001,
            le=1e6,
        ),
    ] = 100
    log_backups: Annotated[
        int, _setting("files", "number of archives to keep", "a whole number from 0 to 10000", ge=0, le=10000)
    ] = 10
    flush_count: Annotated[
        int,
        _setting(
            "files",
            "number of buffered entries that starts a flush",
            "a whole number from 1 to 1000000",
            ge=1,
            le=1_000_000,
        ),
    ] = 100
    flush_timeout_sec: Annotated[
        float,
        _setting("files", "longest time between flushes, in seconds", "a number above 0, at most 3600", gt=0, le=3600),
    ] = 5
    rejects_max_mb: Annotated[
        float,
        _setting(
            "files",
            "size limit of rejects.jsonl, in MB of 1,000,000 bytes; 0: keep no rejects",
            "a number from 0 to 1000000",
            ge=0,
            le=1e6,
        ),
    ] = 10

    log_compress: Annotated[
        Compression,
        _setting("files", "whether archives are compressed, by a process beside the server", "none or zstd"),
    ] = "none"
    log_keep_mb: Annotated[
        Annotated[float, msgspec.Meta(ge=0.001, le=1e9)] | None,
        _setting(
            "files",
            "the live file and its archives together, in MB of 1,000,000 bytes: beyond it the oldest archives are "
            "deleted; empty: no limit",
            "a number from 0.001 to 1000000000",
            parse=float,
        ),
    ] = None
    log_keep_days: Annotated[
        Annotated[float, msgspec.Meta(gt=0, le=36500)] | None,
        _setting(
            "files",
            "days after which an archive is deleted, from its last entry on; empty: no limit",
            "a number above 0, at most 36500",
            parse=float,
        ),
    ] = None
    ship_hold_mb: Annotated[
        float,
        _setting(
            "files",
            "archives beyond LOG_BACKUPS that are kept because `fastlog ship` has not shipped them yet, in MB of "
            "1,000,000 bytes; 0: none",
            "a number from 0 to 100000000",
            ge=0,
            le=1e8,
        ),
    ] = 10_000

    priority_levels: Annotated[
        tuple[str, ...],
        _setting(
            "priority entries",
            f"levels that are made durable and acknowledged; {NO_LEVELS}: no level",
            f"a comma-separated list of {', '.join(LEVELS)}, or {NO_LEVELS}",
            parse=_levels,
            empty=NO_LEVELS,
        ),
    ] = DEFAULT_PRIORITY_LEVELS
    priority_sync: Annotated[
        Literal["durable", "written"],
        _setting(
            "priority entries",
            "when an entry is acknowledged: `durable`, after the sync; `written`, after write()",
            "durable or written",
        ),
    ] = "durable"

    dashboard_port: Annotated[
        Annotated[int, msgspec.Meta(ge=0, le=65535)] | None,
        _setting(
            "dashboard",
            f"TCP port of the dashboard; 0 picks a free one and prints it; {OFF}: no dashboard",
            f"a whole number from 0 to 65535, or {OFF}",
            parse=_number_or_off,
            empty=OFF,
        ),
    ] = 8080
    dashboard_host: Annotated[
        str,
        _setting("dashboard", "address the dashboard binds", "an IPv4 or IPv6 address or a host name", min_length=1),
    ] = "127.0.0.1"
    dashboard_token: Annotated[
        str,
        _setting(
            "dashboard",
            "token required for all but `/health` and `/live`; must be set if DASHBOARD_HOST is not loopback",
            "at least 16 printable ASCII characters without spaces",
            secret=True,
            pattern=r"^([!-~]{16,})?$",
        ),
    ] = ""
    dashboard_no_token: Annotated[
        bool,
        _setting("dashboard", "run without a token; access is restricted by other means", "true or false"),
    ] = False
    dashboard_names: Annotated[
        tuple[str, ...],
        _setting(
            "dashboard", "extra host names the dashboard accepts", "a comma-separated list of host names", parse=_list
        ),
    ] = ()
    max_errors: Annotated[
        int,
        _setting(
            "dashboard",
            "recent priority entries kept in memory for the dashboard",
            "a whole number from 0 to 1000",
            ge=0,
            le=1000,
        ),
    ] = 100

    alert_command: Annotated[
        str,
        _setting(
            "alerts",
            "command to run when `/health` has changed, with the alert as JSON on its standard input; without a shell; "
            "empty: none",
            "a program and its arguments, with quotes as in a shell",
            parse=_command,
            secret=True,
        ),
    ] = ""

    ship_to: Annotated[
        str,
        _setting(
            "shipping",
            "engine to ship to: a NATS stream, or an index of Elasticsearch, OpenSearch and others with `_bulk`",
            "`nats://[USER:PASSWORD@]HOST[:PORT][,HOST…]/STREAM`, the same with `tls://`, or `http(s)://HOST[:PORT]/INDEX`",
            parse=_ship_to,
            secret=True,
        ),
    ] = ""
    ship_node: Annotated[
        str,
        _setting(
            "shipping",
            "name of this node, part of each id; its subject in NATS is `fastlog.NODE`; empty: the host's name",
            "letters, digits, `-` and `_`, at most 200, and points between them",
            pattern=NODE_PATTERN,
            max_length=200,
        ),
    ] = ""
    ship_batch_kb: Annotated[
        int,
        _setting(
            "shipping",
            "most that is sent at once, in KB of 1,024 bytes; NATS takes 1 MB at most",
            "a whole number from 1 to 1000",
            ge=1,
            le=1000,
        ),
    ] = 256
    ship_credentials: Annotated[
        str,
        _setting(
            "shipping",
            "file with the credentials: NATS' `.creds`; for HTTP one line, `USER:PASSWORD` or the value of the "
            "header `Authorization`",
            "a path without control characters",
            parse=_path,
        ),
    ] = ""
    ship_ca: Annotated[
        str,
        _setting(
            "shipping",
            "file with the certificates to trust, PEM; empty: those of the system",
            "a path without control characters",
            parse=_path,
        ),
    ] = ""

    sndbuf_size: Annotated[
        int,
        _setting(
            "clients",
            "send buffer to request from the kernel (SO_SNDBUF), in bytes",
            "a whole number from 1 to 1073741824",
            ge=1,
            le=1 << 30,
        ),
    ] = DEFAULT_SEND_BUFFER_BYTES

    @property
    def acks_wait_for_disk(self) -> bool:
        """Whether ACKs wait for the sync, not only for the write."""
        return self.priority_sync == "durable"


class Setting(msgspec.Struct, frozen=True):
    """What is known of one setting besides its value."""

    field: str
    type: Any
    default: Any
    group: Group
    help: str
    allowed: str
    parse: Callable[[str], Any]
    empty: str
    secret: bool

    @property
    def variable(self) -> str:
        return self.field.upper()

    @property
    def flags(self) -> list[str]:
        """Its variable's name as a flag, after the short form where there is one."""
        names = ("server_host", "server_port", "ship_to", "ship_node", "ship_credentials", "ship_ca")
        short = [f"--{self.field.partition('_')[2]}"] if self.field in names else []
        return [*short, f"--{self.field.replace('_', '-')}"]

    def as_text(self, value: Any) -> str:
        """The value as it is written in a variable."""
        if value is None or value == ():
            return self.empty
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, tuple):
            return ",".join(map(str, value))
        if isinstance(value, float):
            return f"{value:g}"
        return str(value)

    def from_text(self, text: str) -> Any:
        """The value that a variable's text stands for. Raises ValueError if it is not allowed."""
        try:
            value = msgspec.convert(self.parse(text.strip()), self.type, strict=False)
        except msgspec.ValidationError as error:
            raise ValueError(text) from error
        if value != value:  # "nan" is a number to msgspec, and no limit holds against it
            raise ValueError(text)
        return value


def describe() -> list[Setting]:
    """Every setting, in the order of the struct."""
    hints = get_type_hints(Settings, include_extras=True)
    return [
        Setting(
            field=field.name,
            type=hints[field.name],
            default=field.default,
            **hints[field.name].__metadata__[0].extra,
        )
        for field in msgspec.structs.fields(Settings)
    ]


def describe_server() -> list[Setting]:
    """The settings of `fastlog serve`."""
    return [setting for setting in describe() if setting.group not in OF_OTHERS]


def listen_addresses(settings: Settings) -> list[tuple[str, int]]:
    """The addresses in LISTEN, or SERVER_HOST and SERVER_PORT; the host is empty for all addresses."""
    return [split_listen_address(text) for text in settings.listen] or [(settings.server_host, settings.server_port)]


def listen_conflict(settings: Settings) -> str:
    """Why two addresses in LISTEN exclude each other, in words; empty if none do."""
    seen: list[tuple[str, int]] = []
    for host, port in listen_addresses(settings):
        text = join_listen_address(host, port)
        for other, other_port in seen if port else ():
            other_text = join_listen_address(other, other_port)
            if port == other_port and host == other:
                return f"{text} is there twice"
            if port == other_port and (_covers(other, host) or _covers(host, other)):
                return f"{other_text if _covers(other, host) else text} covers the other address of port {port}"
        seen.append((host, port))
    return ""


def _covers(host: str, other: str) -> bool:
    """Whether a socket bound to `host` leaves none of its port to one bound to `other`."""
    if host == "":
        return True
    try:
        address, version = ipaddress.ip_address(host), ipaddress.ip_address(other).version
    except ValueError:  # names: the kernel will tell
        return False
    return address.is_unspecified and address.version == version


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def printable(text: str) -> str:
    """Text that UTF-8 can encode: bytes of a path that are not UTF-8 become escapes."""
    return text.encode(errors="backslashreplace").decode()


def is_own_name(log_filename: str) -> bool:
    """Whether a log of this name could be taken for another file that a server writes in LOG_DIR, renames or removes
    there: one of its own, or one of another server that has the same LOG_DIR."""
    return bool(OWN_NAMES.fullmatch(log_filename) or OWN_ENDINGS.search(log_filename))


def in_force(settings: Settings) -> dict[str, str]:
    """Every setting of the server as it is written in a variable, secrets hidden."""
    shown = {}
    for setting in describe_server():
        value = getattr(settings, setting.field)
        shown[setting.variable] = HIDDEN if setting.secret and value else printable(setting.as_text(value))
    return shown


def rate_and_burst(settings: Settings) -> tuple[int, int]:
    """RATE_LIMIT: entries a second, and at once. 0 a second: there is no limit."""
    rate, *burst = settings.rate_limit or (0, 1)
    return rate, burst[0] if burst else rate


def missing_program(settings: Settings) -> str:
    """Why ALERT_COMMAND cannot be started, in words; empty if it can, as far as can be seen, or if there is none."""
    if not settings.alert_command:
        return ""
    import shlex  # here, since only this setting needs them
    import shutil

    program = shlex.split(settings.alert_command)[0]
    if shutil.which(program):
        return ""
    return f"ALERT_COMMAND: there is no program {program!r} that this user may execute"


def networks(settings: Settings) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """The networks in ALLOW_FROM."""
    return [ipaddress.ip_network(text) for text in settings.allow_from]
