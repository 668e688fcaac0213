# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The target of GELF's converter: every GELF object among any bytes becomes an entry, or is rejected. The object and
its line are in heap blocks of just their size, so that AddressSanitizer sees a byte too far on either side.
"""

from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcpy

from fastlog._parse cimport ACCEPTED, BAD_FIELD, BAD_MESSAGE, Level, Piece, Reason, begin, has_timestamp, next_piece
from fastlog.inputs._gelf cimport gelf_line
from fastlog.inputs._receipt cimport TIME_BYTES, Receipt, converted_room

from fastlog._parse import REASON_NAMES
from fastlog.entry import LEVELS
from fastlog.inputs import gelf
from fastlog.inputs._gelf import __spec__ as gelf_spec
from fastlog.inputs.receipt import Receipt as ReferenceReceipt

assert gelf_spec.origin == "built-in"  # the instrumented one

cdef enum:
    # One object in so many is compared with the reference, which takes some hundred times as long.
    COMPARED = 64

RECEIPT = ReferenceReceipt("2026-11-26T08:30:00.000000Z", "192.0.2.7:40000", "192.0.2.7")

cdef Receipt receipt
receipt.unix_usec = 1_795_681_800_000_000
memcpy(receipt.time, b"2026-11-26T08:30:00.000000Z", TIME_BYTES)
memcpy(receipt.source, b"192.0.2.7:40000", 15)
receipt.source_size = 15
receipt.host_at, receipt.host_size = 0, 9


cdef int check_line(const uint8_t *line, size_t size, Level level) except -1:
    """It is an entry of that level, with a timestamp and no sequence."""
    cdef Piece piece
    assert line[size - 1] == c'\n' and memchr(line, c'\n', size - 1) == NULL and memchr(line, c'\r', size) == NULL
    begin(&piece, False)
    assert next_piece(line, line + size, &piece)
    assert piece.reason == ACCEPTED and piece.start == line and piece.end == line + size - 1
    assert piece.level == level and has_timestamp(&piece) and not piece.has_sequence
    return 0


cdef int check_object(const uint8_t *p, size_t size, bint compare) except -1:
    cdef uint8_t *given = <uint8_t *>malloc(size)
    cdef uint8_t *line = <uint8_t *>malloc(converted_room(size))
    cdef Level level
    cdef Reason reason = ACCEPTED
    cdef size_t got
    memcpy(given, p, size)
    try:
        got = gelf_line(given, given + size, &receipt, line, &level, &reason)
        assert got <= converted_room(size)
        if got:
            check_line(line, got, level)
        else:
            assert reason == BAD_MESSAGE or reason == BAD_FIELD
        if compare:
            done = (LEVELS[<int>level], (<const char *>line)[:got]) if got else REASON_NAMES[<int>reason]
            assert gelf.decode((<const char *>p)[:size], RECEIPT) == done
    finally:
        free(given)
        free(line)
    return 0


cdef public int fuzz_gelf(const uint8_t *data, size_t size) except -1:
    cdef const uint8_t *end = data + size
    cdef const uint8_t *p = data
    cdef Piece piece
    cdef unsigned int mix = <unsigned int>size
    cdef size_t i
    for i in range(size):
        mix = mix * 31 + data[i]
    begin(&piece, True)
    while next_piece(p, end, &piece):
        if piece.reason != ACCEPTED and piece.is_gelf:
            check_object(piece.start, piece.end - piece.start, (mix >> 8) % COMPARED == 0)
        p = piece.next
    return 0
