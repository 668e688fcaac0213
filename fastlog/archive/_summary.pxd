# What the summary of a frame takes from a line, and a table of names: for all that counts entries.

from libc.stdint cimport int64_t, uint8_t, uint64_t

cpdef enum:
    APPS, HOSTS
    KIND_COUNT

cdef enum Verdict:
    NO, YES, UNSURE

# A name of a frame, and how many entries have it. `text` is in the frame, or in a name that `Lines` keeps; NULL: the
# place is free.
cdef struct Name:
    const uint8_t *text
    size_t size
    uint64_t hash
    Py_ssize_t count

# The names of one kind. `capacity` is a power of two, and more than twice `used`.
cdef struct Table:
    Name *places
    size_t capacity
    size_t used

# A string of a line, without its quotes. NULL: the entry has none.
cdef struct Text:
    const uint8_t *start
    size_t size

# What the summary takes from one entry. `time` is set if `is_timed`.
cdef struct Facts:
    int level
    Text names[KIND_COUNT]
    bint is_timed
    bint is_received
    int64_t time

# The facts of the line in [p, end). NO: it is not an entry; UNSURE: it is one, and `facts_of` knows the rest.
cdef Verdict look(const uint8_t *p, const uint8_t *end, Facts *facts) noexcept nogil

# Counts a name once more. `key`: a random one, so that no sender can choose names that share their places. The text
# must not change while the table is used. Returns False if there is no memory.
cdef bint add_name(Table *table, const uint64_t *key, const Text *text) noexcept nogil

# The names of a table, and how many entries each has.
cdef dict names_of(const Table *table)
