"""Names of levels: one function resolves them for everybody."""

import pytest

from fastlog.entry import ALIASES, LEVELS, known_level, level_of


@pytest.mark.parametrize("name", [*LEVELS, *ALIASES])
def test_a_level_is_known_by_its_name_and_its_aliases_without_case(name):
    assert known_level(name) == known_level(name.lower()) == known_level(name.title()) == ALIASES.get(name, name)


@pytest.mark.parametrize("name", ["", "LOUD", " INFO", "\u0131nfo", "\ud800", "ERROR\0"])
def test_other_names_are_not_known(name):
    assert known_level(name) is None
    assert level_of(name) == "OTHER"
