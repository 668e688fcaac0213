# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Turns a chunk or a packed datagram into the text to scan, and gives up messages that are not complete in time.

Nothing that a note points into is overwritten: not the last message, and not the beginning of one that was given up.
"""

import os

from fastlog._clock cimport nanoseconds
from fastlog._parse cimport Piece
from fastlog.inputs._chunks cimport ADDRESS_WORDS, BAD, COMPLETE, LATER, NOTHING, WAITS, Chunk, Outcome
from fastlog.server._address cimport AddressKey, host_of, key_of
from fastlog.server._rejects cimport INCOMPLETE, NOTES_MAX

cdef enum:
    # What a chunk costs beside its bytes, while as many messages wait as may: up to 2 us.
    CHUNK_COST_BYTES = 512


cdef class Messages:
    """`rejects`: where messages are noted that are incomplete."""

    def __cinit__(self, RejectedInput rejects not None):
        self.chunks = Chunks(os.urandom(16))
        self.unpacker = Unpacker()
        self.rejects = rejects

    cdef Taken take_chunk(
        self, const Address *sender, uint64_t now_ms, const uint8_t **text, const uint8_t **end
    ) noexcept nogil:
        cdef AddressKey key = key_of(sender), host = host_of(&key)
        cdef uint64_t address[ADDRESS_WORDS]
        cdef const uint8_t *whole = NULL
        cdef size_t size = 0
        cdef int place
        cdef Chunk chunk
        cdef Outcome outcome
        self.cost_bytes = 0
        if self.rejects.note_count == NOTES_MAX or not self.may_overwrite():
            return NO_ROOM
        self.cost_bytes = end[0] - text[0] + CHUNK_COST_BYTES
        address[0], address[1], address[2] = key.high, key.low, key.scope_and_port >> 16
        if not self.chunks.read(text[0], end[0], address, <const uint64_t *>&host, &chunk):
            self.chunks.received += 1
            return DAMAGED
        while True:
            if self.rejects.note_count == 0:
                self.chunks.release()
            place = self.chunks.must_go(&chunk, now_ms)
            if place == NOTHING:
                break
            if place == LATER or not self.give_up(place, now_ms):
                return NO_ROOM
        if self.rejects.note_count == NOTES_MAX:
            return NO_ROOM
        outcome = self.chunks.add(&chunk, now_ms, &whole, &size, &place)
        if outcome == COMPLETE:
            text[0], end[0] = whole, whole + size
            return READY
        if outcome == WAITS:
            self.chunk_senders[place] = sender[0]
        return DAMAGED if outcome == BAD else KEPT

    cdef Taken unpack(self, const uint8_t **text, const uint8_t **end) noexcept nogil:
        cdef bint is_whole
        self.cost_bytes = 0
        if not self.may_overwrite():
            return NO_ROOM
        is_whole = self.unpacker.unpack(text[0], end[0])
        self.cost_bytes = self.unpacker.cost_bytes()
        if not is_whole:
            return DAMAGED
        text[0], end[0] = self.unpacker.start, self.unpacker.start + self.unpacker.size
        return READY

    cdef bint may_overwrite(self) noexcept nogil:
        """Whether no note points into the last message."""
        if self.rejects.note_count == 0:
            self.is_noted = False
        return not self.is_noted

    cdef bint give_up(self, int place, uint64_t now_ms) noexcept nogil:
        """Gives up a message in chunks. False: there is no room for its note."""
        cdef const uint8_t *beginning = self.chunks.beginning(place)
        cdef Piece piece
        piece.start, piece.end = beginning, beginning + self.chunks.beginning_size(place)
        if not self.rejects.add(
            INCOMPLETE, &piece, &self.chunk_senders[place], beginning, self.chunks.messages[place].size
        ):
            return False
        self.chunks.drop(place, now_ms)
        return True

    def give_up_overdue(self, double now):
        """Gives up the messages in chunks that are not complete in time, `now` on the monotonic clock in seconds. True:
        there may be more, for which there is no room before the notes are taken."""
        cdef uint64_t now_ms = nanoseconds(now) // 1_000_000
        cdef int place
        if self.rejects.note_count == 0:
            self.chunks.release()
        while True:
            place = self.chunks.overdue(now_ms)
            if place == NOTHING:
                return False
            if not self.give_up(place, now_ms):
                return True
