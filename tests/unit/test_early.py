"""What the command does first, and how it knows that it is the command."""

import sys

import pytest

from fastlog.early import _is_command


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["python", "-m", "fastlog"], True),
        (["python", "-I", "-m", "fastlog"], True),
        (["python", "-Im", "fastlog"], True),
        (["python", "-mfastlog"], True),
        (["python", "-W", "error", "-m", "fastlog"], True),
        (["python", "-m", "fastlog.cli"], True),
        (["python", "-m", "program"], False),
        (["python", "-Im", "program"], False),
    ],
)
def test_a_module_that_python_is_asked_for_is_known(monkeypatch, words, expected):
    monkeypatch.setattr(sys, "orig_argv", [*words, "serve", "-m", "other"])
    monkeypatch.setattr(sys, "argv", ["-m", "serve", "-m", "other"])  # as it is while Python looks for the module
    assert _is_command() is expected
