"""The search for the highest rate without loss: bisection over short runs. It knows reports, and no sockets."""

from collections.abc import Callable

import msgspec

from fastlog.errors import FastlogError
from fastlog.loadtest.report import Report

RUN_SEC = 1.0  # one run: long enough to fill a receive buffer, short enough for a dozen runs
CONFIRM_FACTOR = 3.0  # how much longer the found rate must hold
STEPS_MAX = 12  # runs of the bisection
FIRST_STEP = 0.25  # from a rate that lost entries, while no rate without loss is known
CONFIRMATIONS_MAX = 4
CLOSE_ENOUGH = 1.05  # between the highest rate without loss and the lowest rate with loss
STEP_DOWN = 0.9  # from a rate that did not hold for longer
RATE_REACHED = 0.95  # share of the rate asked for; below it the sender is the limit


class Probe(msgspec.Struct, frozen=True):
    """One run of the search."""

    rate_asked: float  # 0: as fast as possible
    rate: float
    missing: int  # datagrams that did not become entries


class Found(msgspec.Struct, frozen=True):
    rate: float | None  # entries a second; None: entries were lost at every rate that was tried
    limited_by: str | None  # "loss": higher rates lost entries; "sender": this machine sends no faster
    probes: list[Probe]


class SearchError(FastlogError):
    """The server's figures are unknown, so a loss cannot be seen."""


class Search:
    """`measured` makes a run at a rate, so many times as long as usual. `show` takes a line for each."""

    def __init__(self, measured: Callable[[float, float], Report], show: Callable[[str], None] | None = None) -> None:
        self._measured = measured
        self._show = show or (lambda line: None)
        self._probes: list[Probe] = []

    def run(self) -> Found:
        """Raises SearchError."""
        if self.probe(0.0) and self.confirm(0.0):
            return self._found(min(probe.rate for probe in self._probes), "sender")
        rate = self._bisect()
        for _ in range(CONFIRMATIONS_MAX):
            if rate < 1:
                break
            if self.confirm(rate):
                return self._found(self._probes[-1].rate, "loss")
            rate *= STEP_DOWN
        return self._found(None, None)

    def probe(self, rate: float, longer: float = 1.0) -> bool:
        """Makes a run; True if nothing was lost. Raises SearchError."""
        report = self._measured(rate, longer)
        if report.outcome is None or not report.accounted_for:
            raise SearchError(f"cannot search: {'; '.join(report.notes) or 'the figures do not add up'}")
        sending, outcome = report.sending, report.outcome
        missing = sending.sent - outcome.stored - outcome.buffered - outcome.duplicates
        self._probes.append(Probe(rate, sending.rate, missing))
        asked = f"{rate:,.0f}/s" if rate else "as fast as possible"
        self._show(f"{asked}: {sending.rate:,.0f}/s for {sending.seconds:,.1f} s, {missing:,} missing")
        return missing == 0

    def confirm(self, rate: float) -> bool:
        """Makes a longer run; True if nothing was lost. Raises SearchError."""
        return self.probe(rate, CONFIRM_FACTOR)

    def _bisect(self) -> float:
        """The highest rate that lost nothing in a short run; 0 if there is none."""
        low, high = 0.0, self._probes[-1].rate
        for _ in range(STEPS_MAX):
            if high < low * CLOSE_ENOUGH:
                break
            middle = (low + high) / 2 if low else high * FIRST_STEP
            if not self.probe(middle):
                high = middle
                continue
            reached = self._probes[-1].rate
            if reached < middle * RATE_REACHED:
                return reached
            low = middle
        return low

    def _found(self, rate: float | None, limited_by: str | None) -> Found:
        if rate is None:
            self._show("no rate without loss was found")
        else:
            why = "higher rates lose entries" if limited_by == "loss" else "this machine sends no faster"
            self._show(f"highest rate without loss: {rate:,.0f}/s; {why}")
        return Found(rate, limited_by, self._probes)
