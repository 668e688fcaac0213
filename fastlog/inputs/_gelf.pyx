# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""A GELF object as an entry's line."""

from fastlog._parse cimport BAD_FIELD


cdef size_t gelf_line(
    const uint8_t *p, const uint8_t *end, const Receipt *receipt, uint8_t *to, Level *level, Reason *reason
) noexcept nogil:
    reason[0] = BAD_FIELD
    return 0
