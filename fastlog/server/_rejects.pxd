# Rejected input: counted by reason, and noted until the server writes it out.

from libc.stdint cimport uint8_t, uint64_t

cimport cython

from fastlog._parse cimport REASON_COUNT, Piece
from fastlog.server._address cimport Address

cdef enum:
    # Notes kept until they are written out.
    NOTES_MAX = 256
    # Shares in what may be noted. Each sender has one, by its address, and several may have the same.
    SHARES = 64
    # Bits of a hash above those that number a share.
    SHARE_SHIFT = 64 - 6

cdef enum RejectReason:
    # Why input is rejected. The scanner's reasons begin at SCANNED.
    EMPTY, TRUNCATED, SCANNED
    DENIED = SCANNED + REASON_COUNT
    GELF, INCOMPLETE, RATE
    REJECTED_COUNT

# How much may still be noted: pieces, and their bytes.
cdef struct Allowance:
    uint64_t notes
    uint64_t bytes

# A rejected piece, and its sender. Both pointers are into the arena, and good until its next `receive`. Of the piece
# the first `kept` bytes are noted.
cdef struct Note:
    const Address *sender
    const uint8_t *start
    size_t kept
    size_t size
    size_t offset
    size_t datagram_size
    int reason


@cython.final
cdef class RejectedInput:
    cdef uint64_t counted[REJECTED_COUNT]
    # What is noted, and how much more may be, in all and of each share; pieces beyond are only counted.
    cdef Note notes[NOTES_MAX]
    cdef readonly unsigned int note_count
    cdef Allowance allowed
    cdef Allowance shares[SHARES]
    cdef readonly uint64_t not_noted
    # Nobody can choose an address that has the same share as another without knowing this number, which is odd.
    cdef uint64_t secret

    cdef inline void count(self, int reason) noexcept nogil:
        self.counted[reason] += 1

    cdef Allowance *share_of(self, const Address *sender) noexcept nogil
    # Counts a piece of a datagram, and notes it if that is allowed, with as many bytes as may still be noted. False,
    # and nothing done: the notes are full.
    cdef bint add(
        self, int reason, const Piece *piece, const Address *sender, const uint8_t *datagram, size_t datagram_size
    ) noexcept nogil
