"""What `fastlog doctor` looks at where the log is shipped: how far behind the shipper is, whether the disk has room for
what is held for it, and what the engine says of itself.

A check may raise OSError where this user may not look.
"""

import contextlib
import http.client
import os
import shlex
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep, time

import msgspec

from fastlog.commands.checks import Examined, Finding
from fastlog.commands.directories import file_system, nearest
from fastlog.commands.space_checks import space_of
from fastlog.config import MB, Settings
from fastlog.errors import FastlogError
from fastlog.segments import Shipped, read_shipped, shipped_path
from fastlog.ship.engine import engine_remembers, make_sink
from fastlog.ship.files import NO_ATTRIBUTES, Listing, LogFiles
from fastlog.ship.nats_address import NatsServer, nats_address
from fastlog.ship.note import lock_path
from fastlog.ship.refused import RefusedFile
from fastlog.ship.sink import UnavailableError

LATE_SEC = 60.0  # of lag: a shipper that keeps up is less than a second behind
NEWS_SEC = 2.5  # a shipper that has something to ship writes its note within this time: it does so once a second
LOOK_AGAIN_SEC = 0.1  # until then
ENGINE_SEC = 6.0  # the longest wait for an engine: as long as it takes to see that its host is away
MONITORING_PORT = 8222  # of NATS, by its documentation and in its images
MONITORING_SEC = 1.0
MONITORING_MAX_BYTES = 1 << 20  # of its answer: far more than it has
SERVICE = "fastlog-ship"
DETAILS = ("warning", "sync", "subject", "last position", "storage", "dedupe window")  # left to `fastlog ship --check`


class _JetStreamConfig(msgspec.Struct):
    sync_interval: int | None = None  # ns
    sync_always: bool = False


class _JetStream(msgspec.Struct):
    config: _JetStreamConfig | None = None


class _Monitored(msgspec.Struct):
    """What is read of NATS' `/varz`."""

    port: int
    jetstream: _JetStream | None = None


def is_shipped(server: Examined, settings: Settings) -> bool:
    """Whether somebody ships the log, or means to."""
    with contextlib.suppress(OSError):
        return bool(settings.ship_to) or os.path.lexists(shipped_path(_live(server)))
    return True  # it may not be looked into, as the checks will say


def check_shipper(server: Examined) -> Finding:
    """Whether a shipper runs, and how far behind the log it is. Raises OSError."""
    live = _live(server)
    try:
        listing = LogFiles(live).now()
    except OSError as error:
        if error.errno not in NO_ATTRIBUTES:
            raise
        kind, mount = file_system(nearest(live.parent))
        text = f"{kind} at {mount} keeps no extended attributes (user.*), by which the log's files are known"
        return Finding("ship", "problem", text, "fastlog serve --log-dir DIRECTORY_ON_ANOTHER_FILE_SYSTEM")
    if listing.log is None:
        return _check_unknown_log(live, listing)
    start = f"sudo systemctl start {SERVICE}, or: fastlog ship --log-dir {shlex.quote(str(live.parent))}"
    try:
        note = read_shipped(live)
    except ValueError:
        text = f"{shipped_path(live)} is not a note of `fastlog ship`: nothing is deleted from the log"
        return Finding("ship", "problem", text, f"rm {shlex.quote(str(shipped_path(live)))}")
    if note is None:
        return Finding("ship", "problem", "SHIP_TO is set, and nobody has shipped anything of this log yet", start)
    return _check_note(server, live, listing, note, start)


def _check_unknown_log(live: Path, listing: Listing) -> Finding:
    if listing.unread:
        return Finding("ship", "unknown", f"cannot read {listing.first_unread()}", "sudo fastlog doctor")
    if live.exists():
        text = f"{live} has no identity (the attribute user.fastlog): no server of this version has written it"
        return Finding("ship", "problem", text, "restart the server: fastlog serve gives it one")
    return Finding("ship", "ok", f"there is no {live} yet")


def _check_note(server: Examined, live: Path, listing: Listing, note: Shipped, start: str) -> Finding:
    lag = listing.lag(note.position)
    pid = _shipper_of(live)
    written = shipped_path(live).stat().st_mtime
    where = f"segment {note.segment} of {listing.newest}"
    text = f"{_size(lag)} behind, at {where}, as of {_age(time() - written)} ago"
    figures = server.stats.ship if server.stats else None
    if note.problem:
        who = "" if pid else "no shipper runs, and the last one said: "
        return Finding("ship", "problem", f"{who}{note.problem}; {text}", f"journalctl -u {SERVICE}")
    if not lag and not pid:
        return Finding("ship", "note", f"all is shipped, but no shipper can be seen here; {text}", start)
    if not lag or _moves(live, note):
        if figures and figures.lag_seconds > LATE_SEC:
            text += f": the shipper is slower than the log grows, {figures.lag_seconds:.0f} s"
            return Finding("ship", "note", text, f"journalctl -u {SERVICE}")
        return Finding("ship", "ok", text)
    if pid:
        text = f"the shipper (pid {pid}) is silent; {text}"
        return Finding("ship", "problem", text, f"sudo systemctl restart {SERVICE}")
    stop = f"or, if nobody ships this log any more: rm {shlex.quote(str(shipped_path(live)))}"
    return Finding("ship", "problem", f"no shipper runs, and lines wait; {text}", f"{start}; {stop}")


def check_hold(server: Examined) -> Finding:
    """Whether the disk has room for what is kept while the engine is away. Raises OSError."""
    space = space_of(server)
    hold = server.number("SHIP_HOLD_MB") * MB
    if not hold:
        text = "SHIP_HOLD_MB is 0: what is not shipped is deleted by rotation like the rest"
        return Finding("ship hold", "note", text, "fastlog serve --ship-hold-mb 10000")
    room = space.used + space.free - space.need
    whole = f"{(space.need + hold) / MB:,.0f} MB with the hold"
    text = f"{space.free / MB:,.0f} MB free, {space.used / MB:,.0f} MB used of the {whole}"
    if room >= hold:
        return Finding("ship hold", "ok", text)
    fix = (
        f"fastlog serve --ship-hold-mb {int(room / MB)}"
        if room >= MB
        else f"df -h {shlex.quote(str(nearest(server.directory)))}"
    )
    text = f"the disk will be full before SHIP_HOLD_MB is: {text}"
    return Finding("ship hold", "problem", text, fix)


def check_engine(settings: Settings) -> Finding:
    """What the engine says of itself, within a few seconds."""
    try:
        rows = _within(ENGINE_SEC, lambda: _ask(settings))
    except FastlogError as error:
        return Finding("ship engine", "problem", str(error), "fastlog ship --check")
    except UnavailableError as error:
        return Finding("ship engine", "problem", str(error) or "the engine is away", "fastlog ship --check")
    if rows is None:
        text = f"no answer within {ENGINE_SEC:g} s"
        return Finding("ship engine", "problem", text, "fastlog ship --check")
    warnings = [value for name, value in rows if name == "warning"]
    text = "; ".join(value if name == "server" else f"{name} {value}" for name, value in rows if name not in DETAILS)
    if engine_remembers(settings):
        text += f"; {sync_in_words(nats_address(settings).servers[0], MONITORING_PORT)}"
    return Finding("ship engine", "note" if warnings else "ok", "; ".join([text, *warnings]))


def _ask(settings: Settings) -> list[tuple[str, str]]:
    sink = make_sink(settings, RefusedFile(Path(settings.log_dir), 0))
    try:
        sink.resume()
        return sink.report()
    finally:
        sink.close()


def _within(seconds: float, ask: Callable[[], list[tuple[str, str]]]) -> list[tuple[str, str]] | None:
    """What it returns or raises; None: that takes longer."""
    results: list[list[tuple[str, str]]] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            results.append(ask())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="fastlog-engine", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    return results[0] if results else None


def sync_in_words(server: NatsServer, monitoring_port: int) -> str:
    """How often a server of NATS syncs what it stores, by its monitoring, which it has if it was told to."""
    unseen = "how often it syncs cannot be seen: every two minutes, unless sync_interval is set"
    connection = http.client.HTTPConnection(server.host, monitoring_port, timeout=MONITORING_SEC)
    try:
        connection.request("GET", "/varz")
        seen = msgspec.json.decode(connection.getresponse().read(MONITORING_MAX_BYTES), type=_Monitored)
    except (OSError, http.client.HTTPException, msgspec.DecodeError):
        return unseen
    finally:
        connection.close()
    config = seen.jetstream.config if seen.jetstream else None
    if config is None or seen.port != server.port:
        return unseen
    if config.sync_always:
        return "it syncs each message (sync_interval: always)"
    return f"it syncs every {(config.sync_interval or 0) / 1e9:g} s (sync_interval)" if config.sync_interval else unseen


def _live(server: Examined) -> Path:
    return server.directory / server.settings["LOG_FILENAME"]


def _moves(live: Path, before: Shipped) -> bool:
    """Whether the note moves on, or nothing is left to ship."""
    until = monotonic() + NEWS_SEC
    while monotonic() < until:
        sleep(LOOK_AGAIN_SEC)
        note = read_shipped(live)
        if note is None or note.position != before.position or not LogFiles(live).now().lag(note.position):
            return True
    return False


def _shipper_of(live: Path) -> str:
    """The pid of the process that holds the lock of this log's shipper; empty: none that can be seen does."""
    try:
        state = os.stat(lock_path(live))
    except FileNotFoundError:
        return ""
    inode = f"{os.major(state.st_dev):02x}:{os.minor(state.st_dev):02x}:{state.st_ino}"
    for row in Path("/proc/locks").read_text().splitlines():
        fields = row.split()
        if fields[1] == "FLOCK" and fields[5] == inode:
            return fields[4]
    return ""


def _size(size: int) -> str:
    return f"{size / MB:,.1f} MB" if size >= MB else f"{size:,} bytes"


def _age(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} seconds"
