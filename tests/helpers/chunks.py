"""GELF chunks, as senders make them."""

import itertools

NAMES = itertools.count(1000)


def chunk(name: object, number: int, count: int, part: bytes = b"part") -> bytes:
    """`name`: of the message, for its id."""
    return b"\x1e\x0f" + str(name).encode().rjust(8, b"-") + bytes([number, count]) + part


def cut(message: bytes, count: int) -> list[bytes]:
    """Another message in so many chunks."""
    size, name = -(-len(message) // count), next(NAMES)
    return [chunk(name, n, count, message[n * size : (n + 1) * size]) for n in range(count)]
