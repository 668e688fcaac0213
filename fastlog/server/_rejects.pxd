# Rejected input: counted by reason, and noted until the server writes it out.

from libc.stdint cimport uint8_t, uint64_t

cimport cython

from fastlog._parse cimport REASON_COUNT, Piece
from fastlog.server._address cimport Address

cdef enum:
    # Notes kept until they are written out.
    NOTES_MAX = 256

cdef enum RejectReason:
    # Why input is rejected. The scanner's reasons begin at SCANNED; the others need no look into the datagram.
    EMPTY, TRUNCATED, SCANNED
    DENIED = SCANNED + REASON_COUNT
    REJECTED_COUNT

# A rejected piece, and its sender. Both pointers are into the arena, and good until its next `receive`.
cdef struct Note:
    const Address *sender
    const uint8_t *start
    size_t size
    size_t offset
    size_t datagram_size
    int reason


@cython.final
cdef class RejectedInput:
    cdef uint64_t counted[REJECTED_COUNT]
    # What is noted, and how many more pieces may be; those beyond are only counted.
    cdef Note notes[NOTES_MAX]
    cdef readonly unsigned int note_count
    cdef public unsigned int notes_allowed
    cdef readonly uint64_t not_noted

    cdef inline void count(self, int reason) noexcept nogil:
        self.counted[reason] += 1

    # Counts a piece of a datagram, and notes it if that is allowed. False, and nothing done: the notes are full.
    cdef bint add(
        self, int reason, const Piece *piece, const Address *sender, const uint8_t *datagram, size_t datagram_size
    ) noexcept nogil
