"""The dashboard: a bottle application in a thread of its own.

The thread shows the snapshots that the loop publishes. It can ask for a new one and can reach nothing else, so whatever
happens here, entries are received. `http_guard.py` decides who may ask; `connections.py` bounds what strangers cost.
"""

import contextlib
import math
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep, thread_time
from typing import NamedTuple

import bottle
import msgspec

from fastlog.addresses import AddressError, join_host_port, resolve
from fastlog.answers import SenderAnswer
from fastlog.config import Settings
from fastlog.errors import say
from fastlog.server.connections import CONNECTIONS_MAX, VIEW, Answer, HttpServer, connections_allowed
from fastlog.server.history import History, history_answer
from fastlog.server.http_guard import Guard
from fastlog.server.sender_gaps import SenderKey, sender_key
from fastlog.server.silence import silence, with_silence
from fastlog.server.viewing import NoViewsError, Viewing
from fastlog.stats import Health, Stats
from fastlog.view.query import Kind, Query, QueryError, parse_query

NO_THREAD = "the system has no thread left for it"
RETRY_SEC = 10.0  # time between two attempts to listen: soon enough for a person who has just freed the port
FRESH_SEC = 0.5  # how long a snapshot is shown: the page asks every 2 s
OLD_SEC = 1.0  # a snapshot of this age is shown with a warning: the loop has not made a fresh one when it was asked to
ANSWER_SEC = 0.25  # how long the loop may take to publish a snapshot; then the old one is shown
LOOK_SEC = 0.001  # time between two looks for a new snapshot: waiting for a lock could hold up the loop
PAUSE_SEC = 0.001  # time between two looks at the connections: requests that arrive meanwhile are served together
BUSY_PAUSE_SEC = 0.05  # the pause while the loop is busy and needs the interpreter: a person does not notice it
RANGE_DEFAULT = "5m"  # of the history
REST = 19  # times as long as it has worked, this thread rests: a twentieth of a processor is enough for it

PAGE = Path(__file__).parent / "page"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
FILES = {"/": "index.html"} | {f"/{path.name}": path.name for path in PAGE.iterdir() if path.suffix != ".html"}


class Asks(NamedTuple):
    """What the thread can ask the loop for, which publishes it some time later."""

    snapshot: Callable[[], None]
    sender: Callable[[], None]  # the one that is `sender_asked`


class Dashboard:
    """Serves from `start` until the process ends. If its address is taken, it tries again.

    `sender_asked`: the sender that the loop shall publish, until it has. `url` is None until the dashboard
    listens, and `problem` says why it does not, or no longer.
    """

    def __init__(self, settings: Settings, port: int, asks: Asks, history: History) -> None:
        self.url: str | None = None
        self.problem: str | None = None
        self._settings = settings
        self._port = port
        self.sender_asked: SenderKey | None = None
        self._sender: SenderAnswer | None = None  # the answer to the last question
        self._asks = asks
        self._history = history
        self._encoded_history: dict[str, tuple[int, bytes]] = {}  # for each range: its revision, and the answer
        self._server: HttpServer | None = None  # once it listens
        self._thread_due = math.inf  # when to try again to start the thread
        self._viewing = Viewing(settings)
        self._application = self._make_application()
        self._beat: tuple[Health, float] | None = None  # the loop's last health, and when it came
        self._busy = False
        self._stats: tuple[Stats, float] | None = None  # the snapshot, and when it was published
        self._unanswered: object = ()  # the snapshot at which the loop was asked for a fresh one, and made none in time
        self._shown: tuple[Stats, Stats] | None = None  # a snapshot, and what is shown of it: perhaps with other health
        self._encoded_stats: Stats | None = None  # what `_encoded` holds the answers for
        self._encoded: dict[str, bytes] = {}

    def publish(self, stats: Stats) -> None:
        """Shows this snapshot from now on."""
        self._stats = stats, monotonic()

    def publish_sender(self, key: SenderKey, sender: SenderAnswer | None) -> None:
        """The answer to `sender_asked`; None: there is no such sender."""
        if key is self.sender_asked:
            self._sender, self.sender_asked = sender, None

    def beat(self, health: Health, busy: bool) -> None:
        """A sign of life, which the loop gives every second. `busy`: this thread should take its time."""
        self._beat = health, monotonic()
        self._busy = busy
        if monotonic() >= self._thread_due:
            self._start_thread()

    def start(self) -> None:
        """Listens, if the address is free, and starts the thread. Prints why not, if that fails."""
        self._listen()
        self._start_thread()
        if self.problem:
            say(
                f"no dashboard: {self.problem}; trying again every {RETRY_SEC:.0f} s. "
                "DASHBOARD_PORT sets another port; DASHBOARD_PORT=off turns the dashboard off"
            )

    def _start_thread(self) -> None:
        """Sets `problem` if the system has no thread left; the loop's signs of life try again then."""
        try:
            threading.Thread(target=self._serve, name="dashboard", daemon=True).start()
        except RuntimeError:
            self.url, self.problem = None, NO_THREAD
            self._thread_due = monotonic() + RETRY_SEC
        else:
            self._thread_due = math.inf
            if self.problem == NO_THREAD and self._server:
                self.problem = None

    def _listen(self) -> None:
        """Sets `url`, or `problem`."""
        host, port = self._settings.dashboard_host, self._port
        connections = connections_allowed()
        if not connections:
            self.problem = "too few file descriptors (ulimit -n): the log needs all of them"
            return
        try:
            with contextlib.ExitStack() as opened:
                sock = opened.enter_context(_bind(host, port))
                address = sock.getsockname()[:2]
                guard = Guard(self._application, self._settings, address[0])
                self._server = HttpServer(guard, sock, connections, _rest, self._viewing)
                opened.pop_all()  # the server has taken the socket over
        except (OSError, AddressError) as error:
            reason = error.reason if isinstance(error, AddressError) else error.strerror
            self.problem = f"cannot listen on {host} port {port}/tcp: {reason}"
        except RuntimeError:
            self.problem = NO_THREAD
        else:
            self.problem = None
            self.url = f"http://{join_host_port(*address)}/"
            few = f", with {connections} connections at most (ulimit -n)" if connections < CONNECTIONS_MAX else ""
            say(f"dashboard at {self.url}{few}")

    def _serve(self) -> None:
        try:
            while not self._server:
                sleep(RETRY_SEC)
                self._listen()
            while True:
                began = thread_time()
                self._server.turn()
                sleep(max(BUSY_PAUSE_SEC if self._busy else PAUSE_SEC, (thread_time() - began) * REST))
        except Exception as error:  # the page is gone, but entries are received as before
            self.problem = f"it ended: {error!r}"
            say(f"the dashboard ended: {error!r}")

    def _make_application(self) -> bottle.Bottle:
        application = bottle.Bottle()
        for path, name in FILES.items():
            file = PAGE / name
            application.get(path, callback=_constant(file.read_bytes(), TYPES[file.suffix]))
        application.get("/stats", callback=self._answer_stats)
        application.get("/health", callback=self._answer_health)
        application.get("/live", callback=self._answer_live)
        application.get("/metrics", callback=self._answer_metrics)
        application.get("/sender", callback=self._answer_sender)
        application.get("/history", callback=self._answer_history)
        application.get("/tap", callback=self._answer_tap)
        application.get("/lines", callback=self._answer_lines)
        application.default_error_handler = _error
        return application

    def _answer_stats(self) -> Answer:
        bottle.response.content_type = "application/json"
        return self._once("/stats", msgspec.json.encode)

    def _answer_health(self) -> bytes:
        if self._beat is None:
            raise _starting()
        health = with_silence(self._beat[0], self._silent_sec())
        bottle.response.status = 200 if health.status == "ok" else 503
        bottle.response.content_type = "application/json"
        return msgspec.json.encode(health)

    def _answer_live(self) -> bytes:
        """503 only for what a restart fixes: a loop that hangs, whatever `/health` says of losses."""
        if self._beat is None:
            raise _starting()
        silent = silence(self._silent_sec())
        bottle.response.status = 503 if silent else 200
        bottle.response.content_type = "application/json"
        return msgspec.json.encode({"status": silent or "ok"})

    def _answer_metrics(self) -> Answer:
        # Imported on demand, since few servers are asked for it.
        from fastlog.server.prometheus import CONTENT_TYPE, exposition

        bottle.response.content_type = CONTENT_TYPE
        return self._once("/metrics", exposition)

    def _answer_history(self) -> Answer:
        """Encodes an answer once for each second, however many ask for it."""
        name = bottle.request.query.get("range", RANGE_DEFAULT)
        if name not in self._history.rings:
            raise bottle.HTTPError(400, f"range is one of {', '.join(self._history.rings)}")
        revision = self._history.revision
        if self._encoded_history.get(name, (None, b""))[0] != revision:
            self._encoded_history[name] = revision, msgspec.json.encode(history_answer(self._history, name))
        bottle.response.content_type = "application/json"
        return _answer(self._encoded_history[name][1])

    def _answer_sender(self) -> bytes:
        address = bottle.request.query.getunicode("address", "")
        try:
            key = sender_key(address)
        except ValueError as error:
            raise bottle.HTTPError(400, str(error)) from error
        is_held_up = self.sender_asked is not None  # it has not answered the last question yet
        self.sender_asked = key
        self._asks.sender()
        # Everybody waits while this thread does, so it waits once for a loop that is held up.
        asked_at = monotonic()
        while self.sender_asked and not is_held_up and monotonic() - asked_at < ANSWER_SEC:
            sleep(LOOK_SEC)
        if self.sender_asked:
            raise bottle.HTTPError(503, "the server's loop is held up; try again")
        if self._sender is None:
            raise bottle.HTTPError(404, f"{address} is not known: no entry came from it within the last hour")
        bottle.response.content_type = "application/json"
        return msgspec.json.encode(self._sender)

    def _answer_tap(self) -> bytes:
        self._view("tap")
        bottle.response.content_type = "text/event-stream"
        bottle.response.set_header("X-Accel-Buffering", "no")  # a proxy would hold lines back
        return b""

    def _answer_lines(self) -> bytes:
        query = self._view("lines")
        bottle.response.content_type = "application/json"
        if query.download:
            bottle.response.content_type = "application/x-ndjson"
            name = "rejects" if query.rejected else "entries"
            bottle.response.set_header("Content-Disposition", f'attachment; filename="{name}.jsonl"')
        return b""

    def _view(self, kind: Kind) -> Query:
        """Has the connection handed over to the process that shows the log. Raises HTTPError."""
        request = bottle.request
        try:
            query = parse_query(kind, request.query_string, request.headers.get("Last-Event-ID", ""))
            if request.method == "GET":
                self._viewing.may_view()
                request.environ[VIEW] = query
        except QueryError as error:
            raise bottle.HTTPError(400, str(error)) from error
        except NoViewsError as error:
            raise bottle.HTTPError(503, str(error)) from error
        return query

    def _once(self, path: str, encode: Callable[[Stats], bytes]) -> Answer:
        """Encodes an answer once for each snapshot, however many ask for it."""
        stats = self._fresh_stats()
        if stats is not self._encoded_stats:
            self._encoded_stats = stats
            self._encoded = {}
        if path not in self._encoded:
            self._encoded[path] = encode(stats)
        return _answer(self._encoded[path])

    def _fresh_stats(self) -> Stats:
        """A fresh snapshot, or the last one with a warning if the loop does not make a fresh one in time."""
        before = self._stats
        if before is None or monotonic() - before[1] > FRESH_SEC:
            self._asks.snapshot()
            asked_at = monotonic()
            # Everybody waits while this thread does, so it waits once for a loop that is held up.
            while self._stats is before is not self._unanswered and monotonic() - asked_at < ANSWER_SEC:
                sleep(LOOK_SEC)
            if self._stats is before:
                self._unanswered = before
        if self._stats is None:
            raise _starting()
        stats, made_at = self._stats
        health = with_silence(_with_age(stats.health, monotonic() - made_at), self._silent_sec())
        if not self._shown or self._shown[0] is not stats or self._shown[1].health != health:
            self._shown = stats, msgspec.structs.replace(stats, health=health)
        return self._shown[1]

    def _silent_sec(self) -> float:
        """Since the loop's last sign of life."""
        return monotonic() - self._beat[1] if self._beat else 0.0


def _bind(host: str, port: int) -> socket.socket:
    """Raises OSError and AddressError."""
    family, address = resolve(host, port, socket.AI_PASSIVE)[0]
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen()  # fails if another socket listens there; some such addresses can be bound
    except OSError:
        sock.close()
        raise
    return sock


def _rest(worked_sec: float) -> None:
    """To be called after each answer. It needs no least pause: requests come from `_serve`, which has one."""
    sleep(worked_sec * REST)


def _with_age(health: Health, age_sec: float) -> Health:
    """Adds the snapshot's age to the warnings, if it is old."""
    if age_sec < OLD_SEC:
        return health
    warning = f"these figures are {int(age_sec)} s old: the server's loop is held up"
    return Health(health.status, health.reasons, [warning, *health.warnings])


def _answer(body: bytes) -> Answer:
    bottle.response.content_length = len(body)
    return Answer(body)


def _constant(body: bytes, content_type: str) -> Callable[[], Answer]:
    def answer() -> Answer:
        bottle.response.content_type = content_type
        return _answer(body)

    return answer


def _starting() -> bottle.HTTPError:
    return bottle.HTTPError(503, "the server is starting; try again")


def _error(error: bottle.HTTPError) -> bytes:
    bottle.response.content_type = "application/json"
    return msgspec.json.encode({"error": str(error.body)})
