"""The level that a caller means: the lane that its entry takes in the client, and what the server makes of it."""

import enum
import json
import logging
import warnings
from decimal import Decimal

import numpy
import pytest
import structlog
from loguru import logger as loguru_logger

import fastlog
from fastlog._parse import scan
from fastlog.client import level_names
from fastlog.client.core import Item, Outbox, entry_of
from fastlog.client.options import checked_options
from fastlog.client.shorten import _cut_known
from fastlog.entry import ALIASES, LEVELS, decode
from fastlog.errors import ConfigError
from fastlog.testing import capture_entries
from tests.helpers.running import run_python


class Owner:
    """Has no thread."""

    def attend(self) -> None:
        pass


def stored_level(level: object) -> str:
    """The level that the server gives an entry; the client has it in the same lane."""
    outbox = Outbox(checked_options(), Owner())
    outbox.put({"level": level, "message": "m"})
    items: list[Item] = []
    outbox.fetch(items)
    [item] = items
    line = outbox.line(item, 1)
    [found], [piece] = scan(line), decode(line)
    assert found[1] == piece.level == LEVELS[item.level]
    assert item.priority == (piece.level in ("ERROR", "CRITICAL"))
    return piece.level


class Text(str, enum.Enum):  # noqa: UP042 (older programs have it)
    ERROR = "error"
    FAILED = "ERR"
    CRITICAL = "C-1"


class Number(enum.IntEnum):
    ERROR = 40
    NOTICE = 25


class Syslog(enum.IntEnum):
    ERROR = 3
    DEBUG = 7


class Plain(enum.Enum):
    WARN = object()


class OwnText(str):
    pass


class Index:
    def __index__(self):
        return 40


@pytest.mark.parametrize(
    ("level", "meant"),
    [
        (Text.ERROR, "ERROR"), (Text.FAILED, "ERROR"), (Text.CRITICAL, "CRITICAL"), (Number.ERROR, "ERROR"),
        (Number.NOTICE, "INFO"), (Syslog.ERROR, "ERROR"), (Syslog.DEBUG, "DEBUG"), (Plain.WARN, "WARNING"),
        (OwnText("error"), "ERROR"), (b"error", "ERROR"), (" Error\n", "ERROR"), (Index(), "ERROR"),
        (logging.ERROR, "ERROR"), (logging.CRITICAL, "CRITICAL"), (25, "INFO"), (45.0, "ERROR"), (10, "DEBUG"),
        (numpy.int64(40), "ERROR"), (numpy.float64(30), "WARNING"), (numpy.str_("ERROR"), "ERROR"), ("50", "ERROR"),
    ],
)  # fmt: skip
def test_kinds_of_levels(level, meant):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert stored_level(level) == meant


def test_every_spelling_that_the_server_knows():
    for name in (*LEVELS[:-1], *ALIASES):
        for spelling in (name, name.lower(), name.title(), name.swapcase(), f"{name[:1].lower()}{name[1:]}"):
            assert stored_level(spelling) == ALIASES.get(name, name), spelling


@pytest.mark.parametrize(
    ("level", "kept"),
    [("EMERGENCY", "CRITICAL"), ("INFORMATIONAL", "INFO"), ("CRITICALLY", "OTHER"), ("made up level", "made up ")],
)
def test_the_shortest_form_of_an_entry_keeps_its_level(level, kept):
    """A part of a name is another name."""
    assert _cut_known({"level": level, "app": "a" * 100}, 8) == {"level": kept, "app": "a" * 8}


@pytest.fixture
def no_warnings_yet(monkeypatch):
    monkeypatch.setattr(level_names, "_warned", set())


@pytest.mark.usefixtures("no_warnings_yet")
@pytest.mark.parametrize(
    ("typo", "meant"), [("EROR", "ERROR"), ("Criticl", "CRITICAL"), ("warnning", "WARNING"), ("fatl", "FATAL")]
)
def test_a_typo_is_told_once_with_the_level_that_was_meant(typo, meant):
    with capture_entries(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            fastlog.Client().send(typo, "m")
    [warning] = caught
    text = str(warning.message)
    assert repr(typo) in text
    assert f"Did you mean {meant!r}?" in text
    assert "does not acknowledge" in text
    assert warning.filename == __file__


@pytest.mark.usefixtures("no_warnings_yet")
def test_warnings_are_bounded_and_never_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert stored_level("EROR") == "OTHER"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for number in range(200):
            assert stored_level(f"made up {number}" + "x" * 10**6) == "OTHER"
        assert stored_level(None) == "OTHER"
    assert len(caught) <= level_names.WARNED_MAX_SPELLINGS
    assert max(len(str(warning.message)) for warning in caught) < 300


@pytest.mark.usefixtures("no_warnings_yet")
def test_no_warning_where_unknown_levels_are_acknowledged():
    outbox = Outbox(checked_options(priority_levels=LEVELS), Owner())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        outbox.put({"level": "EROR", "message": "m"})
    assert caught == []


def test_a_program_that_treats_warnings_as_errors_is_not_ended():
    run_python("import fastlog\nclient = fastlog.Client()\nclient.send('EROR', 'm')\nclient.close(0)")


def test_priority_levels_of_all_kinds():
    for given in (["warn", Text.ERROR], [logging.WARNING, 40], (b"WARNING", numpy.int64(40)), "warn, error", {30, 40}):
        assert sorted(checked_options(priority_levels=given).priority_levels) == ["ERROR", "WARNING"]
    for given in ([45], [True], ["EROR"], [None], 40):
        with pytest.raises(ConfigError, match="priority_levels"):
            checked_options(priority_levels=given)


@pytest.mark.parametrize(
    ("level", "number"),
    [
        ("INFO", 20), ("info", 20), ("warn", 30), (" Error ", 40), ("NOTICE", 20), ("notset", 0), (20, 20), ("25", 25),
        (Text.ERROR, 40), (Number.NOTICE, 25), (numpy.int64(40), 40), ("emerg", 50),
    ],
)  # fmt: skip
def test_the_level_of_a_handler(level, number):
    handler = fastlog.Handler(level=level)
    assert handler.level == number
    handler.setLevel(logging.DEBUG)
    handler.setLevel(level)
    assert handler.level == number
    handler.close()


@pytest.mark.parametrize(("level", "error"), [("EROR", ValueError), (None, TypeError), (object(), TypeError)])
def test_a_level_of_a_handler_that_is_none_rejected(level, error):
    with pytest.raises(error):
        fastlog.Handler(level=level)


@pytest.mark.parametrize(
    ("attributes", "level"),
    [
        ({"levelno": numpy.int64(40)}, "ERROR"), ({"levelno": Decimal(30)}, "WARNING"), ({"levelno": 25.0}, "INFO"),
        ({"levelname": "err"}, "ERROR"), ({}, "INFO"), ({"levelno": "x", "levelname": "CRIT"}, "CRITICAL"),
        ({"levelno": Number.ERROR}, "ERROR"),
    ],
)  # fmt: skip
def test_records_that_a_program_made_itself(attributes, level):
    assert entry_of(logging.makeLogRecord({"msg": "m", **attributes}), ())["level"] == level


def test_levels_of_structlog_and_loguru():
    with capture_entries() as logged:
        client = fastlog.Client()
        log = structlog.wrap_logger(None, processors=[fastlog.structlog_processor(client)])
        for level in (logging.ERROR, Text.ERROR, "fatal", "notice"):
            log.info("structlog", level=level)
        loguru_logger.remove()
        sink = loguru_logger.add(fastlog.loguru_sink(client, fields=()), level=0)
        loguru_logger.success("loguru")
        loguru_logger.level("AUDIT", no=45)
        loguru_logger.log("AUDIT", "loguru")
        loguru_logger.remove(sink)
    levels = [entry["level"] for entry in logged.entries]
    assert levels == ["ERROR", "ERROR", "CRITICAL", "INFO", "INFO", "ERROR"]
    assert json.dumps([entry.get("level_name") for entry in logged.entries][-2:]) == '["SUCCESS", "AUDIT"]'
