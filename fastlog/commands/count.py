"""`fastlog count`: how many entries there are, by level, app, host or minute."""

import argparse
import sys
from pathlib import Path

from fastlog.commands.conditions import exit_code_for, files_of, selection_from
from fastlog.commands.count_table import Table, as_json, as_text, make_table
from fastlog.commands.terminal import visible_json
from fastlog.config import Settings
from fastlog.errors import discard_output, say
from fastlog.logs.counting import TOTAL, VALUES_MAX, Counting
from fastlog.logs.selected import without_old

TOP_IN_TERMINAL = 20  # apps or hosts, unless --top says another number: with the rest they fit on a screen


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Shows what the command line asks for; returns the exit code."""
    by = options.by or TOTAL
    selection = selection_from(options, entries_only=True)
    counting = Counting(selection, by)
    files = files_of(options, Path(settings.log_dir) / settings.log_filename)
    files = without_old(files, selection.conditions.window)
    counting.add(files)
    if counting.others and selection.is_all:
        say(f"{counting.others:,} lines are not entries, and are not counted")
    if counting.counts.beyond:
        say(f"there are more than {VALUES_MAX:,} different ones, or very long ones: the last ones count as others")
    if counting.hidden and (report := counting.hidden.report("counted", "counts")):
        say(report)
    is_terminal = sys.stdout.isatty()
    top = options.top
    if top is None and is_terminal and not options.json and by in ("app", "host"):
        top = TOP_IN_TERMINAL
    try:
        table = make_table(by, counting.counts, top, is_local=options.zone == "local")
        _print(table, options.json, is_terminal)
    except BrokenPipeError:
        discard_output()
    return exit_code_for(files)


def _print(table: Table, as_one_object: bool, is_terminal: bool) -> None:
    if is_terminal and not as_one_object:
        from fastlog.commands.histogram import show  # imports rich, which takes a while, and which scripts do not need

        show(table)
        return
    text = as_json(table) if as_one_object else as_text(table)
    if text:
        print(visible_json(text) if is_terminal else text, flush=True)
