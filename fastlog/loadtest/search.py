"""The search for the highest rate without loss: bisection over short runs. It knows runs and reports, no sockets."""

from collections.abc import Callable

import msgspec

from fastlog.errors import FastlogError
from fastlog.loadtest.report import Report

RUN_SEC = 1.0  # of one run: long enough to fill a receive buffer, short enough for a dozen of them
CONFIRM = 3.0  # times as long a run must hold the rate that was found
STEPS_MAX = 12  # of the search
STEEP = 0.25  # of a rate that lost, while none is known that does not
CONFIRMATIONS_MAX = 4
CLOSE_ENOUGH = 1.05  # between the highest rate without loss and the lowest with
STEP_DOWN = 0.9  # from a rate that did not hold for longer
REACHED = 0.95  # of a rate asked, below which the sender is what limits it


class Run(msgspec.Struct, frozen=True):
    rate_asked: float  # 0: as fast as it went
    rate: float
    missing: int  # datagrams that did not become entries


class Found(msgspec.Struct, frozen=True):
    rate: float | None  # entries a second; None: some were lost at every rate that was tried
    limited_by: str | None  # "loss": higher rates lost entries; "sender": this machine sends no faster
    runs: list[Run]


class SearchError(FastlogError):
    """The server's figures are unknown, so no loss can be seen."""


def find_max(measured: Callable[[float, float], Report], tell: Callable[[str], None] | None) -> Found:
    """`measured` makes a run at a rate, so many times as long as usual. Raises SearchError."""
    runs: list[Run] = []

    def holds(rate: float, longer: float = 1.0) -> bool:
        report = measured(rate, longer)
        if report.outcome is None or not report.balanced:
            raise SearchError(f"cannot search: {'; '.join(report.notes) or 'the account does not balance'}")
        outcome = report.outcome
        missing = report.sending.sent - outcome.stored - outcome.buffered - outcome.duplicates
        runs.append(Run(rate, report.sending.rate, missing))
        if tell:
            asked = f"{rate:,.0f}/s" if rate else "as fast as it goes"
            tell(f"{asked}: {report.sending.rate:,.0f}/s for {report.sending.seconds:,.1f} s, {missing:,} missing")
        return missing == 0

    def found(rate: float | None, limited_by: str | None) -> Found:
        if tell and rate is None:
            tell("no rate without loss was found")
        elif tell:
            why = "at higher rates entries are lost" if limited_by == "loss" else "this machine sends no faster"
            tell(f"highest rate without loss: {rate:,.0f}/s; {why}")
        return Found(rate, limited_by, runs)

    if holds(0.0) and holds(0.0, CONFIRM):
        return found(min(run.rate for run in runs), "sender")
    low, high = 0.0, runs[-1].rate
    for _ in range(STEPS_MAX):
        if high < low * CLOSE_ENOUGH:
            break
        middle = (low + high) / 2 if low else high * STEEP
        if not holds(middle):
            high = middle
        elif runs[-1].rate < middle * REACHED:
            low = runs[-1].rate
            break
        else:
            low = middle
    for _ in range(CONFIRMATIONS_MAX):
        if low < 1 or holds(low, CONFIRM):
            break
        low *= STEP_DOWN
    return found(runs[-1].rate, "loss") if low >= 1 and runs[-1].missing == 0 else found(None, None)
