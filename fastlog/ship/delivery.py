"""Asks the engine until it answers: with a pause after each time that it does not, and a word about that."""

import random
from collections.abc import Callable
from time import monotonic, sleep
from typing import TypeVar

from fastlog.segments import Position
from fastlog.ship.account import Problems
from fastlog.ship.sink import Batch, Sink, TooLargeError, UnavailableError

BACK_OFF_FIRST_SEC = 0.1  # after an answer that did not come; doubled each time
BACK_OFF_LONGEST_SEC = 5.0
BACK_OFF_JITTER = 0.2  # a share: shippers of many machines do not come back in step
CHECK_EVERY_SEC = 1.0  # while nothing is shipped: time between two questions whether the engine has all of it

Answer = TypeVar("Answer")


class Delivery:
    """`tell` is called before each pause."""

    def __init__(self, sink: Sink, problems: Problems, tell: Callable[[], None]) -> None:
        self._sink = sink
        self._problems = problems
        self._tell = tell
        self._check_at = 0.0

    @property
    def max_bytes(self) -> int:
        """Most bytes of a batch, and so of a line."""
        return self._sink.max_bytes

    @property
    def last_lines(self) -> bytes:
        return self._sink.last_lines

    @property
    def sequence(self) -> int:
        return self._sink.sequence

    def resume(self) -> Position | None:
        return self._until_available(self._sink.resume)

    def has_expired(self, sequence: int) -> bool:
        return self._until_available(lambda: self._sink.has_expired(sequence))

    def send(self, batch: Batch) -> int:
        """Raises TooLargeError, and what `Sink.send` does but for UnavailableError."""
        return self._until_available(lambda: self._sink.send(batch))

    def check(self) -> None:
        """To be called while there is nothing to send."""
        if monotonic() >= self._check_at:
            self._until_available(self._sink.check)
            self._check_at = monotonic() + CHECK_EVERY_SEC

    def _until_available(self, ask: Callable[[], Answer]) -> Answer:
        pause = BACK_OFF_FIRST_SEC
        while True:
            try:
                answer = ask()
            except TooLargeError:
                raise
            except UnavailableError as error:
                self._problems.begin("engine", str(error) or "the engine does not answer")
            except OSError as error:  # of the network, and never of a file of the log
                self._problems.begin("engine", f"the engine cannot be reached: {error.strerror or error}")
            else:
                self._problems.end("engine", "the engine takes lines again")
                return answer
            self._tell()
            sleep(pause * (1 + random.uniform(0, BACK_OFF_JITTER)))
            pause = min(2 * pause, BACK_OFF_LONGEST_SEC / (1 + BACK_OFF_JITTER))
