"""Host names, ports and addresses: looked up, taken apart, and written as text."""

import _socket
import ipaddress
import os
import socket
import sys
import threading
from typing import Any

from fastlog.errors import FastlogError, say

# (family, address) as the socket module takes them
Address = tuple[int, Any]

# In place of a server's name: the rest is the path of a unix socket.
UNIX_PREFIX = "unix:"
UNIX_PATH_MAX_BYTES = 107  # sun_path has 108, and a NUL at its end

WAIT_SHOWN_SEC = 1.0  # until the user is told that the system's resolver does not answer

# Libraries that put greenlets in the place of threads, and replace parts of the socket module for them.
GREENLET_LIBRARIES = ("gevent", "eventlet")

# A server that listens on all addresses is reached from its own machine at this one.
LOOPBACK_OF_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class AddressError(FastlogError):
    """A server's name does not resolve, or its address cannot be reached from here; `reason` says why."""

    def __init__(self, host: str, reason: str | None) -> None:
        self.reason = reason or "unknown error"  # an OSError may have no text
        super().__init__(f"cannot find the server {host!r}: {self.reason}")


def unix_path(host: str) -> str:
    """The path in `unix:PATH`; empty if the host is a name or an address."""
    return host[len(UNIX_PREFIX) :] if host.startswith(UNIX_PREFIX) else ""


def server_name(host: str, port: int) -> str:
    """A server, for people."""
    return host if unix_path(host) else f"{host} port {port}/udp"


def ascii_name(host: str) -> str:
    """A host name as the resolver takes it. Raises UnicodeError if `host` cannot be a host name.

    The socket module would convert the name during the look-up, and import the codec for that. A program that forks
    while the client's thread imports it leaves the child with a lock on the import that nobody releases."""
    return host if host.isascii() or unix_path(host) else host.encode("idna").decode()


def unless_green(found: Any, original: Any) -> Any:
    """What the socket module has, or what it had before a library replaced it for greenlets: that would make an event
    loop in the client's thread, and may import modules there while the program imports them, too."""
    library = (getattr(found, "__module__", None) or "").partition(".")[0]
    return original if library in GREENLET_LIBRARIES else found


def resolve(host: str, port: int, flags: int = 0) -> list[Address]:
    """The addresses of a name for UDP, in the system's order, or the one of `unix:PATH`. Waits as long as the system's
    resolver does. `flags` are those of getaddrinfo. Raises AddressError."""
    if path := unix_path(host):
        if len(os.fsencode(path)) > UNIX_PATH_MAX_BYTES:
            raise AddressError(host, f"the path has more than {UNIX_PATH_MAX_BYTES} bytes")
        if sys.platform != "linux":
            raise AddressError(host, "a server's unix socket is reached on Linux only")
        return [(int(socket.AF_UNIX), path)]
    try:
        name = ascii_name(host).encode()  # bytes are passed on as they are
        found = unless_green(socket.getaddrinfo, _socket.getaddrinfo)(name, port, type=socket.SOCK_DGRAM, flags=flags)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a valid host name"
        raise AddressError(host, reason) from error
    return [(int(family), address) for family, _, _, _, address in found]


def resolve_within(host: str, port: int, seconds: float) -> list[Address]:
    """As `resolve`, for a command that ends by itself: it does not wait for the system's resolver for longer than that.
    Raises AddressError."""
    found: list[Address] = []
    errors: list[AddressError] = []

    def look_up() -> None:
        try:
            found.extend(resolve(host, port))
        except AddressError as error:
            errors.append(error)

    thread = threading.Thread(target=look_up, name="fastlog look-up", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no more threads
        return resolve(host, port)
    thread.join(min(WAIT_SHOWN_SEC, seconds))
    if thread.is_alive() and seconds > WAIT_SHOWN_SEC:
        say(f"waiting for the address of {host!r}")
        thread.join(seconds - WAIT_SHOWN_SEC)
    if errors:
        raise errors[0]
    if not found:
        raise AddressError(host, f"the name service did not answer within {seconds:g} s")
    return found


def is_numeric(host: str) -> bool:
    """Whether `host` is an address, which needs no look-up."""
    try:
        resolve(host, 0, socket.AI_NUMERICHOST)
    except AddressError:
        return False
    return True


def join_host_port(host: str, port: int) -> str:
    """`host:port`, or `[host]:port` for an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_host_port(text: str, default_port: int) -> tuple[str, int]:
    """The host and the port of `host`, `host:port`, `[host]:port` or a plain IPv6 address. Raises ValueError."""
    host, colon, port = text, "", ""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        colon, port = rest[:1], rest[1:]
        if not bracket or colon not in ("", ":"):
            raise ValueError(f"{text!r} is not an address: expected [IPv6 address]:port")
    elif text.count(":") == 1:
        host, colon, port = text.partition(":")
    if not host:
        raise ValueError(f"{text!r} has no host")
    if not colon:
        return host, default_port
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise ValueError(f"invalid port {port!r}: expected a number from 1 to 65535")
    return host, int(port)


def split_listen_address(text: str) -> tuple[str, int]:
    """The host and the port of `host:port`, `[host]:port`, `:port`, `*:port` or `port`, as servers take them. The host
    is empty for all addresses, and port 0 is any free one. Raises ValueError."""
    host, _, port = text.rpartition(":")
    if host == "*":
        host = ""
    if host.startswith("[") and host.endswith("]"):
        host = str(ipaddress.IPv6Address(host[1:-1]))
    elif ":" in host or "[" in host:
        raise ValueError(f"{text!r} is not an address: expected [IPv6 address]:port")
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError(f"invalid port {port!r}: expected a number from 0 to 65535")
    return host, int(port)


def join_listen_address(host: str, port: int) -> str:
    """The text that `split_listen_address` takes apart."""
    return join_host_port(host, port) if host else f":{port}"


def local_address(sock: socket.socket) -> str:
    """The address that a socket is bound to, as text."""
    return join_host_port(*sock.getsockname()[:2])


def dashboard_url(host: str, port: int | None) -> str | None:
    """The URL of the dashboard that a server serves at that address; None where DASHBOARD_PORT is off."""
    return None if port is None else f"http://{join_host_port(LOOPBACK_OF_ANY.get(host, host), port)}"
