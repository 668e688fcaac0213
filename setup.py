"""Builds the compiled modules; everything else is in pyproject.toml."""

import sys

from setuptools import Extension, setup

if not sys.platform.startswith("linux"):
    sys.exit(f"fastlog needs Linux (recvmmsg, sendmmsg, fdatasync); this is {sys.platform}. Nothing was built.")

from Cython.Build import cythonize

FLAGS = ["-O3", "-Wall", "-Wextra", "-Wno-unused-function", "-Wno-unused-parameter"]

setup(
    ext_modules=cythonize(
        [
            Extension(
                f"fastlog.{name}",
                [f"fastlog/{name}.pyx"],
                depends=["fastlog/_simd.h", "fastlog/_siphash.h", "fastlog/_find.h"],
                extra_compile_args=FLAGS,
            )
            for name in (
                "_parse",
                "_net",
                "_seen",
                "_ledger",
                "_intake",
                "_aio",
                "_blast",
                "_outbox",
                "_select",
                "_record",
            )
        ],
    )
)
