# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""One drain of the socket: arena -> scan -> line buffer, with the GIL released and no Python object for an entry.

What an entry leaves behind: its stored form in the line buffer and a tick of its level's counter. An entry of a
priority level also owes an ACK; rejected input leaves a note that points into the arena. All of it is taken over by
the server before the next drain.
"""

import os

from cpython.buffer cimport PyBuffer_FillInfo
from libc.errno cimport errno
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memmove
from posix.unistd cimport usleep

from fastlog._net cimport Acks, Arena, address_text
from fastlog._parse cimport (
    ACCEPTED,
    EMPTY,
    LEVEL_COUNT,
    REASON_COUNT,
    TRUNCATED,
    Piece,
    Reason,
    next_piece,
    store,
)

from fastlog.entry import LEVELS, REASONS

cdef enum:
    # The line buffer: a flush at full speed is some hundred kilobytes; this is room for ten such bursts, and bounds
    # what an unwritable disk can keep in memory.
    LINES_BYTES = 4 << 20
    # Notes of rejected input kept until the server writes them out.
    NOTES_MAX = 256
    # Marks of priority entries in the line buffer, for the recent errors: the newest; MAX_ERRORS may not be more.
    MARKS_MAX = 1000
    # Work of one drain, in bytes scanned: some milliseconds, so that deadlines hold under any flood.
    DRAIN_BYTES = 2 << 20
    # What receiving a datagram costs, in bytes that could be scanned instead.
    DATAGRAM_COST_BYTES = 256

cdef enum Status:
    # Why a drain ended: the socket is empty; what was taken must be handed on first; enough for one turn.
    SOCKET_EMPTY, HAND_OVER, TURN_OVER, SOCKET_FAILED

DRAINED = SOCKET_EMPTY
FULL = HAND_OVER

# Rejected input in the arena.
cdef struct Note:
    const uint8_t *start
    size_t size
    size_t offset
    size_t datagram_size
    Reason reason
    unsigned int slot

# A priority entry's line in the line buffer.
cdef struct Mark:
    size_t offset
    size_t size


cdef class Intake:
    """Receives, scans and buffers. `priority`: the levels that owe an ACK, a subset of `entry.LEVELS`."""

    cdef Arena arena
    cdef readonly Acks acks
    # Where scanning goes on: in this slot of the arena, at this byte of it.
    cdef unsigned int slot
    cdef const uint8_t *at
    cdef bint piece_seen

    cdef uint8_t *lines
    cdef readonly size_t lines_bytes  # of LINES_BYTES
    cdef readonly uint64_t buffered  # entries in the line buffer
    cdef readonly bint urgent  # one of them has a priority level
    cdef bint is_priority[LEVEL_COUNT]
    cdef Mark marks[MARKS_MAX]  # a ring: the mark of the n-th priority entry is at n modulo its size
    cdef uint64_t mark_count

    cdef Note notes[NOTES_MAX]
    cdef readonly unsigned int note_count
    cdef public unsigned int notes_allowed  # rejects beyond them are counted only

    cdef readonly uint64_t datagrams, datagram_bytes
    cdef uint64_t levels[LEVEL_COUNT]
    cdef uint64_t rejected[REASON_COUNT]
    cdef readonly uint64_t rejects_not_noted
    cdef int failure  # errno of the socket

    def __cinit__(self, size_t slot_bytes, priority):
        self.arena = Arena(slot_bytes)
        self.acks = Acks()
        self.lines = <uint8_t *>malloc(LINES_BYTES)
        if self.lines == NULL:
            raise MemoryError
        for level in priority:
            self.is_priority[LEVELS.index(level)] = True

    def __dealloc__(self):
        free(self.lines)

    def drain(self, int fd, unsigned int wait_usec=0):
        """Takes datagrams until none waits (DRAINED), what was taken fills its place (FULL), or the turn is over.

        Waits first for more of them to come, here rather than in Python, so that the GIL changes hands once only.
        """
        cdef Status status
        with nogil:
            if wait_usec:
                usleep(wait_usec)
            status = self.run(fd)
        if status == SOCKET_FAILED:
            raise OSError(self.failure, os.strerror(self.failure))
        return <int>status

    cdef Status run(self, int fd) noexcept nogil:
        cdef size_t scanned = 0
        cdef int got
        while True:
            while self.slot < self.arena.filled:
                if scanned > DRAIN_BYTES:
                    return TURN_OVER
                if not self.take(&scanned):
                    return HAND_OVER
                self.slot += 1
                self.at = NULL
            if self.note_count:  # they point into the arena
                return HAND_OVER
            if scanned > DRAIN_BYTES:
                return TURN_OVER
            got = self.arena.receive(fd)
            if got == -1:
                return SOCKET_EMPTY
            if got < 0:
                self.failure = errno
                return SOCKET_FAILED
            self.slot = 0
            self.datagrams += got

    cdef bint take(self, size_t *scanned) noexcept nogil:
        """Takes the datagram of the current slot, from where it was left. False: no room for its next piece."""
        cdef const uint8_t *start = self.arena.datagram(self.slot)
        cdef size_t size = self.arena.size(self.slot)
        cdef const uint8_t *end = start + size
        cdef Piece piece
        if self.at == NULL:
            self.at = start
            self.piece_seen = False
            self.datagram_bytes += size
            scanned[0] += DATAGRAM_COST_BYTES
            if self.arena.truncated(self.slot):
                piece.reason = TRUNCATED
                piece.start, piece.end = start, end
                if not self.refuse(&piece, start, size):
                    self.at = NULL
                    self.datagram_bytes -= size
                    return False
                return True
        while next_piece(self.at, end, &piece):
            if piece.reason == ACCEPTED:
                if not self.keep(&piece):
                    return False
            elif not self.refuse(&piece, start, size):
                return False
            scanned[0] += end - self.at if piece.reason != ACCEPTED else piece.next - self.at
            self.at = piece.next
            self.piece_seen = True
        if not self.piece_seen:
            piece.reason = EMPTY
            piece.start, piece.end = start, start
            return self.refuse(&piece, start, size)
        return True

    cdef bint keep(self, const Piece *piece) noexcept nogil:
        cdef size_t size = piece.end - piece.start + 1
        if self.lines_bytes + size > LINES_BYTES:
            return False
        if self.is_priority[<int>piece.level]:
            if piece.has_sequence:
                if self.acks.is_full():
                    return False
                self.acks.owe(
                    piece.sequence,
                    &self.arena.senders[self.slot],
                    self.arena.messages[self.slot].msg_hdr.msg_namelen,
                )
            self.urgent = True
            self.marks[self.mark_count % MARKS_MAX] = Mark(self.lines_bytes, size)
            self.mark_count += 1
        self.lines_bytes += store(piece, self.lines + self.lines_bytes)
        self.buffered += 1
        self.levels[<int>piece.level] += 1
        return True

    cdef bint refuse(self, const Piece *piece, const uint8_t *start, size_t datagram_size) noexcept nogil:
        cdef Note *note = &self.notes[self.note_count]
        if self.notes_allowed == 0:
            self.rejects_not_noted += 1
        elif self.note_count == NOTES_MAX:
            return False
        else:
            note.start = piece.start
            note.size = piece.end - piece.start
            note.offset = piece.start - start
            note.datagram_size = datagram_size
            note.reason = piece.reason
            note.slot = self.slot
            self.note_count += 1
            self.notes_allowed -= 1
        self.rejected[<int>piece.reason] += 1
        return True

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        """The line buffer's content, whole lines; good until `forget_lines` or the next drain."""
        PyBuffer_FillInfo(buffer, self, self.lines, self.lines_bytes, 1, flags)

    def priority_lines(self, size_t size, uint64_t most):
        """The newest priority entries among the first `size` bytes, without line feeds, the newest last."""
        cdef uint64_t n
        cdef Mark mark
        found = []
        for n in range(self.mark_count - min(self.mark_count, most, <uint64_t>MARKS_MAX), self.mark_count):
            mark = self.marks[n % MARKS_MAX]
            if mark.offset < size:
                found.append((<const char *>self.lines + mark.offset)[:mark.size - 1])
        return found

    def forget_lines(self, size_t size, uint64_t entries):
        """The first `size` bytes, which hold that many entries, are in the file or lost."""
        self.lines_bytes -= size
        self.buffered -= entries
        if self.lines_bytes:
            memmove(self.lines, self.lines + size, self.lines_bytes)
            self.move_marks(size)
        else:
            self.urgent = False
            self.mark_count = 0

    cdef void move_marks(self, size_t size):
        """The lines moved down by `size` bytes; marks of those that are gone stay behind."""
        cdef uint64_t n, kept = 0
        cdef uint64_t first = self.mark_count - min(self.mark_count, <uint64_t>MARKS_MAX)
        cdef list left = []
        for n in range(first, self.mark_count):
            if self.marks[n % MARKS_MAX].offset >= size:
                left.append((self.marks[n % MARKS_MAX].offset - size, self.marks[n % MARKS_MAX].size))
        for offset, length in left:
            self.marks[kept] = Mark(offset, length)
            kept += 1
        self.mark_count = kept

    def take_notes(self):
        """The rejected input of the last drain: (sender, reason, offset in its datagram, datagram's size, bytes)."""
        cdef unsigned int i
        cdef Note *note
        found = []
        for i in range(self.note_count):
            note = &self.notes[i]
            found.append((address_text(&self.arena.senders[note.slot]), REASONS[<int>note.reason], note.offset,
                          note.datagram_size, (<const char *>note.start)[:note.size]))
        self.note_count = 0
        return found

    @property
    def received(self):
        """Valid entries so far, by level."""
        return {name: self.levels[i] for i, name in enumerate(LEVELS)}

    @property
    def rejects(self):
        """Rejected pieces so far, by reason."""
        return {name: self.rejected[i] for i, name in enumerate(REASONS)}
