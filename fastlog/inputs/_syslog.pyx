# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""A syslog message as an entry's line."""


cdef bint is_syslog(const uint8_t *p, const uint8_t *end) noexcept nogil:
    return False


cdef size_t syslog_line(
    const uint8_t *p, const uint8_t *end, const Receipt *receipt, const Zone *zone, uint8_t *to, Level *level
) noexcept nogil:
    return 0
