"""The entries of the log that a command line asks for, and the files of the log."""

import argparse
import contextlib
import resource
from datetime import UTC, datetime
from pathlib import Path

from fastlog.commands.levels import parse_level
from fastlog.errors import say
from fastlog.logs.log_files import ReadError, open_file, open_log, unread_archives
from fastlog.logs.open_file import OpenFile
from fastlog.logs.selection import Selection, parse_pattern, parse_window

INCOMPLETE = 2  # the exit code where something could not be read, as that of grep
NAMED_MAX = 20  # files in one line


def selection_from(options: argparse.Namespace, entries_only: bool) -> Selection:
    """By the flags that `tail` and `count` share. Raises ConfigError."""
    return Selection(
        level=parse_level(options.level) if options.level else None,
        app=options.app,
        host=options.host,
        window=parse_window(
            options.since, options.until, options.clock_slack, datetime.now(UTC), is_local=options.zone == "local"
        ),
        pattern=parse_pattern(options.grep) if options.grep else None,
        entries_only=entries_only,
    )


def files_of(options: argparse.Namespace, path: Path, *, may_be_missing: bool = False) -> list[OpenFile]:
    """The files that the command line names, in its order, or those of the log, the oldest first; open. Raises
    ReadError."""
    _allow_many_files()
    if options.files:
        return [open_file(name) for name in options.files]
    files = open_log(path)
    if not files and not may_be_missing:
        raise ReadError(f"{path} does not exist: start the server, or use --log-dir if it writes elsewhere")
    if unread := unread_archives(path):
        say(f"cannot read {', '.join(unread)}: of compressed archives only .zst and .gz are read")
    return files


def exit_code_for(files: list[OpenFile]) -> int:
    """The exit code once the files were read. Says which could not be read, and why."""
    failures: dict[str, list[str]] = {}
    for file in files:
        if file.failure:
            failures.setdefault(file.failure, []).append(file.path)
    for reason, paths in failures.items():
        more = len(paths) - NAMED_MAX
        names = ", ".join(paths[:NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
        say(f"cannot read {names}: {reason}")
    return 0 if all(file.is_whole for file in files) else INCOMPLETE


def _allow_many_files() -> None:
    """Each file is kept open while it is read, and there may be a thousand: shells allow 1,024 descriptors."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
