"""Compressed archives: what is written is read back, by our own reader and by that of zstd."""

import os
import random
import shutil
import subprocess

import msgspec
import pytest

from fastlog.archive import zstd
from fastlog.archive.frames import read_frame, read_rare
from fastlog.archive.index import FRAME_BYTES, read_index, read_text_size
from fastlog.archive.writer import compress


@pytest.fixture
def archive(tmp_path):
    """A compressed log of some 3 MB, and its text."""
    rng = random.Random(1)
    lines = [
        msgspec.json.encode(
            {
                "timestamp": f"2026-11-24T07:00:{number // 400:02d}.000000Z",
                "level": "ERROR" if number % 1000 == 7 else "INFO",
                "app": rng.choice(["shop", "bank"]),
                "host": f"web-{rng.randrange(300)}",
                "message": f"request {rng.random()}",
                "more": "x" * 40,
            }
        )
        for number in range(20_000)
    ]
    text = b"".join(line + b"\n" for line in lines)
    (tmp_path / "server.log.1").write_bytes(text)
    with open(tmp_path / "server.log.1", "rb") as source, open(tmp_path / "server.log.1.zst", "w+b") as target:
        compress(source.fileno(), target.fileno())
    return tmp_path / "server.log.1.zst", text


def test_frames_have_the_lines(archive):
    path, text = archive
    with open(path, "rb") as file:
        index = read_index(file.fileno())
        parts = [read_frame(file.fileno(), frame) for frame in index.frames]
        assert b"".join(parts) == text
        assert index.text_size == len(text)
        assert all(part.endswith(b"\n") and len(part) <= FRAME_BYTES for part in parts)
        assert [text[frame.start : frame.end] for frame in index.frames] == parts
        assert sum(frame.summary.levels.get("ERROR", 0) for frame in index.frames) == 20
        rare = [each for part in index.rare["ERROR"] for each in read_rare(file.fileno(), part)]
        assert len(rare) == 20
        assert all(text[at : at + len(line) + 1] == line + b"\n" for at, line in rare)
        assert os.fstat(file.fileno()).st_size < len(text) / 4


@pytest.mark.skipif(shutil.which("zstd") is None and os.environ.get("CI") != "true", reason="there is no zstd")
def test_zstd_reads_it(archive):
    path, text = archive
    assert subprocess.run(["zstdcat", path], capture_output=True, check=True).stdout == text


def test_the_size_of_the_text_is_read_without_the_summary(archive, tmp_path):
    path, text = archive
    with open(path, "rb") as file:
        assert read_text_size(file.fileno()) == len(text)
    (tmp_path / "foreign").write_bytes(zstd.compress(text))
    with open(tmp_path / "foreign", "rb") as file:
        assert read_text_size(file.fileno()) is None
