import sys

import pytest

from tests.helpers.browser import browser as browser
from tests.helpers.browser import open_page as open_page
from tests.helpers.browser import page as page
from tests.helpers.running import Server


@pytest.fixture
def nats(tmp_path, closing):
    """A server of NATS with a stream."""
    from tests.helpers.nats import NatsServer  # most tests here need no package of NATS

    server = closing(NatsServer(tmp_path / "nats"))
    server.make_stream()
    return server


@pytest.fixture
def start_changed(tmp_path, closing):
    """Starts a server after a piece of program has changed something in it."""

    def start(change: str, **settings: str) -> Server:
        program = f"import sys\n{change}\nfrom fastlog.cli import main\nsys.exit(main(['serve']))"
        return closing(Server(tmp_path, command=[sys.executable, "-c", program], **settings))

    return start
