# A syslog message as an entry's line. `syslog.py` is the readable reference.

from libc.stdint cimport uint8_t

from fastlog._parse cimport Level
from fastlog.inputs._receipt cimport Receipt

# The time zone of stamps that have none.
cdef struct Zone:
    bint is_set

# Whether the bytes are a syslog message: a PRI, perhaps behind an octet count.
cdef bint is_syslog(const uint8_t *p, const uint8_t *end) noexcept nogil

# Writes the line of a message that `is_syslog`, with its line feed, and its level. Returns the line's size.
cdef size_t syslog_line(
    const uint8_t *p, const uint8_t *end, const Receipt *receipt, const Zone *zone, uint8_t *to, Level *level
) noexcept nogil
