"""What stands between strangers and the dashboard's routes: known host names, the token, and the headers of every
answer. It knows nothing of figures. `connections.py` bounds what strangers cost."""

import base64
import hmac
import ipaddress
import socket
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from fastlog.config import Settings

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
OPEN_PATHS = ("/health", "/live")  # need no token: what watches the server has none, and they show no entries
HEADERS = [
    ("Content-Security-Policy", POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
]

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]


class Guard:
    """A WSGI application that lets a request through to `application` if its method, host name and token are right.

    `bound_to`: the address that the server listens on.
    """

    def __init__(self, application: Application, settings: Settings, bound_to: str) -> None:
        names = ("localhost", settings.dashboard_host, bound_to, socket.gethostname(), *settings.dashboard_names)
        self._application = application
        self._names = {name.lower() for name in names}
        self._token = settings.dashboard_token

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        response = _Response(start_response)
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return response.refuse("405 Method Not Allowed", "only GET and HEAD are allowed", ("Allow", "GET, HEAD"))
        if not _is_known(environ.get("HTTP_HOST", ""), self._names):
            # DNS rebinding: a page of another site, whose name was made to point here, must not read the log
            return response.refuse("403 Forbidden", "unknown Host header; add the name to DASHBOARD_NAMES")
        if self._token and environ["PATH_INFO"] not in OPEN_PATHS and not _has_token(environ, self._token):
            realm = ("WWW-Authenticate", 'Basic realm="fastlog"')
            return response.refuse("401 Unauthorized", "token required (DASHBOARD_TOKEN)", realm)
        return self._application(environ, response.start)


class _Response:
    """WSGI's `start_response` with the headers that every answer has."""

    def __init__(self, start_response: StartResponse) -> None:
        self._start_response = start_response

    def start(self, status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
        return self._start_response(status, [*headers, *HEADERS], *more)

    def refuse(self, status: str, reason: str, *headers: tuple[str, str]) -> Iterable[bytes]:
        self.start(status, [("Content-Type", "application/json"), *headers])
        return [msgspec.json.encode({"error": reason})]


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
