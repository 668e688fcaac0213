"""A UDP socket that the server receives from, and what the kernel reports about it.

A socket that is taken over keeps the receive buffer that it was made with; one that is bound here asks for its own.
"""

import contextlib
import errno
import math
import socket
import struct
from typing import Any, ClassVar, Literal

from fastlog.addresses import AddressError, local_address, resolve
from fastlog.errors import StartError, say
from fastlog.server.own_addresses import has_several

# The numbers are from asm-generic/socket.h and linux/udp.h; Python's socket module has no names for them.
SO_RCVBUFFORCE = 33
SO_MEMINFO = 55
UDP_GRO = 104
IP_PKTINFO = 8  # from linux/in.h; Python has the name since 3.12
# Options of a socket handed over that fastlog turns off. Each has the kernel report something in a control message or
# in the queue of errors, for which a socket stays readable until somebody reads the queue.
REPORTS = (
    (socket.IPPROTO_IP, 11),  # IP_RECVERR
    (socket.IPPROTO_IPV6, 25),  # IPV6_RECVERR
    *((socket.SOL_SOCKET, option) for option in (29, 35, 37, 63, 64, 65)),  # SO_TIMESTAMP, …NS and …ING; the same _NEW
)

# What a socket that takes datagrams for every address of the host says it is bound to.
WILDCARDS = ("0.0.0.0", "::", "::ffff:0.0.0.0")

COUNTER_MASK = (1 << 32) - 1  # the kernel counts drops in 32 bits
ERROR_SAID_SEC = 60.0  # time between two messages about errors of the socket, of which there may be many
PRIVILEGED_PORTS = 1024  # the first port that everybody may bind, unless a sysctl says otherwise
NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)  # this kernel has none; it is turned off
_MEMINFO = struct.Struct("=9I")  # nine counters; the ninth, SK_MEMINFO_DROPS, counts dropped datagrams (sock_diag.h)


class ErrorsSaid:
    """Errors of a socket, counted, and printed from time to time. `name` is that of the socket."""

    def __init__(self, name: str) -> None:
        self.count = 0
        self._name = name
        self._said_at = -math.inf

    def note(self, error: OSError, now: float) -> None:
        self.count += 1
        if now - self._said_at >= ERROR_SAID_SEC:
            self._said_at = now
            say(f"cannot receive from {self._name}: {error.strerror}; still trying ({self.count} errors so far)")


class Listener:
    """`wanted`: bytes of the receive buffer that the settings ask for."""

    kind: ClassVar[Literal["udp"]] = "udp"
    queue = None  # its receive buffer counts bytes

    def __init__(self, sock: socket.socket, wanted: int, *, handed_over: bool = False) -> None:
        self.socket = sock
        self.address = local_address(sock)  # `192.0.2.1:514` or `[2001:db8::1]:514`
        self.handed_over = handed_over
        self.wanted = wanted
        self.granted = receive_buffer(sock)
        self._errors = ErrorsSaid(self.name)
        self._drops = 0  # all of them, though the kernel's counter wraps around
        self.how_to_grant = f"{'ReceiveBuffer=' if handed_over else 'sysctl -w net.core.rmem_max='}{wanted}"
        self.dropped_before = self.drops() if handed_over else 0  # a socket may be older than this process
        # Before Linux 5.0 the kernel hands over each datagram alone: that is slower, and loses nothing.
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
        self._may_report = sock.getsockname()[0] in WILDCARDS  # it is not known yet at which addresses it is asked
        self.look_at_addresses()

    @classmethod
    def bind(
        cls,
        host: str,
        port: int,
        wanted: int,
        *,
        setting: str = "SERVER_HOST and SERVER_PORT",
        beside_ipv4: bool = False,
    ) -> "Listener":
        """Binds a socket to `host` and `port`; an empty host stands for all addresses of IPv4 and IPv6. `beside_ipv4`:
        another socket has the port for IPv4. `setting` is where the address comes from. Raises StartError."""
        if not host:
            try:
                return cls(_bound(socket.AF_INET6, ("::", port), wanted, beside_ipv4=False), wanted)
            except OSError as error:
                if error.errno not in NO_IPV6:
                    raise _start_error(host, port, error, setting) from error
                host = "0.0.0.0"
        try:
            family, address = resolve(host, port, socket.AI_PASSIVE)[0]
        except AddressError as error:
            name = "SERVER_HOST" if setting.startswith("SERVER_HOST") else setting
            raise StartError(f"{name}={host!r}: {error.reason}") from error
        try:
            return cls(_bound(family, address, wanted, beside_ipv4=beside_ipv4), wanted)
        except OSError as error:
            raise _start_error(host, port, error, setting) from error

    def look_at_addresses(self) -> None:
        """To be called from time to time: this host may get another address. As long as it has one, an ACK can leave
        from no other, and the kernel's report of it would cost each datagram some 5 % more."""
        if not self._may_report:
            return
        families = [socket.AF_INET] if self.socket.family == socket.AF_INET else [socket.AF_INET, socket.AF_INET6]
        if any(map(has_several, families)):
            self._may_report = False
            _report_asked_addresses(self.socket)

    @property
    def name(self) -> str:
        return f"{self.address}/udp"

    def fileno(self) -> int:
        return self.socket.fileno()

    def drops(self) -> int | None:
        """Datagrams that the kernel has dropped at this socket since it was made; None before Linux 4.12, which does
        not report them. To be called before the kernel's counter wraps around: more often than once in 2^32 drops."""
        try:
            counter = _MEMINFO.unpack(self.socket.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, _MEMINFO.size))[8]
        except (OSError, struct.error):
            return None
        self._drops += (counter - self._drops) & COUNTER_MASK
        return self._drops

    @property
    def errors(self) -> int:
        """Calls of the kernel to receive that failed."""
        return self._errors.count

    def note_error(self, error: OSError, now: float) -> None:
        """Receiving failed."""
        self._errors.note(error, now)
        turn_reports_off(self.socket)  # another program that has the socket, too, may have turned them on

    def close(self) -> None:
        self.socket.close()


def receive_buffer(sock: socket.socket) -> int:
    """Bytes granted, in the terms of SO_RCVBUF: the kernel doubles what it was asked for, to have room for its own."""
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2


def ask_buffer(sock: socket.socket, forced: int, option: int, size: int) -> None:
    """Asks for a buffer of that size by the option `forced`, which goes past the sysctl's limit, and which needs
    CAP_NET_ADMIN; otherwise by `option`."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, forced, size)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, option, size)


def turn_reports_off(sock: socket.socket) -> None:
    """Turns REPORTS off, which also empties the queue of errors."""
    for level, option in REPORTS:
        with contextlib.suppress(OSError):  # an option that this kernel or this family does not have
            sock.setsockopt(level, option, 0)


def _bound(family: int, address: Any, wanted: int, *, beside_ipv4: bool) -> socket.socket:
    """Raises OSError."""
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(beside_ipv4))
        sock.setblocking(False)
        ask_buffer(sock, SO_RCVBUFFORCE, socket.SO_RCVBUF, wanted)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock


def _start_error(host: str, port: int, error: OSError, setting: str) -> StartError:
    fix = f"set {setting}"
    if error.errno == errno.EACCES and 0 < port < PRIVILEGED_PORTS:
        fix = (
            f"ports below {PRIVILEGED_PORTS} need CAP_NET_BIND_SERVICE (in a unit of systemd: AmbientCapabilities=), "
            f"or sysctl -w net.ipv4.ip_unprivileged_port_start={port}; or {fix}"
        )
    where = f"{host} port {port}/udp" if host else f"port {port}/udp"
    return StartError(f"cannot listen on {where}: {error.strerror}; {fix}")


def _report_asked_addresses(sock: socket.socket) -> None:
    """Has the kernel report which address each datagram was sent to, so that its ACK leaves from there.

    On a dual-stack socket datagrams over IPv4 come with both reports; that of IPv4 also names the address to answer
    from where a datagram was sent to many.
    """
    sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
