"""The sending engine against a socket that the test reads: sequences, pace, ACKs, retransmissions."""

import json
import socket
from datetime import UTC, datetime, timedelta
from threading import Thread
from time import monotonic_ns

import pytest

from fastlog.loadtest._sender import Sender
from tests.helpers.running import PATIENCE_SEC, WINDOW, eventually

FIRST = 1_999_999_999_999_990  # a carry over many digits is near
ENTRY = b'{"sequence":1000000000000000,"level":"INFO","message":"m"}'
DIGITS_AT = 12
STAMPED = b'{"sequence":1000000000000000,"level":"INFO","message":"m","timestamp":"2026-11-24T07:00:00.000000Z"}'
TIMESTAMP_AT = STAMPED.index(b"2026")
NEVER = 1 << 62


@pytest.fixture
def two_ends(closing):
    """A sender's socket and the server's end of it."""
    far = closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    far.bind(("127.0.0.1", 0))
    far.settimeout(PATIENCE_SEC)
    near = closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    near.connect(far.getsockname())
    return near, far


def test_sequences_count_up_over_every_carry(two_ends):
    near, far = two_ends
    sender = Sender(near.fileno(), [(ENTRY, DIGITS_AT, 0, False)], FIRST, 0)
    sender.run(100, 0, monotonic_ns(), NEVER)
    received = [json.loads(far.recv(100)) for _ in range(100)]
    assert [entry["sequence"] for entry in received] == list(range(FIRST, FIRST + 100))
    assert sender.sent_bytes == 100 * len(ENTRY)


def test_the_timestamp_is_the_time_of_sending(two_ends):
    near, far = two_ends
    sender = Sender(near.fileno(), [(STAMPED, DIGITS_AT, TIMESTAMP_AT, False)], FIRST, 0)
    began = datetime.now(UTC)
    sender.run(5, 100, monotonic_ns(), NEVER)
    times = [datetime.fromisoformat(json.loads(far.recv(200))["timestamp"]) for _ in range(5)]
    clocks_differ = timedelta(milliseconds=1)
    assert began - clocks_differ < times[0] < times[-1] < datetime.now(UTC) + clocks_differ
    assert times == sorted(times)
    assert times[-1] > began + timedelta(milliseconds=40) - clocks_differ  # the fifth is due then


def test_a_retransmission_is_the_same_bytes_with_the_time_of_the_first_sending(two_ends):
    near, far = two_ends
    sender = Sender(near.fileno(), [(STAMPED, DIGITS_AT, TIMESTAMP_AT, True)], FIRST, PATIENCE_SEC * 10**9)
    thread = Thread(target=sender.run, args=(3, 100, monotonic_ns(), NEVER))
    thread.start()
    sent = [far.recvfrom(200) for _ in range(3)]
    again = [far.recvfrom(200) for _ in range(3)]
    sender.stop()
    thread.join(PATIENCE_SEC)
    assert sorted(again) == sent


def test_a_sender_is_never_ahead_of_its_pace_and_sends_the_exact_count(two_ends):
    near, _ = two_ends
    rate, count = 20_000, 1_000
    sender = Sender(near.fileno(), [(ENTRY, DIGITS_AT, 0, False)], FIRST, 0)
    begin = monotonic_ns()
    thread = Thread(target=sender.run, args=(count, rate, begin, NEVER))
    thread.start()
    while thread.is_alive():
        sent = sender.sent
        assert sent <= (monotonic_ns() - begin) * rate / 1e9 + 1
        thread.join(0.001)
    assert sender.sent == count


def test_what_is_late_is_made_up_for(two_ends):
    """A second late, all of it is due at once."""
    near, _ = two_ends
    sender = Sender(near.fileno(), [(ENTRY, DIGITS_AT, 0, False)], FIRST, 0)
    sender.run(300, 1000, monotonic_ns() - 10**9, NEVER)
    assert sender.sent == 300


def test_no_entry_is_sent_after_the_end(two_ends):
    near, _ = two_ends
    sender = Sender(near.fileno(), [(ENTRY, DIGITS_AT, 0, False)], FIRST, 0)
    sender.run(300, 1, monotonic_ns() - 10, monotonic_ns() - 1)
    assert sender.sent == 0


def test_only_an_ack_of_what_was_sent_counts_and_once(two_ends):
    near, far = two_ends
    sender = Sender(near.fileno(), [(ENTRY, DIGITS_AT, 0, True)], FIRST, PATIENCE_SEC * 10**9)
    thread = Thread(target=sender.run, args=(2, 0, monotonic_ns(), NEVER))
    thread.start()
    sent = [far.recvfrom(100) for _ in range(2)]
    source = sent[0][1]
    for text in (b"", b"x" * 60, b'{"ack":true,"sequence":1}', b'{"ack":true,"sequence":%d' % FIRST,
                 b'{"ack":true,"sequence":%d]' % FIRST, b'{"ack":true,"sequence":%d}' % (FIRST - 1),
                 b'{"ack":true,"sequence":%d}' % (FIRST + 2), b'{"ack":true,"sequence":199999999999999x}',
                 b'{"ack":false"sequence":%d}' % FIRST):  # fmt: skip
        far.sendto(text, source)
    again = [far.recvfrom(100) for _ in range(2)]  # since none of that was an ACK of theirs
    assert sorted(again) == sorted(sent)
    for sequence in (FIRST + 1, FIRST + 1, FIRST):
        far.sendto(b'{"ack":true,"sequence":%d}' % sequence, source)
    thread.join(PATIENCE_SEC)
    assert (sender.acknowledged, sender.given_up, sender.retransmissions) == (2, 0, 2)
    assert len(sender.latencies_usec) == 2


def test_an_entry_is_given_up_in_time(two_ends):
    near, _ = two_ends
    sender = Sender(near.fileno(), [(ENTRY, DIGITS_AT, 0, True)] * 5, FIRST, 10**7)
    sender.run(5, 0, monotonic_ns(), NEVER)
    assert (sender.priority_sent, sender.acknowledged, sender.given_up) == (5, 0, 5)


def test_many_entries_may_wait_for_their_acks(two_ends):
    """More than the first room for them, acknowledged from the last to the first."""
    near, far = two_ends
    count = 3_000
    sender = Sender(near.fileno(), [(ENTRY, DIGITS_AT, 0, True)], FIRST, PATIENCE_SEC * 10**9)
    thread = Thread(target=sender.run, args=(count, 0, monotonic_ns(), NEVER))
    thread.start()
    seen = set()
    while len(seen) < count:  # what a full receive buffer dropped comes again
        datagram, source = far.recvfrom(100)
        seen.add(json.loads(datagram)["sequence"])
    for number, sequence in enumerate(sorted(seen, reverse=True), 1):
        far.sendto(b'{"ack":true,"sequence":%d}' % sequence, source)
        if number % WINDOW == 0:
            eventually(lambda: sender.acknowledged, number.__eq__)
    thread.join(PATIENCE_SEC)
    assert (sender.acknowledged, sender.given_up) == (count, 0)


def test_a_socket_that_refuses_ends_the_run(two_ends):
    near, _ = two_ends
    sender = Sender(near.fileno(), [(ENTRY + b" " * 70_000, DIGITS_AT, 0, False)], FIRST, 0)
    with pytest.raises(OSError, match="Message too long"):
        sender.run(1, 0, monotonic_ns(), NEVER)
