"""Fixtures for pytest. A project names this module in the `conftest.py` of its root directory:

pytest_plugins = ["fastlog.testing.fixtures"]
"""

from collections.abc import Iterator

import pytest

from fastlog.testing.capture import capture_entries
from fastlog.testing.collector import Collector
from fastlog.testing.entry_log import EntryLog


@pytest.fixture
def fastlog_collector() -> Iterator[Collector]:
    """A fastlog server in memory, for one test.

    def test_payment(fastlog_collector, monkeypatch):
        monkeypatch.setenv("LOG_PORT", str(fastlog_collector.port))
        ...
        fastlog_collector.wait_for("ERROR", order=1093)
    """
    with Collector() as collector:
        yield collector


@pytest.fixture
def fastlog_entries() -> Iterator[EntryLog]:
    """What the program logs through fastlog during one test. Nothing is sent.

    def test_payment(fastlog_entries):
        ...
        fastlog_entries.assert_logged("ERROR", order=1093)
    """
    with capture_entries() as logged:
        yield logged
