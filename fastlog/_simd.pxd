# The vector steps of a scan, which _simd.h explains.

from libc.stdint cimport uint8_t, uint64_t

cdef extern from "_simd.h" nogil:
    ctypedef struct Window "fl_window":
        const uint8_t *at
    # The first byte of [p, end) that is not plain string text, or `end`. It may read back from p as far as `start`.
    const uint8_t *fl_skip_plain(const uint8_t *p, const uint8_t *end, const uint8_t *start, Window *window)
    bint fl_eight_digits(const uint8_t *p, uint64_t *value)

cdef extern from *:
    bint likely(bint) nogil  # Cython's macro: the compiler lays out the code for the test to be true
