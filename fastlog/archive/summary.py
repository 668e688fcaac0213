"""What the lines of one frame have in common, so that a reader need not unpack it to know that it has nothing wanted.

A summary never rules out a line that is wanted. An entry's time is `received` where that is a time, else `timestamp`,
as `fastlog tail` takes it; the two have ranges of their own, since a sender's clock may be wrong.
"""

import base64
import math
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import msgspec

from fastlog._parse import scan
from fastlog.archive._summary import APPS, HOSTS, Lines, bits_of
from fastlog.limits import LINE_MAX_BYTES
from fastlog.times import microseconds, time_of

NAMES_MAX = 512  # apps, or hosts, of a frame that are listed with their counts; of more there is a filter
NAMES_MAX_BYTES = 8192  # of them in a summary, in JSON, where nothing else limits them
FILTER_BITS = 10  # of a filter for each name, if there is room: one in a hundred absent names seems to be there
FILTER_HASHES_MAX = 7  # bits that each name sets: the best number for that size

# How often each name comes, or a filter: how many bits each name sets, `:`, and the bits in base64.
Names = dict[str, int] | str


class Summary(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of one frame. `lines`: its line feeds. `begins_inside`: the line that ends with the first of them began in a
    frame before. Such a line is too long to be an entry. `levels`: how many entries each has; lines that are not
    entries have none. `received`, `timestamp`: the first and the last time in microseconds since 1970; `timestamp` is
    of the entries whose receipt was not recorded. `untimed`: entries without a time."""

    lines: int
    begins_inside: bool = False
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
    """The fields as they were written: a key may occur twice, and only the last value is certainly a string."""

    app: msgspec.Raw = msgspec.Raw()
    host: msgspec.Raw = msgspec.Raw()
    timestamp: msgspec.Raw = msgspec.Raw()
    received: msgspec.Raw = msgspec.Raw()


class Facts(NamedTuple):
    """What the summary takes from one entry. Only one of the times is set."""

    level: str
    app: str | None
    host: str | None
    received: int | None
    timestamp: int | None


_decode = msgspec.json.Decoder(_Entry).decode
_decode_text = msgspec.json.Decoder(str).decode


def facts_of(line: bytes) -> Facts | None:
    """The facts of a line without its line feed; None if it is not an entry. This is the rule for all that a summary
    says of an entry."""
    reason, level, _, _, end, *_ = scan(line)[0]
    if reason is not None or level is None or line[end:].strip(b" \t\r") or len(line) > LINE_MAX_BYTES:
        return None
    entry = _decode(line)
    received = _time(entry.received)
    timestamp = _time(entry.timestamp) if received is None else None
    return Facts(level, text_of(entry.app), text_of(entry.host), received, timestamp)


def text_of(value: msgspec.Raw) -> str | None:
    """The text of a field as it was written; None if it is not a string, or absent."""
    return _decode_text(value) if bytes(value)[:1] == b'"' else None


def _time(value: msgspec.Raw) -> int | None:
    text = text_of(value)
    time = None if text is None else time_of(text)
    return None if time is None else microseconds(time)


def summarize(text: bytes, begins_inside: bool = False, room: int = NAMES_MAX_BYTES) -> Summary:
    """The summary of a frame, in readable code; archives are written with `summary_of`, which must say the same. The
    names take `room` bytes of it at most: the apps up to half, the hosts the rest."""
    lines = text.split(b"\n")[:-1]
    entries = [facts for line in lines[begins_inside:] if (facts := facts_of(line))]
    received = [facts.received for facts in entries if facts.received is not None]
    timestamp = [facts.timestamp for facts in entries if facts.timestamp is not None]
    apps = names_of(Counter(facts.app for facts in entries if facts.app is not None), room // 2)
    hosts = Counter(facts.host for facts in entries if facts.host is not None)
    return Summary(
        lines=len(lines),
        begins_inside=begins_inside,
        levels=dict(Counter(facts.level for facts in entries)),
        received=(min(received), max(received)) if received else None,
        timestamp=(min(timestamp), max(timestamp)) if timestamp else None,
        untimed=len(entries) - len(received) - len(timestamp),
        apps=apps,
        hosts=names_of(hosts, room - _size_of(apps)),
    )


def summary_of(lines: Lines, begins_inside: bool, room: int) -> Summary:
    """The summary of the frame that was looked at last."""
    apps = _names_of(lines, APPS, room // 2)
    hosts = _names_of(lines, HOSTS, room - _size_of(apps))
    times = lines.received, lines.timestamp
    return Summary(lines.lines, begins_inside, lines.levels, *times, lines.untimed, apps, hosts)


def _names_of(lines: Lines, kind: int, room: int) -> Names:
    return _names(lines.count(kind), partial(lines.names, kind), partial(lines.mark, kind), room)


def names_of(counts: dict[str, int], room: int = NAMES_MAX_BYTES) -> Names:
    """These names as a summary has them."""

    def mark(bits: bytearray, hashes: int) -> None:
        for name in counts:
            for bit in bits_of(name.encode(), hashes, len(bits) * 8):
                bits[bit >> 3] |= 1 << (bit & 7)

    return _names(len(counts), lambda: counts, mark, room)


def _names(
    count: int, counts: Callable[[], dict[str, int]], mark: Callable[[bytearray, int], None], room: int
) -> Names:
    """So many names as a summary has them, in no more than `room` bytes. `mark` sets their bits in a filter."""
    if count <= NAMES_MAX and _size_of(names := dict(sorted(counts().items()))) <= room:
        return names
    size = max(1, min((count * FILTER_BITS + 7) // 8, (room - 4) // 4 * 3))  # 4: quotes, hashes, colon
    bits, hashes = bytearray(size), max(1, min(FILTER_HASHES_MAX, round(size * 8 / count * math.log(2))))
    mark(bits, hashes)
    return f"{hashes}:{base64.b64encode(bits).decode()}"


def _size_of(names: Names) -> int:
    """Bytes that they take in a summary."""
    return len(msgspec.json.encode(names))


def may_have(names: Names, name: str) -> bool:
    """Whether an entry of the frame may have this name."""
    if isinstance(names, dict):
        return name in names
    hashes, _, text = names.partition(":")
    try:
        bits = base64.b64decode(text)
        count = int(hashes)
    except ValueError:
        return True
    if not bits or not 1 <= count <= FILTER_HASHES_MAX:  # it is damaged, and rules out nothing
        return True
    found = bits_of(name.encode("utf-8", "surrogatepass"), count, len(bits) * 8)
    return all(bits[bit >> 3] >> (bit & 7) & 1 for bit in found)
