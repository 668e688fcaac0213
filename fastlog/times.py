"""Times as entries have them."""

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def time_of(text: str) -> datetime | None:
    """The time of a timestamp, which is in UTC unless it has a zone; None if it is not a time."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def microseconds(time: datetime) -> int:
    """Since the epoch."""
    return (time - EPOCH) // MICROSECOND
