"""What never arrived, by sender: a network that loses a known set, repeats some and changes the order."""

import json
import random
import socket
from collections.abc import Iterable

import pytest

from fastlog.server._ledger import ESTABLISHED_MS, PROOF_ROW, SENDERS_MAX
from tests.helpers.running import eventually


def through_a_bad_network(rng: random.Random, count: int) -> tuple[list[int], set[int]]:
    """The sequences that come out of it, in their order, and those that are lost. The first and the last come through:
    nobody can know of entries before the first or after the last one seen."""
    lost = {sequence for sequence in range(2, count) if rng.random() < 0.1}
    out = [sequence for sequence in range(1, count + 1) if sequence not in lost]
    out += [sequence for sequence in out[1:] if rng.random() < 0.05]  # repeated
    # by at most 200 places, well within the window
    return sorted(out, key=lambda sequence: sequence + rng.uniform(0, 200) * (sequence > 1)), lost


def test_gaps_are_what_the_network_lost_for_every_sender(start, rng):
    server = start()
    senders = []
    for count in (50, 900, 5_000, 5_000, 1):
        client = server.client()
        first = rng.randrange(2**63)
        out, lost = through_a_bad_network(rng, count)
        senders.append((client, [first + sequence for sequence in out], len(lost)))
    total = sum(len(out) for _, out, _ in senders)
    lost = sum(count for _, _, count in senders)
    server.send_from((client, entry(sequence)) for client, sequence in interleaved(rng, senders))
    stats = eventually(server.stats, lambda stats: stats["total_received"] == total)
    assert stats["losses"]["sequence_gaps"] == lost
    by_address = {sender["address"]: sender for sender in stats["top_senders"]}
    for client, out, count in senders:
        sender = by_address["{}:{}".format(*client.getsockname())]
        assert (sender["received"], sender["lost"]) == (len(out), count)
        client.close()


def interleaved(rng: random.Random, senders):
    left = [(client, iter(out)) for client, out, _ in senders]
    while left:
        client, out = rng.choice(left)
        for sequence in out:
            yield client, sequence
            break
        else:
            left.remove((client, out))


def entry(sequence: int) -> bytes:
    return json.dumps({"level": "INFO", "message": "m", "sequence": sequence}).encode()


def test_entries_without_a_sequence_have_no_gaps(start):
    server = start()
    server.send([b'{"level":"INFO","message":"m"}'] * 100)
    stats = eventually(server.stats, lambda stats: stats["total_received"] == 100)
    assert stats["losses"]["sequence_gaps"] == 0
    assert [(sender["received"], sender["lost"]) for sender in stats["top_senders"]] == [(100, 0)]


def test_what_the_kernel_dropped_is_a_gap_and_not_a_loss_of_the_network(start):
    """Drops and gaps count the same datagrams here, so there is one cause: the kernel."""
    server = start(RCVBUF_SIZE="1")
    with server.client() as client:
        client.send(entry(1))
        eventually(server.stats, lambda stats: stats["total_received"] == 1)
        with server.stopped():
            for sequence in range(2, 2_001):
                client.send(entry(sequence))
        eventually(server.queued, lambda queued: queued == 0)
        for sequence in range(2_001, 2_001 + PROOF_ROW):  # one alone could be a stray, so far ahead
            client.send(entry(sequence))
            eventually(server.queued, lambda queued: queued == 0)
        stats = eventually(server.stats, lambda stats: stats["losses"]["kernel_drops"] and stats["buffered"] == 0)
    lost = 2_000 + PROOF_ROW - stats["total_received"]
    assert stats["losses"]["sequence_gaps"] == stats["losses"]["kernel_drops"] == lost
    assert stats["losses"]["kernel_drops"] > 0
    assert stats["losses"]["network"] == 0


def test_what_the_network_lost_is_not_charged_to_the_kernel(start):
    server = start()
    server.send([entry(1), entry(5), entry(6), entry(10)])
    stats = eventually(server.stats, lambda stats: stats["total_received"] == 4)
    counts = {name: count for name, count in stats["losses"].items() if not isinstance(count, dict)}
    assert counts == {
        "kernel_drops": 0, "filtered": 0, "sequence_gaps": 6, "network": 6, "disk": 0, "unshipped": 0
    }  # fmt: skip


def test_a_restarted_sender_begins_anew(start):
    server = start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", server.port))
        for sequence in [*range(1, 3_001), *range(1, 2_001)]:
            client.send(entry(sequence))
            if sequence % 100 == 0:
                eventually(server.queued, lambda queued: queued == 0)
    stats = eventually(server.stats, lambda stats: stats["total_received"] == 5_000)
    assert stats["losses"]["sequence_gaps"] == 0


@pytest.mark.parametrize("lost", [10_000, 500_000])
def test_an_outage_is_counted_to_the_entry(start, lost):
    server = start()
    after = range(101 + lost, 2_000 + lost)
    server.send(map(entry, [*range(1, 101), *after[1:4], after[0], *after[5:]]))
    stats = eventually(server.stats, lambda stats: stats["total_received"] == 100 + len(after) - 1)
    assert stats["losses"]["sequence_gaps"] == stats["losses"]["network"] == lost + 1
    assert [sender["lost"] for sender in stats["top_senders"]] == [lost + 1]


@pytest.mark.parametrize("forged", [[2**20], [2**20, 2**21, 2**22, 2**63], range(500_000, 500_100)])
def test_forged_sequences_far_ahead_are_no_gaps(start, forged):
    """Somebody sends them in the sender's name, which then continues where it was and loses three."""
    server = start()
    sent = [*range(1, 101), *forged, *range(101, 200), *range(203, 300)]
    server.send(map(entry, sent))
    stats = eventually(server.stats, lambda stats: stats["total_received"] == len(sent))
    assert stats["losses"]["sequence_gaps"] == 3


def test_two_programs_on_one_socket_lose_nothing(start, rng):
    """They take turns at random, and one goes on alone."""
    server = start()
    programs = [(1, range(2, 2_001), 0), (2, range(500_002, 504_001), 0)]
    sent = [1, 500_001, *(sequence for _, sequence in interleaved(rng, programs))]
    server.send(map(entry, sent))
    stats = eventually(server.stats, lambda stats: stats["total_received"] == len(sent))
    assert stats["losses"]["sequence_gaps"] == 0


def send_as_each(server, addresses: Iterable[tuple[str, int]]) -> int:
    """Sends one entry from each of these addresses; returns from how many it could. A port may be in use."""
    sent = 0
    for address in addresses:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            try:
                stranger.bind(address)
            except OSError:
                continue
            stranger.sendto(entry(1), ("127.0.0.1", server.port))
        sent += 1
        if sent % 200 == 0:
            eventually(server.queued, lambda queued: queued == 0)
    return sent


STRANGERS = {
    "60,000 ports of one address": lambda rng: [("127.0.0.2", port) for port in range(1_100, 61_100)],
    "30,000 addresses": lambda rng: [
        (f"127.{n >> 16}.{n >> 8 & 255}.{n & 255}", 5_000) for n in rng.sample(range(1 << 16, 1 << 23), 30_000)
    ],
}


@pytest.mark.parametrize("strangers", STRANGERS)
def test_strangers_neither_make_nor_hide_gaps_of_other_senders(start, rng, strangers):
    """Ten honest senders, half of which lose every tenth entry, send before and after."""
    server = start()
    honest = [(server.client(), set(range(5, 300, 10)) if n % 2 else set()) for n in range(10)]

    def send(sequences: range) -> int:
        sent = [(client, entry(n)) for n in sequences for client, lost in honest if n not in lost]
        server.send_from(sent)
        return len(sent)

    total = send(range(1, 100))
    first = eventually(server.stats, lambda stats: stats["total_received"] == total)
    eventually(server.stats, lambda stats: stats["elapsed_seconds"] - first["elapsed_seconds"] > ESTABLISHED_MS / 1000)
    total += send(range(100, 200))
    others = send_as_each(server, STRANGERS[strangers](rng))
    total += others + send(range(200, 300))
    stats = eventually(server.stats, lambda stats: stats["total_received"] == total)
    assert stats["losses"]["sequence_gaps"] == 5 * 30
    assert stats["senders"] == SENDERS_MAX
    assert stats["senders_pushed_out"] == others + len(honest) - SENDERS_MAX > 10_000
    by_address = {sender["address"]: sender for sender in stats["top_senders"]}
    for client, lost in honest:
        sender = by_address["{}:{}".format(*client.getsockname())]
        assert (sender["received"], sender["lost"]) == (299 - len(lost), len(lost))
        client.close()
