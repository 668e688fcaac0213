"""What `_plain.pyx` does, in Python: a look at entries that are encoded as they are, and a plain copy of the others.

While Python code looks at a list or dict, other threads may change it. So an entry is copied before the look, and so is
each list and dict in it, in one go, before it is encoded.
"""

import dataclasses
import datetime
import enum
import uuid
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from itertools import islice
from typing import Any

import msgspec

from fastlog.client.encode import OWN_SEQUENCE, encode, text_of, type_name, valid_text
from fastlog.client.level_names import DEFAULT_LEVEL, USUAL_SPELLINGS, level_index, level_text
from fastlog.client.shorten import EXTRA_MIN_CHARS, cut_text
from fastlog.entry import MAX_DEPTH, decode
from fastlog.limits import DATAGRAM_MAX_BYTES

# As in _plain.pyx, which explains them.
PLAIN, PLAIN_BUT_VALUES, ODD = range(3)
FIELD_LEAST_CHARACTERS = EXTRA_MIN_CHARS
DEPTH_MAX = MAX_DEPTH - 1
PLAIN_ROOM_CHARACTERS = 2 * DATAGRAM_MAX_BYTES
COPY_ROOM_CHARACTERS = 4 * DATAGRAM_MAX_BYTES
FIELDS_MAX = DATAGRAM_MAX_BYTES // 6
KEY_MAX_CHARACTERS = 1_000
MEASURED_MAX_CHARACTERS = 1_000_000
INTEGER_MAX_BITS = 14_000
INTEGER_SURE_BITS = 2_000

COPY_TRIES = 3  # of a dict that other threads change all the time
INT64_END = 1 << 63

_KNOWN = {"level": 0, "message": 0, "sequence": 0, "timestamp": 1, "host": 2, "app": 4}  # and their flags in `present`
_ATOMS = frozenset((type(None), float, bool, datetime.date, uuid.UUID))  # plain, whatever their value
_CONTAINERS = frozenset((dict, list, tuple))
# msgspec knows these, and no value among them holds another one.
_NATIVE = frozenset((datetime.datetime, datetime.date, datetime.time, datetime.timedelta, uuid.UUID, Decimal))
_BINARY = frozenset((bytes, bytearray, memoryview))
_TO_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")
_DATACLASS_FIELD = dataclasses._FIELD  # type: ignore[attr-defined] # not a class variable, nor one for `__init__` alone
_MISSING = object()
_decode_raw = msgspec.json.Decoder(msgspec.Raw).decode
# Found without the metaclass, which could run any code.
_mro: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
_attributes: Callable[[type], Mapping[str, Any]] = type.__dict__["__dict__"].__get__


def scan(datagram: bytes, takes_gelf: bool = False) -> list[tuple[Any, ...]]:
    """What `_parse.scan` returns, by the reference decoder."""
    return [msgspec.structs.astuple(piece) for piece in decode(bytes(datagram), takes_gelf)]


class Known:
    """What `kind_of` finds in an entry that is not ODD."""

    __slots__ = ("has_containers", "level", "present")

    def __init__(self, level: str, present: int, has_containers: bool) -> None:
        self.level = level
        self.present = present
        self.has_containers = has_containers


class _Room:
    __slots__ = ("room",)

    def __init__(self, room: int) -> None:
        self.room = room


_NOTHING_KNOWN = Known("", 0, False)


def kind_of(entry: dict[str, object]) -> tuple[dict[str, object], int, Known]:
    """A copy of the entry; what has to be copied of it before it is encoded; and what is known of it."""
    if len(entry) > PLAIN_ROOM_CHARACTERS // 2:
        return entry, ODD, _NOTHING_KNOWN
    fields = entry.copy()
    kind, present, has_containers = PLAIN, 0, False
    left = _Room(PLAIN_ROOM_CHARACTERS)
    for name, value in fields.items():
        if type(name) is not str:
            return fields, ODD, _NOTHING_KNOWN
        if name in _KNOWN:
            if type(value) is not str or name == "sequence":
                return fields, ODD, _NOTHING_KNOWN
            present |= _KNOWN[name]
        if type(value) is str:
            left.room -= len(value) + 2
        elif not _is_plain_value(value, DEPTH_MAX, left):
            kind = PLAIN_BUT_VALUES
        elif type(value) in _CONTAINERS:
            has_containers = True
        left.room -= len(name)
        if left.room < 0:
            return fields, ODD, _NOTHING_KNOWN
    level = fields.get("level")
    if type(level) is not str or "message" not in fields:
        return fields, ODD, _NOTHING_KNOWN
    return fields, kind, Known(level, present, has_containers)


def _is_plain_value(value: Any, depth: int, left: "_Room | PlainCopy") -> bool:
    kind: type = type(value)
    left.room -= 2
    if left.room < 0:
        return False
    if kind is str:
        left.room -= len(value)
        return True
    if kind is int:
        return bool(-INT64_END <= value < INT64_END)
    if kind in _ATOMS:
        return True
    if kind in _CONTAINERS:
        return depth > 0 and _is_plain_container(value, depth - 1, left)
    return kind is datetime.datetime and (value.tzinfo is None or type(value.tzinfo) is datetime.timezone)


def _is_plain_container(value: Any, depth: int, left: "_Room | PlainCopy") -> bool:
    if type(value) is dict:
        try:
            for key, inner in value.items():
                if type(key) is not str or not _is_plain_value(inner, depth, left):
                    return False
                left.room -= len(key)
        except RuntimeError:  # another thread changes it
            return False
        return True
    return all(_is_plain_value(inner, depth, left) for inner in value)


class PlainCopy:
    """A copy of any entry. `write` makes it; before that, only its level is known. Raises nothing but MemoryError and
    what is no Exception, such as KeyboardInterrupt."""

    def __init__(self, entry: dict[str, object], kind: int = ODD) -> None:
        self.kind = kind
        self.entry: dict[str, object] = {}
        self.characters_left_out: dict[str, int] | None = None
        self.bytes_left_out = self.fields_left_out = 0
        self.room = 0  # characters that the field that is being copied may still take
        self._is_doubtful = False  # the copy holds what msgspec alone can check
        self._is_strict = False  # that is to become text
        if kind == ODD:
            self._take(entry)
        else:
            self._fields = entry.copy()
        level = self._fields.get("level")
        found = USUAL_SPELLINGS.get(level) if type(level) is str else None
        self.level_field: str = level_text(level) if found is None else level  # type: ignore[assignment]
        self.level: int = level_index(self.level_field) if found is None else found

    def _take(self, entry: dict[Any, object]) -> None:
        fields: dict[str, object] = {"level": DEFAULT_LEVEL, "message": ""}
        pairs = _pairs_of(entry, FIELDS_MAX)
        left_out = len(entry) - len(pairs)
        for key, value in pairs:
            fields[self._key(key)] = value
        if left_out > 0:
            self.fields_left_out += left_out - _add_known(fields, entry, [key for key, _ in pairs])
        if "sequence" in fields:
            fields[OWN_SEQUENCE] = fields.pop("sequence")
        self._fields = fields

    def write(self) -> bytes:
        """The copy as JSON, which the server accepts. Sets the attributes that the entry's level does not have."""
        while True:
            body = self._attempt()
            if body is not None:
                return body
            # A string has half a surrogate pair, or msgspec cannot encode a Struct: what was copied is copied again.
            self._is_strict = self.kind == ODD
            self.kind = ODD
            self._take(self.entry)

    def _attempt(self) -> bytes | None:
        self._copy()
        try:
            body = encode(self.entry)
        except (TypeError, ValueError, OverflowError, RecursionError):
            if self._is_strict:
                raise
            return None
        return None if self._is_doubtful and not self._is_strict and not _is_accepted(body) else body

    def _copy(self) -> None:
        left = COPY_ROOM_CHARACTERS
        fields = self._fields
        if self.kind == ODD:
            self.entry, self.characters_left_out, self.bytes_left_out = {}, None, 0
        else:
            self.entry = fields
        for name, value in fields.items():
            self.room = max(left // 2, FIELD_LEAST_CHARACTERS)
            left -= self.room
            if self.kind == ODD:
                self._add(name, value)
            elif not _is_plain_value(value, 0, self):
                self.entry[name] = self._plain(value, DEPTH_MAX)
            left += max(self.room, 0)

    def _add(self, name: str, value: Any) -> None:
        if name == "level":
            value = self.level_field
        elif name == "message":
            value = text_of(value)
        elif name in ("timestamp", "host", "app"):
            if value is None:
                return
            value = text_of(value)
        if type(value) is not str:
            self.entry[name] = self._plain(value, DEPTH_MAX)
            return
        # `shorten` cuts it further, and says how much is gone.
        text, most = value, self.room
        if len(text) > most:
            if self.characters_left_out is None:
                self.characters_left_out = {}
            self.characters_left_out[name] = len(text) - most
            self.bytes_left_out += _utf8_size(text, most - most // 2, len(text) - most // 2)
            text = text[: most - most // 2] + text[len(text) - most // 2 :]
        self.room -= len(text)
        self.entry[name] = valid_text(text)

    def _plain(self, value: Any, depth: int) -> object:  # noqa: PLR0911 - one for each kind of value
        """The plain form of one value, in which `depth` more brackets may open."""
        kind = type(value)
        self.room -= 2
        if kind is str:
            return self._short(value)
        if _is_plain_value(value, 0, _Room(2)):
            return value
        if kind is int:
            return _number(value)
        if issubclass(kind, dict):
            size = dict.__len__(value)
            return _too_deep(kind, size) if depth <= 0 else self._mapping(_pairs_of(value, self._most), size, depth)
        for sequence in (list, tuple):
            if issubclass(kind, sequence):
                size = sequence.__len__(value)
                if depth <= 0:
                    return _too_deep(kind, size)
                # Of a subclass, those that it holds, whatever its own methods say.
                return self._sequence(sequence.__getitem__(value, slice(self._most)), size, depth)
        try:
            if kind in _NATIVE:
                return msgspec.to_builtins(value)
            if kind in _BINARY:
                return self._binary(value)
            return self._taken_apart(value, kind, depth)
        except MemoryError:
            raise
        except Exception:
            return self._short(text_of(value))

    def _taken_apart(self, value: Any, kind: type, depth: int) -> object:  # noqa: PLR0911 - one for each kind of value
        """What msgspec would make of it, if msgspec could be interrupted: fields, items or the value; else its text."""
        for set_type in (set, frozenset):
            if issubclass(kind, set_type):
                return self._any_set(set_type.__iter__(value), set_type.__len__(value), kind, depth)
        if issubclass(kind, enum.Enum):
            return self._plain(value._value_, depth - 1) if depth > 0 else self._short(text_of(value))
        if issubclass(kind, str):
            return self._short(text_of(value))
        if issubclass(kind, int):
            return _number(int.__index__(value))
        if issubclass(kind, float):
            return float.__float__(value)
        if issubclass(kind, msgspec.Struct):
            return self._short(text_of(value)) if self._is_strict or depth <= 0 else self._struct(value, depth)
        names = _names_of_fields(kind)
        if names is not None:
            return self._fields_of(names, value, depth)
        if issubclass(kind, datetime.datetime):  # pandas' NaT is one, too, and is not a time
            return self._short(text_of(_iso_text(value))) if value == value else None
        if kind is msgspec.Raw:
            return self._raw(value, depth)
        if _has(kind, "__getitem__") and issubclass(kind, Mapping):
            return self._any_mapping(value, depth)
        if _has(kind, "dtype") and kind.__module__ == "numpy" and value.ndim == 0 and value.dtype.kind in "biuf":
            item = value.item()
            return item if type(item) in (bool, int, float) else self._short(text_of(value))
        return self._short(text_of(value))

    def _any_set(self, items: Iterable[object], size: int, kind: type, depth: int) -> object:
        if depth <= 0:
            return _too_deep(kind, size)
        return self._sequence(list(islice(items, self._most)), size, depth)

    def _sequence(self, items: Iterable[object], size: int, depth: int) -> list[object]:
        plain: list[object] = []
        for item in items:
            if self.room <= 0:
                break
            plain.append(self._plain(item, depth - 1))
        if len(plain) < size:
            plain.append(f"… {size - len(plain)} values left out")
        return plain

    def _mapping(self, pairs: list[tuple[Any, object]], size: int, depth: int) -> dict[str, object]:
        plain: dict[str, object] = {}
        left_out = size
        for key, inner in pairs:
            if self.room <= 0:
                break
            name = self._key(key)
            self.room -= len(name)
            plain[name] = self._plain(inner, depth - 1)
            left_out -= 1
        if left_out > 0:
            plain["…"] = f"{left_out} fields left out"
        return plain

    def _any_mapping(self, value: Mapping[Any, object], depth: int) -> object:
        """Read while it is copied, since only its own code reads it; it may have no end."""
        size = len(value)
        if depth <= 0:
            return _too_deep(type(value), size)
        plain: dict[str, object] = {}
        for number, (key, inner) in enumerate(value.items()):
            if self.room <= 0:
                plain["…"] = f"{max(size - number, 1)} fields left out"
                break
            name = self._key(key)
            self.room -= len(name)
            plain[name] = self._plain(inner, depth - 1)
        return plain

    def _fields_of(self, names: list[str], value: object, depth: int) -> object:
        """The fields of a dataclass, or of one that attrs has made, as far as they are set."""
        if depth <= 0:
            return _too_deep(type(value), len(names))
        found = [(name, getattr(value, name, _MISSING)) for name in names]
        pairs = [(name, inner) for name, inner in found if inner is not _MISSING]
        return self._mapping(pairs, len(pairs), depth)

    def _struct(self, value: msgspec.Struct, depth: int) -> object:
        """A copy that nobody else holds, with plain values. msgspec alone knows the names that its fields get."""
        copied = msgspec.Struct.__copy__(value)  # type: ignore[attr-defined]
        self._is_doubtful = True
        for name in type(value).__struct_fields__:
            inner = getattr(copied, name, msgspec.UNSET)
            if inner is not msgspec.UNSET:
                msgspec.structs.force_setattr(copied, name, self._plain(inner, depth - 1))
        return copied

    def _raw(self, value: msgspec.Raw, depth: int) -> object:
        """JSON that is one value, valid, and in one line; else its text."""
        json = bytes(value)
        if len(json) <= self.room and json.count(b"[") + json.count(b"{") <= depth:
            try:
                json = bytes(_decode_raw(json)).translate(_TO_ONE_LINE)
                if _is_accepted(b'{"level":"","message":"","":' + json + b"}"):
                    self.room -= len(json)
                    return msgspec.Raw(json)
            except ValueError:
                pass
        return self._short(text_of(json))

    def _binary(self, value: bytes | bytearray | memoryview) -> str:
        """Holds no buffer while other code may run, which could not resize it."""
        most = max(self.room, FIELD_LEAST_CHARACTERS)
        if type(value) is memoryview:
            size = value.nbytes
            if size > most:
                return self._short(f"<memoryview of {size} bytes>")
            data = bytes(value)
        else:
            size = len(value)
            data = bytes(value[:most])
        self.room -= len(data)
        text: str = msgspec.to_builtins(data)
        return text if size <= most else f"{text} … {size - most} bytes left out"

    def _short(self, text: str) -> str:
        most = max(self.room, FIELD_LEAST_CHARACTERS)
        if len(text) > most:
            text = cut_text(text, most)
        self.room -= len(text)
        return valid_text(text)

    def _key(self, key: Any) -> str:
        kind = type(key)
        if kind is str and len(key) <= KEY_MAX_CHARACTERS:
            return valid_text(key)
        try:
            if kind in _NATIVE:
                key = msgspec.to_builtins(key)
            elif kind is not str and issubclass(kind, enum.Enum):
                key = key._value_
        except Exception:  # noqa: S110 - its text says more, or reports the failure
            pass
        text = key if type(key) is str else text_of(key)
        return valid_text(text if len(text) <= KEY_MAX_CHARACTERS else cut_text(text, KEY_MAX_CHARACTERS))

    @property
    def _most(self) -> int:
        """How many values of a container may be looked at: each takes room for two characters or more."""
        return max(self.room, 0) // 2 + 1


def _pairs_of(values: dict[Any, object], most: int) -> list[tuple[Any, object]]:
    """Keys and values of a dict; of a subclass, those that it holds."""
    for _ in range(COPY_TRIES):
        try:
            return list(islice(dict.items(values), most))
        except RuntimeError:  # the garbage collector has run code that changes it
            pass
    return list(dict.copy(values).items())[:most]


def _add_known(fields: dict[str, object], entry: dict[str, object], first: list[object]) -> int:
    """The known fields, if they are not among the first. Returns their number."""
    added = 0
    for name in _KNOWN:
        try:
            value = entry.get(name, _MISSING)
        except Exception:  # noqa: S112 - it has a key that fails when it is compared
            continue
        if value is not _MISSING:
            added += name not in first
            fields[name] = value
    return added


def _utf8_size(text: str, start: int, end: int) -> int:
    """Of a part of a text. Of a very large part, the least."""
    if end - start > MEASURED_MAX_CHARACTERS:
        return end - start
    return len(text[start:end].encode("utf-8", "surrogatepass"))


def _number(value: int) -> int | str:
    """An integer, or a note if Python would not write it."""
    bits = value.bit_length()
    if bits > INTEGER_SURE_BITS:
        try:
            if bits <= INTEGER_MAX_BITS:
                str(value)
                return value
        except ValueError:
            pass
        return f"<int of {bits} bits>"
    return value


def _too_deep(kind: type, size: int) -> str:
    return f"<{type_name(kind)} of {size} values, nested too deep>"


def _iso_text(value: datetime.datetime) -> str:
    """A date and time of a subclass, as msgspec writes those of the class itself."""
    text = text_of(value.isoformat())
    return f"{text[: len(text) - 6]}Z" if text.endswith("+00:00") else text


def _names_of_fields(kind: Any) -> list[str] | None:
    """Of a dataclass or of one that attrs has made: the names that msgspec encodes; else None."""
    if _has(kind, "__dataclass_fields__"):
        return [n for n, field in kind.__dataclass_fields__.items() if field._field_type is _DATACLASS_FIELD]
    if _has(kind, "__attrs_attrs__"):
        return [field.name for field in kind.__attrs_attrs__ if not field.name.startswith("_")]
    return None


def _has(kind: type, name: str) -> bool:
    """Whether a class has an attribute."""
    return any(name in _attributes(base) for base in _mro(kind))


def _is_accepted(body: bytes) -> bool:
    """Whether the server accepts it, as one entry."""
    found = decode(body)
    return len(found) == 1 and found[0].reason is None and found[0].end == len(body)
