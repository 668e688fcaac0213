# What the server knows of a datagram besides its bytes: when it came, and from whom. `receipt.py` says the same for the
# references.

from libc.stdint cimport int64_t

cdef enum:
    # The length of `2026-11-26T08:30:00.000000Z`.
    TIME_BYTES = 27
    # Room for the longest source: an IPv6 address with its zone, in brackets, and a port.
    SOURCE_ROOM = 96

cdef struct Receipt:
    # The time of receipt: microseconds of Unix time, and the same as text.
    int64_t unix_usec
    char time[TIME_BYTES]
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
