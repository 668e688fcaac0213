"""What happens to clients at a fork, when nobody holds them any more, and at the end of the program."""

import atexit
import os
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING

from fastlog.client.worker import END_SEC, Worker, never

if TYPE_CHECKING:
    from fastlog.client.client import Client

EXIT_SEC = 2.0  # to send what is left at the end of a program: somebody waits for that end

_clients: "weakref.WeakSet[Client]" = weakref.WeakSet()
_leaving: "weakref.WeakSet[Worker]" = weakref.WeakSet()  # workers of clients that nobody holds any more


def look_after(client: "Client") -> None:
    """From now on the client is renewed in the child after a fork, and closed at the end of the program."""
    _clients.add(client)


def leave(worker: Worker) -> None:
    """Nobody holds the worker's client any more: the worker sends what it has, and ends."""
    _leaving.add(worker)
    worker.leave(EXIT_SEC)


def _after_fork_in_child() -> None:
    for client in list(_clients):
        client._start_over()
    for worker in list(_leaving):
        worker.abandon()
    _leaving.clear()


def _is_multiprocessing_child() -> bool:
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None


def _before_threads_end() -> None:
    """Children of multiprocessing call no `atexit` functions. For them, this is the end of the program."""
    if _is_multiprocessing_child():
        _at_exit()


def _at_exit() -> None:
    until = time.monotonic() + EXIT_SEC
    for client in list(_clients):
        client.close(max(0.0, until - time.monotonic()))
    for worker in list(_leaving):
        worker.wait_until(never, max(0.0, until - time.monotonic()) + END_SEC)


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_at_exit)
# Private to CPython, and what concurrent.futures itself uses. A Python without it has no other such moment: there, a
# child of multiprocessing delivers only what it flushes itself.
if hasattr(threading, "_register_atexit"):
    threading._register_atexit(_before_threads_end)
