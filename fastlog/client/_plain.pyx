# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""What a caller passes, made safe to encode: a look at entries that need no copy, and a plain copy of the others.

Encoding reads lists and dicts in C. If Python code ran meanwhile, it could change them, and the encoder would read
memory that is gone. So `kind_of` finds the entries that are encoded without running Python code: it runs none itself,
allocates nothing, and knows the types by identity. Everything else is copied first. A container is copied in one go;
then Python code may run (`__str__`, properties, tzinfo), since only the copy is read from there on.

A copy takes bounded work, and has more values than any datagram holds.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.datetime cimport PyDate_CheckExact, PyDateTime_CheckExact, datetime_tzinfo, import_datetime
from cpython.dict cimport PyDict_Next, PyDict_Size, PyDict_Update
from cpython.list cimport PyList_Append
from cpython.object cimport PyObject, PyObject_Str

cimport cython

import dataclasses
import datetime
import enum
import itertools
import uuid
from collections.abc import Mapping
from decimal import Decimal

import msgspec

from fastlog._parse import scan
from fastlog.client.encode import OWN_SEQUENCE, TEXT_MAX_CHARACTERS, encode, failure_text, type_name
from fastlog.client.encode import text_of as python_text_of
from fastlog.client.encode import valid_text as python_valid_text
from fastlog.client.level_names import DEFAULT_LEVEL, USUAL_SPELLINGS, level_index, level_text
from fastlog.client.shorten import EXTRA_MIN_CHARS, cut_text
from fastlog.entry import MAX_DEPTH
from fastlog.limits import DATAGRAM_MAX_BYTES

cdef extern from "Python.h":
    ctypedef struct PyTypeObject
    PyObject *Py_None
    PyTypeObject *Py_TYPE(PyObject *value) noexcept
    bint PyBool_Check(PyObject *value) noexcept
    bint PyDict_CheckExact(PyObject *value) noexcept
    bint PyFloat_CheckExact(PyObject *value) noexcept
    bint PyList_CheckExact(PyObject *value) noexcept
    bint PyLong_CheckExact(PyObject *value) noexcept
    bint PyTuple_CheckExact(PyObject *value) noexcept
    bint PyUnicode_CheckExact(PyObject *value) noexcept
    Py_ssize_t PyList_GET_SIZE(PyObject *value) noexcept
    Py_ssize_t PyTuple_GET_SIZE(PyObject *value) noexcept
    Py_ssize_t PyUnicode_GET_LENGTH(PyObject *value) noexcept
    PyObject *PyList_GET_ITEM(PyObject *value, Py_ssize_t index) noexcept
    PyObject *PyTuple_GET_ITEM(PyObject *value, Py_ssize_t index) noexcept
    # The strings are exact ones: nothing can fail.
    int PyUnicode_Compare(PyObject *one, PyObject *other) noexcept
    unsigned int PyUnicode_MAX_CHAR_VALUE(PyObject *value) noexcept
    # Borrowed, or NULL without an exception: a class attribute, found without the metaclass, in a cache of Python.
    PyObject *_PyType_Lookup(PyTypeObject *kind, PyObject *name) noexcept
    bint PyType_IsSubtype(PyTypeObject *kind, PyTypeObject *other) noexcept
    long long PyLong_AsLongLongAndOverflow(PyObject *value, int *overflow) noexcept

cdef enum:
    # The first half of a surrogate pair. All characters before it are valid.
    FIRST_SURROGATE = 0xD800
    # Kept of each field, as `shorten` does.
    FIELD_LEAST_CHARACTERS = 64
    # Brackets open in a field's value; the entry's own bracket counts, too.
    DEPTH_MAX = 63
    # Characters of all values in an entry that is encoded as it is: twice what a datagram holds, so that the shortened
    # entry shows both ends of a long value. A value takes two more.
    PLAIN_ROOM_CHARACTERS = 131_014
    # Of a copy. A field may take half of what is left, so that those after a huge one have room as well.
    COPY_ROOM_CHARACTERS = 262_028
    # A field takes six bytes or more, as in `"a":1,`. No datagram holds more of them.
    FIELDS_MAX = 10_917
    # Of a key: nobody can read longer ones, and keys are not shortened later.
    KEY_MAX_CHARACTERS = 1_000
    # Of a text, to tell its size as UTF-8: takes less than a millisecond.
    MEASURED_MAX_CHARACTERS = 1_000_000
    # Of an integer that is sent as a number. Python writes no number of more than 4,300 digits.
    INTEGER_MAX_BITS = 14_000
    # A program may lower that limit to 640 digits.
    INTEGER_SURE_BITS = 2_000

assert FIELD_LEAST_CHARACTERS == EXTRA_MIN_CHARS
assert DEPTH_MAX == MAX_DEPTH - 1
assert PLAIN_ROOM_CHARACTERS == 2 * DATAGRAM_MAX_BYTES
assert FIELDS_MAX == DATAGRAM_MAX_BYTES // 6

import_datetime()

cdef str LEVEL = "level"
cdef str MESSAGE = "message"
cdef str SEQUENCE = "sequence"
cdef str TIMESTAMP = "timestamp"
cdef str HOST = "host"
cdef str APP = "app"
cdef tuple KNOWN_NAMES = (LEVEL, MESSAGE, SEQUENCE, TIMESTAMP, HOST, APP)
cdef object MISSING = object()
# Its text is made in C, from an integer in a slot. A Decimal is not plain: its text takes a context, and making that
# may start the garbage collector, which runs Python code.
cdef PyObject *UUID = <PyObject *>uuid.UUID
cdef PyObject *TIMEZONE = <PyObject *>datetime.timezone
# msgspec knows these, and no value among them holds another one.
cdef frozenset NATIVE = frozenset(
    (datetime.datetime, datetime.date, datetime.time, datetime.timedelta, uuid.UUID, Decimal)
)
cdef frozenset BINARY = frozenset((bytes, bytearray, memoryview))
cdef object Enum = enum.Enum, Struct = msgspec.Struct, Raw = msgspec.Raw, UNSET = msgspec.UNSET
cdef object to_builtins = msgspec.to_builtins, force_setattr = msgspec.structs.force_setattr
cdef object copy_struct = msgspec.Struct.__copy__, decode_raw = msgspec.json.Decoder(msgspec.Raw).decode
cdef object DATACLASS_FIELD = dataclasses._FIELD  # not a class variable, nor an argument of `__init__` alone
cdef bytes TO_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")
cdef object DateTime = datetime.datetime, islice = itertools.islice


cdef Kind kind_of(dict entry, Known *known) noexcept:
    cdef PyObject *key
    cdef PyObject *value
    cdef Py_ssize_t at = 0, room = PLAIN_ROOM_CHARACTERS
    cdef Kind kind = PLAIN
    known[0] = Known(NULL, NULL, NULL, NULL, NULL)
    while PyDict_Next(entry, &at, &key, &value):
        if not PyUnicode_CheckExact(key) or not note_known(key, value, known):
            return ODD
        if not is_plain_value(value, DEPTH_MAX, &room):
            kind = PLAIN_BUT_VALUES
        room -= PyUnicode_GET_LENGTH(key)
        if room < 0:
            return ODD
    return kind if known.level != NULL and known.message != NULL else ODD


cdef inline bint is_name(PyObject *key, str name) noexcept:
    return key == <PyObject *>name or PyUnicode_Compare(key, <PyObject *>name) == 0


cdef inline bint note_known(PyObject *key, PyObject *value, Known *known) noexcept:
    """Returns False for a field that fastlog knows, but not with this value."""
    cdef PyObject **place
    cdef Py_ssize_t size = PyUnicode_GET_LENGTH(key)
    if size == 5 and is_name(key, LEVEL):
        place = &known.level
    elif size == 7 and is_name(key, MESSAGE):
        place = &known.message
    elif size == 4 and is_name(key, HOST):
        place = &known.host
    elif size == 3 and is_name(key, APP):
        place = &known.app
    elif size == 9 and is_name(key, TIMESTAMP):
        place = &known.timestamp
    else:
        return size != 8 or not is_name(key, SEQUENCE)
    place[0] = value
    return PyUnicode_CheckExact(value)


cdef bint is_plain_value(PyObject *value, int depth, Py_ssize_t *room) noexcept:
    cdef int overflow = 0
    room[0] -= 2
    if room[0] < 0:
        return False
    if PyUnicode_CheckExact(value):
        room[0] -= PyUnicode_GET_LENGTH(value)
        return True
    if PyLong_CheckExact(value):
        PyLong_AsLongLongAndOverflow(value, &overflow)
        return not overflow
    if value == Py_None or PyFloat_CheckExact(value) or PyBool_Check(value):
        return True
    if PyDict_CheckExact(value) or PyList_CheckExact(value) or PyTuple_CheckExact(value):
        return depth > 0 and is_plain_container(value, depth - 1, room)
    if PyDateTime_CheckExact(<object>value):
        return is_plain_zone(datetime_tzinfo(<object>value))
    return PyDate_CheckExact(<object>value) or <PyObject *>Py_TYPE(value) == UUID


cdef bint is_plain_container(PyObject *value, int depth, Py_ssize_t *room) noexcept:
    cdef Py_ssize_t at = 0
    cdef PyObject *key
    cdef PyObject *inner
    if PyDict_CheckExact(value):
        while PyDict_Next(<object>value, &at, &key, &inner):
            if not PyUnicode_CheckExact(key) or not is_plain_value(inner, depth, room):
                return False
            room[0] -= PyUnicode_GET_LENGTH(key)
    elif PyList_CheckExact(value):
        for at in range(PyList_GET_SIZE(value)):
            if not is_plain_value(PyList_GET_ITEM(value, at), depth, room):
                return False
    else:
        for at in range(PyTuple_GET_SIZE(value)):
            if not is_plain_value(PyTuple_GET_ITEM(value, at), depth, room):
                return False
    return True


cdef inline bint is_plain_zone(zone) noexcept:
    return zone is None or <PyObject *>Py_TYPE(<PyObject *>zone) == TIMEZONE


@cython.final
@cython.no_gc
@cython.freelist(8)
cdef class PlainCopy:
    """A copy of any entry. `write` makes it; before that, only its level is known. Raises nothing but MemoryError and
    what is no Exception, such as KeyboardInterrupt."""

    def __init__(self, dict entry not None, Kind kind=ODD):
        self.kind = kind
        if kind == ODD:
            self.take(entry)
        else:
            self.fields = {}
            PyDict_Update(self.fields, entry)
        level = self.fields.get(LEVEL)
        found = USUAL_SPELLINGS.get(level) if type(level) is str else None
        self.level_field = level_text(level) if found is None else level
        self.level = level_index(self.level_field) if found is None else found

    cdef int take(self, dict entry) except -1:
        cdef dict fields = {LEVEL: DEFAULT_LEVEL, MESSAGE: ""}
        cdef list flat = pairs_of(entry, FIELDS_MAX)
        cdef Py_ssize_t at
        cdef Py_ssize_t left_out = PyDict_Size(entry) - len(flat) // 2
        for at in range(0, len(flat), 2):
            fields[self.key(flat[at])] = flat[at + 1]
        if left_out > 0:
            self.fields_left_out += left_out - add_known(fields, entry, flat[::2])
        if SEQUENCE in fields:
            fields[OWN_SEQUENCE] = fields.pop(SEQUENCE)
        self.fields = fields
        return 0

    cpdef bytes write(self):
        """The copy as JSON, which the server accepts. Sets the attributes that the entry's level does not have."""
        cdef bytes body
        while True:
            body = self.attempt()
            if body is not None:
                return body
            # A string has half a surrogate pair, or msgspec cannot encode a Struct: what was copied is copied again.
            self.is_strict = self.kind == ODD
            self.kind = ODD
            self.take(self.entry)

    cdef bytes attempt(self):
        cdef bytes body
        self.copy()
        try:
            body = encode(self.entry)
        except (TypeError, ValueError, OverflowError, RecursionError):
            if self.is_strict:
                raise
            return None
        return None if self.doubtful and not self.is_strict and not is_accepted(body) else body

    cdef int copy(self) except -1:
        cdef Py_ssize_t left = COPY_ROOM_CHARACTERS
        cdef dict fields = self.fields
        if self.kind == ODD:
            self.entry, self.characters_left_out, self.bytes_left_out = {}, None, 0
        else:
            self.entry = fields
        for name, value in fields.items():
            self.room = max(left // 2, FIELD_LEAST_CHARACTERS)
            left -= self.room
            if self.kind == ODD:
                self.add(name, value)
            elif not is_plain_value(<PyObject *>value, 0, &self.room):
                self.entry[name] = self.plain(value, DEPTH_MAX)
            left += max(self.room, 0)
        return 0

    cdef int add(self, str name, value) except -1:
        cdef str text
        cdef Py_ssize_t most
        if name == LEVEL:
            value = self.level_field
        elif name == MESSAGE:
            value = text_of(value)
        elif name == TIMESTAMP or name == HOST or name == APP:
            if value is None:
                return 0
            value = text_of(value)
        if type(value) is not str:
            self.entry[name] = self.plain(value, DEPTH_MAX)
            return 0
        # `shorten` cuts it further, and says how much is gone.
        text, most = value, self.room
        if len(text) > most:
            if self.characters_left_out is None:
                self.characters_left_out = {}
            self.characters_left_out[name] = len(text) - most
            self.bytes_left_out += utf8_size(text, most - most // 2, len(text) - most // 2)
            text = text[: most - most // 2] + text[len(text) - most // 2 :]
        self.room -= len(text)
        self.entry[name] = valid_text(text)
        return 0

    cdef object plain(self, value, int depth):
        cdef object kind = type(value)
        cdef Py_ssize_t enough = 2
        self.room -= 2
        if kind is str:
            return self.short(value)
        if is_plain_value(<PyObject *>value, 0, &enough):
            return value
        if kind is int:
            return number(value)
        if isinstance(value, dict):
            if depth <= 0:
                return too_deep(kind, PyDict_Size(value))
            return self.mapping(pairs_of(value, self.most()), PyDict_Size(value), depth)
        if isinstance(value, (list, tuple)):
            if depth <= 0:
                return too_deep(kind, held_by(value))
            return self.sequence(items_of(value, self.most()), held_by(value), depth)
        try:
            if kind in NATIVE:
                return to_builtins(value)
            if kind in BINARY:
                return self.binary(value)
            return self.taken_apart(value, kind, depth)
        except MemoryError:
            raise
        except Exception:
            return self.short(text_of(value))

    cdef object taken_apart(self, value, kind, int depth):
        """What msgspec would make of it, if msgspec could be interrupted: fields, items or the value; else its text."""
        if kind is set or kind is frozenset:
            return self.any_set(value, len(value), kind, depth)
        if isinstance(value, set):
            return self.any_set(set.__iter__(value), set.__len__(value), kind, depth)
        if isinstance(value, frozenset):
            return self.any_set(frozenset.__iter__(value), frozenset.__len__(value), kind, depth)
        if is_subtype(kind, Enum):
            return self.plain(value._value_, depth - 1) if depth > 0 else self.short(text_of(value))
        if isinstance(value, str):
            return self.short(text_of(value))
        if isinstance(value, int):
            return number(int.__index__(value))
        if isinstance(value, float):
            return float.__float__(value)
        if is_subtype(kind, Struct):
            return self.short(text_of(value)) if self.is_strict or depth <= 0 else self.struct(value, depth)
        names = names_of_fields(kind)
        if names is not None:
            return self.fields_of(names, value, depth)
        if is_subtype(kind, DateTime):  # pandas' NaT is one, too, and is not a time
            return self.short(text_of(iso_text(value))) if value == value else None
        if kind is Raw:
            return self.raw(value, depth)
        if has(kind, "__getitem__") and issubclass(kind, Mapping):
            return self.any_mapping(value, depth)
        if has(kind, "dtype") and kind.__module__ == "numpy" and value.ndim == 0 and value.dtype.kind in "biuf":
            item = value.item()
            return item if type(item) in (bool, int, float) else self.short(text_of(value))
        return self.short(text_of(value))

    cdef object any_set(self, items, Py_ssize_t size, kind, int depth):
        if depth <= 0:
            return too_deep(kind, size)
        return self.sequence(list(items if size <= self.most() else islice(items, self.most())), size, depth)

    cdef object sequence(self, list items, Py_ssize_t size, int depth):
        cdef list plain = []
        for item in items:
            if self.room <= 0:
                break
            plain.append(self.plain(item, depth - 1))
        if len(plain) < size:
            plain.append(f"… {size - len(plain)} values left out")
        return plain

    cdef object mapping(self, list flat, Py_ssize_t size, int depth):
        cdef dict plain = {}
        cdef Py_ssize_t at = 0
        while at < len(flat) and self.room > 0:
            name = self.key(flat[at])
            self.room -= len(name)
            plain[name] = self.plain(flat[at + 1], depth - 1)
            at += 2
        if at // 2 < size:
            plain["…"] = f"{size - at // 2} fields left out"
        return plain

    cdef object any_mapping(self, value, int depth):
        """Read while it is copied, since only its own code reads it; it may have no end."""
        cdef dict plain = {}
        cdef Py_ssize_t number = 0, size = len(value)
        if depth <= 0:
            return too_deep(type(value), size)
        for key, inner in value.items():
            if self.room <= 0:
                plain["…"] = f"{max(size - number, 1)} fields left out"
                break
            name = self.key(key)
            self.room -= len(name)
            plain[name] = self.plain(inner, depth - 1)
            number += 1
        return plain

    cdef object fields_of(self, list names, value, int depth):
        """The fields of a dataclass, or of one that attrs has made, as far as they are set."""
        cdef list flat = []
        if depth <= 0:
            return too_deep(type(value), len(names))
        for name in names:
            inner = getattr(value, name, MISSING)
            if inner is not MISSING:
                flat.append(name)
                flat.append(inner)
        return self.mapping(flat, len(flat) // 2, depth)

    cdef object struct(self, value, int depth):
        """A copy that nobody else holds, with plain values. msgspec alone knows the names that its fields get."""
        cdef object copied = copy_struct(value)
        self.doubtful = True
        for name in type(value).__struct_fields__:
            inner = getattr(copied, name, UNSET)
            if inner is not UNSET:
                force_setattr(copied, name, self.plain(inner, depth - 1))
        return copied

    cdef object raw(self, value, int depth):
        """JSON that is one value, valid, and in one line; else its text."""
        cdef bytes json = bytes(value)
        if len(json) <= self.room and json.count(b"[") + json.count(b"{") <= depth:
            try:
                json = bytes(decode_raw(json)).translate(TO_ONE_LINE)
                if is_accepted(b'{"level":"","message":"","":' + json + b"}"):
                    self.room -= len(json)
                    return Raw(json)
            except ValueError:
                pass
        return self.short(text_of(json))

    cdef object binary(self, value):
        """Holds no buffer while other code may run, which could not resize it."""
        cdef Py_ssize_t size, most = max(self.room, FIELD_LEAST_CHARACTERS)
        cdef bytes data
        if type(value) is memoryview:
            size = value.nbytes
            if size > most:
                return self.short(f"<memoryview of {size} bytes>")
            data = bytes(value)
        elif type(value) is bytearray:
            size = PyByteArray_GET_SIZE(value)
            data = PyBytes_FromStringAndSize(PyByteArray_AS_STRING(value), min(size, most))
        else:
            size = len(<bytes>value)
            data = (<bytes>value)[:most]
        self.room -= len(data)
        text = to_builtins(data)
        return text if size <= most else f"{text} … {size - most} bytes left out"

    cdef str short(self, str text):
        cdef Py_ssize_t most = max(self.room, FIELD_LEAST_CHARACTERS)
        if len(text) > most:
            text = cut_text(text, most)
        self.room -= len(text)
        return valid_text(text)

    cdef str key(self, key):
        cdef object kind = type(key)
        cdef str text
        if kind is str and len(<str>key) <= KEY_MAX_CHARACTERS:
            return valid_text(key)
        try:
            if kind in NATIVE:
                key = to_builtins(key)
            elif kind is not str and is_subtype(kind, Enum):
                key = key._value_
        except Exception:  # its text says more, or reports the failure
            pass
        text = key if type(key) is str else text_of(key)
        return valid_text(text if len(text) <= KEY_MAX_CHARACTERS else cut_text(text, KEY_MAX_CHARACTERS))

    cdef Py_ssize_t most(self) noexcept:
        """How many values of a container may be looked at: each takes room for two characters or more."""
        return max(self.room, 0) // 2 + 1


# These two run no Python code between their first look at a container and the last one.


cdef list pairs_of(values, Py_ssize_t most):
    """Keys and values of a dict in turn; of a subclass, those that it holds."""
    cdef list flat = []
    cdef Py_ssize_t at = 0
    cdef PyObject *key
    cdef PyObject *value
    while most > 0 and PyDict_Next(values, &at, &key, &value):
        PyList_Append(flat, <object>key)
        PyList_Append(flat, <object>value)
        most -= 1
    return flat


cdef list items_of(values, Py_ssize_t most):
    """The items of a list or tuple; of a subclass, those that it holds."""
    cdef list items = []
    cdef Py_ssize_t at = 0
    while at < most and at < held_by(values):
        if isinstance(values, list):
            PyList_Append(items, <object>PyList_GET_ITEM(<PyObject *>values, at))
        else:
            PyList_Append(items, <object>PyTuple_GET_ITEM(<PyObject *>values, at))
        at += 1
    return items


cdef Py_ssize_t held_by(values) noexcept:
    """The size of a list or tuple, whatever the `__len__` of a subclass says."""
    if isinstance(values, list):
        return PyList_GET_SIZE(<PyObject *>values)
    return PyTuple_GET_SIZE(<PyObject *>values)


cdef int add_known(dict fields, dict entry, list first) except -1:
    """The known fields, if they are not among the first. Returns their number."""
    cdef int added = 0
    for name in KNOWN_NAMES:
        try:
            value = entry.get(name, MISSING)
        except Exception:  # it has a key that fails when it is compared
            continue
        if value is not MISSING:
            added += name not in first
            fields[name] = value
    return added


cdef Py_ssize_t utf8_size(str text, Py_ssize_t start, Py_ssize_t end) except -1:
    """Of a part of a text. Of a very large part, the least."""
    if end - start > MEASURED_MAX_CHARACTERS:
        return end - start
    return len(text[start:end].encode("utf-8", "surrogatepass"))


cdef object number(value):
    """An integer, or a note if Python would not write it."""
    cdef Py_ssize_t bits = value.bit_length()
    if bits > INTEGER_SURE_BITS:
        try:
            if bits > INTEGER_MAX_BITS:
                raise ValueError
            str(value)
        except ValueError:
            return f"<int of {bits} bits>"
    return value


cdef str too_deep(kind, Py_ssize_t size):
    return f"<{type_name(kind)} of {size} values, nested too deep>"


cdef str iso_text(value):
    """A date and time of a subclass, as msgspec writes those of the class itself."""
    cdef str text = text_of(value.isoformat())
    return f"{text[:len(text) - 6]}Z" if text.endswith("+00:00") else text


cdef list names_of_fields(kind):
    """Of a dataclass or of one that attrs has made: the names that msgspec encodes; else None."""
    if has(kind, "__dataclass_fields__"):
        return [n for n, field in kind.__dataclass_fields__.items() if field._field_type is DATACLASS_FIELD]
    if has(kind, "__attrs_attrs__"):
        return [field.name for field in kind.__attrs_attrs__ if not field.name.startswith("_")]
    return None


cdef inline bint has(kind, str name) noexcept:
    """Whether a class has an attribute."""
    return _PyType_Lookup(<PyTypeObject *>kind, <PyObject *>name) != NULL


cdef inline bint is_subtype(kind, other) noexcept:
    """Like `issubclass`, but asks no metaclass."""
    return PyType_IsSubtype(<PyTypeObject *>kind, <PyTypeObject *>other)


cdef inline str valid_text(str text):
    if PyUnicode_MAX_CHAR_VALUE(<PyObject *>text) < FIRST_SURROGATE:
        return text
    return python_valid_text(text)


cdef str text_of(value):
    """As in `encode.py`."""
    if type(value) is str:
        return valid_text(value)
    if isinstance(value, (bytes, bytearray)):
        return python_text_of(value)
    try:
        text = PyObject_Str(value)
    except Exception as error:
        return failure_text(value, error)
    if type(text) is not str or len(text) > TEXT_MAX_CHARACTERS:
        return python_text_of(text)[:TEXT_MAX_CHARACTERS]
    return valid_text(text)


cdef bint is_accepted(bytes body) except -1:
    """Whether the server accepts it, as one entry."""
    cdef list found = scan(body)
    return len(found) == 1 and found[0][0] is None and found[0][4] == len(body)
