"""What happens to clients at a fork, when nobody holds them any more, and at the end of the program.

The end is not one moment. Functions that were registered with `atexit` before this module run after ours, and objects
are deleted after that; both may log. So our function sends what there is and ends the threads. From then on every call
does the work itself, until the time that the end of the program may take is over.
"""

import atexit
import contextlib
import os
import sys
import threading
import time
import weakref
from functools import partial

from fastlog.client.core import after_fork_of_python, keep_interruption, note_fork_of_python
from fastlog.client.thread import END_SEC, FORK_SEC, ClientThread, end_of_program, is_done
from fastlog.errors import Messages

LAST_SEC = 0.5  # in all for what is logged after that, if a server answers
LAST_PRIORITY = -1000  # of a finalizer of multiprocessing: others may log
EXIT_SEC = 2.0  # to send what is left at the end of a program: somebody waits for that end

_threads: dict[int, "weakref.ref[ClientThread]"] = {}  # by id; of all clients, also those that nobody holds any more
_waiting: set[ClientThread] = set()  # of clients that nobody holds, and for which no thread could be started

_told: set[str] = set()  # servers for which losses were reported
_expected: dict[str, int] = {}  # the process that has a finalizer for its end


def look_after(thread: ClientThread) -> None:
    """From now on the client is renewed in the child after a fork, and delivers at the end of the program."""
    number = id(thread)
    _threads[number] = weakref.ref(thread, partial(_forget, number))


def _forget(number: int, _: object) -> None:
    _threads.pop(number, None)


def leave(thread: ClientThread) -> None:
    """Nobody holds the client any more: it sends what it has, and ends."""
    thread.outbox.close()
    thread.leave(is_dropped=True)
    if not thread.outbox.has_thread and not is_done(thread):
        _waiting.add(thread)


def _all() -> list[ClientThread]:
    return [thread for thread in (found() for found in list(_threads.values())) if thread]


def _before_fork() -> None:
    """A process that becomes a daemon forks, and ends without Python's end. So what it has logged is sent first."""
    until = time.monotonic() + FORK_SEC
    try:
        for thread in _all():
            thread.send_until(until)
    except BaseException as error:  # of a signal handler; an error of a function called before a fork reaches nobody
        keep_interruption(error)
    note_fork_of_python(True)


def _after_fork_in_child() -> None:
    note_fork_of_python(False)
    keep_interruption(None)
    end_of_program.until, end_of_program.has_begun = float("inf"), False
    _waiting.clear()
    _told.clear()
    for thread in _all():
        thread.outbox.begin_anew()
        if thread.is_in_use:
            thread.worker()  # closes what the parent has open


def _is_multiprocessing_child() -> bool:
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None


def _before_threads_end() -> None:
    """Children of multiprocessing call no `atexit` functions. For them, this is the end of the program. Threads and
    executors that outlive their function are waited for after this call, so one that waits for them as well ends last.
    """
    if not _is_multiprocessing_child():
        return
    try:
        threading.Thread(target=_after_other_threads, name="fastlog end", daemon=False).start()
    except RuntimeError:  # no more threads
        _at_exit()


def _after_other_threads() -> None:
    mine = threading.current_thread(), threading.main_thread()
    while others := [thread for thread in threading.enumerate() if not thread.daemon and thread not in mine]:
        for thread in others:
            thread.join()
    _at_exit()


def _expect_end_of_billiard() -> None:
    """billiard, Celery's multiprocessing, ends its children without `atexit` functions and without waiting for threads.
    It calls the finalizers of multiprocessing alone, and forgets those of the parent."""
    process, util = sys.modules.get("billiard.process"), sys.modules.get("multiprocessing.util")
    if process is None or util is None or _expected.get("process") == os.getpid():
        return
    _expected["process"] = os.getpid()
    if type(process.current_process()).__name__ != "_MainProcess":
        util.Finalize(None, _at_exit, exitpriority=LAST_PRIORITY)


def _at_exit() -> None:
    _begin_end()
    threads = _all()
    try:
        for thread in threads:
            thread.flush(max(0.0, end_of_program.until - time.monotonic()), may_end_early=True)
    finally:  # a signal handler may raise an error, as that of Ctrl-C does: then nobody waits any longer
        until = time.monotonic() + END_SEC
        for thread in threads:
            thread.pause(max(0.0, until - time.monotonic()))
        _finish(threads)
    if any(thread.is_in_use and not thread.worker().is_away for thread in threads):
        end_of_program.until = max(end_of_program.until, time.monotonic() + LAST_SEC)


def _finish(threads: list[ClientThread]) -> None:
    """The time is over: what is left goes to the spill file, or is given up. That is said once for each server, since
    nobody will read the figures any more."""
    lost: dict[str, int] = {}
    reasons: dict[str, str] = {}
    for thread in threads:
        if is_done(thread) and not any(thread.outbox.entries):  # those that the server passes over may be left
            continue
        worker = thread.worker()
        reason, before = worker.problem or f"{thread.server} does not answer", worker.losses
        entries = worker.losses - before if thread.finish() else sum(thread.outbox.entries)
        if entries:
            lost[thread.server] = lost.get(thread.server, 0) + entries
            reasons[thread.server] = reason
    for server in lost.keys() - _told:
        _told.add(server)
        count = "1 log entry was" if lost[server] == 1 else f"{lost[server]} log entries were"
        _say(f"{count} not delivered: {reasons[server]}")


def _say(text: str) -> None:
    if sys.__stderr__ is not None and not sys.__stderr__.closed:
        with contextlib.suppress(Exception):
            messages = Messages()
            messages.wait_at_most(0)
            messages.say(text)


def _begin_end() -> None:
    if not end_of_program.has_begun:
        end_of_program.until = time.monotonic() + EXIT_SEC
        end_of_program.has_begun = True


def _watch() -> None:
    end_of_program.expect = _expect_end_of_billiard
    end_of_program.finish = lambda thread: _finish([thread])
    if hasattr(os, "register_at_fork"):  # Windows has no forks
        os.register_at_fork(
            before=_before_fork, after_in_parent=after_fork_of_python, after_in_child=_after_fork_in_child
        )
    atexit.register(_at_exit)
    try:
        # Private to CPython, and what concurrent.futures itself uses. A Python without it has no other such moment:
        # there, a child of multiprocessing delivers only what it flushes itself.
        threading._register_atexit(_before_threads_end)  # type: ignore[attr-defined]
    except AttributeError:
        pass
    except RuntimeError:  # the program ends, and has not logged before; `atexit` may call no more functions
        if threading.current_thread() is threading.main_thread():
            _begin_end()


_watch()
