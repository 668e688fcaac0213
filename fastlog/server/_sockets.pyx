# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Takes the next burst from the sockets, and waits for one."""

from libc.string cimport memset
from posix.time cimport timespec

from fastlog._linux cimport POLLIN, ppoll


cdef class Sockets:
    """`arena`: where a burst goes."""

    def __cinit__(self, Arena arena not None):
        cdef unsigned int i
        self.arena = arena
        for i in range(<unsigned int>WATCHED_MAX + SOCKETS_MAX):
            self.watched[i].events = POLLIN

    cdef int listen(self, fds, uint64_t datagrams) except -1:
        if len(fds) > SOCKETS_MAX:
            raise ValueError(f"{len(fds)} sockets instead of {SOCKETS_MAX} at the most")
        memset(self.places, 0, sizeof(self.places))
        self.now, self.due, self.has_more = 0, 0, False
        self.count = len(fds)
        self.datagrams_before = datagrams
        for i, fd in enumerate(fds):
            self.places[i].fd = fd
        return 0

    cdef int watch(self, fds) except -1:
        if len(fds) > WATCHED_MAX:
            raise ValueError(f"{len(fds)} file descriptors to watch instead of {WATCHED_MAX} at the most")
        self.watched_count = len(fds)
        for i, fd in enumerate(fds):
            self.watched[i].fd = fd
        return 0

    cdef int receive(self, uint64_t datagrams) noexcept nogil:
        cdef int got
        if self.count != 1 or self.places[0].rests:
            return self.receive_in_turn(datagrams)
        got = self.arena.receive(self.places[0].fd, self.places[0].is_unix)
        self.took_all = 0 <= got < <int>self.arena.slot_count
        return got

    cdef int receive_in_turn(self, uint64_t datagrams) noexcept nogil:
        """Takes the next burst of the socket whose turn it is."""
        cdef const Source *source
        cdef int got
        cdef bint has_asked = False
        while True:
            if self.due == 0:
                if has_asked or not self.begin_round():
                    return -1
                has_asked = True
            self.begin_burst(self.next_due(), datagrams)
            self.due &= ~(<uint32_t>1 << self.now)
            source = &self.places[self.now]
            got = self.arena.receive(source.fd, source.is_unix)
            if got == -1:
                continue  # what came was damaged, or another program took it
            if got == <int>self.arena.slot_count:
                self.has_more = True
            self.took_all = got >= 0 and self.due == 0 and not self.has_more
            return got

    cdef bint begin_round(self) noexcept nogil:
        """Each socket in which datagrams wait has a turn. False: there is none."""
        cdef timespec no_time
        cdef pollfd watched[SOCKETS_MAX]
        cdef unsigned int i
        no_time.tv_sec = no_time.tv_nsec = 0
        self.has_more = False
        for i in range(self.count):
            watched[i].fd, watched[i].events = watched_fd(&self.places[i], True), POLLIN
        if ppoll(watched, self.count, &no_time, NULL) > 0:
            for i in range(self.count):
                if watched[i].revents:
                    self.due |= <uint32_t>1 << i
        return self.due != 0

    cdef uint32_t next_due(self) noexcept nogil:
        """The next socket in turn; one is due."""
        cdef uint32_t place = self.now
        while True:
            place = place + 1 if place + 1 < self.count else 0
            if self.due >> place & 1:
                return place

    cdef Woken wait(self, int64_t ns, bint for_datagrams) noexcept nogil:
        cdef pollfd *watched = &self.watched[self.watched_count]
        cdef timespec time
        cdef int ready
        cdef unsigned int i
        time.tv_sec, time.tv_nsec = ns // 1_000_000_000, ns % 1_000_000_000
        for i in range(self.count):
            watched[i].fd = watched_fd(&self.places[i], for_datagrams)
        ready = ppoll(self.watched, self.watched_count + self.count, &time, NULL)
        if ready == 0:
            return QUIET
        for i in range(self.count):
            if watched[i].revents:
                self.due |= <uint32_t>1 << i
                ready -= 1
        if ready == 0:
            return CAME
        self.due = 0  # the next drain looks at all sockets anew, for who knows how much later
        return CALLED
