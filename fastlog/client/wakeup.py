"""Wakes a client's own thread, which waits for it among its sockets."""

import os
import weakref


class Wakeup:
    """An eventfd. It is open as long as anybody holds this object, since another file could get its number and the
    wake-up would be written there. Raises OSError where the process has no file descriptor left."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.close = weakref.finalize(self, os.close, self.fd)
        self.close.atexit = False  # other threads may still wake this one then

    def wake(self) -> None:
        os.eventfd_write(self.fd, 1)

    def clear(self) -> None:
        os.eventfd_read(self.fd)
