"""`fastlog loadtest`: sends at a given rate, and reports what became of each entry by the server's figures."""

import argparse
import os
import sys
from pathlib import Path

import msgspec

from fastlog.addresses import dashboard_url
from fastlog.config import Settings
from fastlog.errors import discard_output, say
from fastlog.loadtest.entries import Supply
from fastlog.loadtest.report import Report, as_text
from fastlog.loadtest.run import ENDLESS, Measurement, Plan, Target, Watcher
from fastlog.loadtest.search import RUN_SEC, Search
from fastlog.stats_client import StatsClient

DEFAULT_ENTRIES = 10_000  # sent where neither --logs nor --duration ends the run
INTERRUPTED = 130  # exit code of a command that Ctrl-C ended, as in shells


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The command's flags; see docs/loadtest.md."""

    server: str
    logs: int | None
    rate: float
    clients: int
    duration: float | None
    error_share: float | None
    message_bytes: int | None
    corpus: str | None
    seed: int
    timeout: float
    dashboard: str | None
    find_max: bool
    json: bool


class _SearchWatcher(Watcher):
    def interrupted(self, wait_sec: float) -> None:
        raise KeyboardInterrupt  # a run that was cut short is of no use to a search


class _Command:
    def __init__(self, options: Options, settings: Settings) -> None:
        self._options = options
        self._settings = settings
        url = options.dashboard or dashboard_url(options.server, settings.dashboard_port)
        self._stats_client = StatsClient(url, settings.dashboard_token)
        self._target = Target(options.server, settings.server_port, settings.sndbuf_size, options.timeout)
        self._supply = Supply(
            options.seed, options.error_share, options.message_bytes, Path(options.corpus) if options.corpus else None
        )
        if self._supply.left_out:
            say(f"{self._supply.left_out} lines of {options.corpus} do not fit in a datagram and are left out")

    def run(self) -> int:
        options = self._options
        entries = options.logs if options.logs or options.duration else DEFAULT_ENTRIES
        plan = Plan(entries, options.rate, min(options.clients, entries or options.clients), options.duration)
        report = self._watched(plan)
        _print(msgspec.json.encode(report).decode() if options.json else as_text(report))
        if report.sending.interrupted:
            return INTERRUPTED
        return 0 if report.lossless else 1

    def find_max(self) -> int:
        options = self._options
        clients = min(options.clients, options.logs or options.clients)
        seconds = options.duration or RUN_SEC

        def measured(rate: float, longer: float) -> Report:
            return self._measured(Plan(options.logs, rate, clients, seconds * longer), _SearchWatcher())

        found = Search(measured, None if options.json else _print).run()
        if options.json:
            _print(msgspec.json.encode(found).decode())
        return 0 if found.rate is not None else 1

    def _watched(self, plan: Plan) -> Report:
        """The run, with a progress bar at a terminal."""
        if not (sys.stderr and os.isatty(sys.stderr.fileno())):
            return self._measured(plan, Watcher())
        from fastlog.loadtest.progress import Bar  # imports rich, which takes a while, and which scripts do not need

        with Bar(plan.total if plan.total < ENDLESS else None, self._stats_client) as bar:
            return self._measured(plan, bar)

    def _measured(self, plan: Plan, watcher: Watcher) -> Report:
        dealt = self._supply.deal(plan.counts)
        levels = self._settings.priority_levels
        return Measurement(self._target, plan, dealt, levels, self._stats_client, watcher).run()


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Returns the exit code."""
    options = msgspec.convert(vars(arguments), Options)
    command = _Command(options, settings)
    return command.find_max() if options.find_max else command.run()


def _print(text: str) -> None:
    """Prints on standard output. If its reader has gone, the exit code still says what the test found."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        discard_output()
