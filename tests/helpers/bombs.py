"""Packed datagrams that are made to harm whoever unpacks them."""

import functools
import zlib


@functools.cache
def bomb(packed_bytes: int = 65_000) -> bytes:
    """A datagram that would unpack to a thousand times its size."""
    return zlib.compress(bytes(packed_bytes * 1000), 9)


class _Bits:
    """Bits in the order of deflate (RFC 1951, 3.1.1)."""

    def __init__(self) -> None:
        self.value = 0
        self.count = 0

    def put(self, value: int, count: int) -> None:
        self.value |= value << self.count
        self.count += count


def _costly_block() -> _Bits:
    """A block of 14 bytes that says nothing, and for which a decoder has to build its largest tables."""
    bits = _Bits()
    bits.put(2 << 1, 3)  # not the last one; codes of its own
    bits.put(29, 5)  # 286 lengths and literals
    bits.put(29, 5)  # 30 distances
    bits.put(14, 4)  # 18 code lengths follow, of which these are used: 18 (zeros) by 0, 1 by 10, 17 (zeros) by 11
    for symbol in (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1):
        bits.put({18: 1, 1: 2, 17: 2}.get(symbol, 0), 3)

    def one() -> None:
        bits.put(0b01, 2)

    def zeros(count: int) -> None:
        while count:
            some = min(count, 138)
            bits.put(0, 1)
            bits.put(some - 11, 7)
            count -= some

    one()
    zeros(255)
    one()  # the end of the block
    zeros(29)
    one()
    one()
    zeros(28)
    bits.put(1, 1)
    return bits


@functools.cache
def many_blocks(count: int) -> bytes:
    """zlib of nothing, in so many blocks."""
    one, all_of_them = _costly_block(), _Bits()
    for _ in range(count - 1):
        all_of_them.put(one.value, one.count)
    all_of_them.put(1, 3)  # the last one, stored, of no bytes
    size = (all_of_them.count + 7) // 8
    return b"\x78\x01" + all_of_them.value.to_bytes(size, "little") + b"\0\0\xff\xff" + (1).to_bytes(4, "big")
