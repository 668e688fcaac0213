"""Reads one file of the log in batches of whole lines, and only what a sync has made durable.

A pass takes the size, syncs the file, and then hands out what that size covers, up to its last line feed. What is
written meanwhile is for the next pass. Nothing is done for a single line.

Stored lines hold no zero bytes. Where there is one, a power cut has left it in place of lost lines, and the server has
not repaired the file yet. So nothing is shipped from there on: a repair may move what follows. In a compressed archive
nothing is repaired any more, so it is shipped as it is.
"""

import contextlib
import errno

from fastlog.limits import LINE_MAX_BYTES
from fastlog.segments import Position
from fastlog.ship.compressed_file import BrokenError
from fastlog.ship.refused import RefusedFile
from fastlog.ship.segment_file import CutError, SegmentFile
from fastlog.ship.sink import Batch

BLOCK_BYTES = 1 << 18  # read at once where nothing is shipped: to count lines, or to find the end of garbage
DAMAGE = "{} holds zeros in place of lost lines: `fastlog serve` repairs it when it starts"
LONGEST_BYTES = LINE_MAX_BYTES + 1  # the server writes no longer lines; with the line feed


class DamageError(OSError):
    """The next line is damaged, until the server repairs the file."""


class Reader:
    """Reads from an offset at which a line begins."""

    def __init__(self, file: SegmentFile, offset: int, refused: RefusedFile) -> None:
        self.file = file
        self.offset = offset
        self.refused = 0  # lines that are longer than any of an entry
        self.synced = 0  # bytes: what a sync has covered, as far as lines may be shipped
        self._size = -1  # bytes that the file had then
        self._refused = refused
        self._searched = 0  # up to there, no line feed follows the offset, at which a line begins that is too long

    @property
    def position(self) -> Position:
        return Position(*self.file.identity, self.offset)

    def begin_pass(self) -> None:
        """Syncs what the file has now. Raises OSError, and CutError."""
        size = self.file.size()
        self.file.check()
        if size < self.offset:
            raise CutError
        durable = self.file.durable_size()
        if durable is None and size != self._size:
            self.file.sync()
            self._size = size
            durable = self.file.durable_size()  # the server says it as soon as a sync of its own has failed
        self.synced = size if durable is None else min(size, durable)

    def next(self, batch_bytes: int, line_max_bytes: int) -> Batch | None:
        """The next lines of this pass. None: it is over. To be called again when `offset` has been moved to their end.

        A line that is longer than a batch is one alone. One of more than `line_max_bytes` is refused. Raises OSError,
        and CutError.
        """
        longest = min(LONGEST_BYTES, line_max_bytes)
        while self.offset < self.synced:
            lines = self._read(min(batch_bytes, line_max_bytes, self.synced - self.offset))
            end = lines.rfind(b"\n") + 1
            if not end and len(lines) < longest:
                lines = self._read(min(longest, self.synced - self.offset))
                end = lines.find(b"\n") + 1
            if not end:
                if len(lines) < longest or not self._pass_over(lines):  # its end is not durable yet
                    return None
                continue
            if end < len(lines):
                lines = lines[:end]
            self.file.check()  # it was not cut before it was read
            first = self.position
            return Batch(lines, first, first._replace(offset=first.offset + end), lines.count(b"\n"))
        return None

    def _read(self, size: int) -> bytes:
        """From the offset on, up to damage. Raises OSError, and DamageError if the next line is damaged."""
        lines = self.file.read(size, self.offset)
        if b"\0" not in lines or not self.file.is_repaired:
            return lines
        whole = lines.rfind(b"\n", 0, lines.find(b"\0")) + 1
        if not whole:
            raise DamageError(errno.EUCLEAN, DAMAGE.format(self.file.path))
        return lines[:whole]

    def rest(self) -> tuple[int, int]:
        """What the file has behind the offset: bytes, and lines; the last may be unfinished. Raises OSError."""
        offset, lines, last = self.offset, 0, b"\n"
        while block := self.file.read(BLOCK_BYTES, offset):
            lines += block.count(b"\n")
            offset += len(block)
            last = block[-1:]
        return offset - self.offset, lines + (last != b"\n")

    def to_next_line(self) -> int:
        """Moves to the beginning of a line, if the offset is not at one. Returns by how many bytes. Raises OSError."""
        begin = self.offset
        # Frames begin with a line. What is broken is told when it is to be shipped.
        with contextlib.suppress(BrokenError):
            if not begin or self.file.read(1, begin - 1) == b"\n":
                return 0
            while block := self.file.read(BLOCK_BYTES, self.offset):
                feed = block.find(b"\n")
                self.offset += feed + 1 if feed >= 0 else len(block)
                if feed >= 0:
                    break
        return self.offset - begin

    def _pass_over(self, begin: bytes) -> bool:
        """Moves behind a line that is too long, as soon as its end is durable. Returns whether it has moved."""
        at = max(self._searched, self.offset + len(begin))
        while at < self.synced and (block := self.file.read(min(BLOCK_BYTES, self.synced - at), at)):
            feed = block.find(b"\n")
            if feed >= 0:
                size = at + feed - self.offset
                self.file.check()
                self.refused += 1
                self._refused.note(self.position, begin, f"a line of {size:,} bytes is too long", size)
                self.offset = at + feed + 1
                return True
            at += len(block)
        self._searched = at
        return False
