"""Watches a log that is shipped into a stream: whether each line comes once and in order, and how late.

The end of the log is looked at every few milliseconds, and each message has the time at which the stream stored it. So
the lag of a message is the time from the last look at which its first line was not in the log yet: it is never told too
small, and too large by one look at most. Only the headers of messages are read.
"""

import asyncio
import contextlib
import threading
import time
from bisect import bisect_right
from pathlib import Path
from statistics import quantiles

import nats
from nats.errors import Error
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from fastlog.segments import Position, identity_of, position_from

LOOK_SEC = 0.01  # between two looks at the log
FETCH = 200  # messages asked for at once
FETCH_SEC = 0.5  # until that question is asked again
AGAIN_SEC = 0.2  # before the next try where the engine is away


class Watch:
    """Begins when it is made, before the log has anything."""

    def __init__(self, live: Path, url: str, stream: str) -> None:
        self.lines = 0  # in the stream
        self.breaks = 0  # messages that do not begin where the one before ends, in the same file or the next one
        self.lags_sec: list[float] = []  # of each message
        self._stored_at: list[float] = []  # the same
        self.newest: Position | None = None  # where the last message ends
        self._live = live
        self._url = url
        self._stream = stream
        self._times: list[float] = []  # of the looks that found the log longer, by the clock of the wall
        self._ends: list[tuple[int, int]] = []  # segment and size, at each
        self._sequence = 0  # of the last message that was read
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._look), threading.Thread(target=self._read)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, lines: int, seconds: float) -> bool:
        """Until the stream has so many; returns whether it has."""
        give_up = time.monotonic() + seconds
        while self.lines < lines and time.monotonic() < give_up:
            time.sleep(LOOK_SEC)
        return self.lines >= lines

    @property
    def worst_sec(self) -> float:
        return max(self.lags_sec, default=0.0)

    def lag_at(self, percent: int) -> float:
        return quantiles(self.lags_sec, n=100, method="inclusive")[percent - 1] if len(self.lags_sec) > 1 else 0.0

    def caught_up(self, since: float, lag_sec: float) -> float | None:
        """Seconds from that time on until a message was stored with less lag than that; None: none was."""
        for stored_at, lag in zip(self._stored_at, self.lags_sec, strict=True):
            if stored_at >= since and lag < lag_sec:
                return stored_at - since
        return None

    def _look(self) -> None:
        while not self._ended.wait(LOOK_SEC):
            now = time.time()
            with contextlib.suppress(OSError):
                identity = identity_of(self._live)
                end = identity.segment if identity else 0, self._live.stat().st_size
                if not self._ends or end > self._ends[-1]:
                    self._ends.append(end)
                    self._times.append(now)
                elif end == self._ends[-1]:
                    self._times[-1] = now  # nothing more was in it until now

    def _read(self) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(OSError, Error, TimeoutError, asyncio.CancelledError):
                asyncio.run(self._follow())
            self._ended.wait(AGAIN_SEC)

    async def _follow(self) -> None:
        client = await nats.connect(self._url, allow_reconnect=False, connect_timeout=1, error_cb=_ignore)
        try:
            wanted = ConsumerConfig(
                ack_policy=AckPolicy.NONE,
                deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=self._sequence + 1,
                headers_only=True,
            )
            reader = await client.jetstream().pull_subscribe("", stream=self._stream, config=wanted)
            while not self._ended.is_set() and client.is_connected:
                with contextlib.suppress(nats.errors.TimeoutError):
                    for message in await reader.fetch(FETCH, timeout=FETCH_SEC):
                        headers, about = message.headers or {}, message.metadata
                        self._sequence = about.sequence.stream
                        self._take(headers, about.timestamp.timestamp())
        finally:
            await client.close()

    def _take(self, headers: dict[str, str], stored_at: float) -> None:
        end = position_from(headers["Fastlog-Pos"])
        assert end
        begin = int(headers["Nats-Msg-Id"].rpartition("/")[2].partition("-")[0])
        before = self.newest
        if before and (end.segment, begin) not in ((before.segment, before.offset), (before.segment + 1, 0)):
            self.breaks += 1
        self.newest = end
        look = bisect_right(self._ends, (end.segment, begin)) - 1  # the last one at which its first line was not there
        self.lags_sec.append(max(0.0, stored_at - self._times[look]) if look >= 0 else 0.0)
        self._stored_at.append(stored_at)
        self.lines += int(headers["Fastlog-Lines"])


async def _ignore(error: Exception) -> None:
    """nats-py would print it."""
