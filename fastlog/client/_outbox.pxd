# What applications' threads hand to a client's own thread, and how it becomes datagrams.

from libc.stdint cimport int64_t, uint8_t, uint64_t

from fastlog._clock cimport SecondText
from fastlog.client._native cimport Wakeup
from fastlog.client._plain cimport Kind

# An entry before it is sent: encoded, without the fields that are added when it is sent.
cdef class Item:
    # A running number among the entries that this outbox took.
    cdef readonly uint64_t number
    # When it was put, as time.time has it, in microseconds.
    cdef readonly int64_t when_usec
    # A JSON object with `level` and `message`, without whitespace around it.
    cdef readonly bytes body
    # The index of its level in entry.LEVELS.
    cdef readonly unsigned int level
    # Which of the fields that are added it has already: the HAS_ flags of _outbox.pyx.
    cdef readonly unsigned int present
    # Its lane.
    cdef readonly bint priority

# Entries as one datagram, which nobody has sent yet.
cdef class Datagram:
    cdef readonly bytes data
    # How many entries are in it.
    cdef readonly Py_ssize_t count
    # Its ordinary items.
    cdef readonly list ordinary
    # Its priority entries: (sequence, the entry as it is sent, item).
    cdef readonly list priority
    # Those of its ordinary items that have one of the client's priority levels all the same: (sequence, level).
    cdef readonly list once

# What one of the two lanes holds in memory, until the client's thread releases it, and its limits.
cdef struct Lane:
    int64_t entries
    int64_t bytes
    int64_t entries_max
    int64_t bytes_max

cdef class Outbox:
    # Taken and not yet fetched by the client's thread, in order.
    cdef list items
    # Spelling of a level, as it is usually written, to its index in entry.LEVELS.
    cdef dict levels
    # `,"host":"…"` and `,"app":"…"`, or empty.
    cdef bytes host, app
    # The names of the constant fields, and `,"name":value` of each. The bytes of all fields that are added.
    cdef tuple names, constants
    cdef int64_t added_bytes
    # By index of the level: whether its entries are priority entries, now and as the client was made.
    cdef bint is_priority[8]
    cdef bint is_chosen[8]
    cdef uint64_t dropped_of[8]
    # 0 is the ordinary lane, 1 the priority lane.
    cdef Lane lanes[2]
    # The longest body that fits in a datagram, in bytes.
    cdef int64_t body_max
    # Entries ever taken; those dropped instead; those shortened.
    cdef uint64_t accepted_count, refused_count, shortened_count
    # What the client's thread does: one of the states in _outbox.pyx. Which thread it is; 0 before it runs.
    cdef int state
    cdef unsigned long thread
    # It is one that only does the work for a while, since there is no thread.
    cdef bint is_visited
    # The process whose entries these are: see generation in _native.pxd.
    cdef int forks
    # Starts the thread, and is what it runs.
    cdef object owner
    cdef readonly Wakeup wakeup
    cdef bint closed
    cdef SecondText last_second
    # Room for one datagram in the making.
    cdef uint8_t *buffer

    # -1 with what is no Exception set.
    cdef unsigned int constants_in(self, dict entry) except? 0xffffffff
    cdef int take(self, dict entry, int forks) except -1
    cdef object usual_level(self, dict entry)
    cdef int take_copy(self, dict entry, Kind kind, int forks) except -1
    cdef unsigned int level_of(self, name) except? 255
    cdef bint drops(self, unsigned int level) noexcept
    # -1 with an exception set: no memory.
    cdef int add(self, unsigned int level, unsigned int present, bytes body, int forks) except -1
    # -1 with an exception set: that of a signal handler.
    cdef int call_owner(self) except -1
    cdef void wake(self) noexcept
    cdef void count(self, list items) noexcept
    cdef size_t write(self, Item item, uint64_t sequence, uint8_t *to) noexcept
