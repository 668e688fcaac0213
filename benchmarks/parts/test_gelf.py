"""What a GELF object costs: the converter alone, and from a full socket to the line buffer."""

import json

import pytest
from tests.helpers._hooks import c_gelf_many

from benchmarks.parts.conftest import BURST
from benchmarks.parts.test_drain import filled
from fastlog.inputs.receipt import Receipt
from fastlog.server._drain import DRAINED, Intake
from fastlog.server._socket import Admission

RECEIPT = Receipt("2026-11-26T08:30:00.000000Z", "192.0.2.7:40000", "192.0.2.7")
GRAYPY = (
    b'{"version":"1.0","host":"vm","short_message":"slow","timestamp":1795680684.4336405,"level":4,"facility":"shop.pay",'
    b'"file":"/srv/shop/pay.py","line":33,"_function":"refund","_pid":15592,"_thread_name":"MainThread",'
    b'"_process_name":"MainProcess","_stack_info":null}'
)


@pytest.fixture(scope="module")
def objects(corpus) -> dict[str, list[bytes]]:
    """The corpus as GELF: the same content, so that the cost can be compared; and what a library sends."""
    return {"as the corpus": [as_gelf(entry) for entry in corpus[:BURST]], "graypy": [GRAYPY] * BURST}


def as_gelf(entry: bytes) -> bytes:
    fields = json.loads(entry)
    known = {"host": fields.pop("host"), "short_message": fields.pop("message"), "level": 6}
    del fields["level"], fields["timestamp"], fields["sequence"]
    more = {f"_{key}": value for key, value in fields.items()}
    return json.dumps({**known, "timestamp": 1795680684.433172, **more}, separators=(",", ":")).encode()


@pytest.mark.parametrize("kind", ["as the corpus", "graypy"])
def test_convert(measure, objects, kind):
    assert measure(c_gelf_many, objects[kind], RECEIPT, count=BURST, rounds=100, sample=objects[kind]) > 0


@pytest.mark.parametrize("kind", ["as the corpus", "graypy"])
def test_drain(measure, sockets, objects, kind):
    receiver, sender = sockets
    intake = Intake(65536, ["ERROR", "CRITICAL"], Admission([]))
    fill = filled(sender, intake, objects[kind])
    status = measure(intake.drain, receiver.fileno(), count=BURST, rounds=100, sample=objects[kind], setup=fill)
    assert status == DRAINED
    assert intake.lines.entries == BURST
