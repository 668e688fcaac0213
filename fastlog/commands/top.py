"""`fastlog top`: the figures of a running server in the terminal, as long as one likes to look at them."""

import argparse
import signal
import sys
from time import monotonic, sleep
from typing import Never

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fastlog.addresses import dashboard_url
from fastlog.commands.terminal import visible
from fastlog.config import Settings
from fastlog.stats import Stats
from fastlog.stats_client import StatsClient, UnreachableError

REFRESH_SEC = 1.0  # the server shows a snapshot for half of it
HISTORY_COLUMNS = 60  # seconds of the rate's history shown
BAR_COLUMNS = 30
SENDERS_SHOWN = 10
BLOCKS = " ▁▂▃▄▅▆▇█"
LOSS = "bold red"  # and nothing else is red


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Shows what the command line asks for until SIGINT or SIGTERM; returns the exit code."""
    client = StatsClient(
        options.url or dashboard_url(settings.dashboard_host, settings.dashboard_port), settings.dashboard_token
    )
    console = Console(highlight=False, emoji=False, markup=False)
    if options.once or not sys.stdout.isatty():
        console.print(_page(client.url, client.stats(), None))
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # leaves the terminal as it was
    try:
        _watch(console, client)
    except KeyboardInterrupt:
        return 0


def _watch(console: Console, client: StatsClient) -> Never:
    stats: Stats | None = None
    answered = monotonic()
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            trouble = None
            try:
                stats = client.stats()
                answered = monotonic()
            except UnreachableError as error:
                trouble = f"{error}; no answer for {_duration(monotonic() - answered)}"
            live.update(_page(client.url, stats, trouble), refresh=True)
            sleep(REFRESH_SEC)


def _page(url: str, stats: Stats | None, trouble: str | None) -> RenderableType:
    """`trouble`: why the figures are not fresh."""
    title = Text.assemble(("fastlog", "bold"), "  ", visible(url))
    if stats is None:
        return Group(title, Text(visible(trouble or ""), "yellow"))
    title.append(f"  up {_duration(stats.elapsed_seconds)}  version {visible(stats.version)}", "dim")
    if trouble:
        state = Text(f"{visible(trouble)}. These figures are the last ones", "yellow")
    elif stats.health.reasons:
        state = Text(f"degraded: {visible('; '.join(stats.health.reasons))}", "yellow")
    else:
        state = Text("ok", "green")
    warnings = [Text(f"warning: {visible(warning)}", "yellow") for warning in stats.health.warnings]
    return Group(
        title,
        state,
        *warnings,
        Text(),
        _rates(stats),
        Text(),
        _levels(stats),
        Text(),
        _figures(stats),
        Text(),
        _senders(stats),
    )


def _rates(stats: Stats) -> Text:
    history = stats.rates.history[-HISTORY_COLUMNS:]
    top = max(history, default=0) or 1
    bars = "".join(BLOCKS[-(-count * (len(BLOCKS) - 1) // top)] for count in history)
    text = Text.assemble((f"{stats.logs_per_second:,.0f}", "bold"), " entries/s")
    text.append(f"  peak {stats.rates.peak:,.0f}  average {stats.rates.average:,.0f}  total {stats.total_received:,}\n")
    return text.append(bars, "cyan")


def _levels(stats: Stats) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    largest = max(stats.level_distribution.values(), default=0) or 1
    for level, count in stats.level_distribution.items():
        table.add_row(Text(visible(level)), f"{count:,}", Text("█" * (-(-count * BAR_COLUMNS // largest)), "cyan"))
    return table


def _figures(stats: Stats) -> Table:
    losses, acks, disk, sync = stats.losses, stats.acks, stats.disk, stats.sync
    rejected = ", ".join(f"{visible(reason)} {count:,}" for reason, count in stats.rejected.items() if count)
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column()
    table.add_row(
        "lost",
        Text.assemble(
            _loss("in the kernel", losses.kernel_drops), "   ", _loss("in the network", losses.network), "   ",
            _loss("to the disk", losses.disk),
        ),
    )  # fmt: skip
    table.add_row("rejected", rejected or "0")
    table.add_row("ACKs", f"{acks.sent:,} sent, {acks.pending:,} pending, {acks.dropped:,} given up")
    latency = acks.latency_ms
    table.add_row("ACK latency", f"p50 {_ms(latency.p50)}   p99 {_ms(latency.p99)}   max {_ms(latency.max)}")
    table.add_row("sync", f"{visible(sync.mode)}, last {_ms(sync.last_ms)}, {sync.failures:,} failed")
    table.add_row("buffered", f"{stats.buffered:,} entries, {stats.stored:,} stored, {stats.duplicates:,} duplicates")
    granted, wanted = stats.receive_buffer.granted, stats.receive_buffer.wanted
    table.add_row("receive buffer", f"{_bytes(granted)} granted of {_bytes(wanted)}")
    share = 100 * disk.log_bytes / disk.log_limit_bytes
    table.add_row(
        "log file",
        f"{_bytes(disk.log_bytes)}, {share:.0f} % of its limit, {disk.rotations:,} rotations; "
        f"{'unknown' if disk.free_bytes is None else _bytes(disk.free_bytes)} free",
    )
    return table


def _senders(stats: Stats) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(f"senders ({stats.senders:,})")
    for name in ("received", "lost", "seconds ago"):
        table.add_column(name, justify="right")
    shown = stats.top_senders[:SENDERS_SHOWN]
    for sender in shown:
        lost = Text(f"{sender.lost:,}", LOSS if sender.lost else "")
        table.add_row(visible(sender.address), f"{sender.received:,}", lost, f"{sender.seconds_since_last:.0f}")
    return table


def _loss(where: str, count: int | None) -> Text:
    return Text(f"{where} {'unknown' if count is None else f'{count:,}'}", LOSS if count else "")


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f} ms"


def _bytes(count: int) -> str:
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.3g} {units[0]}" if value < 1000 else f"{value:,.0f} {units[0]}"


def _duration(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days} d {hour} h"
    return f"{hour} h {minute} min" if hours else f"{minute} min {second} s" if minutes else f"{second} s"
