# What applications' threads hand to a client's own thread, and how it becomes datagrams.

from libc.stdint cimport int64_t, uint8_t, uint64_t

from fastlog._clock cimport SECOND_ROOM

# One entry on its way: encoded, without what is added when it is sent.
cdef class Item:
    # Running number among the entries that this outbox took.
    cdef readonly uint64_t number
    # Of time.time, in microseconds.
    cdef readonly int64_t when_usec
    # A JSON object with `level` and `message`, without whitespace around it.
    cdef readonly bytes body
    # In entry.LEVELS.
    cdef readonly unsigned int level
    # Which of the fields that are added it has already: the flags in _outbox.pyx.
    cdef readonly unsigned int present
    cdef readonly bint priority

cdef class Outbox:
    # Taken and not yet fetched by the client's thread, in order.
    cdef list items
    # Spelling of a level, as it is usually written, to its index in entry.LEVELS.
    cdef dict levels
    # Python's part of the work: encode(entry), prepare(entry), shorten(entry, bytes, encode), index_of(level).
    cdef object encode, prepare, shorten, index_of
    # `,"host":"…"` and `,"app":"…"`, or empty.
    cdef bytes host, app
    # By index of the level.
    cdef bint is_priority[8]
    cdef uint64_t dropped_of[8]
    # What is in memory of each lane, 0 ordinary and 1 priority, until the client's thread says that it left.
    cdef int64_t entries_of[2]
    cdef int64_t bytes_of[2]
    cdef int64_t entries_max, bytes_max, body_max
    cdef uint64_t taken, shortened
    # What the client's thread does, one of the states in _outbox.pyx; and the eventfd that wakes it.
    cdef int state
    cdef int wake_fd
    cdef bint closed
    # The text of the second that was written last, up to its `.`: most entries share it with the one before.
    cdef int64_t second
    cdef char second_text[SECOND_ROOM]
    # One datagram in the making.
    cdef uint8_t *buffer

    cdef unsigned int level_of(self, name) except? 255
    cdef bint is_full(self, unsigned int level) noexcept
    cdef void add(self, unsigned int level, unsigned int present, bytes body) except *
    cdef size_t write(self, Item item, uint64_t sequence, uint8_t *to) noexcept
