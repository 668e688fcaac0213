"""Entries too large for their datagram: which parts are cut, in which order, and that the rest is there and valid."""

import json
import random

import msgspec
import pytest

from fastlog.client.shorten import LIMIT_MIN_BYTES, shorten

encode = msgspec.json.Encoder().encode
KNOWN = {"timestamp": "2026-11-24T07:00:00.000000Z", "sequence": 2**64 - 1, "level": "ERROR"}
LIMIT = 5000


def short(limit=LIMIT, **fields) -> dict:
    """The shortened entry."""
    entry = {**KNOWN, **fields}
    kept = dict(entry)
    data = shorten(entry, limit, encode)
    assert entry == kept
    assert len(data) <= limit
    result = json.loads(data)
    assert result["original_bytes"] == len(encode(entry))
    assert result["truncated"] is True
    assert result["sequence"] == KNOWN["sequence"]
    return result


def test_an_entry_that_fits_is_left_as_it_is():
    entry = {**KNOWN, "message": "x" * 100, "truncated": "mine"}
    assert shorten(entry, len(encode(entry)) + 1000, encode) == encode(entry)


def test_first_the_traceback_is_cut_from_its_middle_and_nothing_else():
    result = short(message="m" * 100, order="o" * 100, traceback="Traceback\n" + "é" * 9000 + "\nValueError: end")
    assert result["message"] == "m" * 100
    assert result["order"] == "o" * 100
    assert result["traceback"].startswith("Traceback\né")
    assert result["traceback"].endswith("é\nValueError: end")
    assert " characters left out … " in result["traceback"]
    assert len(encode(result)) > LIMIT - 10


def test_then_the_longest_extras_to_the_same_length():
    result = short(message="m" * 1000, a="a" * 9000, b="b" * 200, c=["c" * 10] * 900, traceback="t" * 9000)
    assert result["message"] == "m" * 1000
    assert result["b"] == "b" * 200
    assert result["a"].startswith("aaa")
    assert result["a"].endswith("aaa")
    assert result["c"].startswith('["cccccccccc","')
    assert result["c"].endswith('"]')
    assert abs(len(result["a"]) - len(result["c"])) < 5
    assert 2000 <= len(result["traceback"]) < 2100


def test_then_the_message():
    result = short(message="first" + "m" * 9000 + "last", order="o" * 50, number=7, traceback="short")
    assert result["message"].startswith("firstmm")
    assert result["message"].endswith("mmlast")
    assert (result["order"], result["number"], result["traceback"]) == ("o" * 50, 7, "short")
    assert len(encode(result)) > LIMIT - 10


def test_of_too_many_fields_the_last_are_left_out():
    many = {f"field {number}": number for number in range(10_000)}
    result = short(message="m" * 900, **many)
    left = [name for name in result if name.startswith("field ")]
    assert len(left) > 100
    assert left == list(many)[: len(left)]
    assert result["fields_left_out"] == 10_000 - len(left)
    assert result["message"] == "m" * 900


def test_known_fields_are_cut_where_nothing_else_is_left():
    long = dict.fromkeys(("message", "level", "app", "host", "timestamp", "traceback"), "\0" * 10**5)
    many = {f"field {number}": number for number in range(1000)}
    result = short(LIMIT_MIN_BYTES, **long, **many)
    assert "\0" * 8 in result["app"]
    result = short(LIMIT_MIN_BYTES, message="m" * 9000, level="\0" * 9000, app="a" * 9000, host="h" * 9000)
    assert result["level"].startswith("\0" * 8)
    assert result["app"].startswith("a" * 8)


def test_fields_named_like_what_it_adds_give_way():
    assert "fields_left_out" not in short(message="m" * 9000, truncated=False, fields_left_out=1, original_bytes="mine")


def test_below_the_least_limit_it_says_so():
    with pytest.raises(ValueError, match="to 511 bytes, only to 512 or more"):
        shorten({**KNOWN, "message": ""}, LIMIT_MIN_BYTES - 1, encode)


def test_any_entry_fits_in_any_limit():
    rng = random.Random(11)

    def text() -> str:
        return rng.choice(["a", "é", "\0", "\U0001f40c", '"', "\n"]) * int(10 ** rng.uniform(0, 5))

    for _ in range(150):
        fields = {
            text()[:50] + str(number): rng.choice([text(), 7, [text()], None])
            for number in range(rng.choice([0, 1, 5, 300]))
        }
        chosen = {name: text() for name in ("traceback", "app", "host", "level") if rng.random() < 0.3}
        limit = rng.randrange(LIMIT_MIN_BYTES, 65_507)
        entry = {**KNOWN, "message": text(), **fields, **chosen}
        if len(encode(entry)) > limit:
            assert set(short(limit, **entry)) >= set(KNOWN) | {"message"}
