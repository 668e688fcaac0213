"""Batches of whole lines that a sync has covered: their bounds, long lines, garbage, and files that change."""

import json
import os

import pytest

from fastlog.limits import LINE_MAX_BYTES
from fastlog.segments import ATTRIBUTE, Identity
from fastlog.ship import reader as ship_reader
from fastlog.ship.files import LogFiles
from fastlog.ship.reader import Reader
from fastlog.ship.refused import RefusedFile
from fastlog.ship.segment_file import CutError, SyncError
from tests.helpers.shipping import LOG, append, make_segment, set_identity

MUCH = 1 << 30


@pytest.fixture
def reader_of(live, closing):
    """A reader of the live file, from an offset on."""

    def make(offset=0, segment=1):
        file = closing(LogFiles(live).open(Identity(LOG, segment)))
        return Reader(file, offset, RefusedFile(live.parent, 10_000_000))

    return make


def take(reader, batch_bytes=1 << 18, line_max_bytes=MUCH):
    """The batches of a pass."""
    reader.begin_pass()
    batches = []
    while batch := reader.next(batch_bytes, line_max_bytes):
        assert batch.first == reader.position
        reader.offset = batch.last.offset
        batches.append(batch)
    return batches


def texts(batches):
    return [batch.lines for batch in batches]


def test_a_pass_ships_what_it_has_synced_and_nothing_that_came_later(live, reader_of, monkeypatch):
    make_segment(live, 1, b"a\nb\n")
    order = []
    fsync, pread = os.fsync, os.pread
    monkeypatch.setattr(os, "fsync", lambda fd: (fsync(fd), append(live, b"c\n"), order.append("sync")))
    monkeypatch.setattr(os, "pread", lambda fd, size, offset: (order.append("read"), pread(fd, size, offset))[1])
    reader = reader_of()
    assert texts(take(reader)) == [b"a\nb\n"]
    assert order[0] == "sync"
    assert "read" not in order[:1]
    monkeypatch.setattr(os, "fsync", fsync)
    assert texts(take(reader)) == [b"c\nc\n"]  # the file, and its directory


def test_an_unchanged_file_is_not_synced_again(live, reader_of, monkeypatch):
    make_segment(live, 1, b"a\nunfinished")
    reader = reader_of()
    assert texts(take(reader)) == [b"a\n"]
    monkeypatch.setattr(os, "fsync", pytest.fail)
    assert not take(reader)


def test_one_sync_covers_many_batches(live, reader_of, monkeypatch):
    make_segment(live, 1, b"0123456789\n" * 1000)
    syncs = []
    monkeypatch.setattr(os, "fsync", syncs.append)
    assert len(take(reader_of(), 1024)) == 11
    assert len(syncs) == 2  # the file, and its directory


def test_batches_end_with_a_line_at_every_size(live, reader_of):
    content = b"".join(b"%d\n" % (10**number) for number in range(30))
    make_segment(live, 1, content)
    for batch_bytes in range(1, 70):
        batches = take(reader_of(), batch_bytes)
        assert b"".join(texts(batches)) == content
        assert all(
            text.endswith(b"\n") and (len(text) <= batch_bytes or text.count(b"\n") == 1) for text in texts(batches)
        )
        assert [batch.line_count for batch in batches] == [text.count(b"\n") for text in texts(batches)]


def test_the_longest_line_of_an_entry_is_sent_alone(live, reader_of):
    longest = b"x" * LINE_MAX_BYTES + b"\n"
    make_segment(live, 1, b"a\n" + longest + b"b\n")
    assert texts(take(reader_of(), 1024)) == [b"a\n", longest, b"b\n"]
    assert texts(take(reader_of(), 1000 << 10)) == [b"a\n" + longest + b"b\n"]


@pytest.mark.parametrize("size", [LINE_MAX_BYTES + 1, LINE_MAX_BYTES + 2, 3 * LINE_MAX_BYTES])
def test_garbage_longer_than_any_line_is_passed_over(live, reader_of, size):
    make_segment(live, 1, b"a\n" + b"x" * size + b"\nb\n")
    reader = reader_of()
    assert texts(take(reader)) == [b"a\n", b"b\n"]
    assert reader.refused == 1
    note = json.loads(live.with_name("ship-refused.jsonl").read_bytes())
    assert note["position"] == f"{LOG}:1:2"
    assert note["line_bytes"] == size
    assert len(note["text"]) == 1 << 18


def test_garbage_is_passed_over_when_its_end_comes(live, reader_of, monkeypatch):
    make_segment(live, 1, b"a\n")
    reader = reader_of()
    reads = []
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, offset: (reads.append(size), pread(fd, size, offset))[1])
    for _ in range(20):
        append(live, b"x" * 100_000)
        take(reader)
    assert reader.offset == 2
    assert sum(reads) < 2_000_000 + 20 * 3 * (1 << 18)  # it is not read from its beginning each time
    append(live, b"\nb\n")
    assert texts(take(reader)) == [b"b\n"]
    assert reader.refused == 1


def test_a_line_that_the_engine_cannot_take_is_refused(live, reader_of):
    long = b"x" * 2000 + b"\n"
    make_segment(live, 1, b"a\n" + long + b"b\n" + long[:999] + b"\n")
    reader = reader_of()
    assert texts(take(reader, 1 << 18, 1000)) == [b"a\n", b"b\n", long[:999] + b"\n"]
    assert reader.refused == 1
    assert json.loads(live.with_name("ship-refused.jsonl").read_bytes())["text"] == "x" * 1000


def test_of_a_file_that_was_set_aside_the_durable_part_is_read(live, reader_of, monkeypatch):
    make_segment(live, 1, b"a\nb\nc\n", durable=4)
    monkeypatch.setattr(os, "fsync", pytest.fail)  # the server knows better
    reader = reader_of()
    assert texts(take(reader)) == [b"a\nb\n"]
    assert reader.rest() == (2, 1)
    reader = reader_of(6)
    assert not take(reader)
    assert reader.rest() == (0, 0)


def test_a_file_that_is_set_aside_during_the_sync_is_read_as_such(live, reader_of, monkeypatch):
    make_segment(live, 1, b"a\nb\n")
    monkeypatch.setattr(os, "fsync", lambda fd: os.setxattr(live, "user.fastlog.durable", b"2"))
    assert texts(take(reader_of())) == [b"a\n"]


def test_a_failed_sync_is_told_apart(live, reader_of, monkeypatch):
    make_segment(live, 1, b"a\nb\n")

    def fail(fd):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(SyncError, match="Input/output error"):
        reader_of().begin_pass()


def test_a_file_that_became_shorter_is_not_read(live, reader_of):
    make_segment(live, 1, b"a\nb\n")
    reader = reader_of()
    take(reader)
    os.truncate(live, 2)
    with pytest.raises(CutError):
        reader.begin_pass()


def test_what_was_read_of_a_file_that_is_cut_meanwhile_is_not_shipped(live, reader_of, monkeypatch):
    make_segment(live, 1, b"a\nb\n")
    reader = reader_of()
    reader.begin_pass()
    pread = os.pread

    def cut_and_read(fd, size, offset):
        os.truncate(live, 0)
        set_identity(live, 2)
        append(live, b"c\nd\ne\n")
        return pread(fd, size, offset)

    monkeypatch.setattr(os, "pread", cut_and_read)
    with pytest.raises(CutError):
        reader.next(100, MUCH)
    assert reader.offset == 0


def test_an_attribute_that_is_removed_stops_the_reader(live, reader_of):
    make_segment(live, 1, b"a\nb\n")
    reader = reader_of()
    os.removexattr(live, ATTRIBUTE)
    with pytest.raises(CutError):
        reader.begin_pass()


def test_an_offset_in_a_line_moves_to_the_next_one(live, reader_of, monkeypatch):
    monkeypatch.setattr(ship_reader, "BLOCK_BYTES", 3)
    make_segment(live, 1, b"0123456789\nb\n")
    for offset, skipped in [(0, 0), (1, 10), (5, 6), (10, 1), (11, 0), (12, 1), (13, 0), (50, 0)]:
        reader = reader_of(offset)
        assert reader.to_next_line() == skipped, offset
        assert reader.offset == offset + skipped


def test_the_rest_of_a_file_is_counted(live, reader_of, monkeypatch):
    monkeypatch.setattr(ship_reader, "BLOCK_BYTES", 3)
    make_segment(live, 1, b"aaaa\nb\ncc")
    assert [reader_of(offset).rest() for offset in (0, 5, 7, 9)] == [(9, 3), (4, 2), (2, 1), (0, 0)]
