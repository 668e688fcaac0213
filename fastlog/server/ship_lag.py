"""How far `fastlog ship` is behind the log, by its note: the bytes that it has not shipped, and how old they are.

Nothing is noted of a line when it is written. Once a second the end of the log is, with the time, so the age of what
follows a position is known to about a second. What is older than these samples has an age by the times of the files.
"""

import time
from collections import deque
from typing import NamedTuple

from fastlog.server.archives import Archive
from fastlog.server.logfile import LogFile
from fastlog.stats import ShipStats

SAMPLES_MAX = 4096  # an hour, and then days: the older they are, the fewer are kept
PRECISION = 0.002  # of the age, so far apart are those kept of a longer time: a minute after eight hours


class Sample(NamedTuple):
    """Where the log ended, and when, in seconds of time.monotonic."""

    segment: int
    end: int
    at: float


class ShipLag:
    def __init__(self, log: LogFile) -> None:
        self._log = log
        self._hold = log.hold
        self._samples: deque[Sample] = deque()

    def tick(self, now: float) -> None:
        """Notes where the log ends. To be called once a second, and before the figures are read."""
        live = self._log.identity if self._hold and self._hold.is_shipped else None
        if live is None:
            self._samples.clear()
            return
        samples, sample = self._samples, Sample(live.segment, self._log.size, now)
        if not samples or samples[-1][:2] != sample[:2]:
            samples.append(sample)
        if len(samples) > SAMPLES_MAX:
            self._thin_out(now)

    def stats(self, now: float) -> ShipStats | None:
        """The figures; None: nobody ships."""
        hold, live = self._hold, self._log.identity
        if hold is None or not hold.is_shipped or live is None:
            return None
        note = hold.note
        position = note.position if note and note.log == live.log else None
        files = [*hold.files(), Archive(live, 0, str(self._log.path), 0, self._log.size, time.time())]
        rests = [(file, file.unshipped_from(position)) for file in files]
        lag_bytes = sum(file.size - start for file, start in rests)
        oldest = next((place for place, (file, start) in enumerate(rests) if start < file.size), None)
        age = 0.0
        if oldest is not None:
            file, start = rests[oldest]
            age = self._age(file, start, files[oldest - 1] if oldest else None, now)
        return ShipStats(
            lag_bytes=lag_bytes,
            lag_seconds=round(age, 1),
            segment=position.segment if position else files[0].identity.segment,
            problem=hold.problem,
        )

    def _thin_out(self, now: float) -> None:
        precision = PRECISION
        while len(self._samples) > SAMPLES_MAX // 4 * 3:
            kept: deque[Sample] = deque()
            for sample in self._samples:
                if not kept or sample.at - kept[-1].at >= (now - sample.at) * precision:
                    kept.append(sample)
            self._samples = kept
            precision *= 2

    def _age(self, file: Archive, start: int, before: Archive | None, now: float) -> float:
        """How old the line is that begins there; `before`: the file before that one."""
        samples, place = self._samples, (file.identity.segment, start)
        while len(samples) > 1 and samples[1][:2] <= place:
            samples.popleft()
        first = next((sample for sample in samples if sample[:2] > place), None)
        age = now - first.at if first else 0.0
        if first is None or first is not samples[0]:
            return age
        began = before.modified if before else file.modified
        return max(age, time.time() - began - max(file.modified - began, 0.0) * start / file.size)
