"""`fastlog top`: shows the stats of a running server in the terminal, until `q` or Ctrl-C."""

import argparse
import contextlib
import signal
import sys
from time import monotonic
from types import FrameType

from rich.console import Console
from rich.live import Live

from fastlog.addresses import dashboard_url
from fastlog.commands.keyboard import Keys
from fastlog.commands.top_page import Page, duration
from fastlog.config import Settings
from fastlog.stats import Stats
from fastlog.stats_client import StatsClient, UnreachableError

REFRESH_SEC = 1.0  # the server shows a snapshot for half of it


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Shows the stats once, or until `q`, SIGINT or SIGTERM; returns the exit code."""
    client = StatsClient(
        options.url or dashboard_url(settings.dashboard_host, settings.dashboard_port), settings.dashboard_token
    )
    console = Console(highlight=False, emoji=False, markup=False)
    if options.once or not sys.stdout.isatty():
        with console.capture() as shown:  # rich would end the program when the reader has gone
            console.print(Page(client.url, console.encoding).draw(client.stats(), None))
        print(shown.get(), end="")
        return 0
    signal.signal(signal.SIGINT, _end)
    signal.signal(signal.SIGTERM, _end)
    with contextlib.suppress(KeyboardInterrupt):
        _watch(console, client)
    return 0


def _end(_number: int, _frame: FrameType | None) -> None:
    """Ends the watch once: a second signal must not interrupt the terminal's return to what it was."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _watch(console: Console, client: StatsClient) -> None:
    stats: Stats | None = None
    answered = monotonic()
    with Keys() as keys, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            trouble = None
            try:
                stats = client.stats()
                answered = monotonic()
            except UnreachableError as error:
                trouble = f"{error}; no answer for {duration(monotonic() - answered)}"
            page = Page(client.url, console.encoding, console.height)
            live.update(page.draw(stats, trouble), refresh=True)
            until = monotonic() + REFRESH_SEC
            while (left := until - monotonic()) > 0:
                if b"q" in keys.wait(left).lower():
                    return
