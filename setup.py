"""Builds the compiled modules, one for each `.pyx` file of the package. Everything else is in pyproject.toml.

In a working tree, the tests' helpers are compiled as well; no installation has them.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # pip and others start this file from elsewhere
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

from build_needs import missing_to_compile

if not sys.platform.startswith("linux"):
    sys.exit(f"fastlog needs Linux (recvmmsg, sendmmsg, fdatasync); this is {sys.platform}. Nothing was built.")

# -g0: debug information makes a module six times as large.
FLAGS = ["-O3", "-g0", "-Wall", "-Wextra", "-Wno-unused-function", "-Wno-unused-parameter"]
# How setuptools is called for an editable installation, and for `setup.py build_ext --inplace`.
IN_PLACE = not {"editable_wheel", "--inplace"}.isdisjoint(sys.argv)
FOLDERS = ["fastlog", "tests/helpers"] if IN_PLACE else ["fastlog"]
LIBRARIES = {Path("fastlog/inputs/_unpack.pyx"): ["z"]}
HEADERS = sorted(map(str, Path("fastlog").rglob("*.h")))


class BuildExtensions(build_ext):
    """Uses every core, and runs Cython only when modules are compiled: an sdist has no generated C."""

    def initialize_options(self) -> None:
        super().initialize_options()
        self.parallel = len(os.sched_getaffinity(0))

    def build_extensions(self) -> None:
        if missing := missing_to_compile():
            sys.exit(missing)
        from Cython.Build import cythonize

        translated = cythonize(self.extensions, nthreads=self.parallel)
        for extension, in_c in zip(self.extensions, translated, strict=True):
            extension.sources = in_c.sources
            if not IN_PLACE:  # In the tree, modules keep their symbols for profilers.
                extension.extra_link_args = ["-s"]
        super().build_extensions()


if __name__ == "__main__":  # The processes that run Cython may import this file again.
    setup(
        cmdclass={"build_ext": BuildExtensions},
        ext_modules=[
            Extension(
                ".".join(source.with_suffix("").parts),
                [str(source)],
                depends=HEADERS,
                include_dirs=["fastlog"],
                extra_compile_args=FLAGS,
                libraries=LIBRARIES.get(source, []),
            )
            for folder in FOLDERS
            for source in sorted(Path(folder).rglob("*.pyx"))
        ],
    )
