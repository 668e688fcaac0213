"""One connection to an HTTP server, kept as long as the server keeps it. It knows no engine.

Whatever goes wrong is UnavailableError, also an answer that is too long, too slow, or not one of HTTP.
"""

import base64
import http.client
import io
import re
import select
import socket
import ssl
import urllib.request
import zlib
from collections.abc import Mapping
from functools import partial
from time import monotonic
from typing import Any, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from fastlog import __version__
from fastlog.addresses import join_host_port
from fastlog.config import is_loopback
from fastlog.errors import ConfigError
from fastlog.ship.sink import UnavailableError

CONNECT_SEC = 5.0  # for the connection, and again for TLS: an engine that is there answers in a fraction of it
ANSWER_SEC = 60.0  # for a request and its whole answer: Elasticsearch waits as long for a shard before it gives up
ANSWER_MAX_BYTES = 8 << 20  # of the longest request (`bulk.LINES_MAX`), with a long error for each line
CREDENTIALS_MAX_BYTES = 16384  # more than servers take in a header
SCHEMES = ("Basic", "Bearer", "ApiKey")  # of the header Authorization; anything else is USER:PASSWORD
PROXY_PORT = 80

_HOST = re.compile(r"[^\s,/?#@]+")
_HEADER = re.compile(rf"(?:{'|'.join(SCHEMES)}) +[!-~]+", re.IGNORECASE)


class Answer(NamedTuple):
    status: int
    body: bytes
    retry_after: str  # a header, as the next one; empty: it is not there
    location: str


class AnswerTooLongError(UnavailableError):
    """The server took the request, but the answer is longer than ANSWER_MAX_BYTES."""


class HttpLink:
    """The server at `url`. `credentials` and `ca`: files, or empty. Raises ConfigError."""

    def __init__(self, url: SplitResult, credentials: str, ca: str) -> None:
        try:
            self._host, port = url.hostname or "", url.port
            self._host.encode("idna")
        except ValueError as error:
            raise ConfigError(f"SHIP_TO has a wrong host or port: {error}") from None
        if not _HOST.fullmatch(self._host):
            raise ConfigError(f"SHIP_TO must have one host, and {self._host!r} is not one")
        self._context = _tls(ca) if url.scheme == "https" else None
        self._port = port or (http.client.HTTPS_PORT if self._context else http.client.HTTP_PORT)
        self.name = f"{url.scheme}://{join_host_port(self._host, self._port)}"  # for people: without a password
        self._user = url.username and f"{unquote(url.username)}:{unquote(url.password or '')}"
        self._credentials = credentials
        self._authorization()
        self._proxy = _proxy(url.scheme, self._host)
        self._headers: dict[str, str] = {}
        self._connection: http.client.HTTPConnection | None = None

    def ask(self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        """Sends a request, and returns the answer, whatever its status is. A server may close a connection at any time
        that it kept: the request is sent once more then. Raises UnavailableError."""
        if self._connection and _has_ended(self._connection.sock):
            self.close()
        was_kept = self._connection is not None
        try:
            try:
                return self._exchange(method, target, body, headers or {})
            except ConnectionError:
                if not was_kept:
                    raise
                self.close()
                return self._exchange(method, target, body, headers or {})
        except (OSError, http.client.HTTPException, ValueError, zlib.error) as error:
            self.close()
            raise UnavailableError(f"{self.name}: {_reason(error)}") from error
        except BaseException:  # a signal ends the shipper: nobody knows how far the request has come
            self.close()
            raise

    def close(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None

    def _exchange(self, method: str, target: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        connection = self._connection or self._connect()
        until = monotonic() + ANSWER_SEC
        connection.sock.settimeout(ANSWER_SEC)
        connection.response_class = partial(_Response, until)  # type: ignore[assignment]  # it only calls it
        if self._proxy and not self._context:
            target = self.name + target
        is_whole = True
        try:
            connection.request(method, target, body, {**self._headers, **headers})
        except (BrokenPipeError, ConnectionResetError):
            is_whole = False  # a server may answer before it has read a request that it refuses, and close
        with connection.getresponse() as response:
            data = response.read(ANSWER_MAX_BYTES + 1)
            if len(data) > ANSWER_MAX_BYTES:
                raise AnswerTooLongError(f"{self.name}: the answer has more than {ANSWER_MAX_BYTES} bytes")
            if response.length:
                raise http.client.IncompleteRead(data, response.length)
            is_whole = is_whole and response.isclosed() and not response.will_close
            if response.getheader("Content-Encoding", "").lower() == "gzip":
                data = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(data, ANSWER_MAX_BYTES)
            headers_of = [response.getheader(name, "") for name in ("Retry-After", "Location")]
            answer = Answer(response.status, data, *headers_of)
        if not is_whole:
            self.close()
        return answer

    def _connect(self) -> http.client.HTTPConnection:
        """Reads the credentials again: they may be new. Raises OSError."""
        try:
            authorization = self._authorization()
        except ConfigError as error:
            raise UnavailableError(str(error)) from error
        self._headers = {"User-Agent": f"fastlog/{__version__}"}
        if authorization:
            self._headers["Authorization"] = authorization
        host, port = self._host, self._port
        if self._proxy:
            host, port = self._proxy.hostname or "", self._proxy.port or PROXY_PORT
        connection: http.client.HTTPConnection
        if self._context:
            connection = http.client.HTTPSConnection(host, port, timeout=CONNECT_SEC, context=self._context)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=CONNECT_SEC)
        to_proxy = _to_proxy(self._proxy) if self._proxy else {}
        if self._proxy and self._context:
            connection.set_tunnel(self._host, self._port, to_proxy)
        else:
            self._headers.update(to_proxy)
        connection.connect()
        self._connection = connection
        return connection

    def _authorization(self) -> str:
        """The header, or nothing. Raises ConfigError."""
        if not self._credentials:
            return _basic(self._user) if self._user else ""
        try:
            with open(self._credentials, "rb") as file:
                text = file.read(CREDENTIALS_MAX_BYTES).decode().strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ConfigError(f"cannot read SHIP_CREDENTIALS {self._credentials}: {reason}") from None
        if _HEADER.fullmatch(text):
            return text
        if ":" not in text or not text.isprintable():
            raise ConfigError(
                f"SHIP_CREDENTIALS {self._credentials} must have one line: USER:PASSWORD, or `ApiKey KEY`"
            )
        return _basic(text)


class _InTime(io.RawIOBase):
    """What a socket receives until a deadline, however slowly it comes."""

    def __init__(self, sock: socket.socket, raw: Any, until: float) -> None:
        self._sock = sock
        self._raw = raw
        self._until = until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._until - monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        received: int | None = self._raw.readinto(buffer)
        return received

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, until: float, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        raw = self.fp.detach()
        self.fp = io.BufferedReader(_InTime(sock, raw, until))


def _has_ended(sock: socket.socket) -> bool:
    """Whether a connection on which nobody has asked anything can be read: it was closed, or is out of step."""
    waiting = select.poll()
    waiting.register(sock, select.POLLIN)
    return bool(waiting.poll(0))


def _tls(ca: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca or None)
    except OSError as error:
        reason = "it has no certificate in PEM" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigError(f"cannot read SHIP_CA {ca}: {reason}") from None


def _proxy(scheme: str, host: str) -> SplitResult | None:
    """The proxy for this host by `http_proxy`, `https_proxy` and `no_proxy`, which most programs go by. This machine is
    reached without one. Raises ConfigError."""
    text = urllib.request.getproxies_environment().get(scheme)
    if not text or is_loopback(host) or urllib.request.proxy_bypass(host):
        return None
    proxy = urlsplit(text if "://" in text else f"http://{text}")
    if proxy.scheme != "http" or not proxy.hostname:
        raise ConfigError(f"the variable {scheme}_proxy must be http://HOST:PORT")
    return proxy


def _to_proxy(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    return {"Proxy-Authorization": _basic(f"{unquote(proxy.username)}:{unquote(proxy.password or '')}")}


def _basic(user: str) -> str:
    return f"Basic {base64.b64encode(user.encode()).decode()}"


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, http.client.RemoteDisconnected):
        return "it closed the connection without an answer"
    if isinstance(error, http.client.IncompleteRead):
        return "it closed the connection in the middle of its answer"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return "its answer is not one of HTTP"
