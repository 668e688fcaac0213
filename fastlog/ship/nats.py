"""NATS JetStream. The stream is the authority: its last message of our subject says how far the log is shipped.

Each message says which message must be the last one of the subject (a compare-and-set), so nothing can be stored twice,
whatever is lost, repeated or late. Where the stream refuses a message for that reason, its last message says why.
"""

import os
from time import monotonic

from fastlog.config import MB, Settings
from fastlog.errors import say
from fastlog.segments import Position
from fastlog.ship.nats_address import nats_address
from fastlog.ship.sink import (
    Batch,
    RefusedError,
    RivalError,
    TooLargeError,
    UnavailableError,
    WentBackError,
)

try:
    from fastlog.ship import nats_stream as api
    from fastlog.ship.nats_link import Link
    from fastlog.ship.nats_report import report
except ImportError as error:
    raise RefusedError(
        f"NATS needs the package nats-py ({error}); to install it: pip install 'fastlog-udp[nats]'"
    ) from error

SUBJECT_PREFIX = "fastlog."
HEADERS_MAX_BYTES = 400  # of a message, besides the names of the node and the stream
ROUNDS_MAX = 3  # how often a message is sent in one go, each time for another reason
GONE_SEC = 5  # that the stream may be missing: servers that start have not found all of their streams yet


class NatsSink:
    """See `Sink`. `node`: our name in the subject. `create`: make the stream if there is none."""

    def __init__(self, settings: Settings, node: str, create: bool) -> None:
        address = nats_address(settings)
        self._node = node
        self._subject = SUBJECT_PREFIX + node
        self._create = create
        self._hold_bytes = int(settings.ship_hold_mb * MB)
        self._link = Link(address, f"fastlog ship {node}")
        self._stream = api.Stream(self._link, address.stream)
        self._run = os.urandom(8).hex()  # tells our messages from those of another shipper
        self._sequence = 0  # of the last message of the subject, as far as we know; 0: there is none
        self._position: Position | None = None  # where its lines end
        self._last_lines = b""
        self._newcomer = True  # nothing was acknowledged yet: a message of the run before may still arrive
        self._looked = 0  # the connection on which we have looked at the last message
        self._gone_since = 0.0  # by the monotonic clock: there is no stream; 0: there is one
        self._message_max_bytes = -1  # what the stream takes in a message; -1: no limit

    @property
    def max_bytes(self) -> int:
        """Most bytes of lines that fit in a message at present."""
        limit = self._link.max_payload
        if self._message_max_bytes >= 0:
            limit = min(limit, self._message_max_bytes)
        return max(1, limit - HEADERS_MAX_BYTES - len(self._node) - len(self._stream.name))

    @property
    def last_lines(self) -> bytes:
        return self._last_lines

    @property
    def sequence(self) -> int:
        return self._sequence

    def resume(self) -> Position | None:
        try:
            self._look_at_config()
            last = self._stream.last(self._subject)
        except api.StreamError as error:
            raise api.refusal(error, self._stream.name) or UnavailableError(self._say(error)) from error
        self._looked = self._link.connections
        self._sequence = last.sequence if last else 0
        self._position = self._position_of(last) if last else None
        self._last_lines = last.lines if last else b""
        return self._position

    def has_expired(self, sequence: int) -> bool:
        try:
            info = self._stream.info()
        except api.StreamError as error:
            raise self._failure(error.error) from error
        return info.config.is_limited and info.state.first_seq > sequence

    def send(self, batch: Batch) -> int:
        self._link.connect()
        if len(batch.lines) > self.max_bytes:
            raise TooLargeError(self._say(f"takes at most {self.max_bytes:,} bytes of lines at once"))
        headers = self._headers(batch)
        for _ in range(ROUNDS_MAX):
            headers["Nats-Expected-Last-Subject-Sequence"] = str(self._sequence)
            answer = self._link.request(self._subject, batch.lines, headers)
            if answer.status == api.NO_RESPONDERS:
                raise self._not_taken()
            ack = api.decode(answer, api.Ack)
            if ack.error is None and not ack.duplicate:
                return self._acknowledged(batch, ack.seq)
            if ack.error is not None and ack.error.err_code not in api.WRONG_LAST:
                raise self._failure(ack.error)
            sequence = self._sequence_of(batch)
            if sequence:
                return self._acknowledged(batch, sequence)
            if ack.duplicate:  # the server knows the id of a message that it does not have any more
                headers.pop(api.ID_HEADER, None)
        raise UnavailableError(self._say("our messages are refused, though the last one of the subject is ours"))

    def check(self) -> None:
        """On a new connection: a server that was started again may have lost what it had acknowledged."""
        if self._link.connected and self._looked == self._link.connections:
            return
        try:
            last = self._stream.last(self._subject)
        except api.StreamError as error:
            raise self._failure(error.error) from error
        self._changed(last, self._position)
        self._looked = self._link.connections

    def report(self) -> list[tuple[str, str]]:
        try:
            return report(self._link, self._stream, self._subject, self._hold_bytes)
        except api.StreamError as error:
            raise api.refusal(error, self._stream.name) or UnavailableError(self._say(error)) from error

    def close(self) -> None:
        self._link.close()

    def _look_at_config(self) -> None:
        """Makes the stream if need be. Raises RefusedError if it cannot be shipped into."""
        try:
            config = self._stream.info().config
        except api.StreamError as error:
            if error.error.err_code != api.NO_STREAM or not self._create:
                raise
            self._stream.create()
            say(f"made the stream {self._stream.name} for {api.SUBJECTS}")
            config = self._stream.info().config
        self._message_max_bytes = config.max_msg_size
        if objection := api.objection(config, self._stream.name, self._subject):
            raise RefusedError(objection)

    def _headers(self, batch: Batch) -> dict[str, str]:
        first = batch.first
        return {
            api.ID_HEADER: f"{self._node}/{first.log}/{first.segment}/{first.offset}-{batch.last.offset}",
            "Nats-Expected-Stream": self._stream.name,
            api.POSITION_HEADER: str(batch.last),
            api.LINES_HEADER: str(batch.line_count),
            api.RUN_HEADER: self._run,
        }

    def _acknowledged(self, batch: Batch, sequence: int) -> int:
        self._sequence = sequence
        self._position = batch.last
        self._looked = self._link.connections
        self._newcomer = False
        self._gone_since = 0.0
        return 0

    def _sequence_of(self, batch: Batch) -> int:
        """Of the batch, if the last message of the subject ends with it after all. 0: it does not; send it again."""
        try:
            last = self._stream.last(self._subject)
        except api.StreamError as error:
            raise self._failure(error.error) from error
        if last is not None and last.position == batch.last:
            size = min(len(last.lines), len(batch.lines))
            is_ours = last.lines[-size:] == batch.lines[-size:]  # a copy of the log may have other lines there
            if not is_ours or (last.run != self._run and not self._newcomer):
                raise self._rival(last)
            return last.sequence
        self._changed(last, batch.first)
        return 0

    def _changed(self, last: "api.Last | None", ours: Position | None) -> None:
        """Returns if the subject's last message ends where `ours` does, and raises what has happened if it does not."""
        if last is None:
            if self._sequence:
                self._last_is_gone()
            return
        if last.sequence == self._sequence:
            return
        position = self._position_of(last)
        if last.run != self._run and (ours is None or position.log != ours.log or position > ours):
            # A message of the run before may arrive after we have asked for the last one. There is one at most.
            if not self._newcomer or (ours is not None and position.log != ours.log):
                raise self._rival(last)
            self._newcomer = False
        self._sequence, self._position, self._last_lines = last.sequence, position, last.lines
        if position != ours:
            raise WentBackError(position)

    def _last_is_gone(self) -> None:
        """The stream has no message of our subject any more. If its limits have deleted it, nothing was lost."""
        lost = self._sequence
        self._sequence = 0
        if not self.has_expired(lost):
            raise WentBackError(None)
        say(f"the limits of the stream {self._stream.name} have deleted the last message of {self._subject}")

    def _position_of(self, last: "api.Last") -> Position:
        if last.position is None:
            raise RivalError(f"the last message of {self._subject} is not of `fastlog ship`: {last.sequence}")
        return last.position

    def _rival(self, last: "api.Last") -> RivalError:
        return RivalError(
            f"another shipper writes to {self._subject}: the stream {self._stream.name} has lines until "
            f"{last.position} that are not ours"
        )

    def _not_taken(self) -> Exception:
        """Nobody takes the subject: why."""
        try:
            info = self._stream.info()
        except api.StreamError as error:
            return self._failure(error.error)
        return UnavailableError(
            api.objection(info.config, self._stream.name, self._subject)
            or self._say(f"the stream {self._stream.name} has no leader at present")
        )

    def _failure(self, error: "api.ApiError") -> Exception:
        """What an error of JetStream means, by its code."""
        stream = self._stream.name
        if error.err_code == api.OTHER_STREAM:
            return RefusedError(f"{self._subject} belongs to another stream than {stream}")
        if error.err_code == api.SEALED:
            return RefusedError(f"the stream {stream} is sealed")
        if error.err_code == api.MESSAGE_TOO_LARGE:
            before = self.max_bytes
            try:
                self._look_at_config()
            except api.StreamError as worse:
                return self._failure(worse.error)
            kind = TooLargeError if self.max_bytes < before else UnavailableError
            return kind(self._say(error))
        if error.err_code == api.NO_STREAM:
            self._gone_since = self._gone_since or monotonic()
            if monotonic() - self._gone_since >= GONE_SEC:
                return RivalError(f"the stream {stream} was deleted; --create --from-start ships all files anew")
        return UnavailableError(self._say(error))

    def _say(self, error: object) -> str:
        text = f"{error.description} ({error.err_code})" if isinstance(error, api.ApiError) else str(error)
        return f"NATS, stream {self._stream.name}: {text}"
