import os
import signal

import pytest

from tests.helpers.faulty_fs import faulty_disk as faulty_disk
from tests.helpers.leaks import left_behind, resources
from tests.helpers.randomness import Random
from tests.helpers.running import Follower, Server
from tests.helpers.small_disk import small_disk as small_disk

# A shell has what it runs in the background ignore it, and so would every program that a test starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as nohup does


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """`-n auto` has two workers for each processor: half of its time, a test of processes waits for them."""
    return 2 * len(os.sched_getaffinity(0))


@pytest.fixture(autouse=True)
def nothing_is_left_behind(request, caplog):
    """Threads, descriptors and child processes of a test are gone when it has ended."""
    before = resources()
    yield
    for phase in ("setup", "call"):
        caplog.get_records(phase).clear()  # their tracebacks hold the test's own objects
    if request.node.get_closest_marker("leaves_behind"):
        return
    left = left_behind(before)
    assert not left, f"the test left behind {left}"


@pytest.fixture
def closing(nothing_is_left_behind):
    """Closes what the test gives it, the last one first."""
    opened = []

    def remember(thing):
        opened.append(thing)
        return thing

    yield remember
    while opened:  # and forgets it, so that what ends with the object has ended before leaks are looked for
        opened.pop().close()


@pytest.fixture
def rng():
    """A source of random numbers whose seed is in the report of a failed test."""
    return Random()


@pytest.fixture
def start(tmp_path, closing):
    """Starts a server in the test's directory."""
    return lambda **settings: closing(Server(tmp_path, **settings))


@pytest.fixture
def follow(closing):
    return lambda path: closing(Follower(path))
