# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The target of the chunks: the input says which chunks come, of which messages, from whom and when. One table takes
all inputs, as a server's does; between two of them all that waits is overdue.
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from fastlog.inputs._chunks cimport BLOCKS, BLOCK_BYTES, NOTHING, WAIT_MS, WAITING_MAX, Chunks

from fastlog.inputs import chunks
from fastlog.inputs._chunks import __spec__ as chunks_spec
from tests.fuzz.steps import steps

assert chunks_spec.origin == "built-in"  # the instrumented one

cdef enum:
    # One input in so many is compared with the reference, which takes some hundred times as long.
    COMPARED = 32

cdef Chunks table = Chunks(b"0123456789abcdef")
cdef uint64_t now_ms = 1


cdef int take(address, bytes datagram, object reference) except -1:
    """The datagram is in a heap block of just its size, so that AddressSanitizer sees a byte too far."""
    cdef size_t size = len(datagram)
    cdef uint8_t *p = <uint8_t *>malloc(max(size, <size_t>1))
    memcpy(p, <const char *>datagram, size)
    try:
        found = table.take(address, <uint8_t[:size]>p if size else datagram, now_ms)
        if reference is not None:
            expected = reference.take(address, datagram, now_ms)
            assert found == (expected.outcome, expected.message, expected.given_up)
            assert table.due_ms == reference.due_ms
    finally:
        free(p)
    return 0


cdef public int fuzz_chunks(const uint8_t *data, size_t size) except -1:
    global now_ms
    cdef uint64_t received = table.received
    cdef unsigned int mix = <unsigned int>size
    cdef size_t i
    cdef int place
    for i in range(size):
        mix = mix * 31 + data[i]
    reference = chunks.Chunks() if (mix >> 8) % COMPARED == 0 else None
    for address, datagram, passed_ms in steps((<const char *>data)[:size]):
        now_ms += <uint64_t>passed_ms
        take(address, datagram, reference)
        received += 1
        assert table.waiting <= WAITING_MAX and table.waiting_bytes <= BLOCKS * <size_t>BLOCK_BYTES
        assert table.dropped_count == 0 and table.free_place_count + table.waiting == WAITING_MAX
    assert table.received == received
    now_ms += 3 * WAIT_MS  # what was overdue is remembered for as long again
    while True:
        place = table.overdue(now_ms)
        if place == NOTHING:
            break
        table.drop(place, 0)
        table.release()
    assert table.waiting == 0 and table.waiting_bytes == 0
    assert table.free_block_count == BLOCKS and table.free_place_count == WAITING_MAX
    return 0
