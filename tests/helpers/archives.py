"""Compressed archives for tests: made as the server makes them, read by our own reader and by the library alone, and held to
be whole in every part."""

import os
import re
from pathlib import Path

from fastlog.archive import zstd
from fastlog.archive.frames import read_frame, read_rare
from fastlog.archive.index import Index, read_index
from fastlog.archive.process import carry_over
from fastlog.archive.summary import summarize
from fastlog.archive.writer import compress
from fastlog.segments import COMPRESSED_ENDING

NAMES_ROOM = 4096  # bytes for the apps and hosts of a summary: more than those of a test need


def compressed(path: Path) -> Path:
    """Compresses a file; returns the path of the archive, which has `.zst` behind its name. The file stays."""
    archive = path.with_name(path.name + COMPRESSED_ENDING)
    with open(path, "rb") as source, open(archive, "w+b") as target:
        compress(source.fileno(), target.fileno())
    return archive


def compress_archive(plain: Path, *, keep: bool = False) -> Path:
    """As the server does it: `<archive>.zst` takes the archive's place, or stands beside it with `keep`; the time and
    attributes go along."""
    archive = compressed(plain)
    with open(plain, "rb") as source, open(archive, "rb") as target:
        carry_over(source.fileno(), target.fileno())
    if not keep:
        plain.unlink()
    return archive


def compressed_size(text: bytes) -> int:
    """Bytes of the file that this becomes."""
    source, target = os.memfd_create("source"), os.memfd_create("target")
    try:
        os.write(source, text)
        compress(source, target)
        return os.fstat(target).st_size
    finally:
        os.close(source)
        os.close(target)


def text_of(path: Path) -> bytes:
    """The lines of a file of the log, in whatever form, as every program reads them."""
    content = path.read_bytes()
    return zstd.decompress(content) if path.suffix == COMPRESSED_ENDING else content


def index_of(path: Path) -> Index:
    with open(path, "rb") as file:
        index = read_index(file.fileno())
    assert index is not None
    return index


def unpacked(file: Path | int) -> bytes:
    """The text of an archive, as our own reader has it."""
    fd = os.open(file, os.O_RDONLY) if isinstance(file, Path) else file
    try:
        return b"".join(read_frame(fd, frame) for frame in read_index(fd).frames)
    finally:
        if isinstance(file, Path):
            os.close(fd)


def names_in(directory: Path) -> set[str]:
    """The names in the directory of a log, except that of the history, which comes some seconds after the start."""
    return {name for name in os.listdir(directory) if not name.startswith(".fastlog-history-")}


def in_force(live: Path) -> list[Path]:
    """The archives and the live file, the oldest first. A plain archive is in force before a compressed one of its
    number."""
    name = re.compile(re.escape(live.name) + r"\.(\d+)(\.zst)?")
    archives = {int(match[1]): match[0] for each in os.listdir(live.parent) if (match := name.fullmatch(each))}
    archives.update(
        {number: plain for number in archives if (live.parent / (plain := f"{live.name}.{number}")).exists()}
    )
    return [live.with_name(archives[number]) for number in sorted(archives, reverse=True)] + [live]


def whole_text(path: Path) -> bytes:
    """The text of a compressed archive, after a check that each of its parts says what is true of it."""
    with open(path, "rb") as file:
        fd = file.fileno()
        index = read_index(fd)
        assert index, f"{path.name} has no seek table"
        frames = [read_frame(fd, frame) for frame in index.frames]
        text = b"".join(frames)
        for frame, lines in zip(index.frames, frames, strict=True):
            begins_inside = frame.start > 0 and text[frame.start - 1 : frame.start] != b"\n"
            assert frame.summary == summarize(lines, begins_inside, NAMES_ROOM), f"{path.name} at {frame.start}"
        for level, parts in index.rare.items():
            rare = [each for part in parts for each in read_rare(fd, part)]
            assert all(text[at : at + len(line) + 1] == line + b"\n" for at, line in rare), f"{level} of {path.name}"
            assert [at for at, _ in rare] == sorted({at for at, _ in rare})
            for part in parts:
                places = [at for at, _ in read_rare(fd, part)]
                assert (part.lines, part.first, part.last) == (len(places), places[0], places[-1])
            assert len(rare) == sum(frame.summary.levels.get(level, 0) for frame in index.frames)
        file.seek(0)
        assert zstd.decompress(file.read()) == text, f"{path.name} has more than its seek table says"
    return text
