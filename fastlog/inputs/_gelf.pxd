# A GELF object as an entry's line. `gelf.py` is the readable reference.

from libc.stdint cimport uint8_t

from fastlog._parse cimport Level, Reason
from fastlog.inputs._receipt cimport Receipt

# Writes the line of an object that the scanner found to be GELF, with its line feed, and its level. Returns the line's
# size; 0: it is rejected for `reason`.
cdef size_t gelf_line(
    const uint8_t *p, const uint8_t *end, const Receipt *receipt, uint8_t *to, Level *level, Reason *reason
) noexcept nogil
