# The line buffer: stored forms in order of arrival, until they are in the file or lost. It knows neither sockets nor
# files.

from libc.stdint cimport uint8_t, uint64_t

cimport cython

cpdef enum:
    # Bytes of the longest line that is stored, without its line feed; limits.py has the reason.
    LINE_MAX_BYTES = 262_143

cdef enum:
    # A flush at full speed is some hundred kilobytes; this is room for ten such bursts, and bounds how much an
    # unwritable disk can keep in memory.
    LINES_BYTES = 4 << 20
    # Of these, ordinary entries leave so much free: the longest line. So there is room for a priority entry, whatever a
    # disk that refuses has left in the buffer.
    PRIORITY_ROOM_BYTES = LINE_MAX_BYTES + 1
    # Priority entries in the buffer at once: they are written at the end of the drain anyway.
    PRIORITY_LINES_MAX = 4096

# What waits for an entry's line: nothing, a sync, or an ACK after a sync.
cdef enum Kind:
    ORDINARY, UNAWAITED, AWAITED

# Where in the buffer the line of a priority entry is, and whether an ACK is owed for it.
cdef struct PriorityLine:
    size_t offset
    size_t size
    bint awaited


@cython.final
cdef class LineBuffer:
    # The lines, LINES_BYTES of memory owned by this object, and how many bytes and entries are in it.
    cdef uint8_t *start
    cdef readonly size_t size
    cdef readonly uint64_t entries
    # Which of the lines are priority entries, in order.
    cdef PriorityLine priority[PRIORITY_LINES_MAX]
    cdef readonly unsigned int priority_count
    # The disk refuses lines, so ordinary entries that find no room are discarded; and how many were.
    cdef public bint discards
    cdef readonly uint64_t discarded

    # Where the next line may be written, which is `size` bytes long; NULL: there is no room for it.
    cdef inline uint8_t *room(self, size_t size, bint is_priority) noexcept nogil:
        if is_priority:
            if self.size + size > LINES_BYTES or self.priority_count == PRIORITY_LINES_MAX:
                return NULL
        elif self.size + size > LINES_BYTES - PRIORITY_ROOM_BYTES:
            return NULL
        return self.start + self.size

    # Keeps the line that was written to `room`. Without this call the buffer is as before.
    cdef inline void keep(self, size_t size, Kind kind) noexcept nogil:
        if kind != ORDINARY:
            self.priority[self.priority_count] = PriorityLine(self.size, size, kind == AWAITED)
            self.priority_count += 1
        self.size += size
        self.entries += 1
