"""The line buffer: room for the longest line, and which of the lines are whose."""

import pytest

from fastlog.limits import LINE_MAX_BYTES
from fastlog.server._lines import LineBuffer
from tests.helpers._hooks import put_line

KINDS = ("ordinary", "unawaited", "awaited")
LONGEST = b"x" * LINE_MAX_BYTES + b"\n"


@pytest.mark.parametrize("kind", ["unawaited", "awaited"])
@pytest.mark.parametrize("size", [100, 5_000, 100_000, LINE_MAX_BYTES])
def test_ordinary_entries_leave_room_for_the_longest_line_of_a_priority_entry(size, kind):
    lines = LineBuffer()
    while put_line(lines, b"x" * size + b"\n", "ordinary"):
        pass
    assert put_line(lines, LONGEST, kind)


def test_the_lines_of_each_kind_are_told_apart(rng):
    for _ in range(200):
        lines = LineBuffer()
        put = []
        for number in range(rng.randrange(20)):
            put.append((b"%d%s\n" % (number, b"x" * rng.choice((0, 5, 50))), rng.choice(KINDS)))
            assert put_line(lines, *put[-1])
        taken = rng.randrange(len(put) + 1)
        check(lines, put, taken)
        lines.forget(sum(len(line) for line, _ in put[:taken]), taken)
        put = put[taken:]
        check(lines, put, len(put))
        lines.drop_priority_lines()
        put = [(line, kind) for line, kind in put if kind == "ordinary"]
        check(lines, put, len(put))


def check(lines: LineBuffer, put: list[tuple[bytes, str]], first: int) -> None:
    """These lines are in the buffer; those of each kind among the `first` of them are found."""
    assert bytes(lines) == b"".join(line for line, _ in put)
    assert (lines.entries, lines.priority_count) == (len(put), sum(kind != "ordinary" for _, kind in put))
    size = sum(len(line) for line, _ in put[:first])
    for awaited, kinds in ((None, KINDS[1:]), (True, KINDS[2:]), (False, KINDS[1:2])):
        wanted = [line for line, kind in put[:first] if kind in kinds]
        assert lines.priority_lines(size, awaited) == (b"".join(wanted), len(wanted))
