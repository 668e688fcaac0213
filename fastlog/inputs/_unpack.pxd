# Packed datagrams: gzip (RFC 1952) or zlib (RFC 1950). packed.py says the same in Python.

from libc.stdint cimport uint8_t

cimport cython

cdef extern from "zlib.h" nogil:
    ctypedef struct z_stream:
        uint8_t *next_in
        unsigned int avail_in
        uint8_t *next_out
        unsigned int avail_out

cpdef enum:
    # What a packed datagram or a message in chunks may hold: see limits.py.
    MESSAGE_MAX_BYTES = 252 << 10
    # Deflate blocks of a packed message. A compressor begins one each 32 KiB or so, and where its program flushes it.
    # Each costs up to 2 us, however few bytes it has: without a limit a datagram of 64 KB could cost 8 ms.
    BLOCKS_MAX = 256

cdef enum:
    # What a deflate block costs beside its bytes, in bytes that could be scanned instead.
    STEP_COST_BYTES = 1024

# Whether these bytes begin like a packed datagram. The header of zlib is a multiple of 31.
cdef inline bint is_packed(const uint8_t *p, const uint8_t *end) noexcept nogil:
    if end - p < 2:
        return False
    return p[0] == 0x1f and p[1] == 0x8b or p[0] == 0x78 and (p[0] << 8 | p[1]) % 31 == 0


@cython.final
cdef class Unpacker:
    # What came out of the last call: `size` bytes at `start`, owned by this object and good until the next call.
    cdef uint8_t *start
    cdef size_t size
    # The steps of the last call: its deflate blocks, and two for what is around them.
    cdef unsigned int steps
    # zlib's state: it allocates its memory with the first datagrams, and keeps it.
    cdef z_stream stream

    # What the last call cost, in bytes that could be scanned instead.
    cdef inline size_t cost_bytes(self) noexcept nogil:
        return self.size + self.steps * <size_t>STEP_COST_BYTES

    # Unpacks [p, end). False: it is damaged, cut, too large, or there is something behind it.
    cdef bint unpack(self, const uint8_t *p, const uint8_t *end) noexcept nogil
