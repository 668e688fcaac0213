"""What the shipper writes beside the log: its note, its lock, and the lines that the engine refused."""

import json
import os
import stat

import pytest

from fastlog.segments import Position, Shipped, read_shipped, shipped_path
from fastlog.ship import note as ship_note
from fastlog.ship.note import Lock, Note
from fastlog.ship.refused import RefusedFile
from fastlog.ship.sink import RefusedError, RivalError
from tests.helpers.shipping import LOG

PLACE = Position(LOG, 3, 17)


def test_a_note_is_whole_synced_and_readable_by_the_server(live, monkeypatch):
    steps = []
    for name in ("fsync", "rename"):
        call = getattr(os, name)

        def step(*arguments, name=name, call=call):
            steps.append(name)
            return call(*arguments)

        monkeypatch.setattr(os, name, step)
    before = os.umask(0o077)
    Note(live).tell(PLACE, None, 0, "")
    os.umask(before)
    assert steps == ["fsync", "rename", "fsync"]
    assert read_shipped(live) == Shipped(*PLACE)
    assert stat.S_IMODE(shipped_path(live).stat().st_mode) == 0o644
    assert [path.name for path in live.parent.iterdir()] == ["server.log.shipped"]


def test_a_problem_is_written_at_once_and_a_position_once_a_second(live):
    note = Note(live)
    note.tell(PLACE, None, 0, "")
    note.tell(PLACE._replace(offset=20), PLACE, 0, "")
    assert read_shipped(live) == Shipped(*PLACE)
    note.tell(PLACE._replace(offset=20), PLACE, 0, "it is away")
    assert read_shipped(live) == Shipped(LOG, 3, 20, "it is away", str(PLACE))
    note.tell(PLACE._replace(offset=30), PLACE, 0, "it is away")
    assert read_shipped(live).offset == 20
    note.tell(PLACE._replace(offset=30), PLACE, 0, "")
    assert read_shipped(live) == Shipped(LOG, 3, 30, "", str(PLACE))
    note.tell(PLACE._replace(offset=40), PLACE, 0, "")
    note.keep_up()
    assert read_shipped(live).offset == 30
    note.keep_up(now=True)
    assert read_shipped(live).offset == 40


def test_a_problem_of_any_length_fits_in_a_note(live):
    Note(live).tell(PLACE, PLACE, 0, "Ü\n" * 5000)
    assert read_shipped(live).position == PLACE
    assert shipped_path(live).stat().st_size < 4096


def test_what_a_killed_run_left_is_no_hindrance(live):
    live.with_name(".fastlog-server.log.shipped").symlink_to("/nowhere/else")
    Note(live).tell(PLACE, None, 0, "")
    assert read_shipped(live) == Shipped(*PLACE)


def test_only_one_shipper_has_the_lock(live):
    lock = Lock(live)
    with pytest.raises(RivalError, match="another `fastlog ship`"):
        Lock(live)
    other = Lock(live.with_name("other.log"))
    other.close()
    lock.close()
    Lock(live).close()


def test_a_lock_file_of_another_user_is_opened_to_be_read(live, monkeypatch):
    Lock(live).close()
    os_open, flags = os.open, []
    monkeypatch.setattr(os, "open", lambda path, flag, *mode: (flags.append(flag), os_open(path, flag, *mode))[1])
    Lock(live).close()
    assert not any(flag & (os.O_CREAT | os.O_WRONLY | os.O_RDWR) for flag in flags)


def test_without_locks_a_shipper_runs_all_the_same(live, monkeypatch):
    def no_locks(fd, how):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(ship_note.fcntl, "flock", no_locks)
    Lock(live).close()


def test_a_directory_that_cannot_be_written_is_refused_with_what_to_do(live):
    with pytest.raises(RefusedError, match="its user needs to write in"):
        Lock(ship_note.Path("/proc/server.log"))


def refused_notes(live, ending=""):
    return [json.loads(line) for line in live.with_name(f"ship-refused.jsonl{ending}").read_bytes().splitlines()]


def test_refused_lines_are_noted_with_position_and_reason(live, capfd):
    refused = RefusedFile(live.parent, 100_000)
    refused.note(PLACE, '{"message":"ü"}'.encode(), "mapper_parsing_exception")
    refused.note(PLACE, b"\xff", "x" * 5000, 300)
    first, second = refused_notes(live)
    assert first.pop("time").endswith("Z")
    assert first == {
        "position": str(PLACE),
        "reason": "mapper_parsing_exception",
        "line_bytes": 16,
        "text": '{"message":"ü"}',
    }
    assert (second["base64"], second["line_bytes"], len(second["reason"])) == ("/w==", 300, 1001)
    assert stat.S_IMODE(live.with_name("ship-refused.jsonl").stat().st_mode) & 0o007 == 0
    assert capfd.readouterr().err.count("is refused") == 1


def test_refused_lines_are_kept_under_a_cap(live):
    refused = RefusedFile(live.parent, 20_000)
    for number in range(200):
        refused.note(PLACE._replace(offset=number), b"x" * 200, "no")
    files = [live.with_name("ship-refused.jsonl.1"), live.with_name("ship-refused.jsonl")]
    assert 9_000 < files[0].stat().st_size <= 10_000
    assert 0 < files[1].stat().st_size <= 10_000
    kept = [note["position"] for note in refused_notes(live, ".1") + refused_notes(live)]
    assert kept == [str(PLACE._replace(offset=number)) for number in range(200 - len(kept), 200)]
    assert not refused.lost


@pytest.mark.parametrize("in_the_way", ["directory", "fifo", "link"])
def test_refused_lines_that_cannot_be_written_are_lost(live, capfd, in_the_way):
    path = live.with_name("ship-refused.jsonl")
    {"directory": path.mkdir, "fifo": lambda: os.mkfifo(path), "link": lambda: path.symlink_to("/etc/hosts")}[
        in_the_way
    ]()
    refused = RefusedFile(live.parent, 20_000)
    refused.note(PLACE, b"line", "no")
    refused.note(PLACE, b"line", "no")
    assert refused.lost == 2
    assert capfd.readouterr().err.count("cannot write") == 1


def test_without_a_cap_refused_lines_are_only_counted(live):
    RefusedFile(live.parent, 0).note(PLACE, b"line", "no")
    assert not list(live.parent.iterdir())
    small = RefusedFile(live.parent, 100)
    small.note(PLACE, b"line", "no")
    assert small.lost == 1
