"""Into Elasticsearch, OpenSearch and others that take `_bulk`: a request for each batch, a document for each line.

A document's id is the line's position, and it is only ever created. So a batch that is sent again, whole or in part,
harms nothing: what is there already is answered with 409.
"""

import contextlib
import re
from datetime import UTC, datetime
from time import monotonic
from typing import NoReturn
from urllib.parse import quote, urlsplit

import msgspec

from fastlog.config import Settings
from fastlog.errors import ConfigError
from fastlog.segments import Position
from fastlog.ship._documents import documents
from fastlog.ship.http_link import Answer, AnswerTooLongError, HttpLink
from fastlog.ship.refused import RefusedFile
from fastlog.ship.sink import Batch, UnavailableError

try:
    from isal import isal_zlib as zlib  # the same as zlib, and takes a fifth of the time
except ImportError:
    import zlib  # type: ignore[no-redef, unused-ignore]  # only where isal is installed

BATCH_MAX_BYTES = 1 << 20  # a line has a quarter at most; engines take a hundred times as much
LINES_MAX = 5_000  # in a request, so that the answer, which tells of each of them, stays short
GZIP_LEVEL = 1  # the higher ones take more time than they save
GROW_AFTER = 16  # requests that were taken, until one may be twice as long again: the limit may be that of one line
WAIT_SEC = 30.0  # where only a person can help, such as a wrong password: asking more often fills somebody's log
REASON_MAX = 300  # characters of an engine's words in a message
FILTER = "filter_path=errors,items.*.status,items.*.error"  # of an answer, the part that is needed: a tenth
CREATED = range(200, 300)
EXISTS = 409
# The statuses of a document that say nothing about the document: no access, no index, or no room for it at present.
NOT_OF_LINES = (401, 403, 404, 408, 429)
# The same where the status is 400, by what the error says: the index is closed or read-only, its alias or pipeline is
# wrong, or the cluster has as many shards as it may.
FAULTS_OF_INDEX = re.compile(
    "index_closed|cluster_block|security_exception|index_not_found|invalid_index_name|validation_exception"
    "|no write index|pipeline with id|maximum (normal )?shards"
)
# The beginning of the answer if all went well: the rest need not be read.
_ALL_WELL = re.compile(rb'\s*\{\s*(?:"(?:ingest_)?took"\s*:\s*\d+\s*,\s*)*"errors"\s*:\s*false\s*[,}]')
_SAFE_IN_PATH = "/%:@!$&'()*+,;=~"

_HEADERS = {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip", "Accept": "application/json"}


class _Result(msgspec.Struct):
    status: int = 0
    error: msgspec.Raw = msgspec.Raw()


class _Results(msgspec.Struct):
    """The answer to a request that was taken. `items`: one for each document, under the name of the action."""

    errors: bool
    items: list[dict[str, _Result]] = []


class _Failure(msgspec.Struct):
    error: msgspec.Raw = msgspec.Raw()


class _Version(msgspec.Struct):
    number: str = "unknown"
    distribution: str = ""


class _Home(msgspec.Struct):
    """What Elasticsearch and OpenSearch say of themselves."""

    cluster_name: str = ""
    version: _Version = msgspec.field(default_factory=_Version)


_decode_results = msgspec.json.Decoder(_Results).decode


class _Work:
    """A batch under way: its documents, and which lines of it the engine has not decided on."""

    def __init__(self, batch: Batch, id_start: bytes, time: bytes) -> None:
        self.batch = batch
        self.documents = documents(batch.lines, id_start, batch.first.offset, time)
        left_out = dict(self.documents.left_out)
        self.left = [number for number in range(len(self.documents.ends)) if number not in left_out]
        self.refused = 0
        self._lines: list[tuple[Position, bytes]] = []

    def is_of(self, batch: Batch) -> bool:
        return (self.batch.first, self.batch.last) == (batch.first, batch.last)

    def body(self, numbers: list[int]) -> bytes | bytearray:
        """The request for these lines."""
        body, ends = self.documents.body, self.documents.ends
        if len(numbers) == len(ends):
            return body
        return b"".join([body[ends[number - 1] if number else 0 : ends[number]] for number in numbers])

    def line(self, number: int) -> tuple[Position, bytes]:
        """A line with its position."""
        if not self._lines:
            log, segment, offset = self.batch.first
            for line in self.batch.lines.removesuffix(b"\n").split(b"\n"):
                self._lines.append((Position(log, segment, offset), line))
                offset += len(line) + 1
        return self._lines[number]


class BulkSink:
    """An index. `refused` keeps what it does not take. Raises ConfigError."""

    def __init__(self, settings: Settings, node: str, refused: RefusedFile) -> None:
        try:
            url = urlsplit(settings.ship_to)
        except ValueError as error:
            raise ConfigError(f"SHIP_TO is not a URL: {error}") from None
        self._link = HttpLink(url, settings.ship_credentials, settings.ship_ca)
        path = quote(url.path, safe=_SAFE_IN_PATH).rstrip("/")
        self._index = path if not url.query and not path.endswith("/_bulk") else ""  # empty: the URL is used as it is
        # The first one is used until the engine does not know it.
        self._targets = [f"{path}/_bulk?{FILTER}", f"{path}/_bulk"]
        if not self._index:
            self._targets = [f"{path or '/'}?{quote(url.query, safe=_SAFE_IN_PATH + '?')}" if url.query else path]
        self._node = node
        self._refused = refused
        self._time = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z").encode()
        self._work: _Work | None = None
        self._lines_max = LINES_MAX
        self._taken = 0  # requests since the last one that was too long
        self._has_taken = False  # whether the engine has taken anything lately: it is one, and its URL is right
        self._wait_until = 0.0
        self._why = ""

    @property
    def max_bytes(self) -> int:
        return BATCH_MAX_BYTES

    @property
    def last_lines(self) -> bytes:
        return b""

    def check(self) -> None:
        """Only a look at every document would say whether the engine has it."""

    @property
    def sequence(self) -> int:
        return 0

    def has_expired(self, sequence: int) -> bool:
        return False

    def resume(self) -> Position | None:
        """The note beside the log says where to continue."""
        return None

    def send(self, batch: Batch) -> int:
        work = self._work if self._work and self._work.is_of(batch) else self._begin(batch)
        if monotonic() < self._wait_until:
            raise UnavailableError(self._why)
        while work.left:
            numbers = work.left[: self._lines_max]
            try:
                answer = self._post(work.body(numbers))
            except AnswerTooLongError:
                self._halve(numbers)
                raise
            self._settle(work, numbers, answer)
        self._work = None
        return work.refused

    def report(self) -> list[tuple[str, str]]:
        rows = [("engine", self._link.name), ("compression", f"gzip, by {zlib.__name__.rpartition('.')[2]}")]
        if not self._index:
            return [*rows, ("target", self._targets[0])]
        prefix, _, index = self._index.rpartition("/")
        home = self._link.ask("GET", prefix + "/")
        if home.status in (401, 403):
            rows.append(("access", self._describe(home)))
        with contextlib.suppress(msgspec.DecodeError):
            about = msgspec.json.decode(home.body, type=_Home)
            rows.append(("cluster", about.cluster_name or "unknown"))
            rows.append(("version", f"{about.version.distribution} {about.version.number}".strip()))
        status = self._link.ask("HEAD", self._index).status
        state = "exists" if status == 200 else "not there yet" if status == 404 else f"unknown: HTTP {status}"
        return [*rows, ("index", f"{index}, {state}")]

    def close(self) -> None:
        self._link.close()

    def _begin(self, batch: Batch) -> _Work:
        position = f"{self._node}-{batch.first.log}-{batch.first.segment}-"
        id_start = b'{"create":{"_id":' + msgspec.json.encode(position)[:-1]
        work = _Work(batch, id_start, self._time)
        self._time = work.documents.time
        for number, reason in work.documents.left_out:
            self._refuse(work, number, f"not a JSON object: {reason}")
        self._work = work
        return work

    def _post(self, body: bytes | bytearray) -> Answer:
        packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS | 16)
        packed = packer.compress(body) + packer.flush()
        answer = self._link.ask("POST", self._targets[0], packed, _HEADERS)
        if answer.status in (400, 404, 405) and not self._has_taken and len(self._targets) > 1:
            other = self._link.ask("POST", self._targets[1], packed, _HEADERS)
            if other.status not in (400, 404, 405):
                self._targets.pop(0)
                return other
        return answer

    def _settle(self, work: _Work, numbers: list[int], answer: Answer) -> None:
        """Makes of an answer what became of the lines. Raises UnavailableError if some have to be sent again."""
        if answer.status in CREATED:
            self._settle_each(work, numbers, answer)
        elif answer.status == 413 or (answer.status == 400 and len(numbers) > 1):
            # With 400, one line may spoil the request for all. Both halves will show which.
            if len(numbers) > 1:
                self._halve(numbers)
            else:
                self._refuse(work, work.left.pop(0), self._describe(answer))
        elif answer.status == 400 and self._has_taken:
            self._has_taken = False  # so that an engine that refuses everything from now on does not get through all
            self._refuse(work, work.left.pop(0), self._describe(answer))
        else:
            if answer.status == 400:  # nothing shows yet whether the line is wrong or the URL: another line may
                work.left.append(work.left.pop(0))
            elif answer.status < 500 and answer.status not in (408, 429):
                self._wait_until = monotonic() + WAIT_SEC
                self._link.close()  # the next connection reads the credentials again
            elif answer.retry_after.isascii() and answer.retry_after.isdigit():
                self._wait_until = monotonic() + min(float(answer.retry_after[:9]), WAIT_SEC)
            self._give_up(self._describe(answer))

    def _settle_each(self, work: _Work, numbers: list[int], answer: Answer) -> None:
        again: list[int] = []
        why = ""
        if not _ALL_WELL.match(answer.body):
            for number, result in zip(numbers, self._results(answer, len(numbers)), strict=True):
                if result.status in CREATED or result.status == EXISTS:
                    continue
                reason = f"HTTP {result.status}: {_words(result.error)}"
                if not 400 <= result.status < 500 or result.status in NOT_OF_LINES or FAULTS_OF_INDEX.search(reason):
                    again.append(number)
                    why = why or reason
                else:
                    self._refuse(work, number, reason)
        work.left[: len(numbers)] = again
        if len(again) < len(numbers):
            self._has_taken = True
        self._taken += 1
        if self._taken % GROW_AFTER == 0:
            self._lines_max = min(2 * self._lines_max, LINES_MAX)
        if again:
            self._give_up(f"{self._link.name}: {why}")

    def _results(self, answer: Answer, count: int) -> list[_Result]:
        try:
            answered = _decode_results(answer.body)
            results = [result for item in answered.items for result in item.values()]
        except msgspec.DecodeError:
            self._give_up(f"{self._describe(answer)}, which is not an answer to _bulk")
        if len(results) == count:
            return results
        if answered.errors:
            self._give_up(f"{self._link.name}: the answer is not about all documents")
        return [_Result(200)] * count

    def _halve(self, numbers: list[int]) -> None:
        self._lines_max = max(1, len(numbers) // 2)
        self._taken = 0

    def _refuse(self, work: _Work, number: int, reason: str) -> None:
        work.refused += 1
        self._refused.note(*work.line(number), reason)

    def _give_up(self, why: str) -> NoReturn:
        self._why = why
        raise UnavailableError(why)

    def _describe(self, answer: Answer) -> str:
        """An answer that is not the one hoped for, for people."""
        words = ""
        with contextlib.suppress(msgspec.DecodeError):
            words = _words(msgspec.json.decode(answer.body, type=_Failure).error)
        if answer.location:
            words = f"it wants requests at {_plain(answer.location)}"
        words = words or _plain(answer.body.decode(errors="replace"))
        return f"{self._link.name}: HTTP {answer.status}: {words}".removesuffix(": ")


def _words(error: msgspec.Raw) -> str:
    """What an engine says about an error: its kind, and the reason with what caused it."""
    if not bytes(error):
        return ""
    said: object = msgspec.json.decode(error)
    words: list[str] = []
    while isinstance(said, dict) and len(words) < 4:
        words += [str(said[key]) for key in ("type", "reason") if said.get(key)]
        said = said.get("caused_by")
    if isinstance(said, str):
        words.append(said)
    return _plain(": ".join(words))


def _plain(text: str) -> str:
    """One line of what somebody else has written, not too long."""
    text = " ".join(text.split())
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= REASON_MAX else f"{text[:REASON_MAX]}…"
