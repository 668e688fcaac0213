"""Builds the compiled modules, every `.pyx` of the tree; everything else is in pyproject.toml."""

import sys
from pathlib import Path

from setuptools import Extension, setup

if not sys.platform.startswith("linux"):
    sys.exit(f"fastlog needs Linux (recvmmsg, sendmmsg, fdatasync); this is {sys.platform}. Nothing was built.")

from Cython.Build import cythonize

FLAGS = ["-O3", "-Wall", "-Wextra", "-Wno-unused-function", "-Wno-unused-parameter"]
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
            for source in sorted(Path("fastlog").rglob("*.pyx"))
        ],
    )
)
