"""The text of a file in parts that are looked at one by one, in threads, and by what it is known that a part may be
passed over.

A part has whole lines. One of a compressed archive is unpacked when its lines are asked for, in whichever thread that
is. A line that is longer than a part is not an entry, and left out.
"""

import heapq
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from operator import itemgetter

import msgspec

from fastlog._parse import scan
from fastlog.archive.index import Frame, Index
from fastlog.archive.index import RarePart as RareLines
from fastlog.logs.conditions import EARLIEST, LATEST, Conditions, Window, entry_time
from fastlog.logs.open_file import BLOCK_BYTES, OpenFile, ZstdFile

# Of a plain file's text in a part. Parts of archives have as much.
PART_BYTES = 4 * BLOCK_BYTES
# How far from the time of what is beside it an entry may be, in a file that has no summary: lines that senders have
# kept, or that came late. `--clock-slack` is for clocks that are wrong.
MARGIN = timedelta(minutes=10)
SEARCHED_FROM_BYTES = 8 * PART_BYTES  # a smaller file is read as a whole, which takes no longer than a search
SAMPLE_BYTES = 1 << 16  # read to find out when a place of a file was written
SAMPLE_LINES = 32  # of which the time is asked: their median is right as long as most clocks are
# A sender may have sent much at once with wrong times, or old entries. So a search asks the places around as well, some
# of which have other senders' lines, and ends before these are too near.
PLACES = 9
WRONG = 1  # of them may have a wrong time, and nothing is missed; for more, the median has to suffice
NEAR_BYTES = 4 * PART_BYTES
LATE_PARTS = 8  # that follow each other and are later than the window: what can be read forward only is left then

# Of an archive: a window that is no wider is unpacked even for rare levels. It takes no time, and shows what else is in
# the window.
NARROW_FRAMES = 32

# A part of a block, from one offset to another: whole lines.
Lines = tuple[bytes | bytearray, int, int]
NO_LINES: Lines = (b"", 0, 0)


class Part(msgspec.Struct):
    """Of a file. `at`: where its first line begins in the text. `size`: bytes that it takes when it is unpacked."""

    file: OpenFile
    at: int
    size: int

    @property
    def frame(self) -> Frame | None:
        """The frame that the part is the whole of, if it is that of an archive with summaries."""
        return None

    def lines(self) -> Lines:
        """They may have to be unpacked. In any thread."""
        raise NotImplementedError

    def place(self, start: int, at: int) -> int:
        """Where a line begins in the file's text that begins at `at` in the block of its lines, which begin at
        `start`."""
        return self.at + at - start


class TextPart(Part):
    text: bytes
    start: int
    end: int

    def lines(self) -> Lines:
        return self.text, self.start, self.end


class RarePart(TextPart):
    """Lines of rare levels. `places`: where each begins in the text."""

    places: list[int]

    def place(self, start: int, at: int) -> int:
        return self.places[self.text.count(b"\n", start, at)]


class FramePart(Part):
    """`whole`: the frame. `is_inside`: whether it begins inside a line, which is too long for an entry."""

    file: ZstdFile
    whole: Frame
    is_inside: bool

    @property
    def frame(self) -> Frame | None:
        return self.whole if self.at == self.whole.start and not self.is_inside else None

    def lines(self) -> Lines:
        text = self.file.read_frame(self.whole)
        start = self.at - self.whole.start
        if self.is_inside and not start:
            start = text.find(b"\n") + 1
        end = text.rfind(b"\n") + 1
        return (text, start, end) if start < end else NO_LINES

    def place(self, start: int, at: int) -> int:
        return self.whole.start + at


def parts(file: OpenFile, conditions: Conditions, offset: int = 0, until: int | None = None) -> Iterator[Part]:
    """Those of a file that may have wanted lines, in order, from an offset on at which a line begins. `until`: where a
    plain file is taken to end."""
    if isinstance(file, ZstdFile) and file.index:
        yield from _of_archive(file, file.index, conditions, offset)
    elif file.is_compressed:
        yield from _of_stream(file, conditions.window, offset)
    else:
        yield from _of_plain(file, conditions.window, offset, until)


def parts_backward(file: OpenFile, conditions: Conditions) -> Iterator[Part]:
    """The same from the file's end to its beginning. The file is not one that can be read forward only."""
    if file.index is not None:
        yield from reversed(list(parts(file, conditions)))
        return
    start, end = _written_in(file, conditions.window)
    yield from _blocks_backward(file, start, end)


def end_of_lines(file: OpenFile) -> int:
    """The offset behind the last whole line of a plain file."""
    return next((part.at + part.size for part in _blocks_backward(file, 0, file.size)), 0)


def _of_archive(file: ZstdFile, index: Index, conditions: Conditions, offset: int) -> Iterator[Part]:
    wanted: list[FramePart] = []
    is_inside = False
    for frame in index.frames:
        summary = frame.summary
        if frame.end > offset and (summary is None or conditions.may_meet(summary)):
            wanted.append(FramePart(file, max(frame.start, offset), frame.size, frame, is_inside))
        is_inside = summary is not None and summary.lines == 0 and frame.size > 0
    is_narrow = conditions.window is not None and len(wanted) <= NARROW_FRAMES
    rare = None if is_narrow else conditions.rare_levels(index)
    if rare is None:
        yield from wanted
    elif wanted:
        yield from _of_rare(file, index, rare, offset, wanted)


def _of_rare(file: ZstdFile, index: Index, levels: list[str], offset: int, wanted: list[FramePart]) -> Iterator[Part]:
    """The lines of rare levels, of all together in order."""
    ranges = [(part.whole.start, part.whole.end) for part in wanted]
    found = [_rare_lines(file, index, level, offset, ranges) for level in levels]
    lines = found[0] if len(found) == 1 else heapq.merge(*found, key=itemgetter(0))
    gathered: list[tuple[int, bytes]] = []
    size = 0
    for place, line in lines:
        gathered.append((place, line))
        size += len(line) + 1
        if size >= PART_BYTES:
            yield _rare_part(file, gathered)
            gathered, size = [], 0
    if gathered:
        yield _rare_part(file, gathered)


def _rare_part(file: ZstdFile, lines: list[tuple[int, bytes]]) -> RarePart:
    text = b"\n".join([line for _, line in lines]) + b"\n"
    return RarePart(file, lines[0][0], len(text), text, 0, len(text), [place for place, _ in lines])


def _rare_lines(
    file: ZstdFile, index: Index, level: str, offset: int, ranges: list[tuple[int, int]]
) -> Iterator[tuple[int, bytes]]:
    """The lines of a rare level, each with its place, where they may be in one of these ranges."""
    for part in index.rare[level]:
        if part.last >= offset and any(start <= part.last and part.first < end for start, end in ranges):
            lines = file.read_rare(part)
            for place, line in _from_frames(file, index, level, part) if lines is None else lines:
                if place >= offset:
                    yield place, line


def _from_frames(file: ZstdFile, index: Index, level: str, part: RareLines) -> Iterator[tuple[int, bytes]]:
    """The lines that a damaged part should have had."""
    for frame in index.frames:
        if frame.start <= part.last and part.first < frame.end:
            place = frame.start
            for line in file.read_frame(frame).split(b"\n")[:-1]:
                if part.first <= place <= part.last and scan(line)[0][1] == level:
                    yield place, line
                place += len(line) + 1


def _of_plain(file: OpenFile, window: Window | None, offset: int, until: int | None) -> Iterator[Part]:
    start, end = _written_in(file, window)
    until = end if until is None else min(until, end)
    yield from _blocks(file, max(start, offset), until)


def _blocks(file: OpenFile, at: int, until: int) -> Iterator[TextPart]:
    """The lines of a plain file between two offsets, at the first of which a line begins."""
    is_inside = False
    while at < until:
        text = file.read(min(PART_BYTES, until - at), at)
        end = text.rfind(b"\n") + 1
        if not end and len(text) < PART_BYTES:
            return
        start = text.find(b"\n") + 1 if is_inside else 0
        if start < end:
            yield TextPart(file, at + start, end - start, text, start, end)
        is_inside = not end
        at += end or len(text)


def _blocks_backward(file: OpenFile, at: int, until: int) -> Iterator[TextPart]:
    """The same from the second offset to the first. An unfinished last line is left out."""
    while until > at and not file.failure:
        first = max(until - PART_BYTES, at)
        text = file.read(until - first, first)
        end = text.rfind(b"\n") + 1
        start = text.find(b"\n") + 1 if first > at else 0
        if start < end:
            yield TextPart(file, first + start, end - start, text, start, end)
        # Where no line begins in the block, a line is longer than it: the block before it is read next.
        until = first + start if 0 < start < len(text) else first


def _of_stream(file: OpenFile, window: Window | None, at: int) -> Iterator[Part]:
    """The lines of an archive that can be read forward only; `at` is where to begin."""
    late = window.widened(MARGIN + window.slack).until if window else LATEST
    late_parts = 0
    rest, is_inside = b"", False
    for piece in _gathered(file.pieces(at)):
        text = rest + piece
        end = text.rfind(b"\n") + 1
        start = text.find(b"\n") + 1 if is_inside else 0
        if start < end:
            yield TextPart(file, at + start, end - start, text, start, end)
            is_late = late < LATEST and (_time_at(text[start:end][:SAMPLE_BYTES]) or late) > late
            late_parts = late_parts + 1 if is_late else 0
            if late_parts == LATE_PARTS:
                return
        is_inside = (is_inside and not end) or len(text) - end >= PART_BYTES
        rest = b"" if is_inside else text[end:]
        at += len(text) - len(rest)


def _gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """In larger pieces."""
    gathered: list[bytes] = []
    size = 0
    for piece in pieces:
        gathered.append(piece)
        size += len(piece)
        if size >= PART_BYTES:
            yield b"".join(gathered)
            gathered, size = [], 0
    yield b"".join(gathered)


def _written_in(file: OpenFile, window: Window | None) -> tuple[int, int]:
    """Between which offsets of a plain file lines may be in the window. At the first one, a line begins."""
    if window is None or file.size < SEARCHED_FROM_BYTES:
        return 0, file.size
    wide = window.widened(MARGIN + window.slack)
    first, last = 0, file.size // SAMPLE_BYTES
    if wide.since > EARLIEST:
        first, _ = _search(file, first, last, lambda times: not times or times[1] >= wide.since)
    if wide.until < LATEST:
        _, last = _search(file, first, last, lambda times: times is not None and times[0] > wide.until)
    return _line_after(file, max(first - 1, 0) * SAMPLE_BYTES), min((last + 1) * SAMPLE_BYTES, file.size)


Times = tuple[datetime, datetime]


def _search(file: OpenFile, first: int, last: int, is_reached: Callable[[Times | None], bool]) -> tuple[int, int]:
    """Between which samples the first one is for whose times this is true."""
    while last - first > NEAR_BYTES // SAMPLE_BYTES:
        middle = (first + last) // 2
        if is_reached(_times_around(file, middle, (last - first) // (2 * (PLACES - 1)))):
            last = middle
        else:
            first = middle + 1
    return first, last


def _times_around(file: OpenFile, middle: int, step: int) -> Times | None:
    """Between which times most of the samples around one were written, which are so far from each other. A sample
    without a time does not count, nor does its mirror image: the others would lie on one side."""
    times = [_time_at(file.read(SAMPLE_BYTES, middle * SAMPLE_BYTES))]
    for away in range(step, step * (PLACES // 2) + 1, step):
        pair = [_time_at(file.read(SAMPLE_BYTES, place * SAMPLE_BYTES)) for place in (middle - away, middle + away)]
        times += pair if all(pair) else []
    known = sorted(time for time in times if time)
    if not known:
        return None
    return known[max((len(known) - 1) // 2 - WRONG, 0)], known[min(len(known) // 2 + WRONG, len(known) - 1)]


def _time_at(text: bytes) -> datetime | None:
    """When most of these lines were written, by their own word; None if no entry has a time."""
    lines = text.split(b"\n")[1:-1]
    times = sorted(time[0] for line in lines[:: len(lines) // SAMPLE_LINES + 1] if (time := entry_time(line)))
    return times[len(times) // 2] if times else None


def _line_after(file: OpenFile, offset: int) -> int:
    """The first offset from there on at which a line begins."""
    while offset:
        text = file.read(SAMPLE_BYTES, offset - 1)
        end = text.find(b"\n")
        if end >= 0 or not text:
            return offset + end
        offset += len(text)
    return 0
