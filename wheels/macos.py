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
TARGETS = ("aarch64-macos", "x86_64-macos")
MODULES = ("_parse", "client/_native", "client/_outbox", "client/_plain", "client/_record")
MACH_O = b"\xcf\xfa\xed\xfe"  # what a 64-bit file of macOS begins with


def compile_for(target: str, source: Path) -> Path:
    """As an extension module: what it needs of Python is found when it is loaded."""
    module = WORK / f"{source.stem}.{target}.so"
    include = Path(sysconfig.get_path("include"))
    # Debian has the pyconfig.h of a processor there; the one beside the other headers chooses it, and knows no macOS.
    of_debian = include.parent / (sysconfig.get_config_var("MULTIARCH") or "") / include.name
    headers = [f"-I{path}" for path in (of_debian, include, ROOT / "fastlog", ROOT / "fastlog" / "client")]
    options = ["-O0", "-w", "-shared", "-undefined", "dynamic_lookup"]
    run(sys.executable, "-m", "ziglang", "cc", "-target", target, *options, *headers, source, "-o", module)
    if not module.read_bytes().startswith(MACH_O):
        sys.exit(f"{module} is not a module of macOS")
    return module


def main() -> None:
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    for name in MODULES:
        source = WORK / f"{Path(name).name}.c"
        run(sys.executable, "-m", "cython", "-3", ROOT / "fastlog" / f"{name}.pyx", "-o", source)
        for target in TARGETS:
            print(compile_for(target, source).relative_to(ROOT))


if __name__ == "__main__":
    main()
