# The server's own words about an entry, `received` and `source`: which of them STAMP gives it, and how they come to its
# line, as the last members. `stamp.py` is the readable reference.

from libc.stdint cimport uint8_t
from libc.string cimport memchr, memcmp, memcpy

from fastlog._parse cimport Piece, has_host, has_timestamp
from fastlog.inputs._receipt cimport SOURCE_ROOM, TIME_BYTES, Receipt

# The values of the setting STAMP, in the order of config.STAMPS.
cdef enum Stamping:
    STAMP_MISSING, STAMP_ALWAYS, STAMP_NEVER

cdef enum:
    # Bits of a set: the words that an entry gets.
    RECEIVED = 1
    SOURCE = 2
    # The sizes of `,"received":"` and `,"source":"`.
    RECEIVED_KEY_BYTES = 13
    SOURCE_KEY_BYTES = 11
    # What both words add to a line at most, each with its closing quote.
    STAMP_ROOM = RECEIVED_KEY_BYTES + TIME_BYTES + 1 + SOURCE_KEY_BYTES + SOURCE_ROOM + 1
    # What ends a stored line behind its last member: the bracket and the line feed.
    LINE_END_BYTES = 2

# The words that an entry gets.
cdef inline unsigned int words_for(const Piece *piece, Stamping stamping) noexcept nogil:
    cdef unsigned int words = 0
    if stamping == STAMP_NEVER:
        return 0
    if stamping == STAMP_ALWAYS or not has_timestamp(piece):
        words |= <unsigned int>RECEIVED
    if stamping == STAMP_ALWAYS or not has_host(piece):
        words |= <unsigned int>SOURCE
    return words

# Adds the words to a stored line, which has at least one member; returns its new size.
cdef inline size_t add_words(uint8_t *line, size_t size, unsigned int words, const Receipt *receipt) noexcept nogil:
    cdef uint8_t *to = line + size - <size_t>LINE_END_BYTES
    if words & RECEIVED:
        memcpy(to, b',"received":"', RECEIVED_KEY_BYTES)
        to += <size_t>RECEIVED_KEY_BYTES
        memcpy(to, receipt.time, TIME_BYTES)
        to += <size_t>TIME_BYTES
        to[0] = c'"'
        to += 1
    if words & SOURCE:
        memcpy(to, b',"source":"', SOURCE_KEY_BYTES)
        to += <size_t>SOURCE_KEY_BYTES
        memcpy(to, receipt.source, receipt.source_size)
        to += receipt.source_size
        to[0] = c'"'
        to += 1
    to[0] = c'}'
    to[1] = c'\n'
    return to + <size_t>LINE_END_BYTES - line

# What is left of [start, end), the members of a whole entry, without the last one if that is a string of at most `most`
# bytes with this key, which is given with what stands around it.
cdef inline const uint8_t *without(
    const uint8_t *start, const uint8_t *end, const char *key, Py_ssize_t key_size, Py_ssize_t most
) noexcept nogil:
    cdef const uint8_t *text
    if end == start or (end - 1)[0] != c'"':
        return end
    text = end - 1
    while end - text <= most and text - start > key_size and (text - 1)[0] != c'"':
        text -= 1
    if text - start <= key_size or memcmp(text - key_size, key, key_size) or memchr(text, c'\\', end - text) != NULL:
        return end
    return text - key_size

# The end of an entry's bytes [start, end) without its closing bracket, and without words of the server at its end.
cdef inline const uint8_t *unstamped_end(const uint8_t *start, const uint8_t *end) noexcept nogil:
    end = without(start, end - 1, b',"source":"', SOURCE_KEY_BYTES, SOURCE_ROOM)
    return without(start, end, b',"received":"', RECEIVED_KEY_BYTES, TIME_BYTES)
