"""Makes text from strangers safe for a terminal: characters that act on it, or show nothing, are written as escapes.

Terminals obey control characters, C1 included; bidirectional controls reorder a line; characters without a width hide
in it. The log file keeps all of them as they came.
"""

import os
import re
import sys

# Unicode 16: general categories Cc, Zl, Zp, Cf but for the few that show a sign of their own, and all of
# Default_Ignorable_Code_Point. A test compares the table with that of the Python that runs it.
_ACTING = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u070f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    "]"
)
PLAIN = "\x1b[0m"  # ends a colour
BLOCKS = " ▁▂▃▄▅▆▇█"
ASCII_BLOCKS = " .:-=+*%#"  # where the encoding of the terminal lacks the others
_SHORT = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}


def visible(text: str) -> str:
    """The text with escapes such as `\\t`, `\\x1b` and `\\u202e` for what a terminal would obey or not show."""
    if text.isascii() and text.isprintable():  # most are
        return text
    return _ACTING.sub(_escape, text)


def wants_colours(when: str = "auto") -> bool:
    """Whether to write colours: `always`, `never`, or `auto`. Then the user's environment decides (no-color.org,
    force-color.org, bixense.com/clicolors), and otherwise whether standard output is a terminal that has them."""
    if when != "auto":
        return when == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR") or os.environ.get("CLICOLOR_FORCE", "0") not in ("", "0"):
        return True
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def blocks_for(encoding: str) -> str:
    """The blocks that bars are made of, from none to a full one."""
    try:
        BLOCKS.encode(encoding)
    except UnicodeEncodeError:
        return ASCII_BLOCKS
    return BLOCKS


def visible_json(text: str) -> str:
    """The JSON text with `\\u` escapes for such characters, and a space for a tab between tokens."""
    return _ACTING.sub(_escape_json, text)


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    code = ord(character)
    if code < 0x100:
        return _SHORT.get(character) or f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _escape_json(found: re.Match[str]) -> str:
    if found[0] == "\t":
        return " "
    units = found[0].encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
