"""Whatever a program logs: nothing crashes it, every call is counted once, and the server takes what the client sends."""

import collections
import contextlib
import dataclasses
import datetime
import enum
import json
import time
import types
import uuid
from decimal import Decimal

import attrs
import msgspec
import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlog._parse import scan
from fastlog.client.core import Item, Outbox
from fastlog.client.options import checked_options
from fastlog.entry import ALIASES, LEVELS, decode
from tests.helpers.running import run_python


class Owner:
    """Has no thread."""

    def attend(self) -> None:
        pass


@pytest.fixture
def outbox():
    """An outbox whose entries nobody fetches but the test."""
    return Outbox(checked_options(), Owner())


def fetched(outbox: Outbox) -> list[Item]:
    items: list[Item] = []
    outbox.fetch(items)
    outbox.release(items)
    return items


def put(outbox: Outbox, entry: dict) -> dict:
    """The one entry that a call adds."""
    outbox.put(entry)
    [item] = fetched(outbox)
    assert outbox.dropped == {}
    [(reason, level, *_)] = scan(outbox.line(item, 1))
    assert (reason, level) == (None, LEVELS[item.level])
    return json.loads(item.body)


def sent(outbox: Outbox, value: object) -> object:
    return put(outbox, {"level": "INFO", "message": "m", "x": value})["x"]


# What Python code does while an entry is read


class Clearing:
    """Changes the container that it is in, as another thread could."""

    def __init__(self, container, how=None):
        self.container = container
        self.how = how or container.clear

    def __str__(self):
        self.how()
        return "cleared"

    def __hash__(self):
        return 1


def test_a_list_is_cleared_while_it_is_read(outbox):
    for size in (10, 1000, 5000):
        live: list = []
        live += [Clearing(live), *map(str, range(size))]
        assert sent(outbox, live) == ["cleared", *map(str, range(size))]
        assert live == []


@pytest.mark.parametrize("wrap", [lambda live: live, lambda live: {"inner": [live]}, lambda live: (live, live)])
def test_a_container_changes_while_another_value_is_read(outbox, wrap):
    plain = list(range(100))
    outbox.put({"level": "INFO", "message": "m", "first": Clearing(plain), "x": wrap(plain)})
    plain = {str(number): number for number in range(100)}
    outbox.put({"level": "INFO", "message": "m", "first": Clearing(plain), "x": wrap(plain)})
    live: set = set()
    live |= {Clearing(live), *range(100)}
    outbox.put({"level": "INFO", "message": "m", "x": wrap(live)})
    assert len(fetched(outbox)) == 3
    assert outbox.dropped == {}


def test_the_entry_itself_changes_while_it_is_read(outbox):
    entry: dict = {"level": "ERROR", "message": "m"}
    entry |= {"x": Clearing(entry), **{str(number): number for number in range(100)}}
    assert put(outbox, entry)["99"] == 99
    assert entry == {}


def test_an_object_that_logs_itself_is_sent_once_for_each_call(outbox):
    entry: dict = {"level": "ERROR", "message": "m"}
    depth = iter(range(5))

    def log():
        if next(depth, None) is not None:
            outbox.put(entry)

    entry["x"] = [Clearing([], log)]
    outbox.put(entry)
    assert len(fetched(outbox)) == 6
    assert outbox.dropped == {}


class Recursing:
    def __str__(self):
        return str(self)


class NoText:
    def __str__(self):
        return 5  # noqa: PLE0307 (that is its fault)


class LyingList(list):
    def __len__(self):
        return 10**6

    def __iter__(self):
        raise RuntimeError


class LyingDict(dict):
    def items(self):
        raise RuntimeError

    keys = __iter__ = __len__ = items


class LyingName(type):
    @property
    def __name__(cls):
        raise RuntimeError

    @property
    def __class__(cls):
        raise RuntimeError

    def __subclasscheck__(cls, other):
        raise RuntimeError


class Unspeakable(metaclass=LyingName):
    def __str__(self):
        raise RuntimeError

    @property
    def __class__(self):
        raise RuntimeError


class OddKey(str):
    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other):
        raise RuntimeError

    def __str__(self):
        raise RuntimeError


class Endless(collections.abc.Mapping):
    def __getitem__(self, key):
        return self

    def __iter__(self):
        while True:
            yield "key"

    def __len__(self):
        return 1


class BadZone(datetime.tzinfo):
    def utcoffset(self, when):
        raise RuntimeError


class Closed:
    """A released buffer."""

    def __new__(cls):
        view = memoryview(b"x")
        view.release()
        return view


ODD = {
    "recursing": Recursing,
    "no text": NoText,
    "lying list": lambda: LyingList([1]),
    "lying dict": lambda: LyingDict(a=1),
    "lying class": Unspeakable,
    "class": lambda: Unspeakable,
    "endless": Endless,
    "closed": Closed,
    "zone": lambda: datetime.datetime(2026, 1, 1, tzinfo=BadZone()),
    "large number": lambda: 1 << 10**6,
    "large decimal": lambda: Decimal("1e999"),
    "key": lambda: {OddKey("x"): 1},
    "strides": lambda: memoryview(bytes(16)).cast("i")[::2],
    "generator": lambda: (letter for letter in "ab"),
}


@pytest.mark.parametrize("name", ODD)
def test_values_that_fail_or_lie_are_sent_all_the_same(outbox, name):
    value = ODD[name]()
    sent(outbox, value)
    sent(outbox, [value])
    sent(outbox, {"a": (value,)})
    put(outbox, {"level": "ERROR", "message": value, "app": value, "timestamp": value})
    with contextlib.suppress(Exception):
        entry = {"level": "ERROR", "message": "m", value: 1}
        put(outbox, entry)


def test_a_key_that_fails_to_be_compared_costs_no_entry(outbox):
    assert put(outbox, {OddKey("level"): "INFO", "message": "m", "x": 1})["x"] == 1


def test_an_interruption_by_the_user_is_passed_on_and_the_entry_counted(outbox):
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        outbox.put({"level": "ERROR", "message": "m", "x": Clearing([], interrupt)})
    assert outbox.dropped == {"ERROR": 1}
    assert fetched(outbox) == []


HAMMER = """
import faulthandler, gc, logging, random, sys, threading, time
from fastlog.client.core import Outbox, entry_of
from fastlog.client.options import checked_options
faulthandler.enable()
sys.setswitchinterval(1e-5)
gc.set_threshold(5)

class Peer:
    def __init__(self):        self.me = self  # garbage that only the collector finds
    def __str__(self):         return "peer"
    def __del__(self):         del live_list[:50]; live_dict.pop(next(iter(list(live_dict)), None), None)
    def __hash__(self):        return id(self)

live_list, live_dict, live_set, live_bytes, inner = [], {}, set(), bytearray(b"x"), {"deep": []}
record = logging.makeLogRecord({"msg": "m"})
fresh = dict(vars(record))
is_over = threading.Event()

def churn(seed):
    chance = random.Random(seed)
    while not is_over.is_set():
        try:
            live_list.append(Peer()); live_list.append([1, {"a": [live_list]}])
            live_dict[chance.random()] = Peer(); live_dict[str(chance.random())] = 1
            live_set.add(Peer()); live_set.add(chance.random())
            live_bytes.extend(b"y" * 100); inner["deep"].append(1)
            record.__dict__[f"x{chance.randrange(50)}"] = Peer(); record.__dict__[Peer()] = b"bytes"
            record.__dict__.pop(f"x{chance.randrange(50)}", None)
            if len(record.__dict__) > 200: vars(record).clear(); vars(record).update(fresh)
            if len(live_list) > 200: del live_list[:150]
            if len(live_dict) > 100: live_dict.clear()
            if len(live_set) > 100: live_set.clear()
            if len(live_bytes) > 9000: del live_bytes[:]
            if len(inner["deep"]) > 100: inner["deep"] = []
        except (IndexError, RuntimeError): pass

class Owner:
    def attend(self): pass
outbox = Outbox(checked_options(queue_entries=10**7, queue_bytes=1 << 30), Owner())
for seed in range(3):
    threading.Thread(target=churn, args=(seed,), daemon=True).start()
until, calls, taken = time.monotonic() + float(sys.argv[1]), 0, 0
while time.monotonic() < until:
    for entry in (
        {"level": "INFO", "message": "m", "a": live_list, "b": live_dict},
        {"level": "ERROR", "message": "m", "a": live_set, "b": live_bytes, "c": inner},
        {"level": "INFO", "message": "m", "a": inner, "b": [inner, live_list], "o": Peer()},
        {"level": 20, "message": live_list},
        live_dict | {"level": "INFO", "message": "m"},
        entry_of(record, (("line", "lineno"),)),
    ):
        outbox.put(entry)
        calls += 1
    items = []
    outbox.fetch(items)
    outbox.release(items)
    taken += len(items)
is_over.set()
assert calls == taken + sum(outbox.dropped.values()) and not outbox.dropped, (calls, taken, outbox.dropped)
"""


def test_threads_that_change_what_another_one_logs():
    run_python(HAMMER, 1.5)


COLLECTED = """
import gc, threading
from decimal import Decimal
from fastlog.client.core import Outbox
from fastlog.client.options import checked_options

class Garbage:
    "Clears a list when the garbage collector finds it, and puts something else where the list was."
    def __init__(self, values): self.values, self.itself = values, self
    def __del__(self):
        self.values.clear()
        others.append([b"\\1" * size for size in range(3000, 6000, 8)])

class Owner:
    def attend(self): pass

others, amount = [], Decimal("1.50")
outbox = Outbox(checked_options(), Owner())

def log(allocations):
    values = [amount, *([number] for number in range(500))]
    Garbage(values)
    gc.set_threshold(gc.get_count()[0] + allocations, 1, 1)
    gc.enable()
    outbox.put({"level": "INFO", "message": "m", "values": values})
    gc.disable()

for allocations in range(12):
    gc.disable()
    gc.collect()
    thread = threading.Thread(target=log, args=(allocations,))  # a new one has no decimal context yet
    thread.start()
    thread.join()
assert outbox.accepted == 12, outbox.dropped
"""


def test_the_garbage_collector_may_change_what_is_read():
    run_python(COLLECTED)


# What values become


class Colour(enum.Enum):
    RED = "red"
    POINT = (1, 2)


class Text(str, enum.Enum):  # noqa: UP042 (older programs have it)
    A = "a"


@dataclasses.dataclass
class Order:
    number: int
    lines: list
    _note: str = "n"

    def __post_init__(self):
        self.extra = 1


@attrs.define
class Article:
    name: str
    _secret: str = "s"


class Tagged(msgspec.Struct, rename="camel", tag="t", omit_defaults=True):
    first_name: object
    rest: list = []


class OwnNumber(int):
    def __str__(self):
        return "own"


class OwnTime(datetime.datetime):
    pass


class NotATime(datetime.datetime):
    def __ne__(self, other):
        return True

    def __eq__(self, other):
        return False

    __hash__ = None

    def isoformat(self):
        return "NaT"


OBJECT = types.SimpleNamespace(a=1)
NOON = datetime.datetime(2026, 1, 2, 12, tzinfo=datetime.UTC)

FORMS = [
    (NOON, "2026-01-02T12:00:00Z"),
    (NOON.replace(tzinfo=None), "2026-01-02T12:00:00"),
    (NOON.astimezone(datetime.timezone(datetime.timedelta(hours=1))), "2026-01-02T13:00:00+01:00"),
    (OwnTime(2026, 1, 2, 12, tzinfo=datetime.UTC), "2026-01-02T12:00:00Z"),
    (NotATime(2026, 1, 2), None),
    (datetime.timedelta(seconds=90), "PT90S"),
    (datetime.date(2026, 1, 2), "2026-01-02"),
    (datetime.time(12), "12:00:00"),
    (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
    (Decimal("1.20"), "1.20"),
    (Colour.RED, "red"),
    (Colour.POINT, [1, 2]),
    (Text.A, "a"),
    (Order(1, [OBJECT]), {"number": 1, "lines": ["namespace(a=1)"], "_note": "n"}),
    (Article("pen"), {"name": "pen"}),
    (Tagged(OBJECT), {"type": "t", "firstName": "namespace(a=1)"}),
    (Tagged(1, [Tagged(2)]), {"type": "t", "firstName": 1, "rest": [{"type": "t", "firstName": 2}]}),
    (collections.namedtuple("Point", "x y")(1, OBJECT), [1, "namespace(a=1)"]),
    (types.MappingProxyType({"a": 1}), {"a": 1}),
    (collections.ChainMap({"a": 1}, {"b": OBJECT}), {"a": 1, "b": "namespace(a=1)"}),
    (collections.OrderedDict(a=1), {"a": 1}),
    ({3}, [3]),
    (frozenset((OBJECT.a,)), [1]),
    (b"ab", "YWI="),
    (bytearray(b"ab"), "YWI="),
    (memoryview(b"ab"), "YWI="),
    ({1: 1, 1.5: 1, None: 1, Text.A: 1, NOON: 1}, {"1": 1, "1.5": 1, "None": 1, "a": 1, "2026-01-02T12:00:00Z": 1}),
    (OwnNumber(5), 5),
    (numpy.int64(5), 5),
    (numpy.float32(0.5), 0.5),
    (numpy.float64(0.5), 0.5),
    (numpy.bool_(True), True),
    (numpy.float64("nan"), None),
    (numpy.str_("a"), "a"),
    (numpy.datetime64("2026-01-02"), "2026-01-02"),
    (numpy.array([1, 2]), "[1 2]"),
    (2**64, 2**64),
    (-(2**100), -(2**100)),
    (10**5000, "<int of 16610 bits>"),
    (msgspec.Raw(b'{"a": [1]}'), {"a": [1]}),
    (msgspec.Raw(b"{\n}"), {}),
]


@pytest.mark.parametrize(("value", "form"), FORMS, ids=lambda value: type(value).__name__)
def test_forms_of_values(outbox, value, form):
    """They are the same wherever the value is, and whatever stands beside it."""
    assert sent(outbox, value) == form
    assert sent(outbox, [value]) == [form]
    assert sent(outbox, {"a": [value, OBJECT]}) == {"a": [form, "namespace(a=1)"]}
    assert put(outbox, {"level": "INFO", "message": "half \ud800", "x": value})["x"] == form


@pytest.mark.parametrize(
    "raw", [b"", b"bad", b"1 2", b'1,"level":"ERROR"', b'"\\ud800"', b'"\xff"', b"[" * 70 + b"]" * 70, b"{", b"NaN"]
)
def test_a_raw_value_that_the_server_would_reject_becomes_text(outbox, raw):
    text = raw.decode("utf-8", "replace")
    assert sent(outbox, msgspec.Raw(raw)) == text
    assert sent(outbox, Tagged(msgspec.Raw(raw))) == {"type": "t", "firstName": text}


def test_a_name_that_becomes_that_of_a_known_field_makes_no_second_one(outbox):
    entry = put(outbox, {"level": "INFO", "message": "m", b"level": "ERROR", b"app": 5, b"sequence": 7})
    assert entry == {"level": "ERROR", "message": "m", "app": "5", "sequence_": 7}


# What a call costs


def timed(call) -> float:
    """Seconds of processor time, which other programs do not make longer."""
    start = time.thread_time()
    call()
    return time.thread_time() - start


class Spoken:
    def __str__(self):
        return "an object with a text of some length"


HUGE = {
    "text": lambda: "x" * 10**8,
    "text of quotes": lambda: '"' * 10**8,
    "half surrogates": lambda: "\ud800" * 10**6,
    "fields": lambda: {f"field {number}": number for number in range(10**6)},
    "objects": lambda: [Spoken()] * 10**6,
    "bytes": lambda: bytes(10**8),
    "numbers": lambda: list(range(10**6)),
    "set": lambda: set(range(10**6)),
    "key": lambda: {"k" * 10**7: 1},
    "texts": lambda: ["x" * 10**5] * 10**4,
}


@pytest.mark.parametrize("name", HUGE)
def test_a_huge_value_costs_bounded_work(outbox, name):
    """Seconds before; the limit is generous, since the machine may be busy."""
    value = HUGE[name]()
    assert timed(lambda: outbox.put({"level": "INFO", "message": "m", "x": value, "order": 7})) < 1
    [item] = fetched(outbox)
    entry = json.loads(item.body)
    assert (entry["message"], entry["order"]) == ("m", 7)
    assert "left out" in str(entry)
    assert len(item.body) <= 65_507


def test_an_entry_of_a_million_fields_says_how_many_were_left_out(outbox):
    entry = {**{f"field {number}": number for number in range(10**6)}, "level": "ERROR", "message": "last"}
    assert timed(lambda: outbox.put(entry)) < 1
    [item] = fetched(outbox)
    entry = json.loads(item.body)
    assert (entry["level"], entry["message"], entry["truncated"]) == ("ERROR", "last", True)
    kept = sum(name.startswith("field ") for name in entry)
    assert kept > 1000
    assert entry["fields_left_out"] == 10**6 - kept


def test_a_huge_text_keeps_both_ends_and_says_what_is_missing(outbox):
    outbox.put({"level": "INFO", "message": "m", "x": f"first{'x' * 10**7}last"})
    [item] = fetched(outbox)
    entry = json.loads(item.body)
    head, count, tail = entry["x"].split(" … ")
    assert (head[:6], tail[-5:]) == ("firstx", "xlast")
    assert count == f"{10**7 + 9 - len(head) - len(tail)} characters left out"
    assert entry["original_bytes"] >= 10**7
    assert outbox.shortened == 1


# Everything that the client takes, the server takes

TEXT = st.text(st.characters(codec=None), max_size=20) | st.sampled_from(["level", "app", "\ud83d", "\ude00", "INFO"])
LEAF = (
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.binary(max_size=10) | st.datetimes()
    | st.uuids() | st.decimals() | st.builds(object) | st.builds(msgspec.Raw, st.binary(max_size=10))
    | st.sampled_from(range(len(FORMS))).map(lambda at: FORMS[at][0])
)  # fmt: skip
VALUE = st.recursive(
    LEAF,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(TEXT | st.integers() | st.none() | st.binary(max_size=4), inner, max_size=4)
        | st.builds(Order, inner, inner)
        | st.builds(Tagged, inner)
        | st.tuples(inner, inner)
    ),
    max_leaves=20,
)
LEVEL = st.sampled_from([*LEVELS, *ALIASES]).flatmap(lambda name: st.sampled_from([name, name.lower(), name.title()]))
KNOWN = {"timestamp": VALUE, "app": VALUE, "host": VALUE, "sequence": VALUE}


@settings(max_examples=300, deadline=None)
@given(
    st.fixed_dictionaries({"level": LEVEL, "message": TEXT})
    | st.fixed_dictionaries({"level": LEVEL | VALUE, "message": VALUE}, optional=KNOWN),
    st.dictionaries(TEXT, VALUE, max_size=5)
    | st.dictionaries(TEXT | st.integers() | st.binary(max_size=8), VALUE, max_size=5),
    st.sampled_from([512, 2000, None]),
)
@pytest.mark.filterwarnings("ignore:fastlog does not know the level")
def test_the_server_takes_whatever_the_client_takes(known, others, room):
    outbox = Outbox(checked_options(hostname="h", datagram_bytes=room and room + 200), Owner())
    outbox.put({**known, **others})
    [item] = fetched(outbox)
    assert outbox.dropped == {}
    line = outbox.line(item, 2**64 - 1)
    [piece] = decode(line)
    [found] = scan(line)
    assert found[:3] == (piece.reason, piece.level, piece.sequence) == (None, LEVELS[item.level], 2**64 - 1)
    assert b"\n" not in line
    assert item.priority == (LEVELS[item.level] in ("ERROR", "CRITICAL"))
