"""All sockets that the server receives from: bound as the settings say, or taken over from a service manager.

Each has a number, its place among them, by which the compiled modules know it.
"""

import ipaddress
import os
import socket
from collections.abc import Mapping, Sequence

from fastlog.addresses import join_host_port
from fastlog.config import LISTEN_MAX, Settings, listen_addresses
from fastlog.errors import StartError
from fastlog.server.listener import Listener, turn_reports_off

FIRST_HANDED_OVER = 3  # descriptor of the first socket handed over: SD_LISTEN_FDS_START of sd_listen_fds(3)


class Listeners:
    """`each`: at least one."""

    def __init__(self, each: Sequence[Listener]) -> None:
        self.each = each
        self.fds = [listener.fileno() for listener in each]
        self.handed_over = any(listener.handed_over for listener in each)
        before = [listener.dropped_before for listener in each]
        self.dropped_before = None if None in before else sum(map(int, before))  # type: ignore[arg-type]

    @classmethod
    def open(cls, settings: Settings, environment: Mapping[str, str]) -> "Listeners":
        """Takes over what the service manager keeps for this process, or binds the sockets. Raises StartError."""
        return cls(take_over(environment, settings.rcvbuf_size) or _bind_all(settings))

    @property
    def smallest(self) -> Listener:
        """The one with the smallest receive buffer."""
        return min(self.each, key=lambda listener: listener.granted)

    @property
    def granted(self) -> int:
        return self.smallest.granted

    @property
    def wanted(self) -> int:
        return self.smallest.wanted

    @property
    def how_to_grant(self) -> str:
        return self.smallest.how_to_grant

    @property
    def errors(self) -> int:
        return sum(listener.errors for listener in self.each)

    @property
    def names(self) -> str:
        """For people."""
        return ", ".join(listener.name for listener in self.each)

    @property
    def addresses(self) -> str:
        """For programs: `udp=` and the addresses, separated by commas."""
        return f"udp={','.join(listener.address for listener in self.each)}"

    def drops(self) -> int | None:
        """Datagrams that the kernel has dropped at all of them; None: it does not report them."""
        drops = [listener.drops() for listener in self.each]
        return None if None in drops else sum(map(int, drops))  # type: ignore[arg-type]

    def look_at_addresses(self) -> None:
        for listener in self.each:
            listener.look_at_addresses()

    def close(self) -> None:
        for listener in self.each:
            listener.close()


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


def take_over(environment: Mapping[str, str], wanted: int) -> list[Listener]:
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
        sock.setblocking(False)
        turn_reports_off(sock)
    return [Listener(sock, wanted, handed_over=True) for sock in sockets]


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
    if not is_udp or sock.getsockname()[1] == 0:
        kind = f"{sock.family.name} {sock.type.name}" + (" without an address" if is_udp else "")
        return f"{kind}, not a bound UDP socket"
    if peer := _peer(sock):
        return f"connected to {peer}, and takes datagrams from nobody else"
    return ""


def _peer(sock: socket.socket) -> str | None:
    """The address that the socket is connected to; None: it is not connected."""
    try:
        return join_host_port(*sock.getpeername()[:2])
    except OSError:
        return None
