"""What packed datagrams and chunks cost beside the entries in them."""

import gzip
import itertools
import zlib

import pytest

from benchmarks.parts.conftest import BURST
from fastlog.inputs._chunks import WAITING_MAX, Chunks
from fastlog.server._drain import DRAINED, FULL, Intake
from fastlog.server._socket import Admission
from tests.helpers.bombs import bomb
from tests.helpers.chunks import cut

BOMBS = 50
CHUNKED = 200  # messages of a round, in CHUNKS each
CHUNKS = 5
SECRET = bytes(16)


def filled(sender, intake, datagrams):
    """A set-up: forgets what the last round left, and fills the socket."""

    def fill():
        intake.lines.clear()
        for datagram in datagrams():
            sender.send(datagram)

    return fill


def drain_all(intake, receiver):
    while (status := intake.drain(receiver.fileno())) != DRAINED:
        if status == FULL:
            intake.rejects.take_notes()


@pytest.mark.parametrize("pack", [zlib.compress, gzip.compress], ids=["zlib", "gzip"])
def test_drain_of_packed_entries(measure, sockets, corpus, pack):
    receiver, sender = sockets
    intake = Intake(65536, ["ERROR", "CRITICAL"], Admission([]))
    entries = corpus[:BURST]
    packed = [pack(entry) for entry in entries]
    fill = filled(sender, intake, lambda: packed)
    measure(drain_all, intake, receiver, count=BURST, rounds=50, sample=entries, setup=fill)
    assert intake.lines.entries == BURST


def test_drain_of_entries_in_chunks(measure, sockets, corpus):
    receiver, sender = sockets
    intake = Intake(65536, ["ERROR", "CRITICAL"], Admission([]))
    entries = corpus[:CHUNKED]
    fill = filled(sender, intake, lambda: itertools.chain.from_iterable(cut(entry, CHUNKS) for entry in entries))
    measure(drain_all, intake, receiver, count=CHUNKED, rounds=50, sample=entries, setup=fill)
    assert intake.lines.entries == CHUNKED


def test_bombs(measure, sockets):
    receiver, sender = sockets
    intake = Intake(65536, ["ERROR", "CRITICAL"], Admission([]))
    bombs = [bomb()] * BOMBS
    fill = filled(sender, intake, lambda: bombs)
    measure(drain_all, intake, receiver, count=BOMBS, rounds=10, unit="bomb", sample=bombs, setup=fill)
    assert intake.rejects.counts["gelf"] == BOMBS * (measure.rounds + 1)


def test_chunks_that_push_each_other_out(measure):
    """A flood of first chunks, each of another message, from more senders than may have messages."""
    table = Chunks(SECRET)
    senders = [(0, n, 0) for n in range(300)]

    def another_flood():
        return ([(senders[n % 300], cut(b"x" * 100, 2)[0]) for n in range(BURST)],), {}

    def take(flood):
        for address, datagram in flood:
            table.take(address, datagram, 0)

    measure(take, count=BURST, rounds=20, unit="chunk", setup=another_flood)
    assert table.waiting == WAITING_MAX
