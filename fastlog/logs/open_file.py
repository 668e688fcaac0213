"""One file of the log, open: a plain one, or an archive that was compressed.

What the lines are is called the file's text; offsets are those in the text. A file is known by its inode, never by its
name, and stays open while it is read.
"""

import os
import zlib
from collections.abc import Iterator
from typing import IO, Any

import msgspec

from fastlog.archive.index import FRAME_MAX_BYTES, DamagedError, Frame, Index, RarePart, read_index
from fastlog.errors import say
from fastlog.limits import LINE_MAX_BYTES
from fastlog.segments import Identity

# Read at once: little for the processor's cache, and room for the longest line with its line feed and the one before
# it, which shows where the line begins.
BLOCK_BYTES = LINE_MAX_BYTES + 2


class OpenFile(msgspec.Struct):
    """A plain file. `size` (bytes) and `changed` (ns) are those of the moment when it was opened."""

    path: str
    fd: int
    inode: tuple[int, int]  # its device and its number
    size: int
    changed: int
    identity: Identity | None = None  # None: it has none, or its file system keeps none

    is_compressed = False

    @property
    def index(self) -> Index | None:
        """Where the frames of an archive with summaries are; None: it is another file."""
        return None

    def read(self, size: int, offset: int) -> bytes:
        """Fewer bytes only at the end. The file is a plain one."""
        return os.pread(self.fd, size, offset)

    def pieces(self, offset: int = 0) -> Iterator[bytes]:
        """The text from there on, in pieces of any size."""
        while piece := self.read(BLOCK_BYTES, offset):
            yield piece
            offset += len(piece)

    def text(self, size: int, offset: int = 0) -> bytes:
        """The text from there on, so many bytes at most."""
        found = b""
        for piece in self.pieces(offset):
            found += piece
            if len(found) >= size:
                break
        return found[:size]

    def beginning(self, size: int) -> bytes:
        """The first bytes of the text, so many at most. Damage is not said."""
        return self.text(size)

    def close(self) -> None:
        os.close(self.fd)


class CompressedFile(OpenFile):
    """An archive that can be read forward only. `is_silent`: damage is not said, as that of a file that is not finished
    yet."""

    is_damaged: bool = False
    is_silent: bool = False

    is_compressed = True

    def unpacked(self, file: IO[bytes]) -> Any:
        """A file of its text."""
        raise NotImplementedError

    def pieces(self, offset: int = 0) -> Iterator[bytes]:
        with open(self.fd, "rb", closefd=False) as file:
            file.seek(0)
            try:
                with self.unpacked(file) as text:
                    if offset:
                        text.seek(offset)
                    while piece := text.read1(BLOCK_BYTES):
                        yield piece
            except self.errors():
                self.say_damage("its end is not shown")

    def errors(self) -> tuple[type[Exception], ...]:
        """What unpacking raises where the file is damaged."""
        raise NotImplementedError

    def beginning(self, size: int) -> bytes:
        was_silent, self.is_silent = self.is_silent, True
        try:
            return self.text(size)
        finally:
            self.is_silent = was_silent

    def say_damage(self, what_is_missing: str) -> None:
        """Once."""
        if not (self.is_damaged or self.is_silent):
            self.is_damaged = True
            say(f"{self.path} is damaged: {what_is_missing}")


class GzipFile(CompressedFile):
    """As gzip writes it."""

    def unpacked(self, file: IO[bytes]) -> Any:
        import gzip  # only who has such archives pays for it

        return gzip.GzipFile(fileobj=file)

    def errors(self) -> tuple[type[Exception], ...]:
        return OSError, EOFError, zlib.error


class ZstdFile(CompressedFile):
    """An archive in zstd: ours, whose frames can be read one by one, or that of another program."""

    known_index: Index | None = None
    is_index_read: bool = False

    @property
    def index(self) -> Index | None:
        if not self.is_index_read:
            self.known_index, self.is_index_read = self._read_index(), True
        return self.known_index

    def _read_index(self) -> Index | None:
        try:
            index = read_index(self.fd)
        except (DamagedError, OSError):  # the lines may be whole: they are read as those of other programs
            return None
        is_ours = index is not None and all(
            frame.summary is not None and max(frame.size, frame.stored) <= FRAME_MAX_BYTES for frame in index.frames
        )
        return index if is_ours else None

    def read_frame(self, frame: Frame) -> bytes:
        """Its text, empty if it is damaged. In any thread."""
        from fastlog.archive.frames import read_frame  # only who has such archives pays for the library

        try:
            return read_frame(self.fd, frame)
        except (DamagedError, OSError):
            self.say_damage("what is damaged is not shown")
            return b""

    def read_rare(self, part: RarePart) -> list[tuple[int, bytes]] | None:
        """Lines of a rare level, each with its place; None if they are damaged."""
        from fastlog.archive.frames import read_rare

        try:
            return read_rare(self.fd, part)
        except (DamagedError, OSError):  # the frames have these lines as well
            return None

    def pieces(self, offset: int = 0) -> Iterator[bytes]:
        if self.index is None:
            yield from CompressedFile.pieces(self, offset)
            return
        for frame in self.index.frames:
            if frame.end > offset:
                yield self.read_frame(frame)[max(offset - frame.start, 0) :]

    def unpacked(self, file: IO[bytes]) -> Any:
        from fastlog.archive.zstd import ZstdFile as Text

        return Text(file)

    def errors(self) -> tuple[type[Exception], ...]:
        from fastlog.archive.zstd import ZstdError

        return OSError, EOFError, ZstdError
