"""A receiving socket: bound here or taken over from a service manager, and what the kernel reports about it.

A socket that is taken over keeps the receive buffer that it was made with; one that is bound here asks for its own.
"""

import contextlib
import math
import os
import socket
import struct
from collections.abc import Mapping

from fastlog.addresses import AddressError, join_host_port, local_address, resolve
from fastlog.errors import StartError, say
from fastlog.server.own_addresses import has_several
from fastlog.server.socket_filter import take_off_own

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
FIRST_HANDED_OVER = 3  # descriptor of the first socket handed over: SD_LISTEN_FDS_START of sd_listen_fds(3)
_MEMINFO = struct.Struct("=9I")  # nine counters; the ninth, SK_MEMINFO_DROPS, counts dropped datagrams (sock_diag.h)


class Listener:
    """`wanted`: bytes of the receive buffer that the settings ask for."""

    def __init__(self, sock: socket.socket, wanted: int, *, handed_over: bool = False) -> None:
        self.socket = sock
        self.handed_over = handed_over
        self.wanted = wanted
        self.granted = receive_buffer(sock)
        self.errors = 0  # calls of the kernel to receive that failed
        self._error_said_at = -math.inf
        self._drops = 0  # all of them, though the kernel's counter wraps around
        self.how_to_grant = f"{'ReceiveBuffer=' if handed_over else 'sysctl -w net.core.rmem_max='}{wanted}"
        self.dropped_before = self.drops() if handed_over else 0  # a socket may be older than this process
        # Before Linux 5.0 the kernel hands over each datagram alone: that is slower, and loses nothing.
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
        self._may_report = sock.getsockname()[0] in WILDCARDS  # it is not known yet at which addresses it is asked
        self.look_at_addresses()

    @classmethod
    def bind(cls, host: str, port: int, wanted: int) -> "Listener":
        """Binds a socket to `host` and `port`. Raises StartError."""
        try:
            family, address = resolve(host, port, socket.AI_PASSIVE)[0]
        except AddressError as error:
            raise StartError(f"SERVER_HOST={host!r}: {error.reason}") from error
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.setblocking(False)
            _ask_receive_buffer(sock, wanted)
            sock.bind(address)
        except OSError as error:
            sock.close()
            raise StartError(
                f"cannot listen on {host} port {port}/udp: {error.strerror}; set SERVER_HOST and SERVER_PORT"
            ) from error
        return cls(sock, wanted)

    @classmethod
    def take_over(cls, environment: Mapping[str, str], wanted: int) -> "Listener | None":
        """Takes the bound socket that the service manager keeps for this process, by the protocol of sd_listen_fds(3).

        Returns None if there is none. Raises StartError.
        """
        if environment.get("LISTEN_PID") != str(os.getpid()):
            return None
        count = environment.get("LISTEN_FDS", "")
        if count != "1":
            raise StartError(
                f"LISTEN_FDS={count!r}: fastlog takes over exactly one socket; "
                "leave one ListenDatagram= in the socket unit"
            )
        try:
            sock = socket.socket(fileno=FIRST_HANDED_OVER)
        except OSError as error:
            raise StartError(
                f"LISTEN_FDS=1, but descriptor {FIRST_HANDED_OVER} is not a socket: {error.strerror}"
            ) from error
        os.set_inheritable(FIRST_HANDED_OVER, False)
        protocol = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL)
        is_udp = sock.family in (socket.AF_INET, socket.AF_INET6) and protocol == socket.IPPROTO_UDP
        if not is_udp or sock.getsockname()[1] == 0:
            kind = f"{sock.family.name} {sock.type.name}" + (" without an address" if is_udp else "")
            sock.close()
            raise StartError(
                f"the socket handed over (LISTEN_FDS) is {kind}, not a bound UDP socket; "
                "use ListenDatagram=PORT in the socket unit"
            )
        if peer := _peer(sock):
            sock.close()
            raise StartError(
                f"the socket handed over (LISTEN_FDS) is connected to {peer}, and takes datagrams from nobody else; "
                "use ListenDatagram=PORT in the socket unit"
            )
        sock.setblocking(False)
        turn_reports_off(sock)
        take_off_own(sock)
        return cls(sock, wanted, handed_over=True)

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
    def address(self) -> str:
        """`192.0.2.1:514` or `[2001:db8::1]:514`."""
        return local_address(self.socket)

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

    def note_error(self, error: OSError, now: float) -> None:
        """Receiving failed."""
        self.errors += 1
        if now - self._error_said_at >= ERROR_SAID_SEC:
            self._error_said_at = now
            say(f"cannot receive from {self.address}/udp: {error.strerror}; still trying ({self.errors} errors so far)")
        turn_reports_off(self.socket)  # another program that has the socket, too, may have turned them on

    def close(self) -> None:
        self.socket.close()


def receive_buffer(sock: socket.socket) -> int:
    """Bytes granted, in the terms of SO_RCVBUF: the kernel doubles what it was asked for, to have room for its own."""
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2


def turn_reports_off(sock: socket.socket) -> None:
    """Turns REPORTS off, which also empties the queue of errors."""
    for level, option in REPORTS:
        with contextlib.suppress(OSError):  # an option that this kernel or this family does not have
            sock.setsockopt(level, option, 0)


def _peer(sock: socket.socket) -> str | None:
    """The address that the socket is connected to; None: it is not connected."""
    try:
        return join_host_port(*sock.getpeername()[:2])
    except OSError:
        return None


def _ask_receive_buffer(sock: socket.socket, size: int) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size)  # past net.core.rmem_max; needs CAP_NET_ADMIN
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def _report_asked_addresses(sock: socket.socket) -> None:
    """Has the kernel report which address each datagram was sent to, so that its ACK leaves from there.

    On a dual-stack socket datagrams over IPv4 come with both reports; that of IPv4 also names the address to answer
    from where a datagram was sent to many.
    """
    sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
