# The sockets that datagrams come from, and whose turn it is.
#
# Several sockets are served in rounds: each that was readable at the start of a round gives one burst. So a socket that
# never runs empty keeps the others waiting for no more than a burst.

from libc.stdint cimport int64_t, uint32_t, uint64_t

cimport cython

from fastlog._linux cimport pollfd
from fastlog.server._socket cimport SOCKETS_MAX, Arena

cdef enum:
    # What ends a wait besides the clock and a datagram: the loop's wake-up, and the end of a sync.
    WATCHED_MAX = 4

cdef enum Woken:
    # What ended a wait: the clock, a datagram, or something that Python has to look at.
    QUIET, CAME, CALLED

cdef struct Source:
    int fd
    bint is_unix
    # Its senders would be held up: it is watched also while a drain waits for more datagrams.
    bint hurries
    # It is not asked for the moment, since it failed.
    bint rests
    # Datagrams that came, except for those of the burst in the arena.
    uint64_t datagrams

# The descriptor that a wait watches for the socket, whether it is for datagrams or for more of them; -1: none.
cdef inline int watched_fd(const Source *source, bint for_datagrams) noexcept nogil:
    return source.fd if (for_datagrams or source.hurries) and not source.rests else -1


@cython.final
cdef class Sockets:
    # Where a burst goes.
    cdef Arena arena
    cdef Source places[SOCKETS_MAX]
    cdef unsigned int count
    # The socket whose burst is in the arena, and how many datagrams had come from all of them before it.
    cdef uint32_t now
    cdef uint64_t datagrams_before
    # The sockets whose turn is still to come in this round, a bit for each; and whether one of those before gave as
    # much as the arena holds, so that another round is needed.
    cdef uint32_t due
    cdef bint has_more
    # The last burst did not fill the arena, and no other socket had more: what came later is for the next turn.
    cdef bint took_all
    # What ends a wait: so many other descriptors, and behind them the sockets.
    cdef pollfd watched[WATCHED_MAX + SOCKETS_MAX]
    cdef unsigned int watched_count

    # From now on the sockets have these descriptors. So many datagrams have come so far.
    cdef int listen(self, fds, uint64_t datagrams) except -1
    # From now on these descriptors end a wait.
    cdef int watch(self, fds) except -1
    # Takes the next burst. Returns how many slots of the arena it fills, -1 if no datagram waits, or -2 if the call
    # failed (errno).
    cdef int receive(self, uint64_t datagrams) noexcept nogil
    # Waits until the time is over, a watched descriptor is readable, or a datagram comes, if that is asked for.
    cdef Woken wait(self, int64_t ns, bint for_datagrams) noexcept nogil

    # Another burst begins, which comes from that socket.
    cdef inline void begin_burst(self, uint32_t place, uint64_t datagrams) noexcept nogil:
        self.places[self.now].datagrams += datagrams - self.datagrams_before
        self.datagrams_before = datagrams
        self.now = place

    cdef int receive_in_turn(self, uint64_t datagrams) noexcept nogil
    cdef bint begin_round(self) noexcept nogil
    cdef uint32_t next_due(self) noexcept nogil
