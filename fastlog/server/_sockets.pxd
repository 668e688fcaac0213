# The sockets that datagrams come from, and whose turn it is.
#
# Several sockets are served in rounds: each that was readable at the start of a round gives one burst. So a socket that
# never runs empty keeps the others waiting for no more than a burst.

from libc.stdint cimport uint32_t, uint64_t

from fastlog.server._socket cimport SOCKETS_MAX

cdef struct Source:
    int fd
    bint is_unix
    # Its senders would be held up: it is watched also while a drain waits for more datagrams.
    bint hurries
    # It is not asked for the moment, since it failed.
    bint rests
    # Datagrams that came, except for those of the burst in the arena.
    uint64_t datagrams

cdef struct Sockets:
    Source places[SOCKETS_MAX]
    unsigned int count
    # The socket whose burst is in the arena, and how many datagrams had come from all of them before it.
    uint32_t now
    uint64_t datagrams_before
    # The sockets whose turn is still to come in this round, a bit for each; and whether one of those before gave as
    # much as the arena holds, so that another round is needed.
    uint32_t due
    bint has_more

# The descriptor that a wait watches for the socket, whether it is for datagrams or for more of them; -1: none.
cdef inline int watched_fd(const Source *source, bint for_datagrams) noexcept nogil:
    return source.fd if (for_datagrams or source.hurries) and not source.rests else -1

# The next socket in turn; one is due.
cdef inline uint32_t next_due(const Sockets *sockets) noexcept nogil:
    cdef uint32_t place = sockets.now
    while True:
        place = place + 1 if place + 1 < sockets.count else 0
        if sockets.due >> place & 1:
            return place

# Another burst begins, which comes from that socket. `datagrams` have come so far.
cdef inline void begin_burst(Sockets *sockets, uint32_t place, uint64_t datagrams) noexcept nogil:
    sockets.places[sockets.now].datagrams += datagrams - sockets.datagrams_before
    sockets.datagrams_before = datagrams
    sockets.now = place
