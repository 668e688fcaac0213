"""When entries are retransmitted: the numbers of RFC 6298, Karn's rule, one at a time to a silent server, and a back-off
and an end for each entry."""

import math
from collections.abc import Iterable

import pytest

from fastlog.client.retransmit import (
    CREDIT_FIRST,
    CREDIT_LEAST,
    CREDIT_PER_ACK,
    HOPELESS_TRIES,
    LONGEST_BACKOFF_SEC,
    QUICK_TRIES,
    SHORTEST_TIMEOUT_SEC,
    SILENT_AFTER,
    STEADY,
    Loss,
    Sent,
    Timeout,
    Unacknowledged,
    datagram_of,
    packed,
)
from fastlog.limits import FIRST_TIMEOUT_SEC, LONGEST_TIMEOUT_SEC, SEQUENCE_WINDOW, TIMEOUT_JITTER


def retransmit(unacknowledged: Unacknowledged, due: Iterable[Sent], limit_bytes: int, now: float) -> list[bytes]:
    """Sends due entries again. Returns the datagrams."""
    groups = list(packed(due, limit_bytes))
    for group in groups:
        unacknowledged.sent_again(group, now)
    return [datagram_of(group) for group in groups]


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
    assert retransmit(again, [sent], 0, 10.0) == [sent.line]
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
        assert retransmit(lost, [sent], 0, now) == [sent.line]
    for number, wait in enumerate(waits):
        expected = min(0.5 * 2 ** max(0, number - STEADY), LONGEST_TIMEOUT_SEC)
        assert expected <= wait <= expected * (1 + TIMEOUT_JITTER)
    lost.add(2, b"b", now)
    assert lost.acknowledge(2, now + 0.1)
    assert lost.timeout.doublings == 0


def test_many_time_outs_at_once_count_once():
    lost = Unacknowledged()
    for sequence in range(CREDIT_FIRST // 2):
        lost.add(sequence, b"a", 0.0)
    assert retransmit(lost, lost.due(1.0), 0, 1.0) == [b"a"] * (CREDIT_FIRST // 2)
    assert retransmit(lost, lost.due(2.0), 0, 2.0) == [b"a"] * (CREDIT_FIRST // 2)
    assert not lost.silent
    assert lost.timeout.doublings == 0


def test_a_silent_server_is_asked_with_the_newest_entry_until_it_answers():
    silent = Unacknowledged()
    for sequence in range(10):
        silent.add(sequence, b"a", 0.0)
    now = 0.0
    while not silent.silent:
        now += 100
        retransmit(silent, silent.due(now), 0, now)
    for _ in range(5):
        assert silent.due(silent.next_at - 0.001) == []
        now = silent.next_at
        [sent] = silent.due(now)
        assert sent.sequence == 9
        assert retransmit(silent, [sent], 0, now) == [sent.line]
        assert silent.next_at <= now + LONGEST_TIMEOUT_SEC * (1 + TIMEOUT_JITTER)
    assert silent.acknowledge(9, now)
    assert [sent.sequence for sent in silent.due(now)] == list(range(CREDIT_LEAST))


def test_an_entry_that_finds_no_room_is_due_when_there_may_be_some():
    full = Unacknowledged()
    for sequence in range(10):
        full.add(sequence, b"a", 0.0)
    due = full.due(1.0)
    retransmit(full, due[:4], 0, 1.0)
    full.put_back(due[4:], 1.01)
    assert full.next_at == 1.01
    assert full.due(1.01) == due[4:]
    full.fall_silent(2.0)
    [asked] = full.due(2.0)
    full.put_back([asked], 2.01)
    assert full.next_at == 2.01
    assert full.due(2.01) == [asked]


def test_a_server_that_comes_back_gets_the_entries_as_fast_as_it_acknowledges_them():
    back = Unacknowledged()
    for sequence in range(SEQUENCE_WINDOW):
        back.add(sequence, b"a", 0.0)
    back.fall_silent(1.0)
    assert back.acknowledge(SEQUENCE_WINDOW - 1, 2.0)
    found = back.due(2.0)
    retransmit(back, found, 0, 2.0)
    assert len(found) == CREDIT_LEAST
    assert back.due(2.0) == []
    for sent in found:
        assert back.acknowledge(sent.sequence, 2.1)
    assert len(back.due(2.1)) == CREDIT_LEAST * CREDIT_PER_ACK
    assert len(back.due(2.1 + LONGEST_TIMEOUT_SEC)) == CREDIT_LEAST  # without any ACK meanwhile


def passed_over(again: Unacknowledged, tries: int) -> float:
    """Acknowledges ten entries after each try of the entry 0. Returns the time of the last try."""
    again.add(0, b"a", 0.0)
    now = 0.0
    for sequence in range(1, 10 * tries, 10):
        for later in range(sequence, sequence + 10):
            again.add(later, b"b", now + 0.001)
            again.acknowledge(later, now + 0.002)
        now = max(now, again.next_at)
        while not (due := again.due(now)):
            now = again.next_at
        assert retransmit(again, due, 0, now) == [b"a"]
    return now


def test_an_entry_that_the_server_passes_over_has_a_back_off_of_its_own_and_is_hopeless_in_the_end():
    again = Unacknowledged()
    for sequence in range(1000, 1100):  # the network loses nothing
        again.add(sequence, b"b", -1.0)
        again.acknowledge(sequence, -0.999)
    assert again.loss.quick_tries == QUICK_TRIES
    assert again.loss.hopeless_tries == HOPELESS_TRIES
    now = passed_over(again, HOPELESS_TRIES - 1)
    assert again.hopeless() == []
    assert again.next_at - now >= 4 * SHORTEST_TIMEOUT_SEC
    again = Unacknowledged()
    passed_over(again, 60)
    [sent] = again.hopeless()
    assert (sent.sequence, sent.times) == (0, 61)
    assert not again.pending
    assert again.stalled == 0
    assert again.next_at == math.inf


def test_the_back_off_of_an_entry_has_a_limit():
    again = Unacknowledged()
    now = passed_over(again, 60)
    assert LONGEST_BACKOFF_SEC <= again._schedule.next_at - now <= LONGEST_BACKOFF_SEC * (1 + TIMEOUT_JITTER)


def test_a_silent_server_that_cannot_be_asked_now_is_asked_later():
    silent = Unacknowledged()
    silent.add(0, b"a", 0.0)
    silent.fall_silent(1.0)
    silent.put_back(silent.due(1.0), 1.5)  # no room
    assert silent.next_at == 1.5
    assert silent.due(1.4) == []


def test_what_a_silent_server_did_not_acknowledge_is_not_hopeless():
    silent = Unacknowledged()
    silent.add(0, b"a", 0.0)
    now = 0.0
    for _ in range(100):
        now = silent.next_at
        retransmit(silent, silent.due(now), 0, now)
    silent.add(1, b"b", now)
    silent.acknowledge(1, now)
    assert silent.hopeless() == []
    [sent] = silent.due(now)
    retransmit(silent, [sent], 0, now)
    assert silent.hopeless() == []
    longest = SHORTEST_TIMEOUT_SEC * 2 ** (SILENT_AFTER + 1 - QUICK_TRIES) * (1 + TIMEOUT_JITTER)
    assert silent.next_at - now <= longest  # its back-off is what it was before


def test_where_much_is_lost_more_tries_are_quick_and_it_takes_more_of_them_to_be_hopeless():
    loss = Loss()
    for _ in range(100):
        loss.measured(2)
    assert (loss.quick_tries, loss.hopeless_tries) == (17, 24)
    for _ in range(1000):
        loss.measured(1)
    assert (loss.quick_tries, loss.hopeless_tries) == (QUICK_TRIES, HOPELESS_TRIES)


def test_times_of_acknowledged_entries_do_not_pile_up():
    busy = Unacknowledged()
    for sequence in range(100_000):
        busy.add(sequence, b"a", 0.0)
        busy.acknowledge(sequence, 0.001)
        busy.due(0.001)
    assert len(busy._schedule._times) <= 2 * SEQUENCE_WINDOW


def test_entries_are_given_up_by_their_age_when_they_were_tried_again_and_had_time_for_an_ack():
    old = Unacknowledged()
    for sequence in range(10):
        old.add(sequence, b"a", float(sequence))
    given_up, again = old.overdue(4.0, 100.0, may_try=True)
    assert given_up == []
    assert [sent.sequence for sent in again] == [0, 1, 2, 3, 4]
    old.sent_again(again, 100.0)
    assert old.overdue(4.0, 100.0 + FIRST_TIMEOUT_SEC - 0.01, may_try=True) == ([], [])
    assert old.overdue(4.0, 100.0 + FIRST_TIMEOUT_SEC, may_try=True) == (again, [])
    assert list(old.pending) == [5, 6, 7, 8, 9]
    given_up, again = old.overdue(5.0, 100.0, may_try=False)
    assert ([sent.sequence for sent in given_up], again) == ([5], [])


def test_retransmissions_share_datagrams_up_to_a_size():
    lost = Unacknowledged()
    for sequence, line in enumerate((b"aaaa", b"bbbb", b"c" * 20, b"d", b"e")):
        lost.add(sequence, line, 0.0)
    assert retransmit(lost, lost.pending.values(), 9, 10.0) == [b"aaaa\nbbbb", b"c" * 20, b"d\ne"]
    assert lost.retransmitted == 5
    assert {sent.sent_at for sent in lost.pending.values()} == {10.0}


def test_what_another_socket_hears_counts():
    other, replay = Unacknowledged(), Unacknowledged()
    other.add(1, b"a", 0.0)
    replay.add(7, b"b", 0.0)
    assert other.acknowledge(1, 0.1)
    for number in range(1, replay.loss.hopeless_tries + 1):
        assert replay.hopeless() == []
        other.add(number, b"a", number + 0.5)
        assert other.acknowledge(number, number + 0.6)
        replay.learn_from(other)
        replay.sent_again(list(replay.pending.values()), float(number + 1))
    assert [sent.sequence for sent in replay.hopeless()] == [7]
    assert replay.timeout.round_trip == pytest.approx(0.1)
