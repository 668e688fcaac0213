# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The target of syslog's converter: any bytes behind a PRI become an entry. The message and its line are in heap blocks
of just their size, so that AddressSanitizer sees a byte too far on either side.
"""

from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from fastlog.inputs._receipt cimport converted_room
from fastlog.inputs._syslog cimport ZonePeriods, is_syslog, syslog_line

from fastlog.entry import LEVELS
from fastlog.inputs import syslog
from fastlog.inputs._syslog import __spec__ as syslog_spec
from fastlog.inputs.receipt import Receipt as ReferenceReceipt
from fastlog.inputs.zones import periods

assert syslog_spec.origin == "built-in"  # the instrumented one

include "converted.pxi"

cdef enum:
    # One message in so many is compared with the reference, which takes some hundred times as long.
    COMPARED = 64
    PRI_BYTES = 5

ZONE = "Europe/Berlin"
RECEIPT = ReferenceReceipt("2026-10-25T00:30:00.000000Z", "192.0.2.7:40000", "192.0.2.7")
PERIODS = periods(ZONE)

cdef ZonePeriods zone = ZonePeriods(ZONE)
cdef ZonePeriods no_zone = ZonePeriods("")
cdef Receipt receipt = received_at(1_792_888_200_000_000, b"2026-10-25T00:30:00.000000Z")


cdef int check_message(const uint8_t *p, size_t size, bint in_zone, bint compare) except -1:
    cdef uint8_t *line = <uint8_t *>malloc(converted_room(size))
    cdef Level level
    cdef size_t got
    try:
        got = syslog_line(p, p + size, &receipt, &zone.zone if in_zone else &no_zone.zone, line, &level)
        assert got <= converted_room(size)
        check_line(line, got, level)
        if compare:
            done = LEVELS[<int>level], (<const char *>line)[:got]
            assert syslog.decode((<const char *>p)[:size], RECEIPT, PERIODS if in_zone else None) == done
    finally:
        free(line)
    return 0


cdef public int fuzz_syslog(const uint8_t *data, size_t size) except -1:
    cdef unsigned int mix = <unsigned int>size
    cdef size_t i
    cdef uint8_t *given
    cdef bint compare
    for i in range(size):
        mix = mix * 31 + data[i]
    compare = (mix >> 8) % COMPARED == 0
    if is_syslog(data, data + size):
        check_message(data, size, mix & 1, compare)
        return 0
    given = <uint8_t *>malloc(size + PRI_BYTES)
    memcpy(given, b"<131>", PRI_BYTES)
    memcpy(given + PRI_BYTES, data, size)
    try:
        check_message(given, size + PRI_BYTES, mix & 1, compare)
    finally:
        free(given)
    return 0
