# Time for the compiled modules: the monotonic clock, and seconds as RFC 3339 text.

from libc.stdint cimport int64_t
from libc.stdio cimport snprintf
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from posix.types cimport time_t

cdef extern from "time.h" nogil:
    cdef struct tm:
        int tm_year, tm_mon, tm_mday, tm_hour, tm_min, tm_sec
    tm *gmtime_r(const time_t *seconds, tm *result)

cdef enum:
    # The length of `2026-11-24T07:00:00.`, and the room for it: years may have more digits.
    SECOND_BYTES = 20
    SECOND_ROOM = 32

# The text of the second written last, since most timestamps have the same second as the one before. `second` is -1 at
# first.
cdef struct SecondText:
    int64_t second
    char text[SECOND_ROOM]

cdef enum:
    # A time that never comes, and still fits an integer in nanoseconds.
    FAR_SEC = 1_000_000_000

# A time of the monotonic clock in seconds, perhaps an infinite one, in nanoseconds.
cdef inline int64_t nanoseconds(double seconds) noexcept nogil:
    return <int64_t>(min(seconds, <double>FAR_SEC) * 1e9)

cdef inline int64_t monotonic_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1_000_000_000 + now.tv_nsec

# Writes a Unix time as text, with the point before its fraction, and a NUL.
cdef inline void write_second(time_t second, char *to) noexcept nogil:
    cdef tm parts
    gmtime_r(&second, &parts)
    snprintf(to, SECOND_ROOM, b"%04d-%02d-%02dT%02d:%02d:%02d.", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
             parts.tm_hour, parts.tm_min, parts.tm_sec)

# A Unix time as text, with the point before its fraction; good until the next call.
cdef inline const char *second_text(SecondText *last, time_t second) noexcept nogil:
    if second != last.second:
        write_second(second, last.text)
        last.second = second
    return last.text
