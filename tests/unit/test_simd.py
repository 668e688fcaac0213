"""The scanner's look for the ends of strings, in each of its variants, right up to memory that must not be read."""

import ctypes
import mmap
import random
import subprocess
import sysconfig
from pathlib import Path

import pytest

HEADER = Path(__file__).parents[2] / "fastlog/_simd.h"
# What walks a text as the scanner does: from stop to stop, now and then some bytes ahead.
SOURCE = f"""
#include "{HEADER}"
unsigned walk(const uint8_t *start, unsigned size, unsigned step, unsigned *found) {{
  const uint8_t *p = start, *end = start + size;
  fl_window window = {{0}};
  unsigned count = 0;
  while ((p = fl_skip_plain(p, end, start, &window)) != end) {{
    found[count++] = p - start;
    p += step < end - p ? step : 1;
  }}
  return count;
}}
"""
WORDS = ["-U__SSE2__", "-U__ARM_NEON"]
VARIANTS = {
    "vectors": [],
    "words": WORDS,
    "bytes": [*WORDS, "-U__BYTE_ORDER__", "-D__BYTE_ORDER__=__ORDER_BIG_ENDIAN__", "-Wno-builtin-macro-redefined"],
}
STEPS = [1, 2, 7, 70, 200]
PROT_NONE = 0


@pytest.fixture(params=VARIANTS)
def walk(request, tmp_path):
    source, library = tmp_path / "walk.c", tmp_path / "walk.so"
    source.write_text(SOURCE)
    compiler = sysconfig.get_config_var("CC").split()[0]
    subprocess.run(
        [compiler, "-O2", "-shared", "-fPIC", *VARIANTS[request.param], str(source), "-o", str(library)], check=True
    )
    function = ctypes.CDLL(str(library)).walk
    function.argtypes = [ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p]
    found = (ctypes.c_uint * mmap.PAGESIZE)()
    return lambda *arguments: found[: function(*arguments, found)]


@pytest.fixture
def page():
    """The address of a page between two that nobody may touch."""
    with mmap.mmap(-1, 3 * mmap.PAGESIZE) as memory:
        begins = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        for forbidden in (begins, begins + 2 * mmap.PAGESIZE):
            assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(forbidden), mmap.PAGESIZE, PROT_NONE) == 0
        yield begins + mmap.PAGESIZE


def expected(text, step):
    found, at = [], 0
    while at < len(text):
        if text[at] < 0x20 or text[at] >= 0x80 or text[at] in b'"\\':
            found.append(at)
            at += step if step < len(text) - at else 1
        else:
            at += 1
    return found


def test_every_stop_is_found_and_nothing_else_is_read(walk, page):
    rng = random.Random(3)
    near_stops = b'"\\\x00\x1f\x80\xff !#[]\x7f~'  # the stops, and what differs from one of them by a bit
    for size in [*range(300), mmap.PAGESIZE]:
        for plain in (0.0, 0.9, 0.995):
            text = bytes(97 if rng.random() < plain else rng.choice(near_stops) for _ in range(size))
            for address in {page, page + mmap.PAGESIZE - size}:
                ctypes.memmove(address, text, size)
                step = rng.choice(STEPS)
                assert walk(address, size, step) == expected(text, step)
