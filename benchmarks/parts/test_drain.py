"""What an entry costs from a full socket to the line buffer, whether it is stored or rejected."""

import ipaddress

import msgspec
import pytest

from benchmarks.parts.conftest import BURST
from fastlog.config import INPUTS
from fastlog.server._drain import DRAINED, Intake
from fastlog.server._socket import Admission
from fastlog.server.rejects import NOTES_PER_SEC, RejectsFile

encoded, decode = msgspec.json.encode, msgspec.json.decode
NOBODY = [ipaddress.ip_network("192.0.2.0/24")]
BYTES_MAX = 65536  # of a datagram
REJECTS_CAP_BYTES = 2_000_000  # small, so that rejects.jsonl is rotated, too
PACKED = 10  # entries of a datagram
BAD = {
    "syntax": lambda entry: entry[:-1],
    "utf8": lambda entry: entry.replace(b'"message":"', b'"message":"\xff'),
    "empty": lambda entry: b"\n",
}


def filled(sender, intake, datagrams):
    """A set-up: forgets what the last round left, and fills the socket."""

    def fill():
        intake.lines.clear()
        for datagram in datagrams:
            sender.send(datagram)

    return fill


def test_drain(measure, sockets, corpus):
    receiver, sender = sockets
    intake = Intake(65536, ["ERROR", "CRITICAL"], Admission([]))
    datagrams = corpus[:BURST]
    fill = filled(sender, intake, datagrams)
    status = measure(intake.drain, receiver.fileno(), count=BURST, rounds=100, sample=datagrams, setup=fill)
    assert status == DRAINED
    assert intake.lines.entries == BURST


@pytest.mark.parametrize("stamp", ["missing", "always"])
@pytest.mark.parametrize("lacks", [(), ("timestamp", "host"), ("host",)], ids=["complete", "bare", "no host"])
def test_drain_with_stamps(measure, sockets, corpus, stamp, lacks):
    receiver, sender = sockets
    intake = Intake(65536, ["ERROR", "CRITICAL"], Admission([]), 1, INPUTS, stamp)
    datagrams = [encoded({k: v for k, v in decode(line).items() if k not in lacks}) for line in corpus[:BURST]]
    fill = filled(sender, intake, datagrams)
    measure(intake.drain, receiver.fileno(), count=BURST, rounds=50, sample=datagrams, setup=fill)
    assert intake.lines.entries == BURST
    assert (b'"source":' in bytes(intake.lines)) == (stamp == "always" or "host" in lacks)


def test_drain_of_10_entries_a_datagram(measure, sockets, corpus):
    receiver, sender = sockets
    intake = Intake(65536, ["ERROR", "CRITICAL"], Admission([]))
    entries = corpus[:BURST]
    packed = [b"\n".join(entries[start : start + PACKED]) for start in range(0, BURST, PACKED)]
    fill = filled(sender, intake, packed)
    status = measure(intake.drain, receiver.fileno(), count=BURST, rounds=100, sample=entries, setup=fill)
    assert status == DRAINED
    assert intake.lines.entries == BURST


def flood(measure, sockets, tmp_path, datagrams, admission, notes_allowed):
    """Rounds in which the server's turn takes nothing but bad input."""
    receiver, sender = sockets
    intake = Intake(65536, ["ERROR", "CRITICAL"], admission)
    rejects = RejectsFile(tmp_path, REJECTS_CAP_BYTES)
    fill = filled(sender, intake, datagrams)

    def allow_and_fill():
        intake.rejects.allow(notes_allowed, notes_allowed * BYTES_MAX)
        fill()

    def take():
        while True:
            status = intake.drain(receiver.fileno())
            if intake.rejects.note_count:
                rejects.write(intake.rejects.take_notes())
            if status == DRAINED:
                break

    measure(take, count=len(datagrams), rounds=30, unit="reject", sample=datagrams, setup=allow_and_fill)
    rejects.close()
    assert sum(intake.rejects.counts.values()) == len(datagrams) * (measure.rounds + 1)
    assert intake.lines.entries == 0
    return intake


@pytest.mark.parametrize("kind", BAD)
def test_flood_of_bad_input_noted(measure, sockets, tmp_path, corpus, kind):
    datagrams = [BAD[kind](entry) for entry in corpus[:BURST]]
    intake = flood(measure, sockets, tmp_path, datagrams, Admission([]), NOTES_PER_SEC)
    assert intake.rejects.not_noted == 0


@pytest.mark.parametrize("kind", BAD)
def test_flood_of_bad_input_past_the_cap_of_notes(measure, sockets, tmp_path, corpus, kind):
    datagrams = [BAD[kind](entry) for entry in corpus[:BURST]]
    intake = flood(measure, sockets, tmp_path, datagrams, Admission([]), 0)
    assert intake.rejects.not_noted == intake.rejects.counts[kind]


def test_flood_from_who_may_not_send(measure, sockets, tmp_path, corpus):
    intake = flood(measure, sockets, tmp_path, corpus[:BURST], Admission(NOBODY), NOTES_PER_SEC)
    assert intake.rejects.counts["denied"] > 0
