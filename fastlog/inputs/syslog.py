"""Syslog, as it is really sent: the readable reference. The converter (`_syslog.pyx`) must agree with it on any bytes.

It is docs/protocol.md as code. A message is never rejected and no word of it is ever dropped: what is not beyond doubt
a part of a header stays in the entry's `message`.
"""

import json
import re
import socket
from itertools import pairwise
from typing import Any

from fastlog.entry import SEVERITIES, level_of
from fastlog.inputs.receipt import Receipt
from fastlog.inputs.syslog_names import FACILITIES, SD_MAX, ZONE_WORDS
from fastlog.inputs.zones import Period
from fastlog.moment import Clock, in_range, moment_text, read_clock, read_moment, unix_usec

UTC_WORDS = ("UTC", "GMT")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")

_PRI = re.compile(rb"(?:[0-9]{1,10} )?<([0-9]{1,3})>")  # perhaps behind the octet count of RFC 6587
_TRAILING = b"\0\r\n"
_BOM = "\ufeff"

_FIELDS = re.compile(r"1 ([^\0- ]*) ([^\0- ]*) ([^\0- ]*) ([^\0- ]*) ([^\0- ]*) ")
_YEARS = re.compile(r"[0-9]{4}-")
_ELEMENT = re.compile(r'\[([^\0- =\]"]+)')
_PARAMETER = re.compile(r' +([^\0- =\]"]+)=(?:"((?:[^"\\]|\\.)*)"|([^\0- \]"]*))(?=[ \]])', re.DOTALL)
_ELEMENT_END = re.compile(r" *\]")
_ESCAPED = re.compile(r'\\(["\\\]])')

_TIME = r"([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]+)?"
_MONTH = f"({'|'.join(MONTHS)})"
_STAMP = re.compile(rf"{_MONTH}  ?([0-9]{{1,2}}) (?:([0-9]{{4}}) )?{_TIME}", re.IGNORECASE | re.ASCII)
_STAMP_YEAR_FIRST = re.compile(rf"([0-9]{{4}}) {_MONTH}  ?([0-9]{{1,2}}) {_TIME}", re.IGNORECASE | re.ASCII)
_YEAR_BEHIND = re.compile(r" ((?:19|20)[0-9]{2})(?= |:[ %]|:?\Z)")
_ZONE_WORD = re.compile(r" (([A-Za-z]+)(?:[+-][0-9]{1,2}(?::?[0-9]{2})?)?)(?= |:[ %]|:?\Z)")
_ZONE_NAME = re.compile(r"[A-Z]{2,5}")
_STAMP_END = re.compile(r"(?: ?:(?=[ %]|\Z)|(?= |\Z))")
_SEQNO = re.compile(r"([0-9]+(?:: [0-9]+)?): ")
_ORIGIN = re.compile(r"([^\0- ]+): ")
_ORIGIN_XR = re.compile(r"([A-Za-z0-9][A-Za-z0-9._\-/@]*/[A-Za-z0-9._\-/@]*):")
_REPEATED = "last message repeated "
_FORWARDED = re.compile(r"Message forwarded from ([^\0- ]+):(?= |\Z)")

_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-/@]*(?=[ \t]|\Z)")
# One that only a tag behind it tells from a text, as the router that systemd calls `_gateway`; `-` stands for none.
_HOST_ODD = re.compile(r"(?:[._\-]+[A-Za-z0-9][A-Za-z0-9._\-/@]*|-)(?=[ \t]|\Z)")
_HOST_V6 = re.compile(r"([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)(?:%[A-Za-z0-9._\-]+)?(?=[ \t]|\Z)")
# What a tag's name is made of: no quotes, braces and the like, which are parts of other things. Docker's have colons.
_NAME = r"""[^\0- "'`{}<>=;:\\|?*\[\]\x7f]"""
_NAME_COLONS = r"""[^\0- "'`{}<>=;\\|?*\[\]\x7f]"""
_PID = r"\[([^\0- \[\]]*)\]"
# Without a blank behind its colon: not in an address, a path, a URL, nor before the number of a port or a line.
_TAG_GLUED = re.compile(r"(?![0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1,4}:)([A-Za-z_][A-Za-z0-9_./\-]*):()(?![0-9:/\\])")
_TAGS = [
    re.compile(rf"({_NAME}+):()(?=[ \t\r\n]|\Z)"),
    re.compile(rf"({_NAME}{_NAME_COLONS}*){_PID}:(?=[ \t\r\n]|\Z)"),
    re.compile(rf"({_NAME}+)\[([0-9]+)\](?=[ \t:]|\Z):?"),
    re.compile(rf"(%{_NAME}+):()"),
    _TAG_GLUED,
]
# Cisco's tag, facility, severity and name, is one without a stamp, too.
_MNEMONIC = re.compile(r"(%[A-Za-z0-9_\-]+-[0-7]-[A-Za-z0-9_]+):")
_TAG_ALONE = re.compile(rf"([A-Za-z]{_NAME}*)(?:{_PID})?: ")
_WORDLY = re.compile(r"[A-Za-z0-9\x80-\U0010ffff]")

Found = dict[str, Any]  # the entry's keys that a header gives


def is_syslog(datagram: bytes) -> bool:
    found = _PRI.match(datagram)
    return found is not None and int(found[1]) <= 191


def decode(datagram: bytes, receipt: Receipt, zone: list[Period] | None = None) -> tuple[str, bytes]:
    """The level and the line of a datagram that `is_syslog`. `zone`: that of stamps without one, if it is known."""
    pri = _PRI.match(datagram)
    if not pri:
        raise ValueError("no syslog")
    facility, severity = divmod(int(pri[1]), 8)
    body = datagram[pri.end() :].rstrip(_TRAILING)
    try:
        text = body.decode()
        charset = None
    except UnicodeDecodeError:
        text = body.decode("latin-1")
        charset = "latin-1"
    text = text.removeprefix(_BOM)
    found = _rfc5424(text) or _rfc3164(text) or _unstamped(text) or {"message": text}
    moment = None
    clock = found.get("clock")
    if clock and not found.get("doubtful"):
        moment = _moment(clock, found.get("zone_word"), receipt, zone)
    level = level_of(SEVERITIES[severity])
    entry = {
        "level": level,
        "message": found["message"].removeprefix(_BOM),
        "timestamp": receipt.received if moment is None else moment_text(moment),
        "app": found.get("app"),
        "host": found.get("host") or receipt.host,
        "facility": FACILITIES[facility],
        "severity": SEVERITIES[severity],
        **{key: found.get(key) for key in ("pid", "msgid", "seqno", "sd")},
        "stamp": found.get("stamp") if moment is None else None,
        "received": None if moment is None else receipt.received,
        "source": receipt.source,
        "charset": charset,
    }
    with_values = {key: value for key, value in entry.items() if value or key == "message"}
    return level, (json.dumps(with_values, ensure_ascii=False, separators=(",", ":")) + "\n").encode()


def _moment(clock: Clock, zone_word: str | None, receipt: Receipt, zone: list[Period] | None) -> int | None:
    """The moment that a sender's clock showed, in the year that brings it nearest to its receipt if it shows none.
    None: nobody can know it."""
    received = read_moment(receipt.received.encode()) or 0
    year = _nearest_year(clock, int(receipt.received[:4]), received) if clock.year is None else clock.year
    offset = 0 if zone_word in UTC_WORDS else clock.offset
    if offset is not None:
        return unix_usec(_with(clock, year, offset))
    as_if_utc = unix_usec(_with(clock, year, 0))
    found = _in_zone(as_if_utc, zone_word, zone) if zone and as_if_utc is not None else []
    return min(found, key=lambda usec: abs(usec - received), default=None)


def _nearest_year(clock: Clock, this_year: int, received: int) -> int | None:
    """Of two years that are as near, the earlier one."""
    moments = {year: unix_usec(_with(clock, year, 0)) for year in (this_year - 1, this_year, this_year + 1)}
    distances = {year: abs(moment - received) for year, moment in moments.items() if moment is not None}
    return min(distances, key=distances.__getitem__, default=None)


def _with(clock: Clock, year: int | None, offset: int) -> Clock:
    return Clock(year, clock.month, clock.day, clock.hour, clock.minute, clock.second, clock.usec, offset)


def _in_zone(local_usec: int, zone_word: str | None, zone: list[Period]) -> list[int]:
    """The moments at which clocks of the zone show this: two when they were put back, none in the hour left out."""
    found = []
    for period, following in pairwise(zone):
        usec = local_usec - period.offset * 1_000_000
        is_meant = zone_word in (None, period.name)
        if is_meant and period.start * 1_000_000 <= usec < following.start * 1_000_000:
            found.append(usec)
    return found


def _rfc5424(text: str) -> Found | None:
    fields = _FIELDS.match(text)
    if not fields:
        return None
    time, host, app, pid, msgid = ("" if field == "-" else field for field in fields.groups())
    rest = text[fields.end() :]
    # Otherwise it is an ordinary text that begins with `1 `, such as `1 new user was added today - see below`.
    has_sd = rest == "-" or rest.startswith(("- ", "["))
    if not (fields[1] == "-" or _YEARS.match(time) or (has_sd and "0" <= time[:1] <= "9")):
        return None
    found = {"host": host, "app": app, "pid": pid, "msgid": msgid, "stamp": time, "message": rest}
    clock = read_clock(time.encode())
    if clock and clock[1] == len(time.encode()):
        found["clock"] = clock[0]
    if rest == "-" or rest.startswith("- "):
        found["message"] = rest[2:]
    elif structured := _structured_data(rest):
        found["sd"], end = structured
        found["message"] = rest[end:].removeprefix(" ")
    return found


def _structured_data(text: str) -> tuple[Found, int] | None:
    """The elements at the beginning of a text, and where they end; None: they are malformed. Quotes may be missing, as
    VMware has it. Names that occur twice, as RFC 5424 allows, have a list of values."""
    elements: Found = {}
    count = at = 0
    while element := _ELEMENT.match(text, at):
        at = element.end()
        count += 1
        parameters: Found = {}
        while parameter := _PARAMETER.match(text, at):
            at = parameter.end()
            count += 1
            name, quoted, bare = parameter.groups()
            value = bare if quoted is None else _ESCAPED.sub(r"\1", quoted)
            if name not in parameters:
                parameters[name] = value
            elif isinstance(parameters[name], list):
                parameters[name].append(value)
            else:
                parameters[name] = [parameters[name], value]
        end = _ELEMENT_END.match(text, at)
        if not end or element[1] in elements or count > SD_MAX:
            return None
        at = end.end()
        elements[element[1]] = parameters
    return (elements, at) if elements and text[at : at + 1] != "[" else None


def _rfc3164(text: str) -> Found | None:
    """A header with a stamp, or Cisco's tag alone. Cisco puts numbers, an origin, more numbers and a mark before it."""
    at = _skip_blanks(text, 0)
    cisco = text.startswith(":", at)
    at = _skip_blanks(text, at + cisco)
    seqno = _SEQNO.match(text, at)
    if seqno:
        at = seqno.end()
    found: Found = {"seqno": seqno and seqno[1]}
    mnemonic = _MNEMONIC.match(text, at)
    if mnemonic:
        return found | {"app": mnemonic[1], "message": text[mnemonic.end() :].removeprefix(" ")}
    stamped = _stamp(text, at, cisco or seqno is not None)
    if not stamped:
        origin = _ORIGIN.match(text, at)
        if not origin or not _is_host(origin[1]):
            origin = _ORIGIN_XR.match(text, at)
        if not origin:
            return None
        behind = _SEQNO.match(text, origin.end())
        numbers = [number[1] for number in (seqno, behind) if number]
        stamped = _stamp(text, (behind or origin).end(), cisco or bool(numbers))
        if not stamped:
            return None
        found = {"seqno": ": ".join(numbers), "host": origin[1]}
    header, at = stamped
    found |= header
    found |= _behind_stamp(text, at, "host" in found)
    return found


def _stamp(text: str, at: int, cisco: bool) -> tuple[Found, int] | None:
    """The stamp at `at` with what belongs to it, and where the text behind it begins."""
    mark = text[at : at + 1] if text[at : at + 1] in ("*", ".") else ""
    clock_read = _clock(text, at + len(mark))
    if not clock_read:
        return None
    clock, end, year_first, is_rfc3339 = clock_read
    zone_word = None
    if not is_rfc3339:
        year, end = _year_behind(text, end, clock.year)
        word = _ZONE_WORD.match(text, end)
        if word:
            year_behind, year_end = _year_behind(text, word.end(), year)
            is_name = _ZONE_NAME.fullmatch(word[2]) is not None
            if (
                word[2] in ZONE_WORDS
                or (is_name and year_end != word.end())
                or (text.startswith(":", word.end()) and (cisco or mark))
                or (text.startswith(": %", word.end()) and (is_name or year_first))
            ):
                zone_word, year, end = word[1], year_behind, year_end
        clock = Clock(year, clock.month, clock.day, clock.hour, clock.minute, clock.second, clock.usec, None)
    behind = _STAMP_END.match(text, end)
    if not behind:
        return None
    header = {"stamp": text[at:end], "clock": clock, "zone_word": zone_word, "doubtful": mark == "*"}
    return header, behind.end()


def _clock(text: str, at: int) -> tuple[Clock, int, bool, bool] | None:
    """The clock that a stamp shows, where it ends, whether the year comes first, and whether it is RFC 3339."""
    found = read_clock(text[at:].encode("latin-1", "replace"))  # one byte for each character
    if found:
        return found[0], at + found[1], True, True
    stamp = _STAMP.match(text, at)
    if stamp:
        month, day, year, *time = stamp.groups()
    else:
        stamp = _STAMP_YEAR_FIRST.match(text, at)
        if not stamp:
            return None
        year, month, day, *time = stamp.groups()
    hour, minute, second = map(int, time[:3])
    usec = int((time[3] or ".")[1:7].ljust(6, "0"))
    month_number = MONTHS.index(month.lower()) + 1
    if not in_range(month_number, int(day), hour, minute, second):
        return None
    clock = Clock(int(year) if year else None, month_number, int(day), hour, minute, second, usec, None)
    return clock, stamp.end(), stamp.re is _STAMP_YEAR_FIRST, False


def _year_behind(text: str, at: int, year: int | None) -> tuple[int | None, int]:
    found = _YEAR_BEHIND.match(text, at) if year is None else None
    return (int(found[1]), found.end()) if found else (year, at)


def _behind_stamp(text: str, at: int, has_host: bool) -> Found:
    """The host, the tag and the message."""
    found: Found = {"message": text[at:].removeprefix(" ")}
    word = _skip_blanks(text, at)
    forwarded = _FORWARDED.match(text, word)
    if text.startswith(_REPEATED, word):
        return found
    if forwarded and not has_host and _is_host(forwarded[1]):
        found |= {"host": forwarded[1], "message": text[forwarded.end() :].removeprefix(" ")}
        return found | (_tag(text, _skip_blanks(text, forwarded.end())) or {})
    tag = _tag(text, word)
    if tag or has_host:
        return found | (tag or {})
    end = _host_end(text, word)
    if end != word:
        return found | {"host": text[word:end], "message": text[end + 1 :]} | (_tag_behind_host(text, end) or {})
    odd = _HOST_ODD.match(text, word)
    tag = _tag_behind_host(text, odd.end()) if odd else None
    if not odd or not tag:
        return found
    return found | {"host": "" if odd[0] == "-" else odd[0]} | tag


def _tag_behind_host(text: str, end: int) -> Found | None:
    at = _skip_blanks(text, end + 1)
    if text.startswith(": ", at):  # ASA
        behind = _skip_blanks(text, at + 1)
        at = behind if text.startswith("%", behind) else at
    return _tag(text, at)


def _skip_blanks(text: str, at: int) -> int:
    while text[at : at + 1] == " ":
        at += 1
    return at


def _host_end(text: str, at: int) -> int:
    """Where the host's name or IPv6 address at `at` ends; `at` itself if there is none."""
    found = _HOST.match(text, at)
    if not found:
        found = _HOST_V6.match(text, at)
        if not found or not _is_ipv6(found[1]):
            return at
    return found.end()


def _is_host(text: str) -> bool:
    """Whether a text is a host's name where nothing else can stand."""
    is_odd = text != "-" and _HOST_ODD.fullmatch(text) is not None
    return is_odd or _host_end(text, 0) == len(text) > 0


def _is_ipv6(text: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET6, text)
    except OSError:
        return False
    return True


def _tag(text: str, at: int) -> Found | None:
    """The app, its pid and the message behind a tag."""
    for pattern in _TAGS:
        found = pattern.match(text, at)
        if found:
            is_level = pattern is _TAG_GLUED and level_of(found[1]) != "OTHER"
            if is_level or not _WORDLY.search(found[1]):
                return None
            return {"app": found[1], "pid": found[2], "message": text[found.end() :].removeprefix(" ")}
    return None


def _unstamped(text: str) -> Found | None:
    """Without a stamp, only a tag at the very beginning is a header, and only if it is no level's name."""
    found = _TAG_ALONE.match(text)
    if not found or level_of(found[1]) != "OTHER":
        return None
    return {"app": found[1], "pid": found[2], "message": text[found.end() :]}
