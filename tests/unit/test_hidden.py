"""What a window hides, by the rule of `fastlog/logs/hidden.py`, in whatever form the files are."""

from datetime import timedelta
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlog.archive import writer
from fastlog.archive.summary import facts_of
from fastlog.logs import parts
from fastlog.logs.conditions import EARLIEST, LATEST, NO_TIME, Window
from fastlog.logs.counting import TOTAL, Counting
from fastlog.logs.hidden import NEAR, SLACK_MAX_SEC, Hidden, _slack
from fastlog.logs.log_files import open_log
from fastlog.logs.selected import beginning_of_last, selected
from fastlog.logs.selection import Selection, parse_duration, parse_pattern
from fastlog.times import MICROSECOND, microseconds
from tests.unit.test_counting import SINCE, TIMES, UNTIL, entries, entry
from tests.unit.test_counting_files import FORMS, write

NEAR_USEC = NEAR // MICROSECOND
# What fills a frame alone; the last ones are a little outside of the window.
BURSTS = [
    [entry(app="shop", host="web", timestamp=time, text="x" * 80)] * 25 for time in (TIMES[0], TIMES[4], TIMES[11])
]
MORE_TIMES = ["2026-11-24T07:00:21Z", "2026-11-24T07:00:20Z", "2026-11-24T07:02:09Z", "2026-11-24T07:02:10Z"]
some_lines = st.lists(
    st.one_of(
        entries.map(lambda line: [line]),
        st.sampled_from(BURSTS),
        st.sampled_from([[entry(app="shop", timestamp=time)] for time in MORE_TIMES] + [[b"what\n"]]),
    ),
    max_size=12,
).map(lambda groups: [line for group in groups for line in group])
windows = st.builds(
    Window,
    since=st.sampled_from([EARLIEST, SINCE]),
    until=st.sampled_from([LATEST, UNTIL]),
    slack=st.sampled_from([NO_TIME, timedelta(seconds=15)]),
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("forms")


def hidden_in(lines: list[bytes], selection: Selection) -> tuple[int, int]:
    """How many, and how far the farthest is, in microseconds."""
    window = selection.conditions.window
    since, until = microseconds(window.since), microseconds(window.until) + (window.until == LATEST)
    wide = window.widened(window.slack)
    wide_since, wide_until = microseconds(wide.since), microseconds(wide.until) + (wide.until == LATEST)
    others = selection.at_any_time()
    inside, outside = [], []
    for place, line in enumerate(lines):
        facts = facts_of(line[:-1])
        if not facts or (facts.received is None and facts.timestamp is None):
            continue
        if facts.received is not None:
            if since <= facts.received < until:
                inside.append(place)
        elif wide_since <= facts.timestamp < wide_until:
            inside.append(place)
        elif others.runs(line, 0, len(line)):
            distance = since - facts.timestamp if facts.timestamp < since else facts.timestamp - until + 1
            if distance >= NEAR_USEC:
                outside.append((place, distance))
    distances = [distance for place, distance in outside if inside and inside[0] < place < inside[-1]]
    return len(distances), max(distances, default=0)


def prepare(directory, texts: list[tuple[str, list[bytes]]]) -> list[bytes]:
    """Writes the files, the last one as the live one; returns all lines."""
    for path in directory.iterdir():
        path.unlink()
    with patch.object(writer, "FRAME_BYTES", 1_000):
        for number, (form, lines) in enumerate(reversed(texts)):
            path = directory / (f"server.log.{number}" if number else "server.log")
            write(path, form if number else "plain", b"".join(lines))
    return [line for _, lines in texts for line in lines]


def found_by_tail(directory, selection: Selection, count: int | None = None) -> Hidden:
    files = open_log(directory / "server.log")
    first, offset = (0, 0) if count is None else beginning_of_last(files, selection, count)
    hidden = Hidden(selection, files[first:], offset)
    for _ in selected(files, selection, lambda _, runs: runs, first, offset, hidden):
        pass
    hidden.report("", "")
    for file in files:
        file.close()
    return hidden


@given(
    texts=st.lists(st.tuples(st.sampled_from([*FORMS, "ours", "ours"]), some_lines), min_size=1, max_size=4),
    conditions=st.fixed_dictionaries(
        {
            "level": st.none() | st.sampled_from(["WARNING", "ERROR"]),
            "app": st.none() | st.sampled_from(["shop", "other"]),
            "host": st.none() | st.just("web"),
            "pattern": st.none() | st.sampled_from(["m", "x{9}"]).map(parse_pattern),
            "window": windows,
        }
    ),
)
@settings(max_examples=300, deadline=None)
def test_what_stands_between_is_counted_and_never_too_few(directory, texts, conditions):
    lines = prepare(directory, texts)
    selection = Selection(**conditions, entries_only=True)
    count, farthest = hidden_in(lines, selection)
    counting = Counting(selection, TOTAL)
    counting.add(open_log(directory / "server.log"))
    counting.hidden.report("", "")
    for total in (found_by_tail(directory, selection)._total, counting.hidden._total):
        if total.is_exact:
            assert (total.count, total.farthest) == (count, farthest)
        else:
            assert total.count >= count
            assert total.farthest >= farthest
        if all(form != "ours" for form, _ in texts[:-1]):
            assert total.is_exact


def at(second: int, level: str = "INFO", **fields: str) -> bytes:
    """So many seconds after the beginning of the window."""
    return entry(level, timestamp=(SINCE + timedelta(seconds=second)).isoformat().replace("+00:00", "Z"), **fields)


def test_a_frame_whose_summary_does_not_say_whether_it_has_entries_of_the_window_makes_the_number_uncertain(directory):
    right, slow = at(10, app="shop"), at(-1000, app="shop")
    odd = at(-1000, app="bank") + at(1000, app="bank") + b"x" * 900 + b"\n"  # passed over for its app
    lines = [odd, slow + b"y" * 1_100 + b"\n", right + b"z" * 1_100 + b"\n"]
    prepare(directory, [("ours", lines), ("plain", [])])
    hidden = found_by_tail(directory, Selection(app="shop", window=Window(SINCE, UNTIL), entries_only=True))
    assert hidden.report("shown", "shows") == (
        "not shown: up to 1 entry between those in the window, whose `timestamp` is outside of it by up to 1000s; "
        "--clock-slack 1000s shows them"
    )


@pytest.mark.parametrize("narrow", [0, parts.NARROW_FRAMES])
def test_lines_of_rare_levels_are_hidden_as_well(directory, narrow):
    """The lines of other levels, which are not unpacked, say by their summaries where the window is."""
    lines = [at(second / 10 - 100, text="x" * 60) for second in range(2_000)]
    lines[1_200:1_200] = [at(-3_600, "ERROR"), at(-7_200, "ERROR")]
    lines[1_600:1_600] = [at(-30, "CRITICAL"), at(-5, "ERROR")]
    lines[400:400] = [at(-60, "ERROR")]  # this one is from before the window
    prepare(directory, [("ours", lines), ("plain", [])])
    selection = Selection(level="ERROR", window=Window(SINCE, UNTIL), entries_only=True)
    with patch.object(parts, "NARROW_FRAMES", narrow):
        hidden = found_by_tail(directory, selection)
    assert hidden.report("shown", "shows").startswith("not shown: 3 entries between")
    assert "7200s" in hidden.report("shown", "shows")


def test_what_stands_before_the_last_entries_that_are_asked_for_is_not_told(directory):
    lines = [at(1), at(-100), at(2), at(-200), at(3), at(4)]
    prepare(directory, [("plain", lines)])
    selection = Selection(window=Window(SINCE, UNTIL), entries_only=True)
    for count, hidden in ((1, 0), (2, 0), (3, 1), (4, 2), (None, 2)):
        assert found_by_tail(directory, selection, count)._total.count == hidden


@pytest.mark.parametrize("seconds", [10, 10.5, 59, 86_400 * 365, SLACK_MAX_SEC, SLACK_MAX_SEC + 1, 86_400 * 30_000])
def test_a_slack_that_is_named_is_one_that_is_taken_and_suffices(seconds):
    distance = timedelta(seconds=seconds)
    assert distance <= parse_duration("--clock-slack", _slack(distance)) <= distance + timedelta(days=1)
