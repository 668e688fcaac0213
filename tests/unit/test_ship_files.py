"""The files of a log as the shipper finds them: by identity, whatever they are called, and nothing else."""

import errno
import os
import socket

import pytest

from fastlog.segments import Identity
from fastlog.ship import files as ship_files
from fastlog.ship import segment_file
from fastlog.ship.files import LogFiles, Watch
from fastlog.ship.segment_file import CutError, SegmentFile
from fastlog.ship.sink import RefusedError
from tests.helpers.shipping import LOG, make_segment, set_identity

OTHER_LOG = "ba9876543210"


def names(listing):
    return {segment: os.path.basename(path) for segment, path in listing.segments.items()}


def test_files_are_in_the_order_of_their_segments_whatever_they_are_called(live):
    make_segment(live, 12, b"12345")
    make_segment(live.with_name("server.log.1"), 9)
    make_segment(live.with_name("server.log-20261126"), 11)
    make_segment(live.with_name("server.log.distrusted.1"), 10, durable=0)
    make_segment(live.with_name("server.log.kept-by-hand"), 3)
    listing = LogFiles(live).now()
    assert listing.log == LOG
    assert list(names(listing).items()) == [
        (3, "server.log.kept-by-hand"),
        (9, "server.log.1"),
        (10, "server.log.distrusted.1"),
        (11, "server.log-20261126"),
        (12, "server.log"),
    ]
    assert (listing.oldest, listing.newest, listing.sizes[12]) == (3, 12, 5)
    assert [listing.after(segment) for segment in (1, 3, 4, 11, 12)] == [3, 9, 9, 12, None]


def test_what_is_not_of_the_log_is_left_alone(live):
    make_segment(live, 5)
    for number, name in enumerate(
        ("server.log.new", "server.log.torn", "server.log.repaired", "server.log.shipped"), 6
    ):
        make_segment(live.with_name(name), number)
    for number, name in enumerate(("server.log.1.gz", "server.log-20261126.xz", "other.log", "server.log2"), 20):
        make_segment(live.with_name(name), number)
    make_segment(live.with_name("server.log.7"), 4, log=OTHER_LOG)
    live.with_name("server.log.8").write_bytes(b"without an identity\n")
    assert names(LogFiles(live).now()) == {5: "server.log"}


def test_only_regular_files_are_opened(live):
    make_segment(live, 5)
    os.mkfifo(live.with_name("server.log.1"))
    live.with_name("server.log.2").mkdir()
    live.with_name("server.log.3").symlink_to("nowhere")
    live.with_name("server.log.4").symlink_to("/dev/tty")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(live.with_name("server.log.5")))
    assert names(LogFiles(live).now()) == {5: "server.log"}
    with pytest.raises(OSError, match="not a file"):
        SegmentFile(live.with_name("server.log.1"), Identity(LOG, 1))


def test_of_two_files_with_one_identity_the_live_one_and_archives_win(live, monkeypatch, capfd):
    monkeypatch.setattr(ship_files, "COPY_SAID_SEC", 0)
    make_segment(live, 2)
    make_segment(live.with_name("server.log.1"), 1)
    make_segment(live.with_name("server.log.copy"), 2)
    make_segment(live.with_name("server.log.0-copy"), 1)
    files = LogFiles(live)
    assert names(files.now()) == {1: "server.log.1", 2: "server.log"}
    files.now()
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 2
    assert any("server.log.copy has the identity of" in line and "not shipped" in line for line in said)


def test_two_names_of_one_file_are_no_copies(live, monkeypatch, capfd):
    monkeypatch.setattr(ship_files, "COPY_SAID_SEC", 0)
    make_segment(live, 2)
    live.with_name("server.log.1").hardlink_to(live)
    live.with_name("server.log.2").symlink_to(live)
    assert names(LogFiles(live).now()) == {2: "server.log"}
    assert not capfd.readouterr().err


def test_a_directory_that_is_gone_has_no_files(live):
    live = live.parent / "gone" / live.name
    listing = LogFiles(live).now()
    assert listing.log is None
    assert not listing.segments


def test_without_a_live_file_the_newest_file_says_which_log_it_is(live):
    old = make_segment(live.with_name("server.log.2"), 7, log=OTHER_LOG)
    os.utime(old, ns=(0, 0))
    make_segment(live.with_name("server.log.1"), 3)
    assert names(LogFiles(live).now()) == {3: "server.log.1"}


def test_a_live_file_without_an_identity_is_seen(live):
    make_segment(live.with_name("server.log.1"), 3)
    live.write_bytes(b"")
    listing = LogFiles(live).now()
    assert listing.is_nameless
    assert listing.log == LOG


def test_no_file_is_missed_while_names_move(live, monkeypatch):
    """Between two looks at names, all files move to other names, the way a rotation does."""
    for segment in range(1, 9):
        make_segment(live.with_name(f"server.log.{9 - segment}"), segment)
    make_segment(live, 9)
    listdir, rotations = os.listdir, []

    def listdir_and_rotate(path):
        found = listdir(path)
        if len(rotations) < 3:
            for number in range(8 + len(rotations), 0, -1):
                os.rename(f"{live}.{number}", f"{live}.{number + 1}")
            os.rename(live, f"{live}.1")
            make_segment(live, 10 + len(rotations))
            rotations.append(1)
        return found

    monkeypatch.setattr(os, "listdir", listdir_and_rotate)
    assert list(LogFiles(live).now().segments) == list(range(1, 13))


def test_a_file_that_is_renamed_before_it_is_opened_is_found_again(live, monkeypatch):
    make_segment(live, 4, b"four")
    opens = ship_files.SegmentFile
    calls = []

    def rename_first(path, identity):
        if not calls:
            os.rename(live, f"{live}.1")
            make_segment(live, 5, b"five")
        calls.append(path)
        return opens(path, identity)

    monkeypatch.setattr(ship_files, "SegmentFile", rename_first)
    file = LogFiles(live).open(Identity(LOG, 4))
    assert file.read(10, 0) == b"four"
    file.close()
    assert [path.name for path in calls] == ["server.log", "server.log.1"]


def test_a_file_is_known_by_its_identity_and_not_by_its_inode(live):
    """The inode of a file that was deleted is given to the next one."""
    inodes = set()
    for segment in range(1, 200):
        make_segment(live, segment, b"%d" % segment)
        inodes.add(live.stat().st_ino)
        file = LogFiles(live).open(Identity(LOG, segment))
        assert file.read(10, 0) == b"%d" % segment
        assert LogFiles(live).open(Identity(LOG, segment - 1)) is None
        file.close()
        live.unlink()
    if len(inodes) == 199:
        pytest.skip("this file system does not use inodes again")


def test_a_file_that_gets_another_identity_is_not_read_as_before(live):
    make_segment(live, 1, b"line\n")
    file = LogFiles(live).open(Identity(LOG, 1))
    file.check()
    set_identity(live, 2)
    with pytest.raises(CutError):
        file.check()
    file.close()
    assert LogFiles(live).open(Identity(LOG, 1)) is None


def test_the_directory_is_synced_once_for_the_files_that_have_names(live, monkeypatch):
    synced = []
    monkeypatch.setattr(segment_file, "sync_directory", synced.append)
    make_segment(live.with_name("server.log.1"), 1)
    make_segment(live, 2)
    files = LogFiles(live)

    def sync(segment):
        file = files.open(Identity(LOG, segment))
        file.sync()
        file.sync()
        file.close()

    sync(1)
    sync(2)
    assert len(synced) == 1
    os.rename(live, f"{live}.2")
    make_segment(live, 3)
    sync(3)
    assert len(synced) == 2
    os.rename(live.parent, live.parent.with_name("gone"))
    live.parent.mkdir()
    make_segment(live, 3)
    sync(3)
    assert len(synced) == 3


def test_a_file_system_without_attributes_is_refused_with_what_to_do():
    with pytest.raises(RefusedError, match=r"extended attributes.*ext4, XFS"):
        LogFiles(ship_files.Path("/proc/version")).now_or_refuse()


def test_a_log_that_cannot_be_read_is_refused(live, monkeypatch):
    make_segment(live, 1)

    def not_readable(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(ship_files, "identity_of", not_readable)
    with pytest.raises(RefusedError, match=r"cannot read .*server\.log: Permission denied"):
        LogFiles(live).now_or_refuse()


def test_lag_is_what_follows_the_position(live):
    make_segment(live.with_name("server.log.1"), 4, b"x" * 100)
    make_segment(live, 6, b"x" * 10)
    listing = LogFiles(live).now()
    end = listing.end()
    assert [listing.lag(end._replace(segment=segment, offset=offset)) for segment, offset in
            [(6, 10), (6, 3), (6, 50), (5, 9), (4, 100), (4, 20), (1, 0)]] == [0, 7, 0, 10, 10, 90, 110]  # fmt: skip
    assert listing.lag(end._replace(log=OTHER_LOG)) == 110


def test_a_watch_reports_each_change_once(live, closing):
    make_segment(live, 1, b"one\n")
    file = closing(LogFiles(live).open(Identity(LOG, 1)))
    watch = Watch(live)
    assert watch.has_changed(file)
    assert not watch.has_changed(file)
    with live.open("ab") as writer:
        writer.write(b"two\n")
    assert watch.has_changed(file)
    set_identity(live, 2)
    assert watch.has_changed(file)
    os.rename(live, f"{live}.1")
    assert watch.has_changed(file)
    assert watch.has_changed(file)  # as long as there is no live file
    live.write_bytes(b"")
    assert watch.has_changed(file)
    with live.with_name("server.log.1").open("ab") as old:
        old.write(b"three\n")
    assert watch.has_changed(file)
    make_segment(live, 3)
    assert watch.has_changed(file)
    assert not watch.has_changed(file)
    watch.forget()
    assert watch.has_changed(file)
