"""Archives that are compressed as the server's process does it."""

import os
from pathlib import Path

from fastlog.archive import zstd
from fastlog.archive.writer import compress
from fastlog.segments import COMPRESSED_ENDING


def compress_archive(plain: Path, *, keep: bool = False) -> Path:
    """`<archive>.zst` takes the archive's place, or stands beside it with `keep`: the time and attributes go along."""
    compressed = plain.with_name(plain.name + COMPRESSED_ENDING)
    with open(plain, "rb") as source, open(compressed, "wb") as target:
        compress(source.fileno(), target.fileno())
        for name in os.listxattr(source.fileno()):
            if name.startswith("user.fastlog"):
                os.setxattr(target.fileno(), name, os.getxattr(source.fileno(), name))
        status = os.fstat(source.fileno())
        os.utime(target.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
    if not keep:
        plain.unlink()
    return compressed


def text_of(path: Path) -> bytes:
    """The lines of a file of the log, in whatever form."""
    content = path.read_bytes()
    return zstd.decompress(content) if path.suffix == COMPRESSED_ENDING else content
