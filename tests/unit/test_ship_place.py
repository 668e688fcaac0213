"""Where shipping continues, by what the engine has, the note beside the log, and the files."""

import pytest

from fastlog.segments import Position, Shipped
from fastlog.ship.files import Listing
from fastlog.ship.place import place_for
from fastlog.ship.sink import RivalError

LOG, OLD_LOG = "0123456789ab", "ba9876543210"
PATHS = {3: "server.log.2", 4: "server.log.1", 6: "server.log"}
FILES = Listing(LOG, PATHS, {3: 300, 4: 400, 6: 600}, {}, False)
START = Position(LOG, 3, 0)


def at(segment, offset, log=LOG):
    return Position(log, segment, offset)


def note(position, acknowledged=None):
    return Shipped(*position, acknowledged=str(acknowledged or ""))


@pytest.mark.parametrize(
    ("engine", "shipped", "place"),
    [
        (None, None, START),
        (None, note(START), START),  # the first start was killed before it reached the engine
        (None, note(at(1, 0)), START),  # and the oldest files were deleted since
        (at(4, 100), None, at(4, 100)),
        (at(4, 100), note(at(3, 50), at(3, 50)), at(4, 100)),  # killed before the note was written
        (at(3, 300), note(at(4, 0), at(3, 300)), at(4, 0)),  # the rest of segment 3 is done with
        (at(4, 100), note(at(4, 50), at(4, 100)), at(4, 100)),
        (at(3, 100), note(at(6, 10), at(6, 10)), at(3, 100)),  # the engine went back
        (at(1, 100), note(at(6, 10), at(6, 10)), at(1, 100)),  # to files that are gone
        (at(6, 600), note(at(6, 500), at(6, 500)), at(6, 600)),
        (at(7, 5), note(at(7, 5), at(7, 5)), at(7, 5)),  # the live file was removed after it was shipped
        (at(6, 700), note(at(6, 700), at(6, 700)), at(6, 700)),  # or was cut
        (at(9, 9, OLD_LOG), note(at(9, 9, OLD_LOG), at(9, 9, OLD_LOG)), START),  # the log was begun anew here
        (at(9, 9, OLD_LOG), note(at(8, 8, OLD_LOG), at(8, 8, OLD_LOG)), START),
        (at(9, 9, OLD_LOG), note(START, at(9, 9, OLD_LOG)), START),
    ],
)
def test_the_place_by_an_engine_that_remembers(engine, shipped, place):
    assert place_for(engine, shipped, FILES, True, from_start=False) == place
    assert place_for(engine, shipped, FILES, True, from_start=True) == place


@pytest.mark.parametrize(
    ("engine", "shipped", "why"),
    [
        (None, note(at(4, 10), at(4, 10)), "has no line of this node, and had some up to"),
        (None, note(START, at(9, 9, OLD_LOG)), "has no line of this node, and had some up to"),
        (at(9, 9, OLD_LOG), None, "has lines of another log for this node"),
        (at(9, 9, OLD_LOG), note(at(4, 10), at(4, 10)), "has lines of another log for this node"),
        (at(7, 5), None, "a copy of it is shipped elsewhere"),
        (at(7, 5), note(at(6, 10), at(6, 10)), "a copy of it is shipped elsewhere"),
        (at(6, 601), note(at(6, 10), at(6, 10)), "a copy of it is shipped elsewhere"),
    ],
)
def test_where_the_engine_has_what_was_not_shipped_from_here(engine, shipped, why):
    with pytest.raises(RivalError, match=why):
        place_for(engine, shipped, FILES, True, from_start=False)
    assert place_for(engine, shipped, FILES, True, from_start=True) == START


@pytest.mark.parametrize(
    ("shipped", "place"),
    [
        (None, START),
        (note(at(4, 100), at(4, 100)), at(4, 100)),
        (note(at(1, 100), at(1, 100)), at(1, 100)),
        (note(at(9, 9, OLD_LOG), at(9, 9, OLD_LOG)), START),
    ],
)
def test_the_place_by_the_note(shipped, place):
    assert place_for(None, shipped, FILES, False, from_start=False) == place
    assert place_for(None, shipped, FILES, False, from_start=True) == START
