"""Archives that are compressed as the server's process does it."""

import os
from pathlib import Path

from fastlog.archive import zstd
from fastlog.archive.process import carry_over
from fastlog.archive.writer import compress
from fastlog.segments import COMPRESSED_ENDING
from tests.helpers.archives import compressed


def compress_archive(plain: Path, *, keep: bool = False) -> Path:
    """`<archive>.zst` takes the archive's place, or stands beside it with `keep`: the time and attributes go along."""
    archive = compressed(plain)
    with open(plain, "rb") as source, open(archive, "rb") as target:
        carry_over(source.fileno(), target.fileno())
    if not keep:
        plain.unlink()
    return archive


def text_of(path: Path) -> bytes:
    """The lines of a file of the log, in whatever form."""
    content = path.read_bytes()
    return zstd.decompress(content) if path.suffix == COMPRESSED_ENDING else content


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
