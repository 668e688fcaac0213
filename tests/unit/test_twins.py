"""The client's two twins, one beside the other: whatever is logged, both make the same entries, byte by byte."""

import dataclasses
import datetime
import enum
import logging
import re
import uuid
from collections import OrderedDict, UserDict
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlog.client import _native, _outbox, _plain, _record, pure_native, pure_outbox, pure_plain, pure_record
from fastlog.client.options import checked_options
from fastlog.entry import LEVELS

# Until then, a timestamp is that of the call, and no two calls are at the same time.
TIMESTAMP = re.compile(rb'"timestamp":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6})Z"')
EPOCH = datetime.datetime(1970, 1, 1)


class Owner:
    """Has no thread."""

    def attend(self) -> None:
        pass

    def run(self) -> None:
        pass


class Colour(enum.Enum):
    RED = "red"


class Point(msgspec.Struct):
    x: object
    y: object = 1


@dataclasses.dataclass
class Order:
    number: object


class Text(str):
    pass


class Numbers(list):
    def __len__(self) -> int:
        return 1


atoms = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(1 << 70), 1 << 70),
    st.floats(),
    st.text(max_size=20),
    st.text(st.characters(), max_size=5),  # with halves of surrogate pairs
    st.text('aé\ud800\udc00\n"', max_size=200),
    st.integers(10, 90_000).map(lambda size: "é" * size),
    st.binary(max_size=30),
    st.binary(max_size=30).map(bytearray),
    st.binary(max_size=30).map(memoryview),
    st.datetimes(timezones=st.none() | st.just(datetime.UTC)),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.uuids(),
    st.decimals(),
    st.complex_numbers(),
    st.just(Colour.RED),
    st.text(max_size=5).map(Text),
    st.integers(2_000, 15_000).map(lambda bits: 1 << bits),
    st.sampled_from([b'{"a":1}', b"[1,\n2]", b"[", b"1 2"]).map(msgspec.Raw),
)
keys = st.text(max_size=8) | st.integers() | st.none() | st.just(Colour.RED) | st.just("k" * 1_200)
values = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.lists(inner, max_size=4).map(Numbers),
        st.dictionaries(keys, inner, max_size=4),
        st.dictionaries(keys, inner, max_size=4).map(OrderedDict),
        st.dictionaries(keys, inner, max_size=4).map(UserDict),
        st.builds(Point, inner, inner),
        st.builds(Order, inner),
        st.frozensets(st.integers(), max_size=1),
    ),
    max_leaves=8,
)
names = st.sampled_from(["timestamp", "sequence", "host", "app", "env", "traceback", "truncated"]) | keys
levels = st.sampled_from([*LEVELS, "info", "warn", 20, 45.5, "nonsense", "7", None]) | st.text(max_size=5)
entries = st.one_of(
    st.builds(
        lambda level, message, more: {"level": level, "message": message, **more},
        levels,
        st.text(max_size=20) | values,
        st.dictionaries(names, values, max_size=5),
    ),
    st.dictionaries(names, values, max_size=4),
)


def outboxes(**options):
    """The compiled one, and the one in Python."""
    checked = checked_options(hostname="h", **options)
    return _outbox.Outbox(checked, Owner()), pure_outbox.Outbox(checked, Owner())


def fetched(outbox) -> list:
    items: list = []
    outbox.fetch(items)
    return items


def account(outbox, items):
    of_items = [(item.number, item.level, item.present, item.priority, item.body) for item in items]
    return of_items, outbox.account, outbox.shortened, outbox.entries, outbox.bytes, outbox.accepted, outbox.has_room


@pytest.mark.filterwarnings("ignore:fastlog does not know the level")
@settings(max_examples=200, deadline=None)
@given(st.lists(entries, min_size=1, max_size=4), st.sampled_from([None, 1_200, 4_000]))
def test_twins_take_the_same_entries(logged, datagram_bytes):
    both = outboxes(app="shop", fields={"env": "prod", "n": 7}, datagram_bytes=datagram_bytes)
    found = []
    for outbox in both:
        for entry in logged:
            outbox.put(dict(entry))
        found.append(account(outbox, fetched(outbox)))
    assert found[0] == found[1]


def test_a_large_entry_is_cut_at_the_same_places():
    for size in (32_700, 65_400, 65_507, 131_005, 131_014, 262_100):
        for shape in (["x" * 10] * (size // 12), {f"{n}": n for n in range(size // 7)}, "é" * size):
            for entry in (
                {"level": "INFO", "message": "m", "x": shape, "y": shape},
                {"level": "INFO", "message": shape},
            ):
                compiled, pure = outboxes()
                compiled.put(entry)
                pure.put(entry)
                assert account(compiled, fetched(compiled)) == account(pure, fetched(pure))


def stamped(line: bytes, item) -> bytes:
    """The line without its timestamp, which is that of its item."""
    found = TIMESTAMP.search(line)
    if found:
        written = datetime.datetime.fromisoformat(found[1].decode())
        assert (written - EPOCH) // datetime.timedelta(microseconds=1) == item.when_usec
    return TIMESTAMP.sub(b"", line)


packable = st.fixed_dictionaries(
    {"level": st.sampled_from(LEVELS), "message": st.text(max_size=300)},
    optional={"timestamp": st.just("2026-11-27T08:00:00Z"), "host": st.just("other"), "env": st.just("test")},
)


@settings(max_examples=60, deadline=None)
@given(
    logged=st.lists(packable, min_size=1, max_size=12),
    limit_bytes=st.integers(1, 3_000),
    most=st.integers(1, 12),
    most_priority=st.integers(0, 12),
)
def test_twins_pack_the_same_datagrams(logged, limit_bytes, most, most_priority):
    found = []
    for outbox in outboxes(app="shop", fields={"env": "prod", "n": 7}):
        for entry in logged:
            outbox.put(entry)
        outbox.set_priority(LEVELS.index("ERROR"), False)
        for entry in logged:
            outbox.put(entry)
        items, at, sequence, datagrams = fetched(outbox), 0, 17, []
        while at < len(items):
            made = outbox.pack(items, at, sequence, limit_bytes, most, most_priority)
            if not made.count:
                break
            lines = made.data.split(b"\n")
            assert lines == [outbox.line(item, sequence + n) for n, item in enumerate(items[at : at + made.count])]
            priority = [(number, item.number) for number, line, item in made.priority if line in lines]
            bare = [stamped(line, item) for line, item in zip(lines, items[at:], strict=False)]
            datagrams.append((bare, priority, [item.number for item in made.ordinary], made.once))
            at, sequence = at + made.count, sequence + made.count
        outbox.make_ordinary(items[at:])
        outbox.release(items[:at])
        outbox.drop(items[at : at + 1])
        found.append((datagrams, account(outbox, [])))
        outbox.recount(items[at:])
        found[-1] += (outbox.entries, outbox.bytes)
    assert found[0] == found[1]


@pytest.mark.parametrize("limits", [{"queue_entries": 3}, {"queue_bytes": 90}])
def test_twins_drop_the_same_entries(limits):
    found = []
    for outbox in outboxes(**limits):
        for number in range(40):
            outbox.put({"level": LEVELS[number % 6], "message": "m" * (number % 7), "x": {number} if number % 3 else 1})
            outbox.put_encoded("ERROR", 0, b'{"level":"ERROR","message":"m"}')
        outbox.close()
        outbox.put({"level": "INFO", "message": "too late"})
        found.append(account(outbox, fetched(outbox)))
    assert found[0] == found[1]


records = st.fixed_dictionaries(
    {},
    optional={
        "msg": st.sampled_from(["order %d", "100 %", "plain"]) | values,
        "args": st.sampled_from([None, (), (1,), ("x",), ({"a": 1},)]),
        "levelno": st.sampled_from([0, 10, 20, 25, 40, 50, "40", None, True]),
        "levelname": st.sampled_from(["INFO", "NOTICE", "ERROR"]),
        "created": st.floats() | st.floats(0, 3e9) | st.integers(-1, 1 << 40) | st.none() | st.decimals(),
        "exc_text": st.none() | st.just("Traceback (most recent call last):\nValueError: x"),
        "stack_info": st.none() | st.just("Stack"),
        "user": values,
        "message": st.text(max_size=3),
        "level": st.text(max_size=3),
        "sequence": st.integers(),
    },
)


@settings(max_examples=100, deadline=None)
@given(records, st.dictionaries(keys, values, max_size=2))
def test_twins_convert_a_record_alike(attributes, more):
    fields = (("logger", "name"), ("file", "pathname"), ("line", "lineno"), ("task", "taskName"))
    found = []
    for entry_of, outbox in zip((_record.entry_of, pure_record.entry_of), outboxes(app="shop"), strict=True):
        record = logging.makeLogRecord(attributes)
        record.__dict__.update(more)
        entry = entry_of(record, fields)
        created = attributes.get("created", -1)
        try:
            is_time = 0 <= float(created) < 253402300800
        except Exception:
            is_time = False
        if not is_time:
            entry.pop("timestamp")
        outbox.put(entry)
        found.append((list(entry), account(outbox, fetched(outbox))))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "user", ["anna", 7, None, 1 << 63, 1 << 14_000, "\ud800", "x" * 3_000, b"anna", ["anna"], {"name": "anna"}]
)
def test_twins_take_a_usual_record_alike(user):
    found = []
    for entry_of, outbox in zip(
        (_record.entry_of, pure_record.entry_of),
        outboxes(app="shop", fields={"env": "prod", "user": "nobody"}, datagram_bytes=1_200, queue_entries=2),
        strict=True,
    ):
        for level in ("INFO", "ERROR", "INFO", "INFO"):  # the last one finds no room
            record = logging.makeLogRecord({"levelname": level, "levelno": getattr(logging, level), "created": 1.5})
            record.msg, record.args, record.user = "order %d", (1093,), user
            outbox.put(entry_of(record, (("logger", "name"), ("line", "lineno"))))
        found.append(account(outbox, fetched(outbox)))
    assert found[0] == found[1]
    assert found[0][3] == (2, 1)


def test_twins_have_the_same_limits_and_numbers():
    for compiled, pure in ((_outbox, pure_outbox), (_native, pure_native), (_plain, pure_plain)):
        shared = {
            name
            for name in set(dir(compiled)) & set(dir(pure))
            if name.isupper() and isinstance(getattr(pure, name), int)
        }
        assert shared or pure is pure_plain
        assert {name: int(getattr(pure, name)) for name in shared} == {
            name: int(getattr(compiled, name)) for name in shared
        }


@pytest.mark.parametrize(
    ("compiled", "pure"), [(_outbox.Outbox, pure_outbox.Outbox), (_native.Wakeup, pure_native.Wakeup)]
)
def test_twins_have_the_same_methods(compiled, pure):
    def public(kind):
        return {name for name in dir(kind) if not name.startswith("_")}

    assert public(compiled) <= public(pure) | {"wakeup"}
    assert public(pure) <= public(compiled)


def test_a_uuid_and_a_date_are_plain():
    compiled, pure = outboxes()
    entry = {"level": "INFO", "message": "m", "id": uuid.UUID(int=7), "cost": Decimal("1.5"), "day": EPOCH.date()}
    for outbox in (compiled, pure):
        outbox.put(entry)
    assert fetched(compiled)[0].body == fetched(pure)[0].body
