import signal

import pytest

from tests.helpers.running import Follower, Server
from tests.helpers.small_disk import small_disk as small_disk

# A shell has what it runs in the background ignore it, and so would every program that a test starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def closing():
    """Closes what the test gives it, the last one first."""
    opened = []

    def remember(thing):
        opened.append(thing)
        return thing

    yield remember
    for thing in reversed(opened):
        thing.close()


@pytest.fixture
def start(tmp_path, closing):
    """Starts a server in the test's directory."""
    return lambda **settings: closing(Server(tmp_path, **settings))


@pytest.fixture
def follow(closing):
    return lambda path: closing(Follower(path))
