"""Files of the log that are not as the server left them: copies, damage by a power cut, and odd names."""

import shutil
from types import SimpleNamespace

import pytest

from tests.helpers.shipping import Recorder, make_segment, ship_all, shipper_of


@pytest.fixture
def live(tmp_path):
    (tmp_path / "log").mkdir()
    return tmp_path / "log" / "server.log"


@pytest.fixture
def begin(closing):
    """Makes shippers that have found their place."""

    def begin(live, sink, **options):
        made = shipper_of(live, sink, **options)
        assert made.begin()
        closing(SimpleNamespace(close=made.finish))
        return made

    return begin


def catch_up(made):
    """As many turns as have something to do."""
    turns = 0
    while made.turn():
        turns += 1
        assert turns < 100


def append(path, content):
    with path.open("ab") as file:
        file.write(content)


def rotate(live, segment, content=b""):
    """The live file becomes the archive `.1`, as in a rotation of the server."""
    next_file = make_segment(live.with_name("server.log.new"), segment, content)
    live.rename(f"{live}.1")
    next_file.rename(live)


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
