"""The page that `fastlog top` draws of a server's stats.

What matters most comes first: a terminal cuts the page at its last line. Only losses and a silent server are red.
"""

import time

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fastlog.answers import HistoryAnswer
from fastlog.commands.sparkline import losses, mean, rates, sparkline, with_starts
from fastlog.commands.terminal import blocks_for, visible
from fastlog.stats import ArchiveStats, ShipStats, Stats

HISTORY_COLUMNS = 50  # of the charts; with their scale they fit in 80 columns
SMALL_COLUMNS = 16  # of a chart beside other figures
BAR_COLUMNS = 30
SENDERS_SHOWN = 10
MARKS_SHOWN = 4  # starts of the server and of senders; they fit in 120 columns
DAY_SEC = 86_400
SELECTED_ROW = 3  # where a selected sender stays while the list moves: a small terminal shows few
ROOMY_LINES = 34  # a terminal with so many has room for bars, blank lines and all senders
LOSS = "bold red"


class Page:
    """Draws for a terminal of `lines` lines, or without a limit, whose encoding is `encoding`."""

    def __init__(self, url: str, encoding: str, lines: int | None = None) -> None:
        self._url = url
        self._is_roomy = lines is None or lines >= ROOMY_LINES
        self._hint = "" if lines is None else "  q: quit  ?: keys"
        self._blocks = blocks_for(encoding)

    def title(self) -> Text:
        return Text.assemble(("fastlog", "bold"), "  ", visible(self._url))

    def draw(
        self,
        stats: Stats | None,
        trouble: str | None,
        history: HistoryAnswer | None = None,
        selected: int | None = None,
    ) -> RenderableType:
        """`trouble`: why the stats are not fresh. `selected`: a sender's place in `top_senders`."""
        title = self.title()
        if stats is None:
            title.append(self._hint, "dim")
            return Group(title, Text(visible(trouble or ""), LOSS))
        title.append(f"  up {duration(stats.elapsed_seconds)}  version {visible(stats.version)}{self._hint}", "dim")
        parts = [title, _state(stats, trouble), self._losses(stats, history), *_warnings(stats)]
        figures = _figures(stats, self._latency_chart(history))
        sections = [self._rates(stats, history), self._levels(stats), figures, _senders(stats, selected)]
        for section in sections:
            parts += [Text(), section] if self._is_roomy else [section]
        return Group(*parts)

    def _rates(self, stats: Stats, history: HistoryAnswer | None) -> Text:
        text = Text.assemble((f"{stats.logs_per_second:,.0f}", "bold"), " entries/s")
        text.append(f"  peak {stats.rates.peak:,.0f}  average {stats.rates.average:,.0f}")
        text.append(f"  total {stats.total_received:,}")
        memory = stats.process.resident_bytes
        text.append(f"  CPU {stats.process.cpu_percent:.0f} %", "dim")
        text.append(f"  {_bytes(memory)}\n" if memory else "\n", "dim")
        if history:
            line = sparkline(rates(history), HISTORY_COLUMNS, self._blocks, mean)
            text.append(with_starts(line, history), "cyan")
            text.append(f"  last {history.range}, up to {line.most:,.0f}/s", "dim")
            return text.append(self._restarts(history))
        seconds = stats.rates.history[-HISTORY_COLUMNS:]
        line = sparkline(seconds, len(seconds), self._blocks, mean)
        return text.append(line.text, "cyan").append(f"  last {len(seconds)} s, up to {line.most:,.0f}/s", "dim")

    def _losses(self, stats: Stats, history: HistoryAnswer | None) -> Text:
        """With a chart, if there were any lately; a small terminal has no line to spare for it."""
        text = _losses(stats)
        if history and any(losses(history)):
            columns = HISTORY_COLUMNS if self._is_roomy else SMALL_COLUMNS
            line = sparkline(losses(history), columns, self._blocks, sum)
            text.append("\n" if self._is_roomy else "  ").append(line.text, LOSS).append(
                f"  last {history.range}", "dim"
            )
            text.append(f", up to {line.most:,.0f}" if self._is_roomy else "", "dim")
        return text

    def _latency_chart(self, history: HistoryAnswer | None) -> str:
        """Of the 99th percentile."""
        if not history or not any(history.series.ack_p99_ms):
            return ""
        line = sparkline(history.series.ack_p99_ms, SMALL_COLUMNS, self._blocks, max)
        return f"   {line.text} p99 up to {_ms(line.most)}" if self._is_roomy else f"   {line.text}"

    def _restarts(self, history: HistoryAnswer) -> Text:
        """The newest marks, in local time."""
        marks = history.marks[-MARKS_SHOWN:] if self._is_roomy else []
        text = Text("\n" if marks else "")
        for mark in marks:
            at = time.strftime(
                "%H:%M:%S" if mark.at > history.end - DAY_SEC else "%m-%d %H:%M", time.localtime(mark.at)
            )
            what = "server started" if mark.kind == "start" else f"{mark.count:,} senders restarted"
            text.append(f"{at} {what}  ", "dim")
        return text

    def _levels(self, stats: Stats) -> RenderableType:
        counts = stats.level_distribution
        if not self._is_roomy:
            return Text("  ".join(f"{visible(level)} {count:,}" for level, count in counts.items()))
        table = Table.grid(padding=(0, 2))
        table.add_column()
        table.add_column(justify="right")
        table.add_column()
        largest = max(counts.values(), default=0) or 1
        for level, count in counts.items():
            bar = self._blocks[-1] * (-(-count * BAR_COLUMNS // largest))
            table.add_row(Text(visible(level)), f"{count:,}", Text(bar, "cyan"))
        return table


def _state(stats: Stats, trouble: str | None) -> Text:
    if trouble:
        return Text(f"{visible(trouble)}. These figures are the last ones", LOSS)
    if stats.health.reasons:
        return Text(f"degraded: {visible('; '.join(stats.health.reasons))}", "yellow")
    return Text("ok", "green")


def _warnings(stats: Stats) -> list[RenderableType]:
    return [Text(f"warning: {visible(warning)}", "yellow") for warning in stats.health.warnings]


def _losses(stats: Stats) -> Text:
    """Each cause once."""
    losses, rejected = stats.losses, stats.rejected
    reasons = ", ".join(f"{visible(reason)} {count:,}" for reason, count in rejected.items() if count)
    text = Text.assemble(("lost: ", "dim"))
    text.append(_loss("kernel (receive buffer full)", losses.kernel_drops)).append("  ")
    text.append(_loss("network (estimate)", losses.network)).append("  ")
    text.append(_loss("disk", losses.disk)).append("  ")
    text.append(_loss("rejected", sum(rejected.values())))
    text.append(f" ({reasons})" if reasons else "", LOSS)
    if losses.filtered:
        text.append("  ").append(_loss("filtered", losses.filtered))
    if losses.unshipped:
        text.append("  ").append(_loss("deleted before they were shipped", losses.unshipped))
    if stats.throttled:
        hosts = (f"{visible(host.address)} {host.rejected + host.filtered:,}" for host in stats.throttled)
        text.append("\nover RATE_LIMIT: ", "dim").append(", ".join(hosts), LOSS)
    return text


def _loss(cause: str, count: int | None) -> Text:
    return Text(f"{cause} {'unknown' if count is None else f'{count:,}'}", LOSS if count else "")


def _figures(stats: Stats, latency_chart: str) -> Table:
    acks, latency, disk, sync = stats.acks, stats.acks.latency_ms, stats.disk, stats.sync
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column()
    formats = ", ".join(f"{count:,} as {visible(name)}" for name, count in stats.inputs.items())
    waiting = f"; {stats.chunks.waiting:,} messages wait for a chunk" if stats.chunks.waiting else ""
    table.add_row("formats", formats + waiting)
    table.add_row("ACKs", f"{acks.sent:,} sent, {acks.pending:,} pending, {acks.dropped:,} dropped")
    table.add_row(
        "ACK latency", f"p50 {_ms(latency.p50)}   p99 {_ms(latency.p99)}   max {_ms(latency.max)}{latency_chart}"
    )
    under_way = "" if sync.under_way_ms is None else f", under way {_ms(sync.under_way_ms)}"
    table.add_row("sync", f"{visible(sync.mode)}, last {_ms(sync.last_ms)}{under_way}, {sync.failures:,} failed")
    table.add_row("buffered", f"{stats.buffered:,} entries, {stats.stored:,} stored, {stats.duplicates:,} duplicates")
    granted, wanted = stats.receive_buffer.granted, stats.receive_buffer.wanted
    table.add_row("receive buffer", f"{_bytes(granted)} granted of {_bytes(wanted)}")
    for listener in stats.listeners if len(stats.listeners) > 1 else ():
        drops = "unknown" if listener.kernel_drops is None else f"{listener.kernel_drops:,}"
        errors = f", {listener.receive_errors:,} errors" if listener.receive_errors else ""
        counts = f"{listener.datagrams:,} datagrams, {drops} dropped{errors}"
        table.add_row(listener.kind, f"{counts} at {visible(listener.address)}")  # a path may be longer than the line
    share = 100 * disk.log_bytes / disk.log_limit_bytes
    free = "unknown" if disk.free_bytes is None else _bytes(disk.free_bytes)
    table.add_row(
        "log file",
        f"{_bytes(disk.log_bytes)}, {share:.0f} % of its limit, {disk.rotations:,} rotations; {free} free",
    )
    if stats.archives.files or stats.archives.deleted_files:
        table.add_row("archives", _archives(stats.archives))
    if stats.ship is not None:
        table.add_row("shipping", _shipping(stats.ship))
    return table


def _archives(archives: ArchiveStats) -> str:
    """The failure to compress is a warning of the health."""
    waiting = f"; {archives.waiting_files:,} to compress" if archives.waiting_files else ""
    deleted = f"{archives.deleted_files:,} deleted, {_bytes(archives.deleted_bytes)}"
    return f"{archives.files:,}, {_bytes(archives.bytes)}; {deleted}{waiting}"


def _shipping(ship: ShipStats) -> str:
    rest = f"{_bytes(ship.lag_bytes)} to ship, the oldest {duration(ship.lag_seconds)} old"
    return (rest if ship.lag_bytes else "all is shipped") + (f"; {visible(ship.problem)}" if ship.problem else "")


def _senders(stats: Stats, selected: int | None) -> Table:
    """Those from the selected one on, if it is beyond the first ones."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(f"senders ({stats.senders:,})")
    for name in ("received", "gaps", "last seen"):
        table.add_column(name, justify="right")
    first = 0 if selected is None else max(0, selected - SELECTED_ROW)
    for place, sender in enumerate(stats.top_senders[first : first + SENDERS_SHOWN], first):
        gaps = Text(f"{sender.lost:,}", LOSS if sender.lost else "")
        table.add_row(
            visible(sender.address),
            f"{sender.received:,}",
            gaps,
            f"{duration(sender.seconds_since_last)} ago",
            style="reverse" if place == selected else "",
        )
    return table


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f} ms"


def _bytes(count: int) -> str:
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.3g} {units[0]}" if value < 1000 else f"{value:,.0f} {units[0]}"


def duration(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days} d {hour} h"
    return f"{hour} h {minute} min" if hours else f"{minute} min {second} s" if minutes else f"{second} s"
