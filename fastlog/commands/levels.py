"""The level that a command line names."""

from fastlog.entry import LEVELS, OTHER_NAMES, known_level
from fastlog.errors import ConfigError

# What a typo may have meant: the names that are words.
NAMES = (*LEVELS, *(name for names in OTHER_NAMES.values() for name in names if name.isalpha() and len(name) > 2))


def parse_level(text: str) -> str:
    """The level with this name or alias. Raises ConfigError, which suggests the nearest name."""
    level = known_level(text.strip())
    if level is None:
        from difflib import get_close_matches  # only a typo needs it

        near = get_close_matches(text.strip().upper(), NAMES, n=1, cutoff=0.7)
        suggestion = f"unknown level; did you mean {near[0]}? It" if near else "unknown level; it"
        raise ConfigError(
            f"--level {text}: {suggestion} must be one of {', '.join(LEVELS)}, or one of their other names"
        )
    return level
