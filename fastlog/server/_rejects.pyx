# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Rejected input: counted by reason, and noted until the server writes it out."""

from fastlog.server._address cimport AddressKey, key_of, text_of

from fastlog.entry import REASONS

# The reasons in the order of their numbers, with what they mean.
REJECTED = {
    "empty": "nothing but whitespace in the datagram",
    "truncated": "the datagram is longer than `BUFFER_SIZE`; all of it is rejected",
    **REASONS,
    "denied": "the sender is not in a network of `ALLOW_FROM`; its datagram is neither scanned nor kept",
}
REJECTED_NAMES = tuple(REJECTED)


cdef class RejectedInput:

    cdef bint add(
        self, int reason, const Piece *piece, const Address *sender, const uint8_t *datagram, size_t datagram_size
    ) noexcept nogil:
        cdef Note *note = &self.notes[self.note_count]
        if self.notes_allowed == 0:
            self.not_noted += 1
        elif self.note_count == NOTES_MAX:
            return False
        else:
            note.sender = sender
            note.start = piece.start
            note.size = piece.end - piece.start
            note.offset = piece.start - datagram
            note.datagram_size = datagram_size
            note.reason = reason
            self.note_count += 1
            self.notes_allowed -= 1
        self.count(reason)
        return True

    def take_notes(self):
        """The rejected input of the last drain: (sender, reason, offset in its datagram, datagram's size, bytes)."""
        cdef unsigned int i
        cdef AddressKey sender
        cdef Note *note
        found = []
        for i in range(self.note_count):
            note = &self.notes[i]
            sender = key_of(note.sender)
            found.append((text_of(&sender), REJECTED_NAMES[note.reason], note.offset, note.datagram_size,
                          (<const char *>note.start)[:note.size]))
        self.note_count = 0
        return found

    @property
    def counts(self):
        """Rejected pieces so far, by reason."""
        return {name: self.counted[i] for i, name in enumerate(REJECTED_NAMES)}
