"""`fastlog.Handler`: records in all the forms that real programs give them, sent through the real server."""

import io
import logging
import logging.config
import logging.handlers
import os
import queue
import subprocess
import sys
import traceback
from datetime import UTC, datetime
from decimal import Decimal

import numpy
import pytest

import fastlog
from fastlog.client.core import entry_of
from fastlog.client.handler import RECORD_FIELDS, Logger
from fastlog.errors import ConfigError
from fastlog.testing import capture_entries
from tests.helpers.running import run_python

HEADER = "Traceback (most recent call last):\n"


def stored(server) -> list[dict]:
    """The entries in the log, without the fields that all of them have."""
    entries = server.entries()
    assert "rejected 0, " in server.account
    for entry in entries:
        for name in ("timestamp", "sequence", "host"):
            del entry[name]
    return entries


def record(message="hello", *args, level=logging.INFO, exc_info=None, extra=None, stack=None) -> logging.LogRecord:
    return logging.getLogger("shop.web").makeRecord(
        "shop.web", level, "/srv/shop.py", 33, message, args, exc_info, "pay", extra, stack
    )


def fail(message="no such order"):
    def find():
        raise LookupError(message)

    try:
        find()
    except LookupError:
        return sys.exc_info()


def mapped(made: logging.LogRecord, *fields: str) -> dict[str, object]:
    entry = entry_of(made, tuple((name, RECORD_FIELDS[name]) for name in fields))
    del entry["timestamp"]
    return entry


@pytest.fixture
def attach():
    """Adds a handler to a logger of the test; the logger loses all of them afterwards."""
    logger = logging.getLogger("shop.web")
    logger.setLevel(1)
    added = []

    def add(handler):
        added.append(handler)
        logger.addHandler(handler)
        return logger, handler

    yield add
    while added:
        handler = added.pop()
        logger.removeHandler(handler)
        handler.close()
        if isinstance(handler, fastlog.Handler):  # it delivers in the background what a test has left
            handler.client.close(0)


class Unspeakable:
    def __str__(self):
        raise RuntimeError("no")

    __repr__ = __str__


# From the record to the entry


def test_the_fields_of_a_record_can_be_chosen():
    made = record()
    assert mapped(made) == {"level": "INFO", "message": "hello"}
    assert mapped(made, "logger", "file", "line", "function", "module", "process", "process_name", "thread") == {
        "level": "INFO", "message": "hello", "logger": "shop.web", "file": "/srv/shop.py", "line": 33,
        "function": "pay", "module": "shop", "process": os.getpid(), "process_name": "MainProcess",
        "thread": "MainThread",
    }  # fmt: skip


def test_an_unknown_field_rejected():
    with pytest.raises(ConfigError, match="no field 'lineno'; choose from logger, file, line,"):
        fastlog.Handler(fields=["logger", "lineno"])


@pytest.mark.parametrize(
    "created",
    [0.0, 1.0, 1_700_000_000.25, 1_700_000_000.999_999_9, 1_700_000_001.000_000_6, 253_402_300_799.5],
)
def test_the_timestamp_is_that_of_the_record(created):
    made = record()
    made.created = created
    expected = datetime.fromtimestamp(created, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    assert entry_of(made, ())["timestamp"] == expected


@pytest.mark.parametrize("created", [1_700_000_000, Decimal(1_700_000_000), numpy.float64(1.7e9), numpy.int64(1.7e9)])
def test_the_time_of_a_record_that_a_program_made_itself(created):
    made = logging.makeLogRecord({"msg": "m", "created": created})
    assert entry_of(made, ())["timestamp"] == "2023-11-14T22:13:20.000000Z"


@pytest.mark.parametrize("created", [float("nan"), float("inf"), 1e300, -1.0, "yesterday", None])
def test_a_time_that_is_none_is_replaced_by_the_present(created):
    made = record()
    made.created = created
    before = datetime.now(UTC).isoformat()
    assert (
        before[:19]
        <= entry_of(made, ())["timestamp"]
        <= datetime.now(UTC).isoformat(timespec="microseconds")[:26] + "Z"
    )


@pytest.mark.parametrize(
    ("number", "level"),
    [(1, "DEBUG"), (5, "DEBUG"), (19, "DEBUG"), (25, "INFO"), (35, "WARNING"), (45, "ERROR"), (60, "CRITICAL")],
)
def test_a_level_of_the_programs_own_is_the_one_below_and_keeps_its_name(number, level):
    assert mapped(record(level=number)) == {"level": level, "message": "hello", "level_name": f"Level {number}"}


def test_attributes_that_formatters_leave_in_a_record_are_not_fields():
    made = record("x", extra={"order": 7})
    logging.Formatter("%(asctime)s %(message)s").format(made)
    assert mapped(made) == {"level": "INFO", "message": "x", "order": 7}


def test_names_of_fields_never_collide():
    extra = {
        name: name for name in ("level", "sequence", "timestamp", "host", "app", "truncated", "extra_level", "order")
    }
    entry = mapped(record(extra={**extra, "logger": "mine", "traceback": "mine"}, exc_info=fail()), "logger")
    assert entry["level"] == "INFO"
    assert entry["logger"] == "shop.web"
    assert entry["traceback"].startswith("Traceback")
    del entry["level"], entry["logger"], entry["traceback"]
    assert entry == {
        "message": "hello", "exc_type": "LookupError", "exc_message": "no such order",
        "extra_level": "extra_level", "extra_extra_level": "level", "extra_sequence": "sequence",
        "extra_timestamp": "timestamp", "extra_host": "host", "extra_app": "app", "extra_truncated": "truncated", "order": "order", "extra_logger": "mine",
        "extra_traceback": "mine",
    }  # fmt: skip


def test_names_that_are_no_strings_become_some():
    entry = mapped(record(extra={7: "a", None: "b", (1, 2): "c", Unspeakable(): "d", "7": "e"}))
    unspeakable = "<Unspeakable: str() raised RuntimeError>"
    assert entry == {
        "level": "INFO", "message": "hello", "extra_7": "a", "None": "b", "(1, 2)": "c", unspeakable: "d", "7": "e"
    }  # fmt: skip


def test_the_logger_class_takes_extra_fields_of_any_name():
    with pytest.raises(KeyError, match="overwrite 'message'"):
        record(extra={"message": "mine"})
    made = Logger("shop").makeRecord(
        "shop", 20, "/srv/shop.py", 1, "hello", (), None, None, {"message": "mine", "args": 3, 7: 8, "name": "anna"}
    )
    assert made.getMessage() == "hello"
    assert mapped(made, "logger") == {
        "level": "INFO", "message": "hello", "logger": "shop",
        "extra_message": "mine", "extra_args": 3, "7": 8, "extra_name": "anna",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("message", "arguments", "error", "kept"),
    [
        ("%d orders", ("many",), "TypeError: %d format: a real number is required, not str", ["many"]),
        ("%s and %s", (1,), "TypeError: not enough arguments for format string", ["1"]),
        ("none", (1, b"two"), "TypeError: not all arguments converted during string formatting", ["1", "two"]),
        ("%(a)s", ({"b": 1},), "KeyError: 'a'", ["{'b': 1}"]),
        ("%s", (Unspeakable(),), "RuntimeError: no", ["<Unspeakable: str() raised RuntimeError>"]),
    ],
)
def test_arguments_that_do_not_fit_are_kept_beside_the_message(message, arguments, error, kept):
    assert mapped(record(message, *arguments)) == {
        "level": "INFO", "message": message, "format_error": error, "args": kept
    }  # fmt: skip


def test_a_message_that_is_no_string():
    assert mapped(record(LookupError("gone")))["message"] == "gone"
    assert mapped(record(Unspeakable()))["message"] == "<Unspeakable: str() raised RuntimeError>"


def test_exceptions_with_their_causes():
    def pay():
        try:
            return {}["order"]
        except KeyError as error:
            raise subprocess.SubprocessError("shop\nclosed") from error

    try:
        pay()
    except subprocess.SubprocessError:
        entry = mapped(record(exc_info=sys.exc_info()))
    assert entry["exc_type"] == "subprocess.SubprocessError"
    assert entry["exc_message"] == "shop\nclosed"
    assert entry["traceback"].startswith("Traceback (most recent call last):\n")
    assert "KeyError: 'order'\n\nThe above exception was the direct cause" in entry["traceback"]
    assert entry["traceback"].endswith("\nsubprocess.SubprocessError: shop\nclosed")


def test_exceptions_that_are_none_or_fail():
    assert "traceback" not in mapped(record(exc_info=(None, None, None)))

    class BadError(Exception):
        def __str__(self):
            raise RuntimeError("no")

    entry = mapped(record(exc_info=(BadError, BadError(), None)))
    assert entry["exc_message"] == "<BadError: str() raised RuntimeError>"
    assert entry["traceback"].endswith("BadError: <exception str() failed>")


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        (f"{HEADER}  File x\n    f()\nKeyError: 'a'", "KeyError", "'a'"),
        (f"{HEADER}  File x\na.b.<locals>.E: one\ntwo: 2", "a.b.<locals>.E", "one\ntwo: 2"),
        (f"{HEADER}  File x\nStopIteration", "StopIteration", ""),
        (f"{HEADER}  File x\nStopIteration\nwith a note", "StopIteration", "with a note"),
        (f"{HEADER}  File x\nKeyError: 1\n\nDuring …\n\n{HEADER}  File y\nValueError: 2", "ValueError", "2"),
        ("ValueError: raised nowhere", "ValueError", "raised nowhere"),
        ("by a formatter of somebody's own", None, None),
    ],
)
def test_exceptions_of_which_only_the_text_is_left(text, kind, message):
    made = record()
    made.exc_text = text
    entry = mapped(made)
    assert (entry.get("exc_type"), entry.get("exc_message"), entry["traceback"]) == (kind, message, text)


def test_the_exception_itself_counts_more_than_what_another_formatter_wrote_of_it():
    made = record(exc_info=fail())
    made.exc_text = "short"
    assert mapped(made)["traceback"].startswith("Traceback")


def test_stack_info():
    assert mapped(record(stack="Stack (most recent call last):\n  File x"))["stack"].startswith("Stack (most")


@pytest.mark.parametrize("stack", [None, "Stack (most recent call last):\n  File x"])
@pytest.mark.parametrize("failed", [True, False])
def test_a_queue_handler_takes_nothing_away(stack, failed):
    """A QueueHandler merges exception and stack into the message, so that a record can be pickled."""
    made = record("order %d\nfailed", 7, exc_info=fail() if failed else None, stack=stack, extra={"shop": 3})
    direct = mapped(made, "logger")
    assert mapped(logging.handlers.QueueHandler(queue.Queue()).prepare(made), "logger") == direct


def test_a_message_with_a_traceback_of_its_own_is_left_whole():
    message = "said:\nTraceback (most recent call last):\n  File x\nKeyError: 1"
    assert mapped(record(message))["message"] == message
    assert mapped(record("%s", message))["message"] == message


# Through the server


def test_dict_config(start):
    server = start()
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {
                "fastlog": {
                    "class": "fastlog.Handler", "port": server.port, "app": "shop", "level": "INFO",
                    "fields": ["logger", "function"],
                }
            },
            "loggers": {"shop.web": {"handlers": ["fastlog"], "level": "DEBUG"}},
        }
    )  # fmt: skip
    logger = logging.getLogger("shop.web")
    logger.debug("too little")
    logger.info("order %d", 7, extra={"customer": "anna"})
    [handler] = logger.handlers
    logger.removeHandler(handler)
    handler.client.close()
    handler.close()
    assert stored(server) == [
        {
            "level": "INFO", "message": "order 7", "app": "shop", "logger": "shop.web", "function": "test_dict_config",
            "customer": "anna",
        }
    ]  # fmt: skip


def test_basic_config_and_an_end_without_a_word(start):
    server = start()
    program = """
import logging, sys, fastlog
logging.basicConfig(level="INFO", handlers=[fastlog.Handler(port=int(sys.argv[1]), fields=())])
for number in range(1000):
    logging.info("entry %d", number)
logging.error("last")
"""
    done = run_python(program, server.port, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [entry["message"] for entry in stored(server)] == [*(f"entry {number}" for number in range(1000)), "last"]


def test_behind_a_queue_listener(start, attach):
    server = start()
    handler = fastlog.Handler(port=server.port, fields=["logger"])
    waiting = queue.Queue()
    listener = logging.handlers.QueueListener(waiting, handler)
    logger, _ = attach(logging.handlers.QueueHandler(waiting))
    listener.start()
    logger.error("order %d", 7, exc_info=fail(), extra={"customer": "anna"})
    listener.stop()
    handler.client.close()
    handler.close()
    [entry] = stored(server)
    assert entry.pop("traceback").endswith("\nLookupError: no such order")
    assert entry == {
        "level": "ERROR", "message": "order 7", "logger": "shop.web", "customer": "anna",
        "exc_type": "LookupError", "exc_message": "no such order",
    }  # fmt: skip


def test_a_huge_traceback_is_shortened_and_says_so(start, attach):
    server = start()
    logger, handler = attach(fastlog.Handler(port=server.port, fields=()))
    logger.error("failed", exc_info=fail("first" + "é" * 100_000 + "last"), extra={"order": 7})
    handler.client.close()
    handler.close()
    [entry] = stored(server)
    assert entry["message"] == "failed"
    assert entry["truncated"] is True
    assert entry["original_bytes"] > 400_000
    assert entry["order"] == 7
    assert entry["traceback"].startswith("Traceback (most recent call last):\n")
    assert entry["traceback"].endswith("éélast")


def test_whatever_is_logged_arrives(start, attach, capfd):
    cycle: dict = {"name": "parent"}
    cycle["children"] = [{"parent": cycle}, {"parent": cycle}]
    deep: list = []
    for _ in range(200):
        deep = [deep]
    values = {
        "surrogate": "\udce9", "bytes": b"caf\xe9", "object": Unspeakable(), "cycle": cycle, "deep": deep,
        "huge": 10**5000, "nan": float("nan"), "set": {1}, "when": datetime(2026, 11, 24, tzinfo=UTC), "type": int,
        "keys": {1: 1, None: 2, (3,): 4, Unspeakable(): 5},
    }  # fmt: skip
    server = start()
    logger, handler = attach(fastlog.Handler(port=server.port, fields=()))
    logger.propagate = False  # not to pytest, whose reports cannot hold half of a surrogate pair
    for name, value in values.items():
        logger.error("%s", name, extra={f"{name} \ud800": 1, name: value})
    logger.error("\ud800 message")
    logger.error(b"caf\xe9")
    handler.client.close()
    handler.close()
    entries = {entry["message"]: entry for entry in stored(server)}
    assert list(entries) == [*values, "\ufffd message", "b'caf\\xe9'"]
    for name in values:
        assert entries[name][f"{name} \ufffd"] == 1
        assert name in entries[name]
    assert entries["surrogate"]["surrogate"] == "\ufffd"
    assert entries["bytes"]["bytes"] == "caf\ufffd"
    assert entries["object"]["object"] == "<Unspeakable: str() raised RuntimeError>"
    assert entries["set"]["set"] == [1]
    assert entries["type"]["type"] == "<class 'int'>"
    assert capfd.readouterr() == ("", "")


def test_filters_may_drop_a_record_or_change_it(start, attach):
    server = start()
    handler = fastlog.Handler(port=server.port, fields=())

    def check(made):
        made.msg = made.msg.replace("secret", "…")
        return "noise" not in made.msg

    handler.addFilter(check)
    logger, _ = attach(handler)
    logger.info("the secret")
    logger.info("noise")
    handler.client.close()
    handler.close()
    assert [entry["message"] for entry in stored(server)] == ["the …"]


def test_a_client_may_be_shared(start, attach):
    server = start()
    with fastlog.Client("127.0.0.1", server.port) as client:
        for fields in ([], ["logger"]):
            logger, handler = attach(fastlog.Handler(client=client, fields=fields))
        logger.info("twice")
        handler.close()
        client.send("INFO", "still open")
    assert [entry.get("logger") for entry in stored(server)] == [None, "shop.web", None]
    with pytest.raises(TypeError, match="pass these to the client itself: app"):
        fastlog.Handler(client=client, app="shop")


def test_records_logged_by_a_signal_handler_in_the_midst_of_others(start):
    server = start()
    program = """
import logging, signal, sys, fastlog
handler = fastlog.Handler(port=int(sys.argv[1]), fields=())
logging.basicConfig(level="INFO", handlers=[handler])
caught = 0
def caught_one(*_):
    global caught
    caught += 1
    logging.error("signal %d", caught)
signal.signal(signal.SIGALRM, caught_one)
signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
number = 0
while caught < 300:
    logging.error("entry %d", number)
    number += 1
    if number % 500 == 0:
        handler.flush()
signal.setitimer(signal.ITIMER_REAL, 0)
handler.flush()
print(number, caught)
"""
    done = run_python(program, server.port, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    number, caught = map(int, done.stdout.split())
    messages = [entry["message"] for entry in stored(server)]
    signals = {message for message in messages if message[0] == "s"}  # one may come in the midst of another
    assert signals == {f"signal {n}" for n in range(1, caught + 1)}
    assert [message for message in messages if message[0] == "e"] == [f"entry {n}" for n in range(number)]


def test_emit_raises_nothing_at_the_end_of_the_stack(start):
    server = start()
    handler = fastlog.Handler(port=server.port, fields=())
    made = record()
    raised = []

    def deeper():
        try:
            handler.emit(made)
        except RecursionError as error:
            raised.append(error.__traceback__)
        deeper()

    with pytest.raises(RecursionError):
        deeper()
    handler.client.close()
    handler.close()
    assert stored(server)[0]["message"] == "hello"
    inside = [frame.name for trace in raised for frame in traceback.extract_tb(trace)]
    assert inside.count("emit") == 0


class Undecided:
    """Like an array of numpy, of which nobody can say whether it is true or equal to something."""

    def __bool__(self):
        raise ValueError("ambiguous")

    def __ne__(self, _):
        return self


class Nameless(type):
    def __getattribute__(cls, name):
        if name in ("__module__", "__qualname__"):
            raise KeyError(name)
        return super().__getattribute__(name)


class NamelessError(ValueError, metaclass=Nameless):
    @property
    def __traceback__(self):
        raise KeyError("__traceback__")


STRANGE_EXC_INFO = [Undecided(), (1, 2), (ValueError, "of an error only the text"), NamelessError("m"), (), 5]


@pytest.mark.parametrize(
    "attributes",
    [{"exc_info": exc_info} for exc_info in STRANGE_EXC_INFO]
    + [{"levelname": Undecided()}, {"exc_text": 5}, {"stack_info": 7}, {"args": Undecided()}],
)
def test_a_record_with_strange_attributes_is_sent_without_a_word(capfd, attributes):
    with capture_entries() as logged:
        fastlog.Handler().handle(logging.makeLogRecord({"msg": "m", "levelno": 40, **attributes}))
    logged.assert_logged("ERROR", "m")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("exc_info", STRANGE_EXC_INFO)
def test_a_strange_exc_info_is_no_error_of_the_caller(exc_info):
    with capture_entries() as logged:
        fastlog.Client().error("m", exc_info=exc_info)
    logged.assert_logged("ERROR", "m")


def test_emit_raises_nothing_where_not_even_the_failure_can_be_printed(monkeypatch):
    handler = fastlog.Handler()

    def fail(_):
        raise MemoryError

    monkeypatch.setattr(handler.client, "_put", fail)
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    handler.emit(record())
    handler.close()


def test_no_server_no_name_and_a_full_queue_cost_the_program_nothing(attach, capfd):
    for options in ({"port": 9}, {"host": "no.such.host.invalid"}, {"port": 9, "queue_entries": 10}):
        handler = fastlog.Handler(**options, give_up_sec=0.1)
        logger, _ = attach(handler)
        for number in range(1000):
            logger.info("entry %d", number)
            logger.error("error %d", number)
        logger.removeHandler(handler)
        handler.client.close(0)
        handler.close()
    assert capfd.readouterr() == ("", "")


def test_an_asyncio_program_is_not_blocked(start):
    """One server takes everything, another one is not there and its queue is full: the loop turns between any two
    records."""
    server = start()
    program = """
import asyncio, logging, sys, fastlog
there = fastlog.Handler(port=int(sys.argv[1]), fields=())
nowhere = fastlog.Handler("no.such.host.invalid", queue_entries=50)
logging.basicConfig(level="INFO", handlers=[there, nowhere])
turns = 0
async def turn():
    global turns
    while True:
        turns += 1
        await asyncio.sleep(0)
async def log():
    for number in range(500):
        logging.error("turn %d", turns)
        await asyncio.sleep(0)
async def main():
    turning = asyncio.create_task(turn())
    await log()
    turning.cancel()
asyncio.run(main())
print(nowhere.client.stats().dropped)
nowhere.client.close(0)
"""
    done = run_python(program, server.port, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "{'ERROR': 450}\n", "")
    assert [entry["message"] for entry in stored(server)] == [f"turn {number}" for number in range(500)]
