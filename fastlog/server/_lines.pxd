# The line buffer: stored forms in order of arrival, until they are in the file or lost. It knows neither sockets nor
# files.

from libc.stdint cimport uint8_t, uint64_t

cimport cython

cdef enum:
    # A flush at full speed is some hundred kilobytes; this is room for ten such bursts, and bounds how much an
    # unwritable disk can keep in memory.
    LINES_BYTES = 4 << 20
    # Priority entries in the buffer at once: they are written at the end of the drain anyway.
    PRIORITY_LINES_MAX = 4096

# Where in the buffer the line of a priority entry is.
cdef struct PriorityLine:
    size_t offset
    size_t size


@cython.final
cdef class LineBuffer:
    # The lines, LINES_BYTES of memory owned by this object, and how many bytes and entries are in it.
    cdef uint8_t *start
    cdef readonly size_t size
    cdef readonly uint64_t entries
    # Which of the lines are priority entries, in order.
    cdef PriorityLine priority[PRIORITY_LINES_MAX]
    cdef readonly unsigned int priority_count

    # Where the next line may be written, which is `size` bytes long; NULL: there is no room for it.
    cdef inline uint8_t *room(self, size_t size, bint is_priority) noexcept nogil:
        if self.size + size > LINES_BYTES or (is_priority and self.priority_count == PRIORITY_LINES_MAX):
            return NULL
        return self.start + self.size

    # Keeps the line that was written to `room`. Without this call the buffer is as before.
    cdef inline void keep(self, size_t size, bint is_priority) noexcept nogil:
        if is_priority:
            self.priority[self.priority_count] = PriorityLine(self.size, size)
            self.priority_count += 1
        self.size += size
        self.entries += 1
