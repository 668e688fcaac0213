"""A socket that is connected to the server, of UDP or a unix socket: how much to send at once, and the ACKs. Nothing
here waits.

A connected socket keeps the source address and the port that it had when it was connected. When the machine gets other
addresses, or a translator of addresses on the way has forgotten the port, only a new socket helps.
"""

import _socket
import errno
import ipaddress
import os
import re
import socket
import sys
from contextlib import closing, suppress
from enum import Enum

from fastlog.addresses import Address, unless_green
from fastlog.client.descriptor import Descriptor, close_socket, socket_above_standard_streams
from fastlog.client.sock_diag import ReceiveBuffer
from fastlog.limits import DATAGRAM_MAX_BYTES, OVERHEAD_LEAST_BYTES, SEQUENCE_WINDOW

if sys.platform == "linux":
    import fcntl
    import termios

RECEIVE_BUFFER_BYTES = SEQUENCE_WINDOW * (OVERHEAD_LEAST_BYTES + 256)  # holds the ACKs of a whole window
ACKS_PER_CALL = 4096  # so that a flood of datagrams to this socket does not keep the thread
ERRORS_PER_CALL = 8  # the kernel keeps one at a time; a socket that is not one any more gives them without an end
ACK_READ_BYTES = 4096  # enough to recognise an ACK, with whitespace in it, and 64 that come through a unix socket
# The abstract address of a unix socket, where ACKs come. It is not the one that the kernel would choose, since another
# network namespace may have that, too. What it begins with says that several ACKs may come in one datagram.
OWN_ADDRESS = b"\0fastlog-%d-%b"
LOCAL_PACK_BYTES = 16_384  # a datagram on this machine: larger ones gain nothing and waste receive buffer
IPV6_PACK_BYTES = 1_232  # if the path is unknown: what every IPv6 link carries (RFC 8200), less the headers
IPV4_PACK_BYTES = 1_472  # if the path is unknown: Ethernet, less the headers
SMALLEST_PACK_BYTES = 548  # what every host takes (RFC 791), less the headers; forged reports of a path say less
C_INT_MAX = (1 << 31) - 1  # what a socket option takes

IP_MTU = 14  # from linux/in.h; the socket module does not name it
IPV6_MTU = 24  # from linux/in6.h

_ACK = re.compile(rb'\s*\{\s*"ack"\s*:\s*true\s*,\s*"sequence"\s*:\s*([0-9]{1,20})\s*\}\s*')

# The socket's number belongs to nothing, or to another file of the program.
_FOREIGN = {errno.EBADF, errno.ENOTSOCK}
# What `recv` reports of the socket and of this machine. Everything else is an answer to a datagram.
_BROKEN = {errno.EINVAL, errno.ENOTCONN, errno.ENETDOWN, errno.ENODEV, errno.ENOBUFS, errno.ENOMEM, errno.EPERM}


class Trouble(Enum):
    BLOCKED = "the socket takes no more at present"
    REFUSED = "the network's answer to an earlier datagram is that nothing listens there"
    TOO_LARGE = "a datagram, this one or an earlier one, is too large for the path"
    BROKEN = "the socket sends nothing"
    FOREIGN = "the socket is gone, and its number may be that of another file"


def trouble_of(error: OSError, *, of_receiving: bool) -> Trouble:
    """What an error of `send` or `recv` means."""
    number = error.errno
    if isinstance(error, BlockingIOError):
        return Trouble.BLOCKED
    if number == errno.EMSGSIZE:
        return Trouble.TOO_LARGE
    if number in _FOREIGN:
        return Trouble.FOREIGN
    if number == errno.ECONNREFUSED or (of_receiving and number not in _BROKEN):
        return Trouble.REFUSED
    return Trouble.BROKEN


class Link:
    """The socket. Raises OSError when it cannot be made."""

    def __init__(self, address: Address, send_buffer: int) -> None:
        self.address = address
        self._server_buffer: ReceiveBuffer | None = None
        self.is_unix = False
        family, peer = address
        self.socket: socket.socket = socket_above_standard_streams(
            unless_green(socket.socket, _socket.socket)(family, socket.SOCK_DGRAM)
        )
        self._descriptor = Descriptor(self.socket.fileno())
        try:
            self.socket.setblocking(False)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, min(send_buffer, C_INT_MAX))
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            if isinstance(peer, str):
                self.is_unix = True
                self.socket.bind(OWN_ADDRESS % (os.getpid(), os.urandom(8).hex().encode()))
            self.socket.connect(peer)
            if self.is_unix:
                self.is_local = True
                return
            self._descriptor = Descriptor(self.socket.fileno())  # again, since some systems know sockets by their names
            own = self.socket.getsockname()[0]
            self.is_local = own == self.socket.getpeername()[0] or ipaddress.ip_address(own.split("%")[0]).is_loopback
            if self.is_local:
                self._server_buffer = ReceiveBuffer(self.socket)
        except BaseException:
            self.close()
            raise

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):  # otherwise the socket could not be made
            self.close()

    def is_ours(self) -> bool:
        """Whether the descriptors still belong to this link: a program may close all of its descriptors."""
        return self._descriptor.is_ours() and (self._server_buffer is None or self._server_buffer.is_ours())

    def close(self) -> None:
        close_socket(self.socket, self._descriptor)
        if self._server_buffer:
            self._server_buffer.close()

    def has_moved(self) -> bool:
        """Whether a new socket would have another source address than this one: the machine's addresses or routes have
        changed."""
        family, peer = self.address
        if self.is_unix:
            return False
        try:
            with closing(unless_green(socket.socket, _socket.socket)(family, socket.SOCK_DGRAM)) as probe:
                probe.connect(peer)
                return bool(probe.getsockname()[0] != self.socket.getsockname()[0])
        except Exception:  # there is no way at present, no descriptor for a look, or a guard forbids it
            return False

    def pack_bytes(self) -> int:
        """The size up to which several entries share a datagram: what the path carries in one piece, as far as the
        kernel knows by now. A datagram in pieces is lost if any of them is."""
        if self.is_local:
            return LOCAL_PACK_BYTES
        is_ipv4 = self.socket.family == socket.AF_INET
        size = IPV4_PACK_BYTES if is_ipv4 else IPV6_PACK_BYTES
        if sys.platform == "linux":  # elsewhere, these numbers are other options
            with suppress(OSError):
                if is_ipv4:
                    size = self.socket.getsockopt(socket.IPPROTO_IP, IP_MTU) - 28
                else:
                    size = self.socket.getsockopt(socket.IPPROTO_IPV6, IPV6_MTU) - 48
        return max(min(size, DATAGRAM_MAX_BYTES), SMALLEST_PACK_BYTES)

    def room_at(self, size: int, now: float) -> float:
        """When a datagram of `size` bytes may be sent: `now`, unless a server on this machine has no room for it."""
        return self._server_buffer.room_at(size, now) if self._server_buffer else now

    def has_taken_all(self) -> bool:
        """Whether a server on this machine is known to have taken all that was sent to it."""
        if self.is_unix:
            return _queued_bytes(self.socket) == 0
        return self._server_buffer is not None and self._server_buffer.is_empty()

    def acks(self) -> tuple[list[int], list[OSError]]:
        """The sequences acknowledged since the last call, and the network's answers to earlier datagrams."""
        found: list[int] = []
        errors: list[OSError] = []
        receive = self.socket.recv
        for _ in range(ACKS_PER_CALL):
            try:
                ack = receive(ACK_READ_BYTES)
            except BlockingIOError:
                break
            except OSError as error:
                errors.append(error)
                if len(errors) >= ERRORS_PER_CALL:
                    break
                continue
            for line in ack.split(b"\n") if self.is_unix else (ack,):
                match = _ACK.fullmatch(line)
                if match:
                    found.append(int(match[1]))
        return found, errors


def _queued_bytes(sock: socket.socket) -> int:
    """Bytes that were sent, and that the receiver has not taken yet; for a unix socket only, which only Linux has."""
    answer = fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4))
    return int.from_bytes(answer, sys.byteorder)
