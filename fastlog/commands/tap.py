"""`fastlog tap`: shows the entries of a running server as they come, or its rejected input, until Ctrl-C."""

import argparse
import base64
import binascii
import contextlib
import http.client
import os
import select
import signal
import sys
from time import monotonic, sleep
from types import FrameType
from urllib.parse import urlencode

import msgspec

from fastlog.addresses import dashboard_url
from fastlog.commands.levels import parse_level
from fastlog.commands.rendering import COLOURS, DIM, Form, Shown, form_from, in_zone, shown_as_text, shown_by
from fastlog.commands.terminal import PLAIN, visible, visible_json
from fastlog.config import Settings
from fastlog.entry import LEVELS
from fastlog.errors import discard_output, say
from fastlog.stats_client import RefusedError, StatsClient, StrangerError, UnreachableError

RETRY_SEC = 1.0  # time between two attempts to connect again: a restart of the server takes about as long
SILENT_SEC = 30.0  # the server says something every 10 s; after so long without a word it is gone
SHARE_SEC = 1.0  # time between two words about lines that are not shown
READ_BYTES = 1 << 16
EVENT_MAX_BYTES = 16 << 20  # of one event: many times the largest one, and a bound to what a stranger sends
TRIES_MAX = 3  # at the start, where the server answers that it cannot show its log at the moment


class _EndedError(Exception):
    """The connection has ended, or the server is silent."""


class _Lines(msgspec.Struct):
    lines: list[msgspec.Raw]
    shown: int
    matching: int
    estimated: bool = False


class _State(msgspec.Struct):
    waiting: bool
    reason: str = ""


class _Note(msgspec.Struct):
    """A note of rejected input, as `rejects.jsonl` has it."""

    time: str
    source: str
    reason: str
    datagram_bytes: int
    offset: int = 0
    piece_bytes: int | None = None  # None: the text is the whole piece
    text: str | None = None
    base64: str = ""


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Shows what comes until SIGINT or SIGTERM, or until nobody reads the output; returns the exit code."""
    client = StatsClient(
        options.url or dashboard_url(settings.dashboard_host, settings.dashboard_port), settings.dashboard_token
    )
    signal.signal(signal.SIGINT, _end)
    signal.signal(signal.SIGTERM, _end)
    try:
        _Tap(client, _query_of(options), _shown(options)).run()
    except KeyboardInterrupt:
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough
        discard_output()
    return 0


def _end(_number: int, _frame: FrameType | None) -> None:
    """Ends it once: a second signal must not interrupt the end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _query_of(options: argparse.Namespace) -> str:
    """Raises ConfigError."""
    level = parse_level(options.level) if options.level else None
    above = () if level is None else LEVELS[LEVELS.index(level) : LEVELS.index("OTHER")] or (level,)
    given = {
        "level": ",".join(above),
        "app": options.app,
        "host": options.host,
        "source": options.sender,
        "text": options.grep,
        "rejected": "1" if options.rejected else None,
        "reason": options.reason,
        "last": options.lines,
    }
    return urlencode({name: value for name, value in given.items() if value}, errors="surrogateescape")


def _shown(options: argparse.Namespace) -> Shown:
    if options.json:
        if sys.stdout.isatty():
            return shown_by(visible_json, sys.stdout.encoding)
        return lambda block, runs: b"".join([bytes(block[start:end]) for start, end in runs])
    form = form_from(options)
    if options.rejected:
        return shown_by(lambda line: render_note(line, form), sys.stdout.encoding)
    return shown_as_text(form, sys.stdout.encoding)


def render_note(line: str, form: Form) -> str:
    """A note of rejected input: when and from whom it came, why it was rejected, its size, and its bytes."""
    try:
        note = msgspec.json.decode(line, type=_Note)
        text = note.text
        if text is None:
            text = base64.b64decode(note.base64).decode("utf-8", "backslashreplace")
    except (msgspec.DecodeError, binascii.Error, ValueError):
        return visible(line)
    place = f" at byte {note.offset}" if note.offset else ""
    more = "" if note.piece_bytes is None else "…"
    time, reason = visible(in_zone(note.time, form.zone)), visible(note.reason)
    rest = visible(f"{note.source} {note.datagram_bytes} bytes{place}: {text}{more}")
    if form.colours:
        return f"{DIM}{time}{PLAIN} {COLOURS['ERROR']}{reason:10}{PLAIN} {rest}"
    return f"{time} {reason:10} {rest}"


class _Tap:
    """The view of one server, across its restarts."""

    def __init__(self, client: StatsClient, query: str, shown: Shown) -> None:
        self._client = client
        self._query = query
        self._shown = shown
        self._position = ""  # of the last event: the server continues there
        self._state = _State(waiting=False)
        self._seen, self._matching, self._is_estimated = 0, 0, False  # since the share was said
        self._share_at = 0.0
        self._reader_gone = select.poll()
        self._reader_gone.register(1, 0)

    def run(self) -> None:
        """Until the user ends it. Raises UnreachableError if there is nothing to see, and BrokenPipeError."""
        response = self._connect_first()
        while True:
            try:
                self._read(response)
            except _EndedError as error:
                say(f"{error}; trying again every {RETRY_SEC:g} s")
            finally:
                response.close()
            response = self._connect_again()
            say(f"connected to {self._client.url} again")

    def _connect(self) -> http.client.HTTPResponse:
        headers = {"Last-Event-ID": self._position} if self._position else {}
        return self._client.stream(f"/tap?{self._query}", SILENT_SEC, headers)

    def _connect_first(self) -> http.client.HTTPResponse:
        for _ in range(TRIES_MAX - 1):
            try:
                return self._connect()
            except RefusedError as error:
                if error.status != http.client.SERVICE_UNAVAILABLE:
                    raise
                sleep(RETRY_SEC)
        return self._connect()

    def _connect_again(self) -> http.client.HTTPResponse:
        while True:
            self._check_reader(int(RETRY_SEC * 1000))
            try:
                return self._connect()
            except StrangerError:
                raise
            except RefusedError as error:
                if error.status != http.client.SERVICE_UNAVAILABLE:
                    raise
            except UnreachableError:
                pass

    def _read(self, response: http.client.HTTPResponse) -> None:
        """Raises _EndedError."""
        ready = select.poll()
        ready.register(response.fileno(), select.POLLIN)
        ready.register(1, 0)
        rest = b""
        while True:
            try:
                data = response.read1(READ_BYTES)
            except (OSError, http.client.HTTPException) as error:
                raise _EndedError(f"{self._client.url} is gone: {error}") from error
            if not data:
                raise _EndedError(f"{self._client.url} has ended the connection")
            *events, rest = (rest + data).split(b"\n\n")
            if len(rest) > EVENT_MAX_BYTES:
                raise self._client.stranger("not a view of a log")
            for event in events:
                self._take(event)
            sys.stdout.buffer.flush()
            self._say_share()
            if response.chunked:  # by a proxy: the next chunk may have been received already, which `poll` cannot see
                self._check_reader(0)
                continue
            waiting = ready.poll(SILENT_SEC * 1000)
            if any(fd == 1 for fd, _ in waiting):
                raise BrokenPipeError
            if not waiting:
                raise _EndedError(f"{self._client.url} is silent")

    def _take(self, event: bytes) -> None:
        fields = dict(line.partition(b": ")[::2] for line in event.split(b"\n"))
        position = fields.get(b"id", b"").decode(errors="replace")
        if position.isascii() and position.isprintable():  # as a header may be
            self._position = position or self._position
        data = fields.get(b"data", b"")
        try:
            if fields.get(b"event") == b"entries":
                self._show(msgspec.json.decode(data, type=_Lines))
            elif fields.get(b"event") == b"state":
                self._say_state(msgspec.json.decode(data, type=_State))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._client.stranger("not a view of a log") from error

    def _show(self, found: _Lines) -> None:
        block, runs = b"", []
        for line in found.lines:
            start = len(block)
            block += bytes(line).replace(b"\n", b" ") + b"\n"
            runs.append((start, len(block)))
        sys.stdout.buffer.write(self._shown(block, runs))
        self._seen += found.shown
        self._matching += found.matching
        self._is_estimated |= found.estimated

    def _say_share(self) -> None:
        """That not all lines are shown, and how many are."""
        now = monotonic()
        if self._seen == self._matching:
            self._seen = self._matching = 0
        elif now - self._share_at >= SHARE_SEC:
            about = "about " if self._is_estimated else ""
            text = f"{self._seen:,} of {about}{self._matching:,} shown"
            dim = sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
            say(f"{DIM}{text}{PLAIN}" if dim else text)
            self._seen, self._matching, self._is_estimated, self._share_at = 0, 0, False, now

    def _say_state(self, state: _State) -> None:
        if state.waiting and state != self._state:
            say(f"waiting: {visible(state.reason)}")
        self._state = state

    def _check_reader(self, wait_ms: int) -> None:
        """Waits, unless nobody reads the output any more. Raises BrokenPipeError."""
        if self._reader_gone.poll(wait_ms):
            raise BrokenPipeError
