"""The account of what never arrived: literal sequences with their figures, and any sequences against a model in sets."""

import random
import resource
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlog.server._ledger import (
    ESTABLISHED_ENTRIES,
    ESTABLISHED_MS,
    FEW,
    JUMP_MAX,
    NEW_MIN,
    PROOF_ROW,
    RETIRE_MAX,
    SENDERS_MAX,
    WINDOW,
    Ledger,
)
from fastlog.server.sender_gaps import sender_key
from tests.helpers._hooks import check_senders, saw, saw_many
from tests.helpers.ledger_model import Model

SECRET = bytes(range(16))
TOP = 2**64 - 1
FIGURES = ("lost", "missing", "repeated", "late", "restarts")


def run(start: int, count: int) -> range:
    return range(start, start + count)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(SECRET)


def feed(ledger, *parts, address="192.0.2.1", port=1000, now_ms=0):
    """Notes sequences: of a number, None, or several of them."""
    for part in parts:
        for sequence in [part] if part is None or isinstance(part, int) else part:
            saw(ledger, address, port, sequence, now_ms)


def retire_all(ledger, now_ms, idle_ms) -> int:
    return sum(iter(lambda: ledger.retire(now_ms, idle_ms), 0))


def figures(ledger) -> dict[str, int]:
    """The totals that are not zero."""
    return {name: figure for name, figure in ledger.totals().items() if name in FIGURES and figure}


LONG = run(1, 5 * WINDOW)  # a run whose beginning is far behind the window
NEXT = 5 * WINDOW + 1
CASES = [
    ("in order", [run(1, 10)], {}),
    ("without a sequence", [None, None], {}),
    ("without a sequence in between", [1, None, 2, None, 3], {}),
    ("starting anywhere", [run(1_000_000_000, 10)], {}),
    ("a gap may still be filled", [1, 2, 4], {"missing": 1}),
    ("a gap that is filled", [1, 2, 4, 3], {}),
    ("a gap that is filled twice", [1, 2, 4, 3, 3], {"repeated": 1}),
    ("a gap at the end of the window", [1, 3, run(4, WINDOW - 2)], {"missing": 1}),
    ("a gap behind the window", [1, 3, run(4, WINDOW - 1)], {"lost": 1}),
    ("the last moment to fill a gap", [1, 3, run(4, WINDOW - 2), 2, run(WINDOW + 2, WINDOW)], {}),
    ("a moment too late to fill a gap", [1, 3, run(4, WINDOW - 1), 2, WINDOW + 3], {"lost": 1, "late": 1}),
    ("before the first one seen", [5, 1, 6], {}),
    ("before the first one seen, twice", [5, 1, 6, 1], {"repeated": 1}),
    ("before the first one seen, long ago", [5, run(6, 3 * WINDOW), 1, 3 * WINDOW + 6], {"late": 1}),
    ("what was before the first one leaves the window", [5, 1, 7, run(8, 2 * WINDOW)], {"lost": 1}),
    ("before the first one seen, twice, a window apart", [5, 4, run(6, WINDOW - 2), 4], {"repeated": 1}),
    ("the first one again", [1, 1], {"repeated": 1}),
    ("the newest again", [run(1, 5), 5, 5], {"repeated": 2}),
    ("the oldest of the window again", [LONG, NEXT - WINDOW, NEXT], {"repeated": 1}),
    ("one older than the window again", [LONG, NEXT - WINDOW - 1, NEXT], {"late": 1}),
    ("a step of the window", [1, 1 + WINDOW], {"missing": WINDOW - 1}),
    ("a step of the window and one", [1, 2 + WINDOW], {}),
    ("a step of the window and one, proven", [1, run(2 + WINDOW, PROOF_ROW)], {"missing": WINDOW}),
    ("a step of the window with a gap in it", [1, 3, 3 + WINDOW], {"missing": WINDOW - 1, "lost": 1}),
    ("a step past a gap at the beginning", [1, 3, WINDOW + 2], {"missing": WINDOW - 2, "lost": 1}),
    ("an outage", [1, 100_001, run(100_002, WINDOW)], {"lost": 99_999}),
    ("an outage and one less than a proof", [1, run(100_001, PROOF_ROW - 1)], {}),
    ("an outage, where the old run may still continue", [1, run(100_001, WINDOW)], {"missing": 99_999}),
    ("an outage, and an entry from before it in time", [1, 3, run(100_001, WINDOW), 2, 100_001 + WINDOW], {"lost": 99_997}),
    ("an outage after a gap", [1, 2, 5, run(100_001, WINDOW + 1)], {"lost": 2 + 99_995}),
    ("an outage that ends in another order", [1, 100_005, 100_001, 100_003, 100_004, 100_002, run(100_006, WINDOW)], {"lost": 99_999}),
    ("an outage that ends backwards", [1, range(100_000 + WINDOW - 1, 100_000, -1), run(100_000 + WINDOW, 2)], {"lost": 99_999}),
    ("an outage that ends with gaps", [1, [n for n in run(100_001, 2 * WINDOW) if n % 3], run(100_001 + 2 * WINDOW, WINDOW)], {"lost": 99_999 + 683}),
    ("an outage after which most is lost", [1, range(100_001, 100_001 + 5 * 2 * WINDOW, 5), run(100_001 + 5 * 2 * WINDOW, WINDOW)], {"lost": 99_999 + 4 * 2 * WINDOW}),
    ("two outages", [1, run(100_001, 3 * WINDOW), run(200_001, 3 * WINDOW)], {"lost": 99_999 + 100_000 - 3 * WINDOW}),
    ("two outages, one soon after the other", [1, run(100_001, 20), run(200_001, 3 * WINDOW)], {"lost": 199_999 - 20}),
    ("an outage just beyond the window, in another order", [1, 1130, 1110, run(1111, 19), run(1131, WINDOW)], {"lost": 1108}),
    ("a straggler after an outage", [1, 3, 100_001, 2, 4, run(100_002, WINDOW + 1)], {"late": 1, "lost": 99_997}),
    ("a straggler after a proven outage", [1, run(100_001, 20), 2, run(100_021, WINDOW + 1)], {"late": 20, "lost": 100_018}),
    ("the longest outage", [1, run(1 + JUMP_MAX, WINDOW + 1)], {"lost": JUMP_MAX - 1}),
    ("a jump that is too long", [1, run(2 + JUMP_MAX, WINDOW + 1)], {"restarts": 1}),
    ("one forged entry ahead", [run(1, 50), 2**20, run(51, 50)], {"late": 1}),
    ("one forged entry ahead, again and again", [[part for n in run(1, 50) for part in (n, 2**20 + n)], 51], {"late": 50}),
    ("a forged row ahead", [run(1, 50), run(2**20, 100), run(51, 50)], {"late": 100}),
    ("a forged row with gaps ahead", [run(1, 50), run(2**20, 20), 2**20 + 1000, run(51, 50)], {"late": 21}),
    ("strays far apart", [[n << 20 for n in range(100)]], {"late": 98}),
    ("strays ever farther ahead", [run(1, 10), [5000 * n for n in range(1, 100)], run(11, 10)], {"late": 99}),
    ("two programs in turn", [[part for n in run(1, 3000) for part in (n, 500_000 + n)]], {"late": 2999}),
    ("two programs in turn, one of which ends", [[part for n in run(1, 3000) for part in (n, 500_000 + n)], run(503_001, 3000)], {"late": 2999, "restarts": 1}),
    ("two programs in turns of 20", [[m + n for n in range(1, 3000, 20) for part in (0, 500_000) for m in run(part, 20)]], {"late": 149 * 20, "restarts": 148}),
    ("two programs that begin with a turn of 20", [run(1, 20), run(500_001, 20), 21, 500_021, 22, 500_022, 23, run(500_023, 2000)], {"late": 22, "restarts": 1}),
    ("a stray far ahead", [1, 10**15, 2, 3], {"late": 1}),
    ("a run far ahead", [1, run(10**15, 3 * WINDOW)], {"restarts": 1}),
    ("a run far ahead, with a gap", [1, run(10**15, 20), 10**15 + 21], {"restarts": 1, "missing": 1}),
    ("an old retransmission", [LONG, 7, run(NEXT, 9)], {"late": 1}),
    ("an old retransmission, three times", [LONG, 7, 7, 7, run(NEXT, 9)], {"late": 1, "repeated": 2}),
    ("an old retransmission between every two", [LONG, 7, NEXT, 8, NEXT + 1, 9, NEXT + 2], {"late": 3}),
    ("old retransmissions while the sender is silent", [LONG, range(7, 2000, 3), NEXT], {"late": 665}),
    ("old ones in a row, one short of a restart", [LONG, run(7, PROOF_ROW - 1), NEXT], {"late": PROOF_ROW - 1}),
    ("old ones in a row, and the run continues", [LONG, run(7, 100), run(NEXT, 9)], {"restarts": 1, "late": 100}),
    ("old ones in a row, and the run continues with a gap", [LONG, run(7, 100), NEXT + 5], {"restarts": 1, "late": 100, "missing": 5}),
    ("old ones in a row with gaps, and the run continues", [LONG, run(7, 9), 18, NEXT], {"restarts": 1, "late": 10}),
    ("mostly gaps do not prove a restart", [LONG, 7, 50, 90, run(100, 20)], {}),
    ("a row does not go round the window", [1, 10**15 + 1, [10**15 + n for n in run(2, 1013) if n % 3], run(10**15 + 1017, 7), 10**15], {}),
    ("two old regions in turn", [LONG, 7, 3000, 8, 3001, 9, NEXT], {"late": 5}),
    ("a restart", [LONG, run(1, 3 * WINDOW)], {"restarts": 1}),
    ("a restart that passes the old run", [LONG, run(1, 8 * WINDOW)], {"restarts": 1}),
    ("a short restart", [LONG, run(1, PROOF_ROW)], {"restarts": 1}),
    ("a restart, reordered", [LONG, 2, 1, 3, 5, 4, run(6, 9)], {"restarts": 1}),
    ("a restart, backwards", [LONG, range(20, 0, -1), run(21, 9)], {"restarts": 1}),
    ("a restart with a gap", [LONG, 1, 3, run(4, 8), run(12, 2 * WINDOW)], {"restarts": 1, "lost": 1}),
    ("a restart with a gap, filled", [LONG, 1, 3, run(4, 12), 2, run(16, 2 * WINDOW)], {"restarts": 1}),
    ("a restart, every third lost at first", [LONG, [n for n in run(1, 60) if n % 3], run(61, 40)], {"restarts": 1, "missing": 20}),
    ("a restart and an outage", [LONG, run(1, 20), run(50_001, WINDOW + 1)], {"restarts": 1, "lost": 49_980}),
    ("a restart and an outage up to near the old run", [LONG, run(1, 20), run(NEXT + 100, 2 * WINDOW)], {"restarts": 1, "late": 20, "lost": 100}),
    ("a restart with a repetition", [LONG, 1, 1, run(2, 9)], {"restarts": 1, "repeated": 1}),
    ("a restart within the window", [run(1, 100), run(1, 101)], {"repeated": 100}),
    ("two restarts", [LONG, run(1, 3 * WINDOW), run(1, 3 * WINDOW)], {"restarts": 2}),
    ("a gap before a restart may still be filled", [LONG, NEXT + 1, run(1, 20)], {"restarts": 1, "missing": 1}),
    ("a gap before a restart, filled after it", [LONG, NEXT + 1, run(1, 20), NEXT, run(21, 2 * WINDOW)], {"restarts": 1}),
    ("one from before a restart, again after it", [LONG, run(1, 20), NEXT - 5, run(21, 2 * WINDOW)], {"restarts": 1, "repeated": 1}),
    ("a gap before a restart, lost a window later", [LONG, NEXT + 1, run(1, WINDOW + 1)], {"restarts": 1, "lost": 1}),
    ("up to the last number", [run(TOP - 9, 10)], {}),
    ("a gap before the last number", [TOP - 3, TOP], {"missing": 2}),
    ("a gap before the last number, filled", [TOP - 3, TOP, TOP - 1, TOP - 2], {}),
    ("the last number, again", [TOP, TOP], {"repeated": 1}),
    ("an outage up to the last numbers", [TOP - 3 * WINDOW, run(TOP - 9, 10)], {"missing": 3 * WINDOW - 10}),
    ("from the last number to 0 is a restart", [run(TOP - 9, 10), run(0, 9)], {"restarts": 1}),
    ("0 after the last number", [run(TOP - 2 * WINDOW, 2 * WINDOW + 1), 0, TOP], {"repeated": 1}),
    ("from 0 to the last number", [0, TOP], {}),
    ("from 0 to the last number, and on from 0", [0, TOP, 1, 2], {"late": 1}),
    ("from the last numbers down to 0 in a whole window", [run(TOP - 2 * WINDOW, 2 * WINDOW + 1), run(0, 50)], {"restarts": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("parts", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_literal_sequences(ledger, parts, expected):
    feed(ledger, *parts)
    assert figures(ledger) == expected


@pytest.mark.parametrize(("parts", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_literal_sequences_after_a_retirement(ledger, parts, expected):
    """A retired sender misses nothing any more, and its place is as new for the next one."""
    feed(ledger, range(1, 3000, 3), run(1, 9), address="2001:db8::1")
    ledger.retire(10, 0)
    before = ledger.totals()
    feed(ledger, *parts)
    ledger.retire(10, 0)
    after = ledger.totals()
    assert after["missing"] == after["senders"] == 0
    assert after["lost"] - before["lost"] == expected.get("lost", 0) + expected.get("missing", 0)
    assert after["repeated"] - before["repeated"] == expected.get("repeated", 0)
    assert after["late"] - before["late"] >= expected.get("late", 0)


def test_what_is_aside_at_the_end_was_late(ledger):
    feed(ledger, LONG, 7, 8, 9)
    assert figures(ledger) == {}
    ledger.retire(10, 0)
    assert figures(ledger) == {"late": 3}


@given(st.data())
@settings(max_examples=50, deadline=None, database=None)
def test_any_order_within_the_window_loses_nothing(data):
    """Nothing comes more than a window late, so everything is accounted for, whatever the order."""
    ledger = Ledger(SECRET)
    base = data.draw(st.sampled_from([0, 1, 10**9, TOP - 8 * WINDOW]), "base")
    rng = random.Random(data.draw(st.integers(0, 2**32), "seed"))
    spread = data.draw(st.integers(0, WINDOW - 1), "spread")
    numbers = sorted(run(base + 1, 3 * WINDOW), key=lambda n: (n - base) + rng.uniform(0, spread))
    feed(ledger, base, numbers)
    assert figures(ledger) == {}


@given(st.permutations(run(2, 12)), st.sampled_from([0, WINDOW, TOP - 20]))
@settings(max_examples=200, deadline=None, database=None)
def test_any_permutation_loses_nothing(numbers, base):
    ledger = Ledger(SECRET)
    feed(ledger, base + 1, [base + n for n in numbers])
    assert figures(ledger) == {}


@given(st.integers(0, 2**32), st.floats(0, 0.9), st.floats(0, 0.3), st.integers(0, WINDOW // 2))
@settings(max_examples=60, deadline=None, database=None)
def test_what_was_dropped_is_lost_or_missing(seed, drop, repeat, spread):
    """Drops, duplicates and reordering within the window: the figures are exactly the dropped set."""
    ledger = Ledger(SECRET)
    rng = random.Random(seed)
    sent = run(2, 3 * WINDOW)
    dropped = {n for n in sent if rng.random() < drop} - {sent[-1]}
    copies = [n for n in sent if n not in dropped for _ in range(1 + (rng.random() < repeat))]
    feed(ledger, 1, sorted(copies, key=lambda n: n + rng.uniform(0, spread)))
    totals = ledger.totals()
    assert totals["lost"] + totals["missing"] == len(dropped)
    assert totals["missing"] == len([n for n in dropped if n > sent[-1] - WINDOW])
    assert totals["repeated"] == len(copies) - len(set(copies))
    assert sent[-1] - 1 + 1 == 1 + len(set(copies)) + totals["lost"] + totals["missing"]  # newest - first + 1
    assert totals["late"] == totals["restarts"] == 0


def test_a_sender_is_found_with_its_own_figures(ledger):
    feed(ledger, 1, 2, 5, 5, run(900_000_000, PROOF_ROW), now_ms=1_000)
    feed(ledger, 1, 1, 1, port=2000, now_ms=3_500)
    found = ledger.sender(*sender_key("192.0.2.1:1000"), 4_000)
    assert found == ("192.0.2.1:1000", 4 + PROOF_ROW, 2, 1, 1, 3.0, 3.0)
    assert ledger.sender(*sender_key("192.0.2.1:2000"), 4_000) == ("192.0.2.1:2000", 3, 0, 2, 0, 0.5, 0.5)
    assert ledger.sender(*sender_key("192.0.2.1:2001"), 4_000) is None
    assert ledger.sender(*sender_key("192.0.2.2:1000"), 4_000) is None
    retire_all(ledger, 10_000, 1)
    assert ledger.sender(*sender_key("192.0.2.1:1000"), 10_000) is None
    feed(ledger, 7, now_ms=20_000)  # in the place of one of them
    assert ledger.sender(*sender_key("192.0.2.1:1000"), 20_000) == ("192.0.2.1:1000", 1, 0, 0, 0, 0.0, 0.0)


steps = st.one_of(
    st.tuples(st.just("on"), st.sampled_from([1, 1, 2, 7, 9, 64, WINDOW, 2 * WINDOW])),
    st.tuples(st.just("skip"), st.one_of(st.integers(1, 130), st.integers(WINDOW - 3, WINDOW + 3))),
    st.tuples(st.just("skip"), st.sampled_from([5000, JUMP_MAX - 1, JUMP_MAX, JUMP_MAX + 1, 10**12])),
    st.tuples(st.just("jump"), st.one_of(st.integers(WINDOW - 9, WINDOW + 9), st.integers(WINDOW, 3 * WINDOW))),
    st.tuples(st.just("jump"), st.sampled_from([5000, 500_000, JUMP_MAX - 1, JUMP_MAX, JUMP_MAX + 1, 10**12])),
    st.tuples(st.just("thin"), st.integers(1, 9)),
    st.tuples(st.just("turn"), st.integers(0, 70)),
    st.tuples(st.just("back"), st.one_of(st.integers(0, 130), st.integers(WINDOW - 3, WINDOW + 3))),
    st.tuples(st.just("back"), st.integers(0, 4 * WINDOW)),
    st.tuples(st.just("start"), st.sampled_from([0, 1, 500, 2 * WINDOW, TOP - 9, TOP - 2 * WINDOW])),
    st.tuples(st.just("return"), st.integers(-5, WINDOW + 5)),
    st.tuples(st.just("none"), st.just(0)),
)


@given(st.sampled_from([0, 1, 10**9, TOP - 3 * WINDOW]), st.lists(steps, max_size=25))
@settings(max_examples=1000, deadline=None, database=None)
def test_any_sequences_agree_with_the_model(start, steps):
    """`at` is where the sender is; `highs` are places where it was before it went elsewhere."""
    ledger, model = Ledger(SECRET), Model()
    at, highs = start, [start]
    for kind, amount in steps:
        first, count = at + 1, 1
        if kind == "on":
            count = amount
        elif kind == "skip":
            first = at + 1 + amount
        elif kind == "back":
            first = at - amount
        elif kind == "start":
            highs.append(at)
            first, count = amount, 12
        elif kind == "jump":
            highs.append(at)
            first, count = at + 1 + amount, 12
        elif kind == "thin":
            count = 10 * amount
        elif kind == "turn":
            first, count = highs[-1] + 1 + amount % 10, 1 + amount // 10
            highs.append(at)
        elif kind == "return":
            first = highs[-1] + amount
            highs.append(at)
        step = amount if kind == "thin" else 1
        for sequence in [None] if kind == "none" else range(max(first, 0), min(first + count, TOP + 1), step):
            saw(ledger, "192.0.2.1", 1000, sequence, 0)
            model.saw(sequence)
            if sequence is not None and kind != "back":
                at = sequence
        assert ledger.totals() == model.totals(), (kind, amount)


# Senders


def test_addresses_and_ports_are_senders_of_their_own(ledger):
    senders = [
        ("192.0.2.1", 1), ("192.0.2.1", 2), ("192.0.2.2", 1), ("2001:db8::1", 2), ("2001:db8::1", 1), ("2001:db9::1", 1),
    ]  # fmt: skip
    for sequence in (1, 2, 4):
        for address, port in senders:
            feed(ledger, sequence, address=address, port=port)
    assert ledger.totals()["senders"] == len(senders)
    assert ledger.totals()["missing"] == len(senders)
    names = {name for name, *_ in ledger.top(10, 0)}
    assert names == {
        "192.0.2.1:1",
        "192.0.2.1:2",
        "192.0.2.2:1",
        "[2001:db8::1]:1",
        "[2001:db8::1]:2",
        "[2001:db9::1]:1",
    }


def test_an_ipv4_sender_is_the_same_on_a_dual_stack_socket(ledger):
    feed(ledger, 1, 3, address="192.0.2.1")
    feed(ledger, 2, address="::ffff:192.0.2.1")
    assert ledger.totals()["senders"] == 1
    assert figures(ledger) == {}
    assert ledger.top(1, 0) == [("192.0.2.1:1000", 3, 0, 0.0)]


def test_senders_of_one_link_local_address_on_two_links_differ(ledger):
    gone = 2**31
    for address in ("fe80::1%1", f"fe80::1%{gone}", "fe80::1"):
        feed(ledger, 1, 3, address=address)
    names = {f"[fe80::1%{socket.if_indextoname(1)}]:1000", f"[fe80::1%{gone}]:1000", "[fe80::1]:1000"}
    assert {name for name, *_ in ledger.top(10, 0)} == {name for name, *_ in ledger.worst(10, 0)} == names


def test_top_and_worst(ledger):
    for n in range(1, 151):  # the n-th sender sends n entries, and every third one loses 2n
        feed(ledger, run(1, n), port=n, now_ms=1000 * n)
        if n % 3 == 0:
            feed(ledger, 3 * n + 500, port=n, now_ms=1000 * n)
            feed(ledger, run(3 * n + WINDOW + 1, WINDOW), address="198.51.100.7", port=n, now_ms=1000 * n)
    top = ledger.top(10, 200_000)
    assert [received for _, received, *_ in top] == [WINDOW] * 10
    assert ledger.worst(3, 200_500) == [
        ("192.0.2.1:150", 151, 300 + 499, 50.5),
        ("192.0.2.1:147", 148, 294 + 499, 53.5),
        ("192.0.2.1:144", 145, 288 + 499, 56.5),
    ]
    assert len(ledger.worst(1000, 0)) == 50
    assert len(ledger.top(1000, 0)) == 100
    assert ledger.top(1, 0)[0][3] == 0.0  # never negative
    assert ledger.top(0, 0) == ledger.worst(0, 0) == []


def test_the_figures_of_a_retired_sender_stay_in_the_totals(ledger):
    feed(ledger, LONG, NEXT + 1, NEXT + 1, run(1, 20), 22, now_ms=1)
    assert figures(ledger) == {"restarts": 1, "missing": 2, "repeated": 1}
    assert ledger.retire(10, 9) == 1
    assert figures(ledger) == {"restarts": 1, "lost": 2, "repeated": 1}
    totals = ledger.totals()
    assert (totals["received"], totals["senders"], totals["retired"]) == (len(LONG) + 23, 0, 1)
    assert ledger.top(10, 10) == ledger.worst(10, 10) == []


def test_a_sender_that_comes_again_starts_anew(ledger):
    feed(ledger, run(1, 10))
    feed(ledger, WINDOW)
    assert len(ledger.worst(1, 0)) == 1
    ledger.retire(10, 0)
    lost = ledger.totals()["lost"]
    feed(ledger, 1, 900, 901)
    assert figures(ledger) == {"missing": 898, "lost": lost}
    assert ledger.top(1, 0) == ledger.worst(1, 0) == [("192.0.2.1:1000", 3, 898, 0.0)]


def test_a_sender_is_not_blamed_for_the_gaps_of_one_that_had_its_place(ledger):
    feed(ledger, 1, 101)
    ledger.retire(10, 0)
    saw(ledger, "192.0.2.2", 1, None, 11)
    assert ledger.worst(1, 11) == []


def test_after_a_restart_the_open_gaps_of_the_old_run_count_with_the_new_ones(ledger):
    feed(ledger, LONG, NEXT + 4, run(1, 20), 22)
    [(_, _, lost, _)] = ledger.worst(1, 0)
    totals = ledger.totals()
    assert lost == totals["lost"] + totals["missing"] == 5


def test_only_idle_senders_retire_and_the_longest_idle_first(ledger):
    for port in range(1, 2 * RETIRE_MAX + 1):
        feed(ledger, 1, port=port, now_ms=port)
    feed(ledger, 2, port=1, now_ms=2 * RETIRE_MAX)
    assert ledger.retire(1, 0) == 0  # a clock that is behind retires nobody
    assert ledger.retire(110, 100) == 9  # ports 2 to 10
    assert ledger.retire(2 * RETIRE_MAX + 1, 2) == RETIRE_MAX
    assert ledger.retire(2 * RETIRE_MAX + 1, 2) == RETIRE_MAX - 11
    assert {name for name, *_ in ledger.top(10, 0)} == {"192.0.2.1:1", f"192.0.2.1:{2 * RETIRE_MAX}"}
    assert ledger.retire(3 * RETIRE_MAX, 0) == 2
    assert ledger.retire(3 * RETIRE_MAX, 0) == 0


def test_more_senders_than_places_retire_the_least_recently_seen(ledger):
    """Each of 20,000 senders misses one entry; no figure of a retired one gets lost."""
    count = 20_000
    for n in range(count):
        feed(ledger, 1, 3, address=f"10.0.{n >> 8}.{n & 255}", now_ms=n)
        feed(ledger, n, address="192.0.2.9", now_ms=n)  # busy, so it stays
    totals = ledger.totals()
    assert totals["senders"] == SENDERS_MAX
    assert totals["retired"] == count + 1 - SENDERS_MAX == totals["lost"]
    assert totals["missing"] == SENDERS_MAX - 1
    assert totals["received"] == 3 * count
    assert totals["restarts"] == totals["late"] == totals["repeated"] == 0
    assert ledger.top(1, count) == [("192.0.2.9:1000", count, 0, 0.001)]
    first_kept = count + 1 - SENDERS_MAX
    feed(ledger, 2, address=f"10.0.{first_kept >> 8}.{first_kept & 255}")
    assert ledger.totals()["missing"] == SENDERS_MAX - 2  # it was still known
    assert ledger.totals()["retired"] == totals["retired"]


class Crowd:
    """A ledger, its clock, and honest senders: each loses every tenth entry."""

    def __init__(self, senders: list[tuple[str, int]]) -> None:
        self.ledger = Ledger(SECRET)
        self.now_ms = 0
        self.senders = senders
        self.sent = 8  # so the first one that is seen is 9, and the next one is lost

    def send(self, count: int, last_ms: int = 0) -> None:
        """Each honest sender sends so many, over so much time."""
        for _ in range(count):
            self.now_ms += last_ms // count
            self.sent += 1
            if self.sent % 10:
                for address, port in self.senders:
                    saw(self.ledger, address, port, self.sent, self.now_ms)

    def flood(self, senders, rounds: int = 1, apart_ms: int = 0) -> None:
        """Each stranger sends an entry in each round, 100 strangers in a millisecond."""
        for sequence in run(1, rounds):
            for number, (address, port) in enumerate(senders):
                saw(self.ledger, address, port, sequence, self.now_ms + number // 100)
            self.now_ms += len(senders) // 100 + apart_ms

    def assert_exact(self) -> None:
        """No figure of the honest senders is wrong; strangers lost nothing."""
        totals = self.ledger.totals()
        assert totals["lost"] + totals["missing"] == len(self.senders) * (self.sent // 10)
        assert totals["repeated"] == totals["late"] == totals["restarts"] == 0
        assert totals["pushed_out"] == totals["retired"]
        check_senders(self.ledger)


HONEST = [
    *((f"192.0.2.{n}", 514) for n in range(50)),
    *(("198.51.100.1", port) for port in range(FEW)),
    ("2001:db8::1", 9),
]
PORTS = 60_000
HOSTS = {
    "one": lambda n, rng: "203.0.113.1",
    "five": lambda n, rng: f"203.0.113.{n % 5}",
    "thousand": lambda n, rng: f"10.0.{n % 4}.{n % 250}",
    "one that IPv6 gives many addresses": lambda n, rng: f"2001:db8:1:1:{rng.randrange(1 << 16):x}::{n:x}",
    "one link": lambda n, rng: f"fe80::{rng.randrange(1 << 16):x}:{n:x}%2",
}


@pytest.mark.parametrize(("before", "before_ms"), [(1, 0), (95, 5000)], ids=["new ones", "established ones"])
@pytest.mark.parametrize("host", HOSTS)
def test_many_ports_of_few_hosts_cost_other_senders_no_figure(rng, host, before, before_ms):
    crowd = Crowd(HONEST)
    crowd.send(before, before_ms)
    flood = [(HOSTS[host](n, rng), 1 + n) for n in range(PORTS)]
    crowd.flood(flood)
    crowd.send(100)
    crowd.flood(flood[:30_000], rounds=2, apart_ms=400)
    crowd.send(100, 1000)
    crowd.assert_exact()
    assert crowd.ledger.totals()["senders"] == SENDERS_MAX
    assert crowd.ledger.totals()["pushed_out"] >= len(HONEST) + PORTS - SENDERS_MAX


@pytest.mark.parametrize("host", ["one", "five"])
def test_many_established_ports_of_few_hosts_cost_other_senders_no_figure(rng, host):
    crowd = Crowd(HONEST)
    crowd.send(95)
    flood = [(HOSTS[host](n, rng), 1 + n) for n in range(SENDERS_MAX - len(HONEST))]
    crowd.flood(flood, rounds=ESTABLISHED_ENTRIES + 1, apart_ms=ESTABLISHED_MS // ESTABLISHED_ENTRIES)
    assert check_senders(crowd.ledger)[1] == SENDERS_MAX - NEW_MIN
    crowd.send(100, 5000)
    assert check_senders(crowd.ledger)[1] == SENDERS_MAX - NEW_MIN
    crowd.flood([(HOSTS[host](n, rng), 1 + n) for n in range(PORTS - 20_000, PORTS)], rounds=10, apart_ms=200)
    crowd.send(100, 5000)
    crowd.assert_exact()


@pytest.mark.parametrize("rounds", [1, 3, 2 * ESTABLISHED_ENTRIES])
def test_a_flood_of_forged_addresses_costs_established_senders_no_figure(rng, rounds):
    """They need not even send anything meanwhile. Each forged address is used for less than a second."""
    crowd = Crowd(HONEST)
    crowd.send(95, ESTABLISHED_MS + 100)
    assert check_senders(crowd.ledger) == (0, len(HONEST))
    forged = [(f"11.{n >> 16}.{n >> 8 & 255}.{n & 255}", 1) for n in rng.sample(range(1 << 24), 100_000)]
    crowd.flood(forged[:80_000])
    for start in range(80_000, 100_000, 1000):
        crowd.flood(forged[start : start + 1000], rounds)
    crowd.send(100, 1000)
    crowd.assert_exact()
    assert check_senders(crowd.ledger)[1] == len(HONEST)


def test_a_sender_is_established_after_eight_entries_and_not_before_a_second_has_passed():
    ledger = Ledger(bytes(16))
    for sequence in range(8):
        saw(ledger, "192.0.2.1", 514, sequence, sequence * 1000)
    assert check_senders(ledger) == (1, 0)
    saw(ledger, "192.0.2.1", 514, 8, 8 * 1000)
    assert check_senders(ledger) == (0, 1)
    for sequence in range(16):
        saw(ledger, "192.0.2.2", 514, sequence, 100_000)
    assert check_senders(ledger) == (1, 1)


def test_a_sender_that_begins_in_a_flood_of_forged_addresses_is_established_all_the_same(rng):
    """The flood turns over all places six times in the second that it takes."""
    crowd = Crowd([("192.0.2.1", 514), ("192.0.2.1", 515), ("192.0.2.2", 514)])
    crowd.flood([(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", 1) for n in range(SENDERS_MAX)])
    for second in range(10):
        crowd.send(50)
        first = 20_000 + second * 10_000
        crowd.flood([(f"11.{n >> 16}.{n >> 8 & 255}.{n & 255}", 1) for n in range(first, first + 10_000)])
    crowd.send(5)
    crowd.assert_exact()
    assert check_senders(crowd.ledger)[1] == len(crowd.senders)


def test_of_one_host_those_keep_their_places_that_have_sent_more():
    """A stranger beside an honest sender, on its machine or behind the same address."""
    crowd = Crowd([("203.0.113.1", 65_000), ("203.0.113.1", 65_001)])
    crowd.send(500)
    crowd.flood([("203.0.113.1", 1 + n) for n in range(PORTS)])
    crowd.send(25)
    crowd.assert_exact()


def test_the_host_with_most_senders_gives_up_places(rng):
    """A machine with 600 programs keeps them as long as others have more."""
    crowd = Crowd([("192.0.2.1", 1 + n) for n in range(600)])
    crowd.send(15)
    crowd.flood([(f"203.0.113.{n % 20}", 1 + n) for n in range(PORTS)], rounds=2)
    crowd.send(20)
    crowd.assert_exact()


def test_the_table_stays_whole_in_any_order(rng):
    """Senders of hosts of all sizes come, send on, are established, displaced and retired."""
    ledger = Ledger(SECRET)
    received = now_ms = 0
    for _ in range(60):
        hosts = [f"10.0.{rng.randrange(256)}.{rng.randrange(256)}" for _ in range(rng.choice([1, 3, 500]))]
        ports = rng.choice([1, 3, FEW, FEW + 1, 2000, 20_000])
        for _ in range(4_000):
            now_ms += rng.random() < 0.3
            for sequence in range(rng.choice([1, 1, 1, 2, 20])):
                saw(ledger, rng.choice(hosts), 1 + rng.randrange(ports), sequence, now_ms)
                received += 1
        if rng.random() < 0.2:
            ledger.retire(now_ms, rng.choice([0, 2000, 20_000]))
        check_senders(ledger)
    totals = ledger.totals()
    assert totals["received"] == received
    assert totals["retired"] > totals["pushed_out"] > 1000
    assert retire_all(ledger, now_ms, 0) == totals["senders"]
    assert check_senders(ledger) == (0, 0)


def test_senders_come_and_go_in_any_order_and_the_totals_stay_exact(ledger):
    rng = random.Random(7)
    gaps = retired = 0
    seen: dict[int, tuple[int, int]] = {}  # newest sequence and when, by port
    for now_ms in range(20_000):
        port = int(rng.expovariate(1 / 300)) + 1
        if port in seen:
            step = rng.choice([1, 1, 1, 2, 60, WINDOW])
            gaps += step - 1
            seen[port] = seen[port][0] + step, now_ms
        else:
            seen[port] = rng.randrange(2**63), now_ms
        feed(ledger, seen[port][0], port=port, now_ms=now_ms)
        if rng.random() < 0.01:
            idle = [port for port, (_, last_ms) in seen.items() if now_ms - last_ms >= 400]
            for port in idle:
                del seen[port]
            assert retire_all(ledger, now_ms, 400) == len(idle)
            retired += len(idle)
    totals = ledger.totals()
    assert retired > 1000
    assert (totals["received"], totals["senders"], totals["retired"]) == (20_000, len(seen), retired)
    assert totals["lost"] + totals["missing"] == gaps
    assert totals["late"] == totals["restarts"] == totals["repeated"] == 0


def test_memory_is_constant():
    ledger = Ledger(SECRET)
    following = saw_many(ledger, 20_000, 1, 1, 2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    saw_many(ledger, 60_000, 7919, following, 5, 3)
    assert ledger.totals()["senders"] == SENDERS_MAX
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8192  # KiB: the records at the most


# In 10.0.0.0/8, counted from 10.0.0.0: hosts whose port 1000 falls into one bucket by SipHash-1-3 with SECRET.
# fmt: off
COLLIDING = [
    0, 17984, 47959, 54424, 92131, 134855, 172131, 174309, 233541, 236645, 295412, 298215, 391411, 444983, 469655,
    490855, 494283,
]
# fmt: on


@pytest.mark.parametrize(("secret", "retired"), [(SECRET, [0] * 16 + [1]), (bytes(16), [0] * 17)])
def test_a_bucket_holds_16_senders(secret, retired):
    """Somebody who knows the secret can retire one sender of a bucket, and slow nothing down. Others cannot even do that."""
    ledger = Ledger(secret)
    for host, expected in zip(COLLIDING, retired, strict=True):
        feed(ledger, 1, 2, 3, address=f"10.{host >> 16}.{host >> 8 & 255}.{host & 255}")
        assert ledger.totals()["retired"] == expected
    assert ledger.totals()["senders"] == 17 - retired[-1]


def test_nothing_depends_on_the_secret():
    """Whatever shares a bucket: the figures are the same."""
    seen = []
    for secret in (bytes(16), b"\xff" * 16, SECRET):
        ledger = Ledger(secret)
        saw_many(ledger, 3000, 1, 1, 3, 7)
        seen.append(ledger.totals())
    assert seen[0] == seen[1] == seen[2]
    assert seen[0]["senders"] == 3000


@pytest.mark.parametrize("secret", [b"", bytes(15), bytes(17)])
def test_a_secret_of_another_size_rejected(secret):
    with pytest.raises(ValueError, match="instead of 16"):
        Ledger(secret)


def test_an_address_that_is_none_rejected(ledger):
    with pytest.raises(OSError, match="illegal IP address"):
        saw(ledger, "192.0.2", 1, 1, 0)
    assert ledger.totals()["received"] == 0
