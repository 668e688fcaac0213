"""Which processes hold a port, by the kernel's tables in /proc/net (proc(5))."""

import os
import shlex
from pathlib import Path

import msgspec

from fastlog.commands.directories import user_name

COMMAND_SHOWN = 200  # characters of a command line: enough to recognise a program by
TCP_LISTEN = "0A"  # the state of a socket that accepts connections


class BoundSocket(msgspec.Struct, frozen=True):
    """A socket bound to the port in this network namespace. `pid` is None where /proc does not show the owner."""

    inode: int
    user: int  # the number of the user who opened it
    drops: int = 0  # UDP: datagrams that the kernel dropped because the receive buffer was full
    pid: int | None = None
    command: tuple[str, ...] = ()

    @property
    def is_fastlog(self) -> bool:
        return "serve" in self.command and any(Path(word).name == "fastlog" for word in self.command)

    @property
    def owner(self) -> str:
        """The process, as far as this user may see it."""
        if self.pid is None:
            return f"a process of user {user_name(self.user)}"
        return f"pid {self.pid}, {shlex.join(self.command)[:COMMAND_SHOWN]}"


def udp_sockets(port: int) -> list[BoundSocket]:
    """Sockets bound to the port on any address. Raises OSError."""
    return [
        _with_owner(BoundSocket(inode=int(row[9]), user=int(row[7]), drops=int(row[12])))
        for row in _rows("udp", port)
    ]  # fmt: skip


def tcp_listeners(port: int) -> list[BoundSocket]:
    """Sockets that accept connections at the port on any address. Raises OSError."""
    return [
        _with_owner(BoundSocket(inode=int(row[9]), user=int(row[7])))
        for row in _rows("tcp", port)
        if row[3] == TCP_LISTEN
    ]  # fmt: skip


def _rows(protocol: str, port: int) -> list[list[str]]:
    """The rows of the kernel's tables whose local port is this one."""
    rows: list[list[str]] = []
    for table in (f"/proc/net/{protocol}", f"/proc/net/{protocol}6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except FileNotFoundError:  # no IPv6 here
            continue
        rows += [row for row in map(str.split, lines) if int(row[1].rpartition(":")[2], 16) == port]
    return rows


def _with_owner(found: BoundSocket) -> BoundSocket:
    """Adds the process that holds the socket. If several do, fastlog is preferred: a service manager keeps a socket
    that it hands over."""
    wanted = f"socket:[{found.inode}]"
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if any(os.readlink(f"/proc/{pid}/fd/{fd}") == wanted for fd in os.listdir(f"/proc/{pid}/fd")):
                command = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode("utf-8", "replace")
                found = msgspec.structs.replace(found, pid=int(pid), command=tuple(command.split("\0")))
                if found.is_fastlog:
                    break
        except OSError:  # the process ended, or belongs to another user
            continue
    return found
