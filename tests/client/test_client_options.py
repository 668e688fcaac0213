"""What a client is given besides entries: constant fields, whether it is enabled, its methods, its types."""

import inspect
import logging
import logging.config
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import fastlog
from fastlog.errors import ConfigError
from fastlog.testing import capture_entries
from tests.helpers.stored import entries

ROOT = Path(__file__).parents[2]


# Constant fields


def test_constant_fields_are_in_each_entry_that_has_no_such_field(start):
    server = start()
    fields = {"env": "prod", "release": {"version": [1, 2]}, "pod": "a"}
    with fastlog.Client(port=server.port, fields=fields, app="shop", hostname="h") as client:
        fields["env"] = "later"
        client.send("INFO", "as they are")
        client.send("INFO", "own", env="test", pod=None)
        client.send("INFO", "own, not plain", env={1})
        client.send_entry({"level": "INFO", "message": "host", "host": "other", "release": 1})
        client.send_encoded("INFO", 0, b'{"level":"INFO","message":"encoded","pod":7}')
    server.stop()
    found = entries(server)
    release = {"version": [1, 2]}
    expected = [
        {"env": "prod", "release": release, "pod": "a", "host": "h"},
        {"env": "test", "release": release, "pod": None, "host": "h"},
        {"env": [1], "release": release, "pod": "a", "host": "h"},
        {"env": "prod", "release": 1, "pod": "a", "host": "other"},
        {"env": "prod", "release": release, "pod": 7, "host": "h"},
    ]
    assert [{name: entry[name] for name in expected[0]} for entry in found] == expected
    assert [list(entry) for entry in found] == [list(dict.fromkeys(entry)) for entry in found]


@pytest.mark.parametrize("datagram_bytes", [None, 1472])
def test_constant_fields_count_in_the_size_of_a_datagram(start, datagram_bytes):
    server = start()
    with fastlog.Client(port=server.port, fields={"env": "é" * 200}, datagram_bytes=datagram_bytes) as client:
        client.send("ERROR", "m" * 100_000)
        assert client.flush()
    server.stop()
    [entry] = entries(server)
    assert (entry["truncated"], entry["env"]) == (True, "é" * 200)


@pytest.mark.parametrize(
    "fields",
    [
        {"level": "INFO"}, {"message": "m"}, {"sequence": 1}, {"timestamp": "t"}, {"host": "h"}, {"app": "a"},
        {"truncated": True}, {b"level": "INFO"}, {"x": "y" * 8_001}, {str(number): 1 for number in range(25)}, 5,
        "env", ["env"],
    ],
)  # fmt: skip
def test_constant_fields_that_no_entry_can_have_rejected(fields):
    with pytest.raises(ConfigError, match="fields"):
        fastlog.Client(fields=fields)
    with pytest.raises(ConfigError, match="fields"):
        fastlog.Handler(extra=fields)


def test_the_constant_fields_of_a_handler_give_way_to_those_of_a_record(start):
    server = start()
    handler = fastlog.Handler(port=str(server.port), extra={"env": "prod"}, fields=["function"])
    logger = logging.Logger("shop")
    logger.addHandler(handler)
    logger.error("one")
    logger.error("two", extra={"env": "test"})
    handler.flush()
    handler.close()
    server.stop()
    assert [entry["env"] for entry in entries(server)] == ["prod", "test"]


def test_dict_config_with_text_where_numbers_are_meant(start):
    server = start()
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {
                "fastlog": {
                    "class": "fastlog.Handler", "port": str(server.port), "extra": {"env": "prod"}, "pack": "off",
                    "enable": "yes", "level": 20, "queue_entries": "100",
                }
            },
            "loggers": {"shop.options": {"handlers": ["fastlog"], "level": "DEBUG", "propagate": False}},
        }
    )  # fmt: skip
    logger = logging.getLogger("shop.options")
    logger.debug("below the level")
    logger.error("paid")
    [handler] = logger.handlers
    handler.flush()
    handler.close()
    logger.removeHandler(handler)
    server.stop()
    assert [(entry["message"], entry["env"]) for entry in entries(server)] == [("paid", "prod")]


# Whether it is enabled


@pytest.mark.parametrize("enable", [False, 0, "0", "false", "no", " OFF "])
def test_a_client_that_is_not_enabled_has_no_thread_and_no_socket_and_loses_nothing(enable, tmp_path):
    before = threading.active_count(), len(os.listdir("/proc/self/fd"))
    client = fastlog.Client("no.such.host.invalid", enable=enable, spill=tmp_path / "spill")
    for number in range(20_000):
        client.send("ERROR", "m", number=number)
    client.error("m", exc_info=ValueError())
    client.send_entry({"message": "m"})
    assert client.send_encoded("ERROR", 0, b'{"level":"ERROR","message":"m"}') is True
    assert client.wait_for_room() is True
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == before
    assert client.flush(0) is True
    stats = client.stats()
    assert (stats.dropped, stats.queued, stats.given_up, stats.problem) == ({}, 0, 0, "")
    assert client.close(0) is True
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("enable", [None, "perhaps", ""])
def test_an_enable_that_is_no_truth_rejected(enable):
    with pytest.raises(ConfigError, match="enable"):
        fastlog.Client(enable=enable)


# Methods that are named after levels


def test_the_methods_that_are_named_after_levels():
    with capture_entries() as logged:
        client = fastlog.Client()
        for name in ("debug", "info", "warning", "error", "critical"):
            getattr(client, name)("paid", order=1093, self=1, entry=2)
        client.info(message="by its name")
        client.info("clash", level=5, app="other", fields=1)
        client.info(5)
        client.info("quiet", exc_info=None)
    first = logged.entries[:5]
    assert [entry["level"] for entry in first] == ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
    assert all((entry["order"], entry["self"], entry["entry"]) == (1093, 1, 2) for entry in first)
    named, clash, number, quiet = logged.entries[5:]
    assert (named["message"], number["message"], clash["app"]) == ("by its name", "5", "other")
    assert (clash["level"], clash["extra_level"]) == ("INFO", 5)
    assert "exc_type" not in quiet
    assert "exc_info" not in quiet


def test_exceptions_of_the_methods():
    with capture_entries() as logged:
        client = fastlog.Client()
        try:
            raise LookupError("no such order")  # noqa: TRY301
        except LookupError as error:
            client.exception("failed", order=7)
            client.warning("tried again", exc_info=True)
            client.critical("given", exc_info=error)
            client.error("a tuple", exc_info=sys.exc_info())
            client.exception("own", exc_type="mine")
        client.exception("none is handled")
        client.error("odd", exc_info=(1, 2))
    *found, own, none, odd = logged.entries
    assert [entry["level"] for entry in found] == ["ERROR", "WARNING", "CRITICAL", "ERROR"]
    for entry in found:
        assert (entry["exc_type"], entry["exc_message"]) == ("LookupError", "no such order")
        assert entry["traceback"].endswith("LookupError: no such order")
    assert own["exc_type"] == "mine"
    assert (none["level"], none["message"]) == ("ERROR", "none is handled")
    assert "exc_type" not in none
    assert odd["message"] == "odd"


def test_a_mapping_without_an_end_is_an_entry():
    class Endless(dict):
        pass

    with capture_entries() as logged:
        fastlog.Client().send_entry(Endless(message="m"))
        fastlog.Client().send_entry((str(number), number) for number in iter(int, 1))
    assert logged.entries[0]["message"] == "m"
    assert len(logged.entries) == 2


# Types


def test_a_handler_takes_the_options_of_a_client():
    """Named in its signature, so that editors complete them and type checkers know them."""
    ours = dict(inspect.signature(fastlog.Handler).parameters)
    clients = dict(inspect.signature(fastlog.Client).parameters)
    for name in ("level", "fields", "client"):
        del ours[name]
    ours["fields"] = ours.pop("extra").replace(name="fields")
    assert ours == clients


def test_options_beside_a_client_rejected():
    client = fastlog.Client()
    for options in ({"app": "a"}, {"extra": {"a": 1}}, {"enable": False}, {"queue_entries": 5}):
        with pytest.raises(TypeError, match=next(iter(options))):
            fastlog.Handler(client=client, **options)
    fastlog.Handler(client=client, app=None).close()


PROGRAM = """
import enum
import logging
import os
import types

import fastlog


class Level(str, enum.Enum):
    ERROR = "ERROR"


def main() -> None:
    port = os.environ.get("LOG_PORT", "5514")
    with fastlog.Client("127.0.0.1", port, fields={"env": "prod"}, enable=os.environ.get("LOG", "yes")) as client:
        client.send("INFO", "paid", order=1093)
        client.send(logging.ERROR, ValueError("x"), when=None)
        client.send(Level.ERROR, "m", args=[1], kwargs={"a": object()})
        client.send_entry(types.MappingProxyType({"level": "INFO", 1: 2}.__class__(level="INFO")))
        client.info("m", level="x", anything=object())
        client.exception("m", exc_info=True)
        done: bool = client.flush(1.0)
        dropped: dict[str, int] = client.stats().dropped
    handler = fastlog.Handler(
        port=port, level="INFO", fields=["logger"], extra={"env": "prod"}, app="shop", queue_entries=5, enable=False
    )
    handler.setLevel(logging.INFO)
    logging.basicConfig(handlers=[handler])
    print(done, dropped)


main()
"""

WRONG = """
import fastlog

fastlog.Handler(que_entries=5)
fastlog.Client(queue_entries=[5])
fastlog.Client().warn("m")
"""


@pytest.mark.parametrize(("program", "wrong_lines"), [(PROGRAM, []), (WRONG, [4, 5, 6])])
def test_a_type_checker_knows_what_users_may_call(tmp_path, program, wrong_lines):
    path = tmp_path / "program.py"
    path.write_text(program)
    found = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", ROOT / ".mypy_cache", path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [int(line) for line in re.findall(r"program\.py:(\d+): error", found.stdout)]
    assert lines == wrong_lines, found.stdout + found.stderr
