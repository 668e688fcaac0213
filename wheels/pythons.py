"""The Pythons of this machine: on the PATH, installed by pyenv, or unpacked from Debian's packages.

`python -m wheels.pythons` unpacks those from 3.11 to 3.15 that are missing. `make wheels` asks for those of other
processors and for musl as well.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UNPACKED = ROOT / "build" / "debian-pythons"
ARM64 = ROOT / "build" / "debian-pythons-arm64"
MUSL = ROOT / "build" / "musl-pythons"
OLDEST_MINOR = 11
NEWEST_MINOR = 15  # the newest that wheels are built for


def find_pythons() -> dict[int, str]:
    """The path of each Python, by its minor version. It has the headers, too."""
    minors = range(OLDEST_MINOR, NEWEST_MINOR + 1)
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [sys.executable, *filter(None, map(shutil.which, [f"python3.{minor}" for minor in minors]))]
    candidates += map(str, sorted(pyenv.glob("versions/3.*/bin/python3")))
    candidates += map(str, sorted(UNPACKED.glob("3.*/usr/bin/python3.*[0-9]")))
    program = (
        "import sys, sysconfig, pathlib;"
        "assert pathlib.Path(sysconfig.get_path('include'), 'Python.h').exists();"
        "assert not sysconfig.get_config_var('Py_GIL_DISABLED');"
        "print(sys.version_info.minor)"
    )
    found: dict[int, str] = {}
    for path in candidates:
        answer = subprocess.run([path, "-c", program], capture_output=True, text=True, check=False)
        # pyenv's python3.x on the PATH fails unless that version is selected.
        if answer.returncode == 0 and int(answer.stdout) in minors:
            found.setdefault(int(answer.stdout), path)
    return dict(sorted(found.items()))


def emulated_arm64(minor: int) -> list[str]:
    """The command that runs a Python for AArch64 in an emulator; empty if none can be had."""
    subprocess.run([Path(__file__).with_name("unpack_python.sh"), "--arm64", f"3.{minor}"], check=False)
    python = ARM64 / f"3.{minor}" / "usr" / "bin" / f"python3.{minor}"
    return [str(ARM64 / "usr" / "bin" / "qemu-aarch64"), str(python)] if python.exists() else []


def for_musl(minor: int) -> list[str]:
    """The command that runs a Python for musl on x86-64; empty if none can be had."""
    script = Path(__file__).with_name("make_musl_python.sh")
    subprocess.run([script, f"{sys.executable} -m ziglang", f"3.{minor}"], check=False)
    python = MUSL / f"3.{minor}" / "bin" / f"python3.{minor}"
    return [str(python)] if python.exists() else []


def main() -> int:
    """Succeeds also if some cannot be had: this machine's are enough to work with."""
    for minor in sorted(set(range(OLDEST_MINOR, NEWEST_MINOR + 1)) - set(find_pythons())):
        subprocess.run([Path(__file__).with_name("unpack_python.sh"), f"3.{minor}"], check=False)
    for minor, path in find_pythons().items():
        print(f"Python 3.{minor}: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
