"""Unpacks the frames of an archive."""

import os

from fastlog.archive import zstd
from fastlog.archive.index import FRAME_MAX_BYTES, DamagedError, Frame, RarePart

RARE_MAX_BYTES = 1 << 20  # of a part's lines: the writer takes far fewer, and one line more


def read_frame(fd: int, frame: Frame) -> bytes:
    """The text of a frame: whole lines, but for one that is longer than a frame. Raises OSError, and DamagedError."""
    if max(frame.size, frame.stored) > FRAME_MAX_BYTES:
        raise DamagedError(f"a frame has more than {FRAME_MAX_BYTES >> 20} MiB")
    text = _unpack(os.pread(fd, frame.stored, frame.at), frame.size)
    if len(text) != frame.size:
        raise DamagedError("a frame has not the size that the seek table gives it")
    return text


def read_rare(fd: int, part: RarePart) -> list[tuple[int, bytes]]:
    """The lines, without their line feeds, each with its place in the log's text. Raises OSError, and DamagedError."""
    found = []
    try:
        for line in _unpack(os.pread(fd, part.size, part.at), RARE_MAX_BYTES).split(b"\n")[:-1]:
            at, _, text = line.partition(b" ")
            found.append((int(at), text))
    except ValueError as error:
        raise DamagedError("a line of a rare level has no place") from error
    return found


def _unpack(stored: bytes, most: int) -> bytes:
    """A frame of zstd; most: the bytes that it may unpack to."""
    unpacker = zstd.ZstdDecompressor()
    try:
        text = unpacker.decompress(stored, most + 1)
    except zstd.ZstdError as error:
        raise DamagedError(str(error)) from error
    if not unpacker.eof:
        raise DamagedError("a frame has no end, or more than the size that it should have")
    return text
