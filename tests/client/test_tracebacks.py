"""Exceptions of any size as text: those of usual size as Python prints them, larger ones with bounded work."""

import json
import logging
import sys
import time
import traceback

import pytest

from fastlog.client.core import entry_of
from fastlog.client.record_fields import add_exception
from fastlog.client.tracebacks import format_exception


def caught(raising) -> BaseException:
    try:
        raising()
    except BaseException as error:
        return error
    raise AssertionError


def chain(length: int, *, explicit: bool = True) -> BaseException:
    last: BaseException | None = None
    for number in range(length):
        error = ValueError(f"number {number}")
        error.__traceback__ = caught(lambda: 1 / 0).__traceback__
        if explicit:
            error.__cause__ = last
        error.__context__ = last
        last = error
    assert last is not None
    return last


def deep(depth: int) -> None:
    if depth == 0:
        raise KeyError("bottom")
    deep(depth - 1)


def nested(depth: int) -> BaseException:
    error: Exception = ValueError("inner")
    for _ in range(depth):
        error = ExceptionGroup("group", [error, error])
    return error


def cycle() -> BaseException:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    return one


USUAL = [
    lambda: ValueError("alone"),
    lambda: caught(lambda: 1 / 0),
    lambda: chain(20),
    lambda: chain(20, explicit=False),
    lambda: caught(lambda: deep(500)),
    lambda: ExceptionGroup("group", [chain(3), caught(lambda: 1 / 0), ExceptionGroup("inner", [ValueError(1)])]),
    lambda: caught(lambda: compile("(", "program", "exec")),
    cycle,
]


@pytest.mark.parametrize("make", USUAL)
def test_exceptions_of_usual_size_look_as_python_prints_them(make):
    error = make()
    expected = "".join(traceback.format_exception(error))
    assert format_exception(type(error), error, error.__traceback__) == expected


def text_of_large(error: BaseException) -> str:
    """Its text; the limit is generous, since the machine may be busy."""
    entry: dict = {}
    start = time.thread_time()
    add_exception(entry, (type(error), error, error.__traceback__))
    assert time.thread_time() - start < 0.5
    assert len(entry["traceback"]) < 100_000
    return entry["traceback"]


@pytest.mark.parametrize("explicit", [True, False])
def test_a_long_chain_keeps_the_first_and_the_last_causes(explicit):
    text = text_of_large(chain(3000, explicit=explicit))
    for number in (*range(10), *range(2990, 3000)):
        assert f"ValueError: number {number}\n" in text + "\n"
    assert "number 1500" not in text
    assert "… 2980 exceptions left out …" in text
    assert text.index("number 0\n") < text.index("left out") < text.index("number 2999")
    assert ("direct cause" in text) is explicit


def test_a_deep_stack_keeps_the_first_and_the_last_calls():
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        error = caught(lambda: deep(10_000))
    finally:
        sys.setrecursionlimit(limit)
    text = text_of_large(error)
    assert "calls left out" in text
    assert "in caught" in text.split("calls left out")[0]
    assert text.endswith("KeyError: 'bottom'")


def test_a_large_group_keeps_its_first_members():
    error = ExceptionGroup("many", [ValueError(f"number {number}") for number in range(100_000)])
    text = text_of_large(error)
    assert "ExceptionGroup: many (100000 sub-exceptions)" in text
    assert "ValueError: number 9\n" in text
    assert "… 99990 exceptions left out …" in text


def test_groups_in_groups_and_chains_in_groups():
    assert "left out" in text_of_large(nested(200))
    assert "left out" in text_of_large(ExceptionGroup("chains", [chain(3000), chain(3000)]))
    assert "left out" in text_of_large(ExceptionGroup("groups", [ExceptionGroup("inner", [chain(50)] * 50)] * 50))


class UnspeakableError(Exception):
    def __str__(self):
        raise RuntimeError


def test_large_exceptions_that_fail_to_be_printed():
    error = chain(100)
    error.__cause__ = UnspeakableError()
    error.__cause__.__cause__ = chain(100)
    error.__cause__.__notes__ = ["a note", UnspeakableError(), *["x"] * 1000]
    text = text_of_large(error)
    assert "UnspeakableError: str() raised RuntimeError" in text
    assert "a note\n" in text


def test_the_arguments_of_a_failed_log_call_are_bounded():
    record = logging.makeLogRecord({"msg": "%d", "args": tuple(range(10**6))})
    assert len(json.dumps(entry_of(record, ()))) < 2000
