"""The dashboard: a bottle application in one side thread.

It reads one snapshot of the counters, which it can ask the loop to replace, and can reach nothing else: whatever
happens here, entries are received. Whatever strangers send here costs bounded memory and time.
"""

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep, thread_time
from typing import cast

import bottle
import msgspec
from waitress import wasyncore

from fastlog.addresses import local_address
from fastlog.config import Settings
from fastlog.errors import StartError, say
from fastlog.server.http_guard import Guard, make_server
from fastlog.stats import Health, Stats

STALLED_SEC = 5.0  # without a sign of the loop, which gives one several times as often
FRESH_SEC = 0.5  # a snapshot is shown as long: the page asks every 2 s
ANSWER_SEC = 0.25  # for the loop to make a new one; after it the old one is shown
LOOK_SEC = 0.001  # between two looks whether it came: a lock could hold up the loop
LOOK_AFTER_SEC = 1.0  # after which silent connections are looked at
PAUSE_SEC = 0.001  # between two looks at the connections: what came meanwhile is served together
BUSY_PAUSE_SEC = 0.05  # the same while the loop is busy, which needs the interpreter: still no time for a person
REST = 19  # times as long as it worked a thread of this module rests: a twentieth of a processor is plenty for it

PAGE = Path(__file__).parent / "page"
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


class Dashboard:
    """Bound by the constructor, which raises StartError; serves from `start` until the process ends."""

    def __init__(self, settings: Settings, ask: Callable[[], None]) -> None:
        self.loop_seen_at = monotonic()  # the loop sets it
        self.loop_busy = False  # the loop sets it: then this thread takes its time
        self._ask = ask  # for a new snapshot, which is published some time later
        self._stats: tuple[Stats, float] | None = None  # the snapshot, and when it came
        self._seen: Stats | None = None  # the snapshot that `_encoded` holds the answers for
        self._encoded: dict[str, bytes] = {}
        # None is for the server, which then builds no dashboard.
        self._socket = _listen(settings.dashboard_host, cast("int", settings.dashboard_port))
        guard = Guard(self._application(), settings, self._socket.getsockname()[0], self._rest)
        self._server = make_server(guard, self._socket)

    @property
    def url(self) -> str:
        return f"http://{local_address(self._socket)}/"

    def publish(self, stats: Stats) -> None:
        """The one way in: what is shown from now on."""
        self._stats = stats, monotonic()

    def start(self) -> None:
        threading.Thread(target=self._serve, name="dashboard", daemon=True).start()

    def _serve(self) -> None:
        try:
            while True:
                began = thread_time()
                # connections have time-outs to look at; without any, there is nothing to wake up for
                wasyncore.poll2(LOOK_AFTER_SEC if self._server.active_channels else None, self._server._map)
                self._rest(thread_time() - began)
        except Exception as error:  # the page is gone; entries are received as before
            say(f"the dashboard ended: {error!r}")

    def _rest(self, worked_sec: float) -> None:
        sleep(max(BUSY_PAUSE_SEC if self.loop_busy else PAUSE_SEC, worked_sec * REST))

    def _application(self) -> bottle.Bottle:
        application = bottle.Bottle()
        for path, (name, content_type) in FILES.items():
            application.get(path, callback=_constant((PAGE / name).read_bytes(), content_type))
        application.get("/stats", callback=self._answer_stats)
        application.get("/health", callback=self._answer_health)
        application.get("/metrics", callback=self._answer_metrics)
        application.default_error_handler = _error
        return application

    def _snapshot(self) -> Stats:
        """A fresh snapshot, or else the last one; with the loop's silence among the reasons if it has fallen silent."""
        before = self._stats
        if before is None or monotonic() - before[1] > FRESH_SEC:
            self._ask()
            asked_at = monotonic()
            while self._stats is before and monotonic() - asked_at < ANSWER_SEC:
                sleep(LOOK_SEC)
        if self._stats is None:
            raise bottle.HTTPError(503, "the server has just started, and its loop does not answer yet")
        stats = self._stats[0]
        silent = monotonic() - self.loop_seen_at
        if silent > STALLED_SEC:
            reason = f"the server's loop has not answered for {int(silent)} s"
            health = Health("degraded", [reason, *stats.health.reasons], stats.health.warnings)
            return msgspec.structs.replace(stats, health=health)
        return stats

    def _once(self, path: str, encode: Callable[[Stats], bytes]) -> bytes:
        """An answer is made once for a snapshot, however many ask for it."""
        stats = self._snapshot()
        if stats is not self._seen:
            self._seen = stats
            self._encoded = {}
        if path not in self._encoded:
            self._encoded[path] = encode(stats)
        return self._encoded[path]

    def _answer_stats(self) -> bytes:
        bottle.response.content_type = "application/json"
        return self._once("/stats", msgspec.json.encode)

    def _answer_health(self) -> bytes:
        health = self._snapshot().health
        bottle.response.status = 200 if health.status == "ok" else 503
        bottle.response.content_type = "application/json"
        return msgspec.json.encode(health)

    def _answer_metrics(self) -> bytes:
        from fastlog.server.metrics import CONTENT_TYPE, exposition  # imported by who is asked: few servers are

        bottle.response.content_type = CONTENT_TYPE
        return self._once("/metrics", exposition)


def _listen(host: str, port: int) -> socket.socket:
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        sock = socket.socket(*address[:3])
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address[4])
        except OSError:
            sock.close()
            raise
    except OSError as error:
        raise StartError(
            f"cannot serve the dashboard on {host} port {port}/tcp: {error.strerror}; "
            "set DASHBOARD_HOST and DASHBOARD_PORT"
        ) from error
    return sock


def _constant(body: bytes, content_type: str) -> Callable[[], bytes]:
    def answer() -> bytes:
        bottle.response.content_type = content_type
        return body

    return answer


def _error(error: bottle.HTTPError) -> bytes:
    bottle.response.content_type = "application/json"
    return msgspec.json.encode({"error": str(error.body)})
