"""What is known of the log's files without asking the file system for each: what changes is seen all the same."""

import os

import pytest

from fastlog.server import known_files
from fastlog.server.known_files import KnownFiles

COUNT = 20


@pytest.fixture
def files(live, monkeypatch):
    """Of many archives, so that few of them are asked for at a look. Number 1 is free."""
    monkeypatch.setattr(known_files, "FRESH_MAX", 4)
    live.write_bytes(b"the live file")
    for number in range(2, COUNT + 2):
        place(live, number).write_bytes(bytes(number))
    files = KnownFiles(live)
    sizes(files)
    return files


def place(live, number):
    return live.with_name(f"{live.name}.{number}")


def sizes(files):
    return {(file.number, file.ending): file.size for file in files.find()}


@pytest.fixture
def asked(monkeypatch):
    """The files that are asked for."""
    asked = []
    look = known_files.KnownFile.look
    monkeypatch.setattr(known_files.KnownFile, "look", lambda self: asked.append(self.number) or look(self))
    return asked


def test_few_files_are_asked_for_and_each_in_its_turn(files, asked):
    turns = COUNT // known_files.FRESH_MAX + 1
    for _ in range(turns):
        before = len(asked)
        sizes(files)
        assert len(asked) - before < COUNT / 2
    assert sorted(asked) == list(range(2, COUNT + 2))


def test_where_there_are_few_files_a_change_is_seen_at_once(live):
    files = KnownFiles(live)
    place(live, 1).write_bytes(b"123")
    assert sizes(files) == {(1, ""): 3}
    os.truncate(place(live, 1), 2)
    assert sizes(files) == {(1, ""): 2}
    place(live, 1).unlink()
    assert sizes(files) == {}


def test_files_that_move_up_are_known(files, live, asked):
    for number in range(COUNT + 1, 1, -1):
        place(live, number).rename(place(live, number + 1))
    place(live, 2).write_bytes(b"new")
    files.moved()
    found = files.find()
    assert {file.number: file.size for file in found} == {2: 3} | {n + 1: n for n in range(2, COUNT + 2)}
    assert all(file.path == place(live, file.number) for file in found)
    assert len(asked) < COUNT / 2


def test_a_file_that_takes_the_place_of_another_is_seen_at_once(files, live):
    for number in range(2, COUNT + 2):
        live.with_name("copy").write_bytes(bytes(100 + number))
        live.with_name("copy").rename(place(live, number))
    assert sizes(files) == {(number, ""): 100 + number for number in range(2, COUNT + 2)}


@pytest.mark.parametrize("step", [-1, 2])
def test_an_inode_that_is_used_again_is_another_file(files, live, step):
    """The file system gives a new file the inode of one that was deleted. A rotation moves archives up by one."""
    for number in sorted(range(2, COUNT + 2), reverse=step > 0):
        os.rename(place(live, number), place(live, number + step))
        os.truncate(place(live, number + step), 500)
    files.moved()
    assert sizes(files) == {(number + step, ""): 500 for number in range(2, COUNT + 2)}


def test_an_archive_that_is_compressed_is_another_file(files, live):
    for number in range(2, COUNT + 2):
        place(live, number).rename(f"{place(live, number)}.zst")
        os.truncate(f"{place(live, number)}.zst", 1)
    assert sizes(files) == {(number, ".zst"): 1 for number in range(2, COUNT + 2)}


def test_each_name_of_a_file_with_several_is_found(files, live):
    os.link(place(live, 5), place(live, 90))
    os.link(place(live, 5), place(live, 91))
    os.link(place(live, 6), live.with_name("server.log.old"))
    for _ in range(3):
        files.moved()
        assert sizes(files) == {
            **{(n, ""): n for n in range(2, COUNT + 2)},
            (90, ""): 5,
            (91, ""): 5,
            (0, "server.log.old"): 6,
        }


def test_what_is_no_file_is_left_out(files, live):
    place(live, 30).mkdir()
    os.mkfifo(place(live, 31))
    place(live, 32).symlink_to("server.log.2")
    expected = {(number, ""): number for number in range(2, COUNT + 2)}
    for _ in range(2):
        assert sizes(files) == expected
