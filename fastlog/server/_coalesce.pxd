# How long to wait before a drain, so that a burst grows: a receiver that is faster than its senders is woken for every
# datagram or two, and the wake-ups cost more than the data.

from libc.stdint cimport int64_t, uint64_t

cdef enum:
    # Bytes of the receive buffer that a datagram takes besides its own.
    DATAGRAM_OVERHEAD_BYTES = 1024
    # Nanoseconds that other programs may run before it is our turn again: a few slices of the scheduler.
    OTHERS_NS = 10_000_000

cdef struct Pace:
    # The longest wait, and the bytes that may gather meanwhile: half of the receive buffer.
    int64_t longest_ns
    double room_bytes
    # When the receiver was last woken by a datagram, and what had been taken by then: datagrams, and their bytes.
    int64_t woken_ns
    uint64_t datagrams
    uint64_t bytes
    # What came between the last two times, for each nanosecond: datagrams, and bytes they took in the receive buffer.
    double datagrams_per_ns
    double bytes_per_ns

# The receiver was woken, and has taken what was there: so much in all.
cdef inline void woken(Pace *pace, int64_t now_ns, uint64_t datagrams, uint64_t bytes) noexcept nogil:
    cdef double passed = max(now_ns - pace.woken_ns, <int64_t>1)
    pace.datagrams_per_ns = (datagrams - pace.datagrams) / passed
    pace.bytes_per_ns = (bytes - pace.bytes + (datagrams - pace.datagrams) * DATAGRAM_OVERHEAD_BYTES) / passed
    pace.woken_ns, pace.datagrams, pace.bytes = now_ns, datagrams, bytes

# Nanoseconds that a wait now should take, 0 for none. It costs one more wake-up, so it has to bring more than was there
# already, which is `taken` datagrams. Not past `until_ns`, and not so long that the receive buffer could fill.
cdef inline int64_t worthwhile(const Pace *pace, int64_t now_ns, int64_t until_ns, uint64_t taken) noexcept nogil:
    cdef int64_t wait = min(pace.longest_ns, until_ns - now_ns)
    if wait <= 0 or pace.datagrams_per_ns * wait < taken + 1:
        return 0
    if pace.bytes_per_ns * wait > pace.room_bytes:
        return <int64_t>(pace.room_bytes / pace.bytes_per_ns)
    return wait

# Whether to let others on this processor run first: a sender among them finishes its burst, without a sleep of ours.
cdef inline bint yields(const Pace *pace, int64_t now_ns, int64_t until_ns) noexcept nogil:
    return worthwhile(pace, now_ns, until_ns, 1) > 0 and pace.bytes_per_ns * OTHERS_NS < pace.room_bytes
