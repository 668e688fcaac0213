"""What `fastlog count` says of the files of a log is what decoding every line would say, in whatever form they are."""

import gzip
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastlog.archive import writer, zstd
from fastlog.archive.writer import compress
from fastlog.logs.conditions import Conditions, Window
from fastlog.logs.counting import BY, TOTAL, Counting
from fastlog.logs.log_files import open_log
from fastlog.logs.selection import Selection, parse_pattern
from tests.unit.test_counting import SINCE, TIMES, UNTIL, entries, entry, is_entry, is_wanted, values_of

FORMS = ("plain", "ours", "gz", "foreign")
FILLER = [entry(app=f"app-{n % 3}", host="web", timestamp=TIMES[n % 12], text="x" * 50) for n in range(60)]


def write(path: Path, form: str, text: bytes) -> None:
    if form == "plain":
        path.write_bytes(text)
    elif form == "gz":
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(text))
    elif form == "foreign":
        path.with_name(path.name + ".zst").write_bytes(zstd.compress(text))
    else:
        path.write_bytes(text)
        with path.open("rb") as source, path.with_name(path.name + ".zst").open("w+b") as target:
            compress(source.fileno(), target.fileno())
        path.unlink()


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("forms")


# A frame that its summary does not spread over minutes, so it is unpacked.
OF_TWO_MINUTES = [b'{"level":"INFO","message":"m","timestamp":"2026-11-24T07:0%d:00Z"}\n' % minute for minute in (0, 1)]


@given(
    texts=st.lists(
        st.tuples(
            st.sampled_from(FORMS), st.lists(entries | st.sampled_from([*FILLER, b"what\n", b"\n"]), max_size=80)
        ),
        min_size=1,
        max_size=4,
    ),
    conditions=st.tuples(
        st.none() | st.sampled_from(["WARNING", "ERROR"]),
        st.none() | st.sampled_from(["shop", "köln", "app-1"]),
        st.none() | st.builds(Window, since=st.just(SINCE), until=st.just(UNTIL)),
        st.none() | st.just("m"),
    ),
    by=st.sampled_from([TOTAL, *BY]),
)
@example(
    texts=[("plain", []), ("ours", [*OF_TWO_MINUTES, b"what\n"])], conditions=(None, None, None, None), by="minute"
)
@settings(max_examples=150, deadline=None)
def test_all_forms_are_counted_alike(directory, texts, conditions, by):
    level, app, window, pattern = conditions
    for path in directory.iterdir():
        path.unlink()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(writer, "FRAME_BYTES", 1_000)
        for number, (form, lines) in enumerate(texts):
            write(
                directory / (f"server.log.{number}" if number else "server.log"),
                form if number else "plain",
                b"".join(lines),
            )
    selection = Selection(
        level=level, app=app, window=window, pattern=parse_pattern(pattern) if pattern else None, entries_only=True
    )
    counting = Counting(selection, by)
    files = open_log(directory / "server.log")
    counting.add(files)
    levels = {None: None, "WARNING": {"WARNING", "ERROR", "CRITICAL"}, "ERROR": {"ERROR", "CRITICAL"}}[level]
    conditions = Conditions(levels=levels, app=app, window=window)
    lines = [line.rstrip(b"\n") for _, lines in texts for line in lines]
    found = [values_of(line) for line in lines if is_entry(line)]
    assert counting.counts.spread == Counter(values[by] for values in found if is_wanted(values, conditions))
    if selection.is_all:
        assert counting.others == len(lines) - len(found)
    assert all(file.is_whole for file in files)
