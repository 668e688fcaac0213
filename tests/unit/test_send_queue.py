"""Which entry goes next, and which are held back."""

import json
import math

from fastlog.client.core import Outbox
from fastlog.client.options import checked_options
from fastlog.client.retransmit import Unacknowledged
from fastlog.client.send_queue import HOLD_SEC, HOLD_UNHEARD_SEC, SendQueue
from fastlog.limits import SEQUENCE_WINDOW

PLENTY = 60_000  # bytes of a datagram: room for every entry here


class Owner:
    """Has no thread."""

    def attend(self) -> None:
        pass


class Sending:
    """A queue, what it is filled from, and what it is emptied to."""

    def __init__(self, **given) -> None:
        options = checked_options(**given)
        self.outbox = Outbox(options, Owner())
        self.unacknowledged = Unacknowledged()
        self.queue = SendQueue(options, self.outbox, self.unacknowledged)

    def put(self, *messages: str) -> None:
        """Entries; those in capitals are priority entries."""
        for message in messages:
            self.outbox.put({"level": "ERROR" if message.isupper() else "INFO", "message": message})
        self.queue.fetch()

    def send(self, now: float = 0.0, limit_bytes: int = PLENTY) -> list[str] | float:
        """The messages of the next datagram, which is sent; or the time to ask again."""
        datagram = self.queue.next(now, limit_bytes)
        if isinstance(datagram, float):
            return datagram
        self.queue.sent_now(datagram, now)
        return [json.loads(line)["message"] for line in datagram.data.splitlines()]

    def send_all(self, now: float = 0.0) -> list[str]:
        """The messages of all datagrams that may be sent now."""
        messages: list[str] = []
        while isinstance(sent := self.send(now), list):
            messages += sent
        return messages


def test_entries_keep_their_order_and_their_sequences_have_no_gaps():
    ordered = Sending()
    ordered.put("a", "B", "c")
    datagram = ordered.queue.next(0.0, PLENTY)
    stored = [json.loads(line) for line in datagram.data.splitlines()]
    assert [entry["message"] for entry in stored] == ["a", "B", "c"]
    first = stored[0]["sequence"]
    assert [entry["sequence"] for entry in stored] == [first, first + 1, first + 2]
    ordered.queue.sent_now(datagram, 0.0)
    [(sequence, sent)] = ordered.unacknowledged.pending.items()
    assert (sequence, sent.line) == (first + 1, datagram.data.splitlines()[1])
    ordered.put("d")
    datagram = ordered.queue.next(0.0, PLENTY)
    assert json.loads(datagram.data)["sequence"] == first + 3


def test_a_datagram_that_was_not_sent_is_made_again():
    blocked = Sending()
    blocked.put("a", "B")
    first = blocked.queue.next(0.0, PLENTY)
    assert blocked.queue.next(0.0, PLENTY).data == first.data
    assert not blocked.unacknowledged.pending
    assert blocked.outbox.entries == (1, 1)


def test_a_datagram_has_room_for_what_fits_and_for_one_entry_at_least():
    packed = Sending(hostname="web")
    packed.put(*"abcdefgh")
    assert packed.send(limit_bytes=1) == ["a"]
    assert packed.send(limit_bytes=450) == ["b", "c", "d"]
    assert packed.send() == ["e", "f", "g", "h"]
    assert packed.send() == math.inf


def test_without_packing_each_entry_is_a_datagram():
    plain = Sending(pack=False)
    plain.put(*"abc")
    assert [plain.send(), plain.send(), plain.send(), plain.send()] == [["a"], ["b"], ["c"], math.inf]


def test_a_full_window_holds_back_everything_behind_a_priority_entry():
    full = Sending(window=2)
    full.put("A", "B", "c", "D", "e")
    assert full.send() == ["A", "B", "c"]
    assert full.send(now=1.0 - 0.01) == HOLD_UNHEARD_SEC
    full.unacknowledged.acknowledge(next(iter(full.unacknowledged.pending)), 0.5)
    assert full.send(now=0.5) == ["D", "e"]


def test_ordinary_entries_pass_a_full_window_in_the_end_and_priority_entries_go_first_when_there_is_room():
    full = Sending(window=1)
    full.put("A", "B", "c", "D", "e")
    assert full.send() == ["A"]
    assert full.send(now=HOLD_UNHEARD_SEC) == ["c", "e"]
    full.put("f")
    assert full.queue.is_past(1)
    assert not full.queue.is_past(2)
    full.unacknowledged.acknowledge(next(iter(full.unacknowledged.pending)), 2.0)
    assert full.send(now=2.0) == ["B"]
    assert full.queue.is_past(3)
    assert not full.queue.is_past(4)  # D still waits for the window
    assert full.send(now=2.0) == ["f"]
    assert not full.queue.is_past(4)
    full.unacknowledged.acknowledge(next(iter(full.unacknowledged.pending)), 3.0)
    assert full.send(now=3.0) == ["D"]
    assert full.queue.is_past(6)
    assert not full.queue.is_past(7)


def test_nothing_runs_further_ahead_of_an_unacknowledged_entry_than_the_window_of_sequences():
    ahead = Sending(queue_entries=5_000)
    ahead.put("LATE", *["ordinary"] * 2 * SEQUENCE_WINDOW)
    assert len(ahead.send_all(now=0.0)) == SEQUENCE_WINDOW
    assert ahead.send(now=HOLD_UNHEARD_SEC - 0.01) == HOLD_UNHEARD_SEC
    assert len(ahead.send_all(now=HOLD_UNHEARD_SEC)) == SEQUENCE_WINDOW + 1


def test_nothing_is_held_back_until_it_is_dropped():
    full = Sending(queue_entries=1_000)
    full.put("LATE", *["ordinary"] * 999)
    assert len(full.send_all()) == 1_000
    full.put(*["ordinary"] * 450)
    assert len(full.send_all()) == SEQUENCE_WINDOW - 1_000
    assert full.send() == HOLD_UNHEARD_SEC
    full.put(*["ordinary"] * 100)
    assert full.send_all()
    assert full.outbox.entries[0] < 500


def test_an_entry_that_has_held_back_others_for_its_time_takes_no_protection_from_those_after_it():
    lost = Sending(queue_entries=5_000)
    lost.put("HEARD")
    lost.send()
    lost.unacknowledged.acknowledge(next(iter(lost.unacknowledged.pending)), 0.0)
    lost.put("LOST", *["ordinary"] * 900)
    lost.send_all(now=0.0)
    lost.put("LATER", *["ordinary"] * 2_000)
    lost.send_all(now=5.0)
    assert len(lost.send_all(now=HOLD_SEC)) == 901  # up to a window after the later one


def test_an_entry_is_held_back_for_longer_once_the_server_acknowledges():
    heard = Sending(window=1)
    heard.put("A", "B", "C")
    assert heard.send() == ["A"]
    heard.unacknowledged.acknowledge(next(iter(heard.unacknowledged.pending)), 0.0)
    assert heard.send() == ["B"]
    assert heard.send() == HOLD_SEC


def test_lanes_are_released_by_what_is_sent_handed_over_or_dropped():
    lanes = Sending(window=1)
    lanes.put("A", "B", "c", "d")
    assert lanes.outbox.entries == (2, 2)
    assert lanes.send() == ["A"]
    assert lanes.outbox.entries == (2, 2)  # A waits for its ACK
    lanes.queue.hand_over_priority(lambda items: False)
    assert lanes.outbox.entries == (2, 2)
    taken = []
    lanes.queue.hand_over_priority(lambda items: taken.extend(items) or True)
    assert [json.loads(item.body)["message"] for item in taken] == ["B"]
    assert lanes.outbox.entries == (2, 1)
    assert lanes.send() == ["c", "d"]
    assert lanes.outbox.entries == (0, 1)
    lanes.put("e", "F")
    lanes.queue.drop()
    assert lanes.outbox.entries == (0, 1)
    assert lanes.outbox.dropped == {"INFO": 1, "ERROR": 1}
    assert lanes.outbox.bytes == (0, len(b'{"level":"ERROR","message":"A"}'))


def test_the_queue_is_not_past_an_ordinary_entry_that_a_later_priority_entry_may_pass():
    mixed = Sending(window=1)
    mixed.put("A", "B", "c", "d", "E")
    assert mixed.send() == ["A"]
    assert mixed.send(now=HOLD_UNHEARD_SEC, limit_bytes=1) == ["c"]
    mixed.unacknowledged.acknowledge(next(iter(mixed.unacknowledged.pending)), 2.0)
    assert mixed.send(now=2.0, limit_bytes=1) == ["B"]
    assert mixed.queue.is_past(3)
    assert not mixed.queue.is_past(4)
    assert mixed.send(now=2.0) == ["d"]


def test_the_queue_is_past_the_entries_it_has_sent():
    past = Sending()
    assert past.queue.is_past(0)
    assert not past.queue.is_past(1)
    past.put("a", "b")
    assert not past.queue.is_past(1)
    assert past.send(limit_bytes=1) == ["a"]
    assert past.queue.is_past(1)
    assert not past.queue.is_past(2)
    assert past.send() == ["b"]
    assert past.queue.is_past(2)
    assert not past.queue.is_past(3)
