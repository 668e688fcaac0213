"""Plain values as JSON, and any object as text. `_plain.pyx` makes a plain copy of what is not plain."""

import re

import msgspec

TEXT_MAX_CHARACTERS = 100_000  # kept of the `str` of an object: more than any datagram holds

OWN_SEQUENCE = "sequence_"  # where the field `sequence` of an application goes: the real one is the client's

# It has no hook that runs Python code: while it reads a list, a hook could change the list, and crash the program. NaN
# and the infinities become null, bytes base64 (msgspec's own rules).
encode = msgspec.json.Encoder().encode

FLAT_TYPES = frozenset((str, float, bool, type(None)))  # of values that nothing can change, and that hold no others

type_name = type.__dict__["__name__"].__get__  # a metaclass can give its classes another one, which may fail
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_HALF = re.compile("[\ud800-\udfff]")


def is_short_integer(value: object) -> bool:
    """An integer that 64 bits hold. A longer one may have more digits than JSON gets."""
    return type(value) is int and value.bit_length() < 64


def text_of(value: object) -> str:
    """The value as valid Unicode: half a surrogate pair, or bytes that are not UTF-8, become U+FFFD. A string is kept
    whole, and of anything else TEXT_MAX_CHARACTERS."""
    if type(value) is str:
        return valid_text(value)
    try:
        if isinstance(value, bytes | bytearray):
            text = value[:TEXT_MAX_CHARACTERS].decode("utf-8", "replace")
        else:
            text = str(value)
        text = str.__str__(text)[:TEXT_MAX_CHARACTERS]  # that of a subclass may do anything
    except Exception as error:
        text = failure_text(value, error)
    return valid_text(text)


def failure_text(value: object, error: Exception) -> str:
    """What is sent for an object that has no text."""
    return f"<{type_name(type(value))}: str() raised {type_name(type(error))}>"


def valid_text(text: str) -> str:
    """The text without halves of surrogate pairs. Pairs that were taken apart are put together."""
    if text.isascii() or not _HALF.search(text):
        return text
    return _HALF.sub("\ufffd", _PAIR.sub(_joined, text))


def _joined(pair: re.Match[str]) -> str:
    return pair[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le")
