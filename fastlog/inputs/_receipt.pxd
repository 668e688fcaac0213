# What the server knows of a datagram besides its bytes: when it came, and from whom. `receipt.py` says the same for the
# references.

from libc.stdint cimport int64_t
from libc.string cimport memcpy
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec

from fastlog._clock cimport SECOND_BYTES, SecondText, second_text
from fastlog._moment cimport TIME_BYTES

cdef enum:
    # Room for the longest source: an IPv6 address with its zone, in brackets, and a port.
    SOURCE_ROOM = 96

cdef struct Receipt:
    # The time of receipt: microseconds of Unix time, and the same as text.
    int64_t unix_usec
    char time[TIME_BYTES]
    SecondText second
    # The sender: `192.0.2.17:40312`, `[2001:db8::1]:514` or `unix:pid=4711,uid=33`. No byte of it needs an escape in
    # JSON.
    char source[SOURCE_ROOM]
    unsigned int source_size
    # Where in `source` the host's address stands, without brackets and port; size 0: the sender has none.
    unsigned int host_at
    unsigned int host_size

# Bytes that the line of so much text may need: each byte may become an escape of six, and the keys around it take less
# than 1 KiB.
cdef inline size_t converted_room(size_t text_bytes) noexcept nogil:
    return 6 * text_bytes + 1024

# Sets the time of receipt.
cdef inline void note_time(Receipt *receipt) noexcept nogil:
    cdef timespec now
    cdef int64_t digits
    cdef int at
    clock_gettime(CLOCK_REALTIME, &now)
    digits = now.tv_nsec // 1000
    receipt.unix_usec = <int64_t>now.tv_sec * 1_000_000 + digits
    memcpy(receipt.time, second_text(&receipt.second, now.tv_sec), SECOND_BYTES)
    receipt.time[TIME_BYTES - 1] = c'Z'
    for at in range(TIME_BYTES - 2, SECOND_BYTES - 1, -1):
        receipt.time[at] = c'0' + digits % 10
        digits //= 10
