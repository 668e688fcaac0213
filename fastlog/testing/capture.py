"""What the clients and handlers of this process log, caught before it is sent."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

from fastlog.client import lifecycle
from fastlog.client._outbox import Outbox
from fastlog.client.client import Client
from fastlog.client.wakeup import Wakeup
from fastlog.testing.entry_log import EntryLog


@contextmanager
def capture_entries() -> Iterator[EntryLog]:
    """Catches what clients and handlers of this process log meanwhile, whether they were made before or are made now.
    Nothing is sent, and no server is needed. The entries are those that the server would store.

        with capture_entries() as logged:
            logging.getLogger("shop").error("payment timed out", extra={"order": 1093})
        logged.assert_logged("ERROR", order=1093)

    A client that is closed logs nothing, here as elsewhere. What is logged in child processes is not caught.
    """
    logged = EntryLog()
    with ExitStack() as stack:
        begin = Client._begin

        def begin_caught(client: Client) -> None:
            begin(client)
            _catch(client, logged, stack)

        stack.enter_context(mock.patch.object(Client, "_begin", begin_caught))
        stack.enter_context(mock.patch.object(Client, "_start", _start_nothing))
        for client in list(lifecycle._clients):
            _catch(client, logged, stack)
        yield logged


def _start_nothing(client: Client) -> None:
    """Stands for the start of a client's thread, which would send what an earlier program has left in spill files."""


def _catch(client: Client, logged: EntryLog, stack: ExitStack) -> None:
    """Whatever the client takes goes to `logged`, until `stack` ends."""
    outbox = Outbox(client._options, Wakeup())  # makes JSON of entries, and holds none of them
    lock = threading.RLock()  # a signal handler may log at any moment

    def take(entry: dict[str, object]) -> None:
        if client._outbox.is_closed:
            return
        with lock:
            outbox.put(entry)
            items = outbox.fetch()
            lines = [outbox.line(item, outbox.accepted) for item in items]
            outbox.release(items)
        for line in lines:
            logged._add(line)

    stack.enter_context(mock.patch.object(client, "_put", take))
