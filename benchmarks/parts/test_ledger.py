"""What the account of one entry costs, as entries come from one sender and from many, and past the cap of senders."""

import pytest
from tests.helpers._hooks import saw_many

from fastlog.server._ledger import SENDERS_MAX, Ledger

COUNT = 100_000
APART = 7919  # senders follow each other in another order than in memory
TOO_MANY = 2 * SENDERS_MAX  # so that each one has lost its place when it comes again


@pytest.mark.parametrize("senders", [1, 100, 10_000])
@pytest.mark.parametrize("lose_every", [0, 50], ids=["all came", "2 % lost"])
def test_account(measure, senders, lose_every):
    ledger = Ledger(bytes(16))
    following = saw_many(ledger, senders, 1, 1, 1)

    def entries():
        nonlocal following
        following = saw_many(ledger, senders, APART, following, COUNT // senders, lose_every)

    measure(entries, count=COUNT, rounds=100)
    totals = ledger.totals()
    assert totals["senders"] == senders
    assert totals["late"] == totals["restarts"] == 0
    assert (totals["lost"] + totals["missing"] > 0) == (lose_every > 0)


def test_account_of_senders_past_the_cap(measure):
    ledger = Ledger(bytes(16))
    following = 1

    def entries():
        nonlocal following
        following = saw_many(ledger, TOO_MANY, APART, following, 3)

    measure(entries, count=3 * TOO_MANY, rounds=30)
    totals = ledger.totals()
    assert totals["senders"] == SENDERS_MAX
    assert totals["retired"] == 3 * TOO_MANY * (measure.rounds + 1) - SENDERS_MAX


def test_top_of_16384_senders(measure):
    ledger = Ledger(bytes(16))
    saw_many(ledger, SENDERS_MAX, 1, 1, 3, 7)
    assert len(measure(ledger.top, 20, 1000, count=1, unit="call", rounds=200)) == 20


def test_worst_of_16384_senders(measure):
    ledger = Ledger(bytes(16))
    saw_many(ledger, SENDERS_MAX, 1, 1, 1100, 7)
    assert len(measure(ledger.worst, 20, 1000, count=1, unit="call", rounds=200)) == 20
