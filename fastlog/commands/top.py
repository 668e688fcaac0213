"""`fastlog top`: shows the stats of a running server in the terminal, until `q` or Ctrl-C."""

import argparse
import contextlib
import signal
import sys
from time import monotonic
from types import FrameType
from typing import get_args

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from fastlog.addresses import dashboard_url
from fastlog.answers import HistoryAnswer, RangeName, SenderAnswer
from fastlog.commands.keyboard import Keys, names_of
from fastlog.commands.terminal import visible
from fastlog.commands.top_page import LOSS, Page, duration
from fastlog.commands.top_views import Scroll, error_lines, keys_lines, sender_lines
from fastlog.config import Settings
from fastlog.stats import Stats
from fastlog.stats_client import StatsClient, UnreachableError

REFRESH_SEC = 1.0  # the server shows a snapshot for half of it
RANGES: tuple[RangeName, ...] = get_args(RangeName)
OPENED_BY = {"e": "errors", "?": "keys", "escape": "first"}  # the views


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Shows the stats once, or until `q`, SIGINT or SIGTERM; returns the exit code."""
    client = StatsClient(
        options.url or dashboard_url(settings.dashboard_host, settings.dashboard_port), settings.dashboard_token
    )
    console = Console(highlight=False, emoji=False, markup=False)
    if options.once or not sys.stdout.isatty():
        with console.capture() as shown:  # rich would end the program when the reader has gone
            stats = client.stats()
            console.print(Page(client.url, console.encoding).draw(stats, None, client.history(RANGES[0])))
        print(shown.get(), end="")
        return 0
    signal.signal(signal.SIGINT, _end)
    signal.signal(signal.SIGTERM, _end)
    with contextlib.suppress(KeyboardInterrupt):
        _Watch(console, client).run()
    return 0


def _end(_number: int, _frame: FrameType | None) -> None:
    """Ends the watch once: a second signal must not interrupt the terminal's return to what it was."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


class _Watch:
    """What is shown: the first page, or another view, and where one is in it."""

    def __init__(self, console: Console, client: StatsClient) -> None:
        self._console = console
        self._client = client
        self._stats: Stats | None = None
        self._history: HistoryAnswer | None = None
        self._sender: SenderAnswer | None = None
        self._trouble: str | None = None
        self._answered = monotonic()
        self._view = "first"
        self._scroll = Scroll()
        self._selected: str | None = None  # the address of a sender
        self._range: RangeName = RANGES[0]

    def run(self) -> None:
        """Until `q`."""
        with Keys() as keys, Live(console=self._console, screen=True, auto_refresh=False) as live:
            while True:
                self._ask()
                until = monotonic() + REFRESH_SEC
                while True:
                    live.update(self._draw(), refresh=True)
                    typed = names_of(keys.wait(max(0.0, until - monotonic())))
                    if "q" in typed:
                        return
                    asks = [self._press(key) for key in typed]
                    if any(asks) or not typed:
                        break

    def _ask(self) -> None:
        try:
            self._stats = self._client.stats()
            self._history = self._client.history(self._range)
            if self._view == "sender" and self._selected is not None:
                self._sender = self._client.sender(self._selected)
            self._answered, self._trouble = monotonic(), None
        except UnreachableError as error:
            self._trouble = f"{error}; no answer for {duration(monotonic() - self._answered)}"

    def _press(self, key: str) -> bool:
        """Whether the server has to be asked."""
        if key == "r":
            self._range = RANGES[(RANGES.index(self._range) + 1) % len(RANGES)]
            return True
        if key == "enter" and self._view == "first" and self._selected is not None:
            self._open("sender")
            return True
        if key in OPENED_BY:
            self._open(OPENED_BY[key])
        elif self._view == "first":
            self._select({"up": -1, "down": 1}.get(key, 0))
        else:
            self._scroll.move(key, self._room)
        return False

    def _open(self, view: str) -> None:
        self._view, self._sender, self._scroll = view, None, Scroll()

    def _select(self, step: int) -> None:
        addresses = self._addresses()
        if step and addresses:
            place = self._place()
            place = (0 if step > 0 else len(addresses) - 1) if place is None else place + step
            self._selected = addresses[max(0, min(place, len(addresses) - 1))]

    def _addresses(self) -> list[str]:
        return [sender.address for sender in self._stats.top_senders] if self._stats else []

    def _place(self) -> int | None:
        """Of the selected sender, which may have left the list."""
        addresses = self._addresses()
        return addresses.index(self._selected) if self._selected in addresses else None

    @property
    def _room(self) -> int:
        """Lines below the title."""
        return max(1, self._console.height - 1)

    def _draw(self) -> RenderableType:
        page = Page(self._client.url, self._console.encoding, self._console.height)
        if self._view == "first" or self._stats is None:
            return page.draw(self._stats, self._trouble, self._history, self._place())
        title = page.title().append("  Escape: back  ?: keys", "dim")
        lines = [Text(visible(self._trouble), LOSS)] if self._trouble else []
        if self._view == "errors":
            lines += error_lines(self._stats, self._console.encoding)
        elif self._view == "sender":
            lines += sender_lines(self._selected or "", self._sender)
        else:
            lines += keys_lines()
        return self._scroll.draw(title, lines, self._room)
