"""An archive that the server has compressed, open to be shipped: read as the text that it holds.

The text is that of the archive it was made from, so a position is the same in both, and shipping continues in the one
where it stopped in the other. Frames are unpacked one at a time. The library for that is loaded with the first one.
"""

import errno
from bisect import bisect_right
from pathlib import Path

from fastlog.archive.index import DamagedError, Frame, Index, read_index
from fastlog.segments import Identity
from fastlog.ship.segment_file import SegmentFile

FRAMES_KEPT = 2  # unpacked ones: a batch may begin in one and end in the next
NOT_OURS = "`fastlog serve` has not compressed it, or its end is missing"


class BrokenError(OSError):
    """What comes next in the archive cannot be unpacked, or not be read."""

    def __init__(self, file: "CompressedFile", why: str | None) -> None:
        super().__init__(errno.EUCLEAN, f"it cannot be unpacked: {why}", str(file.path))
        self.file = file


class CompressedFile(SegmentFile):
    """Its sizes and offsets are those of the text, in bytes. Raises what `SegmentFile` does; what reads its content
    raises BrokenError."""

    is_repaired = False

    def __init__(self, path: Path, identity: Identity) -> None:
        super().__init__(path, identity)
        self._index: Index | None = None
        self._texts: dict[int, bytes] = {}  # of the frames that were unpacked last, by their numbers

    def size(self) -> int:
        return self._read_index().text_size

    def size_left(self, offset: int) -> int:
        return self.size() - offset if self._index else super().size_left(0)

    def read(self, size: int, offset: int) -> bytes:
        """As much as there is, up to a frame that is broken."""
        frames = self._read_index().frames
        number = _number_at(frames, offset)
        parts: list[bytes] = []
        while size > 0 and number < len(frames):
            start = offset - frames[number].start
            try:
                part = self._unpack(number)[start : start + size]
            except BrokenError:
                if not any(b"\n" in part for part in parts):  # otherwise whole lines come first
                    raise
                break
            parts.append(part)
            size -= len(part)
            offset += len(part)
            number += 1
        return b"".join(parts)

    def behind_broken(self, offset: int) -> tuple[int, int]:
        """Where the text continues, if nothing can be read from the offset on, and how many lines are before that."""
        frames = self._read_index().frames
        lines, is_broken = 0, False
        for number in range(_number_at(frames, offset), len(frames)):
            try:
                self._unpack(number)
                if is_broken:
                    return frames[number].start, lines
            except BrokenError:
                is_broken = True
            summary = frames[number].summary
            lines += summary.lines if summary else 0
        return frames[-1].end, lines

    def _read_index(self) -> Index:
        if self._index is None:
            try:
                self._index = read_index(self.fd)
                if self._index is None:
                    raise BrokenError(self, NOT_OURS)
            except DamagedError as error:
                raise BrokenError(self, str(error)) from error
        return self._index

    def _unpack(self, number: int) -> bytes:
        text = self._texts.get(number)
        if text is not None:
            return text
        from fastlog.archive.frames import read_frame  # most logs have no compressed archives

        while len(self._texts) >= FRAMES_KEPT:
            del self._texts[next(iter(self._texts))]
        frame = self._read_index().frames[number]
        try:
            text = self._texts[number] = read_frame(self.fd, frame)
        except DamagedError as error:
            raise BrokenError(self, f"bytes {frame.start:,} to {frame.end:,} of its text: {error}") from error
        except OSError as error:
            raise BrokenError(self, error.strerror) from error
        return text


def _number_at(frames: list[Frame], offset: int) -> int:
    """Of the frame with this offset; behind the last one if there is none."""
    if not frames or offset >= frames[-1].end:
        return len(frames)
    return bisect_right(frames, offset, key=lambda frame: frame.start) - 1
