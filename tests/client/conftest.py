import socket

import pytest

from fastlog import Client


class Closing:
    def __init__(self, client: Client) -> None:
        self._client = client

    def close(self) -> None:
        """Does not wait for the entries that a test leaves."""
        self._client.close(0)


@pytest.fixture
def client(closing):
    """A client of a server, of a collector, or of a port."""

    def make(server, **options) -> Client:
        made = Client(getattr(server, "host", "127.0.0.1"), getattr(server, "port", server), **options)
        closing(Closing(made))
        return made

    return make


@pytest.fixture
def nobody():
    """A port at which nothing listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
