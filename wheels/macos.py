"""Compiles the client's modules for macOS with zig, for both of its processors: `make macos`.

Nothing here can run them. This shows that their C needs nothing that macOS lacks. pyconfig.h is that of this machine.
"""

import shutil
import sys
import sysconfig
from pathlib import Path

from wheels.build import run
from wheels.pythons import ROOT

WORK = ROOT / "build" / "macos"
HEADERS = WORK / "include"
TARGETS = ("aarch64-macos", "x86_64-macos")
MODULES = ("_parse", "client/_native", "client/_outbox", "client/_plain", "client/_record")
MACH_O = b"\xcf\xfa\xed\xfe"  # what a 64-bit file of macOS begins with


def copy_headers() -> None:
    """Those of Python. Debian's pyconfig.h only chooses among those of its processors, and knows no macOS."""
    include = Path(sysconfig.get_path("include"))
    shutil.copytree(include, HEADERS)
    chosen = include.parent / (sysconfig.get_config_var("MULTIARCH") or "") / include.name / "pyconfig.h"
    if chosen.exists():
        shutil.copy(chosen, HEADERS)


def compile_for(target: str, source: Path) -> Path:
    """As an extension module: what it needs of Python is found when it is loaded."""
    module = WORK / f"{source.stem}.{target}.so"
    headers = [f"-I{path}" for path in (HEADERS, ROOT / "fastlog", ROOT / "fastlog" / "client")]
    options = ["-O0", "-w", "-shared", "-undefined", "dynamic_lookup"]
    run(sys.executable, "-m", "ziglang", "cc", "-target", target, *options, *headers, source, "-o", module)
    if not module.read_bytes().startswith(MACH_O):
        sys.exit(f"{module} is not a module of macOS")
    return module


def main() -> None:
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    copy_headers()
    for name in MODULES:
        source = WORK / f"{Path(name).name}.c"
        run(sys.executable, "-m", "cython", "-3", ROOT / "fastlog" / f"{name}.pyx", "-o", source)
        for target in TARGETS:
            print(compile_for(target, source).relative_to(ROOT))


if __name__ == "__main__":
    main()
