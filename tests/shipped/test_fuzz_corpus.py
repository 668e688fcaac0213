"""What the fuzzer ever found, and inputs that lead it to the limits, with the ordinary build. See tests/fuzz/main.c."""

from pathlib import Path

import pytest

from tests.fuzz import receive
from tests.unit import test_gelf_agrees
from tests.unit.test_scanner_agrees import check

CORPUS = Path(__file__).parents[1] / "fuzz/corpus"


def inputs(target: str):
    return pytest.mark.parametrize("path", sorted((CORPUS / target).iterdir()), ids=lambda path: path.name)


@inputs("scanner")
def test_scanner(path):
    check(path.read_bytes())


@inputs("gelf")
def test_gelf(path):
    for receipt in test_gelf_agrees.RECEIPTS:
        assert test_gelf_agrees.check(path.read_bytes(), receipt)


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
