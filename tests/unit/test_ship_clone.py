"""A copy of a log, which is written and shipped as well: its positions are the same as ours, and its lines are not."""

import pytest

from fastlog.segments import Position
from fastlog.ship.sink import RivalError, WentBackError
from tests.helpers.shipping import LOG, Recorder, make_segment, ship_all, shipper_of

OURS = b'{"message":"1"}\n{"message":"2"}\n{"message":"3"}\n'
LINE_BYTES = len(OURS) // 3


@pytest.fixture
def live(tmp_path):
    return make_segment(tmp_path / "server.log", 1, OURS)


def engine_with(lines: bytes, *, end: int = 2 * LINE_BYTES) -> Recorder:
    engine = Recorder(Position(LOG, 1, end))
    engine.last_lines = lines
    return engine


def test_shipping_continues_behind_our_own_lines(live):
    engine = engine_with(OURS[: 2 * LINE_BYTES])
    ship_all(live, engine)
    assert engine.text == OURS[2 * LINE_BYTES :]


def test_other_lines_at_the_same_place_are_not_ours(live):
    engine = engine_with(b'{"message":"8"}\n{"message":"9"}\n')
    with pytest.raises(RivalError, match="a copy of it is shipped elsewhere"):
        ship_all(live, engine)
    assert not engine.batches


def test_from_start_ships_all_the_same(live):
    engine = engine_with(b'{"message":"9"}\n')
    ship_all(live, engine, from_start=True)
    assert engine.text == OURS


def test_other_lines_that_come_later_are_not_ours(live):
    engine = Recorder()
    engine.last_lines = b'{"message":"9"}\n'
    engine.answers = [None, WentBackError(Position(LOG, 1, LINE_BYTES))]
    shipper = shipper_of(live, engine)
    with pytest.raises(RivalError, match="a copy of it is shipped elsewhere"):
        shipper.run(once=True)
    shipper.finish()


def test_lines_of_a_file_that_is_gone_cannot_be_compared(tmp_path):
    live = make_segment(tmp_path / "server.log", 2, OURS)
    engine = engine_with(b'{"message":"9"}\n')
    ship_all(live, engine)
    assert engine.text == OURS


def test_a_file_that_was_cut_is_not_taken_for_a_copy(live):
    engine = engine_with(b'{"message":"9"}\n', end=LINE_BYTES)
    live.write_bytes(b"")
    live.with_name("server.log.shipped").write_text(f'{{"log":"{LOG}","segment":1,"offset":{LINE_BYTES}}}')
    ship_all(live, engine)
