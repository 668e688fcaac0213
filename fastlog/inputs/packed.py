"""Packed datagrams: the reference of `_unpack.pyx`, which must agree with it on any bytes.

The one exception: the compiled one also refuses what has more than `_unpack.BLOCKS_MAX` deflate blocks, which this
cannot see. No compressor makes so many of a message, unless it has a few kilobytes of memory.
"""

import zlib

from fastlog.limits import MESSAGE_MAX_BYTES

GZIP = b"\x1f\x8b"
GZIP_OR_ZLIB = zlib.MAX_WBITS + 32  # zlib tells the two apart


def is_packed(data: bytes) -> bool:
    """Whether these bytes begin like gzip (RFC 1952) or zlib (RFC 1950)."""
    return data[:2] == GZIP or (data[:1] == b"\x78" and len(data) > 1 and int.from_bytes(data[:2]) % 31 == 0)


def unpack(data: bytes) -> bytes | None:
    """What is packed in `data`: one stream that ends where the data ends, with a right checksum. None: it is damaged,
    cut or too large, there is something behind it, or it is not packed at all."""
    if not is_packed(data):
        return None
    stream = zlib.decompressobj(GZIP_OR_ZLIB)
    try:
        message = stream.decompress(data, MESSAGE_MAX_BYTES + 1)
    except zlib.error:
        return None
    return message if stream.eof and not stream.unused_data and len(message) <= MESSAGE_MAX_BYTES else None
