"""What the clients and handlers of this process log, caught before it is sent."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import wraps
from typing import Any
from unittest import mock

from fastlog.client.client import Client, clients
from fastlog.client.core import Item, Outbox
from fastlog.client.thread import ClientThread
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
    make = Client.__init__
    with ExitStack() as stack:

        @wraps(make)
        def make_caught(client: Client, *arguments: Any, **options: Any) -> None:
            make(client, *arguments, **options)
            stack.enter_context(_caught(client, logged))

        stack.enter_context(mock.patch.object(Client, "__init__", make_caught))
        stack.enter_context(mock.patch.object(ClientThread, "attend", _start_nothing))
        for client in list(clients):
            stack.enter_context(_caught(client, logged))
        yield logged


def _caught(client: Client, logged: EntryLog) -> AbstractContextManager[object]:
    return mock.patch.object(client, "_put", _Catcher(client, logged).put)


def _start_nothing(thread: ClientThread) -> None:
    """Stands for the start of a client's thread, which would send what an earlier program has left in spill files."""


class _Catcher:
    """Takes entries as a client does, and works for its outbox as a client's thread does, but sends nothing."""

    def __init__(self, client: Client, logged: EntryLog) -> None:
        self._client_outbox = client._outbox
        self._outbox = Outbox(client._options, self)
        self._logged = logged

    def put(self, entry: dict[str, object]) -> None:
        if not self._client_outbox.is_closed:
            self._outbox.put(entry)

    def attend(self) -> None:
        """Called by the outbox, which has no thread, for each entry that it takes."""
        items: list[Item] = []
        self._outbox.fetch(items)
        self._outbox.release(items)
        for item in items:
            self._logged._add(self._outbox.line(item, item.number + 1))
