"""The mutants of `make mutants` fit the code as it is now."""

import ast
from pathlib import Path

import pytest

from tests.mutants.mutants import MUTANTS
from tests.mutants.run import place_of

ROOT = Path(__file__).parents[2]


def test_mutants_have_names_of_their_own():
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_changes_one_place_and_names_tests_that_exist(mutant):
    source = (ROOT / mutant.path).read_text()
    assert source.count(mutant.old) == 1
    assert mutant.applied(source) != source
    if mutant.path.endswith(".py"):
        ast.parse(mutant.applied(source))
    for path in mutant.tests.split():
        assert (ROOT / path).exists()
    assert place_of(mutant.found_by)
