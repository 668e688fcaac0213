"""Asks a running server for its stats, or for a view of its log, over HTTP, as far as the commands need it."""

import http.client
from time import monotonic, sleep
from typing import TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from fastlog.answers import HistoryAnswer, RangeName, SenderAnswer
from fastlog.errors import ConfigError, FastlogError
from fastlog.stats import Losses, Process, SenderStats, Stats

TIMEOUT_SEC = 5.0  # time for an answer: the dashboard's thread lets the server's loop go first
SNAPSHOT_PATIENCE_SEC = 5.0  # time for a new snapshot: the loop makes one when asked, unless it hangs
ASK_AGAIN_SEC = 0.15  # time between two requests for a new snapshot: each of them costs the server some time
BODY_MAX_BYTES = 16 << 20  # largest answer: many times the largest /stats, and a bound to what a stranger sends

REFUSALS = (401, 403, 503)  # the statuses with which a fastlog server refuses its stats
VIEW_REFUSALS = (400, 401, 403, 404, 503)  # the same of a view of its log; 404: an older version has none

T = TypeVar("T")


class UnreachableError(FastlogError):
    """The server's stats cannot be had; the text says why."""


class RefusedError(UnreachableError):
    """A fastlog server answers, but does not give what it was asked for: it wants a token, for example. `status`: of
    HTTP."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class StrangerError(UnreachableError):
    """A program that is not fastlog answers at the URL."""


class Figures(msgspec.Struct, frozen=True):
    """The part of `/stats` that most commands use (docs/http-api.md). Counts are since the server's start."""

    total_received: int
    stored: int
    duplicates: int
    buffered: int
    rejected: dict[str, int]
    losses: Losses
    datagrams: int
    elapsed_seconds: float
    top_senders: list[SenderStats]
    settings: dict[str, str]
    process: Process


class _Refusal(msgspec.Struct):
    """The body with which fastlog refuses a request."""

    error: str


class _Version(msgspec.Struct):
    """What the `/stats` of every version of fastlog has."""

    version: str
    total_received: int


class StatsClient:
    """Asks the dashboard at `url`, whose DASHBOARD_TOKEN is `token` or empty. Raises ConfigError for a wrong URL.

    `url` is None for a server without a dashboard; then every question raises UnreachableError.
    """

    def __init__(self, url: str | None, token: str) -> None:
        if url is None:
            self.url = ""
            return
        try:
            parts = urlsplit(url)
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not self._host:
            raise ConfigError(f"{url!r} is not a URL of a dashboard, such as http://127.0.0.1:8080")
        self.url = url.rstrip("/")
        self._tls = parts.scheme == "https"
        self._path = parts.path.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def figures(self) -> Figures:
        """What commands use of the server's newest snapshot, which is at most half a second old. Raises
        UnreachableError."""
        return self._ask(Figures)

    def stats(self) -> Stats:
        """The server's newest snapshot as a whole. Raises UnreachableError."""
        return self._ask(Stats)

    def history(self, range_name: RangeName) -> HistoryAnswer | None:
        """Figures over time; None: the server has none, since it is older. Raises UnreachableError."""
        status, body = self._request(f"/history?range={range_name}")
        return _decoded(body, HistoryAnswer) if status == 200 else None

    def sender(self, address: str) -> SenderAnswer | None:
        """One sender; None: the server does not know it, or no longer. Raises UnreachableError."""
        status, body = self._request(f"/sender?address={quote(address)}")
        if reason := _refusal(status, body, REFUSALS):  # which says nothing of the sender
            raise RefusedError(f"{self.url}/sender answers {status}: {reason}", status)
        return _decoded(body, SenderAnswer) if status == 200 else None

    def _ask(self, kind_of_answer: type[T]) -> T:
        status, body = self._request("/stats")
        if status != 200:
            reason = _refusal(status, body, REFUSALS)
            if reason is None:
                raise self.stranger(f"status {status}")
            raise RefusedError(f"{self.url}/stats answers {status}: {reason}", status)
        try:
            return msgspec.json.decode(body, type=kind_of_answer)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            try:
                version = msgspec.json.decode(body, type=_Version).version
            except (msgspec.DecodeError, UnicodeDecodeError):
                raise self.stranger("not stats") from error
            raise RefusedError(
                f"{self.url}/stats is that of fastlog {version}, which this version cannot read: {error}", status
            ) from error

    def _request(self, path: str) -> tuple[int, bytes]:
        """The status and the body of the answer. Raises UnreachableError."""
        connection = self._connection(TIMEOUT_SEC)
        try:
            connection.request("GET", self._path + path, headers=self._headers)
            response = connection.getresponse()
            return response.status, response.read(BODY_MAX_BYTES)
        except OSError as error:
            raise self._unreachable("/stats", error) from error
        except http.client.HTTPException as error:
            raise self.stranger("not HTTP") from error
        finally:
            connection.close()

    def stream(self, path: str, silent_sec: float, headers: dict[str, str]) -> http.client.HTTPResponse:
        """An answer whose body is read as it comes, each part of it within so many seconds. `path` has the query.
        The caller closes it. Raises UnreachableError."""
        connection = self._connection(silent_sec)
        try:
            connection.request("GET", self._path + path, headers={**self._headers, **headers})
            response = connection.getresponse()
            if response.status == 200:
                return response
            reason = _refusal(response.status, response.read(BODY_MAX_BYTES), VIEW_REFUSALS)
        except OSError as error:
            connection.close()
            raise self._unreachable(path.partition("?")[0], error) from error
        except http.client.HTTPException as error:
            connection.close()
            raise self.stranger("not HTTP") from error
        connection.close()
        if reason is None:
            raise self.stranger(f"status {response.status}")
        raise RefusedError(f"{self.url} answers {response.status}: {reason}", response.status)

    def _connection(self, timeout_sec: float) -> http.client.HTTPConnection:
        if not self.url:
            raise UnreachableError("the server has no dashboard: DASHBOARD_PORT is off")
        kind = http.client.HTTPSConnection if self._tls else http.client.HTTPConnection
        return kind(self._host, self._port, timeout=timeout_sec)

    def _unreachable(self, path: str, error: OSError) -> UnreachableError:
        reason = error.strerror or str(error) or type(error).__name__
        return UnreachableError(f"cannot ask {self.url}{path}: {reason}")

    def stranger(self, what: str) -> StrangerError:
        return StrangerError(f"another program answers at {self.url}/stats ({what})")

    def fresh_figures(self) -> Figures:
        """The figures of a snapshot made after this call. Raises UnreachableError, also when none is made in time."""
        until = monotonic() + SNAPSHOT_PATIENCE_SEC
        first = self.figures()
        while monotonic() < until:
            figures = self.figures()
            if figures.elapsed_seconds != first.elapsed_seconds:
                return figures
            sleep(ASK_AGAIN_SEC)
        raise UnreachableError(f"{self.url}/stats does not change: the server hangs")


def _decoded(body: bytes, kind_of_answer: type[T]) -> T | None:
    """The answer; None if it is none that this version can read."""
    try:
        return msgspec.json.decode(body, type=kind_of_answer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _refusal(status: int, body: bytes, refusals: tuple[int, ...]) -> str | None:
    """The reason that a fastlog server gives for refusing; None if this is not how fastlog refuses."""
    if status not in refusals:
        return None
    try:
        return msgspec.json.decode(body, type=_Refusal).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
