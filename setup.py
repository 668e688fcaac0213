"""Builds the compiled modules: every `.pyx` of the package, and for work in this folder those of the tests' helpers.
Everything else is in pyproject.toml.
"""

import sys
from pathlib import Path

from setuptools import Extension, setup

if not sys.platform.startswith("linux"):
    sys.exit(f"fastlog needs Linux (recvmmsg, sendmmsg, fdatasync); this is {sys.platform}. Nothing was built.")

from Cython.Build import cythonize

FLAGS = ["-O3", "-Wall", "-Wextra", "-Wno-unused-function", "-Wno-unused-parameter"]
# How setuptools is called for an editable installation, and by `setup.py build_ext --inplace`.
IN_PLACE = not {"editable_wheel", "--inplace"}.isdisjoint(sys.argv)
FOLDERS = ["fastlog", "tests/helpers"] if IN_PLACE else ["fastlog"]
HEADERS = sorted(map(str, Path("fastlog").rglob("*.h")))

setup(
    ext_modules=cythonize(
        [
            Extension(
                ".".join(source.with_suffix("").parts),
                [str(source)],
                depends=HEADERS,
                include_dirs=["fastlog"],
                extra_compile_args=FLAGS,
            )
            for folder in FOLDERS
            for source in sorted(Path(folder).rglob("*.pyx"))
        ],
    )
)
