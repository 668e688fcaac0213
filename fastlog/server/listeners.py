"""All sockets that the server receives from, UDP and unix datagram sockets: bound as the settings say, or taken over
from a service manager.

Each has a number, its place among them, by which the compiled modules know it.
"""

import ipaddress
import os
import socket
from collections.abc import Iterable, Mapping, Sequence

from fastlog.addresses import join_host_port
from fastlog.config import LISTEN_MAX, Settings, listen_addresses
from fastlog.errors import StartError
from fastlog.server.listener import Listener, turn_reports_off
from fastlog.server.socket_filter import take_off_own
from fastlog.server.unix_listener import UnixListener, prepare

FIRST_HANDED_OVER = 3  # descriptor of the first socket handed over: SD_LISTEN_FDS_START of sd_listen_fds(3)


AnyListener = Listener | UnixListener


class Listeners:
    """`each`: at least one."""

    def __init__(self, each: Sequence[AnyListener]) -> None:
        self.each = each
        self.fds = [listener.fileno() for listener in each]
        self.udp = [listener for listener in each if isinstance(listener, Listener)]
        self.unix = [listener for listener in each if isinstance(listener, UnixListener)]
        self.handed_over = [listener for listener in each if listener.handed_over]
        self.dropped_before = _sum(listener.dropped_before for listener in each)

    @classmethod
    def open(cls, settings: Settings, environment: Mapping[str, str]) -> "Listeners":
        """Takes over what the service manager keeps for this process, or binds the sockets. Raises StartError."""
        each = take_over(environment, settings.rcvbuf_size) or list(_bind_all(settings))
        path = settings.unix_socket
        if path and not any(listener.handed_over and isinstance(listener, UnixListener) for listener in each):
            try:
                each = [*each, UnixListener.bind(path, int(settings.unix_socket_mode, 8))]
            except StartError:
                for listener in each:
                    listener.close()
                raise
        return cls(each)

    @property
    def smallest(self) -> Listener | None:
        """The UDP socket with the smallest receive buffer; None: there is no UDP socket."""
        return min(self.udp, key=lambda listener: listener.granted, default=None)

    @property
    def granted(self) -> int:
        return self.smallest.granted if self.smallest else 0

    @property
    def wanted(self) -> int:
        return self.smallest.wanted if self.smallest else 0

    @property
    def how_to_grant(self) -> str:
        return self.smallest.how_to_grant if self.smallest else ""

    @property
    def is_small(self) -> bool:
        """Whether a receive buffer is smaller than the settings ask for."""
        return self.granted < self.wanted

    @property
    def errors(self) -> int:
        return sum(listener.errors for listener in self.each)

    @property
    def names(self) -> str:
        """For people."""
        return ", ".join(listener.name for listener in self.each)

    @property
    def addresses(self) -> str:
        """For programs: `udp=` and the addresses, separated by commas; then `unix=` and the paths, if there are any."""
        found = f"udp={','.join(listener.address for listener in self.udp) or 'off'}"
        return found + (f" unix={','.join(listener.address for listener in self.unix)}" if self.unix else "")

    def drops(self) -> int | None:
        """Datagrams that the kernel has dropped at all of them; None: it does not report them."""
        return _sum(listener.drops() for listener in self.each)

    def refuse(self) -> None:
        """At the end: nobody is to wait for this server any more."""
        for listener in self.unix:
            listener.refuse()

    def look_at_addresses(self) -> None:
        for listener in self.each:
            listener.look_at_addresses()

    def close(self) -> None:
        for listener in self.each:
            listener.close()


def _sum(counts: Iterable[int | None]) -> int | None:
    """The sum of all; None: one of them is not known. Each is read, whatever the others are."""
    known = list(counts)
    return None if None in known else sum(count for count in known if count is not None)


def _bind_all(settings: Settings) -> list[Listener]:
    addresses = listen_addresses(settings)
    setting = "LISTEN" if settings.listen else "SERVER_HOST and SERVER_PORT"
    listeners: list[Listener] = []
    try:
        for host, port in addresses:
            beside = any(other_port == port and _is_ipv4(other) for other, other_port in addresses)
            listeners.append(Listener.bind(host, port, settings.rcvbuf_size, setting=setting, beside_ipv4=beside))
    except StartError:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def _is_ipv4(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 4
    except ValueError:
        return False


def take_over(environment: Mapping[str, str], wanted: int) -> list[AnyListener]:
    """The bound sockets that the service manager keeps for this process, by the protocol of sd_listen_fds(3). Raises
    StartError."""
    if environment.get("LISTEN_PID") != str(os.getpid()):
        return []
    text = environment.get("LISTEN_FDS", "")
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= LISTEN_MAX):
        raise StartError(
            f"LISTEN_FDS={text!r}: fastlog takes over 1 to {LISTEN_MAX} sockets; leave so many ListenDatagram= in the "
            "socket unit"
        )
    sockets = [_descriptor(FIRST_HANDED_OVER + number, text) for number in range(int(text))]
    for sock in sockets:
        if reason := _unfit(sock):
            for other in sockets:
                other.close()
            raise StartError(
                f"the socket handed over (LISTEN_FDS) is {reason}; use ListenDatagram=PORT in the socket unit"
            )
    return [_taken_over(sock, wanted) for sock in sockets]


def _taken_over(sock: socket.socket, wanted: int) -> AnyListener:
    sock.setblocking(False)
    if sock.family == socket.AF_UNIX:
        prepare(sock)
        return UnixListener(sock)
    turn_reports_off(sock)
    take_off_own(sock)
    return Listener(sock, wanted, handed_over=True)


def _descriptor(fd: int, count: str) -> socket.socket:
    try:
        sock = socket.socket(fileno=fd)
    except OSError as error:
        raise StartError(f"LISTEN_FDS={count}, but descriptor {fd} is not a socket: {error.strerror}") from error
    os.set_inheritable(fd, False)
    return sock


def _unfit(sock: socket.socket) -> str:
    """Why nothing can be received from the socket as it should be, in words; empty if it can."""
    protocol = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL)
    is_udp = sock.family in (socket.AF_INET, socket.AF_INET6) and protocol == socket.IPPROTO_UDP
    is_unix = sock.family == socket.AF_UNIX and sock.type == socket.SOCK_DGRAM
    is_bound = bool(sock.getsockname() if is_unix else is_udp and sock.getsockname()[1])
    if not is_bound:
        kind = f"{sock.family.name} {sock.type.name}" + (" without an address" if is_udp or is_unix else "")
        return f"{kind}, not a bound UDP or unix datagram socket"
    if peer := _peer(sock):
        return f"connected to {peer}, and takes datagrams from nobody else"
    return ""


def _peer(sock: socket.socket) -> str | None:
    """The address that the socket is connected to; None: it is not connected."""
    try:
        peer = sock.getpeername()
    except OSError:
        return None
    return (
        join_host_port(*peer[:2]) if isinstance(peer, tuple) else (os.fsdecode(peer) or "a socket without an address")
    )
