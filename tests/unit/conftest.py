from types import SimpleNamespace

import pytest

from fastlog.server import clock
from tests.helpers.kept_log import Clocks


@pytest.fixture
def live(tmp_path):
    """The path of a log, in a directory of its own."""
    (tmp_path / "log").mkdir()
    return tmp_path / "log" / "server.log"


@pytest.fixture
def begin(closing):
    """Makes shippers that have found their place."""
    from tests.helpers.shipping import shipper_of  # most tests here need nothing of the shipper

    def begin(live, sink, **options):
        made = shipper_of(live, sink, **options)
        assert made.begin()
        closing(SimpleNamespace(close=made.finish))
        return made

    return begin


@pytest.fixture
def clocks(monkeypatch):
    """The clocks by which archives become too old."""
    clocks = Clocks()
    monkeypatch.setattr(clock, "run_time", lambda: clocks.since_boot)
    monkeypatch.setattr(clock, "time", SimpleNamespace(time=lambda: clocks.wall))
    return clocks
