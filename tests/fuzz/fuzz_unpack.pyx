# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The target of unpacking: the input as it is; the input packed, and then changed; and a deflate stream with a checksum
that is right, which no change of bytes would find. zlib itself is not instrumented.
"""

import zlib

from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from fastlog.inputs._unpack cimport BLOCKS_MAX, MESSAGE_MAX_BYTES, Unpacker, is_packed

from fastlog.inputs import packed
from fastlog.inputs._unpack import __spec__ as unpack_spec

assert unpack_spec.origin == "built-in"  # the instrumented one

cdef enum:
    # One input in so many that are refused is compared with the reference; all that are taken are.
    COMPARED = 16

cdef Unpacker unpacker = Unpacker()  # as in the server, it has unpacked other datagrams before


cdef int check_datagram(const uint8_t *data, size_t size, bint compare) except -1:
    """The datagram is in a heap block of just its size, so that AddressSanitizer sees a byte too far."""
    cdef uint8_t *p = <uint8_t *>malloc(size)
    cdef bint is_whole
    memcpy(p, data, size)
    try:
        if not is_packed(p, p + size):
            assert not packed.is_packed((<const char *>p)[:size])
            return 0
        is_whole = unpacker.unpack(p, p + size)
        assert unpacker.size <= MESSAGE_MAX_BYTES + 1 and unpacker.steps <= BLOCKS_MAX + 2
        if is_whole:
            assert packed.unpack((<const char *>p)[:size]) == (<const char *>unpacker.start)[:unpacker.size]
        elif compare and unpacker.steps < BLOCKS_MAX + 2:
            assert packed.unpack((<const char *>p)[:size]) is None
    finally:
        free(p)
    return 0


cdef public int fuzz_unpack(const uint8_t *data, size_t size) except -1:
    """The first byte says which; the next two where a packed input is changed."""
    if size < 3:
        return check_datagram(data, size, True)
    if data[0] & 3 == 0:
        return check_datagram(data + 1, size - 1, data[size - 1] % COMPARED == 0)
    body = (<const char *>data + 3)[:size - 3]
    if data[0] & 3 == 1:
        stream = zlib.decompressobj(-15)
        try:
            body = b"\x78\x01" + body + zlib.adler32(stream.decompress(body, 2 * MESSAGE_MAX_BYTES)).to_bytes(4, "big")
        except zlib.error:
            return 0
    else:
        stream = zlib.compressobj(data[0] >> 2 & 7, wbits=26 if data[0] & 1 else 10, memLevel=1)
        body = bytearray(stream.compress(body) + stream.flush())
        if data[0] & 128:
            body[data[1] % len(body)] ^= data[2]
        body = bytes(body)
    return check_datagram(body, len(body), data[1] % COMPARED == 0)
