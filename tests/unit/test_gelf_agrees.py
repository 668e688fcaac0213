"""The converter of GELF against its reference, on generated and mutated objects.

FASTLOG_FUZZ_FACTOR=80 makes it run that many times as many cases.
"""

import json

import pytest

from fastlog import entry
from fastlog._parse import scan
from fastlog.inputs import gelf
from fastlog.inputs.receipt import Receipt
from tests.helpers._hooks import c_gelf
from tests.unit.test_scanner_agrees import EDITS, FACTOR, TOKENS, edited, random_value

# All of it takes half a minute alone, and several times that on a busy machine; a long fuzz has no limit.
pytestmark = pytest.mark.timeout(600 if FACTOR == 1 else 0)
OBJECTS = 25_000 * FACTOR
PARTS = 4  # of the objects, which the processors of a machine can share
MEMBERS = 5_000  # that the objects of a part are made of, since making them takes longest

RECEIPTS = [
    Receipt("2026-11-26T08:30:00.000000Z", "192.0.2.7:40000", "192.0.2.7"),
    Receipt("1970-01-01T00:00:00.000001Z", "[2001:db8::1]:514", "2001:db8::1"),
    Receipt("9999-12-31T23:59:59.999999Z", "unix:pid=7,uid=0", None),
]
BASES = [
    *sorted(gelf.TAKEN),
    "version",
    "container_name",
    "full_message",
    "x",
    "y",
    "\u00e9",
    "\U0001f600",
    "",
    "n" * 63,
    "n" * 64,
    "n" * 65,
]
DIGITS = ["0", "00", "1", "3", "7", "8", "17956806", "253402300799", "9" * 9, "0" * 40, "12345678901234567890"]
MOMENTS = ["2026-11-26T08:00:00Z", "2026-02-29T08:00:00.1234567+02:00", "0000-01-01T00:00:00Z", "9999-12-31T23:59:60z"]
LEVELS = ["INFO", "warn", "Fatal", "OTHER", "custom", "30", "INFORMATIONAL", "INFORMATIONALLY", "3", "7.0", "0"]
SPACES = ["", "", "", "", " ", "\n", "\r\n\t"]


def random_key(rng) -> str:
    return "_" * rng.choice([0, 0, 1, 1, 1, 1, 2, 3]) + rng.choice(BASES)


def random_number(rng) -> str:
    """A number as JSON writes it, or nearly so."""
    return "".join(
        [
            rng.choice(["", "", "", "-"]),
            rng.choice(DIGITS),
            rng.choice(["", "", ".", "."]) + rng.choice(DIGITS) if rng.random() < 0.5 else "",
            rng.choice("eE") + rng.choice(["", "+", "-"]) + rng.choice(DIGITS) if rng.random() < 0.3 else "",
        ]
    )


def quoted(rng, text: str) -> str:
    """The text as a string of JSON, some of its characters as escapes."""
    share = rng.choice([0, 0, 0, 0.2, 1])
    return (
        '"'
        + "".join(escaped(c) if rng.random() < share else json.dumps(c, ensure_ascii=False)[1:-1] for c in text)
        + '"'
    )


def escaped(character: str) -> str:
    units = character.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def random_member(rng) -> str:
    kind = rng.randrange(8)
    if kind == 0:
        value = random_number(rng)
    elif kind == 1:
        value = quoted(rng, random_number(rng))
    elif kind == 2:
        value = quoted(rng, rng.choice(MOMENTS))
    elif kind == 3:
        value = quoted(rng, rng.choice(LEVELS))
    elif kind == 4:
        value = rng.choice(["null", '""', "true"])
    else:
        value = json.dumps(random_value(rng), ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, None, 1]))
    key = rng.choice(["level", "timestamp"]) if rng.random() < 0.3 and kind < 5 else random_key(rng)
    if key == "host" and rng.random() < 0.9:
        value = quoted(rng, "web")
    space = rng.choice(SPACES)
    return f"{space}{quoted(rng, key)}{rng.choice(SPACES)}:{space}{value}{rng.choice(SPACES)}"


def random_object(rng, pool: list[str]) -> bytes:
    count = 60 if rng.random() < 0.02 else rng.randrange(9)
    members = rng.choices(pool, k=count)
    members.append(
        f"{quoted(rng, 'short_message')}:{quoted(rng, 'text')}"
        if rng.random() < 0.9
        else '"version":"1.1","message":"m"'
    )
    rng.shuffle(members)
    made = ("{" + ",".join(members) + "}").encode()
    if rng.random() < 0.3:
        made = edited(
            made,
            [(rng.randrange(len(made)), rng.choice(EDITS), rng.choice(TOKENS)) for _ in range(rng.randrange(1, 3))],
        )
    return made


def check(data: bytes, receipt: Receipt) -> int:
    """Returns how many GELF objects there are in the data."""
    found = entry.decode(data, takes_gelf=True)
    objects = [data[piece.start : piece.end] for piece in found if piece.is_gelf]
    for written in objects:
        done = gelf.decode(written, receipt)
        assert done == c_gelf(written, receipt), (written, receipt)
        if isinstance(done, tuple):
            check_line(*done)
    return len(objects)


def check_line(level: str, line: bytes) -> None:
    """The line must be an entry, in one piece and of that level, whose keys of the server are the server's."""
    [(reason, its_level, sequence, start, end, stored, has_timestamp, _)] = scan(line)
    assert (reason, its_level, sequence, start, end, has_timestamp) == (None, level, None, 0, len(line) - 1, True)
    assert stored == line
    names = [key for key, _ in entry.members(line)]
    for name in (b"level", b"message", b"timestamp", b"app", b"host", b"severity", b"stamp", b"received", b"source"):
        assert names.count(name) <= 1, line


@pytest.mark.parametrize("part", range(PARTS))
def test_random_objects(rng, part):
    pool = [random_member(rng) for _ in range(MEMBERS)]
    objects = 0
    while objects < OBJECTS // PARTS:
        objects += check(random_object(rng, pool), rng.choice(RECEIPTS))
