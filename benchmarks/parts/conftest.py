import itertools
import os
import random
import socket
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.entries import COUNT, entry

BURST = 2_000  # datagrams that fit in a receive buffer of 4 MiB at once
ROUNDS_SHARE = float(os.environ.get("FASTLOG_BENCH_SHARE", "1"))  # of the rounds: a few show that it runs


@pytest.fixture(scope="session")
def corpus() -> list[bytes]:
    rng = random.Random(7)
    return [entry(rng, number) for number in range(COUNT)]


@pytest.fixture
def measure(benchmark) -> Callable[..., Any]:
    """Runs rounds of fixed work, and records for the table how much work a round is.

    `count`: the number of `unit` in a round. `sample`: the entries, for their mean size. Choose `rounds` so that each
    case takes about a second. `measure.rounds` is how many there were, besides the one to warm up.
    """

    def run(function, *arguments, count, rounds, unit="entry", sample=None, setup=None):
        benchmark.extra_info.update(count=count, unit=unit)
        if sample is not None:
            benchmark.extra_info["bytes"] = sum(map(len, sample)) / len(sample)
        run.rounds = max(1, round(rounds * ROUNDS_SHARE))
        return benchmark.pedantic(function, arguments, setup=setup, rounds=run.rounds, warmup_rounds=1)

    return run


@pytest.fixture
def sockets():
    """A receiver like the server's, and a sender that is connected to it."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        receiver.setblocking(False)
        receiver.bind(("127.0.0.1", 0))
        sender.connect(receiver.getsockname())
        yield receiver, sender


@pytest.fixture
def errors() -> Callable[[int], list[bytes]]:
    """Makes that many entries of level ERROR, other ones at each call."""
    numbers = itertools.count()
    rng = random.Random(7)
    return lambda count: [entry(rng, next(numbers), level="ERROR") for _ in range(count)]
