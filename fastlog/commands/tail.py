"""`fastlog tail`: shows the entries of the log file and its archives, and with `-f` the new ones as they come."""

import argparse
import contextlib
import re
import resource
import select
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from fastlog.commands.levels import parse_level
from fastlog.commands.terminal import PLAIN, visible, visible_json, wants_colours
from fastlog.config import Settings
from fastlog.entry import level_of
from fastlog.errors import ConfigError, discard_output, say
from fastlog.logs.log_files import OpenFile, ReadError, open_log, unread_archives
from fastlog.logs.log_reader import Follower, Reader, read_backward
from fastlog.logs.selection import Selection, fields_of, parse_pattern, parse_since

DEFAULT_COUNT = 10  # entries, as many as tail(1) shows
CLOCK_AHEAD_SEC = 86_400  # a sender's clock may be ahead by so much: a wrong time zone is less
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
Show = Callable[[bytearray, Runs], None]


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Shows what the command line asks for; returns the exit code."""
    since = parse_since(options.since, datetime.now(UTC)) if options.since else None
    selection = Selection(
        level=parse_level(options.level) if options.level else None,
        app=options.app,
        host=options.host,
        since=since,
        pattern=parse_pattern(options.grep) if options.grep else None,
        entries_only=options.json,
    )
    count = _count(options.lines, DEFAULT_COUNT if options.follow or selection.is_all else None)
    path = Path(settings.log_dir) / settings.log_filename
    _allow_many_files()
    files = open_log(path)
    if not files:
        if not options.follow:
            raise ReadError(f"{path} does not exist: start the server, or use --log-dir if it writes elsewhere")
        say(f"waiting for {path}")
    if unread := unread_archives(path):
        say(f"cannot read {', '.join(unread)}: of compressed archives only .gz is read")
    while len(files) > 1 and not files[-1].size and not files[-2].is_compressed:
        files.pop().close()  # it is new, and the server may still write to the file before it
    if since:  # files that were last changed long before it hold only older entries
        old = [file for file in files[:-1] if file.changed < (since.timestamp() - CLOCK_AHEAD_SEC) * 1e9]
        for file in old:
            file.close()
        files = files[len(old) :]
    try:
        return _show(files, path, selection, count, options)
    except BrokenPipeError:  # the reader has seen enough
        discard_output()
        return 0


def _allow_many_files() -> None:
    """Each file is open while it is read, and there may be a thousand archives: shells allow 1,024 descriptors."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


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
    reader = None
    first, offset = (0, 0) if count is None else _beginning(files, selection, count)
    for number, file in enumerate(files):
        if number < first:
            file.close()
            continue
        reader = Reader(file, offset if number == first else 0)
        for block, start, end in reader.read(None if file.is_compressed else file.size):
            show(block, selection.runs(block, start, end))
        if number < len(files) - 1 or not options.follow:
            file.close()
    sys.stdout.buffer.flush()
    return _follow(Follower(path, reader), selection, show) if options.follow else 0


def _follow(follower: Follower, selection: Selection, show: Show) -> int:
    reader_gone = select.poll()
    reader_gone.register(1, 0)
    while True:
        for block, start, end in follower.new():
            show(block, selection.runs(block, start, end))
        sys.stdout.buffer.flush()
        if reader_gone.poll(POLL_MS):
            return 0


def _beginning(files: list[OpenFile], selection: Selection, count: int) -> tuple[int, int]:
    """The file and the offset from which `count` entries of the selection are left to the end."""
    if not count:
        return (len(files) - 1, _end_of(files[-1])) if files else (0, 0)
    for number in reversed(range(len(files))):
        find = _find_in_compressed if files[number].is_compressed else _find_in_plain
        offset, found = find(files[number], selection, count)
        if offset is not None:
            return number, offset
        count -= found
    return 0, 0


def _end_of(file: OpenFile) -> int:
    """The offset behind the last whole line."""
    if not file.is_compressed:
        return next((at + end for (_, _, end), at in read_backward(file)), 0)
    reader = Reader(file)
    for _ in reader.read():
        pass
    return reader.offset


def _find_in_plain(file: OpenFile, selection: Selection, count: int) -> tuple[int | None, int]:
    """The offset of the `count`-th entry from the end, or None and how many there are."""
    found = 0
    for (block, start, end), at in read_backward(file):
        place, in_block = _find_in_block(block, start, end, selection, count - found)
        if place is not None:
            return at + place, count
        found += in_block
    return None, found


def _find_in_compressed(file: OpenFile, selection: Selection, count: int) -> tuple[int | None, int]:
    """As `_find_in_plain`. It counts from the beginning, then reads anew only the block in question."""
    reader, blocks, found = Reader(file), [], 0
    for block, start, end in reader.read():
        runs = selection.runs(block, start, end)
        in_block = sum(block.count(b"\n", run_start, run_end) for run_start, run_end in runs)
        blocks.append((reader.offset - end + start, reader.offset, in_block))
        found += in_block
    if found < count:
        return None, found
    for begin, until, in_block in reversed(blocks):
        if in_block >= count:
            for block, start, end in Reader(file, begin).read(until):
                place, _ = _find_in_block(block, start, end, selection, count)
                return begin + (place or 0), count
        count -= in_block
    return None, found


def _find_in_block(
    block: bytearray, start: int, end: int, selection: Selection, count: int
) -> tuple[int | None, int]:  # fmt: skip
    """Where the last `count` entries of block[start:end] begin, or None and how many there are."""
    found = 0
    for run_start, run_end in reversed(selection.runs(block, start, end)):
        lines = block.count(b"\n", run_start, run_end)
        if found + lines >= count:
            at = run_end
            for _ in range(count - found):
                at = block.rfind(b"\n", run_start, at - 1) + 1 or run_start
            return at, count
        found += lines
    return None, found


def _show_json() -> Show:
    write = sys.stdout.buffer.write
    if not sys.stdout.isatty():

        def show_as_stored(block: bytearray, runs: Runs) -> None:
            view = memoryview(block)
            write(b"".join([view[start:end] for start, end in runs]))

        return show_as_stored
    return _show_by(visible_json)


def _show_text() -> Show:
    colours = wants_colours()
    return _show_by(lambda line: render(line, colours))


def _show_by(shown: Callable[[str], str]) -> Show:
    write, encoding = sys.stdout.buffer.write, sys.stdout.encoding

    def show(block: bytearray, runs: Runs) -> None:
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
