# Which priority entries are stored already: hashes of their stored lines, the newest ones.

from libc.stdint cimport uint8_t, uint64_t

cdef class StoredHashes:
    # Open addressing with linear probing; 0 marks a free place. Twice as many places as hashes.
    cdef uint64_t *places
    # The hashes in the order they came: the oldest makes room for the newest.
    cdef uint64_t *order
    cdef uint64_t key[2]
    # Hashes added so far; the newest STORED_MAX of them are kept.
    cdef uint64_t added

    # The hash of a line, never 0.
    cdef uint64_t hash(self, const uint8_t *line, size_t size) noexcept nogil
    cdef bint has(self, uint64_t hash) noexcept nogil
    # `hash` must not be there yet.
    cdef void add(self, uint64_t hash) noexcept nogil
    cdef void remove(self, uint64_t hash) noexcept nogil
    cdef void clear(self) noexcept nogil
