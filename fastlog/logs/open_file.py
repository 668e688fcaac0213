"""One file of the log, open: a plain one, or an archive that was compressed.

What the lines are is called the file's text; offsets are those in the text. A file is known by its inode, never by its
name. It stays open while it is read, so a rotation does not matter. If there are more files than descriptors, it is
opened for each read instead, under the name that it has then.

What cannot be read is left out, and noted: `failure` and `is_damaged`.
"""

import contextlib
import errno
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import msgspec

from fastlog.archive.index import FRAME_MAX_BYTES, DamagedError, Frame, Index, RarePart, read_index
from fastlog.errors import say
from fastlog.file_systems import open_to_read, who_may_read
from fastlog.limits import LINE_MAX_BYTES
from fastlog.segments import Identity

# Read at once: little for the processor's cache, and room for the longest line with its line feed and the one before
# it, which shows where the line begins.
BLOCK_BYTES = LINE_MAX_BYTES + 2


# What to do about an error besides what it says.
ADVICE = {
    errno.EMFILE: "`ulimit -n` allows more",
    errno.ENOENT: "it was deleted or compressed meanwhile; the next search reads what there is then",
}
# Why zstd's library does not unpack what is not damaged, by words that it says, and what to do.
NOT_UNPACKED = {
    "too much memory": "its window is larger than 128 MiB (`zstd -d --long=31` unpacks it)",
    "Dictionary": "it was compressed with a dictionary (`zstd -d -D DICTIONARY` unpacks it)",
}
RENAMED_MAX = 10  # looks for a file that rotations move meanwhile


def reason_and_advice(error: OSError, path: str | Path) -> str:
    """Why this path cannot be read, and what to do about it where that is known."""
    denied = error.errno == errno.EACCES
    advice = f"{who_may_read(path)} may read it" if denied else ADVICE.get(error.errno or 0)
    return f"{error.strerror}{f' ({advice})' if advice else ''}"


class OpenFile(msgspec.Struct):
    """A plain file. `size` (bytes) and `changed` (ns) are those of the moment when it was found."""

    path: str
    fd: int  # -1: it is not kept open
    inode: tuple[int, int]  # its device and its number
    size: int
    changed: int
    identity: Identity | None = None  # None: it has none, or its file system keeps none
    failure: str = ""  # why some of it could not be read
    is_damaged: bool = False

    is_compressed = False

    @property
    def index(self) -> Index | None:
        """Where the frames of an archive with summaries are; None: it is another file."""
        return None

    @property
    def is_whole(self) -> bool:
        """Whether all could be read that was asked for."""
        return not (self.failure or self.is_damaged)

    @contextlib.contextmanager
    def opened(self) -> Iterator[int]:
        """A descriptor for one use. In any thread. Raises OSError."""
        fd = self.fd if self.fd >= 0 else self._open()
        try:
            yield fd
        finally:
            if fd != self.fd:
                os.close(fd)

    def keep_open(self) -> None:
        """From now on. Raises OSError."""
        if self.fd < 0:
            self.fd = self._open()

    def read(self, size: int, offset: int) -> bytes:
        """Fewer bytes only at the end, or where it cannot be read. The file is a plain one."""
        try:
            with self.opened() as fd:
                return os.pread(fd, size, offset)
        except OSError as error:
            self.note_failure(error)
            return b""

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

    def beginning(self, size: int) -> bytes | None:
        """The first bytes of the text, so many at most; None if it cannot be read. Neither that nor damage is noted:
        the file may not be finished yet, and nobody has asked for it."""
        other = msgspec.structs.replace(self, failure="", is_damaged=True)  # it is said once, which has been done
        text = other.text(size)
        return None if other.failure else text

    def note_failure(self, error: OSError) -> None:
        self.failure = self.failure or reason_and_advice(error, self.path)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _open(self) -> int:
        """Opens it under whatever name it has now."""
        for _ in range(RENAMED_MAX):
            with contextlib.suppress(FileNotFoundError):
                fd = open_to_read(self.path)
                status = os.fstat(fd)
                if (status.st_dev, status.st_ino) == self.inode:
                    return fd
                os.close(fd)
            with os.scandir(Path(self.path).parent) as entries:
                names = [entry.path for entry in entries if entry.inode() == self.inode[1]]
            if not names:
                break
            self.path = names[0]
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path)


class CompressedFile(OpenFile):
    """An archive that can be read forward only."""

    is_compressed = True

    def unpacked(self, file: IO[bytes]) -> Any:
        """A file of its text."""
        raise NotImplementedError

    def pieces(self, offset: int = 0) -> Iterator[bytes]:
        try:
            with self.opened() as fd, open(fd, "rb", closefd=False) as file:
                file.seek(0)
                with self.unpacked(file) as text:
                    if offset:
                        text.seek(offset)
                    while piece := text.read1(BLOCK_BYTES):
                        yield piece
        except self.errors() as error:
            if isinstance(error, OSError) and error.errno:
                self.note_failure(error)
            else:
                self.note_damage(error)

    def errors(self) -> tuple[type[Exception], ...]:
        """What reading and unpacking raise."""
        raise NotImplementedError

    def note_damage(self, error: Exception) -> None:
        self.say_damage("its end is not shown")

    def say_damage(self, what_is_missing: str) -> None:
        """Once."""
        if not self.is_damaged:
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
            with self.opened() as fd:
                index = read_index(fd)
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
            with self.opened() as fd:
                return read_frame(fd, frame)
        except OSError as error:
            self.note_failure(error)
        except DamagedError:
            self.say_damage("what is damaged is not shown")
        return b""

    def read_rare(self, part: RarePart) -> list[tuple[int, bytes]] | None:
        """Lines of a rare level, each with its place; None if they are damaged."""
        from fastlog.archive.frames import read_rare

        try:
            with self.opened() as fd:
                return read_rare(fd, part)
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

    def note_damage(self, error: Exception) -> None:
        reason = next((reason for words, reason in NOT_UNPACKED.items() if words in str(error)), None)
        if reason:
            self.failure = reason
        else:
            super().note_damage(error)
