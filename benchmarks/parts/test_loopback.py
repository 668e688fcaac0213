"""The whole way: a sender in Python, the real server in its own process, its file, and its ACK back."""

import re
import socket

import pytest

from benchmarks.peers import kernel, trial
from fastlog.server.commit import SYNCS_IN_A_ROW

COUNT = 5_000  # datagrams that fit in a receive buffer of 4 MiB, should the server not come to run
PATIENCE_SEC = 30


@pytest.fixture
def server(tmp_path):
    with trial.running("fastlog", tmp_path) as collector:
        yield collector


@pytest.fixture
def client(server):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE_SEC)
        client.connect(("127.0.0.1", server.port))
        yield client


def send_and_wait(client, ordinary, error):
    """When the ACK comes, what was sent before it is in the file, too: it keeps the order."""
    for datagram in ordinary:
        client.send(datagram)
    client.send(error)
    return client.recv(100)


def rounds_of(measure, client, errors, ordinary, rounds):
    """Returns the last ACK, and the sequence that it should have."""
    latest = b""

    def set_up():
        nonlocal latest
        [latest] = errors(1)
        return (client, ordinary, latest), {}

    ack = measure(send_and_wait, count=len(ordinary) + 1, rounds=rounds, setup=set_up)
    return ack, re.search(rb'"sequence":(\d+)', latest)[1]


@pytest.mark.parametrize("in_a_row", [SYNCS_IN_A_ROW - 1, 300])
def test_error_to_its_ack(measure, server, client, errors, in_a_row):
    """Each is sent after the ACK of the one before. When there are many, their syncs begin apart."""
    ack, sequence = rounds_of(measure, client, errors, [], in_a_row)
    assert ack == b'{"ack":true,"sequence":%s}' % sequence
    server.stop()
    assert server.stored() == measure.rounds + 1


def test_entries_until_they_are_in_the_file(measure, benchmark, server, client, corpus, errors):
    used = kernel.cpu_ns(server.pid)
    rounds_of(measure, client, errors, corpus[: COUNT - 1], 20)
    sent = COUNT * (measure.rounds + 1)
    benchmark.extra_info["server's CPU"] = (kernel.cpu_ns(server.pid) - used) / sent
    drops = server.socket.drops
    server.stop()
    assert (server.stored(), drops) == (sent, 0)
