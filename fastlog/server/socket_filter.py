"""A filter on the receiving socket (classic BPF, socket(7)), which thins out what some addresses send before the kernel
queues it. It needs no privilege, and another filter takes its place in one step.

Of each address a share gets through, chosen at random: so what comes shows how much is sent, and an address that floods
still gets what RATE_LIMIT allows. A datagram of any other address is never touched.
"""

import contextlib
import errno
import socket
import struct

from fastlog.errors import say
from fastlog.server._filter import attach, attached, detach
from fastlog.server.drops import can_tell_apart

# Addresses in one program. All are compared in turn for each datagram, at about a nanosecond each, and the program has
# to fit into net.core.optmem_max twice, which was 20 KiB before Linux 6.7.
FILTERED_MAX = 64

NO_FILTER = "no filter can be set on the socket, so a flood over RATE_LIMIT may fill its receive buffer"
SO_LOCK_FILTER = 44  # from asm-generic/socket.h

# Instructions, from linux/bpf_common.h and linux/filter.h. A program's code begins with a number by which fastlog knows
# its own: a server that was killed may have left it on a socket that is handed over.
_INSTRUCTION = struct.Struct("=HBBI")
_LOAD_WORD, _LOAD_BYTE, _LOAD_MEMORY, _STORE, _SET_X = 0x20, 0x30, 0x60, 0x02, 0x01
_AND, _JUMP, _JUMP_IF_EQUAL, _JUMP_IF_AT_LEAST, _RETURN = 0x54, 0x05, 0x15, 0x35, 0x06
_NETWORK_HEADER = 0xFFF00000  # SKF_NET_OFF
_RANDOM = 0xFFFFF000 + 56  # SKF_AD_OFF + SKF_AD_RANDOM
_ALL = 0xFFFFFFFF
_OWN = 0xFA571060

_IPV4_SOURCE, _IPV6_SOURCE = 12, 8  # where the source is in the header (RFC 791, RFC 8200)
_MAPPED = bytes(10) + b"\xff\xff"  # the start of an IPv4 address as an IPv6 address

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, number


def program(shares: dict[bytes, float]) -> bytes:
    """`shares`: for each address, as 16 bytes, the share of its datagrams that gets through: above 0 and below 1."""
    ipv4 = [_load(_NETWORK_HEADER + _IPV4_SOURCE)]
    ipv6 = [
        instruction
        for word in range(4)
        for instruction in (_load(_NETWORK_HEADER + _IPV6_SOURCE + 4 * word), (_STORE, 0, 0, word))
    ]
    for address, share in shares.items():
        words = struct.unpack("!4I", address)
        if address.startswith(_MAPPED):
            ipv4 += [(_JUMP_IF_EQUAL, 0, 4, words[3]), *_thin_out(share)]
        else:
            for word in (3, 2, 1, 0):  # the last word of two addresses is the likeliest to differ
                ipv6 += [(_LOAD_MEMORY, 0, 0, word), (_JUMP_IF_EQUAL, 0, 4 + 2 * word, words[word])]
            ipv6 += _thin_out(share)
    let_through = (_RETURN, 0, 0, _ALL)
    start = [
        (_SET_X, 0, 0, _OWN),
        (_LOAD_BYTE, 0, 0, _NETWORK_HEADER),
        (_AND, 0, 0, 0xF0),
        (_JUMP_IF_EQUAL, 0, 1, 0x40),
        (_JUMP, 0, 0, 3),
        (_JUMP_IF_EQUAL, 0, 1, 0x60),
        (_JUMP, 0, 0, 2 + len(ipv4)),
        let_through,
    ]
    instructions = [*start, *ipv4, let_through, *ipv6, let_through]
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in instructions)


def take_off_own(sock: socket.socket) -> str | None:
    """Takes off the filter that a server which was killed has left. Returns why fastlog can set none on this socket."""
    if sock.getsockopt(socket.SOL_SOCKET, SO_LOCK_FILTER):
        return "its filter is locked"
    try:
        found = attached(sock.fileno())
        if found and not found.startswith(_INSTRUCTION.pack(_SET_X, 0, 0, _OWN)):
            return "it has a filter of somebody else"
        if found:
            detach(sock.fileno())
    except OSError as error:
        return "it has a filter of somebody else" if error.errno == errno.EACCES else error.strerror
    return None


def _load(at: int) -> Instruction:
    return (_LOAD_WORD, 0, 0, at)


def _thin_out(share: float) -> list[Instruction]:
    threshold = max(1, int(share * (1 << 32)))
    return [_load(_RANDOM), (_JUMP_IF_AT_LEAST, 0, 1, threshold), (_RETURN, 0, 0, 0), (_RETURN, 0, 0, _ALL)]


class SocketFilter:
    """The filter of one socket. `problem`: why it can have none; None: it can."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._is_attached = False
        self.problem = take_off_own(sock)
        if not self.problem and not can_tell_apart(sock):
            self.problem = "what it dropped could not be told from other drops"

    def set(self, shares: dict[bytes, float]) -> int:
        """Thins out these addresses, and no others. Those that come first are the most important. Returns how many of
        them the kernel had room for."""
        count = min(len(shares), FILTERED_MAX)
        while count and not self.problem:
            try:
                attach(self._socket.fileno(), program(dict(list(shares.items())[:count])))
            except OSError as error:
                if error.errno == errno.ENOMEM:
                    count //= 2
                    continue
                self.problem = error.strerror or str(error)
                say(f"{NO_FILTER} ({self.problem})")
                break
            self._is_attached = True
            return count
        self.clear()
        return 0

    def clear(self) -> None:
        """Lets everything through."""
        if self._is_attached:
            self._is_attached = False
            with contextlib.suppress(OSError):  # somebody has locked the filter or taken it off
                detach(self._socket.fileno())
