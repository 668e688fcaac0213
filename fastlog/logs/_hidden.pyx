# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Which entries of a block stand between those in a window, and are outside of it, in one pass of C. `hidden.py` says
what that means."""

from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memchr

from fastlog.archive._summary cimport NO, UNSURE, Facts, Verdict, look

from fastlog.archive.summary import facts_of

# Entries outside of the window, and how far the farthest is, in microseconds.
cdef struct Tally:
    Py_ssize_t count
    int64_t farthest


cdef inline void add(Tally *tally, Tally other) noexcept nogil:
    tally.count += other.count
    tally.farthest = max(tally.farthest, other.farthest)


cdef class Bounds:
    """A window: times in microseconds since 1970. `since`, `until`: for entries whose receipt was recorded.
    `wide_since`, `wide_until`: for all others. Entries whose distance is less than `near` count as being in it."""

    cdef int64_t since
    cdef int64_t until
    cdef int64_t wide_since
    cdef int64_t wide_until
    cdef int64_t near

    def __cinit__(self, int64_t since, int64_t until, int64_t wide_since, int64_t wide_until, int64_t near):
        self.since = since
        self.until = until
        self.wide_since = wide_since
        self.wide_until = wide_until
        self.near = near

    cdef inline bint has(self, const Facts *facts) noexcept nogil:
        if facts.is_received:
            return self.since <= facts.time < self.until
        return self.wide_since <= facts.time < self.wide_until

    cdef inline int64_t distance(self, int64_t time) noexcept nogil:
        return self.since - time if time < self.since else time - self.until + 1


cdef int look_again(const uint8_t *p, const uint8_t *end, Facts *facts) except -1 with gil:
    """The times of an entry that C is unsure about."""
    _, _, _, received, timestamp = facts_of(p[:end - p])
    facts.is_received = received is not None
    facts.is_timed = facts.is_received or timestamp is not None
    if facts.is_timed:
        facts.time = received if facts.is_received else timestamp
    return 0


def look_at(
    const uint8_t[::1] block not None, Py_ssize_t start, Py_ssize_t end, list runs not None, Bounds bounds not None
):
    """Looks at the lines in block[start:end], of which those in the runs meet all other conditions. Returns whether an
    entry is in the window, and three times how many are outside of it, and how far the farthest is: before the first
    one in the window, between the first and the last one, and behind the last one. If none is in the window, all are
    before."""
    cdef Tally before = Tally(0, 0), between = Tally(0, 0), after = Tally(0, 0)
    cdef bint has_inside = False
    cdef Facts facts
    cdef Verdict verdict
    cdef Py_ssize_t at, line_end, run_start, run_end, count = len(runs), run = 0
    cdef int64_t distance
    cdef const uint8_t *base
    cdef const uint8_t *feed
    if not 0 <= start <= end <= block.shape[0]:
        raise ValueError("not a part of the block")
    if start == end:
        return False, (0, 0), (0, 0), (0, 0)
    base = &block[0]
    run_start, run_end = runs[0] if count else (end, end)
    at = start
    with nogil:
        while at < end and not (has_inside and run == count and after.count == 0):
            feed = <const uint8_t *>memchr(base + at, c'\n', end - at)
            if feed == NULL:
                break
            line_end = feed - base
            while run < count and at >= run_end:
                run += 1
                if run < count:
                    with gil:
                        run_start, run_end = runs[run]
            verdict = look(base + at, feed, &facts)
            if verdict == UNSURE:
                look_again(base + at, feed, &facts)
            if verdict != NO and facts.is_timed:
                if bounds.has(&facts):
                    add(&between, after)
                    after = Tally(0, 0)
                    has_inside = True
                elif not facts.is_received and run < count and at >= run_start:
                    distance = bounds.distance(facts.time)
                    if distance >= bounds.near:
                        add(&after if has_inside else &before, Tally(1, distance))
            at = line_end + 1
    return (
        has_inside, (before.count, before.farthest), (between.count, between.farthest), (after.count, after.farthest)
    )
