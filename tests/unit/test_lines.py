"""Lines of text as entries."""

import json

import pytest

from fastlog.client.lines import guess_level, json_entry


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("2026-11-24 07:00:00,123 ERROR shop.orders: failed", "ERROR"),
        ("[error] 17#0: upstream timed out", "ERROR"),
        ("time=2026-11-24 level=warn msg=slow", "WARNING"),
        ('{"level": "debug", "msg": "x"}', "DEBUG"),
        ("warning: unused variable", "WARNING"),
        ("<3>disk failure", "ERROR"),
        ("<6>started", "INFO"),
        ("<0>the system is unusable", "CRITICAL"),
        ("2026-11-24 | INFO | web | ready", "INFO"),
        ("FATAL: the database system is shutting down", "CRITICAL"),
        ("panic: runtime error", "CRITICAL"),
        ("2026/11/24 07:00:00 [crit] 17#0: no space left on device", "CRITICAL"),
        ("SEVERE: Servlet failed", "ERROR"),
        ("level=emergency msg=fire", "CRITICAL"),
        ("Nov 24 07:00:00 web1 sshd[7]: error: no route to host", "ERROR"),
        ("no error here", None),
        ("result: error code 5", None),
        ("an informational text", None),
        ("3 files, log: fine", None),
        ("ERRORS: 0", None),
        ("NO-ERROR", None),
        ("x" * 200 + " ERROR", None),
        ("", None),
    ],
)
def test_guessed_levels(line, level):
    assert guess_level(line) == level


@pytest.mark.parametrize(
    "line",
    [
        b'{"level":"INFO","message":"m"}',
        b' {"level" : "ERROR", "message":"\\u00e4", "n":1e400, "deep":{"a":[1.0]}, "level":"warn"} ',
        '{"message":"ä","level":"LOUD","timestamp":"t","host":"h","app":"a"}'.encode(),
    ],
)
def test_an_entry_is_passed_through_byte_by_byte(line):
    assert json_entry(line, "INFO", False).body == line.strip()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"message":"m","n":1.50}', b'{"level":"NOTICE","message":"m","n":1.50}'),
        (b'{"level":"INFO","message":"m","sequence":7}', b'{"level":"INFO","message":"m","sequence_":7}'),
        (b'{"msg":"m","level":30}', b'{"level":"INFO","message":"m","level_":30}'),
        (b'{"level":60,"time":1,"msg":"m"}', b'{"level":"CRITICAL","message":"m","level_":60,"time":1}'),
        (b'{"msg":"m","level":35}', b'{"level":"NOTICE","message":"m","level_":35}'),
        (b'{"msg":"m","level":["ERROR"]}', b'{"level":"NOTICE","message":"m","level_":["ERROR"]}'),
        (b'{"event":"m","level":"info"}', b'{"level":"info","message":"m"}'),
        (b'{"message":"m","host":null,"app":5}', b'{"level":"NOTICE","message":"m","host":"null","app":"5"}'),
        (b'{"message":"[error] m"}', b'{"level":"ERROR","message":"[error] m"}'),
    ],
)
def test_missing_or_clashing_fields_are_fixed_and_values_stay(line, expected):
    assert json_entry(line, "NOTICE", True).body == expected


@pytest.mark.parametrize(
    "line",
    [
        b"text", b"[]", b"5", b"{}", b'{"level":"INFO"}', b'{"level":"INFO","message":5}', b'{"message":"m"', b"\xff",
        b'{"message":"\\ud800"}', b'{"message":"\xff"}', b'{"message":"m","level":["\xff"]}', b'{"message":"m"} tail', b'{"message":NaN}',
        b'{"message":"m","x":' + b"[" * 64 + b"]" * 64 + b"}", b"[" * 100_000,
    ],
)  # fmt: skip
def test_lines_that_are_not_entries(line):
    assert json_entry(line, "INFO", True) is None


def test_fields_that_are_there_are_not_added():
    entry = json_entry(b'{"message":"m","timestamp":"t"}', "INFO", False)
    assert json.loads(entry.body)["timestamp"] == "t"
    assert entry.present == 1
