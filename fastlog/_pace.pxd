# How long to wait before a drain, so that a burst grows: a receiver that is faster than its senders is woken for every
# datagram or two, and the wake-ups cost more than the data.

from libc.stdint cimport int64_t, uint64_t

cdef enum:
    # Datagrams that a wait should bring; fewer do not pay for its own system call.
    WORTH_WAITING_FOR = 2
    # Bytes of the receive buffer that a datagram takes besides its own.
    DATAGRAM_OVERHEAD = 1024

cdef struct Pace:
    # The longest wait, and the bytes that may gather meanwhile: half of the receive buffer.
    int64_t longest_ns
    double room_bytes
    # What came between the ends of the last two drains, for each nanosecond: datagrams, and bytes they took in the
    # receive buffer.
    double datagrams_per_ns
    double bytes_per_ns
    int64_t drained_at_ns

# Nanoseconds that a wait now should take, 0 for none: not where it would gain nothing, not past `until_ns`, and not so
# long that the receive buffer could fill at the rate just seen.
cdef inline int64_t worthwhile(const Pace *pace, int64_t now_ns, int64_t until_ns) noexcept nogil:
    cdef int64_t wait = min(pace.longest_ns, until_ns - now_ns)
    if wait <= 0 or pace.datagrams_per_ns * wait < WORTH_WAITING_FOR:
        return 0
    if pace.bytes_per_ns * wait > pace.room_bytes:
        return <int64_t>(pace.room_bytes / pace.bytes_per_ns)
    return wait

# A drain has ended that took these.
cdef inline void drained(Pace *pace, int64_t now_ns, uint64_t datagrams, uint64_t bytes) noexcept nogil:
    cdef double passed = max(now_ns - pace.drained_at_ns, <int64_t>1)
    pace.datagrams_per_ns = datagrams / passed
    pace.bytes_per_ns = (bytes + datagrams * DATAGRAM_OVERHEAD) / passed
    pace.drained_at_ns = now_ns
