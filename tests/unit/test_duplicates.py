"""The set of stored priority entries: its hash, and what it forgets."""

from fastlog.server._drain import Intake
from fastlog.server._duplicates import STORED_MAX
from fastlog.server._socket import Admission
from tests.helpers._hooks import seen_before, siphash24


def test_the_hash_is_the_published_one():
    """Vectors of the paper's reference implementation: key 00 01 … 0f, data 00 01 …"""
    key = bytes(range(16))
    assert siphash24(key, b"") == 0x726FDB47DD0E0E31
    assert siphash24(key, bytes(range(8))) == 0x93F5F5799A932462
    assert siphash24(key, bytes(range(15))) == 0xA129CA6149BE45E5


def test_a_line_is_seen_from_its_second_time_on():
    assert seen_before([b"a", b"b", b"a", b"", b"a", b"b", b"c", b""]) == [
        False,
        False,
        True,
        False,
        True,
        True,
        False,
        True,
    ]


def test_the_newest_are_kept_and_the_oldest_forgotten():
    lines = [b"%d" % n for n in range(STORED_MAX + 1_000)]
    newest, oldest = lines[1_000:], lines[:1_000]
    seen = seen_before(lines + newest + oldest)
    assert seen == [False] * len(lines) + [True] * STORED_MAX + [False] * 1_000


def test_it_agrees_with_a_set_whatever_is_forgotten(rng):
    """Many rounds of the ring, so that every place of the table is filled and freed."""

    lines = [b"%d" % rng.randrange(STORED_MAX * 2) for _ in range(STORED_MAX * 5)]
    expected, order, present = [], [], set()
    for line in lines:
        expected.append(line in present)
        if line not in present:
            present.add(line)
            order.append(line)
            if len(order) > STORED_MAX:
                present.discard(order[-STORED_MAX - 1])
    assert seen_before(lines) == expected


TIMED = b'{"level":"ERROR","message":"m","sequence":1,"timestamp":"2026-11-24T07:00:00.5Z"}'


def test_what_cannot_be_recognised_after_a_restart_takes_no_place():
    intake = Intake(65536, ["ERROR"], Admission([]))
    intake.remember(b'{"level":"ERROR","message":"m","sequence":1}\n')  # without a timestamp
    assert intake.priority_entries == 0
    intake.remember(TIMED + b"\n")
    assert intake.priority_entries == 1


def test_an_entry_whose_line_holds_something_else_does_not_count_as_stored():
    """Another program has written behind it."""
    intake = Intake(65536, ["ERROR"], Admission([]))
    for behind in (TIMED, b"x", b' {"level":"INFO"'):
        intake.remember(TIMED + behind + b"\n")
    assert intake.priority_entries == 0
