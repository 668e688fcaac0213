"""What the messages of other formats cost beside fastlog's own entries of the same length."""

import pytest
from tests.helpers._hooks import convert_syslog_many, scan_many

from benchmarks.parts.conftest import BURST
from fastlog.server._drain import DRAINED, Intake
from fastlog.server._socket import Admission

ROUNDS = 100
TEXT = "card refused for order %07d, the customer was asked to try another one"
WORDS = "x" * 200  # cut to bring entries to the length of messages
FORMS = {
    "rfc3164": b"<134>Nov 26 08:11:04 web1 shop[4711]: %s",
    "rfc3164 without a header": b"<11>%s",
    "rfc5424": b"<134>1 2026-11-26T08:11:04.811345Z web1 shop 4711 pay - %s",
    "rfc5424 with data": b'<134>1 2026-11-26T08:11:04.811345+01:00 web1 shop 4711 - [order@32473 id="1093" n="2"] %s',
}
MESSAGES = {name: [form % (TEXT % n).encode() for n in range(BURST)] for name, form in FORMS.items()}


def native(size: int) -> list[bytes]:
    """Entries of fastlog's own of that many bytes."""
    head = b'{"level":"INFO","app":"shop","message":"'
    return [(head + (TEXT % n + WORDS).encode())[: size - 2] + b'"}' for n in range(BURST)]


@pytest.mark.parametrize("form", FORMS)
def test_convert_syslog(measure, form):
    messages = MESSAGES[form]
    assert measure(convert_syslog_many, messages, count=BURST, rounds=ROUNDS, sample=messages)


@pytest.mark.parametrize("form", FORMS)
def test_scan_of_as_many_bytes(measure, form):
    entries = native(len(MESSAGES[form][0]))
    assert measure(scan_many, entries, count=BURST, rounds=ROUNDS, sample=entries) == BURST


@pytest.mark.parametrize("kind", ["message", "native"])
@pytest.mark.parametrize("form", FORMS)
def test_drain_of(measure, sockets, form, kind):
    receiver, sender = sockets
    intake = Intake(65536, ["CRITICAL"], Admission([]))
    datagrams = MESSAGES[form] if kind == "message" else native(len(MESSAGES[form][0]))

    def fill():
        intake.lines.clear()
        for datagram in datagrams:
            sender.send(datagram)

    status = measure(intake.drain, receiver.fileno(), count=BURST, rounds=ROUNDS, sample=datagrams, setup=fill)
    assert status == DRAINED
    assert intake.lines.entries == BURST
