"""What the shipper asks of an engine, and what an engine may answer. The rest of the shipper knows no engine."""

from typing import NamedTuple, Protocol

from fastlog.errors import FastlogError
from fastlog.segments import Position

EXIT_REFUSED = 1  # exit codes of `fastlog ship`
EXIT_RIVAL = 3


class Batch(NamedTuple):
    """Whole lines of one file, durable in it, in order. `first` is where they begin, and `last` where they end."""

    lines: bytes
    first: Position
    last: Position
    line_count: int


class UnavailableError(Exception):
    """The engine did not acknowledge the batch: away, slow or full. The same batch is sent again later."""


class TooLargeError(UnavailableError):
    """The batch has more bytes than the sink's `max_bytes`, which has become smaller: it is cut and sent again."""


class WentBackError(Exception):
    """The engine's last line does not end where the batch begins: shipping continues at `position`.

    Behind the batch: the engine lost what it had acknowledged. Ahead of it: it has more than it had told.
    """

    def __init__(self, position: Position | None) -> None:
        super().__init__(f"the engine has nothing after {position or 'the beginning'}")
        self.position = position  # None: it has nothing


class RefusedError(FastlogError):
    """The engine takes nothing, and asking again does not help; the text says what to do."""

    exit_code = EXIT_REFUSED


class RivalError(FastlogError):
    """Another shipper writes for this node, or another log."""

    exit_code = EXIT_RIVAL


class Sink(Protocol):
    """An engine. `resume`, `send` and `check` may block for a few seconds, and raise the errors above."""

    @property
    def max_bytes(self) -> int:
        """Most bytes of lines that a batch may have at present; a longer line is refused for good. Since `resume`."""

    @property
    def last_lines(self) -> bytes:
        """Lines that the engine has right before where `resume` or WentBackError said; empty: it does not say."""

    @property
    def sequence(self) -> int:
        """The engine's number of our last message, for the note; 0: it has none."""

    def resume(self) -> Position | None:
        """Where the engine's last line ends. None: it has none, or it does not know."""

    def has_expired(self, sequence: int) -> bool:
        """Whether the engine has deleted our last message by itself, as its limits want it. `sequence`: its number."""

    def send(self, batch: Batch) -> int:
        """Returns when all of the batch is acknowledged: how many of its lines the engine has refused for good.

        A batch that was not acknowledged is given again as it was, until it is; only then comes the next.
        """

    def check(self) -> None:
        """To be called about once a second while there is nothing to send: whether the engine still has all of it."""

    def report(self) -> list[tuple[str, str]]:
        """What `fastlog ship --check` prints of the engine: names and values."""

    def close(self) -> None:
        """Ends the connection. Nothing is under way then."""
