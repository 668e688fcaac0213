"""Random numbers with a seed that a failed test reports, to repeat it."""

import os
import random

SEED = os.environ.get("FASTLOG_TEST_SEED")


class Random(random.Random):
    """Shows its seed where pytest prints the arguments of a failed test; FASTLOG_TEST_SEED sets it."""

    def __init__(self) -> None:
        self._shown = int(SEED) if SEED else random.randrange(2**32)
        super().__init__(self._shown)

    def __repr__(self) -> str:
        return f"Random(FASTLOG_TEST_SEED={self._shown})"
