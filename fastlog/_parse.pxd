# The scanner finds the entries and the rejected pieces in the bytes of a datagram. It knows no sockets, no clock and no
# Python objects. It reads nothing outside [p, end), and must agree with fastlog/entry.py, the reference decoder, on any
# bytes.

from libc.stdint cimport uint8_t, uint64_t

from fastlog._simd cimport Window

# In the order of entry.LEVELS.
cdef enum Level:
    DEBUG, INFO, WARNING, ERROR, CRITICAL, OTHER
    LEVEL_COUNT

# In the order of entry.REASONS.
cdef enum Reason:
    ACCEPTED = -1
    SYNTAX, UTF8, DEPTH, NOT_OBJECT, BAD_LEVEL, BAD_MESSAGE, BAD_SEQUENCE, BAD_FIELD
    REASON_COUNT

cdef enum:
    # Open brackets, including the entry's own: deep enough for any real entry, and the bits of one register.
    MAX_DEPTH = 64

cdef struct Piece:
    # The entry's object, or the rejected bytes without the whitespace after them. Both pointers are into the datagram.
    const uint8_t *start
    const uint8_t *end
    # Where reading continues.
    const uint8_t *next
    # ACCEPTED, or why the piece was rejected.
    Reason reason
    # An object that means to be GELF, and is not an entry for this `reason`. It ends at `end`, and reading continues
    # right behind it.
    bint is_gelf
    # These are set for accepted entries only.
    Level level
    bint has_sequence
    uint64_t sequence
    # Whether whitespace between tokens holds a CR or LF, which the stored form must not have.
    bint folded
    # The text of the entry's `timestamp`, `host`, `app` and `received`, up to the closing quote, or NULL if it has no
    # such string: into the datagram.
    const uint8_t *timestamp
    const uint8_t *host
    const uint8_t *app
    const uint8_t *received
    # Whether it has a key of its own that is in entry.STAMP_KEYS.
    bint has_stamp_key
    # Whether any piece of this datagram may be GELF; otherwise such objects are rejected like others.
    bint takes_gelf
    # Where strings of this datagram may end, found ahead of reading.
    Window window
    # Lines that begin inside a rejected piece and would fail at the same byte as the piece, for the reason `doom`. They
    # are rejected without being read again, so that no datagram costs more than twice its size.
    unsigned int doomed_count
    const uint8_t *doomed[MAX_DEPTH]
    Reason doom

# To be called once for each datagram, before its first piece. `takes_gelf`: GELF is told from what is rejected.
cdef inline void begin(Piece *piece, bint takes_gelf) noexcept nogil:
    piece.takes_gelf = takes_gelf
    piece.doomed_count = 0
    piece.window.at = NULL

# Finds the next piece in [p, end). Returns False if only whitespace is left.
cdef bint next_piece(const uint8_t *p, const uint8_t *end, Piece *piece) noexcept nogil

# Whether an accepted entry carries a `timestamp` that is not empty.
cdef inline bint has_timestamp(const Piece *piece) noexcept nogil:
    return piece.timestamp != NULL and piece.timestamp[0] != c'"'

# The same for its `host`.
cdef inline bint has_host(const Piece *piece) noexcept nogil:
    return piece.host != NULL and piece.host[0] != c'"'

# Bytes of the stored form of an accepted entry, its line feed included.
cdef inline size_t stored_size(const Piece *piece) noexcept nogil:
    return piece.end - piece.start + 1

# Writes the stored form; returns its size.
cdef size_t store(const Piece *piece, uint8_t *to) noexcept nogil

# Room for the form with renamed keys: each renamed member has eight bytes or more, and becomes one byte longer.
cdef inline size_t renamed_room(const Piece *piece) noexcept nogil:
    return stored_size(piece) + (piece.end - piece.start) // 8

# Writes the stored form with `_` before each of its own keys that is in entry.STAMP_KEYS; returns its size.
cdef size_t store_renamed(const Piece *piece, uint8_t *to) noexcept nogil

# The level with this name or alias, or OTHER.
cdef Level level_named(const uint8_t *p, size_t size) noexcept nogil

# The value of four hexadecimal digits, or -1.
cdef inline int hex4(const uint8_t *p) noexcept nogil:
    cdef int value = 0, i
    cdef uint8_t c
    for i in range(4):
        c = p[i]
        if c'0' <= c <= c'9':
            value = value << 4 | (c - c'0')
        else:
            c |= 0x20
            if not c'a' <= c <= c'f':
                return -1
            value = value << 4 | (c - c'a' + 10)
    return value
