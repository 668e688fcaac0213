"""The server's own words about an entry, `received` and `source`, for the reference. `_stamp.pxd` says the same in C.

They are the last members of an entry's line. A sender's own keys of these names are renamed, so nobody can forge them.
"""

import msgspec

from fastlog.config import Stamp
from fastlog.entry import renamed
from fastlog.inputs.receipt import Receipt

EMPTY = msgspec.Raw(b'""')


class _Sender(msgspec.Struct):
    """What a sender says about itself, as it is written: of a key that occurs twice, only the last value counts, and is
    sure to be a string."""

    timestamp: msgspec.Raw = EMPTY
    host: msgspec.Raw = EMPTY


def stamped(line: bytes, stamp: Stamp, receipt: Receipt) -> bytes:
    """What is stored of an accepted entry, given its line as it came."""
    if stamp == "never":
        return line
    says = msgspec.json.decode(line, type=_Sender)
    words = b""
    if stamp == "always" or says.timestamp == EMPTY:
        words += f',"received":"{receipt.received}"'.encode()
    if stamp == "always" or says.host == EMPTY:
        words += f',"source":"{receipt.source}"'.encode()
    return renamed(line).removesuffix(b"}\n") + words + b"}\n"
