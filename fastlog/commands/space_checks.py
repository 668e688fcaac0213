"""What `fastlog doctor` says of the disk's space, and of how much of the log is kept."""

import math
import os
import re
import shlex
from typing import NamedTuple

from fastlog.commands.checks import Examined, Finding
from fastlog.commands.directories import file_system, nearest
from fastlog.config import MB
from fastlog.server.budget import Budget, Limits
from fastlog.server.room import grows_by_backups, most_bytes, rounded
from fastlog.server.storage import Storage

FULL_BYTES = MB  # a disk with less free space counts as full
BACKUPS_MAX = 10_000  # the highest LOG_BACKUPS

_REJECTS = re.compile(r"rejects\.jsonl(\.[0-9]+)?")


class Space(NamedTuple):
    """Bytes. `used`: by the log, its archives and the rejects; `need`: what these may grow to. `by_backups`: what the
    log may grow to if LOG_BACKUPS alone limits it."""

    free: int
    used: int
    need: int
    by_backups: int
    rejects: int
    limits: Limits
    file: int  # the live file's limit
    compressed: list[int] | None  # the sizes of archives that are compressed; None: none is


def space_of(server: Examined) -> Space:
    """Raises OSError."""
    existing = nearest(server.directory)
    system = os.statvfs(existing)
    keep_mb = server.settings.get("LOG_KEEP_MB")  # an older server has none
    limits = Limits(int(server.number("LOG_BACKUPS")), int(float(keep_mb) * MB) if keep_mb else None)
    live = server.directory / server.settings["LOG_FILENAME"]
    budget = Budget(Storage(), live, limits)
    rejects_used = live_used = 0
    if existing == server.directory:
        budget.find()
        live_used = live.stat().st_size if live.exists() else 0
        rejects_used = sum(e.stat().st_size for e in os.scandir(existing) if _REJECTS.fullmatch(e.name))
    file = int(server.number("MAX_LOG_SIZE_MB") * MB)
    if limits.total_bytes is not None:
        file = max(min(file, limits.total_bytes // 2), 1)
    rejects = int(server.number("REJECTS_MAX_MB") * MB)
    compressed = budget.compressed_sizes if server.settings.get("LOG_COMPRESS") == "zstd" else None
    by_backups = grows_by_backups(limits.backups, file, compressed) + budget.foreign_bytes
    return Space(
        free=system.f_bavail * system.f_frsize,
        used=live_used + budget.bytes + rejects_used,
        need=most_bytes(limits, file, budget.foreign_bytes, compressed) + rejects,
        by_backups=by_backups,
        rejects=rejects,
        limits=limits,
        file=file,
        compressed=compressed,
    )


def check_space(server: Examined) -> Finding:
    """Whether the log has room to grow to its full size. Raises OSError."""
    failure = server.stats.disk.failure if server.stats else None
    try:
        space = space_of(server)
        mount = file_system(nearest(server.directory))[1]
    except OSError:
        if failure is None:
            raise
        return Finding("disk space", "problem", f"the disk refuses entries: {failure}", "df -h")
    text = f"{space.free / MB:,.0f} MB free, {space.used / MB:,.0f} MB used of the {_whole(space)}"
    look = f"sudo du -xh {shlex.quote(mount)} | sort -h | tail"
    if failure:
        return Finding("disk space", "problem", f"the disk refuses entries: {failure}; {text}", look)
    if space.free < FULL_BYTES:
        return Finding("disk space", "problem", f"the disk is full; {text}", look)
    if space.used + space.free >= space.need:
        return _check_backups(space, text)
    text = f"the disk will be full before the oldest archive is deleted: {text}"
    return Finding("disk space", "problem", text, _how_to_fit(space) or look)


def _whole(space: Space) -> str:
    limit = "rotation keeps"
    if space.limits.total_bytes is not None and space.limits.total_bytes <= space.by_backups:
        limit = "LOG_KEEP_MB and the rejects may take"
    return f"{space.need / MB:,.0f} MB that {limit}"


def _check_backups(space: Space, text: str) -> Finding:
    """LOG_BACKUPS must not end a log before LOG_KEEP_MB does: that one would have no effect."""
    total = space.limits.total_bytes
    if total is None or space.by_backups >= total or not space.limits.backups:
        return Finding("disk space", "ok", text)
    size = (space.by_backups - space.file) / space.limits.backups  # of an archive
    wanted = math.ceil((total - space.file) / max(size, 1))
    note = (
        f"LOG_BACKUPS={space.limits.backups} archives of {size / MB:,.1f} MB end before "
        f"LOG_KEEP_MB={total / MB:g} is reached; {text}"
    )
    return Finding("disk space", "note", note, f"fastlog serve --log-backups {min(wanted, BACKUPS_MAX)}")


def _how_to_fit(space: Space) -> str:
    """The command with which the log fits; empty: there is no room for any."""
    room = space.used + space.free - space.rejects
    if space.limits.total_bytes is None and not space.compressed:
        fitting = room // space.file - 1
        return f"fastlog serve --log-backups {fitting}" if fitting >= 0 else ""
    return f"fastlog serve --log-keep-mb {rounded(room)}" if room >= FULL_BYTES else ""
