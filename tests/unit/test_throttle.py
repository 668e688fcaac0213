"""What becomes of hosts over RATE_LIMIT: messages, figures and filters, with reports and filters that the test makes; and
how drops of a full receive buffer are told from those of a filter."""

import ipaddress

import pytest

from fastlog.server import drops, throttle
from fastlog.server._rate_limit import Over
from fastlog.server.drops import Drops
from fastlog.server.loop import Loop
from fastlog.server.throttle import FLOOD_LOOK_SEC, HOSTS_KEPT, MESSAGES, MESSAGES_SEC, SAMPLED_PER_SEC, Throttle

FLOOD_PER_SEC = 200_000
TAKEN_PER_SEC = 1_000


def packed(address: str) -> bytes:
    return ipaddress.IPv6Address(f"::ffff:{address}").packed


class Limit:
    """A limit whose next report the test sets."""

    on = True

    def __init__(self) -> None:
        self.next: list[Over] = []

    def report(self, now_ms: int) -> list[Over]:
        reports, self.next = self.next, []
        return reports


class Filter:
    problem = None
    room = 1_000

    def __init__(self) -> None:
        self.shares: dict[bytes, float] = {}

    def set(self, shares: dict[bytes, float]) -> int:
        self.shares = dict(list(shares.items())[: self.room])
        return len(self.shares)

    def clear(self) -> None:
        self.shares = {}


class Bench:
    """A throttle, and senders whose datagrams the filter thins out exactly as it should."""

    def __init__(self, loop: Loop) -> None:
        self.limit, self.filter = Limit(), Filter()
        self.throttle = Throttle(self.limit, [self.filter], Drops(lambda: 0), loop, "1000")
        self.now = 1_000.0

    def share(self, address: str) -> float:
        return self.filter.shares.get(packed(address), 1.0)

    def over(self, address: str, sent_per_sec: float, seconds: float = FLOOD_LOOK_SEC, size: int = 100) -> Over:
        """What is reported of a host that sends so much, if so much of it is taken as RATE_LIMIT allows."""
        came = sent_per_sec * self.share(address) * seconds
        taken = min(came, TAKEN_PER_SEC * seconds)
        refused = round(came - taken)
        return Over(address, packed(address), round(taken), refused, refused * size, refused, True)

    def look(self, *reports: Over, seconds: float = FLOOD_LOOK_SEC) -> None:
        self.now += seconds
        self.limit.next = list(reports)
        self.throttle.look(self.now)


@pytest.fixture
def bench(closing, monkeypatch):
    monkeypatch.setattr(drops, "errors_of_namespace", lambda: 0)
    return Bench(closing(Loop()))


@pytest.fixture
def said(monkeypatch):
    messages: list[str] = []
    monkeypatch.setattr(throttle, "say", messages.append)
    return messages


def test_a_flood_is_thinned_out_to_twice_what_is_taken_and_some_more(bench):
    for _ in range(200):
        bench.look(bench.over("192.0.2.1", FLOOD_PER_SEC))
    assert bench.share("192.0.2.1") * FLOOD_PER_SEC == pytest.approx(2 * TAKEN_PER_SEC + SAMPLED_PER_SEC, rel=0.1)


@pytest.mark.parametrize("sent_per_sec", [1_200, 2_000, 4_000, 9_000])
def test_who_is_a_little_over_its_limit_is_not_filtered(bench, sent_per_sec):
    for _ in range(200):
        bench.look(bench.over("192.0.2.1", sent_per_sec))
        assert bench.filter.shares == {}


def test_a_short_burst_is_not_filtered(bench):
    bench.look(bench.over("192.0.2.1", FLOOD_PER_SEC))
    for _ in range(10):
        bench.look(bench.over("192.0.2.1", 900))
        assert bench.filter.shares == {}


def test_when_the_flood_has_ended_all_is_let_through_within_a_second(bench):
    for _ in range(100):
        bench.look(bench.over("192.0.2.1", FLOOD_PER_SEC))
    ended = bench.now
    while bench.filter.shares:
        bench.look(bench.over("192.0.2.1", 900))
    assert bench.now - ended < 1


def test_small_floods_are_filtered_if_they_are_many(bench):
    addresses = [f"192.0.2.{n}" for n in range(40)]
    for _ in range(10):
        bench.look(*(bench.over(address, 8_000) for address in addresses))
    assert 30 < len(bench.filter.shares) <= 40


def test_who_has_no_address_is_not_filtered(bench):
    for _ in range(10):
        bench.look(bench.over("192.0.2.1", FLOOD_PER_SEC)._replace(packed=None))
    assert bench.filter.shares == {}


def test_what_the_kernel_has_no_room_for_is_not_taken_as_filtered(bench):
    bench.filter.room = 1
    for _ in range(10):
        bench.look(bench.over("192.0.2.1", FLOOD_PER_SEC), bench.over("192.0.2.2", 2 * FLOOD_PER_SEC))
    assert list(bench.filter.shares) == [packed("192.0.2.2")]
    hosts = {host.address: host for host in bench.throttle.top(bench.now)}
    assert (hosts["192.0.2.1"].filtered, hosts["192.0.2.2"].filtered > 0) == (0, True)


def test_begin_and_end_are_said_once_with_their_counts(bench, said):
    for _ in range(100):
        bench.look(bench.over("192.0.2.1", 6_000))
    assert said == ["192.0.2.1 sends more than RATE_LIMIT=1000 allows; the rest is rejected (rate)"]
    bench.look(Over("192.0.2.1", packed("192.0.2.1"), 0, 0, 0, 0, False))
    bench.look()
    assert said[1:] == ["192.0.2.1 sends no more than RATE_LIMIT=1000 allows: in 2 s 10000 were rejected (rate)"]


def test_messages_of_many_hosts_are_capped_and_the_rest_is_counted(bench, said):
    for n in range(200):
        bench.look(bench.over(f"192.0.2.{n}", 6_000))
    assert len(said) == 2 * MESSAGES  # each also ended, since the next report is without it
    bench.throttle._messages_due.fire(bench.now + MESSAGES_SEC)
    assert said[-1] == f"{200 - MESSAGES} more addresses sent more than RATE_LIMIT=1000 within a minute"


def test_figures_are_kept_of_so_many_hosts_those_of_which_most_was_rejected(bench):
    bench.look(bench.over("198.51.100.1", 50_000))
    for n in range(2 * HOSTS_KEPT):
        bench.look(bench.over(f"10.0.{n >> 8}.{n & 255}", 6_000))
    top = bench.throttle.top(bench.now)
    assert len(top) == throttle.HOSTS_SHOWN
    assert (top[0].address, top[0].throttled) == ("198.51.100.1", False)
    assert len(bench.throttle._hosts) <= HOSTS_KEPT


class Kernel:
    """The counters of the kernel."""

    def __init__(self, monkeypatch) -> None:
        self.drops = self.errors = 0
        monkeypatch.setattr(drops, "errors_of_namespace", lambda: self.errors)

    def overflow(self, count: int) -> None:
        self.drops += count
        self.errors += count


@pytest.fixture
def kernel(monkeypatch):
    return Kernel(monkeypatch)


def test_without_a_filter_all_drops_are_those_of_the_receive_buffer(kernel):
    counted = Drops(lambda: kernel.drops)
    kernel.drops = 10  # the counter of the namespace is not even read
    assert counted.count() == (10, 0)


def test_drops_of_a_full_receive_buffer_are_told_from_filtered_datagrams(kernel):
    kernel.overflow(5)
    counted = Drops(lambda: kernel.drops)
    kernel.overflow(5)
    counted.filtering(True)
    kernel.drops += 1_000
    assert counted.count() == (10, 1_000)
    kernel.overflow(7)
    kernel.drops += 1_000
    assert counted.count() == (17, 2_000)
    kernel.drops += 500
    counted.filtering(False)
    kernel.overflow(3)
    kernel.drops += 1  # by whom, is not asked any more
    assert counted.count() == (21, 2_500)


def test_an_overflow_whose_drop_is_seen_later_is_not_taken_as_filtered(kernel):
    counted = Drops(lambda: kernel.drops)
    counted.filtering(True)
    kernel.errors += 3  # between the two readings of the kernel's counters
    assert counted.count() == (0, 0)
    kernel.drops += 3 + 100
    assert counted.count() == (3, 100)


def test_an_overflow_while_the_filter_is_set_is_not_taken_as_filtered(kernel):
    def read() -> int:
        before = kernel.drops
        kernel.overflow(1)
        return before

    counted = Drops(read)
    for _ in range(10):
        counted.filtering(True)
        counted.filtering(False)
    kernel_drops, filtered = counted.count()
    assert (kernel_drops, filtered) == (20, 0)


def test_the_overflow_of_another_program_is_taken_off_the_filter_in_its_own_second_only(kernel):
    counted = Drops(lambda: kernel.drops)
    counted.filtering(True)
    kernel.errors += 1_000
    assert counted.count() == (0, 0)
    assert counted.count() == (0, 0)
    kernel.drops += 400
    assert counted.count() == (0, 400)


def test_drops_that_the_kernel_does_not_count_are_unknown(kernel):
    counted = Drops(lambda: None)
    counted.filtering(True)
    assert counted.count() == (None, None)
