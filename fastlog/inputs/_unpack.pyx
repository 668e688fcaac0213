# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Unpacks gzip and zlib with zlib, into memory of its own, and never more than a message may hold.

Whatever is sent costs less than a millisecond: what comes out is bounded, and so is the number of deflate blocks.
"""

from libc.stdlib cimport free, malloc
from libc.string cimport memset

cdef extern from "zlib.h" nogil:
    enum:
        Z_OK, Z_STREAM_END, Z_BLOCK, MAX_WBITS
    int inflateInit2(z_stream *stream, int window_bits)
    int inflateReset(z_stream *stream)
    int inflate(z_stream *stream, int flush)
    int inflateEnd(z_stream *stream)

cdef enum:
    # Added to the window's bits: zlib tells gzip and zlib apart by itself.
    GZIP_OR_ZLIB = 32


cdef class Unpacker:

    def __cinit__(self):
        memset(&self.stream, 0, sizeof(self.stream))
        # One byte more than a message may hold: whatever writes it is too large.
        self.start = <uint8_t *>malloc(MESSAGE_MAX_BYTES + 1)
        if self.start == NULL or inflateInit2(&self.stream, MAX_WBITS + GZIP_OR_ZLIB) != Z_OK:
            raise MemoryError

    def __dealloc__(self):
        inflateEnd(&self.stream)  # an error if it was not begun, which does no harm
        free(self.start)

    cdef bint unpack(self, const uint8_t *p, const uint8_t *end) noexcept nogil:
        cdef int status = Z_OK
        inflateReset(&self.stream)
        self.stream.next_in, self.stream.avail_in = <uint8_t *>p, <unsigned int>(end - p)
        self.stream.next_out, self.stream.avail_out = self.start, MESSAGE_MAX_BYTES + 1
        self.steps = 0
        while status == Z_OK and self.stream.avail_out and self.steps < BLOCKS_MAX + 2:
            status = inflate(&self.stream, Z_BLOCK)  # the header, a block, or what is behind the last one
            self.steps += 1
        self.size = self.stream.next_out - self.start
        return status == Z_STREAM_END and self.stream.avail_in == 0 and self.size <= MESSAGE_MAX_BYTES


def unpack(const uint8_t[::1] packed not None):
    """What comes out of `packed`, or None, as `fastlog.inputs.packed.unpack` has it. The server does not call it."""
    cdef Unpacker unpacker = Unpacker()
    cdef uint8_t nothing = 0  # stands for the bytes of an empty datagram: C allows no arithmetic on NULL
    cdef const uint8_t *p = &packed[0] if packed.shape[0] else &nothing
    cdef const uint8_t *end = p + packed.shape[0]
    if not is_packed(p, end) or not unpacker.unpack(p, end):
        return None
    return (<const char *>unpacker.start)[:unpacker.size]
