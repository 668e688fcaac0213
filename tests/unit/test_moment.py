"""RFC 3339 text and microseconds of Unix time: the reference and the C, by a table and on any text."""

from datetime import UTC, datetime, timedelta

import pytest

from fastlog.moment import EPOCH, moment_text, read_moment
from tests.helpers._hooks import c_moment_text, c_read_moment

FIRST = -62_135_596_800_000_000  # 0001-01-01T00:00:00.000000Z
LAST = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999Z
MOMENTS = [
    (b"2026-11-26T08:30:00Z", "2026-11-26T08:30:00.000000Z"),
    (b"2026-11-26T08:30:00.123456Z", "2026-11-26T08:30:00.123456Z"),
    (b"2026-11-26T08:30:00.5Z", "2026-11-26T08:30:00.500000Z"),
    (b"2026-11-26T08:30:00.1234569Z", "2026-11-26T08:30:00.123456Z"),
    (b"2026-11-26T08:30:00." + b"9" * 300 + b"Z", "2026-11-26T08:30:00.999999Z"),
    (b"2026-11-26t08:30:00z", "2026-11-26T08:30:00.000000Z"),
    (b"2026-11-26T00:30:00+02:00", "2026-11-25T22:30:00.000000Z"),
    (b"2026-12-31T23:30:00-00:45", "2027-01-01T00:15:00.000000Z"),
    (b"2026-11-26T08:30:00-00:00", "2026-11-26T08:30:00.000000Z"),
    (b"2026-11-26T08:30:00+0530", "2026-11-26T03:00:00.000000Z"),
    (b"1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"),
    (b"1600-02-29T00:00:00Z", "1600-02-29T00:00:00.000000Z"),
    (b"2000-02-29T23:59:59Z", "2000-02-29T23:59:59.000000Z"),
    (b"0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
    (b"9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
]
NONE = [
    b"",
    b"2026-11-26",
    b"2026-11-26T08:30:00",
    b"2026-11-26 08:30:00Z",
    b"2026-11-26T08:30Z",
    b"2026-11-26T08:30:00.Z",
    b"2026-11-26T08:30:00,5Z",
    b"2026-11-26T08:30:00Z ",
    b" 2026-11-26T08:30:00Z",
    b"2026-11-26T08:30:00+24:00",
    b"2026-11-26T08:30:00+02:60",
    b"2026-11-26T08:30:00+02",
    b"2026-11-26T08:30:00+",
    b"2026-11-26T08:30:00+2:00",
    b"2016-12-31T23:59:60Z",
    b"2026-11-26T08:30:61Z",
    b"2026-11-26T08:60:00Z",
    b"2026-11-26T24:00:00Z",
    b"2026-11-31T08:30:00Z",
    b"2026-11-00T08:30:00Z",
    b"2026-00-26T08:30:00Z",
    b"2026-13-26T08:30:00Z",
    b"2026-02-29T08:30:00Z",
    b"1900-02-29T08:30:00Z",
    b"0000-01-01T08:30:00Z",
    b"0001-01-01T00:00:00+00:01",
    b"9999-12-31T23:59:59-00:01",
    b"12026-11-26T08:30:00Z",
    b"-026-11-26T08:30:00Z",
    b"2026-11-26T08:30:0\xb2Z",
]
both = pytest.mark.parametrize(("read", "text"), [(read_moment, moment_text), (c_read_moment, c_moment_text)])


@both
@pytest.mark.parametrize(("written", "meant"), MOMENTS)
def test_a_moment_is_understood_and_written(read, text, written, meant):
    assert text(read(written)) == meant


@both
@pytest.mark.parametrize("written", NONE)
def test_what_is_no_moment_has_none(read, text, written):
    assert read(written) is None


@both
def test_the_first_and_the_last_moment(read, text):
    assert read(text(FIRST).encode()) == FIRST
    assert read(text(LAST).encode()) == LAST


def test_every_day_of_a_thousand_years_and_any_moment(rng):
    for day in range(-200_000, 200_000, 7):
        usec = (day * 86_400 + rng.randrange(86_400)) * 1_000_000 + rng.randrange(1_000_000)
        written = moment_text(usec)
        assert c_moment_text(usec) == written
        assert c_read_moment(written.encode()) == read_moment(written.encode()) == usec
    for _ in range(20_000):
        usec = rng.randrange(FIRST, LAST + 1)
        offset = rng.randrange(-1439, 1440)
        try:
            local = (EPOCH + timedelta(microseconds=usec + offset * 60_000_000)).astimezone(UTC)
        except OverflowError:
            continue
        sign = "-" if offset < 0 else "+"
        written = local.replace(tzinfo=None).isoformat() + f"{sign}{abs(offset) // 60:02}:{abs(offset) % 60:02}"
        assert c_read_moment(written.encode()) == read_moment(written.encode()) == usec
        assert c_moment_text(usec) == moment_text(usec)


def test_both_agree_on_any_text(rng):
    for _ in range(30_000):
        text = bytearray(rng.choice(MOMENTS)[0][:40])
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(text))
            text[at : at + rng.randrange(2)] = bytes([rng.choice(b"0123456789-+:.TtZz \xff")])
        assert c_read_moment(bytes(text)) == read_moment(bytes(text)), text


def test_a_day_that_the_calendar_lacks_has_no_moment():
    for year in (1900, 2000, 2023, 2024):
        for month in range(1, 13):
            for day in range(1, 32):
                try:
                    meant = (datetime(year, month, day, tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
                except ValueError:
                    meant = None
                written = f"{year}-{month:02}-{day:02}T00:00:00Z".encode()
                assert c_read_moment(written) == read_moment(written) == meant
