"""What every part must reckon with that uses files: what some file systems lack, and what may have a file's name."""

import errno
import os
import stat
from pathlib import Path

# What a lock, or the sync of a directory, fails with where the file system has no such thing.
NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}
NO_DIRECTORY_SYNC = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS}


def open_to_read(path: str | Path) -> int:
    """A descriptor. A FIFO that took the file's place would otherwise wait for a writer. Raises OSError."""
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)


def who_may_read(path: str | Path) -> str:
    """Who may read a file that this user may not: root, and the group that the file admits, or the first directory on
    the way to it that is closed to this user."""
    import grp  # here, since it is for a message that most runs never print

    real = Path(os.path.realpath(path))
    closed = next((parent for parent in reversed(real.parents) if not os.access(parent, os.X_OK)), None)
    try:
        status = (closed or real).stat()
        if status.st_mode & (stat.S_IXGRP if closed else stat.S_IRGRP):
            return f"root and the group {grp.getgrgid(status.st_gid).gr_name}"
    except (OSError, KeyError):
        pass
    return "root"


def is_file(fd: int) -> bool:
    """Whether it is a file, and neither a directory nor a FIFO, a socket or a device. Raises OSError."""
    return stat.S_ISREG(os.fstat(fd).st_mode)
