"""Entries that are too long for a datagram."""

from collections.abc import Callable


def shorten(entry: dict[str, object], limit_bytes: int, encode: Callable[[object], bytes]) -> bytes:
    """The entry in at most `limit_bytes` bytes: other fields are left out if need be, the message loses its end, and
    `truncated` and `original_bytes` tell of it."""
    marks: dict[str, object] = {"truncated": True, "original_bytes": len(encode(entry))}
    message = str(entry["message"])
    short = {**entry, "message": "", **marks}
    if len(encode(short)) > limit_bytes:
        short = {"level": str(entry["level"])[:100], "message": "", **marks}
    room = limit_bytes - len(encode(short))
    low, high = 0, len(message)
    while low < high:  # the longest beginning that fits: how many bytes a character takes, escapes included, varies
        middle = (low + high + 1) // 2
        if len(encode(message[:middle])) - 2 <= room:
            low = middle
        else:
            high = middle - 1
    return encode({**short, "message": message[:low]})
