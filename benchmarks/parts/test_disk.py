"""What the file costs: ordinary lines, and priority entries on their way from the socket to the ACK.

Syncs take what the disk under the system's place for temporary files takes.
"""

import itertools
from time import monotonic

import pytest

from benchmarks.parts.conftest import BURST
from fastlog.config import Settings
from fastlog.server.commit import SyncPace
from fastlog.server.listener import Listener
from fastlog.server.listeners import Listeners
from fastlog.server.logfile import LogFile
from fastlog.server.loop import Loop
from fastlog.server.pipeline import Pipeline
from fastlog.server.storage import Storage, best_storage

BACKUPS = 10


@pytest.fixture
def log(tmp_path):
    logs = []

    def open_log(limit=10**12, storage=None):
        logs.append(LogFile(storage or Storage(), tmp_path, "server.log", limit, BACKUPS))
        return logs[-1]

    yield open_log
    for opened in logs:
        opened.close()


def test_flush(measure, log, corpus):
    lines = memoryview(b"\n".join(corpus[:BURST]) + b"\n")
    append = log().append
    assert measure(append, lines, False, count=BURST, rounds=200, sample=corpus[:BURST]) == len(lines)


def test_flush_with_a_rotation(measure, log, corpus):
    lines = memoryview(b"\n".join(corpus[:BURST]) + b"\n")
    file = log(limit=len(lines))
    assert measure(file.append, lines, False, count=BURST, rounds=100, sample=corpus[:BURST]) == len(lines)
    assert file.rotations == measure.rounds


def test_rotation(measure, log):
    file = log()
    measure(file.rotate, count=1, rounds=200, unit="rotation")
    assert file.rotations == measure.rounds + 1


class PriorityPath:
    """The server's pipeline, a turn at a time: each writes what it took."""

    def __init__(self, sockets, log, storage, mode):
        receiver, self.sender = sockets
        self.sender.setblocking(False)
        self.loop = Loop()
        self.storage = storage
        settings = Settings(priority_sync=mode, flush_count=1, rejects_max_mb=0)
        self.pipeline = Pipeline(settings, log, Listeners([Listener(receiver, 4 << 20)]), self.loop, SyncPace(0.0))
        self.writer = self.pipeline.writer

    def send(self, datagrams):
        """Sends, after it has read the ACKs of the round before."""
        try:
            while True:
                self.sender.recv(100)
        except BlockingIOError:
            for datagram in datagrams:
                self.sender.send(datagram)

    def take(self):
        self.pipeline.turn(monotonic())
        self.storage.finish()

    def close(self):
        self.loop.close()


@pytest.fixture
def path(sockets, log, tmp_path):
    """A path whose ACKs wait for the disk, or do not."""
    opened = []

    def open_path(mode):
        storage = best_storage(tmp_path)
        opened.append(PriorityPath(sockets, log(storage=storage), storage, mode))
        return opened[-1]

    yield open_path
    for each in opened:
        each.close()
        each.storage.shut_down()


@pytest.mark.parametrize("mode", ["durable", "written"])
@pytest.mark.parametrize("group", [1, 64, 1000])
def test_priority_path(measure, path, errors, mode, group):
    path = path(mode)
    measure(path.take, count=group, rounds=100, setup=lambda: path.send(errors(group)), unit="ERROR")
    assert path.writer.stored == path.writer.commit.acks_sent == group * (measure.rounds + 1)


def test_priority_path_of_retransmissions(measure, path, errors):
    path = path("durable")
    again = errors(1000)
    measure(path.take, count=1000, rounds=50, setup=lambda: path.send(again), unit="ERROR")
    assert path.writer.stored == 1000
    assert path.writer.commit.acks_sent == 1000 * (measure.rounds + 1)


def test_priority_path_of_one_error_among_ordinary_entries(measure, path, corpus, errors):
    path = path("durable")
    rest = itertools.repeat(corpus[: BURST - 1])
    measure(path.take, count=BURST, rounds=100, setup=lambda: path.send([*next(rest), *errors(1)]))
    assert path.writer.stored == BURST * (measure.rounds + 1)
    assert path.writer.commit.acks_sent == measure.rounds + 1
