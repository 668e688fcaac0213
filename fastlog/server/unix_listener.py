"""A unix datagram socket that the server receives from.

No datagram is lost on it: while its queue is full, its senders wait. So the server never stops receiving from it, and
it must be gone when the server is.
"""

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path
from typing import ClassVar, Literal

from fastlog.errors import StartError
from fastlog.server.listener import ErrorsSaid, ask_buffer, turn_reports_off

QUEUE_SETTING = Path("/proc/sys/net/unix/max_dgram_qlen")
QUEUE_ROOMY = 512  # a queue of so many datagrams has room for those that come while a drain waits for more
# ACKs that their senders have not read yet are in the server's send buffer, a kilobyte each. This is a limit, and takes
# no memory before.
ACK_BUFFER_BYTES = 16 << 20
SO_SNDBUFFORCE = 32  # from asm-generic/socket.h; Python's socket module has no names for this one and the next
# Reports that a socket handed over may have on, and that would take the room of the credentials.
SO_PASSSEC, SO_PASSPIDFD = 34, 76


class UnixListener:
    """`identity`: device and inode of the path, where it was made here and is to be removed."""

    kind: ClassVar[Literal["unix"]] = "unix"
    wanted = granted = None  # of the receive buffer: its queue counts datagrams
    dropped_before = 0

    def __init__(self, sock: socket.socket, identity: tuple[int, int] | None = None) -> None:
        self.socket = sock
        self.handed_over = identity is None
        self.address = os.fsdecode(sock.getsockname()).replace("\0", "@")
        self.queue = queue_length()
        self._identity = identity
        self._errors = ErrorsSaid(f"unix:{self.address}")

    @classmethod
    def bind(cls, path: str, mode: int) -> "UnixListener":
        """Raises StartError."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            prepare(sock)
            _bind(sock, path, mode)
            return cls(sock, _identity(path))
        except OSError as error:
            sock.close()
            raise StartError(f"cannot listen on the unix socket {path}: {_reason(error)}; set UNIX_SOCKET") from error
        except StartError:
            sock.close()
            raise

    @property
    def name(self) -> str:
        return f"unix:{self.address}"

    @property
    def hurries(self) -> bool:
        """Whether its senders would be held up while a drain waits for more datagrams."""
        return self.queue is None or self.queue < QUEUE_ROOMY

    @property
    def errors(self) -> int:
        return self._errors.count

    def fileno(self) -> int:
        return self.socket.fileno()

    def drops(self) -> int:
        """None: senders wait instead."""
        return 0

    def look_at_addresses(self) -> None:
        pass

    def note_error(self, error: OSError, now: float) -> None:
        self._errors.note(error, now)
        turn_reports_off(self.socket)

    def refuse(self) -> None:
        """At the end: what is in the queue can still be received, and who sends now gets an error instead of waiting. A
        socket that was handed over is left to the next server."""
        if not self.handed_over:
            self._remove_path()
            self.socket.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        self._remove_path()
        self.socket.close()

    def _remove_path(self) -> None:
        """Removes the path, if it is still the one that was made here."""
        with contextlib.suppress(OSError):
            if self._identity and _identity(self.address) == self._identity:
                os.unlink(self.address)
        self._identity = None if self.handed_over else (0, 0)


def queue_length() -> int | None:
    """How many datagrams fit in the queue of a unix socket that is made now; None: it is not known."""
    try:
        return int(QUEUE_SETTING.read_text())
    except (OSError, ValueError):
        return None


def prepare(sock: socket.socket) -> None:
    """Has the kernel report who sends, and nothing else. To be called before the first datagram can come."""
    ask_buffer(sock, SO_SNDBUFFORCE, socket.SO_SNDBUF, ACK_BUFFER_BYTES)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    turn_reports_off(sock)
    for option in (SO_PASSSEC, SO_PASSPIDFD):
        with contextlib.suppress(OSError):  # this kernel does not have it
            sock.setsockopt(socket.SOL_SOCKET, option, 0)


def _bind(sock: socket.socket, path: str, mode: int) -> None:
    """Makes the path with that mode from its first moment on. Raises OSError and StartError."""
    os.fchmod(sock.fileno(), mode)  # the path gets the mode of the socket, less the umask
    umask = os.umask(0)
    try:
        try:
            sock.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            _remove_stale(path)
            sock.bind(path)
    finally:
        os.umask(umask)


def _remove_stale(path: str) -> None:
    """Removes the socket of a server that has ended. Raises StartError if it is anything else."""
    found = os.lstat(path)
    if not stat.S_ISSOCK(found.st_mode):
        raise StartError(f"{path} is not a socket; remove it, or set UNIX_SOCKET")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            if _identity(path) == (found.st_dev, found.st_ino):
                os.unlink(path)
            return
        except OSError as error:
            if error.errno != errno.EPROTOTYPE:  # a socket of another type, which is in use
                raise
    raise StartError(f"{path} is in use by another program; stop it, or set UNIX_SOCKET")


def _identity(path: str) -> tuple[int, int]:
    found = os.lstat(path)
    return found.st_dev, found.st_ino


def _reason(error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return "its directory does not exist"
    return error.strerror or str(error)
