"""One sender in detail: its address as text, and when gaps were added to it."""

import pytest

from fastlog.answers import Growth
from fastlog.server._ledger import Ledger
from fastlog.server.sender_gaps import MOMENTS_MAX, SENDERS_MAX, WORST, SenderGaps, sender_key
from tests.helpers._hooks import saw


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("192.0.2.1", "192.0.2.1:514"),
        ("255.255.255.255", "255.255.255.255:514"),
        ("2001:db8::1", "[2001:db8::1]:514"),
        ("::ffff:192.0.2.1", "192.0.2.1:514"),
        ("ff02::1", "[ff02::1]:514"),
    ],
)
def test_a_sender_is_found_by_the_text_that_stats_has(address, text):
    ledger = Ledger(bytes(16))
    saw(ledger, address, 514, 1, 0)
    assert ledger.top(1, 0)[0][0] == text
    assert ledger.sender(*sender_key(text), 0)[0] == text


def test_the_other_form_of_an_ipv4_address_is_the_same_sender():
    assert sender_key("[::ffff:192.0.2.1]:514") == sender_key("192.0.2.1:514")


def test_senders_at_a_unix_socket_and_on_a_link_have_keys():
    assert sender_key("unix:pid=4711,uid=33") == (0xFFFF0000 << 32 | 33, 4711, 0)
    assert sender_key("unix:pid=4711,uid=33#90ab12cd") == (0xFFFF0000 << 32 | 33, 0x90AB12CD << 32 | 4711, 0)
    assert sender_key("[fe80::1%lo]:514") == sender_key("[fe80::1%1]:514") == (0xFE80 << 48, 1, 1 << 16 | 514)


@pytest.mark.parametrize(
    "text",
    ["", ":", "localhost:514", "192.0.2.1:0", "192.0.2.1:65536", "192.0.2.1:-1", "192.0.2.256:1", "[::1", "[::1]:x", "::1%", "[fe80::1%nowhere]:1", "[fe80::1%\x00]:1", "unix:pid=x,uid=1", "unix:pid=1,uid=1#", "unix:pid=\u0661,uid=1", "1" * 5_000, "\ud800"],
)  # fmt: skip
def test_what_is_no_address_rejected(text):
    with pytest.raises(ValueError, match=r"address is that of a sender as /stats shows it, such as 192\.0\.2\.1:514"):
        sender_key(text)


def test_the_moments_of_gaps_are_noted():
    gaps = SenderGaps()
    for wall, received, lost in (
        (10.0, 5, 2),
        (15.0, 9, 2),
        (20.0, 12, 7),
        (25.0, 13, 6),
        (30.0, 14, 7),
        (35.0, 15, 8),
    ):
        gaps.look(wall, [("a", received, lost, 0.0)])
    assert gaps.of("a") == [Growth(10.0, 2), Growth(20.0, 5), Growth(35.0, 1)]
    assert gaps.of("b") is None


def test_another_program_with_the_address_begins_anew():
    gaps = SenderGaps()
    gaps.look(10.0, [("a", 500, 20, 0.0)])
    gaps.look(20.0, [("a", 5, 1, 0.0)])
    assert gaps.of("a") == [Growth(20.0, 1)]


def test_gaps_from_before_a_sender_was_looked_at_are_not_noted_as_new():
    gaps = SenderGaps()
    worst = [(f"{number}", 100, 50 + number, 0.0) for number in range(WORST)]
    gaps.look(10.0, worst)
    gaps.look(15.0, [*worst[1:], ("a", 100, 49, 0.0)])  # one was forgotten: another one takes its place
    assert gaps.of("a") == []
    gaps.look(20.0, [*worst[1:], ("a", 110, 52, 0.0)])
    assert gaps.of("a") == [Growth(20.0, 3)]
    gaps.look(25.0, [*worst[2:], ("a", 110, 52, 0.0), ("b", 90, 60, 0.0)])
    assert gaps.of("b") == [Growth(25.0, 9)]  # so many are new: it had no more than the last of the others


def test_the_notes_have_bounds():
    gaps = SenderGaps()
    gaps.look(0.0, [("old", 1, 1, 0.0)])
    for number in range(3 * MOMENTS_MAX):
        gaps.look(float(number), [("a", number, number + 1, 0.0)])
    assert len(gaps.of("a")) == MOMENTS_MAX
    for number in range(SENDERS_MAX - 1):
        gaps.look(1_000.0, [(f"{number}", 1, 1, 0.0)])
    assert gaps.of("old") is None
    assert gaps.of("a") is not None
    gaps.look(1_000.0, [("one more", 1, 1, 0.0)])
    assert gaps.of("a") is None
