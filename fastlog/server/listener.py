"""The listening socket: bound, its receive buffer as large as the system allows, and what the kernel tells of it."""

import contextlib
import socket
import struct

from fastlog.addresses import AddressError, resolve
from fastlog.errors import StartError

# Of asm-generic/socket.h; the socket module does not name them.
SO_RCVBUFFORCE = 33
SO_MEMINFO = 55
UDP_GRO = 104  # of linux/udp.h

_MEMINFO = struct.Struct("=9I")  # nine counters; the ninth, SK_MEMINFO_DROPS, has the datagrams dropped (sock_diag.h)


def listen(host: str, port: int, receive_buffer: int) -> socket.socket:
    """A non-blocking UDP socket bound to `host` and `port`. Raises StartError."""
    try:
        family, address = resolve(host, port, socket.AI_PASSIVE)[0]
    except AddressError as error:
        raise StartError(f"SERVER_HOST={host!r}: {error.reason}") from error
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setblocking(False)
        _ask_receive_buffer(sock, receive_buffer)
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise StartError(
            f"cannot listen on {host} port {port}/udp: {error.strerror}; set SERVER_HOST and SERVER_PORT"
        ) from error
    return sock


def receive_buffer(sock: socket.socket) -> int:
    """Bytes granted, in the terms of SO_RCVBUF: the kernel doubles what it was asked for, to have room for its own."""
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2


def kernel_drops(sock: socket.socket) -> int | None:
    """Datagrams that the kernel dropped at this socket since it was made; None where it does not tell (before 4.12)."""
    try:
        return int(_MEMINFO.unpack(sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, _MEMINFO.size))[8])
    except (OSError, struct.error):
        return None


def take_coalesced(sock: socket.socket) -> None:
    """Has the kernel hand over datagrams that came coalesced as they are, several at once."""
    with contextlib.suppress(OSError):  # before Linux 5.0 the kernel hands over each datagram alone: slower, no less
        sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)


def _ask_receive_buffer(sock: socket.socket, size: int) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size)  # past net.core.rmem_max; needs CAP_NET_ADMIN
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
