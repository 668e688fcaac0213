"""Directories as `fastlog doctor` sees them: what file system they are on, and who may look into them."""

import grp
import os
import pwd
import re
import shlex
import stat
from pathlib import Path


def nearest(directory: Path) -> Path:
    """The directory, or the nearest one above it that exists. Raises OSError if the user may not look there."""
    for path in (directory, *directory.absolute().parents):
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        return path
    return Path("/")


def exists_or_is_hidden(directory: Path) -> bool:
    """False only where this user can see that the directory is not there."""
    try:
        return stat.S_ISDIR(directory.stat().st_mode)
    except PermissionError:
        return True
    except OSError:
        return False


def file_system(path: Path) -> tuple[str, str]:
    """The file system's type and where it is mounted, by /proc/self/mountinfo (proc(5))."""
    real = os.path.realpath(path)
    best = ("unknown", "/")
    try:
        rows = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return best
    for row in rows:
        mount = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), row.split()[4])
        if (real + "/").startswith(mount.rstrip("/") + "/") and len(mount) >= len(best[1]):
            best = row.partition(" - ")[2].split()[0], mount
    return best


def closed_at(path: Path) -> Path:
    """The first directory on the way to `path` that this user may not search, or where it leads if there is none."""
    real = Path(os.path.realpath(path))
    return next((parent for parent in reversed(real.parents) if not os.access(parent, os.X_OK)), real)


def how_to_look_into(directory: Path) -> str:
    """The commands that let this user see a directory that is closed to them."""
    look = "sudo fastlog doctor"
    try:
        status = directory.stat()
        group = grp.getgrgid(status.st_gid).gr_name
    except (OSError, KeyError):
        return look
    may = stat.S_IRGRP | stat.S_IXGRP
    if status.st_mode & may != may or status.st_gid in (os.getegid(), *os.getgroups()):
        return look
    return f"{look}, or for good: sudo usermod -aG {group} {shlex.quote(this_user())}"


def this_user() -> str:
    return user_name(os.geteuid())


def user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
