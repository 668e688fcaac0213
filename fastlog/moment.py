"""Moments, for the references: RFC 3339 text to microseconds of Unix time, and back. `_moment.pxd` does it in C."""

import re
from datetime import UTC, datetime, timedelta, timezone

import msgspec

USEC = 1_000_000  # microseconds of a second
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# RFC 3339, perhaps without its offset. An offset may lack its colon, as in `+0200`: it says the same beyond doubt.
_TIME = re.compile(
    rb"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:([Zz])|([+-])([01]\d|2[0-3]):?([0-5]\d))?"
)


class Clock(msgspec.Struct, frozen=True):
    """What a clock shows, and `offset`, its minutes before UTC; None: it does not say. Every part is in the range that
    its digits allow (the day up to 31, the second up to 60), so it may be no moment. Without a year it is no moment
    before somebody chooses one."""

    year: int | None
    month: int
    day: int
    hour: int
    minute: int
    second: int
    usec: int
    offset: int | None


def read_clock(text: bytes, at: int = 0) -> tuple[Clock, int] | None:
    """The RFC 3339 text at `at`, perhaps without an offset, and where it ends. None: there is no such text. Digits
    beyond microseconds are passed over."""
    found = _TIME.match(text, at)
    if not found:
        return None
    *parts, fraction, zulu, sign, hours, minutes = found.groups()
    year, month, day, hour, minute, second = map(int, parts)
    if not in_range(month, day, hour, minute, second):
        return None
    usec = int((fraction or b"")[:6].ljust(6, b"0"))
    offset = 0 if zulu else None
    if sign:
        offset = int(sign + b"1") * (60 * int(hours) + int(minutes))
    return Clock(year, month, day, hour, minute, second, usec, offset), found.end()


def in_range(month: int, day: int, hour: int, minute: int, second: int) -> bool:
    return 1 <= month <= 12 and 1 <= day <= 31 and hour <= 23 and minute <= 59 and second <= 60


def unix_usec(clock: Clock) -> int | None:
    """The moment at which this clock shows UTC plus its offset. None: there is none from year 1 to 9999, as in a leap
    second, on 30 February, or without an offset."""
    if clock.offset is None or clock.year is None:
        return None
    zone = timezone(timedelta(minutes=clock.offset))
    try:
        moment = datetime(
            clock.year, clock.month, clock.day, clock.hour, clock.minute, clock.second, clock.usec, zone
        ).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return (moment - EPOCH) // timedelta(microseconds=1)


def read_moment(text: bytes) -> int | None:
    """Microseconds of Unix time of a text that is RFC 3339 from its first to its last byte, or None."""
    found = read_clock(text)
    return unix_usec(found[0]) if found and found[1] == len(text) else None


def moment_text(usec: int) -> str:
    """Such as `2026-11-26T08:30:00.123456Z`, for a moment from year 1 to 9999."""
    moment = EPOCH + timedelta(microseconds=usec)
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
