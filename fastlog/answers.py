"""The answers of `/history` and `/sender`, as the server gives them and `fastlog top` reads them.

A figure that is not known is None, and so is one of a time in which the server did not run.
"""

from typing import Literal

import msgspec

RangeName = Literal["5m", "1h", "24h", "7d"]

Counts = list[int | None]
Numbers = list[float | None]


class Series(msgspec.Struct, frozen=True):
    """Each list has a figure for each step, the newest last. Counts are of that step alone.

    `ran_seconds`: how long the server ran in the step. `ack_p50_ms` and `ack_p99_ms` are interpolated between the
    bounds of the histogram in `/metrics`. `resident_bytes` is the most in the step.
    """

    ran_seconds: Numbers
    received: Counts
    levels: dict[str, Counts]
    losses: dict[str, Counts]
    ack_p50_ms: Numbers
    ack_p99_ms: Numbers
    cpu_percent: Numbers
    resident_bytes: Counts


class Mark(msgspec.Struct, frozen=True):
    """Something that happened `count` times in the step that begins `at`, in Unix time: starts of the server, or of
    senders."""

    at: int
    kind: Literal["start", "sender_restarts"]
    count: int


class HistoryAnswer(msgspec.Struct, frozen=True):
    """`end`: Unix time at which the newest step ends, which may not be over."""

    range: RangeName
    step_seconds: int
    end: int
    series: Series
    marks: list[Mark]


class Growth(msgspec.Struct, frozen=True):
    """So many gaps were added within the last seconds before `at`, in Unix time."""

    at: float
    count: int


class SenderAnswer(msgspec.Struct, frozen=True):
    """What the server's account of senders has of one. Counts are since `first_heard`, times are Unix times.

    `lost`: gaps in its sequences. `repeated`: sequences that came again. `gaps`: when gaps were added, the newest last;
    None: nobody noted that, since the sender was never among those with the most gaps.
    """

    address: str
    received: int
    lost: int
    repeated: int
    restarts: int
    first_heard: float
    last_heard: float
    gaps: list[Growth] | None
