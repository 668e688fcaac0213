"""SYSLOG_ZONE: which offset a time zone has when, in a form that C can read."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

from fastlog.inputs.syslog_names import ZONE_NAME_BYTES

LOCAL = "local"  # the zone of this machine
# The years for which a zone is known: no stamp of a machine that logs is outside.
FIRST_YEAR = 1970
END_YEAR = 2100
# Since FIRST_YEAR no zone has changed its offset twice within so many seconds.
STEP_SEC = 7 * 86_400


class Period(msgspec.Struct, frozen=True):
    """A time in which a zone keeps its offset from UTC: up to the start of the next one."""

    start: int  # seconds of Unix time
    offset: int  # seconds before UTC
    name: str  # the abbreviation, such as `CET`


def periods(name: str) -> list[Period]:
    """The periods of a zone, the last of which begins in END_YEAR and is none. `local` is read anew at each call."""
    at = _local if name.lower() == LOCAL else _named(ZoneInfo(name))
    start, end = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (FIRST_YEAR, END_YEAR))
    found = [Period(start, *at(start))]
    for probe in [*range(start, end, STEP_SEC), end]:
        if at(probe) != (found[-1].offset, found[-1].name):
            before, change = max(probe - STEP_SEC, start), probe
            while change - before > 1:
                middle = (before + change) // 2
                if at(middle) == (found[-1].offset, found[-1].name):
                    before = middle
                else:
                    change = middle
            found.append(Period(change, *at(change)))
    return [*found, Period(end, 0, "")]


def _local(second: int) -> tuple[int, str]:
    found = time.localtime(second)
    return found.tm_gmtoff, found.tm_zone[:ZONE_NAME_BYTES]


def _named(zone: ZoneInfo) -> Callable[[int], tuple[int, str]]:
    def at(second: int) -> tuple[int, str]:
        moment = datetime.fromtimestamp(second, zone)
        return int((moment.utcoffset() or timedelta()).total_seconds()), (moment.tzname() or "")[:ZONE_NAME_BYTES]

    return at
