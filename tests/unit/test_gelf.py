"""GELF objects and the entries that they become, by the reference and by the converter in C."""

import json

import pytest

from fastlog import entry
from fastlog.entry import SEVERITIES, level_of
from fastlog.inputs import gelf
from fastlog.inputs.receipt import Receipt
from tests.helpers._hooks import c_gelf
from tests.helpers.cases import LONG_GELF
from tests.helpers.datagrams import RECEIPT as SENDERS_RECEIPT
from tests.helpers.datagrams import datagrams, same

RECEIVED = "2026-11-26T08:30:00.000000Z"
RECEIPT = Receipt(RECEIVED, "192.0.2.7:40000", "192.0.2.7")
FROM_NOWHERE = Receipt(RECEIVED, "unix:pid=7,uid=0", None)
E = "\u00e9"
N = "\\u006e"  # n, with an escape of JSON

pytestmark = pytest.mark.parametrize("decode", [gelf.decode, c_gelf], ids=["reference", "C"])


def text(decode, fields: str, receipt: Receipt = RECEIPT) -> str:
    """The line of a GELF object that also has these fields."""
    done = decode(b'{"short_message":"s",%b}' % fields.encode(), receipt)
    assert isinstance(done, tuple), done
    level, line = done
    assert json.loads(line)["level"] == level
    assert line.endswith(b"}\n")
    assert (line.count(b"\n"), line.count(b"\r")) == (1, 0)
    return line.decode()


def others(decode, fields: str) -> str:
    """What is written of these fields, none of which the server understands."""
    line = text(decode, fields)
    begin = f'{{"level":"INFO","message":"s","timestamp":"{RECEIVED}","host":"192.0.2.7","source":"192.0.2.7:40000"'
    assert line.startswith(begin)
    return line[len(begin) :].removeprefix(",").removesuffix("}\n")


PLAIN = [datagram for datagram in datagrams() if datagram.kind == "gelf" and datagram.data[:1] == b"{"]


@pytest.mark.parametrize("datagram", PLAIN, ids=[datagram.name for datagram in PLAIN])
def test_a_datagram_of_a_real_sender(decode, datagram):
    done = [
        decode(datagram.data[piece.start : piece.end], SENDERS_RECEIPT)
        if piece.is_gelf
        else piece.reason or (piece.level, piece.line)
        for piece in entry.decode(datagram.data, takes_gelf=True)
    ]
    assert len(done) == len(datagram.decoding)
    for found, expected in zip(done, datagram.decoding, strict=True):
        assert expected == {"reject": found} if isinstance(found, str) else same(found[1], expected)


def test_the_keys_and_their_order(decode):
    fields = (
        '"_x": 1 ,"version":"1.1","host":"web","timestamp":1795680684.43,"level":3,"_app":"shop","full_message":"f"'
    )
    assert text(decode, fields) == (
        '{"level":"ERROR","message":"s","timestamp":"2026-11-26T08:11:24.430000Z","app":"shop","host":"web","severity":"err",'
        f'"received":"{RECEIVED}","source":"192.0.2.7:40000","x":1,"full_message":"f"}}\n'
    )
    assert text(decode, '"timestamp":"yesterday","level":"?"') == (
        f'{{"level":"OTHER","message":"s","timestamp":"{RECEIVED}","host":"192.0.2.7","stamp":"yesterday",'
        '"source":"192.0.2.7:40000","_level":"?"}\n'
    )


@pytest.mark.parametrize(
    ("written", "level", "severity"),
    [
        *((str(n), level_of(name), name) for n, name in enumerate(SEVERITIES)),
        ('"3"', "ERROR", "err"), ("3.0", "ERROR", "err"), ("3e0", "ERROR", "err"), ('"3.0"', "ERROR", "err"),
        ("0.3e1", "ERROR", "err"), ("300E-2", "ERROR", "err"), ("3.000000000000000000000000000", "ERROR", "err"),
        ('"\\u0033"', "ERROR", "err"), ("-0", "CRITICAL", "emerg"), ("0e999999999999", "CRITICAL", "emerg"),
        ("-0.0e-5", "CRITICAL", "emerg"), ("0.0000", "CRITICAL", "emerg"),
        # names, by the table of fastlog
        ('"ERROR"', "ERROR", None), ('"warn"', "WARNING", None), ('"Notice"', "INFO", None), ('"\\u0065rr"', "ERROR", None),
        ('"30"', "INFO", None), ('"INFORMATIONAL"', "INFO", None),
        # what says nothing
        ("null", "INFO", None), ('""', "INFO", None),
        # anything else
        ("99", "OTHER", None), ("8", "OTHER", None), ("-3", "OTHER", None), ("3.5", "OTHER", None), ("30", "OTHER", None),
        ("3e-1", "OTHER", None), ("3e1", "OTHER", None), ("1e-999999999999", "OTHER", None), ("7e999999999999", "OTHER", None),
        (f"3e{'9' * 5000}", "OTHER", None), (f"3e-{'9' * 5000}", "OTHER", None),
        (f"3.{'0' * 5000}1", "OTHER", None), ('"03"', "OTHER", None), ('" 3"', "OTHER", None), ('"+3"', "OTHER", None),
        ('"3."', "OTHER", None), ('"3e"', "OTHER", None), ('"3e+"', "OTHER", None), ('"-"', "OTHER", None), ('".3"', "OTHER", None),
        ('"3.0000000000000000"', "OTHER", None), ('"custom"', "OTHER", None), ('"OTHER"', "OTHER", None),
        ('"INFORMATIONALLY"', "OTHER", None), ('"INFORMATIONAL_INFORMATIONAL"', "OTHER", None), ('"\\u0131nfo"', "OTHER", None),
        ("true", "OTHER", None), ("false", "OTHER", None), ("[3]", "OTHER", None), ('{"a":3}', "OTHER", None),
    ],
)  # fmt: skip
def test_levels(decode, written, level, severity):
    line = text(decode, f'"level":{written},"_x":1')
    found = json.loads(line)
    assert (found["level"], found.get("severity")) == (level, severity)
    # what is not understood is kept as it is, in its place
    assert line.endswith(
        f',"_level":{written},"x":1}}\n' if level == "OTHER" else '"source":"192.0.2.7:40000","x":1}\n'
    )


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("1795680684", "2026-11-26T08:11:24.000000Z"), ("1795680684.4336405", "2026-11-26T08:11:24.433640Z"),
        ("1795680684.999999999999999999", "2026-11-26T08:11:24.999999Z"), ("1.496069777534e+09", "2017-05-29T14:56:17.534000Z"),
        ("1496069777534e-3", "2017-05-29T14:56:17.534000Z"), ("0.00001496069777534E+14", "2017-05-29T14:56:17.534000Z"),
        ("1795680684.0e0", "2026-11-26T08:11:24.000000Z"), ('"1795680684.433"', "2026-11-26T08:11:24.433000Z"),
        ('"1.795680684433e9"', "2026-11-26T08:11:24.433000Z"), ('"1795680684\\u002e5"', "2026-11-26T08:11:24.500000Z"),
        ("0.000001", "1970-01-01T00:00:00.000001Z"), ("1e-6", "1970-01-01T00:00:00.000001Z"), ("1", "1970-01-01T00:00:01.000000Z"),
        ("253402300799.9999999", "9999-12-31T23:59:59.999999Z"), ("2.5e11", "9892-03-08T12:26:40.000000Z"),
        (f"1795680684.5{'0' * 9000}", "2026-11-26T08:11:24.500000Z"), (f"1795680684{'0' * 9000}e-9000", "2026-11-26T08:11:24.000000Z"),
        (f"0.{'0' * 9000}1795680684e9010", "2026-11-26T08:11:24.000000Z"),
        ('"2026-11-26T08:00:00Z"', "2026-11-26T08:00:00.000000Z"), ('"2026-11-26t10:00:00.1234567+02:00"', "2026-11-26T08:00:00.123456Z"),
        ('"2026-11-26\\u005408:00:00\\u005a"', "2026-11-26T08:00:00.000000Z"), ('"0001-01-01T00:00:00Z"', "0001-01-01T00:00:00.000000Z"),
    ],
)  # fmt: skip
def test_timestamps(decode, written, moment):
    line = text(decode, f'"timestamp":{written}')
    assert f'"timestamp":"{moment}","host":"192.0.2.7","received":"{RECEIVED}"' in line
    assert "stamp" not in json.loads(line)


@pytest.mark.parametrize(
    "written",
    [
        "0", "0.0", "-0", "-1795680684", "0.0000009", "1795680684433", "253402300800", "1e12", "1e999999999999", "-1e999999999999",
        "1e-999999999999", f"1e{'9' * 9000}", f"1e-{'9' * 9000}", "1" + "0" * 4000, '"Foobar"', '"2026-11-26 08:00:00"',
        '"2026-11-26T08:00:00"', '"2026-02-30T08:00:00Z"', '"1795680684 "', '"+1795680684"', '"01795680684"', '"1795680684."', '"0x6"',
        f'"1795680684.{"0" * 60}"', '"\\n"', '"caf\u00e9"', "true", "[1795680684]", '{"a":1,"b":[]}',
    ],
)  # fmt: skip
def test_what_is_no_timestamp_is_kept_as_written(decode, written):
    line = text(decode, f'"timestamp":{written}')
    assert f'"timestamp":"{RECEIVED}","host":"192.0.2.7","stamp":{written},"source"' in line


@pytest.mark.parametrize("written", ["null", '""'])
def test_a_timestamp_or_host_that_says_nothing(decode, written):
    assert others(decode, f'"timestamp":{written},"host":{written}') == ""


def test_the_host(decode):
    assert '"host":"we\\u0062\u00e9","source"' in text(decode, '"host":"we\\u0062\u00e9"')
    assert '"timestamp":"2026-11-26T08:30:00.000000Z","source":"unix:pid=7,uid=0"}' in text(
        decode, '"x":1', FROM_NOWHERE
    ).replace(',"x":1', "")
    for host in ("42", "true", "[]", "{}", '["web"]'):
        assert decode(b'{"short_message":"s","host":%b}' % host.encode(), RECEIPT) == "field"


def test_the_message(decode):
    def message(data: bytes) -> object:
        done = decode(data, RECEIPT)
        return done if isinstance(done, str) else json.loads(done[1])

    assert text(decode, '"x":1').startswith('{"level":"INFO","message":"s",')
    assert (
        '"message":"\\u0061\\/\u00e9"' in decode('{"short_message":"\\u0061\\/\u00e9"}'.encode(), RECEIPT)[1].decode()
    )
    assert message(b'{"short_message":""}')["message"] == ""
    assert message(b'{"version":"1.1","message":"m"}')["message"] == "m"
    # the shorter one is the message, and the other one is not lost
    both = message(b'{"message":"m","short_message":"s"}')
    assert (both["message"], both["_message"]) == ("s", "m")
    other = message(b'{"version":"1.1","message":"m","short_message":null}')
    assert (other["message"], other["short_message"]) == ("m", None)
    for data in (
        b'{"short_message":42}',
        b'{"version":"1.1"}',
        b'{"short_message":"s","short_message":1}',
        b'{"short_message":{}}',
    ):
        assert message(data) == "message"
    # the first reason counts
    assert message(b'{"short_message":42,"host":42}') == "message"


@pytest.mark.parametrize(
    ("fields", "app", "rest"),
    [
        ('"_container_name":"c"', '"c"', '"container_name":"c"'),
        ('"_facility":"g","_container_name":"c"', '"g"', '"_facility":"g","container_name":"c"'),
        ('"facility":"f","_facility":"g"', '"f"', '"facility":"f","_facility":"g"'),
        ('"facility":"f","_app":"a"', '"a"', '"facility":"f"'),
        ('"_app":"a","app":"b"', '"b"', '"_app":"a"'),
        ('"app":"b","app":"\\u0061"', '"\\u0061"', ""),
        # the first string that is not empty
        ('"_app":"","facility":7,"_facility":"g"', '"g"', '"_app":"","facility":7,"_facility":"g"'),
        ('"app":null,"_app":null,"_container_name":"c"', '"c"', '"__app":null,"_app":null,"container_name":"c"'),
        ('"container_name":"c"', None, '"container_name":"c"'),
        ('"_app":7', None, '"_app":7'),
    ],
)
def test_the_app(decode, fields, app, rest):
    line = text(decode, fields)
    assert line.endswith(f'"source":"192.0.2.7:40000"{"," + rest if rest else ""}}}\n')
    assert (f'"app":{app},' in line) if app else ('"app"' not in line)


@pytest.mark.parametrize(
    ("fields", "written"),
    [
        ('"_x":1,"_y_":{"a" : [1, 2]},"z":null', '"x":1,"y_":{"a" : [1, 2]},"z":null'),
        # values keep their bytes
        ('"_n":1e400,"_s":"\\u00e9\\/","_d":0.10', '"n":1e400,"s":"\\u00e9\\/","d":0.10'),
        (f'"_n":{"9" * 3000}', f'"n":{"9" * 3000}'),
        # so do keys
        ('"_caf\u00e9":1,"_\\u0078":2,"\\u005fy":3', '"caf\u00e9":1,"\\u0078":2,"y":3'),
        # names that an entry has from the server keep their underscore
        *((f'"_{name}":7', f'"_{name}":7') for name in sorted(gelf.TAKEN - {"app"})),
        ('"__host":1,"\\u005f\\u005fhost":2,"_h\\u006fst":3', '"__host":1,"\\u005f\\u005fhost":2,"_h\\u006fst":3'),
        # and those that stand in the line for something else get one
        *((f'"{name}":7', f'"_{name}":7') for name in sorted(gelf.RENAMED - {"level"})),
        ('"source":1,"_source":2', '"__source":1,"_source":2'),
        ('"_source":3,"__source":4,"____source":5,"source":1,"source":2',
         '"_source":3,"__source":4,"____source":5,"___source":1,"___source":2'),
        (",".join(f'"{"_" * n}source":{n}' for n in range(12)),
         ",".join(f'"{"_" * (n or 8)}source":{n}' for n in range(12))),
        ('"s\\u006furce":1,"\\u005fsource":2', '"__s\\u006furce":1,"\\u005fsource":2'),
        ('"pid":1,"facility":2,"id":3,"full_message":"f","sd":{}', '"pid":1,"facility":2,"id":3,"full_message":"f","sd":{}'),
        ('"_version":"2.3","__version":"u","version":"1.1"', '"version":"2.3","_version":"u"'),
        # no two fields get one name
        ('"_x":1,"x":2', '"_x":1,"x":2'), ('"x":1,"__x":2,"_x":3', '"x":1,"__x":2,"_x":3'),
        ('"_x":1,"__x":2', '"x":1,"_x":2'), ('"\\u0078":1,"_x":2,"_\\u0078":3', '"\\u0078":1,"_x":2,"_\\u0078":3'),
        ('"_\\ud83d\\ude00\\u20ac\\u00e9":1,"\U0001f600\u20ac\u00e9":2', '"_\\ud83d\\ude00\\u20ac\\u00e9":1,"\U0001f600\u20ac\u00e9":2'),
        ('"_\\"\\\\\\/\\b\\f\\n\\r\\t":1,"\\u0022\\u005c/\\u0008\\u000c\\u000a\\u000d\\u0009":2',
         '"_\\"\\\\\\/\\b\\f\\n\\r\\t":1,"\\u0022\\u005c/\\u0008\\u000c\\u000a\\u000d\\u0009":2'),
        ('"_X":1,"x":2', '"X":1,"x":2'),
        # one that occurs twice stays so, and the last one counts
        ('"_x":1,"_x":2', '"x":1,"x":2'),
        # underscores without a name
        ('"_":1,"__":2,"\\u005f":3,"":4', '"_":1,"__":2,"\\u005f":3,"":4'),
        # whitespace
        ('\n"_x"\r\n:\t{"a"\n:\r1}  ,  "_y" :2 ', '"x":{"a" : 1},"y":2'),
        # long names, and too long ones
        (f'"_{"n" * 64}":1,"_{"m" * 65}":2,"__{"n" * 64}":3', f'"{"n" * 64}":1,"_{"m" * 65}":2,"_{"n" * 64}":3'),
        (f'"{"n" * 64}":1,"_{"n" * 64}":2', f'"{"n" * 64}":1,"_{"n" * 64}":2'),
        (f'"_{N * 64}":1,"_{N * 65}":2', f'"{N * 64}":1,"_{N * 65}":2'),
        (f'"_{E * 32}":1,"_{E * 32}m":2', f'"{E * 32}":1,"_{E * 32}m":2'),
    ],
)  # fmt: skip
def test_additional_fields(decode, fields, written):
    assert others(decode, fields) == written


def test_many_additional_fields(decode):
    """More than the first walk keeps."""
    fields = [f'"_f{n}":{n}' for n in range(3000)]
    assert others(decode, ",".join([*fields, '"f7":7'])) == ",".join(
        [*(field.replace("_", "") if n != 7 else field for n, field in enumerate(fields)), '"f7":7']
    )
    line = text(decode, ",".join([*fields, '"source":1', '"_app":"a"', '"level":3', '"_source":2', '"host":"h"']))
    assert line.startswith(
        f'{{"level":"ERROR","message":"s","timestamp":"{RECEIVED}","app":"a","host":"h","severity":"err"'
    )
    assert line.endswith('"f2999":2999,"__source":1,"_source":2}\n')


def test_names_are_compared_with_so_many_without_an_underscore(decode):
    bare = ",".join(f'"f{n}":{n}' for n in range(gelf.BARE_MAX))
    assert others(decode, f'{bare},"_f31":1,"_x":2') == f'{bare},"_f31":1,"x":2'
    assert others(decode, f'{bare},"_f31":1,"_x":2,"f32":3') == f'{bare},"_f31":1,"_x":2,"f32":3'
    assert others(decode, f'{bare},"_f31":1,"_x":2,"{"n" * 65}":3') == f'{bare},"_f31":1,"x":2,"{"n" * 65}":3'


def test_a_line_has_room(decode):
    """The room is 6 times the object's size and 1 KiB: whatever names a stranger chooses, a line needs no more."""
    renamed = ",".join(f'"{name}":1' for name in sorted(gelf.RENAMED))
    underscored = ",".join(f'"{"_" * n}{name}":1' for n in range(1, 9) for name in sorted(gelf.RENAMED))
    long = [
        renamed,
        f"{underscored},{','.join([renamed] * 500)}",
        '"facility":"' + "f" * 9000 + '"',
        "\n" * 900 + '"_x":1',
    ]
    for data in [*LONG_GELF, *(b'{"short_message":"s",%b}' % fields.encode() for fields in long)]:
        for receipt in (RECEIPT, Receipt(RECEIVED, "[fe80::" + "1" * 80 + "]:514", "fe80::" + "1" * 80)):
            _, line = decode(data, receipt)
            assert len(line) <= 6 * len(data) + 1024
            assert line == gelf.decode(data, receipt)[1]
