"""At the start: the newest lines of compressed archives.

Of an archive that the server has compressed, only the frames are unpacked that may hold what is wanted. What another
program has compressed has to be unpacked from its beginning on, so of such a file nothing is read if it is large.
"""

import errno
import gzip
import os
import zlib
from collections import deque
from collections.abc import Collection, Iterator

from fastlog.archive import zstd
from fastlog.archive.frames import read_frame
from fastlog.archive.index import DamagedError, read_index

STREAM_MAX_BYTES = 32 << 20  # of a file of another program: to unpack so many takes about half a second
UNPACKED_MAX_BYTES = 256 << 20  # of its text: what compresses better than that is not a log
BLOCK_BYTES = 1 << 20  # unpacked at once


def newest_frames(fd: int, most_bytes: int, levels: Collection[str] | None) -> Iterator[bytes]:
    """The text of the frames that have the newest `most_bytes`, but for those without any of the levels. Raises
    OSError, and DamagedError when a frame is damaged and the others were read."""
    index = read_index(fd)
    if index is None:
        return
    failure: DamagedError | None = None
    for frame in index.frames:
        has_none = frame.summary and levels is not None and frame.summary.levels.keys().isdisjoint(levels)
        if has_none or frame.end <= index.text_size - most_bytes:
            continue
        try:
            text = read_frame(fd, frame)
        except DamagedError as error:
            failure = error
        else:
            yield text
    if failure:
        raise failure


def end_of_stream(fd: int, most_bytes: int, *, is_gzip: bool) -> tuple[int, bytes]:
    """How many bytes were read of the end of a file of another program, `most_bytes` if it has so many, and its whole
    lines in them. Raises OSError, and DamagedError."""
    if os.fstat(fd).st_size > STREAM_MAX_BYTES:
        raise OSError(errno.EFBIG, "it is too large to be unpacked at the start")
    blocks: deque[bytes] = deque()
    kept = unpacked = 0
    try:
        with open(fd, "rb", closefd=False) as file, gzip.open(file) if is_gzip else zstd.open(file) as stream:
            while block := stream.read(BLOCK_BYTES):
                unpacked += len(block)
                if unpacked > UNPACKED_MAX_BYTES:
                    raise OSError(errno.EFBIG, "its text is too large to be unpacked at the start")
                kept += len(block)
                blocks.append(block)
                while kept - len(blocks[0]) >= most_bytes:
                    kept -= len(blocks.popleft())
    except (EOFError, gzip.BadGzipFile, zlib.error, zstd.ZstdError) as error:
        raise DamagedError(str(error)) from error
    lines = b"".join(blocks)
    return kept, lines[lines.find(b"\n") + 1 :] if kept < unpacked else lines
