"""What the lines of one frame have in common, so that a reader need not unpack it to know that it has nothing wanted.

A summary never rules out a line that is wanted. An entry's time is `received` where that is a time, else `timestamp`,
as `fastlog tail` takes it; the two have ranges of their own, since a sender's clock may be wrong.
"""

import base64
import hashlib
from typing import Any

import msgspec

from fastlog._parse import scan
from fastlog.times import microseconds, time_of

NAMES_MAX = 64  # apps, or hosts, of a frame that are listed with their counts; of more there is a filter
NAMES_MAX_BYTES = 4096  # of these names together: a frame's summary stays far smaller than the frame
FILTER_BITS = 10  # of a filter for each name: one in a hundred names that are not there is taken to be there
FILTER_HASHES = 7  # bits that each name sets, the best number for that size

# How often each name comes, or a filter: bits, of which each name sets FILTER_HASHES, in base64.
Names = dict[str, int] | str


class Summary(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of one frame. `levels`: how many entries each has; lines that are not entries have none. `received`,
    `timestamp`: the first and the last time in microseconds since 1970; `timestamp` is of the entries whose receipt was
    not recorded. `untimed`: entries without a time."""

    lines: int
    levels: dict[str, int] = {}
    received: tuple[int, int] | None = None
    timestamp: tuple[int, int] | None = None
    untimed: int = 0
    apps: Names = {}
    hosts: Names = {}

    @property
    def entries(self) -> int:
        return sum(self.levels.values())


class _Entry(msgspec.Struct, gc=False):
    app: str | None = None
    host: str | None = None
    timestamp: str = ""
    received: Any = None


_decode = msgspec.json.Decoder(_Entry).decode


def summarize(lines: bytes) -> Summary:
    """The summary of whole lines."""
    levels: dict[str, int] = {}
    apps: dict[str, int] = {}
    hosts: dict[str, int] = {}
    received: list[int] = []
    stamped: list[int] = []
    untimed = 0
    for line in lines.split(b"\n")[:-1]:
        reason, level, _, _, end, *_ = scan(line)[0]
        if reason is not None or level is None or end != len(line):
            continue
        entry = _decode(line)
        levels[level] = levels.get(level, 0) + 1
        if entry.app is not None:
            apps[entry.app] = apps.get(entry.app, 0) + 1
        if entry.host is not None:
            hosts[entry.host] = hosts.get(entry.host, 0) + 1
        if isinstance(entry.received, str) and (time := time_of(entry.received)):
            received.append(microseconds(time))
        elif time := time_of(entry.timestamp):
            stamped.append(microseconds(time))
        else:
            untimed += 1
    return Summary(
        lines=lines.count(b"\n"),
        levels=levels,
        received=_range(received),
        timestamp=_range(stamped),
        untimed=untimed,
        apps=names_of(apps),
        hosts=names_of(hosts),
    )


def names_of(counts: dict[str, int]) -> Names:
    """As a summary has them."""
    if len(counts) <= NAMES_MAX and sum(map(len, counts)) <= NAMES_MAX_BYTES:
        return counts
    bits = bytearray((len(counts) * FILTER_BITS + 7) // 8)
    for name in counts:
        for bit in _bits_of(name, len(bits) * 8):
            bits[bit >> 3] |= 1 << (bit & 7)
    return base64.b64encode(bits).decode()


def may_have(names: Names, name: str) -> bool:
    """Whether an entry of the frame may have this name."""
    if isinstance(names, dict):
        return name in names
    bits = base64.b64decode(names)
    return all(bits[bit >> 3] >> (bit & 7) & 1 for bit in _bits_of(name, len(bits) * 8))


def _bits_of(name: str, size: int) -> list[int]:
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=4 * FILTER_HASHES).digest()
    return [int.from_bytes(digest[at : at + 4], "little") % size for at in range(0, len(digest), 4)]


def _range(times: list[int]) -> tuple[int, int] | None:
    return (min(times), max(times)) if times else None
