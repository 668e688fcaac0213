"""Asks a running server for its figures: `/stats` over HTTP, as far as the commands need it."""

import http.client
from time import monotonic, sleep
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from fastlog.config import Settings
from fastlog.errors import ConfigError, FastlogError
from fastlog.stats import Losses, Process, SenderStats, Stats

TIMEOUT_SEC = 5.0  # for an answer: the dashboard's thread lets the server's loop go first
SNAPSHOT_PATIENCE_SEC = 5.0  # for a new snapshot: the loop makes one when it is asked, unless it hangs
ASK_AGAIN_SEC = 0.15  # between two looks for a new snapshot: each of them costs the server some time


ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # a server that listens on all addresses is asked at this one

T = TypeVar("T")


class UnreachableError(FastlogError):
    """The figures cannot be had; the text says why, and what to do."""


class Figures(msgspec.Struct, frozen=True):
    """What the commands use of `/stats` (docs/http-api.md); counts are from the server's start."""

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
    error: str


def dashboard_of(settings: Settings) -> str:
    """Where a server of these settings has its dashboard, as seen from its own machine."""
    return dashboard_at(ANYWHERE.get(settings.dashboard_host, settings.dashboard_host), settings.dashboard_port)


def dashboard_at(host: str, port: int) -> str:
    """The URL of a dashboard."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


class StatsClient:
    """Of the dashboard at `url`; `token`: its DASHBOARD_TOKEN, or empty. Raises ConfigError if that is no URL."""

    def __init__(self, url: str, token: str) -> None:
        try:
            parts = urlsplit(url)
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not self._host:
            raise ConfigError(f"{url!r} is no URL of a dashboard, such as http://127.0.0.1:8080")
        self.url = url.rstrip("/")
        self._tls = parts.scheme == "https"
        self._path = parts.path.rstrip("/") + "/stats"
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def figures(self) -> Figures:
        """What commands use of the server's newest snapshot, which is at most half a second old. Raises
        UnreachableError."""
        return self._ask(Figures)

    def stats(self) -> Stats:
        """The server's newest snapshot as a whole. Raises UnreachableError."""
        return self._ask(Stats)

    def _ask(self, kind_of_answer: type[T]) -> T:
        kind = http.client.HTTPSConnection if self._tls else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=TIMEOUT_SEC)
        try:
            connection.request("GET", self._path, headers=self._headers)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise UnreachableError(f"cannot ask {self.url}/stats: {reason}") from error
        finally:
            connection.close()
        if response.status != 200:
            raise UnreachableError(f"{self.url}/stats answers {response.status}: {_reason(body)}")
        try:
            return msgspec.json.decode(body, type=kind_of_answer)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UnreachableError(f"{self.url}/stats is not that of this version of fastlog: {error}") from error

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


def _reason(body: bytes) -> str:
    """Of a server that refuses, or what else answered."""
    try:
        return msgspec.json.decode(body, type=_Refusal).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body[:100].decode("utf-8", "replace")
