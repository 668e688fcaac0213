"""The entries of the log that a command line asks for."""

import argparse
from datetime import UTC, datetime

from fastlog.commands.levels import parse_level
from fastlog.logs.selection import Selection, parse_pattern, parse_window


def selection_from(options: argparse.Namespace, entries_only: bool) -> Selection:
    """By the flags that `tail` and `count` share. Raises ConfigError."""
    return Selection(
        level=parse_level(options.level) if options.level else None,
        app=options.app,
        host=options.host,
        window=parse_window(options.since, options.until, options.clock_slack, datetime.now(UTC)),
        pattern=parse_pattern(options.grep) if options.grep else None,
        entries_only=entries_only,
    )
