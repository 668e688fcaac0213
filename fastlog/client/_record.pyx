# cython: language_level=3, boundscheck=False, wraparound=False
"""A record of `logging` as an entry: most of what `Handler.emit` costs. Rare cases are left to `record_fields.py`.

There is no lock, and no state but the second that was written last, which is changed in one go under the GIL.
"""

from cpython.dict cimport PyDict_Next, PyDict_Size
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.math cimport floor
from libc.stdint cimport int64_t
from libc.string cimport memcpy
from posix.types cimport time_t

from fastlog._clock cimport SECOND_BYTES, SecondText, second_text

import logging
from time import time

from fastlog.client.level_names import level_of_record
from fastlog.client.record_fields import RESERVED, add_exceptions, add_fields, add_unformatted

cdef extern from "Python.h":
    PyObject *PyTuple_GET_ITEM(PyObject *items, Py_ssize_t index) noexcept

cdef enum:
    # The length of `2026-11-24T07:00:00.000000Z`.
    TIMESTAMP_BYTES = 27

cdef int64_t TIME_MAX = 253402300800  # the year 10000, which RFC 3339 cannot write, in seconds
cdef object LogRecord = logging.LogRecord
cdef dict LEVELS = {10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR", 50: "CRITICAL"}
# The attributes of a new record, in its own order. Any other attribute is an extra field, except those that formatters
# leave in the record.
cdef tuple ATTRIBUTES = tuple(vars(logging.makeLogRecord({})))
cdef frozenset NO_EXTRAS = frozenset((*ATTRIBUTES, "message", "asctime"))
cdef frozenset NOT_FREE = RESERVED

# Changed in one go, under the GIL.
cdef SecondText last_second
last_second.second = -1


def entry_of(record, tuple fields not None):
    """The entry for a record, without the fields that the client adds. `fields` has pairs: the name of a field, and the
    name of the record's attribute for it; an attribute that is missing or None makes no field.
    """
    cdef dict attributes = record.__dict__
    cdef object number = attributes.get("levelno")
    cdef object level = LEVELS.get(number) if type(number) is int else None
    cdef object name = attributes.get("levelname", level)
    cdef object message = attributes.get("msg"), args = attributes.get("args")
    cdef dict entry = {}
    cdef object value
    entry["timestamp"] = timestamp(attributes.get("created"))
    entry["level"] = level_of_record(number, name) if level is None else level
    entry["message"] = ""
    if name is not level and name != level:
        entry["level_name"] = name
    try:
        if type(record) is not LogRecord or type(message) is not str:
            message = record.getMessage()
        elif args:
            message = message % args
        entry["message"] = message
    except Exception as error:
        add_unformatted(entry, record, error)
    for pair in fields:
        value = attributes.get((<tuple>pair)[1])
        if value is not None:
            entry[(<tuple>pair)[0]] = value
    if args is None or attributes.get("exc_info") or attributes.get("exc_text") or attributes.get("stack_info"):
        add_exceptions(entry, record)
    if PyDict_Size(attributes) != len(ATTRIBUTES):
        add_extras(entry, attributes)
    return entry


cdef int add_extras(dict entry, dict attributes) except -1:
    cdef list rest = None
    cdef Py_ssize_t at = 0, number = 0, known = len(ATTRIBUTES)
    cdef PyObject *found
    cdef PyObject *inner
    # Both are held before anything else happens: other code may change the attributes as soon as it runs, and a new
    # list may start the garbage collector. `rest` has keys and values in turn.
    while PyDict_Next(attributes, &at, &found, &inner):
        number += 1
        if number <= known and found == PyTuple_GET_ITEM(<PyObject *>ATTRIBUTES, number - 1):
            continue
        key = <object>found
        value = <object>inner
        if type(key) is str:
            if key in NO_EXTRAS:
                continue
            if type(value) is not bytes and key not in entry and key not in NOT_FREE:
                entry[key] = value
                continue
        if rest is None:
            rest = []
        rest.append(key)
        rest.append(value)
    if rest is not None:
        add_fields(entry, zip(rest[::2], rest[1::2]))
    return 0


cdef double seconds_of(created) noexcept:
    """The time of a record that a program made itself: an integer, a Decimal, one of numpy; -1 if there is none."""
    try:
        return -1.0 if created is None else float(created)
    except Exception:
        return -1.0


cdef str timestamp(created):
    """Seconds since 1970 as RFC 3339 writes them, with microseconds; the present time if `created` is not a time."""
    cdef double seconds = created if type(created) is float else seconds_of(created)
    cdef char text[40]
    cdef time_t second
    cdef int64_t usec
    cdef int i
    if not 0 <= seconds < TIME_MAX:
        seconds = time()
    second = <time_t>floor(seconds)
    usec = <int64_t>((seconds - second) * 1e6 + 0.5)
    if usec == 1_000_000:
        second += 1
        usec = 0
    memcpy(text, second_text(&last_second, second), SECOND_BYTES)
    for i in range(TIMESTAMP_BYTES - 2, SECOND_BYTES - 1, -1):
        text[i] = <char>(c"0" + usec % 10)
        usec //= 10
    text[TIMESTAMP_BYTES - 1] = c"Z"
    return PyUnicode_DecodeASCII(text, TIMESTAMP_BYTES, NULL)
