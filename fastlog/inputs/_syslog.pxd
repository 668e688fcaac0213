# A syslog message as an entry's line. It must agree with `syslog.py`, the readable reference, on any bytes. It reads
# nothing outside [p, end).

from libc.stdint cimport int64_t, uint8_t

cimport cython

from fastlog._parse cimport Level
from fastlog.inputs._receipt cimport Receipt

cdef enum:
    # More than the bytes of an abbreviation of a time zone that is compared.
    ZONE_NAME_ROOM = 8

# A time in which a zone keeps its offset from UTC: up to the start of the next one.
cdef struct Period:
    int64_t start_usec
    int64_t offset_usec
    uint8_t name[ZONE_NAME_ROOM]
    size_t name_size

# The time zone of stamps that have none. The last period is none: it ends the one before. `count` 0: there is no zone.
cdef struct Zone:
    const Period *periods
    size_t count


# Owns the periods of a zone, which must outlive every use of `zone`.
@cython.final
cdef class ZonePeriods:
    cdef Period *periods
    cdef Zone zone


# Whether the bytes are a syslog message: a PRI, perhaps behind an octet count.
cdef bint is_syslog(const uint8_t *p, const uint8_t *end) noexcept nogil

# Writes the line of a message that `is_syslog`, with its line feed, and its level. Returns the line's size. There must
# be `converted_room(end - p)` at `to`.
cdef size_t syslog_line(
    const uint8_t *p, const uint8_t *end, const Receipt *receipt, const Zone *zone, uint8_t *to, Level *level
) noexcept nogil
