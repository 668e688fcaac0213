"""The parts of the view process, each alone: how its work is bounded, and what it says when it was."""

import gzip
import json

import pytest

from fastlog.view import search as search_module
from fastlog.view.feed import MEASURED_FROM_BYTES, READ_MAX_BYTES_PER_SEC, Feed
from fastlog.view.lines import Newest, last_lines, position
from fastlog.view.query import RATE_MAX, parse_query
from fastlog.view.search import Search
from fastlog.view.wanted import wanted_by
from tests.helpers.archives import compress_archive

ENOUGH_SEC = 1_000.0  # for a turn: it bounds nothing


def entry(number: int, level: str = "INFO", size: int = 200) -> bytes:
    """A line of so many bytes."""
    line = b'{"level":"%s","message":"%06d","padding":""}\n' % (level.encode(), number)
    return line.replace(b'""', b'"' + b"x" * (size - len(line)) + b'"')


def numbers(lines) -> list[int]:
    return [int(json.loads(line)["message"]) for line in lines]


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "server.log"
    path.write_bytes(b"")
    return path


@pytest.fixture
def feed(log, closing):
    return closing(Feed(log))


def join(feed: Feed, log, query: str):
    """The group of a new viewer."""
    parsed = parse_query("tap", query)
    feed.join(query, wanted_by(parsed, log), object())
    return feed.groups[query]


def append(log, lines) -> None:
    with log.open("ab") as file:
        file.writelines(lines)


def test_a_turn_finds_what_was_written_since_the_last_one(feed, log):
    append(log, [entry(0, "ERROR")])
    everything, errors = join(feed, log, ""), join(feed, log, "level=ERROR")
    append(log, [entry(1), entry(2, "ERROR"), entry(3)])
    feed.turn(ENOUGH_SEC, ENOUGH_SEC)
    assert (everything.matching, numbers(everything.newest.lines)) == (3, [1, 2, 3])
    assert (errors.matching, numbers(errors.newest.lines)) == (1, [2])
    feed.turn(ENOUGH_SEC, ENOUGH_SEC)
    assert (everything.matching, list(everything.newest.lines)) == (0, [])
    assert not everything.is_estimated


def test_only_the_newest_part_of_a_log_that_grows_too_fast_is_read(feed, log):
    everything = join(feed, log, "")
    append(log, [entry(number) for number in range(1_000)])
    feed.turn(100 * 200 / READ_MAX_BYTES_PER_SEC, ENOUGH_SEC)
    assert everything.is_estimated
    assert everything.matching == pytest.approx(1_000, abs=1)
    assert numbers(everything.newest.lines)[-1] == 999
    append(log, [entry(1_000)])
    feed.turn(ENOUGH_SEC, ENOUGH_SEC)
    assert (everything.is_estimated, everything.matching) == (False, 1)


def test_a_filter_that_costs_little_sees_everything_when_there_is_no_time_for_the_others(feed, log):
    everything, errors = join(feed, log, ""), join(feed, log, "level=ERROR")
    everything.sec_per_byte, errors.sec_per_byte = 1e-6, 1e-12
    blocks = 8  # of those that a log is read in
    lines = [entry(number, "ERROR" if number == 0 else "INFO", 1_024) for number in range(blocks * 256)]
    assert sum(map(len, lines)) >= 2 * MEASURED_FROM_BYTES
    append(log, lines)
    feed.turn(ENOUGH_SEC, 0.4)  # time for a fifth of it
    assert (errors.matching, errors.is_estimated, numbers(errors.newest.lines)) == (1, False, [0])
    assert everything.is_estimated
    assert everything.matching == len(lines)
    assert everything.sec_per_byte < 1e-6  # it was measured


def test_what_follows_a_rotation_is_seen(feed, log):
    everything = join(feed, log, "")
    append(log, [entry(1)])
    log.rename(log.with_name("server.log.1"))
    append(log, [entry(2)])
    feed.turn(ENOUGH_SEC, ENOUGH_SEC)
    assert numbers(everything.newest.lines) == [1, 2]


def test_a_log_that_cannot_be_read_is_a_problem_until_it_can(feed, log):
    log.unlink()
    everything = join(feed, log, "")
    assert "does not exist yet" in feed.problem
    feed.turn(ENOUGH_SEC, ENOUGH_SEC)
    assert "does not exist yet" in feed.problem
    append(log, [entry(1)])
    feed.turn(ENOUGH_SEC, ENOUGH_SEC)
    assert (feed.problem, numbers(everything.newest.lines)) == ("", [1])


def test_the_log_is_closed_when_the_last_viewer_leaves(log):
    feed = Feed(log)
    viewers = [object(), object()]
    for viewer in viewers:
        feed.join("", wanted_by(parse_query("tap", ""), log), viewer)
    assert feed.position
    for viewer in viewers:
        feed.leave("", viewer)
    assert (feed.position, feed.groups) == ("", {})


def found(log, query: str, limit: int = 100, **places: str) -> Search:
    search = Search(wanted_by(parse_query("lines", query), log), limit, **places)
    while not search.is_done:
        search.step()
    return search


@pytest.fixture
def archives(log):
    """Four files with ten lines each: one that another program compressed, one of our own, a plain one, the live one."""
    for number, path in enumerate([log.with_name(f"server.log.{number}") for number in (3, 2, 1)] + [log]):
        path.write_bytes(b"".join(entry(number * 10 + line, "ERROR" if line == 5 else "INFO") for line in range(10)))
    other = log.with_name("server.log.3")
    log.with_name("server.log.3.gz").write_bytes(gzip.compress(other.read_bytes()))
    other.unlink()
    compress_archive(log.with_name("server.log.2"))
    return log


def test_a_search_goes_back_through_all_files(archives):
    everything = found(archives, "")
    assert numbers(everything.lines) == list(range(40))
    assert everything.is_complete
    assert everything.searched_bytes == 40 * 200
    errors = found(archives, "level=ERROR")
    assert numbers(errors.lines) == [5, 15, 25, 35]
    for limit in (1, 2, 3):
        some = found(archives, "level=ERROR", limit)
        assert numbers(some.lines) == [5, 15, 25, 35][-limit:]
        assert not some.is_complete


def test_a_search_between_two_places(archives, closing):
    feed = closing(Feed(archives))
    join(feed, archives, "")
    name, _, size = feed.position.rpartition(":")
    assert int(size) == 10 * 200
    assert numbers(found(archives, "", until=f"{name}:1000").lines) == list(range(35))
    assert numbers(found(archives, "", since=f"{name}:1000").lines) == [35, 36, 37, 38, 39]
    assert numbers(found(archives, "", since=f"{name}:200", until=f"{name}:600").lines) == [31, 32]
    assert numbers(found(archives, "", since="nobody:1:7").lines) == list(range(40))


def test_a_search_is_bounded_by_time_and_by_bytes(archives, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(search_module, "SEARCH_SEC", 0.0)
        late = found(archives, "")
        assert not late.is_complete
    with monkeypatch.context() as patched:
        patched.setattr(search_module, "SEARCH_MAX_BYTES", 100)
        long = found(archives, "")
        assert (long.is_complete, numbers(long.lines)) == (False, list(range(30, 40)))
    with monkeypatch.context() as patched:
        patched.setattr(search_module, "ANSWER_MAX_BYTES", 700)
        large = found(archives, "")
        assert (large.is_complete, numbers(large.lines)) == (False, [36, 37, 38, 39])


def test_a_damaged_archive_makes_an_answer_incomplete(archives):
    archives.with_name("server.log.3.gz").write_bytes(b"not gzip")
    damaged = found(archives, "")
    assert (damaged.is_complete, numbers(damaged.lines)) == (False, list(range(10, 40)))


def test_no_log_has_no_lines(tmp_path):
    none = found(tmp_path / "server.log", "")
    assert (none.lines, none.is_complete, none.oldest) == ([], True, None)


def test_the_last_lines_of_runs():
    block = b"a\nbb\nccc\n\ndd\n"
    assert last_lines(block, [(0, 5), (9, 13)], 9) == [(10, b"dd"), (9, b""), (2, b"bb"), (0, b"a")]
    assert last_lines(block, [(0, 5), (9, 13)], 3) == [(10, b"dd"), (9, b""), (2, b"bb")]
    assert last_lines(block, [], 3) == []


def test_the_newest_lines_are_bounded_by_number_and_by_bytes():
    newest = Newest(3, 10)
    newest.add([b"1", b"2", b"3", b"4"])
    assert list(newest.lines) == [b"2", b"3", b"4"]
    newest.add([b"x" * 8])
    assert list(newest.lines) == [b"3", b"4", b"x" * 8]
    newest.add([b"y" * 100])
    assert list(newest.lines) == [b"y" * 100]
    newest.clear()
    newest.add([b"z"])
    assert list(newest.lines) == [b"z"]


def test_a_position_is_that_of_the_file_whatever_its_name(feed, log):
    join(feed, log, "")
    before = feed.position
    log.rename(log.with_name("server.log.1"))
    place = feed._follower.place
    assert position(*place) == before


@pytest.mark.parametrize(
    "after", ["", "x", "0123456789ab:1:", "0123456789ab:1:x", "0123456789ab:1:-7", "a:1:" + "9" * 19]
)
def test_what_is_no_position_is_as_good_as_none(after):
    assert parse_query("tap", "", after).after == ""


def test_what_a_query_shares_with_others_are_its_filters():
    one = parse_query("tap", f"level=ERROR,INFO&rate={RATE_MAX}&last=5", "0123456789ab:1:7")
    assert one.after == "0123456789ab:1:7"
    other = parse_query("tap", "rate=3&level=info,err")
    assert one.filters == other.filters
    assert one.filters != parse_query("tap", "level=ERROR").filters
