"""Builds the compiled modules; everything else is in pyproject.toml.

FASTLOG_SANITIZE=1 builds them with AddressSanitizer, UndefinedBehaviorSanitizer and Cython's bounds checks.
"""

import os
import sys

from setuptools import Extension, setup

if not sys.platform.startswith("linux"):
    sys.exit(f"fastlog needs Linux (recvmmsg, sendmmsg, fdatasync); this is {sys.platform}. Nothing was built.")

from Cython.Build import cythonize

if os.environ.get("FASTLOG_SANITIZE") == "1":
    flags = ["-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    directives = {"boundscheck": True, "initializedcheck": True}
else:
    flags = ["-O3", "-Wall", "-Wextra", "-Wno-unused-function", "-Wno-unused-parameter"]
    directives = {}

setup(
    ext_modules=cythonize(
        [
            Extension(
                f"fastlog.{name}",
                [f"fastlog/{name}.pyx"],
                depends=["fastlog/_simd.h", "fastlog/_siphash.h"],
                extra_compile_args=flags,
                extra_link_args=[flag for flag in flags if flag.startswith("-fsanitize")],
            )
            for name in ("_parse", "_net", "_seen", "_ledger", "_intake", "_aio")
        ],
        compiler_directives=directives,
    )
)
