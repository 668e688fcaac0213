"""Literal datagrams and what becomes of them: the contract in examples, each with its reason.

A case is (name, datagram, pieces). A piece that is stored is (level, sequence, stored form without its line feed); one
that is rejected is (reason, the rejected bytes).
"""

Stored = tuple[str, int | None, bytes]
Rejected = tuple[str, bytes]
Case = tuple[str, bytes, list[Stored | Rejected]]

GOOD = b'{"level":"INFO","message":"hi"}'
GOOD_2 = b'{"level":"ERROR","message":"no","sequence":7}'


def accepted(entry: bytes, level: str = "INFO", sequence: int | None = None) -> list[Stored | Rejected]:
    return [(level, sequence, entry)]


def rejected(reason: str, piece: bytes) -> list[Stored | Rejected]:
    return [(reason, piece)]


def with_value(value: bytes) -> bytes:
    return b'{"level":"INFO","message":"m","x":' + value + b"}"


def nested(depth: int) -> bytes:
    """An entry whose deepest value stands inside that many brackets, its own included."""
    return with_value(b"[" * (depth - 1) + b"]" * (depth - 1))


LEVELS: list[Case] = [
    (f"level {written!r} means {meant}", entry, accepted(entry, meant))
    for written, meant in [
        ("DEBUG", "DEBUG"), ("INFO", "INFO"), ("WARNING", "WARNING"), ("ERROR", "ERROR"), ("CRITICAL", "CRITICAL"),
        ("TRACE", "DEBUG"), ("NOTICE", "INFO"), ("WARN", "WARNING"), ("ERR", "ERROR"), ("FATAL", "CRITICAL"),
        ("EMERG", "CRITICAL"), ("ALERT", "CRITICAL"), ("PANIC", "CRITICAL"), ("crit", "CRITICAL"), ("EMERGENCY", "CRITICAL"),
        ("SEVERE", "ERROR"), ("Informational", "INFO"), ("verbose", "DEBUG"), ("HTTP", "DEBUG"), ("warn4", "WARNING"),
        ("0", "CRITICAL"), ("5", "INFO"), ("7", "DEBUG"), ("60", "CRITICAL"), ("\\u0033", "ERROR"), ("e", "ERROR"),
        ("debug", "DEBUG"), ("Error", "ERROR"), ("cRiTiCaL", "CRITICAL"), ("err", "ERROR"),
        ("\\u0045RROR", "ERROR"), ("\\u0065rr", "ERROR"), ("WARN\\u0049ng", "WARNING"),
        ("", "OTHER"), ("IN", "OTHER"), ("INFOS", "OTHER"), (" INFO", "OTHER"), ("INFO ", "OTHER"), ("8", "OTHER"),
        ("-1", "OTHER"), ("03", "OTHER"), ("3.0", "OTHER"), ("70", "OTHER"), ("100", "OTHER"), ("DEBUG6", "OTHER"),
        ("DEFAULT", "OTHER"), ("UNKNOWN", "OTHER"), ("OFF", "OTHER"), ("ALL", "OTHER"), ("INFORMATIONALLY", "OTHER"),
        ("INFORMATIONAL_OR_LONGER", "OTHER"), ("CRITICAL_", "OTHER"), ("CRITICALITY", "OTHER"), ("OTHER", "OTHER"),
        # no letter of ASCII, though Unicode's upper case of it is
        ("\u0131nfo", "OTHER"), ("\\u0131nfo", "OTHER"),
        # bytes that a careless fold by clearing a bit would take for letters
        ("@NFO", "OTHER"), ("INF/", "OTHER"), ("INF\\u000f", "OTHER"), ("\\u0013", "OTHER"), ("CRIT\\u0000", "OTHER"), ("CR\\nIT", "OTHER"), ("\u0663", "OTHER"), ("INF\\/", "OTHER"), ("e\\nr", "OTHER"),
        ("INFO\\u0000", "OTHER"), ("\\ud83d\\ude00ERR", "OTHER"),
    ]
    for entry in [f'{{"level":"{written}","message":"m"}}'.encode()]
]  # fmt: skip

# The bytes of a character, escaped with a backslash here and in JSON alike.
STRINGS: list[Case] = [
    (f"the string {value!r} is well formed", entry, accepted(entry))
    for value in [
        b'""', b'"\\"\\\\\\/\\b\\f\\n\\r\\t"', b'"\\u0000\\uFFFF\\u00e9"', b'"\\ud83d\\ude00"', b'"\\uDBFF\\uDFFF"',
        b'"\x7f"', b'"\xc2\x80\xdf\xbf"', b'"\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf"',
        b'"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"', b'"\xef\xbb\xbf"', b'"\xe2\x80\xa8"',
        b'"0123456789abcde\\n0123456789abcdef\xc3\xa90123456789abcdef"',
    ]
    for entry in [with_value(value)]
] + [
    (f"the string {value!r} is rejected as {reason}", entry, rejected(reason, entry))
    for reason, value in [
        ("utf8", b'"\x80"'), ("utf8", b'"\xff"'), ("utf8", b'"\xc0\xaf"'), ("utf8", b'"\xc1\x81"'),
        ("utf8", b'"\xc3"'), ("utf8", b'"\xc3\x28"'), ("utf8", b'"\xe0\x9f\xbf"'), ("utf8", b'"\xed\xa0\x80"'),
        ("utf8", b'"\xe2\x82"'), ("utf8", b'"\xf0\x8f\xbf\xbf"'), ("utf8", b'"\xf4\x90\x80\x80"'),
        ("utf8", b'"\xf5\x80\x80\x80"'), ("utf8", b'"\xf0\x9f\x98"'), ("utf8", b'"0123456789abcdef\xfe"'),
        ("utf8", b'"\\ud800"'), ("utf8", b'"\\udc00"'), ("utf8", b'"\\ud800\\ud800"'), ("utf8", b'"\\ud800x"'),
        ("utf8", b'"\\udfff\\ud800"'), ("utf8", b'"\\ud83d\\u0041"'), ("utf8", b'"\\ud83d\\uzzzz"'),
        ("syntax", b'"\\x41"'), ("syntax", b'"\\u12"'), ("syntax", b'"\\u12g4"'), ("syntax", b'"\\U0041"'),
        ("syntax", b'"\t"'), ("syntax", b'"\x00"'), ("syntax", b'"\x1f"'), ("syntax", b'"a\rb"'), ("syntax", b'"'),
        ("syntax", b'"\\"'), ("syntax", b"'a'"), ("syntax", b'"\\u 041"'), ("syntax", b'"\\u+041"'),
        # what stands first decides
        ("utf8", b'"\xff\x01"'), ("syntax", b'"\x01\xff"'),
    ]
    for entry in [with_value(value)]
]  # fmt: skip

VALUES: list[Case] = [
    (f"the value {value!r} is well formed", entry, accepted(entry))
    for value in [
        b"0", b"-0", b"-1", b"10", b"1.5", b"0.0", b"1e5", b"1E+5", b"1e-05", b"-0.1e0", b"1e400", b"9" * 5000,
        b"true", b"false", b"null", b"[]", b"{}", b"[1,2,[3]]", b'{"a":{"b":[{}]}}', b'{"level":5}', b"[ ]", b"{ }",
        b'[{"a":1},{"a":2}]', b'{"":0}', b'{"a":1,"a":2}',
    ]
    for entry in [with_value(value)]
] + [
    (f"the value {value!r} is rejected as syntax", entry, rejected("syntax", entry))
    for value in [
        b"01", b"-", b"+1", b".5", b"1.", b"1e", b"1e+", b"-a", b"0x10", b"1_000", b"NaN", b"Infinity", b"-Infinity",
        b"nan", b"True", b"tru", b"truee", b"nul", b"undefined", b"", b"[1,]", b"[,1]", b"[1 2]", b"[", b"]", b"[}",
        b"{]", b'{"a"}', b'{"a":}', b'{"a":1,}', b"{,}", b"{1:2}", b'{"a":1 "b":2}', b'{"a" 1}', b"{a:1}", b"1true",
        b"1 2", b'"a" "b"', b"/**/1", b"\xff", b"\xc2\xa01", b"\x0c1", b"\x0b1", b"[1\x00]", b"'",
    ]
    for entry in [with_value(value)]
]  # fmt: skip

FIELDS: list[Case] = [
    (f"{entry.decode()} is accepted", entry, accepted(entry, "INFO", sequence))
    for entry, sequence in [
        (b'{"level":"INFO","message":""}', None),
        (b'{"message":"m","level":"INFO"}', None),
        (b'{"level":"INFO","message":"m","sequence":0}', 0),
        (b'{"level":"INFO","message":"m","sequence":18446744073709551615}', 2**64 - 1),
        (b'{"level":"INFO","message":"m","timestamp":"whenever","app":"","host":"h"}', None),
        # a key that occurs twice: the last one counts
        (b'{"level":5,"level":"INFO","message":"m"}', None),
        (b'{"level":"ERROR","level":"INFO","message":null,"message":"m"}', None),
        (b'{"level":"INFO","message":"m","sequence":-1,"sequence":3}', 3),
        (b'{"level":"INFO","message":"m","sequence":3,"sequence":4}', 4),
        (b'{"level":"INFO","message":"m","app":5,"app":"a"}', None),
        # a key written with escapes is the same key
        (b'{"le\\u0076el":"INFO","messa\\u0067e":"m"}', None),
        (b'{"level":5,"\\u006c\\u0065\\u0076\\u0065\\u006c":"INFO","message":"m"}', None),
        (b'{"level":"INFO","message":"m","sequenc\\u0065":12}', 12),
        # keys that only look like known ones
        (b'{"level":"INFO","message":"m","Level":5,"LEVEL":6,"level ":7,"leve":8,"levels":9}', None),
        (b'{"level":"INFO","message":"m","level\\u0000":5,"timestamps":5,"apps":5,"hos":5}', None),
        (b'{"level":"INFO","message":"m","x":{"level":5,"message":5,"sequence":"a"}}', None),
    ]
] + [
    (f"{entry.decode()} is rejected as {reason}", entry, rejected(reason, entry))
    for reason, entry in [
        ("level", b"{}"), ("level", b"{ }"), ("level", b'{"ack":true,"sequence":7}'),
        ("level", b'{"message":"m"}'), ("level", b'{"level":null,"message":"m"}'), ("level", b'{"level":3,"message":"m"}'),
        ("level", b'{"level":["INFO"],"message":"m"}'), ("level", b'{"level":"INFO","message":"m","level":1}'),
        ("level", b'{"LEVEL":"INFO","message":"m"}'), ("level", b'{"message":1,"sequence":-1,"app":1}'),
        ("message", b'{"level":"INFO"}'), ("message", b'{"level":"INFO","message":null}'),
        ("message", b'{"level":"INFO","message":{"a":"b"}}'), ("message", b'{"level":"INFO","message":7,"sequence":"a"}'),
        ("sequence", b'{"level":"INFO","message":"m","sequence":-1}'),
        ("sequence", b'{"level":"INFO","message":"m","sequence":-0}'),
        ("sequence", b'{"level":"INFO","message":"m","sequence":1.0}'),
        ("sequence", b'{"level":"INFO","message":"m","sequence":1e3}'),
        ("sequence", b'{"level":"INFO","message":"m","sequence":"1"}'),
        ("sequence", b'{"level":"INFO","message":"m","sequence":null}'),
        ("sequence", b'{"level":"INFO","message":"m","sequence":18446744073709551616}'),
        ("sequence", b'{"level":"INFO","message":"m","sequence":99999999999999999999}'),
        ("sequence", b'{"level":"INFO","message":"m","sequence":100000000000000000000000}'),
        ("sequence", b'{"level":"INFO","message":"m","sequence":true,"app":1}'),
        ("field", b'{"level":"INFO","message":"m","timestamp":5}'), ("field", b'{"level":"INFO","message":"m","app":null}'),
        ("field", b'{"level":"INFO","message":"m","host":{}}'), ("field", b'{"level":"INFO","message":"m","app":"a","app":1}'),
        ("field", b'{"level":"INFO","message":"m","\\u0068ost":1}'),
    ]
]  # fmt: skip

SHAPES: list[Case] = [
    ("an empty datagram", b"", rejected("empty", b"")),
    ("a datagram of whitespace", b" \r\n\t\n", rejected("empty", b"")),
    ("whitespace around an entry", b" \t\r\n" + GOOD + b"\r\n \n", accepted(GOOD)),
    ("text", b"hello", rejected("syntax", b"hello")),
    ("a syslog line", b"<34>1 2026-11-24T07:00:00Z host su - - - x", rejected("syntax", b"<34>1 2026-11-24T07:00:00Z host su - - - x")),
    ("a byte-order mark", b"\xef\xbb\xbf" + GOOD, rejected("syntax", b"\xef\xbb\xbf" + GOOD)),
    ("an array", b"[1,2]", rejected("not_object", b"[1,2]")),
    ("a string", b'"hello"', rejected("not_object", b'"hello"')),
    ("a number", b"-42.5e1 ", rejected("not_object", b"-42.5e1")),
    ("null", b"null", rejected("not_object", b"null")),
    ("a string that is not UTF-8", b'"\xff"', rejected("utf8", b'"\xff"')),
    ("an array before an entry", b"[1]\n" + GOOD, [("not_object", b"[1]"), ("INFO", None, GOOD)]),
    ("two arrays", b"[1]\n[2]", rejected("syntax", b"[1]\n[2]")),
    ("half an entry", GOOD[:-1], rejected("syntax", GOOD[:-1])),
    ("an entry and a half", GOOD + b"\n" + GOOD[:9], [("INFO", None, GOOD), ("syntax", GOOD[:9])]),
    ("entries without anything between", GOOD + GOOD_2, [("INFO", None, GOOD), ("ERROR", 7, GOOD_2)]),
    ("entries on one line", GOOD + b" \t" + GOOD_2, [("INFO", None, GOOD), ("ERROR", 7, GOOD_2)]),
    ("entries with blank lines", GOOD + b"\n\r\n\n" + GOOD_2 + b"\n", [("INFO", None, GOOD), ("ERROR", 7, GOOD_2)]),
    ("an entry followed by text", GOOD + b"x", rejected("syntax", GOOD + b"x")),
    ("an entry followed by a bracket", GOOD + b"}", rejected("syntax", GOOD + b"}")),
    ("an entry followed by a comma", GOOD + b",\n" + GOOD_2, [("syntax", GOOD + b","), ("ERROR", 7, GOOD_2)]),
    ("text on a line of its own after an entry", GOOD + b"\nx\n" + GOOD_2, [("syntax", GOOD + b"\nx"), ("ERROR", 7, GOOD_2)]),
    ("text before an entry", b"x " + GOOD + b"\n" + GOOD_2, [("syntax", b"x " + GOOD), ("ERROR", 7, GOOD_2)]),
    ("a broken entry between two", GOOD + b'\n{"level":}\n' + GOOD_2,
     [("INFO", None, GOOD), ("syntax", b'{"level":}'), ("ERROR", 7, GOOD_2)]),
    ("an entry cut off before its value leaves the next one whole", b'{"level":"INFO","message":\n' + GOOD,
     [("syntax", b'{"level":"INFO","message":'), ("INFO", None, GOOD)]),
    ("an entry cut off inside a string leaves the next one whole", b'{"level":"INFO","message":"ab\n' + GOOD,
     [("syntax", b'{"level":"INFO","message":"ab'), ("INFO", None, GOOD)]),
    ("a bad entry costs the rest of its line", b'{"level":1} ' + GOOD + b"\n" + GOOD_2,
     [("level", b'{"level":1} ' + GOOD), ("ERROR", 7, GOOD_2)]),
    ("a well-formed bad entry is one piece", b'{"message":"m",\n"x":\n{"level":"INFO","message":"n"}}\n' + GOOD,
     [("level", b'{"message":"m",\n"x":\n{"level":"INFO","message":"n"}}'), ("INFO", None, GOOD)]),
    ("an indented brace begins no line", b'{"x":nope,\n {"a":1}}\n' + GOOD,
     [("syntax", b'{"x":nope,\n {"a":1}}'), ("INFO", None, GOOD)]),
    ("a lone carriage return ends no line", b"x\r" + GOOD, rejected("syntax", b"x\r" + GOOD)),
    ("a pretty-printed entry is stored as one line", b'{\r\n  "level": "INFO",\n\t"message" : "m\\n"\n}\n',
     accepted(b'{    "level": "INFO", \t"message" : "m\\n" }')),
    ("newlines inside nested values too", b'{"level":"INFO","message":"m","x":[\n1,\r\n{"a"\n:\n2}\n]}',
     accepted(b'{"level":"INFO","message":"m","x":[ 1,  {"a" : 2} ]}')),
    ("64 brackets", nested(64), accepted(nested(64))),
    ("65 brackets", nested(65), rejected("depth", nested(65))),
    ("brackets without end", b'{"a":' * 70, rejected("depth", b'{"a":' * 70)),
    ("64 brackets without an object", b"[" * 64 + b"]" * 64, rejected("not_object", b"[" * 64 + b"]" * 64)),
    ("65 brackets without an object", b"[" * 65 + b"]" * 65, rejected("depth", b"[" * 65 + b"]" * 65)),
    ("brackets in a string are text", with_value(b'"' + b"[{" * 100 + b'"'), accepted(with_value(b'"' + b"[{" * 100 + b'"'))),
    ("siblings do not add to the depth", with_value(b"[" + b"[]," * 100 + b"[]]"), accepted(with_value(b"[" + b"[]," * 100 + b"[]]"))),
    ("entries cut off one after the other are each rejected", b'{"a":\n{"b":\n{"c":[\n' + GOOD,
     [("syntax", b'{"a":'), ("syntax", b'{"b":'), ("syntax", b'{"c":['), ("INFO", None, GOOD)]),
    ("an object that is whole inside a broken one is tried", b'{"a":[\n' + GOOD + b",\n" + GOOD_2 + b"\n",
     [("syntax", b'{"a":['), ("syntax", GOOD + b","), ("ERROR", 7, GOOD_2)]),
    ("more entries cut off than may be open", b'{"a":\n' * 70 + GOOD,
     [("depth", (b'{"a":\n' * 64).rstrip()), *[("syntax", b'{"a":')] * 6, ("INFO", None, GOOD)]),
    ("what was too deep is passed over", b'{"x":\n' * 63 + b"[\n[1]\n" + GOOD,
     [("depth", b'{"x":\n' * 63 + b"[\n[1]"), ("INFO", None, GOOD)]),
    ("depth before syntax", nested(65)[:-3], rejected("depth", nested(65)[:-3])),
    ("syntax before depth", with_value(b"[tru" + b"[" * 70), rejected("syntax", with_value(b"[tru" + b"[" * 70))),
]  # fmt: skip

# What is told apart as GELF, where that is taken: ("gelf", its bytes), (level, an entry's bytes), (reason, rejected bytes).
SHORT = b'{"short_message":"s"}'
GELF: list[tuple[str, bytes, list[Rejected]]] = [
    *(
        (f"{written!r} is {kind}", written, [(kind, written)])
        for kind, written in [
            ("gelf", SHORT), ("gelf", b'{"version":"1.1","host":"h","short_message":"s","level":3}'),
            ("gelf", b'{"version":"1.0","message":"m"}'), ("gelf", b'{"message":"m","version":"1.1"}'),
            ("gelf", b'{"short\\u005fmessage":"s"}'), ("gelf", b'{"version":"\\u0031.1","message":"m"}'),
            # any other error of an entry
            ("gelf", b'{"level":"INFO","message":"m","sequence":-1,"short_message":"s"}'),
            ("gelf", b'{"level":"INFO","message":"m","timestamp":5,"version":"1.1"}'),
            ("gelf", b'{"level":"INFO","short_message":"s"}'),
            # it means to be GELF, and is rejected as such
            ("gelf", b'{"short_message":5}'), ("gelf", b'{"version":"1.1"}'),
            # an entry always wins
            ("INFO", b'{"level":"INFO","message":"m","short_message":"s","version":"1.1"}'),
            # the last one counts
            ("gelf", b'{"version":"2","version":"1.1","message":"m"}'),
            ("level", b'{"version":"1.1","version":"2","message":"m"}'), ("level", b'{"version":"1.1","version":1.1}'),
            ("level", b'{"version":1.1,"message":"m"}'), ("level", b'{"version":"1.2","message":"m"}'),
            ("level", b'{"version":"1.10","message":"m"}'), ("level", b'{"version":"","message":"m"}'),
            ("level", b'{"version":["1.1"],"message":"m"}'), ("level", b'{"full_message":"f","_short_message":"s"}'),
            ("level", b'{"short_messagf":"s"}'), ("level", b'{"x":{"short_message":"s"}}'), ("level", b"{}"),
            ("not_object", b'["short_message"]'), ("syntax", SHORT + b"\0"), ("syntax", SHORT + b"x"), ("syntax", SHORT[:-1]),
            ("utf8", b'{"short_message":"\xe9"}'), ("depth", b'{"short_message":"s","_x":' + b"[" * 64 + b"]" * 64 + b"}"),
        ]
    ),
    ("GELF and entries on one line", SHORT + GOOD + b" " + SHORT + SHORT + b"\n" + GOOD_2,
     [("gelf", SHORT), ("INFO", GOOD), ("gelf", SHORT), ("gelf", SHORT), ("ERROR", GOOD_2)]),
    ("GELF over several lines", b'{\n"short_message":\r\n"s"\n}\n\n' + SHORT,
     [("gelf", b'{\n"short_message":\r\n"s"\n}'), ("gelf", SHORT)]),
    ("GELF before text", SHORT + b"\nx\n" + SHORT, [("syntax", SHORT + b"\nx"), ("gelf", SHORT)]),
    ("GELF behind what is neither", b"{} " + SHORT + b"\n" + SHORT, [("level", b"{} " + SHORT), ("gelf", SHORT)]),
]  # fmt: skip

CASES: list[Case] = LEVELS + STRINGS + VALUES + FIELDS + SHAPES

# Fields of an entry, and whether they have a timestamp that is not empty.
TIMESTAMPS: list[tuple[bytes, bool]] = [
    (b"", False),
    (b'"x":{"timestamp":"07:00"},', False),
    (b'"timestamp":"",', False),
    (b'"timestamp":"2026-11-24T07:00:00Z",', True),
    (b'"time\\u0073tamp" : "07:00" ,', True),
    (b'"timestamp":"\\"",', True),
    (b'"timestamp":" ",', True),
    # the last one counts
    (b'"timestamp":"07:00","timestamp":"",', False),
    (b'"timestamp":"","timestamp":"07:00",', True),
    (b'"timestamp":5.5,"timestamp":"07:00",', True),
]

# GELF objects as libraries send them, and odd ones.
GELF_OBJECTS: list[bytes] = [
    b'{"version":"1.1","host":"web1","short_message":"card refused","timestamp":1795680684.4336405,"level":3,"_order":1093}',
    b'{"version":"1.0","host":"vm","short_message":"slow","timestamp":1795680684.43,"level":4,"facility":"shop","line":3,"_pid":1}',
    b'{"version":"1.1","host":"vm","short_message":"paid","timestamp":1.495e+09,"level":6,"_container_name":"shop","_tag":"4c"}',
    b'{"short_message":"s","level":"warn","level":3.0,"timestamp":"2026-11-26T08:00:00.5+02:00","_app":"a","app":"b"}',
    b'{"message":"m","version":"1.1","host":null,"level":99,"_level":1,"source":1,"__source":2,"stamp":[\n1]}',
    b'{"short_message":"\\u00e9","\\u005fx":1,"x":{"a":"}\\"]"},"_\\ud83d\\ude00":2,"_id":3,"_":4,"timestamp":"1.5e9"}',
    b'{"short_message":"s",' + b",".join(b'"_f%d":%d' % (n, n) for n in range(60)) + b',"f7":1,"level":"\\u0033"}',
    b'{"short_message":"s",' + b",".join(b'"f%d":%d' % (n, n) for n in range(34)) + b',"_x":1,"timestamp":0.17956e10}',
]
# What is long in one way or another.
LONG_GELF: list[bytes] = [
    b'{"short_message":"s",' + middle + b',"_x":1}'
    for middle in (
        b",".join(b'"_f%d":%d' % (n, n) for n in range(4_000)),
        b'"' + b"_" * 30_000 + b'source":1,' + b",".join([b'"source":1'] * 3_000),
        b'"timestamp":0.' + b"0" * 30_000 + b'1795680684e30010,"level":3.' + b"0" * 30_000,
        b'"x":"' + b"\\u0041" * 5_000 + b'","_' + b"\\u0041" * 5_000 + b'":[' + b"\n1," * 100 + b"1]",
        b",".join([b'"%b":1' % (b"n" * 64)] * 32 + [b'"_%b":1' % (b"n" * 64)] * 500),
    )
]
