"""Whether a descriptor still belongs to what it was opened for.

A program may close all of its descriptors at any time, as one that becomes a daemon does, and open other files under
their numbers. A descriptor that is no longer ours is neither written to, nor read, nor closed. Nor does the client keep
the number of a standard stream, which the program may be about to open.

On Windows, sockets have numbers of their own, which nobody closes by counting: there, each is taken to be ours.
"""

import _socket
import os
import stat
import sys
from typing import TypeVar

if sys.platform != "win32":
    import fcntl

FIRST_OTHER = 3  # the first descriptor that is not one of the standard streams

AnySocket = TypeVar("AnySocket", bound=_socket.socket)


class Descriptor:
    """A descriptor and the file that it is open for. Raises OSError if it is not open."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._file = _file_of(fd)

    def is_ours(self) -> bool:
        try:
            return _file_of(self.fd) == self._file
        except OSError:
            return False

    def close(self) -> None:
        """Closes it if it is still ours. Once is enough, and more does no harm."""
        if self.fd >= 0 and self.is_ours():
            os.close(self.fd)
        self.fd = -1


def _file_of(fd: int) -> object:
    if sys.platform == "win32":
        return None
    status = os.fstat(fd)
    if status.st_ino == 0 and stat.S_ISSOCK(status.st_mode):  # macOS, for sockets of the internet
        own = _socket.socket(fileno=fd)
        try:
            return own.getsockname()
        finally:
            own.detach()
    return status.st_dev, status.st_ino


def close_socket(own: _socket.socket, descriptor: Descriptor) -> None:
    """Closes a socket if its descriptor is still ours. Otherwise nothing closes the number, not even later."""
    if not descriptor.is_ours():
        own.detach()
    own.close()


def above_standard_streams(fd: int) -> int:
    """The descriptor, or another one in its place if its number is one of 0 to 2. A program that has closed those is
    about to open them anew, and whatever is printed goes there. Raises OSError, and has closed `fd` then."""
    if fd >= FIRST_OTHER or sys.platform == "win32":
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST_OTHER)
    finally:
        os.close(fd)


def socket_above_standard_streams(own: AnySocket) -> AnySocket:
    """The socket, or another one in its place if its descriptor is one of 0 to 2. Raises OSError."""
    if own.fileno() >= FIRST_OTHER:
        return own
    return type(own)(fileno=above_standard_streams(own.detach()))
