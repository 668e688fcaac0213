# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The first look of `fastlog tail` at a log: which lines may be wanted, by their bytes, without decoding them.

It never passes over a line that is wanted. A line that it lets through is certainly an entry of a wanted level. About
the other conditions it may be unsure, and then the line has to be looked at again: a needle may stand in another field,
and a line with a `\\u` escape may hold it unseen.

Where lines have to hold a needle, the block is searched for needles, and only the lines around them are looked at.
"""

from cpython.mem cimport PyMem_RawFree, PyMem_RawRealloc
from libc.stdint cimport uint8_t
from libc.string cimport memchr, memcmp, memcpy

from fastlog._parse cimport ACCEPTED, OTHER, Piece, begin, has_timestamp, next_piece

from fastlog.entry import ALIASES, LEVELS, known_level
from fastlog.limits import LINE_MAX_BYTES

cdef extern from "<string.h>" nogil:
    void *memrchr(const void *text, int byte, size_t size)

cdef extern from "_find.h" nogil:
    # Whether `needle` is at p; fold 0x20: without case. The bytes from p must be at least as many as the needle's.
    int fl_is_at(const uint8_t *p, const uint8_t *needle, size_t size, uint8_t fold)
    # Where `needle` begins first in [p, end), or NULL; fold 0x20: without case.
    const uint8_t *fl_find(const uint8_t *p, const uint8_t *end, const uint8_t *needle, size_t size, uint8_t fold)

cpdef enum:
    # Needles of all groups together. They come from the alternatives of a regular expression, usually a few.
    NEEDLES_MAX = 32

cdef enum:
    # The length of a time to the second, as in "2026-11-24T07:00:00".
    TIME_BYTES = 19
    # More than the length of any level's name.
    NAME_CAPACITY = 16
    # Room for so many runs is made at once.
    RUNS_AT_FIRST = 64

cdef struct Needle:
    const uint8_t *text
    size_t size
    # 0x20: without case.
    uint8_t fold
    # What has to follow the text, or nothing: behind `=`, or where the text ends a key, at the start of its value.
    const uint8_t *value
    size_t value_size
    # A key with its quotes, or nothing: a line is certainly wanted if this key's value has the needle.
    const uint8_t *key
    size_t key_size
    # A line has to hold one needle of each group.
    int group

cdef enum Verdict:
    UNWANTED, UNSURE, WANTED

# Lines with the same verdict, one behind the other: offsets in the block.
cdef struct Run:
    Py_ssize_t start
    Py_ssize_t end
    Verdict verdict

cdef struct Runs:
    Run *at
    Py_ssize_t count
    Py_ssize_t room

# Times to the second, as text. Those before `low` and from `high` on are outside of the window; those from `start` on
# and before `end` are in it.
cdef struct Bounds:
    uint8_t low[TIME_BYTES]
    uint8_t start[TIME_BYTES]
    uint8_t end[TIME_BYTES]
    uint8_t high[TIME_BYTES]

cdef Py_ssize_t line_max_bytes = LINE_MAX_BYTES


cdef int add_run(Runs *runs, Py_ssize_t start, Py_ssize_t end, Verdict verdict) except -1 nogil:
    """Notes a line, as a part of the last run if it continues it."""
    cdef Run *last = runs.at + runs.count - 1
    cdef Run *moved
    if runs.count and last.end == start and last.verdict == verdict:
        last.end = end
        return 0
    if runs.count == runs.room:
        moved = <Run *>PyMem_RawRealloc(runs.at, (runs.room * 2 + RUNS_AT_FIRST) * sizeof(Run))
        if moved == NULL:
            with gil:
                raise MemoryError
        runs.at = moved
        runs.room = runs.room * 2 + RUNS_AT_FIRST
    runs.at[runs.count] = Run(start, end, verdict)
    runs.count += 1
    return 0


cdef bint hides(const uint8_t *p, const uint8_t *end) noexcept nogil:
    """Whether a character of the line may be written as a `\\u` escape."""
    while True:
        p = <const uint8_t *>memchr(p, c'\\', end - p)
        if p == NULL or p + 1 == end:
            return False
        if p[1] == c'u':
            return True
        p += 2


cdef inline const uint8_t *skip_colon(const uint8_t *p, const uint8_t *end) noexcept nogil:
    """The byte behind a colon and the space around it."""
    while p < end and (p[0] == c' ' or p[0] == c'\t' or p[0] == c':'):
        p += 1
    return p


cdef bint has_value(const uint8_t *p, const uint8_t *end, const Needle *needle) noexcept nogil:
    """Whether the needle's value follows at p, where the needle's text ends."""
    if p == end:
        return False
    if p[0] == c'=':
        p += 1
    elif p[0] == c'"':
        p = skip_colon(p + 1, end)
        if p < end and p[0] == c'"':
            p += 1
    else:
        return False
    return <size_t>(end - p) >= needle.value_size and fl_is_at(p, needle.value, needle.value_size, needle.fold)


cdef const uint8_t *held_at(const uint8_t *p, const uint8_t *end, const Needle *needle) noexcept nogil:
    """Where the needle's text is first with its value behind it, or `end`."""
    p = fl_find(p, end, needle.text, needle.size, needle.fold)
    while p != NULL and needle.value_size and not has_value(p + needle.size, end, needle):
        p = fl_find(p + 1, end, needle.text, needle.size, needle.fold)
    return end if p == NULL else p


cdef const uint8_t *escape_at(const uint8_t *p, const uint8_t *end) noexcept nogil:
    """Where a `\\u` is first, or `end`. Backslashes are rare, and nothing is faster than memchr."""
    while p + 1 < end:
        p = <const uint8_t *>memchr(p, c'\\', end - p - 1)
        if p == NULL:
            break
        if p[1] == c'u':
            return p
        p += 1
    return end


cdef inline int digits(const uint8_t *p) noexcept nogil:
    """The value of two digits."""
    return (p[0] - c'0') * 10 + p[1] - c'0'


cdef bint is_time(const uint8_t *p, const uint8_t *end) noexcept nogil:
    """Whether the string that begins at p is certainly a time, as in 2026-11-24T07:00:00.123456Z, with or without the
    fraction. The leap day is left to the second look."""
    cdef const char *form = b"0000-00-00T00:00:00"
    cdef const uint8_t *days = b"\x1f\x1c\x1f\x1e\x1f\x1e\x1f\x1f\x1e\x1f\x1e\x1f"
    cdef const uint8_t *fraction
    cdef int i, month
    if end - p <= TIME_BYTES:
        return False
    for i in range(TIME_BYTES):
        if form[i] == c'0':
            if not c'0' <= p[i] <= c'9':
                return False
        elif p[i] != <uint8_t>form[i]:
            return False
    month = digits(p + 5)
    if memcmp(p, b"0000", 4) == 0 or not 1 <= month <= 12 or not 1 <= digits(p + 8) <= days[month - 1]:
        return False
    if digits(p + 11) > 23 or digits(p + 14) > 59 or digits(p + 17) > 59:
        return False
    p += TIME_BYTES
    if p[0] == c'.':
        fraction = p + 1
        p = fraction
        while p < end and c'0' <= p[0] <= c'9':
            p += 1
        if not 1 <= p - fraction <= 9:
            return False
    return end - p >= 2 and p[0] == c'Z' and p[1] == c'"'


cdef const uint8_t *next_value(const uint8_t *p, const uint8_t *end, const char *key, size_t size) noexcept nogil:
    """The byte behind the next `key`, which is given with its quotes, and behind a colon; NULL if there is none."""
    p = fl_find(p, end, <const uint8_t *>key, size, 0)
    if p == NULL:
        return NULL
    return skip_colon(p + size, end)


cdef struct Times:
    # Whether all values that may be the entry's time are certainly such, and in the window.
    bint are_in
    # Whether they are certainly times outside of it.
    bint are_out
    # Whether an object has such a key.
    bint are_there


cdef void look_at_times(
    const uint8_t *p, const uint8_t *end, const char *key, size_t size, const Bounds *bounds, Times *times
) noexcept nogil:
    """Adds what the values of this key are."""
    cdef const uint8_t *at
    p = fl_find(p, end, <const uint8_t *>key, size, 0)
    while p != NULL:
        at = skip_colon(p + size, end)
        if at == end or at[0] != c'"' or not is_time(at + 1, end):
            times.are_in = times.are_out = False
            return
        if memcmp(at + 1, bounds.low, TIME_BYTES) >= 0 and memcmp(at + 1, bounds.high, TIME_BYTES) < 0:
            times.are_out = False
        if memcmp(at + 1, bounds.start, TIME_BYTES) < 0 or memcmp(at + 1, bounds.end, TIME_BYTES) >= 0:
            times.are_in = False
        if not times.are_in and not times.are_out:
            return
        if (p - 1)[0] != c'\\':  # else it is the end of a longer key; the line's bracket comes before
            times.are_there = True
        p = fl_find(at, end, <const uint8_t *>key, size, 0)


cdef Verdict by_time(
    const uint8_t *p, const uint8_t *end, const Bounds *received, const Bounds *stamped
) noexcept nogil:
    """Whether the entry came in the window, or was made in it if nobody recorded when it came."""
    cdef Times times = Times(True, True, False)
    cdef Piece piece
    if p == end or p[0] != c'{':
        return UNSURE
    look_at_times(p, end, b'"timestamp"', 11, stamped, &times)
    if times.are_in or times.are_out:
        look_at_times(p, end, b'"received"', 10, received, &times)
    if not times.are_in and not (times.are_out and times.are_there) or hides(p, end):
        return UNSURE
    if times.are_in:  # or it has no time, and is wanted as well
        return WANTED
    if memchr(p + 1, c'{', end - p - 1) == NULL:
        return UNWANTED
    begin(&piece, False)  # the keys may be those of an object inside it
    return UNWANTED if next_piece(p, end, &piece) and piece.reason == ACCEPTED and has_timestamp(&piece) else UNSURE


cdef bint is_in_value(const uint8_t *p, const uint8_t *end, const Needle *needle) noexcept nogil:
    """Whether the string value of the needle's key certainly holds the needle. The line is an entry."""
    cdef const uint8_t *key = fl_find(p, end, needle.key, needle.key_size, 0)
    cdef const uint8_t *value
    cdef const uint8_t *quote
    # An object in another one may have such a key, too.
    if key == NULL or key == p or (key - 1)[0] == c'\\' or memchr(p + 1, c'{', end - p - 1) != NULL:
        return False
    value = next_value(key, end, <const char *>needle.key, needle.key_size)
    if value == end or value[0] != c'"' or fl_find(value, end, needle.key, needle.key_size, 0) != NULL:
        return False
    quote = <const uint8_t *>memchr(value + 1, c'"', end - value - 1)
    if quote == NULL or memchr(value, c'\\', quote - value) != NULL:
        return False
    return fl_find(value, quote + 1, needle.text, needle.size, 0) != NULL and not hides(p, end)


cdef Bounds bounds_of(tuple times) except *:
    cdef Bounds bounds
    low, start, end, high = times
    memcpy(bounds.low, <const char *>low, TIME_BYTES)
    memcpy(bounds.start, <const char *>start, TIME_BYTES)
    memcpy(bounds.end, <const char *>end, TIME_BYTES)
    memcpy(bounds.high, <const char *>high, TIME_BYTES)
    return bounds


cdef class Selector:
    """`levels`: a bit for each level wanted, in the order of entry.LEVELS; 0 takes lines that are not entries, too.

    `groups`: a line has to hold one needle of each. A needle has a text, a value or nothing, whether their case does
    not matter, and a key with its quotes or nothing. With a value, a line holds it as `text=value` in a string, or as a
    key that ends with the text and a value that begins so. With a key, a line whose value of this key holds the text is
    certainly wanted. Text and value must be free of what JSON writes in more than one way besides `\\u`: no quote,
    backslash, slash or control character. At most NEEDLES_MAX of them.
    `bounds`: of the window, in UTC to the second, for `received` and for `timestamp`, as `Bounds` has them; or nothing.
    """

    cdef unsigned int _levels
    cdef int _groups
    cdef int _count
    cdef Needle _needles[NEEDLES_MAX]
    cdef object _kept
    # Those that one group has, from the first of these up to the second: lines without any of them are passed over.
    cdef int _sought_first
    cdef int _sought_end
    cdef bint _has_window
    cdef Bounds _received
    cdef Bounds _stamped
    # By the size of a name: a bit for each first byte that a wanted level's name of that size has. The bit is the low
    # five bits of the byte, which letters of either case share; if another byte has them too, a line is read in vain.
    cdef unsigned int _initials[NAME_CAPACITY]
    cdef bint _by_initials

    def __cinit__(self, unsigned int levels, list groups not None, list bounds not None):
        cdef bytes text, value, key
        cdef size_t worth, most = 0
        cdef int first
        self._levels = levels
        self._groups = len(groups)
        self._kept = groups
        self._by_initials = levels != 0 and not levels >> <int>OTHER & 1  # others may be called anything
        for name in (*LEVELS, *ALIASES):
            if levels >> LEVELS.index(known_level(name)) & 1:
                self._initials[len(name)] |= <unsigned int>1 << (ord(name[0]) & 0x1F)
        if sum(map(len, groups)) > NEEDLES_MAX or any(len(time) != TIME_BYTES for times in bounds for time in times):
            raise ValueError("too many needles, or a time that is not written to the second")
        self._has_window = bool(bounds)
        if bounds:
            self._received, self._stamped = bounds_of(bounds[0]), bounds_of(bounds[1])
        for group, needles in enumerate(groups):
            first = self._count
            worth = min(len(text) + len(value) for text, value, *_ in needles)
            if worth > most:
                most, self._sought_first, self._sought_end = worth, first, first + <int>len(needles)
            for text, value, without_case, key in needles:
                if not text or (key and (value or without_case)):
                    raise ValueError("a needle without a text, or with a key and a value, or with a key of any case")
                self._needles[self._count] = Needle(
                    text, len(text), 0x20 if without_case else 0, NULL, len(value), NULL, len(key), group
                )
                if value:
                    self._needles[self._count].value = value
                if key:
                    self._needles[self._count].key = key
                self._count += 1

    def runs(self, const uint8_t[::1] block not None, Py_ssize_t start, Py_ssize_t end):
        """Where the lines that may be wanted begin and end in block[start:end], and whether they certainly are.

        Neighbours come as one run. The part of the block must consist of whole lines.
        """
        cdef Runs runs = Runs(NULL, 0, 0)
        if not 0 <= start <= end <= block.shape[0]:
            raise ValueError("not a part of the block")
        if start == end:
            return []
        try:
            with nogil:
                self._collect(&block[0], &block[0] + start, &block[0] + end, &runs)
            return [(runs.at[i].start, runs.at[i].end, runs.at[i].verdict == WANTED) for i in range(runs.count)]
        finally:
            PyMem_RawFree(runs.at)

    cdef int _collect(self, const uint8_t *base, const uint8_t *p, const uint8_t *end, Runs *runs) except -1 nogil:
        """Notes the runs of [p, end)."""
        cdef const uint8_t *next_hits[NEEDLES_MAX + 1]
        cdef const uint8_t *line_end
        cdef const uint8_t *hit
        cdef const uint8_t *line_feed
        cdef Verdict verdict
        cdef int i
        for i in range(NEEDLES_MAX + 1):
            next_hits[i] = NULL
        while p < end:
            if self._sought_end:
                hit = self._next_hit(p, end, next_hits)
                if hit == end:
                    break
                line_feed = <const uint8_t *>memrchr(p, c'\n', hit - p)
                p = p if line_feed == NULL else line_feed + 1
            line_end = <const uint8_t *>memchr(p, c'\n', end - p)
            if line_end == NULL:
                break
            verdict = self._verdict(p, line_end)
            if verdict != UNWANTED:
                add_run(runs, p - base, line_end + 1 - base, verdict)
            p = line_end + 1
        return 0

    cdef const uint8_t *_next_hit(self, const uint8_t *p, const uint8_t *end, const uint8_t **hits) noexcept nogil:
        """Where from p on one of the needles is that are sought, or a `\\u` escape, which may hide one; or `end`.
        `hits`: where each is next, if that is known."""
        cdef const uint8_t *first = end
        cdef int i
        for i in range(self._sought_first, self._sought_end):
            if hits[i] < p:
                hits[i] = held_at(p, end, &self._needles[i])
            if hits[i] < first:
                first = hits[i]
        if hits[NEEDLES_MAX] < p:
            hits[NEEDLES_MAX] = escape_at(p, end)
        return min(first, hits[NEEDLES_MAX])

    cdef Verdict _verdict(self, const uint8_t *p, const uint8_t *end) noexcept nogil:
        """The verdict on the line in [p, end)."""
        cdef Piece piece
        cdef int i
        cdef Verdict in_window = WANTED
        if end - p > line_max_bytes or not self._holds_all(p, end):
            return UNWANTED
        if self._by_initials and self._is_of_another_level(p, end):
            return UNWANTED
        if self._has_window:
            in_window = by_time(p, end, &self._received, &self._stamped)
            if in_window == UNWANTED:
                return UNWANTED
        if self._levels:
            begin(&piece, False)
            if not next_piece(p, end, &piece) or piece.reason != ACCEPTED or piece.next != end:
                return UNWANTED
            if not self._levels >> <int>piece.level & 1:
                return UNWANTED
        if in_window == UNSURE:
            return UNSURE
        for i in range(self._count):
            if self._needles[i].key == NULL or not is_in_value(p, end, &self._needles[i]):
                return UNSURE
        return WANTED

    cdef bint _holds_all(self, const uint8_t *p, const uint8_t *end) noexcept nogil:
        """Whether a needle of each group is in the line, or may be."""
        cdef int i = 0, group
        cdef bint found
        for group in range(self._groups):
            found = False
            while i < self._count and self._needles[i].group == group:
                if not found:
                    found = held_at(p, end, &self._needles[i]) != end
                i += 1
            if not found and not hides(p, end):
                return False
        return True

    cdef bint _is_of_another_level(self, const uint8_t *p, const uint8_t *end) noexcept nogil:
        """Whether the line's level is certainly none of those wanted."""
        cdef const uint8_t *at = next_value(p, end, b'"level"', 7)
        cdef const uint8_t *quote
        while at != NULL:
            if end - at < 2 or at[0] != c'"':
                return False
            at += 1
            quote = <const uint8_t *>memchr(at, c'"', end - at)
            if quote == NULL or memchr(at, c'\\', quote - at) != NULL:
                return False
            if quote - at < NAME_CAPACITY and self._initials[quote - at] >> (at[0] & 0x1F) & 1:
                return False
            at = next_value(quote, end, b'"level"', 7)
        return not hides(p, end)
