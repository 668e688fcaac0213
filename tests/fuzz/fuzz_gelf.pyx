# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The target of GELF's converter: every GELF object among any bytes becomes an entry, or is rejected. The object and
its line are in heap blocks of just their size, so that AddressSanitizer sees a byte too far on either side.
"""

from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from fastlog._parse cimport BAD_FIELD, BAD_MESSAGE, Reason
from fastlog.inputs._gelf cimport gelf_line
from fastlog.inputs._receipt cimport converted_room

from fastlog._parse import REASON_NAMES
from fastlog.entry import LEVELS
from fastlog.inputs import gelf
from fastlog.inputs._gelf import __spec__ as gelf_spec
from fastlog.inputs.receipt import Receipt as ReferenceReceipt

assert gelf_spec.origin == "built-in"  # the instrumented one

include "converted.pxi"

cdef enum:
    # One object in so many is compared with the reference, which takes some hundred times as long.
    COMPARED = 64

RECEIPT = ReferenceReceipt("2026-11-26T08:30:00.000000Z", "192.0.2.7:40000", "192.0.2.7")

cdef Receipt receipt = received_at(1_795_681_800_000_000, b"2026-11-26T08:30:00.000000Z")


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
