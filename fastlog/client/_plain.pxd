# Entries that hold plain values only, and copies of the others.

from cpython.object cimport PyObject

# The fields of an entry that fastlog knows: borrowed, so they are gone when other code has run. NULL: the entry has no
# such field.
cdef struct Known:
    PyObject *level
    PyObject *message
    PyObject *timestamp
    PyObject *host
    PyObject *app

# What has to be copied of an entry before it is encoded: nothing; its values, since some of them are not plain; or all
# of it.
cdef enum Kind:
    PLAIN
    PLAIN_BUT_VALUES
    ODD

# Unless the entry is ODD, the known fields are strings, and `level` and `message` are there.
cdef Kind kind_of(dict entry, Known *known) noexcept

# A copy of an entry, with plain values that nobody else holds.
cdef class PlainCopy:
    # The index of the entry's level in entry.LEVELS, and its text.
    cdef readonly unsigned int level
    cdef readonly str level_field
    # The fields as they were passed.
    cdef Kind kind
    cdef dict fields
    # The copy.
    cdef readonly dict entry
    # How many characters were left out in the middle of a field, by its name; their bytes in all; and how many fields
    # were left out.
    cdef readonly dict characters_left_out
    cdef readonly Py_ssize_t bytes_left_out
    cdef readonly Py_ssize_t fields_left_out
    # How many characters the field that is being copied may still take.
    cdef Py_ssize_t room
    # Whether the copy holds what msgspec alone can check; whether that is to become text.
    cdef bint doubtful
    cdef bint is_strict

    cdef int take(self, dict entry) except -1
    cpdef bytes write(self)
    # None if msgspec cannot encode the copy.
    cdef bytes attempt(self)
    cdef int copy(self) except -1
    cdef int add(self, str name, value) except -1
    # Plain forms of one value, in which `depth` more brackets may open.
    cdef object plain(self, value, int depth)
    cdef object taken_apart(self, value, kind, int depth)
    cdef object any_set(self, items, Py_ssize_t size, kind, int depth)
    cdef object sequence(self, list items, Py_ssize_t size, int depth)
    cdef object mapping(self, list flat, Py_ssize_t size, int depth)
    cdef object any_mapping(self, value, int depth)
    cdef object fields_of(self, list names, value, int depth)
    cdef object struct(self, value, int depth)
    cdef object raw(self, value, int depth)
    cdef object binary(self, value)
    cdef str short(self, str text)
    cdef str key(self, key)
    cdef Py_ssize_t most(self) noexcept
