import pytest


@pytest.fixture
def nats(tmp_path, closing):
    """A server of NATS with a stream."""
    from tests.helpers.nats import NatsServer  # most tests here need no package of NATS

    server = closing(NatsServer(tmp_path / "nats"))
    server.make_stream()
    return server
