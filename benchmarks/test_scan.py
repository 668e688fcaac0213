"""What validation costs, by kind of entry: 10,000 entries a round."""

import random

import pytest
from conftest import entry

from fastlog import _parse
from fastlog import entry as reference

COUNT = 10_000
rng = random.Random(7)
KINDS = {
    "short": [entry(rng, number, 3) for number in range(COUNT)],
    "long": [entry(rng, number, 200) for number in range(COUNT)],
    "escapes": [entry(rng, number, 12, message='say "hi"\t\\ ' * 8) for number in range(COUNT)],
    "non-ascii": [entry(rng, number, 12, message="обновление завершено — 更新完了 " * 4) for number in range(COUNT)],
    "nested": [entry(rng, number, 6, context={"a": [1, 2.5, {"b": [None, True]}] * 6}) for number in range(COUNT)],
    "rejected": [entry(rng, number, 12)[:-1] for number in range(COUNT)],
}


@pytest.mark.parametrize("kind", KINDS)
def test_scan(benchmark, kind):
    accepted = benchmark(_parse.scan_many, KINDS[kind])
    assert accepted == (0 if kind == "rejected" else COUNT)
    benchmark.extra_info["bytes an entry"] = sum(map(len, KINDS[kind])) // COUNT


def test_reference_decoder(benchmark, corpus):
    pieces = benchmark(lambda: [reference.decode(datagram) for datagram in corpus[:1000]])
    assert all(piece.line for [piece] in pieces)
