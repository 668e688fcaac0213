"""The process that shows the log to viewers: `python -m fastlog.view.process LOG PARENT`, beside `fastlog serve`.

LOG is the live file, and PARENT the pid of the server. Descriptor 0 is a socket to the server, which hands over
connections: each comes with its query, when the head of the answer is sent already. For each that has ended, one byte
goes back. It ends with its parent, or when the server closes the socket.

So viewers cost the server's loop nothing, and neither its interpreter nor its disk waits for them. The process rests
three times as long as it works: a quarter of a processor is all that it takes, at a low priority.
"""

import contextlib
import resource
import selectors
import socket
import sys
from collections import deque
from pathlib import Path
from time import monotonic, thread_time

import msgspec

from fastlog.archive.background import ParentEndedError, stay_in_background
from fastlog.errors import messages
from fastlog.view.feed import Feed
from fastlog.view.query import Query
from fastlog.view.search import Search
from fastlog.view.viewers import Answer, Tap, Viewer
from fastlog.view.wanted import Wanted, wanted_by

NICE = 10  # a nice value: the server and its senders go first
TURN_SEC = 0.25  # time between two events of a viewer: four a second are as good as at once
REST = 3  # times as long as it has worked, it rests
BUDGET_SEC = TURN_SEC / (REST + 1)  # processor time of a turn; one that is late, on a busy machine, has no more
LATE_MAX_SEC = 2.0  # of a turn that is late: of so much time it still looks at all that came, as far as its time allows
QUERY_MAX_BYTES = 64 << 10  # of a query as the server sends it: more than a request may have
SEARCHES_MAX = 4  # under way, by turns: each has the log's files open. Others wait
ENDED = b"."


class Views:
    """All viewers, and what they watch."""

    def __init__(self, log: Path, control: socket.socket) -> None:
        self._log = log
        self._control = control
        control.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        self._viewers: set[Viewer] = set()
        self._searches: deque[tuple[Viewer, Search]] = deque()
        self._feeds: dict[Path, Feed[Tap]] = {}
        self._unsaid = 0  # viewers that have ended, and the server was not told
        self._turned_at = 0.0
        self._turn_at = 0.0
        self._rested_at = 0.0

    def run(self) -> None:
        """Until the server closes its end."""
        while True:
            for key, events in self._selector.select(self._idle_sec()):
                if key.fileobj is self._control:
                    if not self._take_viewers():
                        return
                    continue
                viewer: Viewer = key.data
                if events & selectors.EVENT_READ:
                    viewer.look()
                if events & selectors.EVENT_WRITE:
                    viewer.flush()
            began = thread_time()
            self._work()
            self._look_after()
            self._rested_at = max(self._rested_at, monotonic() + (thread_time() - began) * REST)

    def _idle_sec(self) -> float | None:
        """Seconds until there is something to do; None: there is nothing."""
        if self._searches:
            due = 0.0
        elif self._viewers:
            due = self._turn_at
        else:
            return None
        return max(due, self._rested_at) - monotonic()

    def _take_viewers(self) -> bool:
        """Returns whether the server is still there."""
        while True:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._control, QUERY_MAX_BYTES, 1)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not data:
                return False
            if descriptors:
                self._add(socket.socket(fileno=descriptors[0]), msgspec.json.decode(data, type=Query))
            else:  # there was none left for it
                self._unsaid += 1

    def _add(self, sock: socket.socket, query: Query) -> None:
        wanted = wanted_by(query, self._log)
        viewer: Viewer
        if query.kind == "tap":
            viewer = self._add_tap(sock, query, wanted)
        else:
            search = Search(wanted, query.limit)
            viewer = Answer(sock, query, search)
            self._searches.append((viewer, search))
        self._viewers.add(viewer)
        self._selector.register(sock, selectors.EVENT_READ, viewer)

    def _add_tap(self, sock: socket.socket, query: Query, wanted: Wanted) -> Tap:
        feed = self._feeds.setdefault(wanted.path, Feed(wanted.path))
        tap = Tap(sock, query, None)
        feed.join(query.filters, wanted, tap)
        if query.last or query.after:
            tap.search = Search(wanted, query.last or query.rate, feed.position, query.after)
            self._searches.append((tap, tap.search))
        tap.say_state(feed.problem, feed.position)
        return tap

    def _work(self) -> None:
        now = monotonic()
        if now < self._rested_at:
            return
        if now >= self._turn_at:
            since_sec = min(max(now - self._turned_at, TURN_SEC), LATE_MAX_SEC)
            self._turned_at, self._turn_at = now, now + TURN_SEC
            feeds = [feed for feed in self._feeds.values() if feed.groups]
            budget_sec = BUDGET_SEC / 2 if self._searches else BUDGET_SEC
            for feed in feeds:
                feed.turn(since_sec, budget_sec / len(feeds))
                for group in feed.groups.values():
                    for tap in group.viewers:
                        tap.take(group)
                        tap.say_state(feed.problem, feed.position)
                        tap.show(feed.position)
        elif self._searches:
            viewer, search = self._searches.popleft()
            search.step()
            if not search.is_done:
                self._searches.insert(SEARCHES_MAX - 1, (viewer, search))
            elif isinstance(viewer, Answer):
                viewer.finish()

    def _look_after(self) -> None:
        """Closes those that have gone or are done, and waits for room where something is unsent."""
        now = monotonic()
        for viewer in list(self._viewers):
            is_done = isinstance(viewer, Answer) and viewer.search is None and not viewer.unsent
            if viewer.is_gone or is_done or viewer.is_stalled(now):
                self._remove(viewer)
                continue
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if viewer.unsent else 0)
            if self._selector.get_key(viewer.socket).events != events:
                self._selector.modify(viewer.socket, events, viewer)
        if self._unsaid:
            with contextlib.suppress(BlockingIOError):
                while self._unsaid:
                    self._control.send(ENDED)
                    self._unsaid -= 1

    def _remove(self, viewer: Viewer) -> None:
        self._selector.unregister(viewer.socket)
        self._viewers.discard(viewer)
        self._searches = deque(each for each in self._searches if each[0] is not viewer)
        if isinstance(viewer, Tap):
            for feed in self._feeds.values():
                feed.leave(viewer.query.filters, viewer)
        viewer.close()
        self._unsaid += 1


def main(arguments: list[str]) -> int:
    log, parent = Path(arguments[0]), int(arguments[1])
    try:
        stay_in_background(parent, NICE)
    except ParentEndedError:
        return 0
    messages.never_wait()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # a search opens all files of the log
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    control = socket.socket(fileno=0)
    try:
        Views(log, control).run()
    except (BrokenPipeError, ConnectionResetError):  # the server has ended
        return 0
    except Exception as error:  # the server prints the line, and starts another process for the viewers
        print(f"{type(error).__name__} {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
