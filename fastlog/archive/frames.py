"""Unpacks the frames of an archive."""

import os

from fastlog.archive import zstd
from fastlog.archive.index import DamagedError, Frame, RarePart


def read_frame(fd: int, frame: Frame) -> bytes:
    """The text of a frame: whole lines. Raises OSError, and DamagedError."""
    text = _unpack(os.pread(fd, frame.stored, frame.at))
    if len(text) != frame.size:
        raise DamagedError("a frame has not the size that the seek table gives it")
    return text


def read_rare(fd: int, part: RarePart) -> list[tuple[int, bytes]]:
    """The lines, without their line feeds, each with its place in the log's text. Raises OSError, and DamagedError."""
    found = []
    try:
        for line in _unpack(os.pread(fd, part.size, part.at)).split(b"\n")[:-1]:
            at, _, text = line.partition(b" ")
            found.append((int(at), text))
    except ValueError as error:
        raise DamagedError("a line of a rare level has no place") from error
    return found


def _unpack(stored: bytes) -> bytes:
    try:
        return zstd.decompress(stored)
    except zstd.ZstdError as error:
        raise DamagedError(str(error)) from error
