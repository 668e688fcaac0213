"""The progress bar of a load test at a terminal: entries sent, their rate, and what the server has lost so far."""

from time import monotonic
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from fastlog.loadtest.run import Watcher
from fastlog.stats_client import Figures, StatsClient, UnreachableError

ASK_SEC = 1.0  # between two requests for the losses: the server has to answer them while it is tested
RATE_SEC = 0.5  # that the shown rate covers: it stands still long enough to be read


class Bar(Watcher):
    """Drawn on standard error, and gone at the end. `total`: entries, or None if the clock ends the run."""

    def __init__(self, total: int | None, stats_client: StatsClient) -> None:
        self._stats_client = stats_client
        self._progress = Progress(
            BarColumn(),
            TaskProgressColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:>12,.0f}/s"),
            TextColumn("lost {task.fields[lost]}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task("sending", total=total, rate=0.0, lost="unknown")
        self._began: Figures | None = None
        self._ask_at = 0.0
        self._rate_from: tuple[float, int] | None = None  # when the rate was shown last, and how many were sent by then

    def __enter__(self) -> "Bar":
        self._began = self._figures()
        if self._began:
            self._progress.update(self._task, lost=_lost(self._began, self._began))
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._progress.stop()

    def show(self, sent: int, retransmissions: int) -> None:
        now = monotonic()
        self._progress.update(self._task, completed=sent)
        since, before = self._rate_from = self._rate_from or (now, sent)
        if now - since >= RATE_SEC:
            self._progress.update(self._task, rate=(sent - before) / (now - since))
            self._rate_from = now, sent
        if now >= self._ask_at and self._began:
            self._progress.update(self._task, lost=_lost(self._began, self._figures()))
            self._ask_at = now + ASK_SEC

    def interrupted(self, wait_sec: float) -> None:
        self._progress.stop()  # the line below it would be drawn over
        super().interrupted(wait_sec)

    def _figures(self) -> Figures | None:
        try:
            return self._stats_client.figures()
        except UnreachableError:
            return None


def _lost(began: Figures, now: Figures | None) -> str:
    """What the kernel dropped, the disk lost and the server rejected since the run began."""
    if now is None or now.losses.kernel_drops is None or began.losses.kernel_drops is None:
        return "unknown"
    lost = now.losses.kernel_drops - began.losses.kernel_drops + now.losses.disk - began.losses.disk
    return f"{lost + sum(now.rejected.values()) - sum(began.rejected.values()):,}"
