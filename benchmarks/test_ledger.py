"""What the account of one entry costs: 100,000 entries a round, as they come from one sender and from many."""

import pytest

from fastlog._ledger import Ledger

COUNT = 100_000
APART = 7919  # senders follow each other in another order than in memory


@pytest.mark.parametrize("senders", [1, 100, 10_000])
@pytest.mark.parametrize("lose_every", [0, 50], ids=["all came", "2 % lost"])
def test_saw(benchmark, senders, lose_every):
    ledger = Ledger(bytes(16))
    following = ledger.saw_many(senders, 1, 1, 1)

    def entries():
        nonlocal following
        following = ledger.saw_many(senders, APART, following, COUNT // senders, lose_every)

    benchmark.pedantic(entries, rounds=100, warmup_rounds=2)
    totals = ledger.totals()
    assert totals["senders"] == senders
    assert totals["late"] == totals["restarts"] == 0
    assert (totals["lost"] + totals["missing"] > 0) == (lose_every > 0)
    benchmark.extra_info["ns an entry"] = round(benchmark.stats.stats.median / COUNT * 1e9, 1)


def test_top_of_16384_senders(benchmark):
    ledger = Ledger(bytes(16))
    ledger.saw_many(16_384, 1, 1, 3, 7)
    assert len(benchmark(ledger.top, 20, 1000)) == 20


def test_worst_of_16384_senders(benchmark):
    ledger = Ledger(bytes(16))
    ledger.saw_many(16_384, 1, 1, 1100, 7)
    assert len(benchmark(ledger.worst, 20, 1000)) == 20
