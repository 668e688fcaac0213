# Which priority entries are stored already: hashes that identify them, of the newest ones. Those without a sequence are
# not among them, since nobody sends them again.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fastlog.server._address cimport AddressKey

# A priority entry that was taken for storing. Its number counts those entries since the start.
cdef struct StoredEntry:
    # What identifies it; 0 if it was not stored after all.
    uint64_t hash
    # When it last came.
    uint64_t seen_ms

cdef class StoredHashes:
    # The newest STORED_MAX entries: number n is at n % STORED_MAX.
    cdef StoredEntry *entries
    # Open addressing with linear probing: the place of each hash in `entries`, plus 1; 0 marks a free place. There are
    # twice as many places as hashes.
    cdef uint32_t *places
    cdef uint64_t key[2]
    # Entries added so far, which is the number of the next one.
    cdef readonly uint64_t added

    # What identifies a line, which may be without its end, wherever it comes from; and what identifies one that comes
    # from that address. Never 0.
    cdef uint64_t hash(self, const uint8_t *line, size_t size) noexcept nogil
    cdef uint64_t hash_with_sender(self, const uint8_t *line, size_t size, const AddressKey *sender) noexcept nogil
    # The newest entry with this hash, or NULL.
    cdef StoredEntry *find(self, uint64_t hash) noexcept nogil
    cdef uint64_t number_of(self, const StoredEntry *entry) noexcept nogil
    # Adds an entry and returns its number. Its hash takes the place of the same one.
    cdef uint64_t add(self, uint64_t hash, uint64_t now_ms) noexcept nogil
    cdef void remove(self, StoredEntry *entry) noexcept nogil
    # The place of a hash, or the free place where it would be.
    cdef uint64_t place_of(self, uint64_t hash) noexcept nogil
