"""RATE_LIMIT: what is taken of each host, against a readable model; and that hosts cannot harm each other."""

import pytest

from fastlog.server._rate_limit import (
    HOSTS_MAX,
    LOOKS_MIN,
    NETWORK_SETS,
    NETWORK_WAYS,
    OTHERS,
    OVER_MAX,
    WITHIN_MS,
    RateLimit,
)
from tests.helpers._hooks import limited
from tests.helpers.rate_model import Host

ENTRY = [(False, 0)]
PRIORITY = [(True, 0)]
SIZE = 100
ADDRESSES = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "fe80::1%1", "fe80::1%2"]


def taken(limit: RateLimit, address: str, now_ms: int, datagrams: int, pieces=ENTRY) -> int:
    """How many pieces were taken of so many datagrams."""
    return sum(sum(limited(limit, address, now_ms, SIZE, pieces) or []) for _ in range(datagrams))


def addresses(count: int) -> list[str]:
    return [f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(count)]


@pytest.mark.parametrize(
    ("rate", "burst"), [(1, 1), (1, 7), (3, 2), (10, 10), (1000, 5000), (7777, 100), (10**7, 10**7)]
)
def test_it_agrees_with_the_model(rng, rate, burst):
    limit, hosts, now_ms = RateLimit(rate, burst), {}, rng.randrange(10**6)
    for _ in range(1_000):
        now_ms += rng.choice([0, 0, 0, 0, 1, 1, 3, 100, rng.randrange(5_000)])
        address = rng.choice(ADDRESSES)
        host = hosts.setdefault(address, Host(rate, burst, now_ms))
        for _ in range(rng.choice([1, 1, 10, min(burst, 100)])):
            pieces = [
                (rng.random() < 0.3, rng.choice([0, 0, 1023, 1024, 65_000])) for _ in range(rng.choice([0, 1, 1, 5]))
            ]
            size = rng.choice([0, SIZE, 1023, 1024, 65_507])
            assert limited(limit, address, now_ms, size, pieces) == host.datagram(now_ms, size, pieces)


def test_a_burst_is_taken_at_once_and_then_the_rate():
    limit = RateLimit(10, 50)
    assert taken(limit, "192.0.2.1", 0, 1_000) == 50
    assert taken(limit, "192.0.2.1", 99, 1_000) == 0
    assert taken(limit, "192.0.2.1", 100, 1_000) == 1
    assert sum(taken(limit, "192.0.2.1", ms, 10) for ms in range(101, 10_101)) == 100
    assert taken(limit, "192.0.2.1", 10**9, 1_000) == 50


def test_priority_entries_have_a_budget_of_their_own():
    limit = RateLimit(10, 10)
    assert taken(limit, "192.0.2.1", 0, 1_000) == 10
    assert taken(limit, "192.0.2.1", 0, 1_000, PRIORITY) == 10
    limit = RateLimit(10, 10)
    assert taken(limit, "192.0.2.1", 0, 1_000, PRIORITY) == 10
    assert taken(limit, "192.0.2.1", 0, 1_000) == 10


def test_a_priority_entry_is_found_behind_a_flood_of_others():
    limit = RateLimit(10, 10)
    taken(limit, "192.0.2.1", 0, LOOKS_MIN)
    assert taken(limit, "192.0.2.1", 0, 1, PRIORITY) == 1


def test_looks_are_limited():
    limit = RateLimit(10, 10)
    taken(limit, "192.0.2.1", 0, 10)
    assert [limited(limit, "192.0.2.1", 0, SIZE, ENTRY) for _ in range(LOOKS_MIN)] == [[False]] * LOOKS_MIN
    assert limited(limit, "192.0.2.1", 0, SIZE, ENTRY) is None
    limit = RateLimit(10, 10)
    taken(limit, "192.0.2.1", 0, 10)
    looks = sum(limited(limit, "192.0.2.1", 0, 65_507, ENTRY) is not None for _ in range(LOOKS_MIN))
    assert looks == -(-LOOKS_MIN // 64)  # of 64 KiB each


def test_of_a_datagram_with_several_entries_as_many_are_taken_as_there_are_tokens():
    limit = RateLimit(10, 10)
    assert limited(limit, "192.0.2.1", 0, SIZE, ENTRY * 4) == [True] * 4
    assert limited(limit, "192.0.2.1", 0, SIZE, ENTRY * 9 + PRIORITY) == [True] * 6 + [False] * 3 + [True]


def test_rejected_input_takes_more_by_its_size():
    limit = RateLimit(10, 10)
    assert limited(limit, "192.0.2.1", 0, 65_507, [(False, 65_507)]) == [True]
    assert taken(limit, "192.0.2.1", 5_000, 10) == 0  # it owes 54
    assert taken(limit, "192.0.2.1", 6_000, 10) == 6


def test_a_datagram_that_brings_nothing_takes_a_token():
    limit = RateLimit(10, 10)
    assert [limited(limit, "192.0.2.1", 0, SIZE, []) for _ in range(10)] == [[]] * 10
    assert taken(limit, "192.0.2.1", 0, 10) == 0


def test_every_address_has_its_own_limit():
    limit = RateLimit(10, 10)
    for address in ADDRESSES:
        assert taken(limit, address, 0, 100) == 10


def test_who_floods_cannot_lose_its_place_to_forged_addresses():
    limit = RateLimit(1, 5)
    assert taken(limit, "192.0.2.1", 0, 100) == 5
    for address in addresses(2 * HOSTS_MAX):
        taken(limit, address, 0, 1)
    assert taken(limit, "192.0.2.1", 0, 100) == 0
    assert taken(limit, "192.0.2.1", 1_000, 100) == 1


def test_hosts_without_a_place_share_buckets_and_get_places_when_others_have_nothing_to_remember():
    limit = RateLimit(1, 5)
    crowd = addresses(2 * HOSTS_MAX)
    first = [taken(limit, address, 0, 1) for address in crowd]
    assert HOSTS_MAX * 0.8 < sum(first) <= HOSTS_MAX + 5
    [others] = [over for over in limit.report(0) if over.address == OTHERS]
    assert others.rejected == len(crowd) - sum(first)
    assert others.packed is None
    assert [taken(limit, address, 1_000, 1) for address in reversed(crowd)].count(1) > HOSTS_MAX * 0.8


def test_who_has_a_whole_ipv6_network_gets_no_more_than_its_places_hold():
    limit = RateLimit(1, 5)
    rotating = [f"2001:db8::{n >> 8:x}:{n & 255:x}" for n in range(20_000)]
    got = sum(taken(limit, address, 0, 5) for address in rotating)
    assert got == 5 * NETWORK_SETS * NETWORK_WAYS + 5
    [network] = limit.report(0)
    assert (network.address, network.packed) == ("2001:db8::/64", None)
    assert network.rejected == 5 * len(rotating) - got
    for address in ("192.0.2.1", "2001:db8:0:1::1", "fe80::1%1"):
        assert taken(limit, address, 0, 10) == 5
    assert taken(limit, "2001:db8::f:f", 10_000, 10) == 5  # the others have nothing to remember by now


def test_the_servers_of_an_ipv6_network_have_a_limit_each():
    limit = RateLimit(1, 5)
    got = [taken(limit, f"2001:db8::{n:x}", 0, 5) for n in range(100)]
    assert got.count(5) > 80
    limit = RateLimit(1, 5)
    assert [taken(limit, f"2001:db8::{n}", 0, 10) for n in range(NETWORK_WAYS)] == [5] * NETWORK_WAYS


def test_the_first_address_of_an_ipv6_network_is_not_the_network():
    limit = RateLimit(1, 5)
    for n in range(10_000):
        taken(limit, f"2001:db8::1:{n:x}", 0, 1)
    taken(limit, "2001:db8::", 10_000, 10)
    assert "2001:db8::" in [over.address for over in limit.report(10_000)]


def test_a_host_over_its_limit_is_reported_until_it_is_within_it_again():
    limit = RateLimit(10, 10)
    assert not limit.has_news
    taken(limit, "192.0.2.1", 0, 10)
    assert not limit.has_news
    assert limit.report(0) == []
    taken(limit, "192.0.2.1", 0, 3)
    assert limit.has_news
    [over] = limit.report(0)
    assert over == ("192.0.2.1", bytes(10) + b"\xff\xff\xc0\x00\x02\x01", 0, 3, 300, 3, True)
    assert not limit.has_news
    taken(limit, "192.0.2.1", 1_000, 14)
    assert limit.report(1_000) == [over._replace(passed=10, refused=4, refused_bytes=400, rejected=4)]
    assert limit.report(999 + WITHIN_MS)[0].is_over
    assert limit.report(1_000 + WITHIN_MS) == [over._replace(refused=0, refused_bytes=0, rejected=0, is_over=False)]
    assert limit.report(1_000 + WITHIN_MS) == []


@pytest.mark.parametrize(
    ("address", "can_be_filtered"), [("192.0.2.1", True), ("2001:db8::1", True), ("fe80::1%1", False)]
)
def test_who_has_no_address_of_its_own_cannot_be_filtered(address, can_be_filtered):
    limit = RateLimit(1, 1)
    taken(limit, address, 0, 2)
    [over] = limit.report(0)
    assert (over.packed is not None) == can_be_filtered


def test_of_too_many_hosts_over_their_limits_those_that_are_refused_most_are_reported():
    limit = RateLimit(1, 1)
    for address in addresses(2 * OVER_MAX):
        taken(limit, address, 0, 2)
    taken(limit, "192.0.2.1", 0, 100)
    reported = limit.report(0)
    assert len(reported) == OVER_MAX
    assert "192.0.2.1" in [over.address for over in reported]
