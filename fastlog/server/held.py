"""Priority entries in memory: those that a file holds and no sync covers yet, and those that no file has taken so far.

If a sync fails, the first are to be written anew, so they become like the others. Memory is bounded by bytes: of what
is beyond it, the oldest is dropped. Every entry has a number, which counts the entries of its kind since the start.
"""

from collections import deque
from typing import NamedTuple

from fastlog.server._lines import LineBuffer

HELD_MAX_BYTES = 16 << 20  # of each kind: seconds of nothing but priority entries
CHUNK_BYTES = 64 << 10  # smaller pieces are put together: short lines then take little more memory than their bytes


class Numbers(NamedTuple):
    """Entries in a row: the number of the first, and how many they are."""

    first: int
    entries: int


# The number to which a sync covers the entries whose senders wait for ACKs, and that of the others.
Covered = tuple[int, int]


class _Chunk:
    """Whole lines, and how many they are."""

    __slots__ = ("count", "lines")

    def __init__(self, lines: bytes | bytearray = b"", count: int = 0) -> None:
        self.lines = bytearray(lines)
        self.count = count

    def cut(self, size: int) -> "_Chunk":
        """Takes the lines off that make up the first `size` bytes."""
        taken = _Chunk(self.lines[:size], self.lines.count(b"\n", 0, size))
        del self.lines[:size]
        self.count -= taken.count
        return taken


class HeldLines:
    """A queue of lines, in the order of their numbers. The oldest of them are written: a file holds them.

    `first`: the number of the first entry to come. `lost`: entries dropped that no file holds.
    """

    def __init__(self, first: int) -> None:
        self.lost = 0
        self._size = 0  # bytes
        self._written: deque[_Chunk] = deque()
        self._unwritten: deque[_Chunk] = deque()
        self._durable_to = first  # no entry before this number has to be written again
        self._begins = first  # the first entry held; those dropped between are in the file that holds the written ones
        self._written_to = first
        self._ends = first
        self._counted_to = first  # the entries before count as stored or lost
        self._moving = Numbers(first, 0)  # entries written to a file that is not the live one yet: they do not count

    @property
    def await_sync(self) -> bool:
        """Whether there are written entries that are not durable."""
        return self._written_to > self._durable_to

    @property
    def buffered(self) -> int:
        """Entries that count neither as stored nor as lost."""
        return self._ends - max(self._counted_to, self._begins) + self._moving.entries

    def hold_written(self, lines: bytes, count: int) -> None:
        """Holds lines that the live file has just taken; they count as stored. No others may be unwritten."""
        self._add(self._written, lines, count)
        self._written_to = self._counted_to = self._ends

    def hold_unwritten(self, lines: bytes, count: int) -> None:
        """Holds lines that no file has taken."""
        self._add(self._unwritten, lines, count)

    def unwritten(self) -> list[bytearray]:
        return [chunk.lines for chunk in self._unwritten]

    def note_written(self, size: int) -> int:
        """The live file has taken the first `size` bytes of the unwritten lines, whole lines. Returns how many of these
        entries count as stored only now."""
        self._mark_written(size)
        newly = max(self._written_to - max(self._counted_to, self._begins), 0)
        self._counted_to = max(self._counted_to, self._written_to)
        return newly

    def move(self, most_bytes: int) -> list[bytearray]:
        """The lines are all unwritten. The first of them, so many bytes at most, but at least one line, are about to be
        written to a file that is to become the live one."""
        self._mark_written(self._fitting(most_bytes))
        first = max(self._counted_to, self._begins)
        self._moving = Numbers(first, max(self._written_to - first, 0))
        self._counted_to = max(self._counted_to, self._written_to)
        return [chunk.lines for chunk in self._written]

    def moved(self) -> int:
        """That file is the live one now. Returns how many entries count as stored only now."""
        count, self._moving = self._moving.entries, Numbers(self._begins, 0)
        return count

    def unwrite(self) -> Numbers:
        """The file that holds the written lines cannot be trusted, or is gone: all lines are unwritten again. Returns
        the entries that only that file held."""
        dropped = Numbers(self._durable_to, self._begins - self._durable_to)
        if self._moving.entries:
            self.lost += min(max(self._begins - self._moving.first, 0), self._moving.entries)
            self._counted_to = max(self._moving.first, self._begins)
            self._moving = Numbers(self._begins, 0)
        self._unwritten = deque(chunk for chunk in (*self._written, *self._unwritten) if chunk.count)
        self._written.clear()
        self._durable_to = self._written_to = self._begins
        return dropped

    def seal(self) -> int:
        """A sync begins, which covers the written lines. Returns the number to which it makes them durable."""
        self._written.append(_Chunk())  # what is written from now on is not put together with them
        return self._written_to

    def durable(self, to: int) -> None:
        """The entries before this number, which `seal` returned, are durable."""
        while self._written and self._begins + self._written[0].count <= to:
            self._drop(self._written.popleft())
        self._durable_to = to

    def bound(self) -> Numbers:
        """Drops the oldest lines of those that take more than HELD_MAX_BYTES. Returns the entries that are lost by it:
        no file holds them."""
        while self._size > HELD_MAX_BYTES:
            queue = self._written or self._unwritten
            excess, lines = self._size - HELD_MAX_BYTES, queue[0].lines
            if excess < len(lines):
                self._drop(queue[0].cut(lines.find(b"\n", excess - 1) + 1))
            else:
                self._drop(queue.popleft())
        first, self._written_to = self._written_to, max(self._written_to, self._begins)
        if self._durable_to == first:
            self._durable_to = self._written_to
        self.lost += max(self._written_to - max(first, self._counted_to), 0)
        return Numbers(first, self._written_to - first)

    def give_up(self) -> None:
        """At the end of the server: entries that no file holds are lost."""
        self.lost += self.buffered
        self._moving = Numbers(self._ends, 0)
        self._begins = self._written_to = self._counted_to = self._durable_to = self._ends
        self._written.clear()
        self._unwritten.clear()

    def _add(self, queue: deque[_Chunk], lines: bytes, count: int) -> None:
        self._size += len(lines)
        self._ends += count
        if queue and len(queue[-1].lines) + len(lines) <= CHUNK_BYTES:
            queue[-1].lines += lines
            queue[-1].count += count
        elif count:
            queue.append(_Chunk(lines, count))

    def _fitting(self, most_bytes: int) -> int:
        """The size of the first unwritten lines, so many bytes at most, but at least one line."""
        size = 0
        for chunk in self._unwritten:
            room = most_bytes - size
            if len(chunk.lines) > room:
                size += chunk.lines.rfind(b"\n", 0, room) + 1
                return size or chunk.lines.find(b"\n") + 1
            size += len(chunk.lines)
        return size

    def _mark_written(self, size: int) -> None:
        """The first `size` bytes of the unwritten lines, which are whole lines, are written."""
        while size:
            chunk = self._unwritten[0]
            if size < len(chunk.lines):
                chunk = chunk.cut(size)
            else:
                self._unwritten.popleft()
            self._written.append(chunk)
            self._written_to += chunk.count
            size -= len(chunk.lines)

    def _drop(self, chunk: _Chunk) -> None:
        self._size -= len(chunk.lines)
        self._begins += chunk.count


class Held:
    """Both kinds of priority entries, each with a bound of its own: those that nobody awaits must not push out those
    whose senders wait for ACKs.

    `first`: the number of the first entry to come whose sender waits.
    """

    def __init__(self, first: int) -> None:
        self.awaited = HeldLines(first)
        self.unawaited = HeldLines(0)
        self.kinds = self.awaited, self.unawaited

    @property
    def buffered(self) -> int:
        return sum(lines.buffered for lines in self.kinds)

    @property
    def lost(self) -> int:
        return sum(lines.lost for lines in self.kinds)

    def hold_written(self, buffer: LineBuffer, size: int) -> None:
        """Holds the priority entries' lines among the first `size` bytes, which the live file has just taken."""
        self.awaited.hold_written(*buffer.priority_lines(size, awaited=True))
        self.unawaited.hold_written(*buffer.priority_lines(size, awaited=False))

    def hold_unwritten(self, buffer: LineBuffer) -> None:
        """Holds all of the priority entries' lines, which no file has taken."""
        self.awaited.hold_unwritten(*buffer.priority_lines(buffer.size, awaited=True))
        self.unawaited.hold_unwritten(*buffer.priority_lines(buffer.size, awaited=False))

    def move(self, most_bytes: int) -> list[bytearray]:
        """As `HeldLines.move`, for one kind: what is left is to be appended to the new file once it is the live one."""
        first = self.awaited if self.awaited.unwritten() else self.unawaited
        return first.move(most_bytes)

    def moved(self) -> int:
        return sum(lines.moved() for lines in self.kinds)

    def unwrite(self) -> Numbers:
        """As `HeldLines.unwrite`. Returns those whose senders wait."""
        self.unawaited.unwrite()
        return self.awaited.unwrite()

    def seal(self) -> Covered:
        return self.awaited.seal(), self.unawaited.seal()

    def durable(self, to: Covered) -> None:
        for lines, number in zip(self.kinds, to, strict=True):
            lines.durable(number)

    def bound(self) -> Numbers:
        """As `HeldLines.bound`. Returns those whose senders wait."""
        self.unawaited.bound()
        return self.awaited.bound()

    def give_up(self) -> None:
        for lines in self.kinds:
            lines.give_up()
