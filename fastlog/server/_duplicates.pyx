# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""A bounded set of hashes, which shows whether a priority entry is a retransmission or new.

A false positive would acknowledge an entry that is not stored. With 64 bits and 262,144 hashes, chance makes one in
7e13 entries; the key is random, so nobody can make one on purpose.
"""

import os

from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

cdef extern from "_siphash.h" nogil:
    uint64_t fl_siphash24(const uint64_t *key, const uint8_t *p, size_t size)

cpdef enum:
    # Entries whose retransmission is recognised: 13 seconds of nothing but priority entries at 20,000 a second. 6 MiB.
    STORED_MAX = 1 << 18

cdef enum:
    PLACES = STORED_MAX * 2


cdef class StoredHashes:

    def __cinit__(self):
        cdef bytes key = os.urandom(16)
        memcpy(self.key, <const char *>key, 16)
        self.entries = <StoredEntry *>calloc(STORED_MAX, sizeof(StoredEntry))
        self.places = <uint32_t *>calloc(PLACES, sizeof(uint32_t))
        if self.entries == NULL or self.places == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.places)
        free(self.entries)

    cdef uint64_t hash(self, const uint8_t *line, size_t size) noexcept nogil:
        cdef uint64_t hash = fl_siphash24(self.key, line, size)
        return hash if hash else 1

    cdef uint64_t hash_with_sender(self, const uint8_t *line, size_t size, const AddressKey *sender) noexcept nogil:
        cdef uint64_t words[4]
        words[0] = fl_siphash24(self.key, line, size)
        memcpy(&words[1], sender, sizeof(AddressKey))
        return self.hash(<const uint8_t *>words, sizeof(words))

    cdef StoredEntry *find(self, uint64_t hash) noexcept nogil:
        cdef uint32_t at = self.places[self.place_of(hash)]
        return &self.entries[at - 1] if at else NULL

    cdef uint64_t number_of(self, const StoredEntry *entry) noexcept nogil:
        cdef uint64_t newest = self.added - 1
        return newest - (newest - <uint64_t>(entry - self.entries)) % STORED_MAX

    cdef uint64_t add(self, uint64_t hash, uint64_t now_ms) noexcept nogil:
        cdef uint64_t number = self.added
        cdef StoredEntry *entry = &self.entries[number % STORED_MAX]
        cdef StoredEntry *same
        self.remove(entry)  # the oldest one, if there are so many
        self.added += 1
        same = self.find(hash)
        if same != NULL:
            self.remove(same)
        self.places[self.place_of(hash)] = <uint32_t>(number % STORED_MAX) + 1
        entry.hash = hash
        entry.seen_ms = now_ms
        return number

    cdef uint64_t place_of(self, uint64_t hash) noexcept nogil:
        cdef uint64_t at = hash % PLACES
        while self.places[at] and self.entries[self.places[at] - 1].hash != hash:
            at = (at + 1) % PLACES
        return at

    cdef void remove(self, StoredEntry *entry) noexcept nogil:
        """Closes the gap as well, so that every hash is still found from its own place on."""
        cdef uint64_t at, gap, home
        if entry.hash == 0:
            return
        at = gap = self.place_of(entry.hash)
        while True:
            at = (at + 1) % PLACES
            if self.places[at] == 0:
                break
            home = self.entries[self.places[at] - 1].hash % PLACES
            # the hash may move to the gap unless its own place lies after the gap, with wrap-around
            if (at - home) % PLACES >= (at - gap) % PLACES:
                self.places[gap] = self.places[at]
                gap = at
        self.places[gap] = 0
        entry.hash = 0

    def forget(self, uint64_t first, uint64_t count):
        """These entries, from number `first` on, are stored nowhere after all: what comes again is new."""
        cdef uint64_t number
        if self.added > STORED_MAX and first < self.added - STORED_MAX:
            count -= min(count, self.added - STORED_MAX - first)
            first = self.added - STORED_MAX
        for number in range(first, min(first + count, self.added)):
            self.remove(&self.entries[number % STORED_MAX])
