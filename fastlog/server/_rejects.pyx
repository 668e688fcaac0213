# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Rejected input: counted by reason, and noted until the server writes it out.

How much is noted is bounded, in all and for each sender's address: whoever sends garbage without end leaves a quarter
of it to others.
"""

import os

from fastlog.server._address cimport AddressKey, host_of, key_of, text_of

from fastlog.entry import REASONS

# The reasons in the order of their numbers, with what they mean.
REJECTED = {
    "empty": "nothing but whitespace in the datagram",
    "truncated": "the datagram is longer than `BUFFER_SIZE`, or its entry would be longer than a line may be",
    **REASONS,
    "denied": "the sender is not in a network of `ALLOW_FROM`; its datagram is neither scanned nor kept",
    "gelf": "a packed datagram or a chunk that is damaged, too large, or neither an entry nor GELF",
    "incomplete": "a message in chunks of which one did not come in time, or that had to make room for others",
    "rate": "the sender's address is over `RATE_LIMIT`; a datagram that is neither scanned nor kept, or an entry",
}
REJECTED_NAMES = tuple(REJECTED)


cdef class RejectedInput:

    cdef bint add(
        self, int reason, const Piece *piece, const Address *sender, const uint8_t *datagram, size_t datagram_size
    ) noexcept nogil:
        cdef Note *note = &self.notes[self.note_count]
        cdef Allowance *share = self.share_of(sender)
        cdef size_t size = piece.end - piece.start
        cdef size_t kept = min(size, share.bytes, self.allowed.bytes)
        if share.notes == 0 or self.allowed.notes == 0 or (kept == 0 and size):
            self.not_noted += 1
        elif self.note_count == NOTES_MAX:
            return False
        else:
            note.sender = sender
            note.start = piece.start
            note.kept = kept
            note.size = size
            note.offset = piece.start - datagram
            note.datagram_size = datagram_size
            note.reason = reason
            self.note_count += 1
            share.notes -= 1
            share.bytes -= kept
            self.allowed.notes -= 1
            self.allowed.bytes -= kept
        self.count(reason)
        return True

    cdef Allowance *share_of(self, const Address *sender) noexcept nogil:
        cdef AddressKey key = key_of(sender), host = host_of(&key)
        return &self.shares[(host.high if host.high else host.low) * self.secret >> SHARE_SHIFT]

    def allow(self, uint64_t notes, uint64_t bytes):
        """From now on so many pieces may be noted, and so many bytes of them; three quarters of that for one sender's
        address."""
        cdef unsigned int i
        self.secret = int.from_bytes(os.urandom(8), "little") | 1
        self.allowed.notes, self.allowed.bytes = notes, bytes
        for i in range(<unsigned int>SHARES):
            self.shares[i].notes, self.shares[i].bytes = notes - notes // 4, bytes - bytes // 4

    def take_notes(self):
        """The rejected input of the last drain: (sender, reason, offset in its datagram, datagram's size, piece's size,
        the piece's first bytes)."""
        cdef unsigned int i
        cdef AddressKey sender
        cdef Note *note
        found = []
        for i in range(self.note_count):
            note = &self.notes[i]
            sender = key_of(note.sender)
            found.append((text_of(&sender), REJECTED_NAMES[note.reason], note.offset, note.datagram_size,
                          note.size, (<const char *>note.start)[:note.kept]))
        self.note_count = 0
        return found

    @property
    def counts(self):
        """Rejected pieces so far, by reason."""
        return {name: self.counted[i] for i, name in enumerate(REJECTED_NAMES)}
