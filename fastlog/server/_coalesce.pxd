# How long to wait before a drain, so that a burst grows. A receiver that is faster than its senders is woken for every
# datagram or two, and the wake-ups cost more than the data.

from libc.stdint cimport int64_t, uint64_t

cdef enum:
    # Bytes of the receive buffer that a datagram takes in addition to its own (limits.OVERHEAD_TYPICAL_BYTES).
    DATAGRAM_OVERHEAD_BYTES = 1024
    # How long other programs may run before the server runs again, in nanoseconds: a few slices of the scheduler.
    OTHERS_NS = 10_000_000

cdef struct Coalesce:
    # The longest wait, and the bytes that may gather meanwhile: half of the receive buffer.
    int64_t longest_ns
    double room_bytes
    # When the receiver was last woken by a datagram, and how much it had received by then: datagrams, and their bytes.
    int64_t woken_ns
    uint64_t datagrams
    uint64_t bytes
    # Datagrams, and their bytes in the receive buffer, that arrived in a nanosecond between the last two wake-ups.
    double datagrams_per_ns
    double bytes_per_ns

# Notes the counters after a drain that a datagram had started.
cdef inline void note_woken(Coalesce *pace, int64_t now_ns, uint64_t datagrams, uint64_t bytes) noexcept nogil:
    cdef double passed = max(now_ns - pace.woken_ns, <int64_t>1)
    pace.datagrams_per_ns = (datagrams - pace.datagrams) / passed
    pace.bytes_per_ns = (bytes - pace.bytes + (datagrams - pace.datagrams) * DATAGRAM_OVERHEAD_BYTES) / passed
    pace.woken_ns, pace.datagrams, pace.bytes = now_ns, datagrams, bytes

# Nanoseconds that a wait now should take, 0 for none. A wait costs one more wake-up, so it must bring more datagrams
# than the drain before it, which were `taken`. It ends by `until_ns`, and before the receive buffer could fill.
cdef inline int64_t wait_ns(const Coalesce *pace, int64_t now_ns, int64_t until_ns, uint64_t taken) noexcept nogil:
    cdef int64_t wait = min(pace.longest_ns, until_ns - now_ns)
    if wait <= 0 or pace.datagrams_per_ns * wait < taken + 1:
        return 0
    if pace.bytes_per_ns * wait > pace.room_bytes:
        return <int64_t>(pace.room_bytes / pace.bytes_per_ns)
    return wait

# Whether to let other programs on this processor run first: a sender among them finishes its burst, and the server need
# not sleep.
cdef inline bint should_yield(const Coalesce *pace, int64_t now_ns, int64_t until_ns) noexcept nogil:
    return wait_ns(pace, now_ns, until_ns, 1) > 0 and pace.bytes_per_ns * OTHERS_NS < pace.room_bytes
