# Time for the compiled modules: the monotonic clock, and a second as RFC 3339 writes it.

from libc.stdint cimport int64_t
from libc.stdio cimport snprintf
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from posix.types cimport time_t

cdef extern from "time.h" nogil:
    cdef struct tm:
        int tm_year, tm_mon, tm_mday, tm_hour, tm_min, tm_sec
    tm *gmtime_r(const time_t *seconds, tm *result)

cdef enum:
    # Of `2026-11-24T07:00:00.`, and the room that `write_second` is given: years may have more digits.
    SECOND_BYTES = 20
    SECOND_ROOM = 32

cdef inline int64_t monotonic_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1_000_000_000 + now.tv_nsec

# Writes a second since 1970 with the point of its fraction, and a NUL.
cdef inline void write_second(time_t second, char *to) noexcept nogil:
    cdef tm parts
    gmtime_r(&second, &parts)
    snprintf(to, SECOND_ROOM, b"%04d-%02d-%02dT%02d:%02d:%02d.", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
             parts.tm_hour, parts.tm_min, parts.tm_sec)
