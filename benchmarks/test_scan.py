"""What validation costs, by kind of entry."""

import random

import pytest
from entries import entry
from tests.helpers._hooks import scan_many

from fastlog import entry as reference

COUNT = 10_000
PACKED = 30  # entries of a datagram
rng = random.Random(7)
KINDS = {
    "short": [entry(rng, number, 3) for number in range(COUNT)],
    "long": [entry(rng, number, 200) for number in range(COUNT)],
    "escapes": [entry(rng, number, 12, message='say "hi"\t\\ ' * 8) for number in range(COUNT)],
    "non ASCII": [entry(rng, number, 12, message="обновление завершено — 更新完了 " * 4) for number in range(COUNT)],
    "nested": [entry(rng, number, 6, context={"a": [1, 2.5, {"b": [None, True]}] * 6}) for number in range(COUNT)],
    "rejected at the end": [entry(rng, number, 12)[:-1] for number in range(COUNT)],
    "rejected at the start": [b"<13>Nov 24 07:00:00 node-01 app: " + entry(rng, n, 12) for n in range(COUNT)],
}


@pytest.mark.parametrize("kind", KINDS)
def test_scan(measure, kind):
    datagrams = KINDS[kind]
    accepted = measure(scan_many, datagrams, count=COUNT, rounds=100, sample=datagrams)
    assert accepted == (0 if kind.startswith("rejected") else COUNT)


def test_scan_of_30_entries_a_datagram(measure, corpus):
    packed = [b"\n".join(corpus[start : start + PACKED]) for start in range(0, len(corpus), PACKED)]
    assert measure(scan_many, packed, count=len(corpus), rounds=100, sample=corpus) == len(corpus)


def test_reference_decoder(measure, corpus):
    pieces = measure(lambda: [reference.decode(datagram) for datagram in corpus[:1000]], count=1000, rounds=20)
    assert all(piece.line for [piece] in pieces)
