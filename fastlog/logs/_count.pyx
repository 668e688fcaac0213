# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Counts the entries of a block of lines by level, app, host or minute, by the rule of the summaries of archives."""

from os import urandom

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memchr, memcpy

from fastlog._parse cimport LEVEL_COUNT
from fastlog.archive._summary cimport APPS, HOSTS, NO, UNSURE, Facts, Table, Verdict, add_name, look, names_of

from fastlog.entry import LEVELS

cpdef enum:
    BY_LEVEL, BY_APP, BY_HOST, BY_MINUTE

cpdef enum:
    MINUTE_USEC = 60_000_000


cdef inline int64_t minute_of(int64_t time) noexcept nogil:
    cdef int64_t minute = time // MINUTE_USEC  # as C divides: towards 0
    return minute - (time % MINUTE_USEC < 0)


cdef class Tally:
    """How many of the entries that were counted have each value. Names are in the block."""

    cdef int _by
    cdef uint64_t _key[2]
    cdef uint64_t _levels[LEVEL_COUNT]
    cdef Table _names
    cdef uint64_t _without  # those that have no value
    # The entries of one minute that came last, since most have the minute of the one before.
    cdef int64_t _minute
    cdef uint64_t _in_minute
    cdef dict _minutes  # the others
    cdef readonly Py_ssize_t others  # lines that are not entries
    cdef readonly list unsure  # entries that the caller has to look at: where each begins and ends

    def __cinit__(self, int by):
        cdef bytes key = urandom(sizeof(self._key))
        memcpy(self._key, <const char *>key, sizeof(self._key))
        self._by = by
        self._minutes = {}
        self.unsure = []

    def __dealloc__(self):
        free(self._names.places)

    cdef int add_lines(self, const uint8_t *base, const uint8_t *p, const uint8_t *stop) except -1 nogil:
        """Counts the entries in [p, stop), which has whole lines."""
        cdef const uint8_t *end
        cdef Facts facts
        cdef Verdict verdict
        while p < stop:
            end = <const uint8_t *>memchr(p, c'\n', stop - p)
            if end == NULL:
                break
            verdict = look(p, end, &facts)
            if verdict == NO:
                self.others += 1
            elif self._by == BY_LEVEL:  # which is always certain
                self._levels[facts.level] += 1
            elif verdict == UNSURE:
                with gil:
                    self.unsure.append((p - base, end - base))
            else:
                self._add(&facts)
            p = end + 1
        return 0

    cdef int _add(self, const Facts *facts) except -1 nogil:
        cdef int kind
        if self._by != BY_MINUTE:
            kind = APPS if self._by == BY_APP else HOSTS
            if facts.names[kind].start == NULL:
                self._without += 1
            elif not add_name(&self._names, self._key, &facts.names[kind]):
                with gil:
                    raise MemoryError
        elif not facts.is_timed:
            self._without += 1
        else:
            if minute_of(facts.time) != self._minute:
                with gil:
                    self._end_minute()
                self._minute = minute_of(facts.time)
            self._in_minute += 1
        return 0

    cdef int _end_minute(self) except -1:
        if self._in_minute:
            self._minutes[self._minute] = self._minutes.get(self._minute, 0) + self._in_minute
        self._in_minute = 0
        return 0

    cdef dict spread(self):
        cdef int level
        cdef dict found
        if self._by == BY_LEVEL:
            return {LEVELS[level]: self._levels[level] for level in range(<int>LEVEL_COUNT) if self._levels[level]}
        if self._by == BY_MINUTE:
            self._end_minute()
            found = self._minutes
        else:
            found = names_of(&self._names)
        if self._without:
            found[None] = self._without
        return found


def count_lines(const uint8_t[::1] block not None, list runs not None, int by):
    """Counts the entries in parts of a block, each of which consists of whole lines, by BY_LEVEL or another one.

    Returns how many entries have each value (a level, a name, or a minute since 1970; None: they have none), how many
    lines are not entries, and where entries are that were left to the caller, without their line feeds.
    """
    cdef Tally tally = Tally(by)
    cdef Py_ssize_t start, end
    cdef const uint8_t *base
    for start, end in runs:
        if not 0 <= start <= end <= block.shape[0]:
            raise ValueError("not a part of the block")
        if start < end:
            base = &block[0]
            with nogil:
                tally.add_lines(base, base + start, base + end)
    return tally.spread(), tally.others, tally.unsure
