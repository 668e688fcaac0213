"""Writes an archive: compresses a file of the log into another one."""

import os

import msgspec

from fastlog._parse import scan
from fastlog.archive import zstd
from fastlog.archive.index import (
    FOOTER,
    FRAME_BYTES,
    HEADER,
    RARE_MAGIC,
    RARE_SHARE,
    SEEK_TABLE_MAGIC,
    SEEKABLE_MAGIC,
    SUMMARY_MAGIC,
    VERSION,
    Contents,
    RarePart,
)
from fastlog.archive.summary import Summary, summarize

LEVEL = 1
OPTIONS: dict[int, int] = {
    zstd.CompressionParameter.compression_level: LEVEL,
    zstd.CompressionParameter.checksum_flag: 1,
}
RARE_PART_BYTES = 1 << 18


def compress(source: int, target: int) -> None:
    """Writes what an open file has into another one, from its beginning. Nothing is synced. Raises OSError."""
    size = os.fstat(source).st_size
    summaries: list[Summary] = []
    table = b""
    rare: dict[str, list[tuple[int, bytes]]] = {}
    at = 0
    while at < size:
        text = os.pread(source, FRAME_BYTES, at)
        text = text[: text.rfind(b"\n") + 1] or text
        stored = zstd.compress(text, options=OPTIONS)
        _write(target, stored)
        table += HEADER.pack(len(stored), len(text))
        summaries.append(summarize(text))
        place = at
        for line in text.split(b"\n")[:-1]:
            level = scan(line)[0][1]
            if level:
                rare.setdefault(level, []).append((place, line))
            place += len(line) + 1
        at += len(text)
    content, parts = b"", {}
    for level, lines in rare.items():
        if sum(len(line) for _, line in lines) <= size * RARE_SHARE:
            packed = zstd.compress(b"".join(b"%d %s\n" % each for each in lines), options=OPTIONS)
            parts[level] = [RarePart(len(content), len(packed), len(lines), lines[0][0], lines[-1][0])]
            content += packed
    if content:
        _write(target, HEADER.pack(RARE_MAGIC, len(content)) + content)
    contents = msgspec.json.encode(Contents(VERSION, summaries, parts))
    _write(target, HEADER.pack(SUMMARY_MAGIC, len(contents)) + contents)
    footer = FOOTER.pack(len(summaries), 0, SEEKABLE_MAGIC)
    _write(target, HEADER.pack(SEEK_TABLE_MAGIC, len(table) + len(footer)) + table + footer)


def _write(fd: int, data: bytes) -> None:
    done = 0
    while done < len(data):
        done += os.write(fd, data[done:])
