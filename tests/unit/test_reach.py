"""Whether a server takes datagrams, by refusals that come late or not at all; without a network and without a clock."""

import itertools
import math
from random import Random

from fastlog.client.flight import KEPT_MAX, KEPT_MAX_BYTES, Flight, Kept
from fastlog.client.reach import (
    GENTLE_DATAGRAMS,
    REFUSAL_SEC,
    REMOTE_LONGEST_SEC,
    SHARED_LONGEST_SEC,
    SPACED_SEC,
    TRIES,
    UNHEARD_TRIES,
    Reach,
)


def far() -> Reach:
    """Of a server on another machine that has refused at time 0."""
    reach = Reach()
    reach.connected(-100.0, is_local=False, is_same=False)
    reach.refused(0.0)
    return reach


def attempt(reach: Reach, is_refused: bool) -> tuple[float, bool]:
    """The next try: when it was, and whether the server came up by it."""
    at = reach.try_at
    reach.begin_try(at)
    if is_refused:
        reach.refused(at + 0.001)
    return at, reach.settle(at + REFUSAL_SEC)


def tries_until_up(reach: Reach) -> list[float]:
    """The times of tries that nobody refuses, until the server is up."""
    times = []
    came_up = False
    while not came_up:
        at, came_up = attempt(reach, is_refused=False)
        times.append(at)
    return times


def test_tries_at_another_machine_are_spaced_wider_than_its_limit_of_refusals():
    reach = far()
    times = [attempt(reach, is_refused=True)[0] for _ in range(20)]
    for before, after in itertools.pairwise(times[5:]):
        assert SPACED_SEC < after - before <= REMOTE_LONGEST_SEC * 1.25


def test_silence_after_a_refusal_is_believed_after_several_spaced_tries():
    reach = far()
    times = tries_until_up(reach)
    spaced = [after for before, after in itertools.pairwise([0.0, *times]) if after - before >= SPACED_SEC]
    assert len(spaced) >= TRIES
    assert times[-1] < 6
    assert not reach.was_taken  # that may still be wrong


def test_while_an_entry_waits_only_its_ack_says_soon_that_the_server_is_up():
    reach = far()
    reach.waits(0.0, True)
    for _ in range(UNHEARD_TRIES - 1):
        assert not attempt(reach, is_refused=False)[1]
    assert reach.heard()
    assert not reach.is_down
    assert not reach.gentle.is_on


def test_after_one_unrefused_try_an_entry_of_a_file_may_ask_for_an_ack():
    reach = far()
    attempt(reach, is_refused=True)
    assert not reach.may_be_up
    while not reach.may_be_up:
        attempt(reach, is_refused=False)
    assert reach.is_down
    attempt(reach, is_refused=True)
    assert not reach.may_be_up


def test_a_server_that_does_not_acknowledge_is_believed_to_be_up_in_the_end():
    reach = far()
    reach.waits(0.0, True)
    assert UNHEARD_TRIES * SPACED_SEC < tries_until_up(reach)[-1] < 60
    assert reach.gentle.is_on


def test_where_others_use_up_the_refusals_tries_get_rarer():
    reach = far()
    waits = []
    for _ in range(40):
        attempt(reach, is_refused=False)
        at, came_up = attempt(reach, is_refused=True)
        assert not came_up
        waits.append(reach.try_at - at)
    assert SHARED_LONGEST_SEC * 0.9 < waits[-1] <= SHARED_LONGEST_SEC * 1.25
    assert reach.heard()
    reach.refused(1e6)
    for _ in range(10):
        at, _ = attempt(reach, is_refused=True)
    assert reach.try_at - at <= REMOTE_LONGEST_SEC * 1.25


def test_a_gentle_start_sends_little_until_nobody_has_refused_it_for_a_while():
    reach = far()
    now = tries_until_up(reach)[-1] + REFUSAL_SEC
    for most in GENTLE_DATAGRAMS:
        for _ in range(most):
            assert reach.gentle.send_at(now) == now
            assert reach.is_doubtful(now)
            reach.gentle.sent()
        assert reach.gentle.send_at(now) > now
        now = reach.next_at()
        reach.settle(now)
    assert reach.gentle.send_at(now) == now
    assert not reach.is_doubtful(now)
    assert reach.was_taken
    assert reach.next_at() == math.inf


def test_a_refusal_ends_a_gentle_start():
    reach = far()
    now = tries_until_up(reach)[-1] + 1
    reach.refused(now)
    assert reach.is_down
    assert not reach.gentle.is_on


def test_refusals_of_what_was_under_way_do_not_put_off_the_next_try():
    reach = far()
    first = reach.try_at
    for number in range(10):
        reach.refused(number / 1000)
    assert reach.try_at == first


def test_a_server_on_this_machine_is_believed_at_once():
    reach = Reach()
    reach.connected(0.0, is_local=True, is_same=False)
    reach.refused(0.0)
    reach.begin_try(reach.try_at)
    assert reach.settle(reach.try_at if reach.try_at < math.inf else 0.05)
    assert not reach.gentle.is_on
    assert not reach.is_down


def test_what_is_kept_has_a_limit_in_number_and_in_bytes():
    flight = Flight()
    for number in range(5 * KEPT_MAX):
        flight.keep(Kept(b"x", 1, float(number) / 1000))
    assert len(flight.kept) == KEPT_MAX
    for number in range(100):
        flight.keep(Kept(b"x" * 60_000, 1, 10.0 + number / 1000))
    assert sum(len(kept.data) for kept in flight.kept) <= KEPT_MAX_BYTES
    kept = flight.refused(0.0)
    assert len(kept) + flight.lost == 5 * KEPT_MAX + 100
    assert flight.lost_entries == flight.lost


def test_what_is_counted_has_a_limit():
    flight = Flight()
    rng = Random(1)
    now = 0.0
    for _ in range(100_000):
        now += rng.random()
        flight.count(1, now)
    assert len(flight._steps) < 100
