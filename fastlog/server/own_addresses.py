"""How many addresses this host has, by the kernel's own list (rtnetlink(7))."""

import socket
import struct

# From linux/netlink.h, linux/rtnetlink.h and linux/if_addr.h.
NLM_F_REQUEST_DUMP = 0x301
NLMSG_ERROR, NLMSG_DONE, RTM_NEWADDR, RTM_GETADDR = 2, 3, 20, 22
RT_SCOPE_HOST = 254  # of loopback addresses
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ADDRESS = struct.Struct("=BBBBI")  # family, length of the prefix, flags, scope, interface
ANSWER_SEC = 1.0  # the kernel answers at once


def has_several(family: int) -> bool:
    """Whether this host has more than one address of the family, those of loopback aside; True if it is not known."""
    question = _HEADER.pack(_HEADER.size + _ADDRESS.size, RTM_GETADDR, NLM_F_REQUEST_DUMP, 1, 0)
    question += _ADDRESS.pack(family, 0, 0, 0, 0)
    count = 0
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
            sock.settimeout(ANSWER_SEC)
            sock.send(question)
            while count < 2:
                answer, at = sock.recv(65536), 0
                while at + _HEADER.size <= len(answer):
                    length, kind, *_ = _HEADER.unpack_from(answer, at)
                    if kind in (NLMSG_DONE, NLMSG_ERROR):
                        return kind == NLMSG_ERROR or count > 1
                    if kind == RTM_NEWADDR and _ADDRESS.unpack_from(answer, at + _HEADER.size)[3] != RT_SCOPE_HOST:
                        count += 1
                    at += max((length + 3) & ~3, _HEADER.size)
    except (OSError, struct.error):
        pass
    return True
