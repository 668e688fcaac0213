"""SYSLOG_ZONE: stamps without a zone become moments, at the turn of the year and when clocks are put forward or back."""

import functools
import json
import time
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from fastlog.inputs import syslog
from fastlog.inputs._syslog import ZonePeriods
from fastlog.inputs.receipt import Receipt
from fastlog.inputs.zones import LOCAL, periods
from tests.helpers._hooks import c_syslog

BERLIN = "Europe/Berlin"
# Received (UTC), the zone, the stamp, and its moment or None.
STAMPS = [
    ("2026-11-26T08:30:00", BERLIN, "Nov 26 09:29:59", "2026-11-26T08:29:59"),
    ("2026-07-26T08:30:00", BERLIN, "Jul 26 10:29:59.25", "2026-07-26T08:29:59.250000"),
    ("2026-11-26T08:30:00", BERLIN, "2026-11-26T09:29:59", "2026-11-26T08:29:59"),
    ("2026-11-26T08:30:00", BERLIN, "Apr 15 2013 09:36:50", "2013-04-15T07:36:50"),
    ("2026-11-26T08:30:00", BERLIN, "2026-11-26T09:29:59+05:00", "2026-11-26T04:29:59"),
    ("2026-11-26T08:30:00", BERLIN, "*Nov 26 09:29:59", None),
    ("2026-11-26T08:30:00", BERLIN, ".Nov 26 09:29:59", "2026-11-26T08:29:59"),
    ("2026-11-26T08:30:00", "UTC", "Nov 26 09:29:59", "2026-11-26T09:29:59"),
    ("2026-11-26T08:30:00", "", "Nov 26 09:29:59", None),
    # the turn of the year, from either side
    ("2026-12-31T23:59:58", BERLIN, "Jan  1 00:59:59", "2026-12-31T23:59:59"),
    ("2027-01-01T00:00:01", "UTC", "Dec 31 23:59:59", "2026-12-31T23:59:59"),
    ("2026-12-31T23:59:59", "UTC", "Jan  1 00:00:01", "2027-01-01T00:00:01"),
    # 29 February is in the leap year beside the receipt, or in none
    ("2028-03-01T00:00:00", "UTC", "Feb 29 23:59:59", "2028-02-29T23:59:59"),
    ("2029-01-01T00:00:00", "UTC", "Feb 29 23:59:59", "2028-02-29T23:59:59"),
    ("2027-12-31T00:00:00", "UTC", "Feb 29 23:59:59", "2028-02-29T23:59:59"),
    ("2026-03-01T00:00:00", "UTC", "Feb 29 23:59:59", None),
    # the hour that comes twice: the nearest moment, or the one that the zone word means
    ("2026-10-25T00:30:01", BERLIN, "Oct 25 02:30:00", "2026-10-25T00:30:00"),
    ("2026-10-25T01:30:01", BERLIN, "Oct 25 02:30:00", "2026-10-25T01:30:00"),
    ("2026-10-25T01:30:01", BERLIN, "Oct 25 02:30:00 CEST", "2026-10-25T00:30:00"),
    ("2026-10-25T00:30:01", BERLIN, "Oct 25 02:30:00 CET", "2026-10-25T01:30:00"),
    # the hour that is left out
    ("2026-03-29T01:00:01", BERLIN, "Mar 29 02:30:00", None),
    ("2026-03-29T01:00:01", BERLIN, "Mar 29 01:59:59", "2026-03-29T00:59:59"),
    ("2026-03-29T01:00:01", BERLIN, "Mar 29 03:00:00", "2026-03-29T01:00:00"),
    # words of another zone, and of one that nobody sets
    ("2026-11-26T08:30:00", BERLIN, "Nov 26 09:29:59 EST", None),
    ("2026-11-26T08:30:00", "America/New_York", "Nov 26 03:29:59 EST", "2026-11-26T08:29:59"),
    ("2026-11-26T08:30:00", BERLIN, "Nov 26 08:29:59 UTC", "2026-11-26T08:29:59"),
    # before the zone's first year and after its last one
    ("2026-11-26T08:30:00", BERLIN, "Nov 26 1969 09:29:59", None),
    ("2026-11-26T08:30:00", BERLIN, "Nov 26 2100 09:29:59", None),
]
known_periods = functools.cache(periods)
compiled = functools.cache(ZonePeriods)
both = pytest.mark.parametrize("is_compiled", [False, True], ids=["reference", "converter"])


def entry_of(text: str, received: str, zone: str, is_compiled: bool) -> dict[str, str]:
    receipt = Receipt(f"{received}.000000Z", "192.0.2.7:40000", "192.0.2.7")
    datagram = f"<13>{text} host app: x".encode()
    if is_compiled:
        _, line = c_syslog(datagram, receipt, compiled(zone))
    else:
        _, line = syslog.decode(datagram, receipt, known_periods(zone) if zone else None)
    return json.loads(line)


@both
@pytest.mark.parametrize(("received", "zone", "stamp", "meant"), STAMPS)
def test_a_stamp_in_a_zone(is_compiled, received, zone, stamp, meant):
    entry = entry_of(stamp, received, zone, is_compiled)
    assert (entry["host"], entry["app"], entry["message"]) == ("host", "app", "x")
    if meant is None:
        assert entry["timestamp"] == f"{received}.000000Z"
        assert entry["stamp"] == stamp
        assert "received" not in entry
    else:
        assert entry["timestamp"] == (meant if "." in meant else f"{meant}.000000") + "Z"
        assert "stamp" not in entry
        assert entry["received"] == f"{received}.000000Z"


@pytest.mark.parametrize("zone", [BERLIN, "America/St_Johns", "Africa/Casablanca", "Asia/Kathmandu", "Pacific/Apia"])
def test_the_periods_are_those_of_the_tz_database(rng, zone):
    found = periods(zone)
    for _ in range(2_000):
        second = rng.randrange(found[0].start, found[-1].start)
        if rng.random() < 0.5:
            second = rng.choice(found[:-1]).start + rng.choice([-1, 0, 1])
        period = [period for period in found if period.start <= max(second, 0)][-1]
        moment = datetime.fromtimestamp(max(second, 0), ZoneInfo(zone))
        assert moment.utcoffset().total_seconds() == period.offset
        assert moment.tzname() == period.name


def test_local_is_the_zone_of_the_machine(monkeypatch):
    monkeypatch.setenv("TZ", BERLIN)
    time.tzset()
    try:
        assert periods(LOCAL) == periods(BERLIN)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_the_name_of_a_zone_is_compared_only_where_it_has_room(monkeypatch):
    """A name in TZ may be of any length."""
    monkeypatch.setenv("TZ", "ABCDEFGHIJKL-1")
    time.tzset()
    receipt = Receipt("2026-11-26T08:30:00.000000Z", "192.0.2.7:40000", "192.0.2.7")
    datagram = b"<13>.Nov 26 08:11:04 ABCDEFGHIJKL: app: x"
    try:
        assert c_syslog(datagram, receipt, ZonePeriods(LOCAL)) == syslog.decode(datagram, receipt, periods(LOCAL))
    finally:
        monkeypatch.undo()
        time.tzset()


@both
def test_what_a_clock_shows_at_any_time_means_that_time(is_compiled):
    """The stamp that a clock of the zone shows at a moment means that moment, when it is received then."""
    zone = ZoneInfo(BERLIN)
    start = int(datetime(2027, 1, 1, tzinfo=UTC).timestamp())
    for second in range(start, start + 2 * 365 * 86_400, 86_400 // 4 + 1777):
        local = datetime.fromtimestamp(second, zone)
        received = datetime.fromtimestamp(second, UTC).replace(tzinfo=None).isoformat()
        entry = entry_of(local.strftime("%b %d %H:%M:%S"), received, BERLIN, is_compiled)
        assert entry["timestamp"] == f"{received}.000000Z"
        assert "received" in entry
