"""Every C function says how it reports an exception. What says nothing is checked for one after each call, and one that
cannot raise looks as if it could."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for folder in ("fastlog", "tests") for path in (ROOT / folder).rglob("*.p[yx][xd]"))
FUNCTION = re.compile(
    r"^[ ]*cdef (?!class |struct |union |enum\b|extern |packed )"
    r"(?P<result>[\w ]*?[ *])(?P<name>\w+)(?P<arguments>\((?:[^()]|\([^()]*\))*\))(?P<contract>[^:=\n#]*)(?=:|\n|#)",
    re.MULTILINE,
)
OBJECTS = {"bytes", "dict", "list", "object", "set", "str", "tuple"}  # NULL reports an exception, without a word


def without_contract(source: str) -> list[str]:
    return [
        match["name"]
        for match in FUNCTION.finditer(source)
        if not {"noexcept", "except", "except?"} & set(match["contract"].split())
        and match["result"].split()[-1] not in OBJECTS
    ]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_c_function_states_its_error_contract(path):
    assert without_contract(path.read_text()) == []


def test_functions_without_one_are_found():
    source = """
cdef int counted(int a,
                 int (*b)(int)) noexcept nogil
cdef class Thing:
    cdef void stated(self) except *
    cdef bint forgotten(self, bytes text):
        return True
    cdef str text(self):
        return ""
cdef inline char *other(char *p)
cdef unsigned int number = call(1)
cdef int pair[4]
cdef public int open_to_c(const char *p, int size) except -1:
    pass
"""
    assert without_contract(source) == ["forgotten", "other"]
