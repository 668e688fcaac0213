# What the targets of the converters share: when and from whom a message came, and what its line has to be.

from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memchr, memcpy

from fastlog._parse cimport ACCEPTED, Level, Piece, begin, has_timestamp, next_piece
from fastlog.inputs._receipt cimport TIME_BYTES, Receipt


cdef Receipt received_at(int64_t unix_usec, const char *time) noexcept:
    cdef Receipt receipt
    receipt.unix_usec = unix_usec
    memcpy(receipt.time, time, TIME_BYTES)
    memcpy(receipt.source, b"192.0.2.7:40000", 15)
    receipt.source_size = 15
    receipt.host_at, receipt.host_size = 0, 9
    return receipt


cdef int check_line(const uint8_t *line, size_t size, Level level) except -1:
    """It is an entry of that level, with a timestamp and no sequence."""
    cdef Piece piece
    assert line[size - 1] == c'\n' and memchr(line, c'\n', size - 1) == NULL and memchr(line, c'\r', size) == NULL
    begin(&piece, False)
    assert next_piece(line, line + size, &piece)
    assert piece.reason == ACCEPTED and piece.start == line and piece.end == line + size - 1
    assert piece.level == level and has_timestamp(&piece) and not piece.has_sequence
    return 0
