"""Who has a UDP port, by the kernel's tables: /proc/net/udp and /proc/net/udp6 (proc(5))."""

import os
from pathlib import Path

import msgspec


class UdpSocket(msgspec.Struct, frozen=True):
    """A socket bound to the port in this network namespace. `pid` and `command` are None where /proc does not tell."""

    inode: int
    user: int  # its number
    drops: int  # datagrams that the kernel dropped, since the receive buffer was full
    pid: int | None = None
    command: tuple[str, ...] = ()

    @property
    def is_fastlog(self) -> bool:
        return "serve" in self.command and any(Path(word).name == "fastlog" for word in self.command)


def sockets_on(port: int) -> list[UdpSocket]:
    """Those bound to the port, on any address."""
    found: list[UdpSocket] = []
    for table in ("/proc/net/udp", "/proc/net/udp6"):
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except FileNotFoundError:  # no IPv6 here
            continue
        found += [
            _with_owner(UdpSocket(inode=int(row[9]), user=int(row[7]), drops=int(row[12])))
            for row in map(str.split, rows)
            if int(row[1].rpartition(":")[2], 16) == port
        ]
    return found


def _with_owner(found: UdpSocket) -> UdpSocket:
    """Several processes may hold a socket: a service manager that hands it over keeps it. Then fastlog is named."""
    wanted = f"socket:[{found.inode}]"
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if any(os.readlink(f"/proc/{pid}/fd/{fd}") == wanted for fd in os.listdir(f"/proc/{pid}/fd")):
                command = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode("utf-8", "replace")
                found = msgspec.structs.replace(found, pid=int(pid), command=tuple(command.split("\0")))
                if found.is_fastlog:
                    break
        except OSError:  # it ended, or is another user's
            continue
    return found
