"""Builds the compiled modules, one for each `.pyx` file of the package. Everything else is in pyproject.toml.

In a working tree, the tests' helpers are compiled as well; no installation has them.

Only Linux has a server, which needs all of them. The client has twins of them in Python: it is installed without any
compiled module where there is no C compiler, on Windows, and with FASTLOG_PURE=1. On other systems, those of the client
are compiled if they can be.
"""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # pip and others start this file from elsewhere
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

from build_needs import missing_to_compile

# -g0: debug information makes a module six times as large.
FLAGS = ["-O3", "-g0", "-Wall", "-Wextra", "-Wno-unused-function", "-Wno-unused-parameter"]
# How setuptools is called for an editable installation, and for `setup.py build_ext --inplace`.
IN_PLACE = not {"editable_wheel", "--inplace"}.isdisjoint(sys.argv)
FOLDERS = ["fastlog", "tests/helpers"] if IN_PLACE else ["fastlog"]
LIBRARIES = {Path("fastlog/inputs/_unpack.pyx"): ["z"]}
CLIENT = [
    Path("fastlog/_parse.pyx"),
    *(Path(f"fastlog/client/{name}.pyx") for name in ("_native", "_outbox", "_plain", "_record")),
]
IS_LINUX = sys.platform.startswith("linux")
HEADERS = sorted(map(str, Path("fastlog").rglob("*.h")))


class BuildExtensions(build_ext):
    """Uses every core, and runs Cython only when modules are compiled: an sdist has no generated C."""

    def initialize_options(self) -> None:
        super().initialize_options()
        self.parallel = len(os.sched_getaffinity(0)) if IS_LINUX else os.cpu_count()

    def build_extensions(self) -> None:
        if IS_LINUX and (missing := missing_to_compile()):
            sys.exit(missing)
        from Cython.Build import cythonize

        translated = cythonize(self.extensions, nthreads=self.parallel)
        for extension, in_c in zip(self.extensions, translated, strict=True):
            extension.sources = in_c.sources
            if IS_LINUX and not IN_PLACE:  # In the tree, modules keep their symbols for profilers.
                extension.extra_link_args = ["-s"]
        super().build_extensions()


def sources() -> list[Path]:
    """The modules to compile here."""
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if sys.platform == "win32" or os.environ.get("FASTLOG_PURE", "0") not in ("", "0") or not shutil.which(compiler):
        print("fastlog: no C modules are compiled: this installation has the client, and no server", file=sys.stderr)
        return []
    if not IS_LINUX:
        return CLIENT
    return [source for folder in FOLDERS for source in sorted(Path(folder).rglob("*.pyx"))]


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
                optional=not IS_LINUX,
            )
            for source in sources()
        ],
    )
