"""The level that a caller means: a name in any spelling, a number of `logging`, or a member of an enum.

A name that fastlog does not know costs its entry the ACK, so a warning says so once for each spelling.
"""

import difflib
import math
import operator
import sys
import warnings
from enum import Enum

from fastlog.client.encode import text_of
from fastlog.entry import ALIASES, LEVELS, known_level

DEFAULT_LEVEL = "INFO"  # for entries without a level
OTHER = "OTHER"
LEVEL_MAX_CHARACTERS = 100  # of a `level` field: names of levels are short
WARNED_MAX_SPELLINGS = 100  # a program that makes up its levels is told about the first ones
SHOWN_MAX_CHARACTERS = 40  # of an unknown level in a warning, and compared with those that fastlog knows
GUESSED_FROM_CHARACTERS = 3  # shorter aliases resemble too much

# The index in LEVELS of each level that is spelled as it usually is: found without a look at its letters.
USUAL_SPELLINGS = {
    spelling: LEVELS.index(ALIASES.get(name, name))
    for name in (*LEVELS[:-1], *ALIASES)
    for spelling in (name, name.lower(), name.title())
}
_PROBABLE = [*LEVELS[:-1], *(name for name in ALIASES if len(name) >= GUESSED_FROM_CHARACTERS)]
_warned: set[str] = set()


def level_of_number(number: float) -> str:
    """The contract's level at or below a number of `logging`: 25 is INFO, 45 is ERROR, anything below 20 is DEBUG."""
    if number >= 40:
        return "CRITICAL" if number >= 50 else "ERROR"
    if number >= 20:
        return "WARNING" if number >= 30 else "INFO"
    return "DEBUG"


def level_of_record(number: object, name: object) -> str:
    """The contract's level of a record that a program made itself, whatever its `levelno` and `levelname` are."""
    try:
        return level_of_number(float(number))  # type: ignore[arg-type]
    except Exception:
        return known_spelling(name) or DEFAULT_LEVEL


def level_text(level: object) -> str:
    """The `level` field for what a caller passed: the server takes it for the level that is meant. Raises nothing."""
    if type(level) is str and len(level) <= LEVEL_MAX_CHARACTERS and known_level(level):
        return level
    return _known(level) or text_of(level)[:LEVEL_MAX_CHARACTERS]


def known_spelling(level: object) -> str | None:
    """The contract's level for what a caller passed, or None if fastlog does not know it. Raises nothing."""
    return known_level(_known(level) or "")


def level_index(text: str) -> int:
    """The index in LEVELS of a `level` field, whatever its spelling."""
    return LEVELS.index(known_level(text) or OTHER)


def warn_of_unknown_level(text: str, stored_as: str = OTHER) -> None:
    """Says once for each spelling that entries of an unknown level are not acknowledged. Raises nothing, even where
    warnings are errors."""
    spelling = text[:SHOWN_MAX_CHARACTERS]
    if spelling in _warned or len(_warned) >= WARNED_MAX_SPELLINGS:
        return
    _warned.add(spelling)  # before the warning, which may log
    try:
        found = difflib.get_close_matches(spelling.upper(), _PROBABLE, n=1)
        guess = f" Did you mean {found[0]!r}?" if found else ""
        warnings.warn(
            f"fastlog does not know the level {spelling!r}: its entries are stored as {stored_as}, and the server does "
            f"not acknowledge them.{guess}",
            stacklevel=_frames_of_fastlog(),
        )
    except Exception:  # noqa: S110 - a log call raises nothing
        pass


def _known(level: object) -> str | None:
    """A spelling that the server knows, or None."""
    try:
        if isinstance(level, Enum):
            # The name says more than the value of an enum of numbers, which may be those of syslog.
            forms = (level._value_, level.name) if isinstance(level, str) else (level.name, level._value_)
            return _known_form(forms[0]) or _known_form(forms[1])
        return _known_form(level)
    except Exception:
        return None


def _known_form(level: object) -> str | None:
    if isinstance(level, str | bytes):
        text = text_of(level[:LEVEL_MAX_CHARACTERS]).strip()
        return text if known_level(text) and len(level) <= LEVEL_MAX_CHARACTERS else None
    if isinstance(level, bool):
        return None
    if isinstance(level, float):
        return level_of_number(level) if math.isfinite(level) else None
    return level_of_number(operator.index(level))  # type: ignore[arg-type] # whatever has __index__: int, numpy's


def _frames_of_fastlog() -> int:
    """How many frames from here on belong to fastlog, so that the warning names the program's own line."""
    depth = 1
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(("fastlog.", "logging")):
        frame = frame.f_back
        depth += 1
    return depth
