"""`fastlog tail`: shows the entries of the log file and its archives, and with `-f` the new ones as they come."""

import argparse
import select
import sys
from pathlib import Path

from fastlog.commands.conditions import exit_code_for, files_of, selection_from
from fastlog.commands.rendering import Runs, Shown, form_from, shown_as_text, shown_by
from fastlog.commands.terminal import visible_json
from fastlog.config import Settings
from fastlog.errors import ConfigError, discard_output, say
from fastlog.logs.hidden import Hidden
from fastlog.logs.log_files import ReadError
from fastlog.logs.log_reader import Follower, Reader
from fastlog.logs.open_file import OpenFile
from fastlog.logs.parts import end_of_lines
from fastlog.logs.selected import beginning_of_last, selected, without_old
from fastlog.logs.selection import Selection

DEFAULT_COUNT = 10  # entries, as many as tail(1) shows
POLL_MS = 100  # between two looks at a followed log: short for a person, and a ten-thousandth of a processor


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Shows what the command line asks for; returns the exit code."""
    if options.follow and options.until:
        raise ConfigError("--until: does not go with --follow, which shows what is to come")
    if options.follow and options.files:
        raise ConfigError("--follow: does not go with FILE; it follows the log that --log-dir or a setting names")
    if options.json and options.fields is not None:
        raise ConfigError("--fields: does not go with --json, which shows the lines as they are stored; jq can choose")
    selection = selection_from(options, entries_only=options.json)
    count = _count(options.lines, DEFAULT_COUNT if options.follow or selection.is_all else None)
    shown = _shown_as_json() if options.json else shown_as_text(form_from(options), sys.stdout.encoding)
    path = Path(settings.log_dir) / settings.log_filename
    files = files_of(options, path, may_be_missing=options.follow)
    if not files:
        say(f"waiting for {path}")
    while not options.files and len(files) > 1 and not files[-1].size and not files[-2].is_compressed:
        files.pop().close()  # it is new, and the server may still write to the file before it
    files = without_old(files, selection.conditions.window)
    try:
        return _show(files, path, selection, count, shown, options.follow)
    except BrokenPipeError:  # the reader has seen enough
        discard_output()
        return 0


def _count(text: str | None, default: int | None) -> int | None:
    """How many entries; None: all."""
    if text is None:
        return default
    if text == "all":
        return None
    if not text.isdecimal():
        raise ConfigError(f"-n {text}: must be a whole number, 0 or more, or `all`")
    return int(text)


def _show(
    files: list[OpenFile],
    path: Path,
    selection: Selection,
    count: int | None,
    shown: Shown,
    is_followed: bool,
) -> int:
    follower = None
    if is_followed:
        follower = Follower(path, _reader_of_what_comes(files))
    first, offset = (0, 0) if count is None else beginning_of_last(files, selection, count)
    hidden = Hidden(selection, files[first:], offset) if selection.conditions.window else None
    for text in selected(files, selection, shown, first, offset, hidden):
        sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()
    if hidden and (report := hidden.report("shown", "shows")):
        say(report)
    exit_code = exit_code_for(files)
    if follower is None:
        return exit_code
    for file in files[:-1]:  # the last one is followed; those that are deleted meanwhile would take room
        file.close()
    # What comes now is in the window, whatever its sender's clock says.
    _follow(follower, selection.at_any_time() if selection.conditions.window else selection, shown)
    return exit_code


def _reader_of_what_comes(files: list[OpenFile]) -> Reader | None:
    """Reads what is added to the newest file from now on; None if there is none yet. An archive gets no more lines.
    Raises ReadError."""
    if not files:
        return None
    file = files[-1]
    try:
        file.keep_open()
    except OSError as error:
        file.note_failure(error)
        raise ReadError(f"cannot read {file.path}: {file.failure}") from error
    if not file.is_compressed:
        return Reader(file, end_of_lines(file))
    reader = Reader(file)
    for _ in reader.read():
        pass
    return reader


def _follow(follower: Follower, selection: Selection, shown: Shown) -> None:
    """Until nobody reads the output any more."""
    reader_gone = select.poll()
    reader_gone.register(1, 0)
    while True:
        for block, start, end in follower.new():
            sys.stdout.buffer.write(shown(block, selection.runs(block, start, end)))
        sys.stdout.buffer.flush()
        if reader_gone.poll(POLL_MS):
            return


def _shown_as_json() -> Shown:
    if sys.stdout.isatty():
        return shown_by(visible_json, sys.stdout.encoding)

    def as_stored(block: bytes | bytearray, runs: Runs) -> bytes:
        view = memoryview(block)
        return b"".join([view[start:end] for start, end in runs])

    return as_stored
