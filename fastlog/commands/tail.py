"""`fastlog tail`: shows the entries of the log file and its archives, and with `-f` the new ones as they come."""

import argparse
import re
import select
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from fastlog.commands.conditions import files_of, selection_from
from fastlog.commands.terminal import PLAIN, visible, visible_json, wants_colours
from fastlog.config import Settings
from fastlog.entry import level_of
from fastlog.errors import ConfigError, discard_output, say
from fastlog.logs.hidden import Hidden
from fastlog.logs.log_reader import Follower, Reader
from fastlog.logs.open_file import OpenFile
from fastlog.logs.parts import end_of_lines
from fastlog.logs.selected import beginning_of_last, selected, without_old
from fastlog.logs.selection import Selection, fields_of

DEFAULT_COUNT = 10  # entries, as many as tail(1) shows
POLL_MS = 100  # between two looks at a followed log: short for a person, and a ten-thousandth of a processor

DIM = "\x1b[2m"
COLOURS = {
    "DEBUG": "\x1b[2m",
    "INFO": "\x1b[32m",
    "WARNING": "\x1b[33m",
    "ERROR": "\x1b[31m",
    "CRITICAL": "\x1b[1;97;41m",
    "OTHER": "\x1b[36m",
}
_BARE = re.compile(r'[^\s"]+')  # a value whose end is plain without quotes

Runs = list[tuple[int, int]]
Show = Callable[[bytes | bytearray, Runs], None]


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Shows what the command line asks for; returns the exit code."""
    if options.follow and options.until:
        raise ConfigError("--until: does not go with --follow, which shows what is to come")
    selection = selection_from(options, entries_only=options.json)
    count = _count(options.lines, DEFAULT_COUNT if options.follow or selection.is_all else None)
    path = Path(settings.log_dir) / settings.log_filename
    files = files_of(path, may_be_missing=options.follow)
    if not files:
        say(f"waiting for {path}")
    while len(files) > 1 and not files[-1].size and not files[-2].is_compressed:
        files.pop().close()  # it is new, and the server may still write to the file before it
    files = without_old(files, selection.conditions.window)
    try:
        return _show(files, path, selection, count, options)
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
    files: list[OpenFile], path: Path, selection: Selection, count: int | None, options: argparse.Namespace
) -> int:
    show = _show_json() if options.json else _show_text()
    follower = None
    if options.follow:
        follower = Follower(path, _reader_of_what_comes(files[-1]) if files else None)
    beginning = (0, 0) if count is None else beginning_of_last(files, selection, count)
    hidden = Hidden(selection) if selection.conditions.window else None
    for block, runs in selected(files, selection, *beginning, hidden):
        show(block, runs)
    sys.stdout.buffer.flush()
    if hidden and (report := hidden.report()):
        say(report)
    return _follow(follower, selection, show) if follower else 0


def _reader_of_what_comes(file: OpenFile) -> Reader:
    """Reads what is added to the newest file from now on. An archive gets no more lines."""
    if not file.is_compressed:
        return Reader(file, end_of_lines(file))
    reader = Reader(file)
    for _ in reader.read():
        pass
    return reader


def _follow(follower: Follower, selection: Selection, show: Show) -> int:
    reader_gone = select.poll()
    reader_gone.register(1, 0)
    while True:
        for block, start, end in follower.new():
            show(block, selection.runs(block, start, end))
        sys.stdout.buffer.flush()
        if reader_gone.poll(POLL_MS):
            return 0


def _show_json() -> Show:
    write = sys.stdout.buffer.write
    if not sys.stdout.isatty():

        def show_as_stored(block: bytes | bytearray, runs: Runs) -> None:
            view = memoryview(block)
            write(b"".join([view[start:end] for start, end in runs]))

        return show_as_stored
    return _show_by(visible_json)


def _show_text() -> Show:
    colours = wants_colours()
    return _show_by(lambda line: render(line, colours))


def _show_by(shown: Callable[[str], str]) -> Show:
    write, encoding = sys.stdout.buffer.write, sys.stdout.encoding

    def show(block: bytes | bytearray, runs: Runs) -> None:
        for start, end in runs:
            lines = block[start : end - 1].split(b"\n")
            text = "".join([shown(line.decode("utf-8", "backslashreplace")) + "\n" for line in lines])
            write(text.encode(encoding, "backslashreplace"))

    return show


def render(line: str, colours: bool) -> str:
    """A line of the log for people: `time LEVEL app host message key=value…`, with `-` for a field that is missing.

    In place of `timestamp` and `host`, those that the server recorded are shown: `received` and `source`."""
    try:
        fields = dict(fields_of(line))
        level, message = fields.pop("level"), fields.pop("message")
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError):
        return visible(line)
    time, host = _first_of(fields, "timestamp", "received"), _first_of(fields, "host", "source")
    app = fields.pop("app", "-")
    rest = "".join([f" {key}={_quoted(value)}" for key, value in fields.items()])
    text = f"{app} {host} {message}{rest}"
    if colours:
        return f"{DIM}{visible(time)}{PLAIN} {COLOURS[level_of(level)]}{visible(level):8}{PLAIN} {visible(text)}"
    return visible(f"{time} {level:8} {text}")


def _first_of(fields: dict[str, str], said: str, recorded: str) -> str:
    """Takes what the sender says out of the fields, or else what the server recorded."""
    return fields.pop(said, "") or fields.pop(recorded, "") or "-"


def _quoted(value: str) -> str:
    """The value, in quotes where its end would not be plain without them."""
    return value if _BARE.fullmatch(value) or value[:1] in ("{", "[") else f'"{value}"'
