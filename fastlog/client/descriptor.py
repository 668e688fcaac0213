"""Whether a descriptor still belongs to what it was opened for.

A program may close all of its descriptors at any time, as one that becomes a daemon does, and open other files under
their numbers. A descriptor that is no longer ours is neither written to, nor read, nor closed.
"""

import os
import socket


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
