"""What a terminal would obey or not show is shown as text."""

import json
import unicodedata

import pytest

from fastlog.commands.terminal import visible, visible_json
from tests.helpers.running import FASTLOG
from tests.helpers.terminal import Terminal, needs_terminal, plain

# Default_Ignorable_Code_Point of Unicode's DerivedCoreProperties.txt, less those of category Cf
IGNORABLE = [
    0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), 0x2065, 0x3164, *range(0xFE00, 0xFE10), 0xFFA0,
    *range(0xFFF0, 0xFFF9), *range(0xE0000, 0xE1000),
]  # fmt: skip
# of category Cf, but with a sign of their own: numbers and verses are written around them
SHOWN_FORMATS = {*range(0x600, 0x606), 0x6DD, 0x890, 0x891, 0x8E2}
HOSTILE = (
    "".join(map(chr, range(0x20)))
    + "\x7f"
    + "".join(map(chr, range(0x80, 0xA0)))
    + "\x1b[2J\x1b[31mred\x1b]0;stolen title\x07\x1b]8;;http://evil.example/\x1b\\link\x1b]8;;\x1b\\"
    + "\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\xad\U000e0041"
)


def test_every_character_that_acts_or_hides_is_escaped_and_no_other():
    """The characters are those of the running Python's Unicode; a newer version may know more."""
    escaped, must_be, may_be = set(), set(IGNORABLE), set()
    for code in (*range(0xD800), *range(0xE000, 0x110000)):
        character = chr(code)
        category = unicodedata.category(character)
        if visible(character) != character:
            escaped.add(code)
        if category in ("Cc", "Zl", "Zp") or (category == "Cf" and code not in SHOWN_FORMATS):
            must_be.add(code)
        elif category == "Cn":
            may_be.add(code)
    assert must_be - escaped == set()
    assert escaped - must_be - may_be == set()


def test_escapes_are_those_that_programmers_know():
    assert (
        visible("a\tb\nc\rd\x1b\x7f\x9b\u202e\U000e0041é漢👍") == "a\\tb\\nc\\rd\\x1b\\x7f\\x9b\\u202e\\U000e0041é漢👍"
    )


def test_json_stays_the_same_value():
    value = {"k\x7f\u202e": "\x80\U000e0041é"}
    shown = visible_json(json.dumps(value, ensure_ascii=False).replace(": ", ":\t"))
    assert shown == '{"k\\u007f\\u202e": "\\u0080\\udb40\\udc41é"}'
    assert json.loads(shown) == value


@needs_terminal
def test_a_hostile_entry_is_harmless_text_in_a_real_terminal(tmp_path, closing):
    entry = {"level": HOSTILE, "message": HOSTILE, "app": HOSTILE, "host": "h", "timestamp": HOSTILE, HOSTILE: HOSTILE}
    line = json.dumps(entry, ensure_ascii=False)
    (tmp_path / "server.log").write_text(f'{line}\n{line[:-1]}\n{{"level":"ERROR","message":"last"}}\n')

    terminal = closing(Terminal(tmp_path, *FASTLOG, "tail", "--log-dir", ".", columns=6000))
    terminal.wait()
    assert "stolen" not in terminal.title()
    lines = terminal.screen().splitlines()
    text = visible(HOSTILE)
    assert plain(lines[0]) == f'{text} {text} {text} h {text} {text}="{text}"'
    assert lines[1] == visible(line[:-1])  # no entry
    assert plain(lines[2]) == "- ERROR    - - last"
    assert "\x1b[31mERROR" in lines[2]


@needs_terminal
def test_json_in_a_real_terminal_is_harmless_and_the_same(tmp_path, closing):
    line = json.dumps({"level": "INFO", "message": HOSTILE}, ensure_ascii=False)
    (tmp_path / "server.log").write_text(line + "\n")
    terminal = closing(Terminal(tmp_path, *FASTLOG, "tail", "--json", "--log-dir", ".", columns=6000))
    terminal.wait()
    assert "stolen" not in terminal.title()
    shown = terminal.screen().splitlines()[0]
    assert json.loads(shown) == json.loads(line)
    assert shown.isascii()


@needs_terminal
@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_there_are_no_colours_where_none_are_wanted(tmp_path, closing, environment):
    (tmp_path / "server.log").write_text('{"level":"ERROR","message":"m"}\n')
    command = ["env", *(f"{name}={value}" for name, value in environment.items()), *FASTLOG]
    terminal = closing(Terminal(tmp_path, *command, "tail", "--log-dir", "."))
    terminal.wait()
    assert terminal.screen().splitlines()[0] == "- ERROR    - - m"
