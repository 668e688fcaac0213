"""Compressed archives: what is written is read back, by our own reader, by that of zstd, and by the format's description."""

import contextlib
import json
import os
import random
import shutil
import struct
import subprocess

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from fastlog.archive import index, writer, zstd
from fastlog.archive.frames import read_frame, read_rare
from fastlog.archive.index import (
    FRAME_BYTES,
    FRAME_MAX_BYTES,
    RARE_MAGIC,
    RARE_SHARE,
    SUMMARY_MAGIC,
    DamagedError,
    read_index,
    read_text_size,
)
from fastlog.archive.summary import facts_of, may_have, summarize
from fastlog.entry import LEVELS
from tests.helpers.archives import compressed, index_of, unpacked

needs_zstd = pytest.mark.skipif(
    shutil.which("zstd") is None and os.environ.get("CI") != "true", reason="there is no zstd"
)  # fmt: skip


def entry(number: int, level: str = "INFO", **more: object) -> bytes:
    rng = random.Random(number)
    fields = {
        "timestamp": f"2026-11-24T07:00:{number // 400 % 60:02d}.000000Z",
        "level": level,
        "app": rng.choice(["shop", "bank"]),
        "host": f"web-{rng.randrange(300)}",
        "message": f"request {rng.random()}",
        **more,
    }
    return msgspec.json.encode(fields) + b"\n"


@pytest.fixture
def archive(tmp_path):
    """Compresses a text; returns the archive's path."""

    def make(text: bytes):
        path = tmp_path / "server.log.1"
        path.write_bytes(text)
        return compressed(path)

    return make


@pytest.fixture(scope="module")
def text():
    """Some 3 MB, of which 0.1 % is of level ERROR."""
    lines = [entry(number, "ERROR" if number % 1000 == 7 else "INFO", more="x" * 40) for number in range(20_000)]
    return b"".join(lines)


def rare_lines(path, level: str) -> list[tuple[int, bytes]]:
    with open(path, "rb") as file:
        return [each for part in index_of(path).rare.get(level, []) for each in read_rare(file.fileno(), part)]


def seek_table(data: bytes) -> tuple[list[tuple[int, int]], int]:
    """Of each frame its compressed and its other size, by the description of zstd's seekable format; and where the
    table begins."""
    count, descriptor, magic = struct.unpack("<IBI", data[-9:])
    assert magic == 0x8F92EAB1
    width = 12 if descriptor & 0x80 else 8
    at = len(data) - 9 - count * width - 8
    assert struct.unpack("<II", data[at : at + 8]) == (0x184D2A5E, count * width + 9)
    return [struct.unpack_from("<II", data, at + 8 + number * width) for number in range(count)], at


def test_frames_have_the_lines(archive, text):
    path = archive(text)
    index = index_of(path)
    with open(path, "rb") as file:
        parts = [read_frame(file.fileno(), frame) for frame in index.frames]
    assert b"".join(parts) == text
    assert index.text_size == len(text)
    assert all(part.endswith(b"\n") and len(part) <= FRAME_BYTES for part in parts)
    assert all(len(part) > FRAME_BYTES - 1000 for part in parts[:-1])
    assert [text[frame.start : frame.end] for frame in index.frames] == parts
    assert os.stat(path).st_size < len(text) / 4


def test_frames_stand_where_the_seekable_format_says(archive, text):
    data = archive(text).read_bytes()
    at = unpacked_bytes = 0
    table, table_at = seek_table(data)
    for stored, size in table:
        assert zstd.get_frame_info(data[at : at + stored]).decompressed_size == size
        assert zstd.decompress(data[at : at + stored]) == text[unpacked_bytes : unpacked_bytes + size]
        at += stored
        unpacked_bytes += size
    assert unpacked_bytes == len(text)
    skippable = []
    while at < table_at:
        magic, size = struct.unpack_from("<II", data, at)
        skippable.append(magic)
        at += 8 + size
    assert (skippable, at) == ([RARE_MAGIC, SUMMARY_MAGIC], table_at)


def test_every_frame_has_a_checksum(archive, text):
    path = archive(text)
    data = bytearray(path.read_bytes())
    frame = index_of(path).frames[1]
    data[frame.at + frame.stored - 1] ^= 1
    path.write_bytes(data)
    with open(path, "rb") as file, pytest.raises(DamagedError):
        read_frame(file.fileno(), frame)


def test_summaries_are_those_of_the_frames(archive, text):
    path = archive(text)
    for frame in index_of(path).frames:
        part = text[frame.start : frame.end]
        expected = summarize(part, False, 100_000)
        assert frame.summary == msgspec.structs.replace(expected, hosts=frame.summary.hosts)
        assert all(may_have(frame.summary.hosts, facts_of(line).host) for line in part.splitlines())


def test_rare_lines_are_stored_with_their_places(archive, text):
    path = archive(text)
    found = rare_lines(path, "ERROR")
    assert len(found) == 20
    assert all(text[at : at + len(line) + 1] == line + b"\n" for at, line in found)
    [part] = index_of(path).rare["ERROR"]
    assert (part.lines, part.first, part.last) == (20, found[0][0], found[-1][0])
    assert index_of(path).rare.keys() == {"ERROR"}


@pytest.mark.parametrize("errors", [100, 101])
def test_a_level_is_rare_up_to_its_share_of_the_bytes(archive, errors):
    line = b'{"level":"%b","message":"m"}\n'
    text = (line % b"ERROR") * errors + (line % b"DEBUG") * (int(100 / RARE_SHARE) - errors)
    is_rare = errors <= 100
    assert len(rare_lines(archive(text), "ERROR")) == (errors if is_rare else 0)


def test_levels_are_given_up_when_their_lines_take_too_much_memory(archive, monkeypatch):
    monkeypatch.setattr(writer, "RARE_PART_BYTES", 100)
    monkeypatch.setattr(writer, "RARE_MAX_BYTES", 8000)
    level = {0: "ERROR", 1: "ERROR", 2: "CRITICAL"}
    text = b"".join(entry(number, level.get(number % 500, "INFO")) for number in range(20_000))
    path = archive(text)
    assert index_of(path).rare.keys() == {"CRITICAL"}
    assert [line for _, line in rare_lines(path, "CRITICAL")] == [
        line for line in text.splitlines() if b"CRITICAL" in line
    ]
    assert len(index_of(path).rare["CRITICAL"]) > 20
    assert unpacked(path) == text


def test_lines_of_a_level_given_any_name_are_found(archive):
    text = b"".join(entry(number) for number in range(1000)) + entry(0, "err") + entry(0, "fat\u00e4l")
    path = archive(text)
    assert [json.loads(line)["level"] for _, line in rare_lines(path, "ERROR")] == ["err"]
    assert [json.loads(line)["level"] for _, line in rare_lines(path, "OTHER")] == ["fat\u00e4l"]


def test_an_empty_file(archive):
    path = archive(b"")
    index = index_of(path)
    assert (index.frames, index.rare, index.text_size, unpacked(path)) == ([], {}, 0, b"")


LONG = b"x" * (FRAME_BYTES * 2 + 5)


@pytest.mark.parametrize(
    "text", [LONG, LONG + b"\n", b"a\n" + LONG + b"\nb\n", b"\n" * (FRAME_BYTES + 1), b"\x00" * 100, b"a"]
)
def test_a_file_that_is_no_log_is_kept_byte_for_byte(archive, text):
    path = archive(text)
    assert unpacked(path) == text
    assert sum(frame.summary.lines for frame in index_of(path).frames) == text.count(b"\n")


def test_a_frame_that_begins_inside_a_line_says_so(archive):
    inside = b'{"level":"ERROR","message":"' + LONG + b"\n"
    path = archive(inside + entry(1, "ERROR"))
    frames = index_of(path).frames
    assert [frame.summary.begins_inside for frame in frames] == [False, True, True]
    assert [frame.summary.levels for frame in frames] == [{}, {}, {"ERROR": 1}]


parts = st.lists(
    st.tuples(
        st.sampled_from([*LEVELS, "warn", "3"]),
        st.integers(0, 3000),
        st.sampled_from([b"\n", b"\n", b"\n", b"", b"\r\n\n"]),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(parts, st.integers(64, 4096))
def test_any_text_comes_back(tmp_path_factory, parts, frame_bytes):
    text = b"".join(
        b'{"level":"%b","message":"%b"}%b' % (level.encode(), b"m" * size, end) for level, size, end in parts
    )
    path = tmp_path_factory.getbasetemp() / "any.log.1"
    path.write_bytes(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "FRAME_BYTES", frame_bytes)
        patch.setattr(writer, "RARE_SHARE", 0.2)
        patch.setattr(writer, "RARE_PART_BYTES", 256)
        archive = compressed(path)
    assert unpacked(archive) == text
    summaries = [frame.summary for frame in index_of(archive).frames]
    texts = [text[frame.start : frame.end] for frame in index_of(archive).frames]
    assert [summary.begins_inside for summary in summaries] == [False, *(not part.endswith(b"\n") for part in texts)][
        :-1
    ]
    assert summaries == [
        summarize(part, summary.begins_inside, 10_000) for part, summary in zip(texts, summaries, strict=True)
    ]
    for level in index_of(archive).rare:
        found = rare_lines(archive, level)
        assert all(text[at : at + len(line) + 1] == line + b"\n" for at, line in found)
        assert len(found) == sum(summary.levels.get(level, 0) for summary in summaries)


def test_what_was_written_wrong_is_noticed(archive, text, monkeypatch):
    class Wrong(writer._Compressor):
        def pack(self, text):
            return super().pack(bytes(text).replace(b"request 0.5", b"request 0.6"))

    monkeypatch.setattr(writer, "_Compressor", Wrong)
    with pytest.raises(DamagedError, match="not what was read"):
        archive(text)


def test_what_the_disk_has_changed_is_noticed(archive, text, monkeypatch):
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, at: pread(fd, size, at)[:-1] + b"x")
    with pytest.raises(DamagedError, match="cannot be read"):
        archive(text)


@pytest.mark.parametrize("change", ["append", "cut", "touch"])
def test_a_file_that_is_changed_meanwhile_is_not_compressed(tmp_path, text, monkeypatch, change):
    path = tmp_path / "server.log.1"
    path.write_bytes(text)
    add = writer._Writer.add

    def changed(self, buffer, size):
        add(self, buffer, size)
        if change == "append":
            with open(path, "ab") as file:
                file.write(b"x\n")
        elif change == "cut":
            os.truncate(path, FRAME_BYTES + 10)
        else:
            os.utime(path, ns=(1, 1))

    monkeypatch.setattr(writer._Writer, "add", changed)
    with pytest.raises(writer.ChangedError):
        compressed(path)


def test_the_size_of_the_text_is_read_without_the_summary(archive, text):
    with open(archive(text), "rb") as file:
        assert read_text_size(file.fileno()) == len(text)


def test_an_archive_without_a_seek_table_has_no_index(tmp_path):
    for content in (b"", b"x" * 8, zstd.compress(b"lines\n" * 100)):
        path = tmp_path / "server.log.1.zst"
        path.write_bytes(content)
        with open(path, "rb") as file:
            assert read_index(file.fileno()) is None
            assert read_text_size(file.fileno()) is None


def test_a_seek_table_that_would_take_all_memory_is_not_read(tmp_path):
    path = tmp_path / "server.log.1.zst"
    count = 1 << 23
    with open(path, "w+b") as file:  # 64 MB, of which the disk has the last bytes
        file.seek(8 + 8 * count)
        file.write(struct.pack("<IBI", count, 0, 0x8F92EAB1))
        file.flush()
        with pytest.raises(DamagedError, match="too many"):
            read_text_size(file.fileno())


def test_a_frame_that_unpacks_to_more_than_it_says_is_damaged(tmp_path):
    bomb = zstd.compress(b"\x00" * (64 << 20))
    path = tmp_path / "server.log.1.zst"
    table = struct.pack("<II", len(bomb), 1000) + struct.pack("<IBI", 1, 0, 0x8F92EAB1)
    path.write_bytes(bomb + struct.pack("<II", 0x184D2A5E, len(table)) + table)
    with open(path, "rb") as file:
        [frame] = read_index(file.fileno()).frames
        with pytest.raises(DamagedError, match="size"):
            read_frame(file.fileno(), frame)


def test_a_summary_that_is_not_as_it_was_written_rules_out_nothing(archive, text, rng):
    path = archive(text)
    frames = index_of(path).frames
    written = path.read_bytes()
    behind = frames[-1].at + frames[-1].stored
    seen = set()
    for at in rng.sample(range(behind, len(written)), 300):
        changed = bytearray(written)
        changed[at] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        with open(path, "rb") as file, contextlib.suppress(DamagedError):
            found = read_index(file.fileno())
            summaries = [frame.summary for frame in found.frames] if found else []
            assert summaries == [frame.summary for frame in frames] or not any(summaries)
            seen.add(any(summaries))
    assert seen == {True, False}  # the summary is whole where the lines of rare levels were changed


def test_an_archive_that_becomes_shorter_while_it_is_read_is_damaged(archive, monkeypatch):
    path = archive(b"line\n")
    with open(path, "r+b") as file:
        read_table = index._read_seek_table

        def read_and_cut(fd, size):
            table = read_table(fd, size)
            os.truncate(fd, sum(table.stored))
            return table

        monkeypatch.setattr(index, "_read_seek_table", read_and_cut)
        with pytest.raises(DamagedError, match="shorter"):
            read_index(file.fileno())


@pytest.mark.parametrize(("size", "stored"), [(FRAME_MAX_BYTES + 1, 100), (100, FRAME_MAX_BYTES + 1)])
def test_a_frame_that_would_take_much_memory_is_not_unpacked(archive, size, stored):
    path = archive(b"line\n")
    frame = structs.replace(index_of(path).frames[0], size=size, stored=stored)
    with open(path, "rb") as file, pytest.raises(DamagedError, match="more than 16 MiB"):
        read_frame(file.fileno(), frame)


@needs_zstd
def test_zstd_reads_it(archive, text):
    path = archive(text)
    assert subprocess.run(["zstdcat", path], capture_output=True, check=True).stdout == text
    subprocess.run(["zstd", "--test", "--quiet", path], check=True)
