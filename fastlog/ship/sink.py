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


class WentBackError(Exception):
    """The engine lost what it had acknowledged: the lines from `position` on are shipped again."""

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
    """An engine. `resume` and `send` may block for a few seconds, and raise the errors above."""

    def resume(self) -> Position | None:
        """Where the engine's last line ends. None: it has none, or it does not know."""

    def send(self, batch: Batch) -> int:
        """Returns when all of the batch is acknowledged: how many of its lines the engine has refused for good.

        A batch that was not acknowledged is given again as it was, until it is; only then comes the next.
        """

    def report(self) -> list[tuple[str, str]]:
        """What `fastlog ship --check` prints of the engine: names and values."""

    def close(self) -> None:
        """Ends the connection. Nothing is under way then."""
