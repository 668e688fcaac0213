# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The scanner's target: any bytes, and what must hold of the pieces. libFuzzer gives them in a heap block of just their
size, and the stored form goes to one, so that AddressSanitizer sees a byte too far on either side.
"""

from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcmp

from fastlog._parse cimport (
    ACCEPTED,
    LEVEL_COUNT,
    REASON_COUNT,
    Piece,
    begin,
    has_host,
    has_timestamp,
    next_piece,
    renamed_room,
    store,
    store_renamed,
)

from msgspec.structs import astuple

from fastlog._parse import __spec__ as parse_spec
from fastlog._parse import scan
from fastlog.entry import decode, renamed

assert parse_spec.origin == "built-in"  # the instrumented one

cdef enum:
    # One input in so many is compared with the reference decoder, which takes some hundred times as long.
    COMPARED = 256


cdef bint is_space(uint8_t c) noexcept nogil:
    return c in (c' ', c'\t', c'\r', c'\n')


cdef int check_stored(const Piece *piece) except -1:
    cdef size_t size = piece.end - piece.start, i
    cdef uint8_t *line = <uint8_t *>malloc(size + 1)
    try:
        assert store(piece, line) == size + 1
        assert line[size] == c'\n' and memchr(line, c'\n', size) == NULL and memchr(line, c'\r', size) == NULL
        if piece.folded:
            for i in range(size):
                assert line[i] == piece.start[i] or (line[i] == c' ' and is_space(piece.start[i]))
        else:
            assert memcmp(line, piece.start, size) == 0
    finally:
        free(line)
    return 0


cdef int check_renamed(const Piece *piece) except -1:
    cdef bytes expected = renamed((<const char *>piece.start)[:piece.end - piece.start])
    cdef size_t size = len(expected) + 1
    cdef uint8_t *line = <uint8_t *>malloc(size)
    try:
        assert size <= renamed_room(piece)
        assert store_renamed(piece, line) == size
        assert (<const char *>line)[:size] == expected.replace(b"\r", b" ").replace(b"\n", b" ") + b"\n"
    finally:
        free(line)
    return 0


cdef public int fuzz_scanner(const uint8_t *data, size_t size) except -1:
    cdef const uint8_t *end = data + size
    cdef const uint8_t *p = data
    cdef Piece piece
    cdef unsigned int mix = <unsigned int>size
    cdef size_t i
    begin(&piece, size & 1)
    while next_piece(p, end, &piece):
        while p < piece.start:  # nothing but whitespace is passed over
            assert is_space(p[0])
            p += 1
        assert p == piece.start < piece.end <= piece.next <= end
        assert not is_space((piece.end - 1)[0])
        for i in range(<size_t>(piece.next - piece.end)):
            assert is_space(piece.end[i])
        assert piece.next == end or piece.next[0] == c'{'
        if piece.reason == ACCEPTED:
            assert piece.start[0] == c'{' and (piece.end - 1)[0] == c'}'
            assert 0 <= <int>piece.level < LEVEL_COUNT
            check_stored(&piece)
            assert not has_timestamp(&piece) or piece.start < piece.timestamp < piece.end
            assert not has_host(&piece) or piece.start < piece.host < piece.end
            if piece.has_stamp_key:
                check_renamed(&piece)
        else:
            assert 0 <= <int>piece.reason < REASON_COUNT
            assert not piece.is_gelf or (size & 1 and piece.start[0] == c'{' and (piece.end - 1)[0] == c'}')
        p = piece.next
    while p < end:
        assert is_space(p[0])
        p += 1
    for i in range(size):
        mix = mix * 31 + data[i]
    if (mix >> 8) % COMPARED == 0:
        datagram = (<const char *>data)[:size]
        assert scan(datagram, size & 1) == [astuple(found) for found in decode(datagram, size & 1)]
    return 0
