"""What the fuzzer ever found, and inputs that lead it to the limits, with the ordinary build. See tests/fuzz/main.c."""

from pathlib import Path

import pytest

from fastlog.inputs import _unpack, packed
from tests.fuzz import receive
from tests.fuzz.steps import steps
from tests.unit import test_gelf_agrees, test_syslog_agrees
from tests.unit.test_chunks import Both
from tests.unit.test_scanner_agrees import check

CORPUS = Path(__file__).parents[1] / "fuzz/corpus"


def inputs(target: str):
    return pytest.mark.parametrize("path", sorted((CORPUS / target).iterdir()), ids=lambda path: path.name)


@inputs("scanner")
def test_scanner(path):
    check(path.read_bytes())


@inputs("syslog")
def test_syslog(path):
    for receipt in test_syslog_agrees.RECEIPTS:
        for zone in test_syslog_agrees.ZONES:
            test_syslog_agrees.check(b"<131>" + path.read_bytes(), receipt, zone)


@inputs("gelf")
def test_gelf(path):
    for receipt in test_gelf_agrees.RECEIPTS:
        assert test_gelf_agrees.check(path.read_bytes(), receipt)


@inputs("unpack")
def test_unpack(path):
    datagram = path.read_bytes()[1:]
    assert _unpack.unpack(datagram) == packed.unpack(datagram)


@inputs("chunks")
def test_chunks(path):
    both, now_ms = Both(), 0
    for address, datagram, passed_ms in steps(path.read_bytes()):
        now_ms += passed_ms
        both.take(datagram, now_ms, address)


@pytest.fixture
def links(monkeypatch):
    """The receive target keeps its sockets for the next input; here they are closed."""
    opened = {}
    monkeypatch.setattr(receive, "links", opened)
    yield
    for link in opened.values():
        link.close()


@inputs("receive")
@pytest.mark.usefixtures("links")
def test_receive_path(path):
    receive.check(path.read_bytes())
