"""Ordinary lines are rendered in C exactly as the readable reference renders them."""

import json
import re
from itertools import product
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlog.commands import rendering
from fastlog.commands.rendering import Form, render, shown_as_text, shown_by
from fastlog.commands.terminal import visible

KEYS = [
    "timestamp",
    "sequence",
    "received",
    "host",
    "source",
    "app",
    "k",
    "a b",
    "é",
    "k\n",
    "level",
    "message",
    "x\x7f",
]
texts = st.one_of(
    st.sampled_from(
        ["", "-", "plain", "two words", "[x", "{x y", "C:\\x", 'say "x"', "a/b", "\\n", "a\nb\t\r", "é漢", "\xa0"]
    ),
    st.text(st.sampled_from(' ab"\\/\n\t\x1b\x7f\x85\xa0éЖ漢👍\u2028\u202e\u3000\ud7ff'), max_size=8),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)
values = st.one_of(
    texts, st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.lists(texts, max_size=2),
    st.dictionaries(texts, texts, max_size=2),
)  # fmt: skip
levels = st.sampled_from(["INFO", "info", "warn", "ERROR", "CRITICAL", "", "a long level", "é", "W\n", "DEBUG"]) | texts


@st.composite
def lines(draw) -> bytes:
    fields = draw(st.lists(st.tuples(st.sampled_from(KEYS) | texts, texts | values), max_size=6))
    fields += [("level", draw(levels)), ("message", draw(texts))]
    fields = draw(st.permutations(fields))
    as_ascii, colon = draw(st.booleans()), draw(st.sampled_from([":", ": ", " :\t", "\r:"]))
    members = [
        json.dumps(key, ensure_ascii=as_ascii) + colon + json.dumps(value, ensure_ascii=as_ascii)
        for key, value in fields  # a key may come twice
    ]
    return ("{" + draw(st.sampled_from([",", ", ", " ,\t"])).join(members) + "}").encode()


@st.composite
def mutated(draw) -> bytes:
    line = bytearray(draw(lines()))
    at = draw(st.integers(0, len(line) - 1))
    kept = draw(st.integers(0, 2))
    line[at : at + kept] = draw(
        st.binary(max_size=2) | st.sampled_from([b"\\", b'"', b"\\/", b"\\u0041", b"\x7f", b" "])
    )
    return bytes(line.replace(b"\n", b" "))


@pytest.mark.parametrize("colours", [False, True])
@pytest.mark.parametrize("encoding", ["utf-8", "UTF8", "ascii", "latin-1", "utf-8-sig", "utf-16"])
@given(log=st.lists(lines() | mutated() | st.just(b""), min_size=1, max_size=6), skipped=st.integers(0, 3))
@settings(deadline=None, max_examples=60)
def test_text_is_that_of_the_reference(colours, encoding, log, skipped):
    block = b"".join(line + b"\n" for line in log)
    first = sum(len(line) + 1 for line in log[:skipped])
    between = first + block[first:].find(b"\n") + 1
    runs = [(start, end) for start, end in ((first, between), (between, len(block))) if start < end]
    form = Form(colours)
    by_reference = shown_by(lambda line: render(line, form), encoding)
    assert shown_as_text(form, encoding)(block, runs) == by_reference(block, runs)
    assert shown_as_text(form, encoding)(bytearray(block), runs) == by_reference(block, runs)


ODD = [
    "",
    "-",
    "two words",
    "[x",
    "{x y",
    "C:\\x",
    'say"x"',
    "a/b",
    "a\nb",
    "a\tb",
    "a\rb",
    "\b",
    "é",
    "a b é",
    "漢",
    "\xa0",
    "\u2028",
]
PLACES = ["timestamp", "received", "host", "source", "app", "level", "message", "k"]


@pytest.mark.parametrize("colours", [False, True])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_each_odd_text_in_each_place_is_that_of_the_reference(colours, encoding):
    log = []
    for place, text in product(PLACES, ODD):
        entry = {"level": "INFO", "message": "m", place: text}
        both = entry | {"timestamp": "t", "received": "r", "host": "h", "source": "s", place: text}
        log += [json.dumps(fields, ensure_ascii=False).replace("/", "\\/").encode() + b"\n" for fields in (entry, both)]
    block = b"".join(log)
    form = Form(colours)
    by_reference = shown_by(lambda line: render(line, form), encoding)
    assert shown_as_text(form, encoding)(block, [(0, len(block))]) == by_reference(block, [(0, len(block))])


def in_c(line: bytes, encoding: str = "utf-8") -> str | None:
    """The text of a line; None: it was left to the reference."""
    with patch.object(rendering, "render", return_value="left"):
        text = shown_as_text(Form(), encoding)(line + b"\n", [(0, len(line) + 1)]).decode()
    return None if text == "left\n" else text


def test_ordinary_lines_are_not_left_to_the_reference():
    message = 'C:\\x said "no"\n\tat line 7'
    fields = {"level": "INFO", "message": message, "app": "köln", "n": -1.5e3, "ok": True, "no": None, "e": ""}
    line = json.dumps(fields, ensure_ascii=False).encode()
    assert in_c(line) == '- INFO     köln - C:\\x said "no"\\n\\tat line 7 n=-1500.0 ok=true no=null e=""\n'
    assert in_c(line, "ascii") is None


def test_characters_that_are_shown_as_they_are_need_no_escapes_and_no_quotes():
    codes = [*range(0x80, 0xD800), *range(0xE000, 0x30000)]
    log = [f'{{"level":"INFO","message":"m","k":"{chr(code)}"}}\n'.encode() for code in codes]
    ends = [0]
    for line in log:
        ends.append(ends[-1] + len(line))
    with patch.object(rendering, "render", return_value="left"):
        shown = shown_as_text(Form(), "utf-8")(b"".join(log), [(0, ends[-1])]).decode().split("\n")
    taken = {chr(code): text for code, text in zip(codes, shown, strict=False) if text != "left"}
    assert len(taken) > 44_000
    assert visible("".join(taken)) == "".join(taken)
    assert re.search(r"\s", "".join(taken)) is None
    assert all(text == f"- INFO     - - m k={character}" for character, text in taken.items())


def test_more_fields_than_there_is_room_for_are_left_to_the_reference():
    fields = {"level": "INFO", "message": "m"} | {f"k{number}": number for number in range(30)}
    assert in_c(json.dumps(fields).encode()) is not None
    assert in_c(json.dumps(fields | {"one": "more"}).encode()) is None
