"""Files of the log that are not as the server left them: copies, damage by a power cut, and odd names."""

import os
import shutil

import pytest

from fastlog.ship import shipper
from fastlog.ship.files import LogFiles
from tests.helpers.shipping import Recorder, append, catch_up, make_segment, rotate, ship_all


@pytest.mark.parametrize("name", ["server.log-20261127", "server.log.7", "server.log.bak", "server.log-old"])
@pytest.mark.parametrize("is_open", [True, False])
def test_the_older_copy_of_a_file_that_grew_is_not_shipped_in_its_place(live, begin, name, is_open):
    make_segment(live, 1, b"one\n")
    sink = Recorder()
    if is_open:
        made = begin(live, sink)
        catch_up(made)
    shutil.copy2(live, live.with_name(name))  # which copies attributes as well
    append(live, b"two\n")
    rotate(live, 2, b"three\n")
    if is_open:
        catch_up(made)
    else:
        ship_all(live, sink)
    assert sink.text == b"one\ntwo\nthree\n"


def test_a_live_file_may_be_called_like_a_compressed_one(tmp_path):
    live = make_segment(tmp_path / "server.log.gz", 2, b"two\n")
    make_segment(tmp_path / "server.log.gz.1", 1, b"one\n")
    make_segment(tmp_path / "server.log.gz.2.gz", 3, b"not lines\n")
    sink = Recorder()
    ship_all(live, sink)
    assert sink.text == b"one\ntwo\n"


def test_nothing_is_shipped_from_damage_on_until_the_server_has_repaired_it(live, begin, capfd):
    """After a power cut, a shipper may be there before the server."""
    make_segment(live, 1, b"one\n" + bytes(300_000) + b"two\nthree\n")
    sink = Recorder()
    made = begin(live, sink)
    catch_up(made)
    assert sink.text == b"one\n"
    assert "server.log holds zeros in place of lost lines" in capfd.readouterr().err
    rotate(live, 2, b"four\n")
    catch_up(made)
    assert sink.text == b"one\n"
    make_segment(live.with_name("server.log.repaired"), 1, b"one\ntwo\nthree\n").rename(f"{live}.1")
    catch_up(made)
    assert sink.text == b"one\ntwo\nthree\nfour\n"
    assert not made.problem


def test_damage_in_the_midst_of_a_batch_leaves_the_lines_before_it(live, begin):
    make_segment(live, 1, b"one\ntwo\nthr\0\0\nfour\n")
    sink = Recorder()
    made = begin(live, sink)
    catch_up(made)
    assert sink.text == b"one\ntwo\n"
    live.write_bytes(b"one\ntwo\n     \nfour\n")
    catch_up(made)
    assert sink.text == b"one\ntwo\n     \nfour\n"


def test_a_file_is_not_given_up_for_damage_however_late_the_server_repairs_it(live, begin, monkeypatch):
    monkeypatch.setattr(shipper, "READ_PATIENCE_SEC", 0.0)
    make_segment(live, 1, b"one\n\0\0\0")
    sink = Recorder()
    made = begin(live, sink)
    for _ in range(3):
        made.turn()
    os.truncate(live, len(b"one\n"))
    append(live, b"two\n")
    catch_up(made)
    assert sink.text == b"one\ntwo\n"
    assert not made.problem


def test_many_archives_are_not_looked_at_again_for_each_of_them(live, begin, monkeypatch):
    for segment in range(1, 200):
        make_segment(live.with_name(f"server.log.{200 - segment}"), segment, b"%d\n" % segment)
    make_segment(live, 200, b"200\n")
    sink = Recorder()
    made = begin(live, sink)
    looks = []
    look = LogFiles.look
    monkeypatch.setattr(LogFiles, "look", lambda self: (looks.append(1), look(self))[1])
    while made.turn():
        pass
    assert sink.text == b"".join(b"%d\n" % number for number in range(1, 201))
    assert len(looks) < 10
