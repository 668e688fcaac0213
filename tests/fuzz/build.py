"""Builds build/fuzz/fuzz-fastlog; main.c says what that is. CLANG and CFLAGS in the environment are obeyed."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "tests/fuzz"
OUT = ROOT / "build/fuzz"

CHECKS = ["-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
CHECKS.append(f"-fsanitize-ignorelist={HERE / 'ignored'}")
COVERAGE = ["-fsanitize=fuzzer-no-link", f"-fsanitize-coverage-allowlist={HERE / 'covered'}"]
# The modules under test, and the targets that are written in Cython (`fuzz_*.pyx`).
MODULES = (
    "_parse",
    "inputs/_syslog",
    "inputs/_gelf",
    "inputs/_unpack",
    "inputs/_chunks",
    "server/_socket",
    "server/_duplicates",
    "server/_ledger",
    "server/_lines",
    "server/_rejects",
    "server/_rate_limit",
    "server/_messages",
    "server/_sockets",
    "server/_drain",
)
TARGETS = ("scanner", "syslog", "gelf", "unpack", "chunks")
MISSING = "make fuzz-native needs clang with its sanitizers and libFuzzer; on Debian: apt install clang libclang-rt-dev"


def run(*command: str) -> None:
    subprocess.run(command, cwd=ROOT, check=True)


def compiled(source: Path, *flags: str) -> str:
    target = OUT / f"{source.stem}.o"
    run(
        CLANG, *CHECKS, *flags, f"-I{sysconfig.get_path('include')}", f"-I{ROOT / 'fastlog'}", f"-I{OUT}",
        *os.environ.get("CFLAGS", "").split(), "-c", str(source), "-o", str(target),
    )  # fmt: skip
    return str(target)


def cythonized(source: Path) -> Path:
    target = OUT / f"{source.stem}.c"
    run(
        sys.executable, "-m", "cython", "-3", "-X", "boundscheck=True", "-X", "initializedcheck=True", "-I", str(ROOT),
        str(source), "-o", str(target),
    )  # fmt: skip
    return target


def write_lists() -> None:
    """What main.c has to know: each module's full name and its own, and the targets."""
    modules = [f'MODULE("fastlog.{name.replace("/", ".")}", {name.rpartition("/")[2]})' for name in MODULES]
    (OUT / "modules.inc").write_text("\n".join(modules) + "\n")
    (OUT / "targets.inc").write_text("".join(f"TARGET({target})\n" for target in TARGETS))


CLANG = os.environ.get("CLANG", "clang")
if not shutil.which(CLANG):
    sys.exit(MISSING)
OUT.mkdir(parents=True, exist_ok=True)
write_lists()
objects = [compiled(cythonized(ROOT / f"fastlog/{name}.pyx"), *COVERAGE) for name in MODULES]
objects += [compiled(cythonized(HERE / f"fuzz_{target}.pyx")) for target in TARGETS]
objects.append(compiled(HERE / "main.c", f'-DFUZZ_PYTHON="{sys.executable}"', f'-DFUZZ_ROOT="{ROOT}"'))
library = sysconfig.get_config_var("LIBDIR")
try:
    run(
        CLANG, *CHECKS, "-fsanitize=fuzzer", "-Wl,--wrap=recvmmsg", *objects, f"-L{library}", f"-Wl,-rpath,{library}",
        f"-lpython{sysconfig.get_config_var('LDVERSION')}", "-lm", "-ldl", "-lz", "-o", str(OUT / "fuzz-fastlog"),
    )  # fmt: skip
except subprocess.CalledProcessError:
    sys.exit(f"{MISSING}; and Python needs its library, libpython")
