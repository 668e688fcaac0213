"""GELF messages in chunks: what completes one, what gives one up, and what is remembered; compiled and readable alike."""

import itertools
from collections.abc import Iterable

import pytest

from fastlog import limits
from fastlog.inputs import _chunks, _unpack, chunks
from fastlog.inputs.chunks import BLOCK_BYTES, BLOCKS, CHUNKS_MAX, OF_ONE_SENDER_MAX, WAIT_MS, WAITING_MAX
from tests.helpers.chunks import chunk
from tests.helpers.randomness import Random

HERE, THERE = (0, 1, 0), (0, 2, 0)
CASES = 100  # random runs, of some hundred chunks each
STEPS = 400


class Both:
    """The compiled chunks and the readable ones, which must agree."""

    def __init__(self) -> None:
        self.compiled = _chunks.Chunks(b"0123456789abcdef")  # the same hashes in every run
        self._readable = chunks.Chunks()

    def take(
        self,
        datagram: bytes,
        now_ms: int = 0,
        address: tuple[int, int, int] = HERE,
        host: tuple[int, int, int] | None = None,
    ):
        """What became of it, the message that it completed, and the beginnings of those given up."""
        found = self.compiled.take(address, datagram, now_ms, host)
        expected = self._readable.take(address, datagram, now_ms, host)
        assert found == (expected.outcome, expected.message, expected.given_up)
        assert self.compiled.due_ms == self._readable.due_ms
        return found


@pytest.fixture
def both():
    return Both()


def outcomes(both: Both, datagrams: Iterable[bytes]) -> list[str]:
    return [both.take(datagram)[0] for datagram in datagrams]


def test_they_have_the_same_limits():
    for name in ("CHUNKS_MAX", "WAITING_MAX", "OF_ONE_SENDER_MAX", "BLOCK_BYTES", "BLOCKS", "WAIT_MS"):
        assert getattr(_chunks, name) == getattr(chunks, name)
    assert _unpack.MESSAGE_MAX_BYTES == limits.MESSAGE_MAX_BYTES
    assert BLOCK_BYTES * BLOCKS == 8 << 20


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_last_chunk_completes_a_message_whatever_their_order(both, order):
    parts = [b"one,", b"two,", b"three"]
    *first, last = (chunk(1, number, 3, parts[number]) for number in order)
    assert outcomes(both, first) == ["waits", "waits"]
    assert both.take(last) == ("complete", b"one,two,three", [])
    assert both.compiled.waiting == 0
    assert both.compiled.waiting_bytes == 0


def test_a_message_of_one_chunk(both):
    assert both.take(chunk(1, 0, 1, b"all")) == ("complete", b"all", [])


def test_the_last_chunk_may_be_empty(both):
    """Docker sends one when the message's length is a multiple of its chunks' size."""
    both.take(chunk(1, 0, 2, b"all"))
    assert both.take(chunk(1, 1, 2, b"")) == ("complete", b"all", [])


def test_a_message_may_be_empty(both):
    both.take(chunk(1, 0, 2, b""))
    assert both.take(chunk(1, 1, 2, b"")) == ("complete", b"", [])


@pytest.mark.parametrize(
    ("number", "count", "outcome"),
    [
        (0, 0, "bad"),
        (1, 1, "bad"),
        (5, 3, "bad"),
        (127, 128, "waits"),
        (128, 129, "bad"),
        (0, 129, "bad"),
        (0, 255, "bad"),
    ],
)
def test_the_number_is_less_than_the_count_which_is_128_at_most(both, number, count, outcome):
    assert both.take(chunk(1, number, count))[0] == outcome


@pytest.mark.parametrize("size", range(2, 12))
def test_a_header_that_is_cut(both, size):
    assert both.take(chunk(1, 0, 1)[:size])[0] == "bad"


def test_a_message_of_as_many_chunks_as_there_may_be(both):
    *first, last = (chunk(1, number, CHUNKS_MAX, b"%d," % number) for number in reversed(range(CHUNKS_MAX)))
    assert set(outcomes(both, first)) == {"waits"}
    assert both.take(last)[1] == b"".join(b"%d," % number for number in range(CHUNKS_MAX))


def test_a_count_that_changes_is_refused_and_the_message_still_waits(both):
    both.take(chunk(1, 0, 2, b"a"))
    assert both.take(chunk(1, 1, 3, b"x"))[0] == "bad"
    assert both.take(chunk(1, 0, 1, b"x"))[0] == "bad"
    assert both.take(chunk(1, 1, 2, b"b")) == ("complete", b"ab", [])


def test_a_repeated_chunk_is_ignored_and_the_first_one_counts(both):
    both.take(chunk(1, 0, 2, b"a"))
    assert both.take(chunk(1, 0, 2, b"x"))[0] == "repeated"
    assert both.take(chunk(1, 1, 2, b"b"))[1] == b"ab"
    assert (both.compiled.received, both.compiled.repeated, both.compiled.completed) == (3, 1, 1)


@pytest.mark.parametrize("count", [1, 2])
def test_a_late_repeat_is_no_new_message_until_its_5_s_are_over(both, count):
    for number in range(count):
        both.take(chunk(1, number, count), now_ms=1000)
    assert both.take(chunk(1, 0, count), now_ms=1000 + WAIT_MS - 1)[0] == "repeated"
    assert both.take(chunk(1, 0, count), now_ms=1000 + WAIT_MS)[0] != "repeated"


def test_a_message_waits_5_s_from_its_first_chunk(both):
    both.take(chunk(1, 0, 3, b"a"), now_ms=1000)
    both.take(chunk(1, 1, 3, b"b"), now_ms=1000 + WAIT_MS - 1)
    assert both.compiled.due_ms == 1000 + WAIT_MS
    assert both.take(chunk(2, 0, 2), now_ms=1000 + WAIT_MS - 1) == ("waits", None, [])
    assert both.take(chunk(2, 1, 2), now_ms=1000 + WAIT_MS) == ("complete", b"partpart", [b"ab"])


def test_a_chunk_of_a_message_that_was_overdue_begins_no_other(both):
    both.take(chunk(1, 0, 2), now_ms=0)
    assert both.take(chunk(1, 1, 2), now_ms=WAIT_MS) == ("repeated", None, [b"part"])
    assert both.compiled.waiting == 0


@pytest.mark.parametrize("excess", [0, 1])
def test_a_message_is_as_long_as_a_line_may_be(both, excess):
    size, last = divmod(limits.MESSAGE_MAX_BYTES, 4)
    assert last == 0
    assert outcomes(both, [chunk(1, number, 4, b"x" * size) for number in range(3)]) == ["waits"] * 3
    outcome, message, _ = both.take(chunk(1, 3, 4, b"x" * (size + excess)))
    if not excess:
        assert (outcome, len(message)) == ("complete", limits.MESSAGE_MAX_BYTES)
    else:
        assert outcome == "bad"
        assert both.compiled.waiting == 0
        assert both.take(chunk(1, 3, 4))[0] == "repeated"


def test_the_oldest_message_of_a_sender_makes_room_for_its_33rd(both):
    both.take(chunk("other", 0, 2, b"other"), address=THERE)
    for n in range(OF_ONE_SENDER_MAX):
        assert both.take(chunk(n, 0, 2, b"%d" % n)) == ("waits", None, [])
    assert both.take(chunk("new", 0, 2)) == ("waits", None, [b"0"])
    assert both.take(chunk(0, 1, 2))[0] == "repeated"
    assert both.take(chunk("new", 1, 2, b"!"))[1] == b"part!"
    assert both.take(chunk("other", 1, 2, b"!"), address=THERE)[1] == b"other!"


def test_a_flood_from_one_address_spoils_no_message_of_another(both):
    both.take(chunk("other", 0, 2, b"other"), address=THERE)
    for n in range(10_000):
        both.compiled.take(HERE, chunk(n, 0, 2), 0)
    assert both.compiled.waiting == 1 + OF_ONE_SENDER_MAX
    assert both.compiled.take(THERE, chunk("other", 1, 2, b"!"), 0)[1] == b"other!"


def test_a_flood_from_all_addresses_of_a_host_spoils_no_message_of_another(both):
    """As with IPv6, where one machine may have 2^64 addresses."""
    for name in ("one", "two"):
        both.take(chunk(name, 0, 2, b"other"), address=THERE)
    given_up = sum(
        len(both.take(chunk(n, 0, 2), address=(7, n, 0), host=(7, 0, 0))[2]) for n in range(WAITING_MAX + 10)
    )
    assert given_up == WAITING_MAX + 10 - OF_ONE_SENDER_MAX
    for name in ("one", "two"):
        assert both.take(chunk(name, 1, 2, b"!"), address=THERE)[1] == b"other!"


def test_the_same_id_from_another_address_is_another_message(both):
    both.take(chunk(1, 0, 2, b"mine"), address=HERE)
    assert both.take(chunk(1, 1, 2, b"forged"), address=THERE) == ("waits", None, [])
    assert both.take(chunk(1, 1, 2, b"!"), address=HERE)[1] == b"mine!"


def test_the_oldest_message_of_the_fullest_sender_makes_room_for_the_257th(both):
    both.take(chunk("first", 0, 2, b"first"), address=(0, 99, 0))
    senders = [(9, n, 0) for n in range(8)]
    for n in range(WAITING_MAX - 1):
        assert both.take(chunk(n, 0, 2, b"%d" % n), address=senders[n % 8]) == ("waits", None, [])
    assert both.compiled.waiting == WAITING_MAX
    assert both.take(chunk("new", 0, 2), address=THERE) == ("waits", None, [b"0"])
    assert both.compiled.waiting == WAITING_MAX
    assert both.take(chunk("first", 1, 2, b"!"), address=(0, 99, 0))[1] == b"first!"


def test_messages_take_8_mib_at_most_and_the_sender_with_most_of_it_gives_way(both):
    whole = b"x" * 62 * BLOCK_BYTES
    for n in range(BLOCKS // 62):
        assert both.take(chunk(n, 0, 2, whole), address=(9, n % 5, 0)) == ("waits", None, [])
    assert both.compiled.waiting_bytes == BLOCKS // 62 * 62 * BLOCK_BYTES
    for n in range(BLOCKS % 62):
        assert both.take(chunk(n, 0, 2, b"y"), address=(8, n, 0)) == ("waits", None, [])
    assert both.take(chunk("new", 0, 2, b"z"), address=THERE) == ("waits", None, [whole[:BLOCK_BYTES]])
    assert both.take(chunk("new", 1, 2, b"!"), address=THERE)[1] == b"z!"


def test_tiny_chunks_take_no_more_memory_than_their_message(both):
    for n in range(WAITING_MAX):
        for number in range(127):
            both.compiled.take((9, n // 32, 0), chunk(n, number, 128, b"x"), 0)
    assert both.compiled.waiting == WAITING_MAX
    assert both.compiled.waiting_bytes == WAITING_MAX * 127


def test_what_was_given_up_gives_back_what_it_took(both):
    for n in range(3 * WAITING_MAX):
        both.compiled.take((9, n % 300, 0), chunk(n, 0, 2, b"x" * 60_000), n)
    assert both.compiled.take(HERE, chunk("last", 0, 1), 10**6)[2]
    assert both.compiled.waiting == 0
    assert both.compiled.waiting_bytes == 0
    for n in range(BLOCKS // 62):
        assert both.compiled.take((9, n % 5, 0), chunk(n, 0, 2, b"x" * 62 * BLOCK_BYTES), 10**6)[2] == []


@pytest.mark.parametrize("_", range(4))
def test_they_agree_on_any_chunks(_):
    """Messages of a few senders and ids, whose chunks are lost, repeated, late, of wrong counts, and out of order."""
    rng = Random()
    for _ in range(CASES // 4):
        both, now_ms = Both(), 0
        longest = rng.choice([0, 20, 3_000, 60_000])
        ids, senders, counts = rng.choice([3, 40, 600]), rng.choice([1, 3, 40]), rng.choice([(2, 3), (1, 2, 9), (128,)])
        pace = rng.choice([0, 1, 50, 3_000])
        for _ in range(STEPS):
            now_ms += rng.randrange(pace + 1)
            count = rng.choice(counts)
            number = rng.randrange(count + 1 if rng.random() < 0.05 else count)
            part = rng.randbytes(4) * (rng.randrange(longest + 1) // 4)
            both.take(chunk(rng.randrange(ids), number, count, part), now_ms, (0, rng.randrange(senders), 7))
