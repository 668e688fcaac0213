"""Compressed archives for tests: made by the writer, read by our own reader."""

import os
from pathlib import Path

from fastlog.archive.frames import read_frame
from fastlog.archive.index import Index, read_index
from fastlog.archive.writer import compress


def compressed(path: Path) -> Path:
    """Compresses a file; returns the path of the archive, which has `.zst` behind its name. The file stays."""
    archive = path.with_name(path.name + ".zst")
    with open(path, "rb") as source, open(archive, "w+b") as target:
        compress(source.fileno(), target.fileno())
    return archive


def index_of(path: Path) -> Index:
    with open(path, "rb") as file:
        index = read_index(file.fileno())
    assert index is not None
    return index


def unpacked(file: Path | int) -> bytes:
    """The text of an archive."""
    fd = os.open(file, os.O_RDONLY) if isinstance(file, Path) else file
    try:
        return b"".join(read_frame(fd, frame) for frame in read_index(fd).frames)
    finally:
        if isinstance(file, Path):
            os.close(fd)
