"""The shipper between real files and an engine that the test plays: what is shipped, in which order, and from where on."""

from types import SimpleNamespace

import pytest

from fastlog.segments import Position, read_shipped
from fastlog.ship.sink import RivalError, UnavailableError, WentBackError
from tests.helpers.shipping import LOG, Recorder, make_segment, ship_all, shipper_of


@pytest.fixture
def live(tmp_path):
    return tmp_path / "server.log"


@pytest.fixture
def begun(closing):
    """Makes shippers that have found their place."""

    def begin(live, sink, **options):
        shipper = shipper_of(live, sink, **options)
        assert shipper.begin()
        closing(SimpleNamespace(close=shipper.finish))
        return shipper

    return begin


def lines(first, last):
    return b"".join(b'{"number":%d}\n' % number for number in range(first, last))


def test_archives_and_the_live_file_are_shipped_in_order_once(live):
    make_segment(live.with_name("server.log.2"), 1, lines(0, 100))
    make_segment(live.with_name("server.log.1"), 2, lines(100, 200))
    make_segment(live, 3, lines(200, 300))
    sink = Recorder()
    shipper = ship_all(live, sink)
    assert sink.text == lines(0, 300)
    assert shipper.account.lines == 300
    assert [batch.first for batch in sink.batches][1:] == [Position(LOG, 2, 0), Position(LOG, 3, 0)]
    assert read_shipped(live).position == Position(LOG, 3, len(lines(200, 300)))
    ship_all(live, sink)
    assert sink.text == lines(0, 300)


def test_batches_are_whole_lines_of_the_size_asked_for(live):
    make_segment(live, 1, lines(0, 10_000))
    sink = Recorder()
    ship_all(live, sink, batch_bytes=1024)
    assert sink.text == lines(0, 10_000)
    assert all(batch.lines.endswith(b"\n") and 900 < len(batch.lines) <= 1024 for batch in sink.batches[:-1])
    assert [batch.first for batch in sink.batches[1:]] == [batch.last for batch in sink.batches[:-1]]
    assert sum(batch.line_count for batch in sink.batches) == 10_000


def test_a_batch_that_is_not_acknowledged_is_sent_again_as_it_was(live):
    make_segment(live, 1, lines(0, 10))
    sink = Recorder()
    sink.answers = [None, UnavailableError("it is away"), UnavailableError("it is away")]
    ship_all(live, sink)
    assert sink.text == lines(0, 10)


def test_an_engine_that_went_back_gets_the_lines_again(live):
    make_segment(live, 1, lines(0, 10) * 1000)
    sink = Recorder()
    back = Position(LOG, 1, 2 * len(lines(0, 10)))
    sink.answers = [None, None, None, WentBackError(back)]
    ship_all(live, sink, batch_bytes=len(lines(0, 10)))
    assert [batch.first for batch in sink.batches[:3]] == [back._replace(offset=0), back._replace(offset=130), back]


def test_an_engine_that_was_emptied_ends_the_shipper(live):
    make_segment(live, 1, lines(0, 10))
    ship_all(live, Recorder())
    sink = Recorder()
    with pytest.raises(RivalError, match="--from-start"):
        ship_all(live, sink)
    ship_all(live, sink, from_start=True)
    assert sink.text == lines(0, 10)


def test_an_unfinished_line_waits_for_its_end(live, begun):
    make_segment(live, 1)
    sink = Recorder()
    shipper = begun(live, sink)
    shipper.turn()
    for byte in lines(0, 3):
        with live.open("ab") as file:
            file.write(bytes([byte]))
        shipper.turn()
        assert sink.text == live.read_bytes()[: live.read_bytes().rfind(b"\n") + 1]
    assert len(sink.batches) == 3
