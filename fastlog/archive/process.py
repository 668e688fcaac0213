"""The process that compresses one archive: `python -m fastlog.archive.process SOURCE TARGET PARENT`.

Its arguments are two descriptors, TARGET's open for reading as well, and the pid of its parent. It takes what the
machine has left over: processor, disk and memory, where the system lets it say so. It reads SOURCE, writes TARGET, and
knows no names; those are the server's. It exits with 0 when TARGET is durable and has all that SOURCE has. Otherwise it
prints one line that says why, and exits with 1. It ends with its parent.
"""

import contextlib
import errno
import os
import sys

from fastlog.archive._background import use_idle_disk
from fastlog.archive.background import stay_in_background
from fastlog.archive.writer import compress
from fastlog.file_systems import getxattr, listxattr, setxattr

LOWEST_PRIORITY = 19  # a nice value: the processor goes to all others first
ATTRIBUTES = "user.fastlog"  # what the names of extended attributes begin with that go along


def main(arguments: list[str]) -> int:
    source, target, parent = map(int, arguments)
    try:
        stay_in_background(parent, LOWEST_PRIORITY)
        with contextlib.suppress(OSError):  # a container, or a unit of systemd, may forbid this
            use_idle_disk()
        # While both have a name, the original is in force, after a power cut as well. So all of it is durable before.
        os.fsync(source)
        compress(source, target)
        carry_over(source, target)
        os.fsync(target)
    except Exception as error:  # the server prints the line, and tries again
        reason = error.strerror if isinstance(error, OSError) else str(error)
        print(reason or f"{type(error).__name__} {error}", file=sys.stderr)
        return 1
    return 0


def carry_over(source: int, target: int) -> None:
    """What the archive has besides its text: mode, owner, time, and the attributes of fastlog. Raises OSError if the
    mode, the time or an attribute cannot be set."""
    status = os.fstat(source)
    for owner in (-1, status.st_uid):  # the group alone may be allowed
        with contextlib.suppress(PermissionError):
            os.fchown(target, owner, status.st_gid)
    os.fchmod(target, status.st_mode & 0o777)
    for name in attributes_of(source):
        if name.startswith(ATTRIBUTES):
            setxattr(target, name, getxattr(source, name))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def attributes_of(fd: int) -> list[str]:
    try:
        return listxattr(fd)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return []
        raise


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
