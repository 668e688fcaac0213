"""Entries and levels that the server does not acknowledge, and what becomes of entries that were sent."""

import math

from fastlog.client.core import Outbox
from fastlog.client.delivery import TAKEN_ASKS, Delivery
from fastlog.client.options import checked_options
from fastlog.client.retransmit import LONGEST_BACKOFF_SEC, Sent, Unacknowledged
from fastlog.client.send_queue import SendQueue
from fastlog.client.unheard import FIRST_WAIT_SEC, LEVEL_AFTER, ONCE_MAX, PACE_SEC, PER_ACK, Unheard
from fastlog.entry import LEVELS
from fastlog.limits import SEQUENCE_WINDOW

INFO, WARNING, ERROR = map(LEVELS.index, ("INFO", "WARNING", "ERROR"))
WITH_WARNING = ("WARNING", "ERROR", "CRITICAL")


def sent(sequence: int, first_at: float = 0.0) -> Sent:
    return Sent(sequence, b"line", None, first_at, first_at)


def tries(unheard: Unheard, until: float) -> list[tuple[float, int]]:
    """When entries are tried again up to that time, and their sequences."""
    found = []
    while unheard.next_at <= until:
        now = unheard.next_at
        while entry := unheard.due(now):
            unheard.sent_again(entry, now)
            found.append((now, entry.sequence))
    return found


def test_an_entry_that_was_set_aside_is_tried_again_with_a_back_off_until_it_is_given_up():
    unheard = Unheard(give_up_sec=300.0)
    unheard.set_aside([sent(7)], 0.0)
    times = [at for at, _ in tries(unheard, 299.0)]
    waits = [after - before for before, after in zip([0.0, *times], times, strict=False)]
    assert waits == [min(FIRST_WAIT_SEC * 2**n, LONGEST_BACKOFF_SEC) for n in range(len(waits))]
    assert len(waits) == 9
    assert unheard.overdue() == []
    assert tries(unheard, 301.0) == []
    assert [entry.sequence for entry in unheard.overdue()] == [7]
    assert not unheard.aside
    assert unheard.next_at == math.inf


def test_entries_that_were_set_aside_keep_a_pace_however_many_they_are():
    unheard = Unheard(math.inf)
    unheard.set_aside(map(sent, range(1000)), 0.0)
    assert len(tries(unheard, 100.0)) <= 100 / PACE_SEC + 1


def test_an_ack_of_one_lets_others_go_at_once():
    unheard = Unheard(math.inf)
    unheard.set_aside(map(sent, range(100)), 0.0)
    [(now, sequence)] = tries(unheard, FIRST_WAIT_SEC)
    assert unheard.acknowledge(sequence).sequence == sequence
    assert unheard.acknowledge(sequence) is None
    assert len(tries(unheard, now)) == PER_ACK


class Sending:
    """All that a client has for its priority entries, without a network."""

    def __init__(self, **given) -> None:
        options = checked_options(priority_levels=WITH_WARNING, **given)
        self.outbox = Outbox(options, None)
        self.unacknowledged = Unacknowledged()
        self.queue = SendQueue(options, self.outbox, self.unacknowledged)
        self.unheard = Unheard(options.give_up_sec)
        self.delivery = Delivery(options, self.outbox, self.unacknowledged, self.queue, self.unheard)

    def put(self, level: str, number: int = 1) -> None:
        for _ in range(number):
            self.outbox.put({"level": level, "message": "m"})
        self.queue.fetch()

    def send(self, now: float) -> list[tuple[int, int]]:
        """Sends all that may be sent. Returns sequences and levels."""
        found = []
        while not isinstance(datagram := self.queue.next(now, 60_000), float):
            self.queue.sent_now(datagram, now)
            self.unheard.sent_ordinary(datagram.once)
            found += [(sequence, item.level) for sequence, _, item in datagram.priority] + datagram.once
        return found

    def pass_over(self, now: float, set_aside=None) -> None:
        """The server acknowledges only what is sent later than these tries."""
        for entry in self.unacknowledged.pending.values():
            entry.passed = 1000
        self.unacknowledged.has_heard(now, now)
        self.unacknowledged.sent_again(list(self.unacknowledged.pending.values()), now)
        self.delivery.pass_over(now, set_aside)


def test_a_level_is_unheard_after_several_entries_and_then_holds_up_nothing():
    level = Sending(window=32)
    level.put("WARNING", LEVEL_AFTER - 1)
    level.send(0.0)
    level.pass_over(1.0)
    assert not level.unheard.levels
    level.put("WARNING", 40)
    level.send(1.0)
    assert len(level.unacknowledged.pending) < 40
    level.pass_over(2.0)
    assert level.unheard.levels == {WARNING}
    assert not level.unacknowledged.pending
    level.put("WARNING")
    found = level.send(2.0)
    assert [kind for _, kind in found] == [WARNING] * level.unheard.sent_once
    assert len(level.unheard.aside) + level.unheard.sent_once == LEVEL_AFTER + 40
    assert level.outbox.entries == (0, len(level.unheard.aside))


def test_an_ack_of_the_level_in_time_keeps_it():
    level = Sending()
    for now in range(10):
        level.put("WARNING", LEVEL_AFTER)
        (first, _), *_ = level.send(now)
        level.delivery.take_acks([first], now)
        level.pass_over(now + 0.5)
    assert not level.unheard.levels


def test_entries_that_are_too_long_say_nothing_of_their_level():
    """Later entries of the level are acknowledged."""
    level = Sending()
    level.put("ERROR", 2 * LEVEL_AFTER)
    level.send(0.0)
    level.put("ERROR")
    [(short, _)] = level.send(0.1)
    level.delivery.take_acks([short], 0.2)
    level.pass_over(1.0)
    assert len(level.unheard.aside) == 2 * LEVEL_AFTER
    assert not level.unheard.levels


def test_the_ack_of_an_entry_that_was_sent_once_ends_it_at_once():
    level = Sending()
    level.put("WARNING", LEVEL_AFTER)
    level.send(0.0)
    level.pass_over(1.0)
    level.put("WARNING", 2)
    (first, _), _ = level.send(2.0)
    assert (level.unheard.sent_once, level.unacknowledged.pending) == (2, {})
    assert level.delivery.take_acks([first], 3.0) == -math.inf
    assert (level.unheard.levels, level.unheard.sent_once, level.delivery.counts.acknowledged_once) == (set(), 1, 1)
    assert level.unheard.next_at <= 3.0  # those that were set aside are tried again
    level.put("WARNING")
    [(third, _)] = level.send(3.0)
    assert list(level.unacknowledged.pending) == [third]


def test_only_the_last_entries_that_were_sent_once_are_remembered():
    unheard = Unheard(math.inf)
    unheard.sent_ordinary((sequence, ERROR) for sequence in range(ONCE_MAX + 1))
    assert unheard.acknowledge_once(0) is None
    assert unheard.acknowledge_once(1) == ERROR
    assert unheard.sent_once == ONCE_MAX


def test_entries_of_an_unheard_level_that_were_set_aside_are_tried_once_a_while():
    unheard = Unheard(math.inf)
    unheard.is_unheard(WARNING, 0.0)
    outbox = Sending()
    outbox.put("WARNING", 100)
    outbox.send(0.0)
    unheard.set_aside(outbox.unacknowledged.pending.values(), 0.0)
    assert [at for at, _ in tries(unheard, 3 * LONGEST_BACKOFF_SEC)] == [LONGEST_BACKOFF_SEC * n for n in (1, 2, 3)]


def test_with_a_file_for_them_entries_that_are_passed_over_leave_the_memory():
    spilling = Sending()
    kept: list[bytes] = []
    spilling.put("ERROR", 2)
    spilling.send(0.0)
    spilling.pass_over(1.0, lambda lines: False)
    assert (len(spilling.unheard.aside), spilling.delivery.counts.set_aside) == (2, 0)
    spilling.delivery.pass_over(2.0, lambda lines: kept.extend(lines) or True)  # the disk takes them again
    assert (len(kept), spilling.delivery.counts.set_aside) == (2, 2)
    spilling.put("ERROR")
    spilling.send(1.0)
    spilling.pass_over(3.0, lambda lines: False)
    spilling.delivery.end(lambda lines: kept.extend(lines) or True)
    assert (len(kept), spilling.delivery.counts.set_aside, spilling.delivery.counts.given_up) == (3, 3, 0)
    assert spilling.outbox.entries == (0, 0)


def test_a_server_that_takes_what_it_is_asked_and_never_answers_acknowledges_none_of_these_levels():
    none = Sending()
    none.put("ERROR", 5)
    none.send(0.0)
    none.unacknowledged.fall_silent(1.0)
    for _ in range(TAKEN_ASKS):  # one that hangs does not empty its receive buffer
        none.delivery.is_asked_again(True, 1.0)
        none.delivery.is_asked_again(False, 1.0)
    assert not none.unheard.levels
    for _ in range(TAKEN_ASKS):
        none.delivery.is_asked_again(True, 1.0)
    assert none.unheard.levels == {ERROR}
    assert not none.unacknowledged.silent
    none.put("CRITICAL")
    [(sequence, _)] = none.send(2.0)
    none.delivery.take_acks([sequence], 3.0)  # so it does acknowledge something
    assert none.unheard.levels == set()


def test_entries_that_the_server_passes_over_leave_half_of_the_lane_to_newer_ones():
    full = Sending(queue_entries=100)
    full.put("ERROR", 60)
    sent = [sequence for sequence, _ in full.send(0.0)]
    full.pass_over(1.0)
    assert list(full.unheard.aside) == sent
    full.delivery.make_room()
    assert full.outbox.entries == (0, 49)
    assert list(full.unheard.aside) == sent[11:]  # the oldest are given up
    assert full.delivery.counts.given_up == 11
    full.delivery.make_room()
    assert full.delivery.counts.given_up == 11


def test_time_in_which_the_thread_did_not_run_does_not_count():
    stopped = Sending(give_up_sec=10.0)
    stopped.put("ERROR")
    stopped.send(0.0)
    stopped.delivery.slept(100.0)
    assert stopped.delivery.give_up_overdue(100.1, may_try=True) == []
    [again] = stopped.delivery.give_up_overdue(110.6, may_try=True)
    stopped.unacknowledged.sent_again([again], 110.6)
    assert stopped.delivery.give_up_overdue(111.0, may_try=True) == []
    assert stopped.delivery.counts.given_up == 0
    stopped.delivery.give_up_overdue(111.2, may_try=True)
    assert stopped.delivery.counts.given_up == 1


def test_in_a_nearly_full_lane_the_oldest_entries_of_the_lowest_level_are_sent_once():
    full = Sending(window=1, queue_entries=100)
    full.put("ERROR", 5)
    full.put("WARNING", 90)
    full.send(0.0)
    full.send(10.0)  # the hold is over
    full.queue.relieve()
    assert full.outbox.entries in ((89, 6), (90, 5))
    found = full.send(10.0)
    assert {kind for _, kind in found} == {WARNING}
    assert full.unheard.sent_once == len(found)


def test_a_higher_level_finds_places_in_the_window_that_lower_ones_do_not_get():
    window = Sending(queue_entries=5_000)
    window.put("WARNING", SEQUENCE_WINDOW)
    window.send(0.0)
    window.put("ERROR", SEQUENCE_WINDOW)
    window.put("CRITICAL")
    window.send(0.0)
    window.send(20.0)  # the hold is over: entries wait by level
    window.send(20.0)
    kinds = [entry.item.level for entry in window.unacknowledged.pending.values()]
    assert kinds.count(WARNING) < SEQUENCE_WINDOW
    assert kinds.count(ERROR) > 0
    assert kinds.count(LEVELS.index("CRITICAL")) == 1


def test_a_silent_server_is_asked_with_the_newest_entry_that_waits():
    silent = Sending(window=1)
    silent.put("ERROR", 3)
    silent.send(0.0)
    silent.send(20.0)
    silent.unacknowledged.fall_silent(20.0, 1.0)
    assert silent.send(20.5) == []
    [(sequence, _)] = silent.send(21.0)
    assert silent.unacknowledged.pending[sequence].item.number == 2
    assert silent.send(21.0) == []  # until the next time
    assert not silent.queue.is_past(2)
    silent.delivery.take_acks([sequence], 21.1)
    [(sequence, _)] = silent.send(21.1)
    assert silent.unacknowledged.pending[sequence].item.number == 1
