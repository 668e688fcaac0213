"""What every part must reckon with that uses files: what some file systems lack, and what may have a file's name."""

import errno
import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

# What a lock, or the sync of a directory, fails with where the file system has no such thing.
NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}
NO_DIRECTORY_SYNC = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS}
# An ACL in its extended attribute (linux/posix_acl_xattr.h): a version; of each part the kind, rights and owner.
ACL_VERSION_BYTES = 4
ACL_PART = struct.Struct("<HHI")
ACL_OWN_GROUP, ACL_NAMED_GROUP = 0x04, 0x08


def _no_attributes(*_: object) -> NoReturn:
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


# Extended attributes. A Python before 3.13 for musl has none, as if no file system kept any.
getxattr: Callable[..., bytes] = getattr(os, "getxattr", _no_attributes)
setxattr: Callable[..., None] = getattr(os, "setxattr", _no_attributes)
listxattr: Callable[..., list[str]] = getattr(os, "listxattr", _no_attributes)


def open_to_read(path: str | Path) -> int:
    """A descriptor. A FIFO that took the file's place would otherwise wait for a writer. Raises OSError."""
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)


def who_may_read(path: str | Path) -> str:
    """Who may read a file that this user may not: root, and the groups that the file admits, or the first directory on
    the way to it that is closed to this user."""
    import grp  # here, since it is for a message that most runs never print

    real = Path(os.path.realpath(path))
    closed = next((parent for parent in reversed(real.parents) if not os.access(parent, os.X_OK)), None)
    try:
        groups = [grp.getgrgid(number).gr_name for number in _admitted(closed or real, os.X_OK if closed else os.R_OK)]
    except (OSError, KeyError):
        groups = []
    if not groups:
        return "root"
    return f"root and the group{'s' * (len(groups) > 1)} {', '.join(groups)}"


def _admitted(path: Path, right: int) -> list[int]:
    """The numbers of the groups that have this right: those that the ACL names, or else the file's own, which for a
    directory may be there to write and not to read. Raises OSError."""
    status = path.stat()
    if not status.st_mode >> 3 & right:  # with an ACL these bits are its mask, which limits every group
        return []
    try:
        acl = getxattr(path, "system.posix_acl_access")
    except OSError:  # there is none, or the file system has no such thing
        return [status.st_gid]
    parts = [part for part in ACL_PART.iter_unpack(acl[ACL_VERSION_BYTES:]) if part[1] & right]
    named = [number for kind, _, number in parts if kind == ACL_NAMED_GROUP]
    return named or [status.st_gid for kind, _, _ in parts if kind == ACL_OWN_GROUP]


def is_file(fd: int) -> bool:
    """Whether it is a file, and neither a directory nor a FIFO, a socket or a device. Raises OSError."""
    return stat.S_ISREG(os.fstat(fd).st_mode)
