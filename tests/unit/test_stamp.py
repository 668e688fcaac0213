"""STAMP: the server's own words about an entry, which nobody can forge, and retransmissions in spite of them."""

import json
import re
import socket

import pytest

from fastlog.config import INPUTS, STAMPS
from fastlog.inputs.stamp import stamped
from fastlog.server._drain import DRAINED, Intake
from fastlog.server._socket import Admission
from tests.helpers._hooks import stamped as stamped_in_c
from tests.helpers._hooks import unstamped
from tests.helpers.stored import RECEIPT

RECEIVED = b'"received":"2026-11-26T08:30:00.000000Z"'
SOURCE = b'"source":"192.0.2.17:40312"'
BOTH = RECEIVED + b"," + SOURCE
OWN = b'"level":"INFO","message":"m"'
COMPLETE = OWN + b',"timestamp":"t","host":"h"'
# What comes, what is stored of it with `missing`, and with `always`: the members of the object.
CASES = [
    (COMPLETE, COMPLETE, COMPLETE + b"," + BOTH),
    (OWN, OWN + b"," + BOTH, OWN + b"," + BOTH),
    (OWN + b',"host":"h"', OWN + b',"host":"h",' + RECEIVED, OWN + b',"host":"h",' + BOTH),
    (OWN + b',"timestamp":"t"', OWN + b',"timestamp":"t",' + SOURCE, OWN + b',"timestamp":"t",' + BOTH),
    # Empty is as good as missing; a value elsewhere is not the entry's own.
    (OWN + b',"host":"","timestamp":""', OWN + b',"host":"","timestamp":"",' + BOTH, OWN + b',"host":"","timestamp":"",' + BOTH),
    (OWN + b',"x":{"host":"h","timestamp":"t"}', OWN + b',"x":{"host":"h","timestamp":"t"},' + BOTH, OWN + b',"x":{"host":"h","timestamp":"t"},' + BOTH),
    # Of keys that occur twice, the last one counts.
    (COMPLETE + b',"host":""', COMPLETE + b',"host":"",' + SOURCE, COMPLETE + b',"host":"",' + BOTH),
    # A sender's own keys are renamed, wherever they stand, however they are written and however often.
    (COMPLETE + b',"source":"me"', COMPLETE + b',"_source":"me"', COMPLETE + b',"_source":"me",' + BOTH),
    (b'"received" : 1, ' + COMPLETE, b'"_received" : 1, ' + COMPLETE, b'"_received" : 1, ' + COMPLETE + b"," + BOTH),
    (b'"\\u0073ource":[1],' + COMPLETE, b'"_\\u0073ource":[1],' + COMPLETE, b'"_\\u0073ource":[1],' + COMPLETE + b"," + BOTH),
    (b'"source":1,"source":{},' + COMPLETE, b'"_source":1,"_source":{},' + COMPLETE, b'"_source":1,"_source":{},' + COMPLETE + b"," + BOTH),
    (OWN + b"," + BOTH, OWN + b"," + BOTH.replace(b'"rec', b'"_rec').replace(b'"so', b'"_so') + b"," + BOTH, OWN + b"," + BOTH.replace(b'"rec', b'"_rec').replace(b'"so', b'"_so') + b"," + BOTH),
    (COMPLETE + b',"_source":1,"source":2', COMPLETE + b',"_source":1,"_source":2', COMPLETE + b',"_source":1,"_source":2,' + BOTH),
    # Not these: other names, values, and keys of other objects.
    (COMPLETE + b',"Source":"source","x":{"source":1,"received":2},"received_":3', COMPLETE + b',"Source":"source","x":{"source":1,"received":2},"received_":3', COMPLETE + b',"Source":"source","x":{"source":1,"received":2},"received_":3,' + BOTH),
    # White space stays; line feeds between tokens become blanks.
    (b'\n "source"\n:\r"\xc3\xa9\\"",' + COMPLETE + b"\n", b'  "_source" : "\xc3\xa9\\"",' + COMPLETE + b" ", b'  "_source" : "\xc3\xa9\\"",' + COMPLETE + b" ," + BOTH),
]  # fmt: skip


def by_reference(entry: bytes, stamp: str) -> bytes:
    return stamped(entry.replace(b"\n", b" ").replace(b"\r", b" ") + b"\n", stamp, RECEIPT)


def by_c(entry: bytes, stamp: str) -> bytes:
    [line] = stamped_in_c(entry, stamp, RECEIPT.received.encode(), RECEIPT.source.encode())
    return line


@pytest.mark.parametrize("make", [by_reference, by_c])
@pytest.mark.parametrize(("own", "missing", "always"), CASES)
def test_what_is_stored(make, own, missing, always):
    never = own.replace(b"\n", b" ").replace(b"\r", b" ")
    for stamp, members in (("missing", missing), ("always", always), ("never", never)):
        line = make(b"{" + own + b"}", stamp)
        assert line == b"{" + members + b"}\n"
        json.loads(line)


@pytest.mark.parametrize(("own", "missing", "always"), CASES)
def test_words_of_the_server_can_be_told_from_all_else(own, missing, always):
    for stamp, members in (("missing", missing), ("always", always)):
        line = by_c(b"{" + own + b"}", stamp)
        rest = unstamped(line)
        assert line.startswith(rest[:-2])
        assert (
            rest
            == b"{" + members.removesuffix(SOURCE).removesuffix(b",").removesuffix(RECEIVED).removesuffix(b",") + b"}\n"
        )


@pytest.mark.parametrize(
    "line",
    [
        b'{"a":"source"}\n',
        b'{"source":"1"}\n',
        b'{"a":1,"source":1}\n',
        b'{"a":1,"source":"1" }\n',
        b'{"a":{"b":1,"source":"1"}}\n',
        b'{"a":1,"source":"\\u0031"}\n',
        b'{"a":"1,\\"source\\":\\"1"}\n',
        b'{"a":1,"source":"%b"}\n' % (b"1" * 97),
        b'{"a":1,"received":"%b"}\n' % (b"1" * 28),
        b"{}\n",
    ],
)
def test_other_lines_have_no_words_of_the_server(line):
    assert unstamped(line) == line


class Wire:
    """A sender, and intakes that receive from it."""

    def __init__(self) -> None:
        self.receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.receiver.setblocking(False)
        self.receiver.bind(("127.0.0.1", 0))
        self.sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sender.connect(self.receiver.getsockname())

    def close(self) -> None:
        self.receiver.close()
        self.sender.close()

    def send(self, intake: Intake, *datagrams: bytes) -> bytes:
        """What is stored of these datagrams."""
        intake.lines.clear()
        for datagram in datagrams:
            self.sender.send(datagram)
        assert intake.drain(self.receiver.fileno()) == DRAINED
        return bytes(intake.lines)


@pytest.fixture
def wire(closing):
    return closing(Wire())


def intake_with(stamp: str) -> Intake:
    return Intake(65536, ["ERROR"], Admission([]), 1, INPUTS, stamp)


def test_an_entry_is_stored_with_the_time_and_the_sender(wire):
    line = wire.send(intake_with("missing"), b'{"level":"INFO","message":"hello"}')
    host, port = wire.sender.getsockname()
    time = rb"20\d\d-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-6]\d\.\d{6}Z"
    assert re.fullmatch(
        rb'\{"level":"INFO","message":"hello","received":"%b","source":"%b:%d"\}\n' % (time, host.encode(), port), line
    )


def test_each_entry_of_a_datagram_gets_what_it_lacks(wire):
    entries = [b"{" + own + b"}" for own, _, _ in CASES]
    lines = wire.send(intake_with("missing"), b"\n".join(entries)).splitlines()
    assert len(lines) == len(CASES)
    for line, (_, missing, _) in zip(lines, CASES, strict=True):
        assert line.startswith(
            b"{" + missing.removesuffix(SOURCE).removesuffix(b",").removesuffix(RECEIVED).removesuffix(b",")
        )


TIMED = b'"level":"ERROR","message":"m","sequence":7,"timestamp":"2026-11-26T07:00:00.000000Z"'
PRIORITY = [
    TIMED,
    TIMED + b',"host":"h"',
    TIMED + b',"host":"h","source":"me"',
    TIMED + b',"source":"me"',
    TIMED + b',"_source":"me"',
    TIMED + b',"received":"2026-11-26T08:30:00.000000Z"',
    TIMED + b"," + BOTH,
    TIMED + b"," + BOTH + b"," + BOTH,
    BOTH + b"," + TIMED + b',"host":"h"\n',
    b'"received"\n:1,"sour\\u0063e":"%b",' % (b"x" * 200) + TIMED + b" ",
    TIMED + b',"x":[%b{"source":"1"}]' % (b"[]," * 5_000),
]


@pytest.mark.parametrize("stamp", STAMPS)
@pytest.mark.parametrize("entry", [b"{" + own + b"}" for own in PRIORITY])
def test_a_retransmission_is_known_also_after_a_restart_and_another_stamp(wire, stamp, entry):
    intake = intake_with(stamp)
    stored = wire.send(intake, entry, entry)
    assert stored.count(b"\n") == 1
    assert (intake.acks.count, intake.duplicates) == (2, 1)
    for later in STAMPS:
        again = intake_with(later)
        again.remember(stored)
        assert wire.send(again, entry) == b""
        assert (again.acks.count, again.duplicates) == (1, 1)
        assert wire.send(again, entry.replace(b'"m"', b'"n"')).count(b"\n") == 1


@pytest.mark.parametrize("stamp", STAMPS)
def test_another_sender_s_entry_is_no_retransmission_without_a_timestamp(wire, closing, stamp):
    intake = intake_with(stamp)
    entry = b'{"level":"ERROR","message":"m","sequence":7,"source":"me"}'
    assert wire.send(intake, entry, entry).count(b"\n") == 1
    other = closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    other.sendto(entry, wire.receiver.getsockname())
    assert wire.send(intake).count(b"\n") == 1
