"""Asks the kernel about another process and its socket: CPU time, memory, the receive buffer and its drops."""

import re
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path

# From linux/netlink.h, linux/sock_diag.h and linux/inet_diag.h.
NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST_DUMP = 0x301
NLMSG_ERROR = 2
NLMSG_DONE = 3
INET_DIAG_SKMEMINFO = 7
ALL_STATES = 0xFFFFFFFF
ANY_COOKIE = 0xFFFFFFFF
DIAG_MESSAGE_BYTES = 72  # of inet_diag_msg, before the attributes
CPUCLOCK_SCHED = 2  # from kernel/time/posix-cpu-timers.c: the time that the scheduler gave, in nanoseconds

_HEADER = struct.Struct("=IHHII")
_MEMINFO = struct.Struct("=9I")  # the first is the bytes queued, the second their limit, the ninth the drops


@dataclass(frozen=True)
class SocketState:
    queued_bytes: int  # including the kernel's own overhead
    receive_buffer: int  # bytes as in SO_RCVBUF: the kernel doubles the number it was asked for
    drops: int  # datagrams


def udp_socket(port: int) -> SocketState | None:
    """The UDP socket bound to `port` on IPv4; None if there is none. Raises OSError."""
    request = (
        struct.pack("=BBBxI", socket.AF_INET, socket.IPPROTO_UDP, 1 << (INET_DIAG_SKMEMINFO - 1), ALL_STATES)
        + struct.pack(">HH", port, 0)
        + bytes(36)  # any address, any interface
        + struct.pack("=II", ANY_COOKIE, ANY_COOKIE)
    )
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as netlink:
        netlink.send(_HEADER.pack(_HEADER.size + len(request), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST_DUMP, 1, 0) + request)
        while True:
            answer = netlink.recv(1 << 16)
            while answer:
                size, kind, *_ = _HEADER.unpack_from(answer)
                if kind == NLMSG_ERROR:
                    number = -struct.unpack_from("=i", answer, _HEADER.size)[0]
                    raise OSError(number, "the kernel does not report UDP sockets: its module udp_diag is missing")
                if kind == NLMSG_DONE:
                    return None
                state = _state(answer[_HEADER.size + DIAG_MESSAGE_BYTES : size])
                if state:
                    return state
                answer = answer[(size + 3) & ~3 :]


def _state(attributes: bytes) -> SocketState | None:
    while attributes:
        size, kind = struct.unpack_from("=HH", attributes)
        if kind == INET_DIAG_SKMEMINFO:
            figures = _MEMINFO.unpack_from(attributes, 4)
            return SocketState(figures[0], figures[1] // 2, figures[8])
        attributes = attributes[(size + 3) & ~3 :]
    return None


def cpu_ns(pid: int) -> int:
    """CPU time of a process and its children, including all their threads."""
    return sum(map(own_cpu_ns, _with_children(pid)))


def own_cpu_ns(pid: int) -> int:
    """CPU time of a process, all its threads, without its children."""
    # clock_getcpuclockid(3) makes the clock's number of a pid in this way
    return time.clock_gettime_ns(~pid << 3 | CPUCLOCK_SCHED)


def user_and_system_ticks(pid: int) -> tuple[int, int]:
    """The CPU time of a process and its children, split, in the coarse units of /proc/PID/stat."""
    user = system = 0
    for process in _with_children(pid):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        user += int(fields[11])
        system += int(fields[12])
    return user, system


def peak_memory_bytes(pid: int) -> int:
    """The largest amount of resident memory that the process has had."""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * 1024 if found else 0


def _with_children(pid: int) -> list[int]:
    found = [pid]
    for process in found:
        for children in Path(f"/proc/{process}/task").glob("*/children"):
            found += map(int, children.read_text().split())
    return found
