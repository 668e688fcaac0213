"""What stands between strangers and the dashboard's routes: known host names, the token, the headers of every answer,
and limits on time, size and connections. It knows nothing of figures."""

import base64
import hmac
import ipaddress
import logging
import socket
from collections.abc import Callable, Iterable
from time import monotonic, thread_time
from typing import Any, cast

import msgspec
import waitress.channel
import waitress.parser
import waitress.server

from fastlog.config import Settings

CONNECTIONS_MAX = 256  # enough for many open pages; each takes a few kilobytes and a file descriptor
REQUEST_SEC = 10.0  # time for a request to arrive: a browser needs milliseconds, and a stalled one must not stay
IDLE_SEC = 20  # longest time that a connection has no request; an open page asks every 2 s
CLEANUP_SEC = 5  # time between two looks for idle connections: IDLE_SEC is kept to a quarter
REQUEST_MAX_BYTES = 16 * 1024  # largest header, and largest body, which no request needs

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = [
    ("Content-Security-Policy", POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
]

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]


def make_server(application: Application, sock: socket.socket) -> Any:
    """A waitress server with these limits, which listens on `sock` and takes it over."""
    logging.getLogger("waitress").setLevel(logging.ERROR)
    server = waitress.server.create_server(
        application,
        sockets=[sock],
        threads=1,
        connection_limit=CONNECTIONS_MAX,
        channel_timeout=IDLE_SEC,
        cleanup_interval=CLEANUP_SEC,
        max_request_header_size=REQUEST_MAX_BYTES,
        max_request_body_size=REQUEST_MAX_BYTES,
        asyncore_use_poll=True,
        log_socket_errors=False,
        ident="",
    )
    server.channel_class = _Channel
    return server


class Guard:
    """A WSGI application that lets a request through to `application` if its method, host name and token are right.

    `bound_to`: the address that the server listens on. `rest` is called with the seconds of processor time that an
    answer took.
    """

    def __init__(
        self, application: Application, settings: Settings, bound_to: str, rest: Callable[[float], None]
    ) -> None:
        names = ("localhost", settings.dashboard_host, bound_to, socket.gethostname(), *settings.dashboard_names)
        self._application = application
        self._names = {name.lower() for name in names}
        self._token = settings.dashboard_token
        self._rest = rest

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        response = _Response(start_response)
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return response.refuse("405 Method Not Allowed", "only GET and HEAD are allowed", ("Allow", "GET, HEAD"))
        if not _is_known(environ.get("HTTP_HOST", ""), self._names):
            # DNS rebinding: a page of another site, whose name was made to point here, must not read the log
            return response.refuse("403 Forbidden", "unknown Host header; add the name to DASHBOARD_NAMES")
        if self._token and environ["PATH_INFO"] != "/health" and not _has_token(environ, self._token):
            realm = ("WWW-Authenticate", 'Basic realm="fastlog"')
            return response.refuse("401 Unauthorized", "token required (DASHBOARD_TOKEN)", realm)
        began = thread_time()
        answer = self._application(environ, response.start)
        self._rest(thread_time() - began)
        return answer


class _Response:
    """WSGI's `start_response` with the headers that every answer has."""

    def __init__(self, start_response: StartResponse) -> None:
        self._start_response = start_response

    def start(self, status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
        return self._start_response(status, [*headers, *HEADERS], *more)

    def refuse(self, status: str, reason: str, *headers: tuple[str, str]) -> Iterable[bytes]:
        self.start(status, [("Content-Type", "application/json"), *headers])
        return [msgspec.json.encode({"error": reason})]


class _Request(waitress.parser.HTTPRequestParser):
    def __init__(self, adjustments: Any) -> None:
        super().__init__(adjustments)
        self.began = monotonic()


class _Channel(waitress.channel.HTTPChannel):
    """Closes a connection whose request takes longer than REQUEST_SEC, even if bytes keep trickling in."""

    parser_class = _Request

    def received(self, data: bytes) -> bool:
        any_left = cast(bool, super().received(data))
        if len(self.requests) > 1:
            # the page never sends a request ahead of the last answer; a stranger's answers would pile up unread
            self.will_close = True
        return any_left

    def readable(self) -> bool:
        if self.request is not None and monotonic() - self.request.began > REQUEST_SEC:
            self.will_close = True
        return cast(bool, super().readable())


def _is_known(host: str, names: set[str]) -> bool:
    """Whether a Host header names this server: by any address, which rebinding cannot fake, or by a known name."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    name = name.removeprefix("[").removesuffix("]").lower().removesuffix(".")
    if name in names:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _has_token(environ: Environ, token: str) -> bool:
    """The token is in `Authorization: Bearer …`, or is the password of `Basic`, which a browser asks its user for."""
    scheme, _, given = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            given = base64.b64decode(given, validate=True).decode().partition(":")[2]
        except ValueError:
            return False
    elif scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())
