# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""What the lines of a frame have in common, in one pass of C. `summary.py` says it in readable code, and is asked about
the few lines whose names have escapes, or whose times are written in an uncommon way. The two must agree on any bytes.
"""

from os import urandom

from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memchr, memcmp, memcpy, memset

from fastlog._moment cimport NO_OFFSET, Clock, read_clock, unix_usec
from fastlog._parse cimport ACCEPTED, LEVEL_COUNT, Piece, begin, next_piece

from fastlog.entry import LEVELS

cdef extern from "_siphash.h" nogil:
    uint64_t fl_siphash24(const uint64_t *key, const uint8_t *p, size_t size)

cpdef enum:
    # As in limits.py: a longer line is not an entry.
    LINE_MAX_BYTES = 262_143

cdef enum:
    # Of a table of names, at first: more names than most frames have.
    FIRST_PLACES = 256

# From the first to the last time; the first is greater if there is none.
cdef struct Range:
    int64_t first
    int64_t last

cdef inline Name *place_of(const Table *table, const uint8_t *text, size_t size, uint64_t hash) noexcept nogil:
    """Where the name is, or else the free place for it."""
    cdef size_t at = hash
    cdef Name *name
    while True:
        name = &table.places[at & (table.capacity - 1)]
        if name.text == NULL or (name.hash == hash and name.size == size and memcmp(name.text, text, size) == 0):
            return name
        at += 1


cdef bint grow(Table *table) noexcept nogil:
    """Returns False if there is no memory."""
    cdef Table larger
    cdef size_t at
    larger.capacity = max(<size_t>FIRST_PLACES, 2 * table.capacity)
    larger.used = table.used
    larger.places = <Name *>calloc(larger.capacity, sizeof(Name))
    if larger.places == NULL:
        return False
    for at in range(table.capacity):
        if table.places[at].text != NULL:
            place_of(&larger, table.places[at].text, table.places[at].size, table.places[at].hash)[0] = table.places[at]
    free(table.places)
    table[0] = larger
    return True


cdef inline uint64_t hash_of(const uint8_t *text, size_t size) noexcept nogil:
    cdef uint64_t key[2]  # none: writers and readers must agree
    key[0] = key[1] = 0
    return fl_siphash24(key, text, size)


cdef inline uint64_t bit_of(uint64_t hash, unsigned int number, uint64_t size) noexcept nogil:
    """The number of a name's bit in a filter of `size` bits: two halves of a hash serve for any number of hashes."""
    return ((hash & <uint64_t>0xFFFFFFFF) + number * (hash >> 32 | 1)) % size


cdef inline void extend(Range *times, int64_t time) noexcept nogil:
    times.first = min(times.first, time)
    times.last = max(times.last, time)


cdef Verdict read_name(const uint8_t *start, Text *name) noexcept nogil:
    """start: after the opening quote of a valid string, or NULL. Unsure if the string has escapes."""
    cdef const uint8_t *p = start
    name.start = start
    if start == NULL:
        return NO
    while p[0] != c'"':
        if p[0] == c'\\':
            return UNSURE
        p += 1
    name.size = p - start
    return YES


cdef Verdict read_time(const uint8_t *start, int64_t *time) noexcept nogil:
    """The same, for a time. Unsure as well if the text is something else than RFC 3339."""
    cdef Text text
    cdef Clock clock
    cdef const uint8_t *end
    cdef Verdict verdict = read_name(start, &text)
    if verdict != YES or text.size == 0:
        return UNSURE if verdict == UNSURE else NO
    end = start + text.size
    if read_clock(start, end, &clock) != end or (end - 1)[0] == c'z':
        return UNSURE
    if clock.offset == NO_OFFSET:
        clock.offset = 0
    return YES if unix_usec(&clock, time) else UNSURE


cdef Verdict look(const uint8_t *p, const uint8_t *end, Facts *facts) noexcept nogil:
    cdef Piece piece
    cdef Verdict verdict
    if end - p > LINE_MAX_BYTES:
        return NO
    begin(&piece, False)
    if not next_piece(p, end, &piece) or piece.reason != ACCEPTED or piece.next != end:
        return NO
    facts.level = piece.level
    if read_name(piece.app, &facts.names[<int>APPS]) == UNSURE:
        return UNSURE
    if read_name(piece.host, &facts.names[<int>HOSTS]) == UNSURE:
        return UNSURE
    verdict = read_time(piece.received, &facts.time)
    facts.is_received = verdict == YES
    if verdict == NO:
        verdict = read_time(piece.timestamp, &facts.time)
    facts.is_timed = verdict == YES
    return UNSURE if verdict == UNSURE else YES


cdef bint add_name(Table *table, const uint64_t *key, const Text *text) noexcept nogil:
    cdef uint64_t hash = fl_siphash24(key, text.start, text.size)
    cdef Name *name
    if 2 * table.used >= table.capacity and not grow(table):
        return False
    name = place_of(table, text.start, text.size, hash)
    if name.text == NULL:
        name[0] = Name(text.start, text.size, hash, 0)
        table.used += 1
    name.count += 1
    return True


cdef dict names_of(const Table *table):
    cdef const Name *name
    cdef size_t at
    found = {}
    for at in range(table.capacity):
        name = &table.places[at]
        if name.text != NULL:
            found[name.text[:name.size].decode()] = name.count
    return found


cdef class Lines:
    """The lines of one frame after the other. `facts_of`: that of `summary.py`."""

    # Of the tables, so that no sender can choose names that share their places.
    cdef uint64_t _key[2]
    cdef Table _tables[KIND_COUNT]
    cdef Range _received
    cdef Range _timestamp
    cdef Py_ssize_t _levels[LEVEL_COUNT]
    cdef readonly Py_ssize_t lines
    cdef readonly Py_ssize_t untimed
    # What the tables point into: the frame, and names that had escapes in it.
    cdef const uint8_t[::1] _text
    cdef list _decoded
    cdef object _facts_of

    def __cinit__(self, facts_of not None):
        cdef bytes key = urandom(sizeof(self._key))
        memcpy(self._key, <const char *>key, sizeof(self._key))
        self._facts_of = facts_of

    def __dealloc__(self):
        cdef int kind
        for kind in range(<int>KIND_COUNT):
            free(self._tables[kind].places)

    def look(self, const uint8_t[::1] text not None, bint is_inside, unsigned int wanted):
        """Looks at the next frame, in whose first line another frame's last one may end. The figures are of this frame
        from then on; its bytes must not change until the next one is looked at.

        `wanted`: a bit for each level, in the order of entry.LEVELS. Returns the entries of these levels: the number of
        the level, and where the line begins and ends, without its line feed.
        """
        cdef const uint8_t *base
        cdef const uint8_t *p
        cdef const uint8_t *end
        cdef const uint8_t *line_end
        cdef Facts facts
        cdef Verdict verdict
        cdef list found = []
        self._begin(text)
        if text.shape[0] == 0:
            return found
        base = p = &text[0]
        end = p + text.shape[0]
        with nogil:
            while True:
                line_end = <const uint8_t *>memchr(p, c'\n', end - p)
                if line_end == NULL:
                    break
                self.lines += 1
                if not is_inside:
                    verdict = look(p, line_end, &facts)
                    if verdict == UNSURE:
                        with gil:
                            self._look_again(p, line_end, &facts)
                    if verdict != NO:
                        self._add(&facts)
                        if wanted >> facts.level & 1:
                            with gil:
                                found.append((facts.level, p - base, line_end - base))
                is_inside = False
                p = line_end + 1
        return found

    @property
    def levels(self):
        """How many entries each level has."""
        cdef int level
        return {LEVELS[level]: self._levels[level] for level in range(<int>LEVEL_COUNT) if self._levels[level]}

    @property
    def received(self):
        """The first and the last time in microseconds since 1970, or None."""
        return (self._received.first, self._received.last) if self._received.first <= self._received.last else None

    @property
    def timestamp(self):
        """The same, of the entries whose receipt was not recorded."""
        return (self._timestamp.first, self._timestamp.last) if self._timestamp.first <= self._timestamp.last else None

    def count(self, int kind):
        """How many names of this kind there are."""
        return self._tables[kind].used

    def names(self, int kind):
        """The names of this kind, and how many entries each has."""
        return names_of(&self._tables[kind])

    def mark(self, int kind, uint8_t[::1] bits not None, unsigned int hashes):
        """Sets the bits of each name of this kind in a filter, which is not empty."""
        cdef const Table *table = &self._tables[kind]
        cdef uint64_t size = 8 * bits.shape[0], hash, bit
        cdef unsigned int number
        cdef size_t at
        for at in range(table.capacity):
            if table.places[at].text != NULL:
                hash = hash_of(table.places[at].text, table.places[at].size)
                for number in range(hashes):
                    bit = bit_of(hash, number, size)
                    bits[bit >> 3] |= <uint8_t>(1 << (bit & 7))

    cdef int _begin(self, const uint8_t[::1] text) except -1:
        cdef int kind
        self._text = text
        self._decoded = []
        self.lines = self.untimed = 0
        self._received = self._timestamp = Range(INT64_MAX, INT64_MIN)
        memset(self._levels, 0, sizeof(self._levels))
        for kind in range(<int>KIND_COUNT):
            free(self._tables[kind].places)
            self._tables[kind] = Table(NULL, 0, 0)
        return 0

    cdef int _look_again(self, const uint8_t *p, const uint8_t *end, Facts *facts) except -1:
        """Completes the facts of an entry that C is unsure about."""
        _, app, host, received, timestamp = self._facts_of(p[:end - p])
        self._set_name(&facts.names[<int>APPS], app)
        self._set_name(&facts.names[<int>HOSTS], host)
        facts.is_received = received is not None
        facts.is_timed = facts.is_received or timestamp is not None
        if facts.is_timed:
            facts.time = received if facts.is_received else timestamp
        return 0

    cdef int _set_name(self, Text *name, str text) except -1:
        cdef bytes kept
        name.start = NULL
        if text is not None:
            kept = text.encode()
            self._decoded.append(kept)
            name.start = kept
            name.size = len(kept)
        return 0

    cdef int _add(self, const Facts *facts) except -1 nogil:
        cdef int kind
        self._levels[facts.level] += 1
        if not facts.is_timed:
            self.untimed += 1
        elif facts.is_received:
            extend(&self._received, facts.time)
        else:
            extend(&self._timestamp, facts.time)
        for kind in range(<int>KIND_COUNT):
            if facts.names[kind].start != NULL:
                if not add_name(&self._tables[kind], self._key, &facts.names[kind]):
                    with gil:
                        raise MemoryError
        return 0


def bits_of(bytes name not None, unsigned int hashes, uint64_t size):
    """The numbers of a name's bits in a filter of `size` bits, of which there is at least one."""
    cdef uint64_t hash = hash_of(<const uint8_t *><const char *>name, len(name))
    return [bit_of(hash, number, size) for number in range(hashes)]
