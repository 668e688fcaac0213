"""Any mapping as an entry that the server takes. `encode` is msgspec's and does nearly all of it; `sanitize` is for the
rest: half surrogates, objects that fail, cycles, too deep nesting, and known fields of the wrong type."""

from collections.abc import Mapping

import msgspec

from fastlog.entry import LEVELS, MAX_DEPTH, level_of

DEPTH_MAX = MAX_DEPTH - 1  # brackets open in a value; the entry's own bracket counts, too
VALUES_MAX = 10_000  # looked at in one entry: more than a datagram holds, and an end to values that contain themselves
TEXT_MAX_CHARACTERS = 100_000  # kept of the `str` of an object: more than any datagram holds

DEFAULT_LEVEL = "INFO"  # for entries without a level
OWN_SEQUENCE = "sequence_"  # where the field `sequence` of an application goes: the real one is the client's

# Values that JSON cannot express become text; NaN and the infinities become null, bytes base64 (msgspec's own rules).
encode = msgspec.json.Encoder(enc_hook=str).encode


def sanitize(entry: dict[str, object]) -> dict[str, object]:
    """A copy that `encode` can write, as an entry that the server takes."""
    clean: dict[str, object] = {"level": DEFAULT_LEVEL, "message": ""}
    values = _Sanitizer()
    for key, value in list(entry.items()):
        name = text_of(key)
        if name in ("level", "message"):
            clean[name] = text_of(value)
        elif name in ("timestamp", "host", "app"):
            if value is not None:
                clean[name] = text_of(value)
        else:
            clean[OWN_SEQUENCE if name == "sequence" else name] = values.clean(value, DEPTH_MAX)
    return clean


def text_of(value: object) -> str:
    """The value as valid Unicode: half a surrogate pair, or bytes that are not UTF-8, become U+FFFD."""
    try:
        text = value.decode("utf-8", "replace") if isinstance(value, bytes | bytearray) else str(value)
    except Exception as error:
        text = f"<{type(value).__name__}: str() raised {type(error).__name__}>"
    text = text[:TEXT_MAX_CHARACTERS] if type(value) is not str else text
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def level_index(level: str) -> int:
    """The index in LEVELS of a `level` field, whatever its spelling."""
    try:
        return LEVELS.index(level_of(level))
    except UnicodeError:
        return LEVELS.index("OTHER")


class _Sanitizer:
    """Makes the values of one entry fit for the server. Values beyond the limits become text."""

    def __init__(self) -> None:
        self._left = VALUES_MAX

    def clean(self, value: object, depth: int) -> object:
        self._left -= 1
        if value is None or isinstance(value, bool | float):
            return value
        if isinstance(value, str) or self._left < 0:
            return text_of(value)
        try:
            if isinstance(value, Mapping):
                if depth > 0:
                    return {text_of(key): self.clean(inner, depth - 1) for key, inner in list(value.items())}
            elif isinstance(value, list | tuple | set | frozenset):
                if depth > 0:
                    return [self.clean(inner, depth - 1) for inner in list(value)]
            else:
                encoded = encode(value)
                # msgspec knows some kinds of objects that are trees, too
                return value if encoded.count(b"[") + encoded.count(b"{") <= depth else text_of(value)
        except Exception:  # noqa: S110 - its text says more, or reports the failure
            pass
        return text_of(value)
