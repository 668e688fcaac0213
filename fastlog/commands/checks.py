"""What `fastlog doctor` looks at, one function for each subject. Each finding that is wrong says what mends it."""

import ctypes
import os
import re
import shlex
import socket
import statistics
from pathlib import Path
from time import monotonic, sleep
from typing import Literal

import msgspec

from fastlog.client.client import Client
from fastlog.client.link import AddressError, resolve
from fastlog.commands.udp_sockets import UdpSocket
from fastlog.config import Settings, in_force
from fastlog.server.listener import receive_buffer
from fastlog.server.storage import Storage, best_storage
from fastlog.stats import Stats

MB = 1_000_000
GRANTED_MAX = (1 << 31) // 2 - 1  # bytes of SO_RCVBUF: the kernel keeps twice of it in an int
FULL_BYTES = MB  # free: with less a disk is full, whatever is said of it
SYNCS = 5  # measured; the middle one counts
SLOW_SYNC_SEC = 0.05  # an ACK that takes longer is late for a person, too
ANSWER_SEC = 3.0  # for an ACK: two retransmissions
GRAIN_SEC = 0.0002  # to which an answer is timed
PROBE_NAME = ".fastlog-doctor"
IN_MEMORY = ("tmpfs", "ramfs")
REMOTE = ("nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "fuse.sshfs", "fuse.glusterfs")
TIME_ERROR = 5  # of adjtimex(2): the clock is not synchronised
TIMEX_BYTES = 512  # more than struct timex has; all zero it asks and changes nothing


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """`note`: worth knowing, and no fault. `unknown`: it cannot be told from here."""

    subject: str
    status: Literal["ok", "note", "problem", "unknown"]
    text: str
    fix: str = ""  # a command


class Examined:
    """The server that is looked at: its figures if it answers, else the settings that it would have."""

    def __init__(self, settings: Settings, stats: Stats | None, why_silent: str, sockets: list[UdpSocket]) -> None:
        self.stats = stats
        self.why_silent = why_silent
        self.sockets = sockets
        self.settings = stats.settings if stats else in_force(settings)
        self.directory = Path(settings.log_dir)
        if stats and Path(stats.disk.log_file).parent.is_dir():  # it may be in a container, with paths of its own
            self.directory = Path(stats.disk.log_file).parent

    def number(self, variable: str) -> float:
        return float(self.settings[variable])


def check_server(server: Examined, url: str) -> Finding:
    stats = server.stats
    if stats is None:
        ours = next((found for found in server.sockets if found.is_fastlog), None)
        if ours:
            return Finding(
                "server", "unknown", f"pid {ours.pid} serves, but tells nothing: {server.why_silent}",
                "fastlog doctor --url http://ADDRESS:PORT, as the server said at its start",
            )  # fmt: skip
        return Finding("server", "problem", f"none: {server.why_silent}", "fastlog serve")
    text = f"version {stats.version}, {stats.total_received} entries received in {stats.elapsed_seconds:.0f} s"
    if stats.health.reasons:
        text += f", degraded: {'; '.join(stats.health.reasons)}"
        return Finding("server", "problem", text, f"curl {url}/health")
    return Finding("server", "ok", text)


def check_port(server: Examined) -> Finding:
    port = server.settings["SERVER_PORT"]
    if port == "0":
        return Finding("port", "unknown", "SERVER_PORT is 0: any free one")
    if not server.sockets:
        if server.stats:
            return Finding("port", "unknown", f"{port}/udp: not in this network namespace, as in a container")
        return Finding("port", "ok", f"{port}/udp is free")
    others = [found for found in server.sockets if not found.is_fastlog]
    if not others or (server.stats and all(found.pid is None for found in others)):
        return Finding("port", "ok", f"{port}/udp: fastlog, pid {server.sockets[0].pid or 'unknown'}")
    other = others[0]
    if other.pid is None:
        return Finding(
            "port",
            "problem",
            f"{port}/udp is in use by a process of user {other.user}",
            f"sudo ss -ulpn 'sport = :{port}'",
        )
    return Finding(
        "port", "problem", f"{port}/udp is in use by pid {other.pid}: {shlex.join(other.command)[:200]}",
        f"kill {other.pid}, or another port: fastlog serve --port {int(port) % 65535 + 1}",
    )  # fmt: skip


def check_receive_buffer(server: Examined) -> Finding:
    wanted = int(server.settings["RCVBUF_SIZE"])
    allowed = _read_number("/proc/sys/net/core/rmem_max")
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
    drops = server.stats.losses.kernel_drops if server.stats else sum(found.drops for found in server.sockets)
    if drops is None:
        return Finding("kernel drops", "unknown", "the kernel does not tell them (before Linux 4.12)")
    if not drops:
        return Finding("kernel drops", "ok", "none")
    size = min(2 * int(server.settings["RCVBUF_SIZE"]), GRANTED_MAX)
    return Finding(
        "kernel drops", "problem", f"{drops} datagrams were dropped, since the receive buffer was full",
        f"sudo sysctl -w net.core.rmem_max={size} && fastlog serve --rcvbuf-size {size}",
    )  # fmt: skip


def check_losses(stats: Stats) -> Finding:
    gaps, disk = stats.losses.sequence_gaps, stats.losses.disk
    text = f"{disk} entries refused by the disk, {gaps} never arrived by their senders' sequences"
    if disk:
        return Finding("losses", "problem", text, f"df -h {shlex.quote(str(Path(stats.disk.log_file).parent))}")
    return Finding("losses", "note" if gaps else "ok", text)


def check_directory(directory: Path) -> Finding:
    """Whether it can be written, and on what it is."""
    existing = _existing(directory)
    if not os.access(existing, os.W_OK | os.X_OK):
        user = shlex.quote(_user())
        return Finding(
            "log directory", "problem", f"user {_user()} may not write to {existing}",
            f"sudo install -d -o {user} {shlex.quote(str(directory.absolute()))}",
        )  # fmt: skip
    kind, mount = _file_system(existing)
    text = f"{directory.absolute()}{'' if directory == existing else ' (not made yet)'}, {kind} at {mount}"
    if kind in IN_MEMORY:
        return Finding(
            "log directory", "note", f"{text}: in memory, so that nothing survives a restart of the machine",
            "fastlog serve --log-dir DIRECTORY_ON_A_DISK",
        )  # fmt: skip
    if kind in REMOTE:
        text += ": over a network, which makes syncs slow, and false if its server lies"
        return Finding("log directory", "note", text, "fastlog serve --log-dir DIRECTORY_ON_A_LOCAL_DISK")
    return Finding("log directory", "ok", text)


def check_sync(server: Examined) -> Finding:
    """How entries are made durable, and what that takes."""
    stats = server.stats
    if stats and stats.sync.failures:
        return Finding(
            "sync", "problem", f"{stats.sync.failures} syncs failed: the disk may be dying", "sudo dmesg --level err"
        )
    try:
        storage, why_blocking = best_storage(_existing(server.directory))
        seconds = _sync_sec(storage, _existing(server.directory))
    except OSError as error:
        return Finding("sync", "unknown", f"cannot write to {server.directory}: {error.strerror}")
    text = f"{storage.mode}, {seconds * 1000:.2f} ms"
    if stats:
        text += f"; the server: {stats.sync.mode}"
    if why_blocking:
        return Finding("sync", "note", f"{text}: each sync holds up the server ({why_blocking})")
    return Finding("sync", "note" if seconds > SLOW_SYNC_SEC else "ok", text)


def check_space(server: Examined) -> Finding:
    """Whether the log may grow to its full size."""
    try:
        system = os.statvfs(_existing(server.directory))
        used = _used(server.directory, server.settings["LOG_FILENAME"])
    except OSError as error:
        return Finding("disk space", "unknown", f"{server.directory}: {error.strerror}")
    free = system.f_bavail * system.f_frsize
    limit, rejects = server.number("MAX_LOG_SIZE_MB") * MB, server.number("REJECTS_MAX_MB") * MB
    need = limit * (server.number("LOG_BACKUPS") + 1) + rejects
    text = f"{free / MB:,.0f} MB free, {used / MB:,.0f} MB used of the {need / MB:,.0f} MB that rotation keeps"
    look = f"sudo du -xh {shlex.quote(_file_system(_existing(server.directory))[1])} | sort -h | tail"
    if server.stats and server.stats.disk.failure:
        return Finding("disk space", "problem", f"the disk refuses entries: {server.stats.disk.failure}; {text}", look)
    if free < FULL_BYTES:
        return Finding("disk space", "problem", f"the disk is full; {text}", look)
    if used + free >= need:
        return Finding("disk space", "ok", text)
    fitting = int((used + free - rejects) // limit) - 1
    fix = f"fastlog serve --log-backups {fitting}" if fitting >= 0 else look
    return Finding("disk space", "problem", f"the disk will be full before the oldest archive goes: {text}", fix)


def check_clock() -> Finding:
    """By adjtimex(2), which a container may not call."""
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(TIMEX_BYTES))
    if state < 0:
        return Finding("clock", "unknown", f"the kernel does not tell: {os.strerror(ctypes.get_errno())}")
    if state == TIME_ERROR:
        text = "the kernel's clock is not synchronised: timestamps may be off, unless the host looks after it"
        return Finding("clock", "note", text, "sudo timedatectl set-ntp true")
    return Finding("clock", "ok", "synchronised")


def check_answer(host: str, settings: Settings) -> Finding:
    """From a client's side: one entry, and its ACK."""
    port = settings.server_port
    levels = settings.priority_levels or ("ERROR",)
    try:
        resolve(host, port)
    except AddressError as error:
        return Finding("answer", "problem", str(error), f"getent hosts {shlex.quote(host)}")
    client = Client(host, port, priority_levels=levels, send_buffer=settings.sndbuf_size, give_up_sec=ANSWER_SEC)
    try:
        until = monotonic() + ANSWER_SEC
        client.send(levels[0], "a trial of fastlog doctor: nothing is wrong", app="fastlog-doctor")
        told = client.stats()
        while not (told.acknowledged or told.refused) and monotonic() < until:
            sleep(GRAIN_SEC)
            told = client.stats()
    finally:
        client.close(0)
    if told.acknowledged:
        return Finding(
            "answer", "ok", f"{host} port {port}/udp stored and acknowledged an entry in {told.round_trip_ms:.2f} ms"
        )
    if told.refused:
        return Finding("answer", "problem", f"nothing listens on {host} port {port}/udp", f"on {host}: fastlog serve")
    text = (
        f"no ACK from {host} port {port}/udp within {ANSWER_SEC:g} s: a firewall, ALLOW_FROM, "
        f"or PRIORITY_LEVELS without {levels[0]}"
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


def _used(directory: Path, name: str) -> int:
    """Bytes of the log, its archives and the rejects."""
    if not directory.is_dir():
        return 0
    ours = re.compile(rf"({re.escape(name)}|rejects\.jsonl)(\.[0-9]+)?")
    return sum(entry.stat().st_size for entry in os.scandir(directory) if ours.fullmatch(entry.name))


def _existing(directory: Path) -> Path:
    """The directory, or the nearest above it that is there."""
    return next(path for path in (directory, *directory.absolute().parents) if path.exists())


def _file_system(path: Path) -> tuple[str, str]:
    """Its type and where it is mounted, by /proc/self/mountinfo (proc(5))."""
    real = os.path.realpath(path)
    best = ("unknown", "/")
    for row in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        mount = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), row.split()[4])
        if (real + "/").startswith(mount.rstrip("/") + "/") and len(mount) >= len(best[1]):
            best = row.partition(" - ")[2].split()[0], mount
    return best


def _user() -> str:
    import pwd  # by who needs it: few do

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _read_number(path: str) -> int | None:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return None
