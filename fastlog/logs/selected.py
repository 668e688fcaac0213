"""The wanted lines of a log: of all its files, in order."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from fastlog.logs.conditions import EARLIEST, Window
from fastlog.logs.hidden import Hidden, Seen
from fastlog.logs.in_threads import looked_at
from fastlog.logs.open_file import OpenFile
from fastlog.logs.parts import Lines, Part, TextPart, parts, parts_backward
from fastlog.logs.selection import Selection

CLOCK_AHEAD_SEC = 86_400  # a sender's clock may be ahead by so much: a wrong time zone is less

Runs = list[tuple[int, int]]
T = TypeVar("T")


def selected(
    files: list[OpenFile],
    selection: Selection,
    shown: Callable[[bytes | bytearray, Runs], T],
    first: int = 0,
    offset: int = 0,
    hidden: Hidden | None = None,
) -> Iterator[T]:
    """What `shown` makes of the wanted lines of the files from the `first` one on, which it gets as runs in a block of
    text; in any thread. `offset`: where to begin in its text. `hidden` is told of all parts."""

    def look(part: Part, lines: Lines) -> tuple[Part, list[Seen], T | None]:
        runs = selection.runs(*lines)
        seen = hidden.look(part, lines, runs) if hidden else []
        return part, seen, shown(lines[0], runs) if runs else None

    for part, seen, made in looked_at(_parts_of(files, selection, first, offset), look):
        if hidden:
            hidden.add(part, seen)
        if made is not None:
            yield made


def beginning_of_last(files: list[OpenFile], selection: Selection, count: int) -> tuple[int, int]:
    """From which file, and which offset in its text, `count` wanted lines are left to the end."""
    if not count:
        return len(files), 0
    for number in reversed(range(len(files))):
        offset, found = _last_of(files[number], selection, count)
        if offset is not None:
            return number, offset
        count -= found
    return 0, 0


def without_old(files: list[OpenFile], window: Window | None) -> list[OpenFile]:
    """Closes the files that were last changed long before the window: they have only older entries. Where there is a
    summary, it is asked instead. The live file stays."""
    since = window.widened(window.slack).since if window else EARLIEST
    if since == EARLIEST:
        return files
    oldest = (since.timestamp() - CLOCK_AHEAD_SEC) * 1e9
    old = [file for file in files[:-1] if file.changed < oldest and file.index is None]
    for file in old:
        file.close()
    return [file for file in files if file not in old]


def _parts_of(files: list[OpenFile], selection: Selection, first: int, offset: int) -> Iterator[Part]:
    for number, file in enumerate(files[first:]):
        yield from parts(file, selection.conditions, 0 if number else offset)


def _looked_at(found: Iterable[Part], selection: Selection) -> Iterator[tuple[Part, Lines, Runs]]:
    return looked_at(found, lambda part, lines: (part, lines, selection.runs(*lines)))


def _last_of(file: OpenFile, selection: Selection, count: int) -> tuple[int | None, int]:
    """The offset of the `count`-th wanted line from the end, or None and how many there are."""
    if file.is_compressed and file.index is None:
        return _last_of_stream(file, selection, count)
    found = 0
    for part, lines, runs in _looked_at(parts_backward(file, selection.conditions), selection):
        in_part = _lines_in(lines, runs)
        if found + in_part >= count:
            return _offset_of(part, lines, runs, count - found), count
        found += in_part
    return None, found


def _last_of_stream(file: OpenFile, selection: Selection, count: int) -> tuple[int | None, int]:
    """The same for a file that can be read forward only: twice, as far as it has to."""
    places = []
    for part, lines, runs in _looked_at(parts(file, selection.conditions), selection):
        places.append((part.at, part.size, _lines_in(lines, runs)))
    found = sum(in_part for *_, in_part in places)
    if found < count:
        return None, found
    for at, size, in_part in reversed(places):
        if in_part >= count:
            anew = TextPart(file, at, size, file.text(size, at), 0, size)
            return _offset_of(anew, anew.lines(), selection.runs(*anew.lines()), count), count
        count -= in_part
    raise AssertionError("there are as many")


def _lines_in(lines: Lines, runs: Runs) -> int:
    return sum(lines[0].count(b"\n", start, end) for start, end in runs)


def _offset_of(part: Part, lines: Lines, runs: Runs, count: int) -> int:
    """Where the last `count` wanted lines of a part begin in the file's text."""
    block, lines_start, _ = lines
    for start, end in reversed(runs):
        in_run = block.count(b"\n", start, end)
        if in_run >= count:
            at = end
            for _ in range(count):
                at = block.rfind(b"\n", start, at - 1) + 1 or start
            return part.place(lines_start, at)
        count -= in_run
    raise AssertionError("there are as many")
