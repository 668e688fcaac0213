"""What `fastlog doctor` looks at, one function for each subject. A problem comes with the command that fixes it.

A check may raise OSError where this user may not look; `unseen` makes a finding of that.
"""

import ctypes
import os
import shlex
import socket
import statistics
from pathlib import Path
from time import monotonic, sleep
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from fastlog.addresses import AddressError, resolve_within, server_name
from fastlog.client.client import Client
from fastlog.commands.bound_sockets import BoundSocket, tcp_listeners
from fastlog.commands.directories import (
    closed_at,
    exists_or_is_hidden,
    file_system,
    how_to_look_into,
    nearest,
    this_user,
    user_name,
)
from fastlog.config import Settings, in_force, is_loopback
from fastlog.limits import SYNC_ALARM_SEC
from fastlog.server.listener import receive_buffer
from fastlog.server.storage import Storage, best_storage
from fastlog.server.unix_listener import QUEUE_ROOMY
from fastlog.stats import ListenerStats, Stats
from fastlog.stats_client import RefusedError, StrangerError, UnreachableError

GRANTED_MAX = (1 << 31) // 2 - 1  # bytes of SO_RCVBUF: the kernel keeps twice the number in an int
SYNCS = 5  # are timed; the median counts
SLOW_SYNC_SEC = 0.05  # a longer wait for an ACK is one that a person notices
ANSWER_SEC = 3.0  # the longest wait for an ACK: time for two retransmissions
LOOKUP_SEC = 5.0  # the longest wait for the name service: as long as the system's resolver waits for one server
GRAIN_SEC = 0.0002  # the resolution at which an answer is timed
PROBE_NAME = f".fastlog-doctor.{os.getpid()}"  # one that another doctor left behind is not in the way
IN_MEMORY = ("tmpfs", "ramfs")
REMOTE = ("nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "fuse.sshfs", "fuse.glusterfs")
TIME_ERROR = 5  # adjtimex(2) returns it when the clock is not synchronised
TIMEX_BYTES = 512  # larger than struct timex; all zero, it reads the state and changes nothing


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """`note`: worth knowing, but not a fault. `unknown`: it cannot be seen from here."""

    subject: str
    status: Literal["ok", "note", "problem", "unknown"]
    text: str
    fix: str = ""  # a command


class Examined:
    """The server that is examined: its stats if it answers, else the settings that it would have.

    `silence`: why there are no stats. `ports`: its UDP ports, and the sockets bound to each; None if the kernel's
    tables are closed to this user.
    """

    def __init__(
        self,
        settings: Settings,
        stats: Stats | None,
        silence: UnreachableError | None,
        ports: dict[int, list[BoundSocket] | None],
    ) -> None:
        self.stats = stats
        self.silence = silence
        self.ports = ports
        self.settings = stats.settings if stats else in_force(settings)
        self.directory = Path(settings.log_dir)
        if stats and exists_or_is_hidden(Path(stats.disk.log_file).parent):  # a container has paths of its own
            self.directory = Path(stats.disk.log_file).parent

    @property
    def answers(self) -> bool:
        """Whether a fastlog server answered, even if it refused its stats."""
        return self.stats is not None or isinstance(self.silence, RefusedError)

    @property
    def sockets(self) -> list[BoundSocket] | None:
        """Those bound to any of its ports; None if they cannot be seen."""
        found: list[BoundSocket] = []
        for sockets in self.ports.values():
            if sockets is None:
                return None
            found += sockets
        return found

    @property
    def unix(self) -> list[ListenerStats]:
        """Its unix sockets."""
        return [listener for listener in self.stats.listeners if listener.kind == "unix"] if self.stats else []

    def number(self, variable: str) -> float:
        return float(self.settings[variable])


def unseen(subject: str, error: OSError) -> Finding:
    """The finding for a check that this user may not make, or that the system cannot answer."""
    if isinstance(error, PermissionError) and isinstance(error.filename, str | bytes):
        closed = closed_at(Path(os.fsdecode(error.filename)))
        return Finding(subject, "unknown", f"user {this_user()} may not look into {closed}", how_to_look_into(closed))
    where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    return Finding(subject, "unknown", f"{where}{error.strerror or error}")


def check_server(server: Examined, url: str) -> Finding:
    stats = server.stats
    if stats is None:
        return _check_silent_server(server, url)
    text = f"version {stats.version}, {stats.total_received} entries received in {stats.elapsed_seconds:.0f} s"
    if stats.health.reasons:
        text += f", degraded: {'; '.join(stats.health.reasons)}"
        return Finding("server", "problem", text, f"curl {url}/health")
    return Finding("server", "ok", text)


def _check_silent_server(server: Examined, url: str) -> Finding:
    """A server without stats is not running, unless something else shows that it is."""
    sockets = server.sockets or []
    ours = next((found for found in sockets if found.is_fastlog), None)
    running = f"running (pid {ours.pid})" if ours else "running"
    why = str(server.silence)
    if isinstance(server.silence, StrangerError):
        owner = _listener_of(url)
        why = f"another program answers at {url}/stats{owner and ': '}{owner}"
    if isinstance(server.silence, RefusedError):
        return Finding("server", "unknown", f"{running}, but {why}")
    if ours and not url:
        return Finding("server", "note", f"{running} without a dashboard (DASHBOARD_PORT is off): no stats to see")
    if ours:
        text = why if isinstance(server.silence, StrangerError) else f"its dashboard does not answer: {why}"
        fix = "fastlog doctor --url http://ADDRESS:PORT, as the server printed at its start"
        return Finding("server", "unknown", f"{running}, but {text}", fix)
    if sockets and all(found.pid is None for found in sockets):
        text = f"perhaps running, as {sockets[0].owner} has its port, but its dashboard does not answer: {why}"
        return Finding("server", "unknown", text, "sudo fastlog doctor")
    if not url and 0 in server.ports:
        return Finding(
            "server", "problem", f"cannot be found: {why}, and SERVER_PORT is 0", "fastlog serve --port 5514"
        )
    fix = "fastlog serve"
    if isinstance(server.silence, StrangerError):
        fix += f" --dashboard-port {(urlsplit(url).port or 80) % 65535 + 1}"
    if not url:
        why = f"no fastlog server has port {', '.join(map(str, server.ports))}/udp"
    return Finding("server", "problem", f"not running: {why}", fix)


def _listener_of(url: str) -> str:
    """The program that listens at the URL, if it is on this machine and can be found; else an empty text."""
    parts = urlsplit(url)
    if not is_loopback(parts.hostname or ""):
        return ""
    try:
        found = tcp_listeners(parts.port or (443 if parts.scheme == "https" else 80))
    except OSError:
        return ""
    return found[0].owner if found else ""


def check_port(server: Examined, port: int) -> Finding:
    if port == 0:
        return Finding("port", "unknown", "SERVER_PORT is 0: the server takes any free port")
    sockets = server.ports[port]
    if sockets is None:
        return Finding("port", "unknown", f"{port}/udp: user {this_user()} may not read /proc/net/udp")
    if not sockets:
        if server.answers:
            return Finding(
                "port", "unknown", f"{port}/udp: the server is in another network namespace, as in a container"
            )
        return Finding("port", "ok", f"{port}/udp is free")
    others = [found for found in sockets if not found.is_fastlog]
    if not others or (server.answers and all(found.pid is None for found in others)):
        return Finding("port", "ok", f"{port}/udp: fastlog, pid {sockets[0].pid or 'unknown'}")
    other = others[0]
    text = f"{port}/udp is in use by {other.owner}"
    if other.pid is None:  # it may well be fastlog
        return Finding("port", "unknown", text, f"sudo ss -ulpn 'sport = :{port}'")
    fix = f"kill {other.pid}, or use another port: fastlog serve --port {port % 65535 + 1}"
    return Finding("port", "problem", text, fix)


def check_unix_socket(server: Examined) -> Finding:
    """Whether a program can send to it, and whether its queue is long. Raises OSError."""
    path = server.unix[0].address if server.unix else server.settings["UNIX_SOCKET"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except FileNotFoundError:
            status: Literal["problem", "unknown", "ok"] = "unknown" if server.answers else "ok"
            return Finding("unix socket", status, f"{path} does not exist here")
        except ConnectionRefusedError:
            return Finding(
                "unix socket", "ok", f"{path} is left over from a server that has ended; the next one takes it"
            )
        except PermissionError:
            text = f"user {this_user()} may not send to {path}, which has mode {os.stat(path).st_mode & 0o777:04o}"
            return Finding("unix socket", "note", text, "fastlog serve --unix-socket-mode 0666")
    queue = server.unix[0].queue if server.unix else None
    if server.unix and (queue is None or queue < QUEUE_ROOMY):
        return Finding(
            "unix socket", "note", f"{path}: its queue holds {queue or 'few'} datagrams, so receiving costs more",
            f"sudo sysctl -w net.unix.max_dgram_qlen={QUEUE_ROOMY}, then restart the server",
        )  # fmt: skip
    return Finding("unix socket", "ok", path)


def check_receive_buffer(server: Examined) -> Finding:
    wanted = int(server.settings["RCVBUF_SIZE"])
    allowed = _read_number("/proc/sys/net/core/rmem_max")
    if server.stats and not server.ports:
        return Finding("receive buffer", "ok", "there is no UDP socket")
    if server.stats:
        granted = server.stats.receive_buffer.granted
        text = f"wanted {wanted} bytes, granted {granted}"
    else:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, wanted)
            granted = receive_buffer(trial)
        text = f"wanted {wanted} bytes, a server without CAP_NET_ADMIN would be granted {granted}"
    if granted >= wanted:
        return Finding("receive buffer", "ok", text)
    text += f"; net.core.rmem_max is {'unknown' if allowed is None else allowed}"
    if wanted > GRANTED_MAX:
        fix = f"fastlog serve --rcvbuf-size {GRANTED_MAX}"
    elif allowed is not None and allowed >= wanted:
        fix = "restart the server: the limit was raised after its start"
    else:
        fix = f"sudo sysctl -w net.core.rmem_max={wanted}, then restart the server"
    return Finding("receive buffer", "problem", text, fix)


def check_kernel_drops(server: Examined) -> Finding:
    if server.stats is None and server.sockets is None:
        return Finding("kernel drops", "unknown", f"user {this_user()} may not read /proc/net/udp")
    drops = server.stats.losses.kernel_drops if server.stats else sum(found.drops for found in server.sockets or [])
    if drops is None:
        return Finding("kernel drops", "unknown", "not available before Linux 4.12")
    if not drops:
        return Finding("kernel drops", "ok", "none")
    size = min(2 * int(server.settings["RCVBUF_SIZE"]), GRANTED_MAX)
    return Finding(
        "kernel drops", "problem", f"{drops} datagrams were dropped because the receive buffer was full",
        f"sudo sysctl -w net.core.rmem_max={size} && fastlog serve --rcvbuf-size {size}",
    )  # fmt: skip


def check_losses(stats: Stats) -> Finding:
    """The losses besides kernel drops, which have a check of their own."""
    losses, rejected = stats.losses, sum(stats.rejected.values())
    network = "unknown" if losses.network is None else losses.network
    text = f"network (estimate) {network}, disk {losses.disk}, rejected {rejected}"
    if losses.disk:
        return Finding("losses", "problem", text, f"df -h {shlex.quote(str(Path(stats.disk.log_file).parent))}")
    missing = losses.sequence_gaps if losses.network is None else losses.network
    return Finding("losses", "note" if missing or rejected else "ok", text)


def check_directory(server: Examined) -> Finding:
    """Whether the server can write there, and what file system it is. Raises OSError."""
    directory = server.directory
    existing = nearest(directory)
    if server.stats is None and not os.access(existing, os.W_OK | os.X_OK):
        owner, user = user_name(existing.stat().st_uid), this_user()
        fix = f"sudo install -d -o {shlex.quote(user)} {shlex.quote(str(directory.absolute()))}"
        if existing == directory and owner != "root":  # another user's log is not to be taken from that user
            fix = f"sudo -u {shlex.quote(owner)} fastlog serve"
        return Finding("log directory", "problem", f"user {user} may not write to {existing}", fix)
    kind, mount = file_system(existing)
    text = f"{directory.absolute()}{'' if directory == existing else ' (does not exist yet)'}, {kind} at {mount}"
    if kind in IN_MEMORY:
        return Finding(
            "log directory", "note", f"{text}: in memory, so nothing survives a restart of the machine",
            "fastlog serve --log-dir DIRECTORY_ON_A_DISK",
        )  # fmt: skip
    if kind in REMOTE:
        text += ": over a network, which makes syncs slow, and untrue if its server does not keep its word"
        return Finding("log directory", "note", text, "fastlog serve --log-dir DIRECTORY_ON_A_LOCAL_DISK")
    return Finding("log directory", "ok", text)


def check_sync(server: Examined) -> Finding:
    """How entries are made durable, and how long that takes."""
    stats = server.stats
    if stats and stats.sync.failures:
        return Finding(
            "sync", "problem", f"{stats.sync.failures} syncs failed: the disk may be failing", "sudo dmesg --level err"
        )
    if stats and stats.sync.under_way_ms is not None and stats.sync.under_way_ms >= SYNC_ALARM_SEC * 1000:
        text = f"the disk does not answer: a sync has been under way for {stats.sync.under_way_ms / 1000:.0f} s"
        return Finding("sync", "problem", text, "sudo dmesg --level err")
    reported = f"; the server: {stats.sync.mode}" if stats else ""
    if stats and stats.sync.last_ms is not None:
        reported += f", last one {stats.sync.last_ms:.2f} ms"
    try:
        directory = nearest(server.directory)
        storage = best_storage(directory)
        seconds = _sync_sec(storage, directory)
    except PermissionError:
        text = f"user {this_user()} may not write to {server.directory}: no sync was timed{reported}"
        return Finding("sync", "ok" if stats else "unknown", text)
    except OSError as error:
        return Finding("sync", "unknown", f"cannot write to {server.directory}: {error.strerror}")
    text = f"{storage.mode}, {seconds * 1000:.2f} ms{reported}"
    if storage.why_blocking:
        return Finding("sync", "note", f"{text}: each sync blocks the server ({storage.why_blocking})")
    return Finding("sync", "note" if seconds > SLOW_SYNC_SEC else "ok", text)


def check_clock() -> Finding:
    """Asks adjtimex(2), which a container may not call."""
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(TIMEX_BYTES))
    if state < 0:
        return Finding("clock", "unknown", f"the kernel does not report it: {os.strerror(ctypes.get_errno())}")
    if state == TIME_ERROR:
        text = "the kernel's clock is not synchronised: timestamps may be wrong unless the host synchronises the clock"
        return Finding("clock", "note", text, "sudo timedatectl set-ntp true")
    return Finding("clock", "ok", "synchronised")


def check_answer(host: str, settings: Settings) -> Finding:
    """Sends one entry and waits for its ACK, as a client does. Raises OSError."""
    port = settings.server_port
    where = server_name(host, port)
    levels = settings.priority_levels or ("ERROR",)
    try:
        resolve_within(host, port, LOOKUP_SEC)
    except AddressError as error:
        return Finding("answer", "problem", str(error), f"getent hosts {shlex.quote(host)}")
    client = Client(host, port, priority_levels=levels, send_buffer=settings.sndbuf_size, give_up_sec=ANSWER_SEC)
    try:
        until = monotonic() + ANSWER_SEC
        client.send(levels[0], "a test by fastlog doctor: nothing is wrong", app="fastlog-doctor")
        stats = client.stats()
        while not (stats.acknowledged or stats.refused) and monotonic() < until:
            sleep(GRAIN_SEC)
            stats = client.stats()
    finally:
        client.close(0)
    if stats.acknowledged:
        return Finding("answer", "ok", f"{where} stored and acknowledged an entry in {stats.round_trip_ms:.2f} ms")
    if stats.refused:
        return Finding("answer", "problem", f"nothing listens on {where}", f"on {host}: fastlog serve")
    text = (
        f"no ACK from {where} within {ANSWER_SEC:g} s: a firewall, ALLOW_FROM, or PRIORITY_LEVELS without {levels[0]}"
    )
    return Finding("answer", "problem", text, f"on {host}: fastlog doctor; fastlog serve --check")


def _sync_sec(storage: Storage, directory: Path) -> float:
    times = []
    errors: list[OSError | None] = []
    path = directory / PROBE_NAME
    fd = storage.open(path)
    try:
        for _ in range(SYNCS):
            storage.write(fd, memoryview(b"\n"))
            began = monotonic()
            storage.sync([fd], None, errors.append)
            storage.finish()
            times.append(monotonic() - began)
    finally:
        storage.close(fd)
        storage.unlink(path)
        storage.shut_down()
    for error in errors:
        if error:
            raise error
    return statistics.median(times)


def _read_number(path: str) -> int | None:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return None
