"""Whether a descriptor still belongs to what it was opened for.

A program may close all of its descriptors at any time, as one that becomes a daemon does, and open other files under
their numbers. A descriptor that is no longer ours is neither written to, nor read, nor closed. Nor does the client keep
the number of a standard stream, which the program may be about to open.
"""

import os
import socket

from fastlog.client._native import FIRST_OTHER, above_standard_streams


class Descriptor:
    """A descriptor and the file that it is open for. Raises OSError if it is not open."""

    def __init__(self, fd: int) -> None:
        status = os.fstat(fd)
        self.fd = fd
        self._file = status.st_dev, status.st_ino

    def is_ours(self) -> bool:
        try:
            status = os.fstat(self.fd)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._file

    def close(self) -> None:
        """Closes it if it is still ours. Once is enough, and more does no harm."""
        if self.fd >= 0 and self.is_ours():
            os.close(self.fd)
        self.fd = -1


def close_socket(own: socket.socket, descriptor: Descriptor) -> None:
    """Closes a socket if its descriptor is still ours. Otherwise nothing closes the number, not even later."""
    if not descriptor.is_ours():
        own.detach()
    own.close()


def socket_above_standard_streams(own: socket.socket) -> socket.socket:
    """The socket, or another one in its place if its descriptor is one of 0 to 2. Raises OSError."""
    if own.fileno() >= FIRST_OTHER:
        return own
    return type(own)(fileno=above_standard_streams(own.detach()))
