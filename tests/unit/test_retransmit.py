"""When entries are retransmitted: the numbers of RFC 6298, Karn's rule, and one at a time to a silent server."""

import math

import pytest

from fastlog.client.retransmit import SHORTEST_TIMEOUT_SEC, SILENT_AFTER, STEADY, Timeout, Unacknowledged
from fastlog.limits import FIRST_TIMEOUT_SEC, LONGEST_TIMEOUT_SEC, TIMEOUT_JITTER


def test_the_time_out_is_that_of_rfc_6298():
    timeout = Timeout()
    assert timeout.seconds == FIRST_TIMEOUT_SEC
    timeout.measured(0.1)
    assert (timeout.round_trip, timeout.seconds) == (0.1, pytest.approx(0.1 + 4 * 0.05))
    timeout.measured(0.2)
    variation = 0.05 * 3 / 4 + 0.1 / 4
    assert timeout.round_trip == pytest.approx(0.1 * 7 / 8 + 0.2 / 8)
    assert timeout.seconds == pytest.approx(timeout.round_trip + 4 * variation)


def test_the_time_out_has_limits():
    timeout = Timeout()
    for _ in range(100):
        timeout.measured(0.0001)
    assert timeout.seconds == SHORTEST_TIMEOUT_SEC
    for _ in range(100):
        timeout.ran_out()
    assert timeout.seconds == LONGEST_TIMEOUT_SEC


def test_a_retransmitted_entry_measures_nothing():
    again = Unacknowledged()
    again.add(1, b"a", 0.0)
    [sent] = again.due(10.0)
    assert list(again.retransmit([sent], 0, 10.0)) == [sent.line]
    assert again.acknowledge(1, 10.001) is sent
    assert again.timeout.round_trip is None
    assert again.acknowledge(1, 10.002) is None
    assert again.due(math.inf) == []


def test_time_outs_are_jittered_double_and_start_anew_with_an_ack():
    lost = Unacknowledged()
    lost.add(1, b"a", 0.0)
    now, waits = 0.0, []
    for _ in range(SILENT_AFTER - 1):
        due_at = lost.next_at
        assert lost.due(due_at - 0.001) == []
        [sent] = lost.due(due_at)
        waits.append(due_at - now)
        now = due_at
        assert list(lost.retransmit([sent], 0, now)) == [sent.line]
    for number, wait in enumerate(waits):
        expected = min(0.5 * 2 ** max(0, number - STEADY), LONGEST_TIMEOUT_SEC)
        assert expected <= wait <= expected * (1 + TIMEOUT_JITTER)
    lost.add(2, b"b", now)
    assert lost.acknowledge(2, now + 0.1)
    assert lost.timeout.doublings == 0


def test_many_time_outs_at_once_count_once():
    lost = Unacknowledged()
    for sequence in range(100):
        lost.add(sequence, b"a", 0.0)
    assert list(lost.retransmit(lost.due(1.0), 0, 1.0)) == [b"a"] * 100
    assert list(lost.retransmit(lost.due(2.0), 0, 2.0)) == [b"a"] * 100
    assert not lost.silent
    assert lost.timeout.doublings == 0


def test_a_silent_server_is_asked_with_the_newest_entry_until_it_answers():
    silent = Unacknowledged()
    for sequence in range(10):
        silent.add(sequence, b"a", 0.0)
    now = 0.0
    while not silent.silent:
        now += 100
        list(silent.retransmit(silent.due(now), 0, now))
    for _ in range(5):
        assert silent.due(silent.next_at - 0.001) == []
        now = silent.next_at
        [sent] = silent.due(now)
        assert sent.sequence == 9
        assert list(silent.retransmit([sent], 0, now)) == [sent.line]
        assert silent.next_at <= now + LONGEST_TIMEOUT_SEC * (1 + TIMEOUT_JITTER)
    assert silent.acknowledge(9, now)
    assert [sent.sequence for sent in silent.due(now)] == list(range(9))


def test_entries_are_given_up_by_their_age():
    old = Unacknowledged()
    for sequence in range(10):
        old.add(sequence, b"a", float(sequence))
    assert [sent.sequence for sent in old.give_up(4.0)] == [0, 1, 2, 3, 4]
    assert list(old.pending) == [5, 6, 7, 8, 9]


def test_retransmissions_share_datagrams_up_to_a_size():
    lost = Unacknowledged()
    for sequence, line in enumerate((b"aaaa", b"bbbb", b"c" * 20, b"d", b"e")):
        lost.add(sequence, line, 0.0)
    assert list(lost.retransmit(lost.pending.values(), 9, 10.0)) == [b"aaaa\nbbbb", b"c" * 20, b"d\ne"]
    assert lost.retransmitted == 5
    assert {sent.sent_at for sent in lost.pending.values()} == {10.0}
